package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// vectors are the published examples of the RFCs, byte for byte.
type vectors struct {
	JWS []struct {
		Name, Alg, Compact string
		// Issuer is "iss" where the payload is a claims set.
		Issuer string
		Key    struct{ Kty, Crv, N, E, X, Y string }
	}
	JWE []struct{ Name, Compact string }
}

func readVectors(t *testing.T) (v vectors) {
	t.Helper()
	data, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	if len(v.JWS) != 8 || len(v.JWE) != 10 {
		t.Fatalf("%d signed and %d encrypted examples", len(v.JWS), len(v.JWE))
	}
	return v
}

func number(t *testing.T, s string) *big.Int {
	t.Helper()
	raw, err := decodePart(s)
	if err != nil {
		t.Fatal(err)
	}
	return new(big.Int).SetBytes(raw)
}

func publicKey(t *testing.T, kty, crv, n, e, x, y string) crypto.PublicKey {
	t.Helper()
	switch kty {
	case "RSA":
		return &rsa.PublicKey{N: number(t, n), E: int(number(t, e).Int64())}
	case "EC":
		curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-521": elliptic.P521()}[crv]
		size := (curve.Params().BitSize + 7) / 8
		point := append([]byte{4}, number(t, x).FillBytes(make([]byte, size))...)
		key, err := ecdsa.ParseUncompressedPublicKey(curve, append(point, number(t, y).FillBytes(make([]byte, size))...))
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	raw, err := decodePart(x)
	if err != nil {
		t.Fatal(err)
	}
	return ed25519.PublicKey(raw)
}

// The examples of RFC 7515, 7520 and 8037 verify, and with any byte of them changed they do not. Those whose
// payload is a claims set go the whole way; the others' payloads are refused as what they are.
func TestPublishedSignatures(t *testing.T) {
	all, err := newVerifiers()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range readVectors(t).JWS {
		t.Run(c.Name, func(t *testing.T) {
			key := pdp.Key{Thumbprint: "published", Public: publicKey(t, c.Key.Kty, c.Key.Crv, c.Key.N, c.Key.E, c.Key.X, c.Key.Y)}
			cut := strings.LastIndexByte(c.Compact, '.')
			signature, err := decodePart(c.Compact[cut+1:])
			if err != nil {
				t.Fatal(err)
			}
			if !all.verify(c.Alg, &key, c.Compact[:cut], signature) {
				t.Fatal("does not verify")
			}
			for i := range signature {
				signature[i] ^= 1
				if all.verify(c.Alg, &key, c.Compact[:cut], signature) {
					t.Errorf("byte %d of the signature does not matter", i)
				}
				signature[i] ^= 1
			}
			for i := 0; i < cut; i += 7 {
				if all.verify(c.Alg, &key, c.Compact[:i]+"~"+c.Compact[i+1:cut], signature) {
					t.Errorf("byte %d of the signing input does not matter", i)
				}
			}
			key.ID = kidOf(t, c.Compact)
			b := &book{trusts: map[string]*pdp.Trust{}}
			b.set(t, pdp.Issuer{ID: c.Issuer}, []pdp.Key{key})
			e := newExaminer(t, Config{Trust: b})
			if c.Issuer == "" {
				refusedCase{"", c.Compact, pdp.StatusMalformed, "signature.malformed"}.check(t, e)
				return
			}
			token, v, err := e.Examine(context.Background(), c.Compact)
			if err != nil || !v.Verified() || token.ExpiresAt.Floor() != 1300819380 || token.Claims["http://example.com/is_root"] != true {
				t.Errorf("%+v, %+v, %v", token, v, err)
			}
		})
	}
}

func kidOf(t *testing.T, compact string) string {
	t.Helper()
	i, _ := Inspect(compact)
	kid, _ := i.Header["kid"].(string)
	return kid
}

// RFC 7515 appendix A.1 (HS256) and A.5 (none), and the encrypted examples of RFC 7520, none of which is in
// a form that is accepted.
func TestPublishedExamplesThatAreRefused(t *testing.T) {
	const payload = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	b := newBook(t)
	b.set(t, pdp.Issuer{ID: "joe"}, published(false, "es256"))
	e := newExaminer(t, Config{Trust: b, Decrypter: &localKey{}})
	cases := []refusedCase{
		{"RFC 7515 appendix A.1 HS256", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + payload + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", pdp.StatusAlgorithmRefused, "algorithm.not_allowed"},
		{"RFC 7515 appendix A.5 none", "eyJhbGciOiJub25lIn0." + payload + ".", pdp.StatusAlgorithmRefused, "algorithm.none"},
	}
	for _, c := range readVectors(t).JWE {
		cases = append(cases, refusedCase{c.Name, c.Compact, pdp.StatusUnsupported, "signature.unsupported"})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.check(t, e) })
	}
}

// What policy may not lower: no RSA key below 1024 bits verifies anything, whatever the runtime is told.
func TestTinyRSAKeyVerifiesNothing(t *testing.T) {
	t.Setenv("GODEBUG", "rsa1024min=0")
	all, err := newVerifiers()
	if err != nil {
		t.Fatal(err)
	}
	for bits, good := range map[int]bool{1000: false, 1024: true} {
		private, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		if key := (pdp.Key{Public: &private.PublicKey}); all.verify("RS256", &key, "x", signature(private, "RS256", "x")) != good {
			t.Errorf("%d bits", bits)
		}
	}
}

// RFC 7518 section 3.5: the salt is as long as the hash.
func TestPSSWithAnotherSaltIsInvalid(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	key := keys()["rsa"].signer.(*rsa.PrivateKey)
	input := encode(text(header("PS256", "rsa", nil))) + "." + encode(text(claims(nil)))
	for name, c := range map[string]struct {
		salt   int
		status pdp.Status
	}{
		"as the hash": {32, pdp.StatusVerified}, "shorter": {31, pdp.StatusSignatureInvalid}, "longer": {33, pdp.StatusSignatureInvalid},
		"as long as it can be": {rsa.PSSSaltLengthAuto, pdp.StatusSignatureInvalid}, "one byte": {1, pdp.StatusSignatureInvalid},
	} {
		made, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, digestBy(crypto.SHA256, input), &rsa.PSSOptions{SaltLength: c.salt})
		if err != nil {
			t.Fatal(err)
		}
		if _, v, err := e.Examine(context.Background(), input+"."+encode(made)); err != nil || v.Status != c.status {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// A key of the wrong length verifies nothing, and does not panic.
func TestMisshapenEdwardsKeyVerifiesNothing(t *testing.T) {
	all, err := newVerifiers()
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int{0, 31, 33} {
		key := pdp.Key{Public: ed25519.PublicKey(make([]byte, size))}
		if all.verify("EdDSA", &key, "x", make([]byte, ed25519.SignatureSize)) {
			t.Errorf("%d bytes", size)
		}
	}
}
