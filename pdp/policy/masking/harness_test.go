package masking

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/policies"
)

const now = 1795460000

// library is the policy that Assay ships.
func library() policy.Source {
	return policy.Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(), InputSchema: policies.InputSchema(),
	}
}

// with is a policy that denies everything and has these modules beside, by file name.
func with(modules map[string]string) policy.Source {
	source := policy.Source{Modules: map[string][]byte{
		"assay.rego": []byte("package assay\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": false, \"reasons\": set()}\n"),
	}}
	for name, text := range modules {
		source.Modules[name] = []byte(text)
	}
	return source
}

func compiled(t testing.TB, s policy.Source) *policy.Revision {
	t.Helper()
	r, err := policy.Compile(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

type counts struct{ evaluated, failed int }

func (c *counts) Masked(_ time.Duration, failure error) {
	c.evaluated++
	if failure != nil {
		c.failed++
	}
}

func masker(t testing.TB, r *policy.Revision) (*Masker, *counts) {
	t.Helper()
	seen := &counts{}
	m, err := New(Config{Revision: func() *policy.Revision { return r }, Timeout: 10 * time.Second, Observer: seen, NewKept: func() any { return new(int) }})
	if err != nil {
		t.Fatal(err)
	}
	return m, seen
}

// facts are those about a conforming RFC 9068 access token with these claims beside.
func facts(t testing.TB, further map[string]any) (*pdp.Facts, *pdp.Decision) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := pdp.NewTrust(pdp.Issuer{ID: "https://idp.example"}, []pdp.Key{{
		ID: "k1", Thumbprint: "t1", Algorithm: "ES256", Public: &key.PublicKey, Created: time.Unix(now-86400, 0),
	}})
	if err != nil {
		t.Fatal(err)
	}
	exp, iat := pdp.UnixDate(now+300), pdp.UnixDate(now-60)
	claims := map[string]any{
		"iss": "https://idp.example", "sub": "user-17", "aud": []any{"orders"}, "exp": number(now + 300), "iat": number(now - 60),
		"jti": "018f4b6e-7d3c-7a52-b1de-5c8e4f0a9d21", "client_id": "web", "scope": "orders:read orders:write",
	}
	for name, value := range further {
		claims[name] = value
	}
	f := &pdp.Facts{
		Time: now, Request: &pdp.Request{Audience: "orders", Action: "read", Method: "GET", Path: "/orders/42"},
		Token: &pdp.Token{
			Size: 700, Kind: "jws", Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt"},
			Claims: claims, ID: "018f4b6e", Subject: "user-17", ClientID: "web", ExpiresAt: &exp, IssuedAt: &iat,
		},
		Verification: &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: &trust.Keys()[0], Algorithm: "ES256"},
	}
	return f, &pdp.Decision{ID: "01JDXYZ", EvaluatedAt: time.Unix(now, 0), Token: pdp.TokenSummary{Status: pdp.StatusVerified}}
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }
