package pdp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"time"
)

// Algorithms lists the "alg" values that a signature may have, in documentation order (RFC 7518
// section 3.1, RFC 8037, RFC 9864). Whatever is not here cannot be allowed by any configuration.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

// Key is a public key that an issuer publishes for signatures.
type Key struct {
	// ID is the JWK's "kid"; empty where it has none.
	ID string
	// Thumbprint is the key's RFC 7638 SHA-256 thumbprint, base64url. It, not ID, is the key's identity.
	Thumbprint string
	// Algorithm is the JWK's "alg"; empty where it has none, then the key's type decides.
	Algorithm string
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey.
	Public crypto.PublicKey
	// Created is when the key was made, where its source tells; zero otherwise.
	Created time.Time
}

// ValidThumbprint reports whether text can be a SHA-256 thumbprint of RFC 7638: 32 bytes in base64url without padding, which
// are 43 characters. That a key has it is not asked.
func ValidThumbprint(text string) bool {
	// Decode skips line breaks, which no thumbprint has; the length leaves no room for one.
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(sum) == sha256.Size && len(text) == base64.RawURLEncoding.EncodedLen(sha256.Size)
}

// Fits reports whether a signature under alg may be made with this key: alg is one of Algorithms, it is
// the one that the JWK names where it names one, and key type and curve are those that alg demands
// (RFC 8725 section 3.1, one algorithm per key; RFC 7518 section 3.4, one curve per ECDSA algorithm).
func (k *Key) Fits(alg string) bool {
	if k.Algorithm != "" && k.Algorithm != alg {
		return false
	}
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, alg)
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return alg == "ES256"
		case elliptic.P384():
			return alg == "ES384"
		case elliptic.P521():
			return alg == "ES512"
		}
	case ed25519.PublicKey:
		return alg == "EdDSA" || alg == "Ed25519"
	}
	return false
}

// Type is the JWK's "kty": "RSA", "EC" or "OKP"; empty for a key of no known type.
func (k *Key) Type() string {
	switch k.Public.(type) {
	case *rsa.PublicKey:
		return "RSA"
	case *ecdsa.PublicKey:
		return "EC"
	case ed25519.PublicKey:
		return "OKP"
	}
	return ""
}

// Curve is the JWK's "crv": "P-256", "P-384", "P-521" or "Ed25519"; empty for RSA.
func (k *Key) Curve() string {
	switch public := k.Public.(type) {
	case *ecdsa.PublicKey:
		return public.Curve.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	}
	return ""
}

// Bits is the size of the RSA modulus or of the curve's field, in bits.
func (k *Key) Bits() int {
	switch public := k.Public.(type) {
	case *rsa.PublicKey:
		return public.N.BitLen()
	case *ecdsa.PublicKey:
		return public.Curve.Params().BitSize
	case ed25519.PublicKey:
		return 256
	}
	return 0
}
