package token

import (
	"context"
	"reflect"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// What is judged before it is signed is what is examined afterwards.
func TestUnsignedReadsAsExamined(t *testing.T) {
	b := newBook(t)
	trust := b.Trust(issuerAll)
	e := newExaminer(t, Config{Trust: b})
	for _, alg := range pdp.Algorithms() {
		for name, over := range map[string]m{"jti": nil, "no jti": {"jti": gone}, "fractions": {"exp": 1.5, "nbf": "x"}} {
			key, _ := trust.KeyByID(keyFor(alg))
			h, p := text(header(alg, key.ID, nil)), text(claims(over))
			before, v, err := Unsigned(h, p, trust, key)
			if err != nil || !v.Verified() || v.Trust != trust || v.Key != key || v.Algorithm != alg {
				t.Fatalf("%s: %+v, %v", alg, v, err)
			}
			after, _, err := e.Examine(context.Background(), signed(keyFor(alg), alg, string(h), string(p)))
			if err != nil || !reflect.DeepEqual(before, after) {
				t.Errorf("%s, %s: before %+v; after %+v, %v", alg, name, before, after, err)
			}
		}
	}
}

func TestUnsignedRefuses(t *testing.T) {
	trust := newBook(t).Trust(issuerAll)
	key, _ := trust.KeyByID("es256")
	for name, c := range map[string]struct{ header, payload, want string }{
		"header":            {"[]", "{}", "header"},
		"duplicate claims":  {`{"alg":"ES256"}`, `{"a":1,"a":2}`, "claims"},
		"crit":              {`{"alg":"ES256","crit":["x"],"x":1}`, "{}", "critical"},
		"algorithm":         {`{"alg":"ES384"}`, "{}", "does not fit"},
		"none":              {`{"alg":"none"}`, "{}", "does not fit"},
		"enc":               {`{"alg":"ES256","enc":"A128GCM"}`, `{"iss":"https://idp.example"}`, "enc"},
		"no issuer":         {`{"alg":"ES256"}`, "{}", "iss"},
		"another issuer":    {`{"alg":"ES256"}`, `{"iss":"https://narrow.example"}`, "iss"},
		"issuers in a list": {`{"alg":"ES256"}`, `{"iss":["https://idp.example"]}`, "iss"},
	} {
		token, v, err := Unsigned([]byte(c.header), []byte(c.payload), trust, key)
		if err == nil || !strings.Contains(err.Error(), c.want) || token != nil || v != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestInspect(t *testing.T) {
	i, err := Inspect(good("es256", "ES256", nil))
	if err != nil || i.Kind != "jws" || i.Header["kid"] != "es256" || i.Claims["sub"] != "subject-1" || i.SignatureBytes != 64 {
		t.Errorf("%+v, %v", i, err)
	}
	i, err = Inspect(encrypted(nil, "x"))
	if err != nil || i.Kind != "jwe" || i.Header["enc"] != "A256GCM" || i.Claims != nil {
		t.Errorf("%+v, %v", i, err)
	}
	// An unsecured token is shown as well: it is only looked at.
	i, err = Inspect(encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(`{"sub":"x"}`)) + ".")
	if err != nil || i.Claims["sub"] != "x" || i.SignatureBytes != 0 {
		t.Errorf("%+v, %v", i, err)
	}
	// What could be read stays with the error.
	i, err = Inspect(encode([]byte(`{"alg":"ES256"}`)) + "." + encode([]byte(`[]`)) + ".AA")
	if err == nil || i.Header["alg"] != "ES256" || i.Claims != nil {
		t.Errorf("%+v, %v", i, err)
	}
	for _, compact := range []string{"", "x", "a.b", "..", `{"payload":""}`, "a.b.c d"} {
		if i, err := Inspect(compact); err == nil {
			t.Errorf("%q: %+v", compact, i)
		}
	}
}
