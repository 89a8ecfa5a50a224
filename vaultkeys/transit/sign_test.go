package transit_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// verify checks a JWS signature with the standard library alone.
func verify(t *testing.T, alg string, public crypto.PublicKey, input, signature []byte) error {
	t.Helper()
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	var digest []byte
	if hash != 0 {
		h := hash.New()
		h.Write(input)
		digest = h.Sum(nil)
	}
	switch alg[:2] {
	case "RS":
		return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), hash, digest, signature)
	case "PS":
		return rsa.VerifyPSS(public.(*rsa.PublicKey), hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "ES":
		key := public.(*ecdsa.PublicKey)
		size := (key.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return fmt.Errorf("%d bytes, want %d", len(signature), 2*size)
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		if !ecdsa.Verify(key, digest, r, s) {
			return errors.New("does not verify")
		}
		return nil
	}
	if !ed25519.Verify(public.(ed25519.PublicKey), input, signature) {
		return errors.New("does not verify")
	}
	return nil
}

// publicKey reads a version's public key as root, without the code under test.
func (f *fixture) publicKey(key, version string) crypto.PublicKey {
	f.Helper()
	secret, err := f.raw.Logical().Read(f.mount + "/keys/" + key)
	if err != nil {
		f.Fatal(err)
	}
	text := secret.Data["keys"].(map[string]any)[version].(map[string]any)["public_key"].(string)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		public, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			f.Fatal(err)
		}
		return public
	}
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		f.Fatal(err)
	}
	return ed25519.PublicKey(raw)
}

func TestSignEveryAlgorithm(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	types := []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048"}
	for _, kind := range types {
		f.desired.Keys = append(f.desired.Keys, transit.DesiredKey{Name: kind, Type: kind})
	}
	f.provision()
	for _, kind := range types {
		for _, alg := range vaultkeys.Algorithms(kind) {
			for _, n := range []int{1, 3} {
				t.Run(fmt.Sprintf("%s/%d", alg, n), func(t *testing.T) {
					inputs := make([][]byte, n)
					for i := range inputs {
						inputs[i] = fmt.Appendf(nil, "header.payload%d", i)
					}
					// Version 1, though 2 is the latest.
					made, err := f.root.Sign(t.Context(), kind, 1, alg, inputs)
					if err != nil {
						t.Fatal(err)
					}
					public := f.publicKey(kind, "1")
					for i := range inputs {
						if err := verify(t, alg, public, inputs[i], made[i]); err != nil {
							t.Errorf("input %d: %v", i, err)
						}
						if verify(t, alg, f.publicKey(kind, "2"), inputs[i], made[i]) == nil {
							t.Errorf("input %d verifies with another version's key", i)
						}
					}
				})
			}
		}
	}
}

func TestSignRefuses(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired.Keys = []transit.DesiredKey{{Name: "access", Type: "ecdsa-p256"}}
	f.provision()
	one := [][]byte{[]byte("a.b")}
	tests := []struct {
		name, key, alg string
		version        int
		want           string
	}{
		{"latest", "access", "ES256", 0, "name the version"},
		{"version that is not there", "access", "ES256", 3, "500"},
		{"none", "access", "none", 1, "cannot make such"},
		{"HMAC", "access", "HS256", 1, "cannot make such"},
		{"key that is not there", "absent", "ES256", 1, "400"},
		{"key that is a path", "access/../x", "ES256", 1, "use letters"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			made, err := f.root.Sign(t.Context(), test.key, test.version, test.alg, one)
			if err == nil || made != nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("signatures %v, error %v; want an error with %q", made, err, test.want)
			}
			if errors.Is(err, transit.ErrUnavailable) {
				t.Fatalf("our own mistake is taken for an outage: %v", err)
			}
		})
	}
	// None of that has opened the breaker.
	if _, err := f.root.Sign(t.Context(), "access", 1, "ES256", one); err != nil {
		t.Fatal(err)
	}
}

func TestDecryptIsRSAOAEP256(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired.Keys = []transit.DesiredKey{{Name: "jwe", Type: "rsa-2048", Decrypts: true}}
	f.provision()
	key := bytes.Repeat([]byte{7}, 32)
	sealed, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, f.publicKey("jwe", "1").(*rsa.PublicKey), key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := f.root.Decrypt(t.Context(), "jwe", 1, sealed); err != nil || !bytes.Equal(plain, key) {
		t.Fatalf("%x, %v", plain, err)
	}
	// Vault answers 500 to this. However many come, they are not an outage.
	for range transit.DefaultBreakerFailures + 1 {
		if _, err := f.root.Decrypt(t.Context(), "jwe", 1, bytes.Repeat([]byte{1}, 256)); err == nil || errors.Is(err, transit.ErrUnavailable) {
			t.Fatalf("a bad ciphertext: %v", err)
		}
	}
	if _, err := f.root.Decrypt(t.Context(), "jwe", 1, sealed); err != nil {
		t.Fatal(err)
	}
}
