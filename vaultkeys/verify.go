package vaultkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that the algorithms name
	_ "crypto/sha512"
	"errors"
	"fmt"
	"math/big"
)

// ErrSignature is what Verify answers for a signature that is not good.
var ErrSignature = errors.New("the signature does not verify")

// Verify checks a signature in JWS form (RFC 7518 sections 3.3 to 3.5, RFC 8037 section 3.1) over a signing
// input. It takes exactly what a signer must give: a PSS salt as long as the hash, r and s at the length of
// the curve. Whoever releases something that Vault signed calls it first; Vault has been seen to answer
// success with the wrong hash, the wrong salt and no signature at all.
func Verify(alg string, public crypto.PublicKey, input, signature []byte) error {
	hash := hashOf(alg)
	digest := input
	if hash != 0 {
		h := hash.New()
		_, _ = h.Write(input) // a hash never fails
		digest = h.Sum(nil)
	}
	good := false
	switch key := public.(type) {
	case *rsa.PublicKey:
		switch {
		case hash == 0:
		case alg[:2] == "RS":
			good = rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
		case alg[:2] == "PS":
			good = rsa.VerifyPSS(key, hash, digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		size := (key.Curve.Params().BitSize + 7) / 8
		if ecdsaAlgorithm(key) == alg && len(signature) == 2*size {
			r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
			good = ecdsa.Verify(key, digest, r, s)
		}
	case ed25519.PublicKey:
		good = (alg == "EdDSA" || alg == "Ed25519") && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, input, signature)
	}
	if !good {
		return fmt.Errorf("%w under %s", ErrSignature, alg)
	}
	return nil
}

// hashOf is the hash that an algorithm signs; 0 for one that signs the message itself, and for an unknown one.
func hashOf(alg string) crypto.Hash {
	switch alg {
	case "RS256", "PS256", "ES256":
		return crypto.SHA256
	case "RS384", "PS384", "ES384":
		return crypto.SHA384
	case "RS512", "PS512", "ES512":
		return crypto.SHA512
	}
	return 0
}

func ecdsaAlgorithm(key *ecdsa.PublicKey) string {
	if can := Algorithms(TypeOf(key)); len(can) == 1 {
		return can[0]
	}
	return ""
}
