package policy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/policies"
)

const now = 1795460000

// library is the policy that Assay ships.
func library() Source {
	return Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(), InputSchema: policies.InputSchema(),
	}
}

// deciding is a policy of one module: package assay, and a rule decision that is an entrypoint, with this text.
func deciding(text string) Source {
	return Source{Modules: map[string][]byte{"test.rego": []byte("package assay\n\n# METADATA\n# entrypoint: true\n" + text)}}
}

func compiled(t testing.TB, s Source) *Revision {
	t.Helper()
	r, err := Compile(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// counts is an Observer.
type counts struct {
	evaluated, remembered, failed atomic.Int64
	failure                       atomic.Value
}

func (c *counts) PolicyEvaluated(_ time.Duration, failure error) {
	c.evaluated.Add(1)
	if failure != nil {
		c.failed.Add(1)
		c.failure.Store(failure.Error())
	}
}
func (c *counts) PolicyRemembered() { c.remembered.Add(1) }

func engine(t testing.TB, r *Revision) (*Engine, *counts) {
	t.Helper()
	seen := &counts{}
	e, err := New(Config{Revision: r, Observer: seen, Timeout: time.Hour}) // which no test is about
	if err != nil {
		t.Fatal(err)
	}
	return e, seen
}

func judge(t testing.TB, e *Engine, f *pdp.Facts) pdp.Verdict {
	t.Helper()
	verdict, err := e.Evaluate(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return verdict
}

func publicKey(t testing.TB) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// facts are those about a conforming RFC 9068 access token, with a token of their own.
func facts(t testing.TB) *pdp.Facts {
	t.Helper()
	trust, err := pdp.NewTrust(pdp.Issuer{ID: "https://idp.example"}, []pdp.Key{{
		ID: "k1", Thumbprint: "t1", Algorithm: "ES256", Public: publicKey(t), Created: time.Unix(now-86400, 0),
	}})
	if err != nil {
		t.Fatal(err)
	}
	exp, iat := pdp.UnixDate(now+300), pdp.UnixDate(now-60)
	return &pdp.Facts{
		Time:       now,
		Request:    &pdp.Request{Audience: "orders", Action: "read", Method: "GET", Path: "/orders/42"},
		Revocation: pdp.Revocation{Known: true, AgeSeconds: 2},
		Token: &pdp.Token{
			Size: 700, Kind: "jws",
			Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt", Parameters: map[string]any{
				"alg": "ES256", "kid": "k1", "typ": "at+jwt",
			}},
			Claims: map[string]any{
				"iss": "https://idp.example", "sub": "user-17", "aud": []any{"orders"}, "exp": number(now + 300), "iat": number(now - 60),
				"jti": "01JDXYZ", "client_id": "web", "scope": "orders:read orders:write",
			},
			ID: "01JDXYZ", Subject: "user-17", ClientID: "web", ExpiresAt: &exp, IssuedAt: &iat,
		},
		Verification: &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: &trust.Keys()[0], Algorithm: "ES256"},
	}
}

// unseen gives the same facts about a copy of the token with which nothing is kept.
func unseen(f *pdp.Facts) *pdp.Facts {
	t := f.Token
	copied := *f
	copied.Token = &pdp.Token{
		Size: t.Size, Kind: t.Kind, Header: t.Header, Claims: t.Claims, ID: t.ID, Subject: t.Subject, ClientID: t.ClientID,
		SessionID: t.SessionID, ExpiresAt: t.ExpiresAt, NotBefore: t.NotBefore, IssuedAt: t.IssuedAt, Unusable: t.Unusable,
	}
	return &copied
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

func codes(v pdp.Verdict) []string {
	list := []string{}
	for _, r := range v.Reasons {
		list = append(list, r.Code)
	}
	return list
}
