package token

import (
	"context"
	"encoding/base64"
	"reflect"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// seedTokens are tokens of every kind and fault that the table tests know.
func seedTokens() []string {
	seeds := []string{"", ".", "..", "....", "{}", encrypted(nil, good("es256", "ES256", nil))}
	for _, alg := range []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519"} {
		seeds = append(seeds, good(keyFor(alg), alg, nil))
	}
	for _, group := range [][]refusedCase{malformedForms(), features(), unsecured(), issuers(), keyChoices(), orders()} {
		for _, c := range group {
			seeds = append(seeds, c.token)
		}
	}
	return seeds
}

// Never verified unless a reader that shares no line with this one agrees; never without a status; nothing
// of an unverified token is believed; and the second examination, which the cache may answer, says the same.
func FuzzExamine(f *testing.F) {
	for _, seed := range seedTokens() {
		f.Add(seed)
	}
	b := newBook(f)
	e := newExaminer(f, Config{Trust: b, Decrypter: &localKey{}})
	f.Fuzz(func(t *testing.T, compact string) {
		token, v := examineTwice(t, e, compact)
		if !v.Verified() || token.Kind == "nested" {
			return
		}
		payload, err := byStandardLibrary(compact, v.Trust.Keys())
		if problem := agree(token, payload, err); problem != "" {
			t.Fatalf("verified here, but the standard library %s: %q", problem, compact)
		}
	})
}

// The same for headers and claims of which the signature is right, whatever they say: a fuzzer cannot sign.
func FuzzExamineSigned(f *testing.F) {
	good := text(header("EdDSA", "ed", nil))
	for _, h := range []any{
		string(good), `{"alg":"EdDSA","kid":"ed","crit":["x"],"x":1}`, `{"alg":"EdDSA","kid":"ed","b64":false}`, `{"alg":"EdDSA"}`, `{"alg":"none","alg":"EdDSA"}`,
		`{"alg":"Ed25519","kid":"ed","x":{"y":[1,2.5e3]}}`, `{"alg":"EdDSA","kid":"\u0065d"}`, `{"ALG":"EdDSA","kid":"ed"}`, ` {"alg":"EdDSA","kid":"ed"}`, "[]", "\xff",
	} {
		f.Add(text(h), text(claims(nil)))
	}
	for _, c := range []string{
		`{"iss":"https://idp.example","exp":1.5,"nbf":-1e3,"iat":"x"}`, `{"iss":"https://idp.example","iss":"x"}`, `{"iss":"https:\/\/idp.example","x":"\ud83d\ude00"}`,
		`{"iss":"https://idp.example","exp":1e308}`, `{"iss":"https://idp.example","a":[[[[[[1]]]]]]}`, `{"ISS":"https://idp.example"}`, "{}{}", "{}\x00", "null", "\ufeff{}",
	} {
		f.Add(good, []byte(c))
	}
	e := newExaminer(f, Config{Trust: newBook(f)})
	f.Fuzz(func(t *testing.T, header, claims []byte) {
		compact := signed("ed", "EdDSA", string(header), string(claims))
		token, v := examineTwice(t, e, compact)
		if !v.Verified() {
			return
		}
		payload, err := byStandardLibrary(compact, v.Trust.Keys())
		if problem := agree(token, payload, err); problem != "" {
			t.Fatalf("verified here, but the standard library %s: %q", problem, compact)
		}
		if token.Claims["iss"] != issuerAll || token.Header.Parameters["alg"] != v.Algorithm || token.ID == "" {
			t.Fatalf("%+v, %+v", token, v)
		}
	})
}

func examineTwice(t *testing.T, e *Examiner, compact string) (*pdp.Token, *pdp.Verification) {
	t.Helper()
	token, v, err := e.Examine(context.Background(), compact)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status == "" || token.Size != len(compact) || (v.Status == pdp.StatusVerified) != v.Verified() || (v.Reason == nil) != v.Verified() {
		t.Fatalf("%+v, %+v", token, v)
	}
	if !v.Verified() && (token.Claims != nil || token.ID != "" || token.Subject != "" || token.ExpiresAt != nil || v.Key != nil) {
		t.Fatalf("something of an unverified token is believed: %+v", token)
	}
	again, w, err := e.Examine(context.Background(), compact)
	if err != nil || !reflect.DeepEqual(again, token) || !reflect.DeepEqual(w, v) {
		t.Fatalf("first %+v, %+v; then %+v, %+v, %v", token, v, again, w, err)
	}
	return token, v
}

// What is cut is put together again to the same text, and each part has one spelling only.
func FuzzCompact(f *testing.F) {
	for _, seed := range seedTokens() {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, compact string) {
		parts, err := split(compact)
		if err != nil {
			return
		}
		if strings.Join(parts, ".") != compact || len(parts) != jwsParts && len(parts) != jweParts {
			t.Fatalf("%q cut into %q", compact, parts)
		}
		for _, part := range parts {
			decoded, err := decodePart(part)
			if err != nil {
				continue
			}
			if again := base64.RawURLEncoding.EncodeToString(decoded); again != part {
				t.Fatalf("%q and %q are the same bytes", part, again)
			}
		}
	})
}
