package replay

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/masking"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

const now = 1795460000

// compiled is the library, configured so, with own rules.
func compiled(t testing.TB, config string, rules map[string]string) *policy.Revision {
	t.Helper()
	modules := policies.Modules()
	for name, text := range rules {
		modules[name] = []byte(text)
	}
	r, err := policy.Compile(t.Context(), policy.Source{Modules: modules, Defaults: policies.Defaults(), Config: []byte(config),
		Schema: policies.ConfigSchema(), InputSchema: policies.InputSchema()})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rule is the text of a rule of its own package with this body.
func rule(name, body string) string {
	return fmt.Sprintf(`package assay.rules.%s

# METADATA
# title: A rule
# description: For a test.
# custom:
#   code: acme.%s
#   severity: low
#   controls: []
findings contains {"rule": rego.metadata.rule(), "message": "found", "details": {}} if {
	%s
}
`, name, name, body)
}

// memory is a log.
type memory struct{ records [][]byte }

func (m *memory) Append(_ context.Context, _ time.Time, record []byte) (int64, [sha256.Size]byte, bool, error) {
	m.records = append(m.records, slices.Clone(record))
	return int64(len(m.records) - 1), sha256.Sum256(record), true, nil
}

// Promise tells the witness at once.
func (m *memory) Promise(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (int64, [sha256.Size]byte, bool, error) {
	index, hash, durable, err := m.Append(ctx, at, record)
	w.Recorded(index, err)
	return index, hash, durable, err
}

// masker asks the policy that decides, as the server does.
type masker struct{ *masking.Masker }

func (p masker) Mask(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (audit.Mask, error) {
	m, err := p.Masker.Mask(ctx, f, d)
	return audit.Mask{Clear: m.Clear, Pseudonymise: m.Pseudonymise, ClearRequest: m.ClearRequest, PseudonymiseRequest: m.PseudonymiseRequest, Remove: m.Remove, Revision: m.Revision}, err
}

// pseudonyms are not secret here.
type pseudonyms struct{}

func (pseudonyms) Pseudonym(_ time.Time, kind, issuer, value string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", kind, issuer, value))
	return fmt.Sprintf("p:2026-11.v1:%x", sum[:8])
}

func (pseudonyms) Epoch(time.Time) string { return "2026-11.v1" }

type openMasker struct{}

// Mask clears everything.
func (openMasker) Mask(_ context.Context, f *pdp.Facts, _ *pdp.Decision) (audit.Mask, error) {
	m := audit.Mask{Revision: "open", ClearRequest: [][]string{{"action"}, {"resource"}, {"path"}, {"client_ip"}, {"context"}}}
	for name := range f.Token.Claims {
		m.Clear = append(m.Clear, []string{name})
	}
	return m, nil
}

// desk decides under one policy and records.
type desk struct {
	*pdp.Decider
	log  memory
	next *pdp.Facts
}

// Examine gives the facts that are next.
func (d *desk) Examine(context.Context, string) (*pdp.Token, *pdp.Verification, error) {
	return d.next.Token, d.next.Verification, nil
}

// Lookup gives the facts that are next.
func (d *desk) Lookup(*pdp.Token, *pdp.Verification) pdp.Revocation { return d.next.Revocation }

func newDesk(t testing.TB, r *policy.Revision, open bool) *desk {
	t.Helper()
	d := &desk{}
	engine, err := policy.New(policy.Config{Revision: r, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	clock := func() time.Time { return time.Unix(now, 0).UTC() }
	n := 0
	id := func(time.Time) string { n++; return fmt.Sprintf("D%06d", n) }
	m, err := masking.New(masking.Config{Revision: func() *policy.Revision { return r }, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	wired := audit.Config{Log: &d.log, Origin: "test", Masker: masker{m}, Pseudonyms: pseudonyms{}, Instance: "one", Version: "1", NewID: id, Now: clock}
	if open {
		wired.Masker = openMasker{}
	}
	recorder, err := audit.New(wired)
	if err != nil {
		t.Fatal(err)
	}
	d.Decider, err = pdp.New(pdp.Config{Examiner: d, Policy: engine, Revocations: d, Recorder: recorder, Leeway: pdp.DefaultLeeway, Now: clock, NewID: id})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// decide decides and gives the answer and its record.
func (d *desk) decide(t testing.TB, f *pdp.Facts) (workbench.Answer, []byte) {
	t.Helper()
	d.next = f
	decision, err := d.Decide(t.Context(), f.Request)
	if err != nil {
		t.Fatal(err)
	}
	answer := workbench.Answer{Allow: decision.Allow, Findings: []workbench.Finding{}}
	for _, r := range decision.Reasons {
		answer.Findings = append(answer.Findings, workbench.Finding{Code: pdp.RecordedCode(r.Code, decision.Words), Enforcement: string(r.Enforcement)})
	}
	workbench.SortFindings(answer.Findings)
	return answer, d.log.records[len(d.log.records)-1]
}

// trusted is an issuer with one key.
func trusted(t testing.TB) *pdp.Trust {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pdp.NewTrust(pdp.Issuer{ID: "https://idp.example", HardMaxLifetime: 2 * time.Hour}, []pdp.Key{{
		ID: "k1", Thumbprint: "thumb", Algorithm: "ES256", Public: &key.PublicKey, Created: time.Unix(now-86400, 0),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

// verified are the facts about a conforming access token with these claims laid over its own; nil takes one away.
func verified(trust *pdp.Trust, over map[string]any) *pdp.Facts {
	claims := map[string]any{"iss": "https://idp.example", "sub": "user-17", "aud": []any{"orders"}, "exp": number(now + 600), "iat": number(now - 60),
		"jti": "01JDXYZ", "client_id": "web", "scope": "orders:read orders:write"}
	for name, value := range over {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	id, _ := claims["jti"].(string)
	subject, _ := claims["sub"].(string)
	return &pdp.Facts{
		Time: now, Request: &pdp.Request{Audience: "orders", Action: "read", Method: "GET", ClientIP: "192.0.2.7"}, Revocation: pdp.Revocation{Known: true, AgeSeconds: 2},
		Token: &pdp.Token{Size: 700, Kind: "jws",
			Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt", Parameters: map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}},
			Claims: claims, ID: id, Subject: subject, ClientID: "web", ExpiresAt: date(claims["exp"]), IssuedAt: date(claims["iat"])},
		Verification: &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: &trust.Keys()[0], Algorithm: "ES256"},
	}
}

func date(claim any) *pdp.NumericDate {
	n, ok := claim.(json.Number)
	if !ok {
		return nil
	}
	seconds, err := n.Int64()
	if err != nil {
		return nil
	}
	d := pdp.UnixDate(seconds)
	return &d
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }
