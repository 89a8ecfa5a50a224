package policy

import (
	"reflect"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/strictjson"
	"github.com/assaypdp/assay/policies"
)

func jweFacts(t *testing.T) *pdp.Facts {
	f := facts(t)
	f.Token.Kind, f.Token.Header.Encryption, f.Token.Header.ContentType = "nested", "A256GCM", "jwt"
	f.Token.Header.KeyReferences = []string{"jku", "x5c"}
	f.Verification.Encrypted = true
	f.Revocation.Revoked = "key"
	f.Request = &pdp.Request{
		Audience: "a", TokenType: pdp.IDToken, Action: "b", Resource: "c", Method: "d", Path: "e", ClientIP: "f", Purpose: "g",
		Context: map[string]any{"h": nil}, Caller: pdp.Caller{Name: "i", Method: "mtls"}, ID: "never in the input",
	}
	return f
}

// What policy authors are promised, and type-check their modules against, is what the engine builds.
func TestWholeInputFitsItsSchema(t *testing.T) {
	schema, err := strictjson.DecodeObject(policies.InputSchema(), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	refused := facts(t)
	refused.Verification = &pdp.Verification{Status: pdp.StatusKeyUnknown, Reason: pdp.NewFloorReason("signature.key_unknown", "no such key", nil)}
	bare := &pdp.Facts{Request: &pdp.Request{}, Token: &pdp.Token{}, Verification: &pdp.Verification{Status: pdp.StatusMalformed}}
	for name, f := range map[string]*pdp.Facts{"verified": facts(t), "encrypted": jweFacts(t), "refused": refused, "unreadable": bare} {
		t.Run(name, func(t *testing.T) {
			document, err := ast.JSON(wholeInput(t, f).Value)
			if err != nil {
				t.Fatal(err)
			}
			problems, err := mismatches(t.Context(), document.(map[string]any), schema)
			if err != nil || len(problems) > 0 {
				t.Errorf("%v, %v", problems, err)
			}
		})
	}
}

func wholeInput(t *testing.T, f *pdp.Facts) *ast.Term {
	t.Helper()
	v := viewOf(&reads{all: true})
	input, err := v.input(f)
	if err != nil {
		t.Fatal(err)
	}
	return input
}

func TestWholeInputHoldsEverything(t *testing.T) {
	want := ast.MustParseTerm(`{
		"time": 1795460000,
		"request": {"audience": "a", "token_type": "id_token", "action": "b", "resource": "c", "method": "d", "path": "e",
			"client_ip": "f", "purpose": "g", "context": {"h": null}, "caller": "i", "caller_method": "mtls"},
		"token": {"size": 700, "kind": "nested", "alg": "ES256", "enc": "A256GCM", "kid": "k1", "typ": "at+jwt", "cty": "jwt",
			"key_references": ["jku", "x5c"], "encrypted": true, "id": "01JDXYZ",
			"header": {"alg": "ES256", "kid": "k1", "typ": "at+jwt"},
			"claims": {"iss": "https://idp.example", "sub": "user-17", "aud": ["orders"], "exp": 1795460300, "iat": 1795459940,
				"jti": "01JDXYZ", "client_id": "web", "scope": "orders:read orders:write"}},
		"verification": {"status": "verified", "issuer": "https://idp.example", "alg": "ES256",
			"key": {"thumbprint": "t1", "kid": "k1", "kty": "EC", "crv": "P-256", "bits": 256, "created": 1795373600, "alg": "ES256"}},
		"revocation": {"known": true, "revoked": "key", "age_seconds": 2}
	}`)
	if got := wholeInput(t, jweFacts(t)); got.Value.Compare(want.Value) != 0 {
		t.Errorf("%v\nwant %v", got, want)
	}
	want = ast.MustParseTerm(`{
		"time": 0, "request": {"token_type": "access_token"}, "revocation": {"known": false},
		"token": {"size": 3, "key_references": [], "encrypted": false, "kid": ""}, "verification": {"status": "malformed"}
	}`)
	empty := &pdp.Facts{
		Request: &pdp.Request{}, Verification: &pdp.Verification{Status: pdp.StatusMalformed},
		Token: &pdp.Token{Size: 3, Claims: map[string]any{"sub": "not verified"}, ID: "x", Header: pdp.Header{HasKeyID: true}},
	}
	if got := wholeInput(t, empty); got.Value.Compare(want.Value) != 0 {
		t.Errorf("%v\nwant %v", got, want)
	}
}

// Leaving out what no module reads changes no verdict.
func TestPartOfTheInputGivesTheVerdictOfTheWhole(t *testing.T) {
	part := compiled(t, library())
	source := library()
	source.Modules["whole.rego"] = []byte("package assay.whole\n\nall := input")
	if beside := compiled(t, source); !beside.remembers {
		t.Error("a module on which the decision does not depend makes a difference")
	}
	source.Modules["whole.rego"] = []byte("package assay.rules.whole\n\nfindings contains \"never\" if data.assay.whole.all == {}")
	source.Modules["all.rego"] = []byte("package assay.whole\n\nall := input")
	whole := compiled(t, source)
	if whole.remembers || !part.remembers {
		t.Fatal("the module that reads everything makes no difference")
	}
	if n := len(whole.view.token); n != len(tokenMembers) || len(part.view.token) >= n {
		t.Errorf("%d members of token in the whole, %d in part, of %d", n, len(part.view.token), len(tokenMembers))
	}
	refused := facts(t)
	refused.Verification = &pdp.Verification{Status: pdp.StatusKeyUnknown, Reason: pdp.NewFloorReason("signature.key_unknown", "no such key", nil)}
	expired := facts(t)
	expired.Time += 3600
	for name, f := range map[string]*pdp.Facts{"conforming": facts(t), "encrypted": jweFacts(t), "refused": refused, "expired": expired} {
		e, _ := engine(t, part)
		got := judge(t, e, f)
		e.Swap(whole)
		want := judge(t, e, f)
		got.Revision, got.Words, want.Revision, want.Words = "", nil, "", nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nwith the whole input %+v", name, got, want)
		}
	}
}
