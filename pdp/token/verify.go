package token

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/assaypdp/assay/pdp"
)

// minRSABits is the smallest modulus that is verified at all; what is above it, policy judges (key.too_weak).
const minRSABits = 1024

// verifiers holds one verifier for each algorithm; they keep no state.
type verifiers map[string]jws.Verifier

// newVerifiers makes the verifiers of every algorithm that pdp knows. jwx does not know the fully
// specified name Ed25519 (RFC 9864): it is EdDSA with the curve that pdp.Key.Fits demands anyway.
func newVerifiers() (verifiers, error) {
	all := make(verifiers, len(pdp.Algorithms()))
	for _, alg := range pdp.Algorithms() {
		name := jwa.SignatureAlgorithm(alg)
		if alg == "Ed25519" {
			name = jwa.EdDSA
		}
		verifier, err := jws.NewVerifier(name)
		if err != nil {
			return nil, fmt.Errorf("token: %s: %w", alg, err)
		}
		all[alg] = verifier
	}
	for alg, hash := range map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512} {
		all[alg] = pssVerifier{hash}
	}
	return all, nil
}

// pssVerifier demands a salt as long as the hash (RFC 7518 section 3.5). jwx v2 takes a salt of any length,
// which its successor and others refuse.
type pssVerifier struct{ hash crypto.Hash }

// Verify implements jws.Verifier.
func (p pssVerifier) Verify(payload, signature []byte, key any) error {
	public, ok := key.(*rsa.PublicKey)
	if !ok {
		return errors.New("not an RSA key")
	}
	digest := p.hash.New()
	if _, err := digest.Write(payload); err != nil {
		return err
	}
	return rsa.VerifyPSS(public, p.hash, digest.Sum(nil), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
}

// verify checks a signature under exactly this algorithm and exactly this key (RFC 7515 section 5.2,
// RFC 7518 section 3, RFC 8037 section 3.1). The caller has seen to it that they fit.
func (v verifiers) verify(alg string, key *pdp.Key, signingInput string, signature []byte) bool {
	verifier, ok := v[alg]
	if !ok || !key.Fits(alg) || len(signature) == 0 {
		return false
	}
	switch public := key.Public.(type) {
	case *rsa.PublicKey:
		if public.N.BitLen() < minRSABits {
			return false
		}
	case ed25519.PublicKey:
		if len(public) != ed25519.PublicKeySize { // the standard library panics
			return false
		}
	}
	return verifier.Verify([]byte(signingInput), signature, key.Public) == nil
}

// hashID identifies a token without "jti". It covers what is signed and not the signature, since an ECDSA
// signature can be written in two ways and both are the same token.
func hashID(signingInput string) string {
	sum := sha256.Sum256([]byte(signingInput))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}
