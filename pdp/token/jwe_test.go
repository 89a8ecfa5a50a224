package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// localKey is a Decrypter that holds its private key itself.
type localKey struct {
	calls int
	kids  []string
	err   error
	// dropped is a kid that is no longer in use.
	dropped string
}

func (k *localKey) Holds(kid string) bool { return kid != k.dropped }

func (k *localKey) DecryptKey(_ context.Context, kid, alg string, encryptedKey []byte) ([]byte, error) {
	k.calls++
	k.kids = append(k.kids, kid)
	if k.err != nil {
		return nil, k.err
	}
	if alg != "RSA-OAEP-256" {
		return nil, fmt.Errorf("asked for %s", alg)
	}
	return rsa.DecryptOAEP(sha256.New(), nil, keys()["rsa"].signer.(*rsa.PrivateKey), encryptedKey, nil)
}

// encrypted is a JWE in compact form, whose content key is encrypted to the key "rsa" (RFC 7516 section 5.1).
func encrypted(over m, plain string) string {
	h := with(m{"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT", "kid": "decryption"}, over)
	return encryptedWith(text(h), sha256.New(), map[any]int{"A128GCM": 16, "A192GCM": 24}[h["enc"]], plain)
}

func encryptedWith(header []byte, oaep hash.Hash, keyBytes int, plain string) string {
	if keyBytes == 0 {
		keyBytes = 32
	}
	key, iv := make([]byte, keyBytes), make([]byte, 12)
	_, _ = rand.Read(key) // never fails
	_, _ = rand.Read(iv)
	wrapped, err := rsa.EncryptOAEP(oaep, rand.Reader, &keys()["rsa"].signer.(*rsa.PrivateKey).PublicKey, key, nil)
	if err != nil {
		panic(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	protected := encode(header)
	sealed := aead.Seal(nil, iv, []byte(plain), []byte(protected))
	cut := len(sealed) - 16
	return strings.Join([]string{protected, encode(wrapped), encode(iv), encode(sealed[:cut]), encode(sealed[cut:])}, ".")
}

func TestNestedTokenIsOpened(t *testing.T) {
	for _, enc := range []string{"A128GCM", "A192GCM", "A256GCM"} {
		t.Run(enc, func(t *testing.T) {
			holder := &localKey{}
			e := newExaminer(t, Config{Trust: newBook(t), Decrypter: holder})
			compact := encrypted(m{"enc": enc}, good("es256", "ES256", nil))
			for range 2 {
				token, v, err := e.Examine(context.Background(), compact)
				if err != nil || !v.Verified() || !v.Encrypted || v.Algorithm != "ES256" {
					t.Fatalf("%+v, %v", v, err)
				}
				if token.Kind != "nested" || token.Size != len(compact) || token.ID != "jti-1" || token.Header.Algorithm != "ES256" || token.Header.KeyID != "es256" {
					t.Errorf("token %+v", token)
				}
			}
			if holder.calls != 1 || holder.kids[0] != "decryption" {
				t.Errorf("the decrypter was asked %d times, for %q", holder.calls, holder.kids)
			}
		})
	}
}

func TestRefusedEncrypted(t *testing.T) {
	inner := good("es256", "ES256", nil)
	whole := strings.Split(encrypted(nil, inner), ".")
	at := func(i int, part string) string {
		changed := slices.Clone(whole)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	flipped := func(i int) string {
		raw, err := decodePart(whole[i])
		if err != nil {
			t.Fatal(err)
		}
		raw[len(raw)/2] ^= 1
		return at(i, encode(raw))
	}
	none := encode(text(header("none", "es256", nil))) + "." + encode(text(claims(nil))) + "."
	sha1Wrapped := encryptedWith([]byte(`{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}`), sha1.New(), 32, inner)
	const malformed, unsupported, undecryptable = pdp.StatusMalformed, pdp.StatusUnsupported, pdp.StatusUndecryptable
	const isMalformed, isUnsupported, isUndecryptable = "signature.malformed", "signature.unsupported", "signature.undecryptable"
	cases := []refusedCase{
		{"zip", encrypted(m{"zip": "DEF"}, inner), unsupported, isUnsupported},
		{"no cty", encrypted(m{"cty": gone}, inner), unsupported, isUnsupported},
		{"another cty", encrypted(m{"cty": "json"}, string(text(claims(nil)))), unsupported, isUnsupported},
		{"crit", encrypted(m{"crit": []string{"x"}, "x": 1}, inner), unsupported, "header.critical_unknown"},
		{"none outside", encrypted(m{"alg": "none"}, inner), pdp.StatusAlgorithmRefused, "algorithm.none"},
		{"no enc", encrypted(m{"enc": gone}, inner), unsupported, isUnsupported},
		{"none inside", encrypted(nil, none), pdp.StatusAlgorithmRefused, "algorithm.none"},
		{"a JWE inside", encrypted(nil, encrypted(nil, inner)), unsupported, isUnsupported},
		{"JSON inside", encrypted(nil, string(text(claims(nil)))), unsupported, isUnsupported},
		{"HS256 inside", encrypted(nil, signed("es256", "ES256", header("HS256", "es256", nil), claims(nil))), pdp.StatusAlgorithmRefused, "algorithm.not_allowed"},
		{"a bad signature inside", encrypted(nil, signed("evil", "ES256", header("ES256", "es256", nil), claims(nil))), pdp.StatusSignatureInvalid, "signature.invalid"},
		{"another issuer's token inside", encrypted(nil, good("es256", "ES256", m{"iss": "https://hostile.example"})), pdp.StatusIssuerUntrusted, "signature.issuer_untrusted"},
		{"white space inside", encrypted(nil, inner+"\n"), malformed, isMalformed},
		{"no encrypted key", at(1, ""), malformed, isMalformed},
		{"no initialisation vector", at(2, ""), malformed, isMalformed},
		{"a long initialisation vector", at(2, encode(make([]byte, 16))), malformed, isMalformed},
		{"no ciphertext", at(3, ""), malformed, isMalformed},
		{"a short tag", at(4, encode(make([]byte, 12))), malformed, isMalformed},
		{"a part that is not canonical", at(4, whole[4]+"A"), malformed, isMalformed},
		{"another header than the one encrypted with", at(0, encode([]byte(`{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT","x":1}`))), undecryptable, isUndecryptable},
		{"another enc than the key is for", at(0, encode([]byte(`{"alg":"RSA-OAEP-256","enc":"A128GCM","cty":"JWT"}`))), undecryptable, isUndecryptable},
		{"OAEP with SHA-1", sha1Wrapped, undecryptable, isUndecryptable},
		{"a key flipped", flipped(1), undecryptable, isUndecryptable}, {"a vector flipped", flipped(2), undecryptable, isUndecryptable},
		{"a ciphertext flipped", flipped(3), undecryptable, isUndecryptable}, {"a tag flipped", flipped(4), undecryptable, isUndecryptable},
	}
	for _, alg := range []string{"dir", "PBES2-HS256+A128KW", "RSA1_5", "RSA-OAEP", "RSA-OAEP-384", "ECDH-ES", "ECDH-ES+A256KW", "A256KW", "A256GCMKW", "ES256", "HS256", "rsa-oaep-256"} {
		cases = append(cases, refusedCase{"alg " + alg, encrypted(m{"alg": alg, "p2c": 2_000_000_000}, inner), unsupported, isUnsupported})
	}
	for _, enc := range []string{"A128CBC-HS256", "A256CBC-HS512", "a256gcm", "none", "XC20P"} {
		cases = append(cases, refusedCase{"enc " + enc, encrypted(m{"enc": enc}, inner), unsupported, isUnsupported})
	}
	e := newExaminer(t, Config{Trust: newBook(t), Decrypter: &localKey{}})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.check(t, e) })
	}
}

// A key that is withdrawn is withdrawn from opened tokens too: as if it were examined for the first time.
func TestWithdrawnEncryptionKey(t *testing.T) {
	holder := &localKey{}
	e := newExaminer(t, Config{Trust: newBook(t), Decrypter: holder})
	compact := encrypted(nil, good("es256", "ES256", nil))
	if _, v, err := e.Examine(context.Background(), compact); err != nil || !v.Verified() || v.EncryptionKeyID != "decryption" {
		t.Fatalf("%+v, %v", v, err)
	}
	holder.dropped, holder.err = "decryption", errors.New("it is retired")
	refusedCase{"", compact, pdp.StatusUndecryptable, "signature.undecryptable"}.check(t, e)
}

func TestWithoutDecrypter(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	compact := encrypted(nil, good("es256", "ES256", nil))
	refusedCase{"", compact, pdp.StatusUndecryptable, "signature.undecryptable"}.check(t, e)
	token, _, err := e.Examine(context.Background(), compact)
	if err != nil || token.Kind != "jwe" || token.Header.Encryption != "A256GCM" || token.Header.Algorithm != "RSA-OAEP-256" || token.Header.ContentType != "jwt" {
		t.Errorf("%+v, %v", token, err)
	}
}

// A key that cannot be asked now is no verdict on the token; one that cannot open it is.
func TestDecrypterFailures(t *testing.T) {
	holder := &localKey{err: fmt.Errorf("sealed: %w", pdp.ErrUnavailable)}
	e := newExaminer(t, Config{Trust: newBook(t), Decrypter: holder})
	compact := encrypted(nil, good("es256", "ES256", nil))
	if token, v, err := e.Examine(context.Background(), compact); !errors.Is(err, pdp.ErrUnavailable) || token != nil || v != nil {
		t.Errorf("%+v, %+v, %v", token, v, err)
	}
	holder.err = errors.New("no such key version")
	refusedCase{"", compact, pdp.StatusUndecryptable, "signature.undecryptable"}.check(t, e)
	holder.err = nil
	if _, v, err := e.Examine(context.Background(), compact); err != nil || !v.Verified() {
		t.Errorf("%+v, %v", v, err)
	}
}
