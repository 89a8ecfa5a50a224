package pdp

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"
)

// ErrUnavailable is wrapped by every error of Decide: no decision could be made or recorded. The caller
// must refuse, and may ask again later.
var ErrUnavailable = errors.New("no decision can be made now")

// Examiner decodes, decrypts and verifies. It answers for any bytes and never returns nil; its error
// means that examination could not be finished (the context ended), not that the token is bad.
type Examiner interface {
	Examine(ctx context.Context, compact string) (*Token, *Verification, error)
}

// Revocations answers from memory whether anything about a verified token is revoked.
type Revocations interface {
	Lookup(t *Token, v *Verification) Revocation
}

// Policy judges facts. A policy that is undefined or misshapen is a verdict (a deny with
// policy.undefined), as is one that fails; the error is for an evaluation that was cut off.
type Policy interface {
	Evaluate(ctx context.Context, f *Facts) (Verdict, error)
}

// Recorder writes a decision down before it is answered. When it returns an error the decision must not
// be answered. A receipt says where the record is on disk for good; nil means that it is not yet.
type Recorder interface {
	Record(ctx context.Context, f *Facts, d *Decision) (*Receipt, error)
}

// Config wires a Decider.
type Config struct {
	Examiner Examiner // required
	Policy   Policy   // required
	// Revocations may be nil: nothing is revoked, and policy is told that it is not known.
	Revocations Revocations
	// Recorder may be nil: decisions leave no record.
	Recorder Recorder
	// Leeway is the clock skew forgiven at exp and nbf, in whole seconds; zero forgives none. DefaultLeeway is
	// what a configuration means that says nothing.
	Leeway time.Duration
	// MaxReuse is the longest that a caller may reuse an allow, in whole seconds, whatever policy says; zero sets no
	// limit. A caller that reuses an answer hears of no revocation meanwhile, so where tokens can be revoked
	// its answers should not be older than an index may be.
	MaxReuse time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
	// NewID makes decision ids; required.
	NewID func(time.Time) string
}

// Decider makes decisions. It is safe for concurrent use and keeps no state of its own.
type Decider struct{ c Config }

// New checks the wiring.
func New(c Config) (*Decider, error) {
	if c.Examiner == nil || c.Policy == nil || c.NewID == nil {
		return nil, errors.New("pdp: Examiner, Policy and NewID are required")
	}
	if c.Leeway < 0 || c.Leeway%time.Second != 0 {
		return nil, fmt.Errorf("pdp: leeway %s: it must be a whole number of seconds, zero or more", c.Leeway)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Decider{c}, nil
}

// Decide answers one request. An error wraps ErrUnavailable and means that there is no answer.
func (d *Decider) Decide(ctx context.Context, r *Request) (*Decision, error) {
	decision, facts, err := d.make(ctx, r)
	if err != nil || d.c.Recorder == nil {
		return decision, err
	}
	if err := d.record(ctx, facts, decision); err != nil {
		return nil, err
	}
	return d.lookAgain(ctx, facts, decision)
}

// make examines and judges.
func (d *Decider) make(ctx context.Context, r *Request) (*Decision, *Facts, error) {
	began := d.c.Now()
	token, verification, err := d.c.Examiner.Examine(ctx, r.Token)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: examining the token: %w", ErrUnavailable, err)
	}
	decision, facts, err := d.judge(ctx, r, token, verification)
	if err != nil {
		return nil, nil, err
	}
	facts.Began = began
	return decision, facts, nil
}

func (d *Decider) record(ctx context.Context, f *Facts, made *Decision) error {
	receipt, err := d.c.Recorder.Record(ctx, f, made)
	if err != nil {
		return unrecorded(err)
	}
	made.Receipt = receipt
	return nil
}

// lookAgain looks once more whether the token of a recorded allow is revoked, since recording takes time. A deny
// supersedes: it is a decision of its own, recorded too, and the allow is never answered.
func (d *Decider) lookAgain(ctx context.Context, f *Facts, allowed *Decision) (*Decision, error) {
	found := d.revokedSince(f, allowed)
	if found.Revoked == "" {
		return allowed, nil
	}
	again := *f
	again.Revocation = found
	denied := d.conclude(&again, Verdict{Reasons: allowed.Reasons, Revision: allowed.PolicyRevision, Words: allowed.Words}, d.c.Now())
	denied.Supersedes = allowed.ID
	if err := d.record(ctx, &again, denied); err != nil {
		return nil, err
	}
	return denied, nil
}

// revokedSince looks whether the token of an allow is revoked by now.
func (d *Decider) revokedSince(f *Facts, made *Decision) Revocation {
	if !made.Allow || d.c.Revocations == nil {
		return Revocation{}
	}
	return d.c.Revocations.Lookup(f.Token, f.Verification)
}

// Judge decides about a token that was already examined, or that is about to be signed, and records
// nothing. It is what an issuer asks before it signs.
func (d *Decider) Judge(ctx context.Context, r *Request, t *Token, v *Verification) (*Decision, error) {
	decision, _, err := d.judge(ctx, r, t, v)
	return decision, err
}

func (d *Decider) judge(ctx context.Context, r *Request, t *Token, v *Verification) (*Decision, *Facts, error) {
	now := d.c.Now()
	facts := &Facts{Request: r, Token: t, Verification: v, Time: now.Unix()}
	if d.c.Revocations != nil && v.Verified() {
		facts.Revocation = d.c.Revocations.Lookup(t, v)
	}
	verdict, err := d.c.Policy.Evaluate(ctx, facts)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: evaluating the policy: %w", ErrUnavailable, err)
	}
	return d.conclude(facts, verdict, now), facts, nil
}

// conclude joins the policy's verdict and the floor's veto into the answer.
func (d *Decider) conclude(f *Facts, verdict Verdict, now time.Time) *Decision {
	decision := &Decision{
		ID:             d.c.NewID(now),
		Reasons:        verdict.Reasons,
		Token:          summarize(f.Token, f.Verification),
		PolicyRevision: verdict.Revision,
		Words:          verdict.Words,
		EvaluatedAt:    now,
	}
	vetoes := floor(f, d.c.Leeway)
	decision.Allow = verdict.Allow && len(vetoes) == 0 && !denies(verdict.Reasons)
	if len(vetoes) > 0 {
		decision.Reasons = merge(vetoes, verdict.Reasons)
		if f.Verification.Verified() {
			for i := range vetoes {
				decision.Vetoes = append(decision.Vetoes, vetoes[i].Code)
			}
		}
	}
	if !decision.Allow {
		if !denies(decision.Reasons) {
			decision.Reasons = append(decision.Reasons[:len(decision.Reasons):len(decision.Reasons)],
				reason("policy.undefined", "the policy neither allows nor says why not", nil))
		}
		return decision
	}
	decision.Obligations = verdict.Obligations
	decision.Claims, decision.claimsJSON = verdict.released(f.Token)
	decision.CacheForSeconds = min(verdict.CacheForSeconds, f.Token.ExpiresAt.Floor()-f.Time)
	if d.c.MaxReuse > 0 {
		decision.CacheForSeconds = min(decision.CacheForSeconds, int64(d.c.MaxReuse/time.Second))
	}
	decision.CacheForSeconds = max(decision.CacheForSeconds, 0)
	return decision
}

// merge puts the floor's vetoes first. Where policy gave the same code, its fuller message and details
// stay and only its enforcement becomes deny.
func merge(vetoes, given []Reason) []Reason {
	merged := make([]Reason, 0, len(vetoes)+len(given))
	taken := make(map[string]bool, len(vetoes))
	for _, veto := range vetoes {
		taken[veto.Code] = true
		found := false
		for _, r := range given {
			if r.Code == veto.Code {
				r.Enforcement = Deny
				merged, found = append(merged, r), true
			}
		}
		if !found {
			merged = append(merged, veto)
		}
	}
	for _, r := range given {
		if !taken[r.Code] {
			merged = append(merged, r)
		}
	}
	return merged
}

func denies(reasons []Reason) bool {
	for i := range reasons {
		if reasons[i].Enforcement.Denies() {
			return true
		}
	}
	return false
}

// release copies the claims at the given paths out of the verified token: policy says which, never what.
func release(claims map[string]any, paths [][]string) map[string]any {
	released := make(map[string]any, len(paths))
	for _, path := range paths {
		copyPath(released, claims, path)
	}
	return released
}

func copyPath(to, from map[string]any, path []string) {
	if len(path) == 0 {
		return
	}
	value, ok := from[path[0]]
	if !ok {
		return
	}
	if len(path) == 1 {
		to[path[0]] = value
		return
	}
	inner, ok := value.(map[string]any)
	if !ok {
		return
	}
	target, ok := to[path[0]].(map[string]any)
	switch {
	case !ok:
		target = make(map[string]any)
	case reflect.ValueOf(target).Pointer() == reflect.ValueOf(inner).Pointer():
		return // released whole already: it is the token's own, which other decisions read
	}
	copyPath(target, inner, path[1:])
	if len(target) > 0 {
		to[path[0]] = target
	}
}

func summarize(t *Token, v *Verification) TokenSummary {
	s := TokenSummary{Status: v.Status, Kind: t.Kind, Algorithm: t.Header.Algorithm, KeyID: t.Header.KeyID, Type: t.Header.Type, Keyless: v.Keyless}
	if v.Verified() {
		s.Issuer, s.TokenID, s.ExpiresAt = v.Trust.Issuer.ID, t.ID, t.ExpiresAt
	}
	return s
}
