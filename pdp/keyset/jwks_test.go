package keyset

import (
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

func TestParseJWKSGivesKeysInOrder(t *testing.T) {
	set := jwks(t,
		ecMember(t, elliptic.P256(), "a").with("alg", "ES256").with("use", "sig"),
		ecMember(t, elliptic.P384(), "b").with("key_ops", []string{"verify"}),
		ecMember(t, elliptic.P521(), "c").with("x5c", []string{"ignored"}).with("ext", true),
		edMember(t, "d").with("alg", "EdDSA"),
		edMember(t, "e").with("alg", "Ed25519"),
		rsaMember(t, 2048, "f").with("alg", "PS256"),
		ecMember(t, elliptic.P256(), "g").with("kid", nil))
	keys, skipped, err := ParseJWKS(set)
	if err != nil || len(skipped) > 0 {
		t.Fatal(err, skipped)
	}
	var got []string
	for _, k := range keys {
		got = append(got, fmt.Sprint(k.ID, " ", k.Algorithm, " ", k.Type(), " ", k.Curve(), " ", k.Bits()))
	}
	want := []string{"a ES256 EC P-256 256", "b  EC P-384 384", "c  EC P-521 521", "d EdDSA OKP Ed25519 256",
		"e Ed25519 OKP Ed25519 256", "f PS256 RSA  2048", "  EC P-256 256"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// The keys whose thumbprints RFC 7638 section 3.1 and RFC 8037 appendix A.3 publish.
func TestThumbprintsOfTheStandards(t *testing.T) {
	const set = `{"keys":[
	 {"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"},
	 {"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`
	keys, skipped, err := ParseJWKS([]byte(set))
	if err != nil || len(skipped) > 0 || len(keys) != 2 {
		t.Fatal(err, skipped, len(keys))
	}
	for i, want := range []string{"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"} {
		if keys[i].Thumbprint != want {
			t.Errorf("key %d: thumbprint %s, want %s", i, keys[i].Thumbprint, want)
		}
	}
}

func TestParseJWKSLeavesOut(t *testing.T) {
	p256, ed, rsa2048 := ecMember(t, elliptic.P256(), "k"), edMember(t, "k"), rsaMember(t, 2048, "k")
	other := ecMember(t, elliptic.P256(), "other")
	for name, tc := range map[string]struct {
		key  any
		says string
	}{
		"an encryption key":                {p256.with("use", "enc"), `use is not "sig"`},
		"use of another type":              {p256.with("use", 1), `use is not "sig"`},
		"key_ops without verify":           {p256.with("key_ops", []string{"deriveKey"}), "key_ops"},
		"empty key_ops":                    {p256.with("key_ops", []string{}), "key_ops"},
		"key_ops as a string":              {p256.with("key_ops", "verify"), "key_ops"},
		"a symmetric key":                  {member{"kty": "oct", "k": "c2VjcmV0", "kid": "k"}, "symmetric"},
		"an unknown kty":                   {p256.with("kty", "AKP"), "kty is unknown"},
		"kty in another case":              {p256.with("kty", "ec"), "kty is unknown"},
		"no kty":                           {p256.with("kty", nil), "kty is unknown"},
		"an unknown curve":                 {p256.with("crv", "secp256k1"), "curve is unknown"},
		"X25519":                           {ed.with("crv", "X25519"), "curve is not one"},
		"Ed448":                            {ed.with("crv", "Ed448"), "curve is not one"},
		"a point off its curve":            {p256.with("y", other["y"]), "not on its curve"},
		"a point of another curve":         {p256.with("crv", "P-384"), "on its curve it has 48"},
		"a coordinate without its zeros":   {p256.with("x", b64([]byte{1, 2, 3})), "3 bytes long"},
		"a coordinate with a zero more":    {p256.with("x", "AA"+p256["x"].(string)), "base64url"},
		"coordinates in standard base64":   {p256.with("x", strings.Repeat("+", 43)), "base64url"},
		"padding":                          {p256.with("x", p256["x"].(string)+"="), "base64url"},
		"a line end inside":                {p256.with("x", "\n"+p256["x"].(string)), "base64url"},
		"trailing bits":                    {ed.with("x", ed["x"].(string)[:42]+"_"), "base64url"},
		"no y":                             {p256.with("y", nil), `"y" is not base64url`},
		"y of another type":                {p256.with("y", 7), `"y" is not base64url`},
		"a short Ed25519 key":              {ed.with("x", b64(make([]byte, 31))), "31 bytes long"},
		"an RSA key of 1023 bits":          {rsa2048.with("n", b64(slices.Concat([]byte{0x7f}, make([]byte, 126), []byte{1}))), "modulus of 1023 bits"},
		"an RSA key too large":             {rsa2048.with("n", b64(slices.Concat([]byte{1}, make([]byte, 2048), []byte{1}))), "exceeds 16384 bits"},
		"an even modulus":                  {rsa2048.with("n", b64(slices.Concat([]byte{1}, make([]byte, 255)))), "even"},
		"exponent 1":                       {rsa2048.with("e", "AQ"), "exponent is less than 3"},
		"an even exponent":                 {rsa2048.with("e", "Ag"), "exponent is even"},
		"an exponent of 32 bits":           {rsa2048.with("e", b64([]byte{255, 255, 255, 255})), "exceeds 31 bits"},
		"an exponent of 40 bits":           {rsa2048.with("e", b64([]byte{1, 0, 0, 0, 1})), "exceeds 31 bits"},
		"alg of encryption":                {rsa2048.with("alg", "RSA-OAEP-256"), "no signature algorithm for its type"},
		"alg of another curve":             {p256.with("alg", "ES384"), "no signature algorithm for its type"},
		"alg of another type":              {p256.with("alg", "RS256"), "no signature algorithm for its type"},
		"alg none":                         {p256.with("alg", "none"), "no signature algorithm for its type"},
		"alg HS256 on a public key":        {rsa2048.with("alg", "HS256"), "no signature algorithm for its type"},
		"alg of another JSON type":         {p256.with("alg", 1), `"alg" is not a string`},
		"kid of another JSON type":         {p256.with("kid", 1), `"kid" is not a string`},
		"kid too long":                     {p256.with("kid", strings.Repeat("k", 1025)), "kid of more than 1024 bytes"},
		"a string in place of a key":       {"key", "not a JSON object"},
		"null in place of a key":           {nil, "not a JSON object"},
		"an RSA key with its members gone": {member{"kty": "RSA"}, `"n" is not base64url`},
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := ParseJWKS(jwks(t, tc.key, edMember(t, "good")))
			if err != nil {
				t.Fatal(err)
			}
			if len(keys) != 1 || keys[0].ID != "good" {
				t.Errorf("keys %v, want the good one alone", keys)
			}
			if len(skipped) != 1 || !strings.Contains(skipped[0], tc.says) || !strings.HasPrefix(skipped[0], "key 1") {
				t.Errorf("skipped %q, want one of key 1 that says %q", skipped, tc.says)
			}
			if len(skipped) == 1 && len(skipped[0]) > 300 {
				t.Errorf("a report of %d bytes", len(skipped[0]))
			}
		})
	}
}

func TestParseJWKSAcceptsAtTheLimits(t *testing.T) {
	rsa2048 := rsaMember(t, 2048, "k")
	for name, key := range map[string]member{
		"an RSA key of 1024 bits":            rsa2048.with("n", b64(slices.Concat([]byte{0x80}, make([]byte, 126), []byte{1}))),
		"an RSA key of 16384 bits":           rsa2048.with("n", b64(slices.Concat([]byte{0x80}, make([]byte, 2046), []byte{1}))),
		"exponent 3":                         rsa2048.with("e", "Aw"),
		"an exponent of 31 bits":             rsa2048.with("e", b64([]byte{127, 255, 255, 255})),
		"a kid of 1024 bytes":                rsa2048.with("kid", strings.Repeat("k", 1024)),
		"key_ops with more than verify":      rsa2048.with("key_ops", []string{"sign", "verify"}),
		"an empty kid, which is no kid":      rsa2048.with("kid", ""),
		"members that nobody has defined":    rsa2048.with("https://example.com/x", []any{1, "a", nil}),
		"a certificate that does not belong": rsa2048.with("x5c", []string{"AAAA"}).with("x5t", "zz"),
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := ParseJWKS(jwks(t, key))
			if err != nil || len(keys) != 1 {
				t.Error(len(keys), skipped, err)
			}
		})
	}
}

func TestParseJWKSRefusesTheWholeSet(t *testing.T) {
	key := ecMember(t, elliptic.P256(), "k")
	rsaKey := rsaMember(t, 2048, "r")
	many := make([]any, 1001)
	for i := range many {
		many[i] = member{"kty": "oct"}
	}
	for name, tc := range map[string]struct {
		set  []byte
		says string
	}{
		"nothing":                      {nil, "not a JWK Set"},
		"garbage":                      {[]byte("<html>"), "not a JWK Set"},
		"an array":                     {[]byte("[]"), "not a JWK Set"},
		"one JWK":                      {[]byte(`{"kty":"EC"}`), `no array "keys"`},
		"keys that are no array":       {[]byte(`{"keys":{}}`), `no array "keys"`},
		"null keys":                    {[]byte(`{"keys":null}`), `no array "keys"`},
		"text behind it":               {append(jwks(t, key), "{}"...), "not a JWK Set"},
		"a duplicate member":           {[]byte(`{"keys":[],"keys":[]}`), "not a JWK Set"},
		"a duplicate member of a key":  {[]byte(`{"keys":[{"kty":"EC","kty":"RSA"}]}`), "not a JWK Set"},
		"text that is not UTF-8":       {[]byte("{\"keys\":[],\"a\":\"\xff\"}"), "not a JWK Set"},
		"too many keys":                {jwks(t, many...), "more than 1000 keys"},
		"a document too long":          {append(jwks(t, key), strings.Repeat(" ", MaxJWKSBytes)...), "longer than"},
		"two keys with one kid":        {jwks(t, key, edMember(t, "k")), `two keys have the kid "k"`},
		"one key twice":                {jwks(t, key, key.with("kid", "other")), "stands twice"},
		"one key twice without kid":    {jwks(t, key.with("kid", nil), key.with("kid", nil)), "stands twice"},
		"one RSA key in two spellings": {jwks(t, rsaKey, rsaKey.with("kid", "s").with("n", b64(append([]byte{0}, unb64(t, rsaKey["n"])...)))), "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, _, err := ParseJWKS(tc.set)
			if err == nil || !strings.Contains(err.Error(), tc.says) || keys != nil {
				t.Errorf("%d keys, error %v; want one that says %q", len(keys), err, tc.says)
			}
		})
	}
}

func unb64(t *testing.T, text any) []byte {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(text.(string))
	if err != nil {
		t.Fatal(err)
	}
	return decoded
}

func TestParseJWKSRefusesPrivateKeys(t *testing.T) {
	const secret = "c2VjcmV0LXNlY3JldA"
	for name, key := range map[string]member{
		"EC":                   ecMember(t, elliptic.P256(), "k").with("d", secret),
		"OKP":                  edMember(t, "k").with("d", secret),
		"RSA":                  rsaMember(t, 2048, "k").with("d", secret),
		"RSA by its primes":    rsaMember(t, 2048, "k").with("p", secret),
		"one for encryption":   ecMember(t, elliptic.P256(), "k").with("use", "enc").with("d", secret),
		"one of unknown type":  {"kty": "AKP", "priv": secret, "kid": "k"},
		"one that is null":     {"kty": "EC", "d": json.RawMessage("null"), "kid": "k"},
		"one of wrong type":    {"kty": "EC", "d": 1, "kid": "k"},
		"one with wrong curve": ecMember(t, elliptic.P256(), "k").with("crv", "X").with("d", secret),
	} {
		t.Run(name, func(t *testing.T) {
			keys, skipped, err := ParseJWKS(jwks(t, edMember(t, "good"), key))
			if !errors.Is(err, ErrPrivateKey) || keys != nil || skipped != nil {
				t.Fatalf("%v %v, error %v; want ErrPrivateKey alone", keys, skipped, err)
			}
			if !strings.Contains(err.Error(), `key 2 (kid "k")`) || strings.Contains(err.Error(), secret) {
				t.Errorf("the error must name the key and not hold it: %v", err)
			}
		})
	}
}

// A symmetric key beside good ones is left out, and its secret is not told.
func TestParseJWKSDoesNotTellASymmetricKey(t *testing.T) {
	_, skipped, err := ParseJWKS(jwks(t, member{"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}))
	if err != nil || len(skipped) != 1 || strings.Contains(skipped[0], "c2VjcmV0") {
		t.Error(skipped, err)
	}
}

func FuzzParseJWKS(f *testing.F) {
	key := ecMember(f, elliptic.P256(), "k").with("alg", "ES256")
	f.Add(jwks(f, key, edMember(f, "e"), rsaMember(f, 1024, "r").with("use", "sig")))
	f.Add(jwks(f, key.with("d", "AA")))
	f.Add(jwks(f, key, key))
	f.Add(jwks(f, member{"kty": "oct", "k": "AA"}, key.with("use", "enc"), 1, nil))
	f.Add([]byte(`{"keys":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, skipped, err := ParseJWKS(data)
		if err != nil {
			if keys != nil || skipped != nil {
				t.Fatal("keys beside an error")
			}
			return
		}
		var lax struct {
			Keys []map[string]any `json:"keys"`
		}
		// Every key of the set is either given or reported.
		var members struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := json.Unmarshal(data, &members); err != nil {
			t.Fatalf("accepted what is not JSON: %v", err)
		}
		if len(keys)+len(skipped) != len(members.Keys) {
			t.Fatalf("%d keys and %d skipped of %d", len(keys), len(skipped), len(members.Keys))
		}
		if json.Unmarshal(data, &lax) == nil {
			for _, k := range lax.Keys {
				if k["d"] != nil {
					t.Fatal("accepted a private key")
				}
			}
		}
		if _, err := pdp.NewTrust(pdp.Issuer{ID: "i"}, keys); err != nil {
			t.Fatalf("a set that cannot be trusted: %v", err)
		}
		for _, k := range keys {
			checkKey(t, k)
		}
	})
}

// checkKey writes the key as the JWK that RFC 7638 hashes, and holds the thumbprint, the fitting
// algorithms and a second reading against it.
func checkKey(t *testing.T, k pdp.Key) {
	t.Helper()
	fits := slices.ContainsFunc(pdp.Algorithms(), k.Fits)
	if k.Type() == "" || !fits {
		t.Fatalf("a key of type %q that fits no algorithm", k.Type())
	}
	canonical := canonicalJWK(t, k)
	sum := sha256.Sum256([]byte(canonical))
	if want := base64.RawURLEncoding.EncodeToString(sum[:]); k.Thumbprint != want {
		t.Fatalf("thumbprint %s, want %s of %s", k.Thumbprint, want, canonical)
	}
	again, _, err := ParseJWKS([]byte(`{"keys":[` + canonical + `]}`))
	if err != nil || len(again) != 1 || again[0].Thumbprint != k.Thumbprint || !again[0].Public.(equalKey).Equal(k.Public) {
		t.Fatalf("its canonical JWK reads as %v, %v", again, err)
	}
}
