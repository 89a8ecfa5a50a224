package pdp_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// now is the moment of every decision here.
const now = 1795460000

const issuerID = "https://idp.example"

// facts are those of a token against which the floor has nothing, for a test to spoil one of them.
type facts struct {
	token        *pdp.Token
	verification *pdp.Verification
	revocation   pdp.Revocation
	issuer       pdp.Issuer
	keys         []pdp.Key
}

func newKey(t testing.TB, kid, thumbprint string) pdp.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pdp.Key{ID: kid, Thumbprint: thumbprint, Public: &private.PublicKey}
}

func date(seconds int64) *pdp.NumericDate {
	d := pdp.UnixDate(seconds)
	return &d
}

func fraction(t testing.TB, text string) *pdp.NumericDate {
	t.Helper()
	d, err := pdp.ParseNumericDate(json.Number(text))
	if err != nil {
		t.Fatal(err)
	}
	return &d
}

func goodFacts(t testing.TB) *facts {
	t.Helper()
	key := newKey(t, "k1", "print-1")
	f := &facts{
		issuer: pdp.Issuer{ID: issuerID},
		keys:   []pdp.Key{key},
		token: &pdp.Token{
			Size: 700, Kind: "jws", Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt"},
			ID: "token-1", Subject: "alice", ExpiresAt: date(now + 300), IssuedAt: date(now - 60), NotBefore: date(now - 60),
			Claims: map[string]any{
				"iss": issuerID, "sub": "alice", "scope": "read", "exp": json.Number("1795460300"),
				"address": map[string]any{"country": "NL", "city": "Delft", "geo": map[string]any{"lat": json.Number("52.0"), "lon": json.Number("4.36")}},
			},
		},
		verification: &pdp.Verification{Status: pdp.StatusVerified, Key: &key, Algorithm: "ES256"},
	}
	return f
}

// allowing is a policy that allows everything, with what the test adds.
func allowing(reasons ...pdp.Reason) pdp.Verdict {
	return pdp.Verdict{Allow: true, Reasons: reasons, Revision: "r1", CacheForSeconds: 60, Claims: [][]string{{"sub"}}}
}

type policyFunc func(*pdp.Facts) (pdp.Verdict, error)

func (p policyFunc) Evaluate(_ context.Context, f *pdp.Facts) (pdp.Verdict, error) { return p(f) }

func says(v pdp.Verdict) policyFunc { return func(*pdp.Facts) (pdp.Verdict, error) { return v, nil } }

type examinerFunc func(string) (*pdp.Token, *pdp.Verification, error)

func (e examinerFunc) Examine(_ context.Context, compact string) (*pdp.Token, *pdp.Verification, error) {
	return e(compact)
}

type revocations struct {
	answer pdp.Revocation
	asked  atomic.Int32
}

func (r *revocations) Lookup(*pdp.Token, *pdp.Verification) pdp.Revocation {
	r.asked.Add(1)
	return r.answer
}

type recorderFunc func(*pdp.Facts, *pdp.Decision) error

func (r recorderFunc) Record(_ context.Context, f *pdp.Facts, d *pdp.Decision) (*pdp.Receipt, error) {
	return &pdp.Receipt{Log: "log.example", Index: 7}, r(f, d)
}

// config wires a Decider over the facts.
func (f *facts) config(t testing.TB, policy pdp.Policy) pdp.Config {
	t.Helper()
	if f.verification.Status == pdp.StatusVerified && f.verification.Trust == nil && f.keys != nil {
		trust, err := pdp.NewTrust(f.issuer, f.keys)
		if err != nil {
			t.Fatal(err)
		}
		f.verification.Trust = trust
	}
	return pdp.Config{
		Leeway:      pdp.DefaultLeeway,
		Examiner:    examinerFunc(func(string) (*pdp.Token, *pdp.Verification, error) { return f.token, f.verification, nil }),
		Policy:      policy,
		Revocations: &revocations{answer: f.revocation},
		Now:         func() time.Time { return time.Unix(now, 999_999_999) },
		NewID:       func(time.Time) string { return "01JD" },
	}
}

func decide(t testing.TB, c pdp.Config) *pdp.Decision {
	t.Helper()
	d, err := pdp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	decision, err := d.Decide(t.Context(), &pdp.Request{Token: "compact"})
	if err != nil {
		t.Fatal(err)
	}
	return decision
}

// denials are the codes that deny, in order.
func denials(d *pdp.Decision) []string {
	var codes []string
	for _, r := range d.Reasons {
		if r.Enforcement == pdp.Deny {
			codes = append(codes, r.Code)
		}
	}
	return codes
}

func checkDenied(t *testing.T, d *pdp.Decision, codes ...string) {
	t.Helper()
	if d.Allow || !slices.Equal(denials(d), codes) {
		t.Errorf("allow %v for %q, want a deny for %q", d.Allow, denials(d), codes)
	}
	if len(d.Claims) > 0 || d.CacheForSeconds != 0 || len(d.Obligations.OmitClaims) > 0 {
		t.Errorf("a deny gives claims %v, cache %d, obligations %v", d.Claims, d.CacheForSeconds, d.Obligations)
	}
}
