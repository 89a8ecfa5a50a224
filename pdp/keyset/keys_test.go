package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// member is one key of a JWK Set, built here without the code under test.
type member map[string]any

func (m member) with(name string, value any) member {
	changed := member{}
	for n, v := range m {
		changed[n] = v
	}
	if value == nil {
		delete(changed, name)
	} else {
		changed[name] = value
	}
	return changed
}

func b64(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func ecMember(t testing.TB, curve elliptic.Curve, kid string) member {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	half := len(point) / 2
	return member{"kty": "EC", "crv": curve.Params().Name, "kid": kid, "x": b64(point[1 : 1+half]), "y": b64(point[1+half:])}
}

func edMember(t testing.TB, kid string) member {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return member{"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(public)}
}

func rsaMember(t testing.TB, bits int, kid string) member {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return member{"kty": "RSA", "kid": kid, "n": b64(private.N.Bytes()), "e": b64(big.NewInt(int64(private.E)).Bytes())}
}

func jwks(t testing.TB, members ...any) []byte {
	t.Helper()
	if members == nil {
		members = []any{}
	}
	text, err := json.Marshal(map[string]any{"keys": members})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// equalKey is what every public key type of the standard library has.
type equalKey interface{ Equal(crypto.PublicKey) bool }

// canonicalJWK writes the required members in the order of RFC 7638 section 3.
func canonicalJWK(t testing.TB, k pdp.Key) string {
	t.Helper()
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf(`{"e":"%s","kty":"RSA","n":"%s"}`, b64(big.NewInt(int64(public.E)).Bytes()), b64(public.N.Bytes()))
	case *ecdsa.PublicKey:
		point, err := public.Bytes()
		if err != nil {
			t.Fatalf("a point off its curve: %v", err)
		}
		half := len(point) / 2
		return fmt.Sprintf(`{"crv":"%s","kty":"EC","x":"%s","y":"%s"}`, k.Curve(), b64(point[1:1+half]), b64(point[1+half:]))
	case ed25519.PublicKey:
		return fmt.Sprintf(`{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(public))
	}
	t.Fatalf("a %T", k.Public)
	return ""
}
