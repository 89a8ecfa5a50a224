package audittraffic

import (
	"context"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// decide makes the decision of a moment.
func (w *writer) decide(ctx context.Context, at time.Time) error {
	roll := w.random.IntN(10000)
	for _, j := range junks {
		if roll -= j.often; roll < 0 {
			return w.junk(ctx, at, j)
		}
	}
	return w.ask(ctx, w.bring(at), at)
}

// ask has a service ask about a token.
func (w *writer) ask(ctx context.Context, t *token, at time.Time) error {
	f := &pdp.Facts{Token: t.Token, Verification: t.verification, Revocation: pdp.Revocation{Known: true, AgeSeconds: 1}}
	d := &pdp.Decision{Token: pdp.TokenSummary{
		Status: pdp.StatusVerified, Kind: "jws", Algorithm: t.issuer.algorithm, KeyID: t.Header.KeyID, Type: t.Header.Type,
		Issuer: t.issuer.id, TokenID: t.ID, ExpiresAt: t.ExpiresAt,
	}}
	w.judge(t, f, d, at)
	asking := t.audience
	if w.random.IntN(1000) < 5 {
		asking = audiences[w.random.IntN(len(audiences))]
		if asking != t.audience {
			d.Reasons = append(d.Reasons, w.reasons.reason("claims.audience_mismatch", pdp.Deny, nil))
		}
	}
	if w.random.IntN(1000) < 2 {
		d.Reasons = append(d.Reasons, w.reasons.reason(pick(w.random, "header.type_mismatch", "claims.missing", "minimization.purpose_not_allowed", "lifetime.missing_iat"), pdp.Deny, nil))
	}
	return w.answer(ctx, f, d, asking, t, at)
}

// bring picks a token, and replaces one that is no good any more, as most clients do.
func (w *writer) bring(at time.Time) *token {
	share, pool := w.random.IntN(100), 0
	for share -= w.issuers[0].share; share >= 0 && pool+1 < len(w.issuers); share -= w.issuers[pool].share {
		pool++
	}
	place := w.random.IntN(len(w.pools[pool]))
	t := w.pools[pool][place]
	withdrawn := t.verification.Trust != t.issuer.trust
	if t.ends <= at.Unix()+30 && w.random.IntN(100) < 96 || withdrawn && w.random.IntN(10) < 3 || w.random.IntN(100) == 0 {
		t = w.mint(t.issuer, at)
		w.pools[pool][place] = t
	}
	return t
}

// judge finds what there is to say of a verified token.
func (w *writer) judge(t *token, f *pdp.Facts, d *pdp.Decision, at time.Time) {
	day := int(at.Sub(w.c.From)/(24*time.Hour)) + 1
	if t.lifetime() > 3600 {
		as := pdp.Deny
		switch {
		case day < 5:
			as = pdp.Warn
		case t.ClientID == "legacy-batch" && day >= 12 && day < 26:
			as = pdp.Waived
		}
		d.Reasons = append(d.Reasons, w.reasons.reason("lifetime.too_long", as, map[string]any{"actual_seconds": t.lifetime(), "limit_seconds": int64(3600)}))
	}
	if t.ends+30 <= at.Unix() {
		d.Reasons = append(d.Reasons, w.reasons.reason("lifetime.expired", pdp.Deny, map[string]any{"seconds_ago": at.Unix() - t.ends}))
	}
	if kind := w.revoked.match(t, at); kind != "" {
		f.Revocation.Revoked = kind
		d.Reasons = append(d.Reasons, w.reasons.reason("revocation."+kind, pdp.Deny, nil))
	}
	if w.stale {
		f.Revocation.AgeSeconds = 600
		d.Reasons = append(d.Reasons, w.reasons.reason("revocation.feed_stale", pdp.Warn, map[string]any{"age_seconds": int64(600)}))
	}
	if t.sensitive {
		code, as := "minimization.claim_not_allowed", pdp.Warn
		if day >= 23 {
			code, as = "minimization.sensitive_claim", pdp.Deny
		}
		d.Reasons = append(d.Reasons, w.reasons.reason(code, as, map[string]any{"claims": t.omit}))
		d.Obligations.OmitClaims = t.omit
	}
}

// answer records the decision.
func (w *writer) answer(ctx context.Context, f *pdp.Facts, d *pdp.Decision, asking string, t *token, at time.Time) error {
	d.ID, d.EvaluatedAt, d.PolicyRevision, d.Words, d.Allow = w.id(at), at, w.revision, w.reasons, d.Token.Status == pdp.StatusVerified
	for i := range d.Reasons {
		d.Allow = d.Allow && d.Reasons[i].Enforcement != pdp.Deny
	}
	if d.Allow {
		d.CacheForSeconds = 5
		d.Claims = t.claims
	} else {
		w.log.Denied++
	}
	f.Request = &pdp.Request{
		Audience: asking, TokenType: pdp.AccessToken, Action: pick(w.random, "read", "read", "write"), Method: "GET", Caller: callerOf(asking),
		ID: "req-" + w.hex(6), TraceID: w.hex(16), SpanID: w.hex(8),
	}
	f.Time, f.Began = at.Unix(), at
	w.clock.set(at.Add(w.latency()))
	w.log.Size++
	w.log.Decisions++
	_, err := w.recorder.Record(ctx, f, d)
	return err
}

// junk is a decision about something that nobody vouches for.
func (w *writer) junk(ctx context.Context, at time.Time, j junk) error {
	reason := w.reasons.reason(j.code, pdp.Deny, nil)
	f := &pdp.Facts{
		Token: &pdp.Token{Size: 200 + w.random.IntN(2000), Kind: j.kind, Header: pdp.Header{
			Algorithm: j.alg, KeyID: w.hex(8), HasKeyID: j.kind != "", Parameters: map[string]any{"alg": j.alg},
		}},
		Verification: &pdp.Verification{Status: j.status, Reason: &reason}, Revocation: pdp.Revocation{Known: true, AgeSeconds: 1},
	}
	d := &pdp.Decision{Reasons: []pdp.Reason{reason}, Token: pdp.TokenSummary{Status: j.status, Kind: j.kind, Algorithm: j.alg}}
	return w.answer(ctx, f, d, audiences[w.random.IntN(len(audiences))], nil, at)
}

// superseded records an allow that was not answered, since the token was found revoked meanwhile, and the deny that was.
func (w *writer) superseded(ctx context.Context, t *token, kind string, at time.Time) error {
	summary := pdp.TokenSummary{Status: pdp.StatusVerified, Kind: "jws", Algorithm: t.issuer.algorithm, KeyID: t.Header.KeyID, Type: t.Header.Type,
		Issuer: t.issuer.id, TokenID: t.ID, ExpiresAt: t.ExpiresAt}
	f := &pdp.Facts{Token: t.Token, Verification: t.verification, Revocation: pdp.Revocation{Known: true, AgeSeconds: 1}}
	allow := &pdp.Decision{Token: summary}
	if err := w.answer(ctx, f, allow, t.audience, t, at); err != nil {
		return err
	}
	f.Revocation.Revoked = kind
	deny := &pdp.Decision{Token: summary, Supersedes: allow.ID, Reasons: []pdp.Reason{w.reasons.reason("revocation."+kind, pdp.Deny, nil)}}
	return w.answer(ctx, f, deny, t.audience, t, at.Add(time.Millisecond))
}
