package workbench_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

const now = 1795460000

// library is the policy that Assay ships, with its tests.
func library(t testing.TB) workbench.Policy {
	t.Helper()
	p := workbench.Policy{Source: policy.Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(), InputSchema: policies.InputSchema(),
	}, Tests: map[string][]byte{}}
	if err := fs.WalkDir(policies.FS, "assay", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.rego") {
			p.Tests[path], err = policies.FS.ReadFile(path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return p
}

// with lays modules over the library; those named …_test.rego are tests.
func with(t testing.TB, texts map[string]string) workbench.Policy {
	t.Helper()
	files := &workbench.Files{Modules: map[string][]byte{}, Tests: map[string][]byte{}}
	for name, text := range texts {
		if strings.HasSuffix(name, "_test.rego") {
			files.Tests[name] = []byte(text)
		} else {
			files.Modules[name] = []byte(text)
		}
	}
	p, err := library(t).With(files)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func prepared(t testing.TB, p workbench.Policy) *workbench.Prepared {
	t.Helper()
	prepared, err := workbench.Prepare(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	return prepared
}

// facts are those about a conforming RFC 9068 access token with these claims laid over its own.
func facts(t testing.TB, over map[string]any) *pdp.Facts {
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
	claims := map[string]any{
		"iss": "https://idp.example", "sub": "user-17", "aud": []any{"orders"}, "exp": number(now + 300), "iat": number(now - 60),
		"jti": "01JDXYZ", "client_id": "web", "scope": "orders:read orders:write",
	}
	for name, value := range over {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	exp, iat := date(claims["exp"]), date(claims["iat"])
	return &pdp.Facts{
		Time: now, Request: &pdp.Request{Audience: "orders", Action: "read"}, Revocation: pdp.Revocation{Known: true, AgeSeconds: 2},
		Token: &pdp.Token{Size: 700, Kind: "jws",
			Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt", Parameters: map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}},
			Claims: claims, ID: "01JDXYZ", Subject: "user-17", ClientID: "web", ExpiresAt: exp, IssuedAt: iat},
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

// rule is the text of a rule of its own package with this body.
func rule(name, code, body string) string {
	return fmt.Sprintf(`package assay.rules.%s

# METADATA
# title: A rule
# description: For a test.
# custom:
#   code: %s
#   severity: low
#   controls: []
findings contains {"rule": rego.metadata.rule(), "message": "found", "details": {}} if {
	%s
}
`, name, code, body)
}
