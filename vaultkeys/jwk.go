package vaultkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"

	"github.com/assaypdp/assay/pdp"
)

// Thumbprint is the SHA-256 thumbprint of a public key in base64url (RFC 7638 section 3; RFC 8037 section 2
// for Ed25519). It is the key's "kid" too, so that a kid names the same key for ever, whatever happens to
// the record it came from.
func Thumbprint(public crypto.PublicKey) (string, error) {
	// Exactly the required members, in lexicographic order, without whitespace.
	m, err := members(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte("{" + m + "}"))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// appendJWK appends a key (RFC 7517 section 4), whose algorithm says its use. Names and values are ASCII
// without anything to escape: base64url and names from our own tables.
func appendJWK(dst []byte, key *pdp.Key) ([]byte, error) {
	m, err := members(key.Public)
	if err != nil {
		return dst, err
	}
	use := "sig"
	if key.Algorithm == EncryptionAlgorithm {
		use = "enc"
	}
	return fmt.Appendf(dst, `{%s,"use":"%s","alg":"%s","kid":"%s"}`, m, use, key.Algorithm, key.ID), nil
}

var errPublicKey = errors.New("not a public key of a kind that can be published")

// members are those of a JWK that make up the key, sorted by name (RFC 7518 section 6, RFC 8037 section 2).
func members(public crypto.PublicKey) (string, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		point, err := key.Bytes() // 4, then x and y at their full length
		if err != nil {
			return "", fmt.Errorf("%w: %w", errPublicKey, err)
		}
		size := (len(point) - 1) / 2
		return fmt.Sprintf(`"crv":"%s","kty":"EC","x":"%s","y":"%s"`,
			key.Curve.Params().Name, b64(point[1:1+size]), b64(point[1+size:])), nil
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return fmt.Sprintf(`"crv":"Ed25519","kty":"OKP","x":"%s"`, b64(key)), nil
		}
	case *rsa.PublicKey:
		if key != nil && key.N != nil {
			return fmt.Sprintf(`"e":"%s","kty":"RSA","n":"%s"`, b64(big.NewInt(int64(key.E)).Bytes()), b64(key.N.Bytes())), nil
		}
	}
	return "", errPublicKey
}
