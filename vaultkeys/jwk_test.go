package vaultkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/assaypdp/assay/pdp"
)

func unbase64(t *testing.T, s string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestThumbprintsOfTheStandards(t *testing.T) {
	modulus := "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3okn" +
		"jhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91C" +
		"bOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
	for _, c := range []struct {
		name   string
		public crypto.PublicKey
		want   string
	}{
		{"RFC 7638 section 3.1", &rsa.PublicKey{N: new(big.Int).SetBytes(unbase64(t, modulus)), E: 65537}, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"},
		{"RFC 8037 appendix A.3", ed25519.PublicKey(unbase64(t, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"},
	} {
		if got, err := Thumbprint(c.public); err != nil || got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.name, got, err, c.want)
		}
	}
	for name, public := range map[string]crypto.PublicKey{
		"nil": nil, "secret": []byte("secret"), "short Ed25519": ed25519.PublicKey{1}, "empty RSA": &rsa.PublicKey{},
		"point off the curve": &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}, //nolint:staticcheck // only so can a bad point be made
	} {
		if got, err := Thumbprint(public); err == nil {
			t.Errorf("%s has the thumbprint %s", name, got)
		}
	}
}

// signers makes a private key of every type.
func signers(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	made := map[string]crypto.Signer{
		"ecdsa-p256": newECDSA(t, elliptic.P256()), "ecdsa-p384": newECDSA(t, elliptic.P384()), "ecdsa-p521": newECDSA(t, elliptic.P521()),
	}
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made["ed25519"] = private
	if made["rsa-2048"], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	return made
}

func TestJWKsReadByAnotherLibrary(t *testing.T) {
	for keyType, private := range signers(t) {
		if got := TypeOf(private.Public()); got != keyType {
			t.Errorf("TypeOf says %q of a key of type %s", got, keyType)
		}
		print, err := Thumbprint(private.Public())
		if err != nil {
			t.Fatal(err)
		}
		alg := Algorithms(keyType)[0]
		text, err := appendJWK(nil, &pdp.Key{ID: print, Algorithm: alg, Public: private.Public()})
		if err != nil {
			t.Fatal(err)
		}
		key, err := jwk.ParseKey(text)
		if err != nil {
			t.Fatalf("%s: %v: %s", keyType, err, text)
		}
		theirs, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		if got := base64.RawURLEncoding.EncodeToString(theirs); got != print || key.KeyID() != print {
			t.Errorf("%s: thumbprint %s, kid %s, the other library says %s", keyType, print, key.KeyID(), got)
		}
		var raw any
		if err := key.Raw(&raw); err != nil {
			t.Fatal(err)
		}
		if !private.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(raw) {
			t.Errorf("%s: another key came back", keyType)
		}
		if key.Algorithm().String() != alg || key.KeyUsage() != "sig" {
			t.Errorf("%s: alg %s, use %s", keyType, key.Algorithm(), key.KeyUsage())
		}
		var members map[string]string
		if err := json.Unmarshal(text, &members); err != nil || members["d"] != "" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAlgorithmOfAKey(t *testing.T) {
	for _, c := range []struct{ keyType, configured, want, problem string }{
		{"ecdsa-p256", "", "ES256", ""}, {"ecdsa-p384", "", "ES384", ""}, {"ecdsa-p521", "", "ES512", ""},
		{"ed25519", "", "EdDSA", ""}, {"ed25519", "Ed25519", "Ed25519", ""},
		{"rsa-2048", "", "RS256", ""}, {"rsa-3072", "PS384", "PS384", ""}, {"rsa-4096", "PS512", "PS512", ""},
		{"rsa-2048", "ES256", "", "it can sign [RS256"}, {"ecdsa-p256", "ES384", "", "it can sign [ES256]"},
		{"rsa-2048", "none", "", "cannot sign none"}, {"ecdsa-p256", "HS256", "", "cannot sign HS256"},
		{"aes256-gcm96", "", "", "cannot sign tokens"}, {"hmac", "HS256", "", "cannot sign tokens"}, {"", "", "", "cannot sign tokens"},
	} {
		got, err := Algorithm(c.keyType, c.configured)
		if got != c.want || (err != nil) != (c.problem != "") || err != nil && !strings.Contains(err.Error(), c.problem) {
			t.Errorf("%s with %q: %q, %v", c.keyType, c.configured, got, err)
		}
	}
	for _, keyType := range KeyTypes() {
		for _, alg := range Algorithms(keyType) {
			found := false
			for _, known := range pdp.Algorithms() {
				found = found || known == alg
			}
			if !found {
				t.Errorf("%s can sign %s, which no decision would allow", keyType, alg)
			}
		}
	}
}

// signJWS signs as RFC 7518 wants it, with the standard library.
func signJWS(t testing.TB, private crypto.Signer, alg string, input []byte) []byte {
	t.Helper()
	digest := input
	var options crypto.SignerOpts = crypto.Hash(0)
	if hash := hashOf(alg); hash != 0 {
		h := hash.New()
		_, _ = h.Write(input)
		digest, options = h.Sum(nil), hash
	}
	if alg[:2] == "PS" {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hashOf(alg)}
	}
	if key, ok := private.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		if err != nil {
			t.Fatal(err)
		}
		size := (key.Curve.Params().BitSize + 7) / 8
		return append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
	}
	signature, err := private.Sign(rand.Reader, digest, options)
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

func TestVerifyTakesWhatASignerMustGiveAndNothingElse(t *testing.T) {
	input := []byte("eyJhbGciOiJFUzI1NiJ9.e30")
	all := signers(t)
	for keyType, private := range all {
		for _, alg := range Algorithms(keyType) {
			signature := signJWS(t, private, alg, input)
			check := func(what, alg string, public crypto.PublicKey, input, signature []byte) {
				t.Helper()
				if err := Verify(alg, public, input, signature); !errors.Is(err, ErrSignature) {
					t.Errorf("%s %s: %s: %v", keyType, alg, what, err)
				}
			}
			if err := Verify(alg, private.Public(), input, signature); err != nil {
				t.Errorf("%s %s: %v", keyType, alg, err)
			}
			check("other input", alg, private.Public(), append(input, 'x'), signature)
			check("no signature", alg, private.Public(), input, nil)
			check("truncated", alg, private.Public(), input, signature[:len(signature)-1])
			check("extended", alg, private.Public(), input, append(signature, 0))
			check("zeros", alg, private.Public(), input, make([]byte, len(signature)))
			check("no key", alg, nil, input, signature)
			check("unknown algorithm", "none", private.Public(), input, signature)
			check("empty algorithm", "", private.Public(), input, signature)
			for otherType, other := range all {
				for _, otherAlg := range Algorithms(otherType) {
					if otherType != keyType {
						check("key of "+otherType, otherAlg, other.Public(), input, signature)
						check("key of its own under "+otherAlg, otherAlg, private.Public(), input, signature)
					} else if otherAlg != alg && keyType != "ed25519" {
						check("under "+otherAlg, otherAlg, private.Public(), input, signature)
					}
				}
			}
		}
	}
	t.Run("what Vault gives by default", func(t *testing.T) {
		key := all["rsa-2048"].(*rsa.PrivateKey)
		h := crypto.SHA256.New()
		_, _ = h.Write(input)
		longSalt, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, h.Sum(nil), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthAuto})
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify("PS256", &key.PublicKey, input, longSalt); !errors.Is(err, ErrSignature) {
			t.Errorf("the longest salt: %v", err)
		}
		p256 := all["ecdsa-p256"].(*ecdsa.PrivateKey)
		der, err := ecdsa.SignASN1(rand.Reader, p256, h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		if err := Verify("ES256", &p256.PublicKey, input, der); !errors.Is(err, ErrSignature) {
			t.Errorf("DER: %v", err)
		}
	})
}
