package token

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// fixedKey is a Decrypter that is the same in every process. It opens what sealed made.
type fixedKey struct{ aead cipher.AEAD }

var contentKey = []byte("sixteen bytes ab")

func newFixedKey(t testing.TB) fixedKey {
	block, err := aes.NewCipher(contentKey)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return fixedKey{aead}
}

func (fixedKey) DecryptKey(_ context.Context, _, _ string, encryptedKey []byte) ([]byte, error) {
	if string(encryptedKey) != "key" {
		return nil, errors.New("not encrypted to this key")
	}
	return contentKey, nil
}

func (fixedKey) Holds(string) bool { return true }

func (k fixedKey) sealed(header, plain string) string {
	protected := encode([]byte(header))
	content := k.aead.Seal(nil, make([]byte, 12), []byte(plain), []byte(protected))
	cut := len(content) - 16
	return strings.Join([]string{protected, encode([]byte("key")), encode(make([]byte, 12)), encode(content[:cut]), encode(content[cut:])}, ".")
}

// FuzzNested examines any text inside a JWE with any header, signed or as it is.
func FuzzNested(f *testing.F) {
	const opens = `{"alg":"RSA-OAEP-256","enc":"A128GCM","cty":"JWT"}`
	k := newFixedKey(f)
	ed := string(text(header("EdDSA", "ed", nil)))
	plain := string(text(claims(nil)))
	for _, outer := range []string{
		opens, `{"alg":"RSA-OAEP-256","enc":"A128GCM","cty":"application/jwt","kid":"x"}`, `{"alg":"RSA-OAEP-256","enc":"A128GCM","cty":"JWT","zip":"DEF"}`,
		`{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}`, `{"alg":"dir","enc":"A128GCM","cty":"JWT"}`, `{"alg":"none","enc":"A128GCM"}`, `{"alg":"RSA-OAEP-256","enc":"A128GCM"}`,
	} {
		f.Add(outer, ed, plain, true)
		f.Add(outer, `{"alg":"none"}`, plain, true)
		f.Add(outer, "", good("ed", "EdDSA", nil), false)
		f.Add(outer, "", k.sealed(opens, good("ed", "EdDSA", nil)), false)
		f.Add(outer, "", plain, false)
	}
	e := newExaminer(f, Config{Trust: newBook(f), Decrypter: k})
	f.Fuzz(func(t *testing.T, outer, inner, content string, sign bool) {
		if sign {
			content = signed("ed", "EdDSA", inner, content)
		}
		compact := k.sealed(outer, content)
		token, v := examineTwice(t, e, compact)
		if !v.Verified() {
			known := func(r pdp.FloorReason) bool { return r.Code == v.Reason.Code }
			if !slices.ContainsFunc(pdp.FloorReasons(), known) || v.Reason.Enforcement != pdp.Deny {
				t.Fatalf("reason %+v", v.Reason)
			}
			return
		}
		h, err := asOthersRead([]byte(outer))
		if _, zipped := h["zip"]; err != nil || h["alg"] != "RSA-OAEP-256" || h["enc"] != "A128GCM" || zipped {
			t.Fatalf("opened under %q, %v", outer, err)
		}
		if !v.Encrypted || token.Kind != "nested" {
			t.Fatalf("%+v, %+v", token, v)
		}
		payload, err := byStandardLibrary(content, v.Trust.Keys())
		if problem := agree(token, payload, err); problem != "" {
			t.Fatalf("verified here, but the standard library %s: %q", problem, content)
		}
	})
}

func asOthersRead(data []byte) (object map[string]any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	err = decoder.Decode(&object)
	return object, err
}

// FuzzHeader: a header that is accepted says to encoding/json what it says here.
func FuzzHeader(f *testing.F) {
	for _, seed := range []string{
		`{"alg":"ES256","kid":"","typ":"Application/JWT","cty":"JWT","enc":"A128GCM","x5c":[]}`, `{"alg":"a","crit":["b"],"b":1}`, `{"alg":"a","b64":true}`, `{"alg":1}`, `{}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, refused := readHeader(data, DefaultMaxHeaderBytes)
		if refused != nil {
			return
		}
		other, err := asOthersRead(data)
		if err != nil || !reflect.DeepEqual(other, h.Parameters) {
			t.Fatalf("read as %v, by encoding/json as %v, %v", h.Parameters, other, err)
		}
		kid, hasKid := other["kid"]
		if other["alg"] != h.Algorithm || hasKid != h.HasKeyID || hasKid && kid != h.KeyID || other["b64"] == false {
			t.Fatalf("%+v", h)
		}
		if _, critical := other["crit"]; critical {
			t.Fatal("crit was accepted")
		}
	})
}
