package vaultkeys

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"fmt"
	"slices"
	"time"
)

// Record is what Vault says of one transit key: public keys and life-cycle marks, never a secret.
// Once made it is not changed.
type Record struct {
	// Name of the transit key.
	Name string
	// Type is transit's key type, one of KeyTypes.
	Type string
	// Versions that Vault lists, by ascending Number. It lists none below MinDecryptionVersion, and none
	// that was trimmed.
	Versions []Version
	// Latest is the number of the newest version.
	Latest int
	// MinDecryptionVersion is the lowest version that may be used at all; at least 1.
	MinDecryptionVersion int
	// MinEncryptionVersion is the lowest version that may sign; 0 means any that may be used at all.
	MinEncryptionVersion int
	// MinAvailableVersion is the lowest version that was not destroyed (trimmed); 0 where none was.
	MinAvailableVersion int
	// Exportable, AllowPlaintextBackup and DeletionAllowed are weaknesses to report: a signing key
	// should have none of them.
	Exportable, AllowPlaintextBackup, DeletionAllowed bool
	// Imported tells that its private half has been outside Vault.
	Imported bool
	// AutoRotatePeriod is how often Vault itself adds a version; zero, as it should be: never.
	AutoRotatePeriod time.Duration
}

// Version is one version of a transit key.
type Version struct {
	// Number counts from 1.
	Number int
	// Created is when Vault made it, by Vault's clock.
	Created time.Time
	// Public is an *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey; nil for a key that signs nothing, whose
	// record Check refuses.
	Public crypto.PublicKey
}

// KeyTypes lists the transit key types that can sign a JWS, in documentation order.
func KeyTypes() []string {
	return []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// Algorithms lists the "alg" values (RFC 7518 section 3.1, RFC 8037 section 3.1, RFC 9864) that a transit
// key of that type can sign under; nil for a type that cannot sign a JWS. The first is the one that a key
// has unless its configuration names another: RS256 for RSA, because RFC 9068 section 2.1 asks for it of
// every resource server while PS256 is still missing in some; EdDSA for Ed25519, because fewer verifiers
// know the newer name.
func Algorithms(keyType string) []string {
	switch keyType {
	case "ecdsa-p256":
		return []string{"ES256"}
	case "ecdsa-p384":
		return []string{"ES384"}
	case "ecdsa-p521":
		return []string{"ES512"}
	case "ed25519":
		return []string{"EdDSA", "Ed25519"}
	case "rsa-2048", "rsa-3072", "rsa-4096":
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	}
	return nil
}

// Algorithm is the one "alg" of a key of that type (RFC 8725 section 3.1: a key has one). configured is
// what the configuration names, or empty for the type's default.
func Algorithm(keyType, configured string) (string, error) {
	can := Algorithms(keyType)
	switch {
	case len(can) == 0:
		return "", fmt.Errorf("a transit key of type %q cannot sign tokens; use one of %v", keyType, KeyTypes())
	case configured == "":
		return can[0], nil
	case !slices.Contains(can, configured):
		return "", fmt.Errorf("a transit key of type %s cannot sign %s; it can sign %v", keyType, configured, can)
	}
	return configured, nil
}

// Check finds what must not be believed: a type that cannot sign, versions out of order or without a
// time, and public keys that are not what the type promises. (Vault answers a request to create a key that
// exists with the old key, whatever its type.)
func (r *Record) Check() error {
	if Algorithms(r.Type) == nil {
		return fmt.Errorf("transit key %s: type %q cannot sign tokens; use one of %v", r.Name, r.Type, KeyTypes())
	}
	if len(r.Versions) == 0 {
		return fmt.Errorf("transit key %s: it has no usable version", r.Name)
	}
	for i, v := range r.Versions {
		switch {
		case v.Number < 1 || v.Number > r.Latest:
			return fmt.Errorf("transit key %s: version %d is not between 1 and the latest, %d", r.Name, v.Number, r.Latest)
		case i > 0 && v.Number <= r.Versions[i-1].Number:
			return fmt.Errorf("transit key %s: version %d does not stand in ascending order", r.Name, v.Number)
		case v.Created.IsZero():
			return fmt.Errorf("transit key %s: version %d has no creation time", r.Name, v.Number)
		case TypeOf(v.Public) != r.Type:
			return fmt.Errorf("transit key %s: version %d has a public key of type %q, not %s", r.Name, v.Number, TypeOf(v.Public), r.Type)
		}
	}
	return nil
}

// TypeOf names the transit key type that a public key belongs to; empty where there is none.
func TypeOf(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil {
			return ""
		}
		switch key.N.BitLen() {
		case 2048, 3072, 4096:
			return fmt.Sprintf("rsa-%d", key.N.BitLen())
		}
	case *ecdsa.PublicKey:
		if key == nil {
			return ""
		}
		switch key.Curve {
		case elliptic.P256():
			return "ecdsa-p256"
		case elliptic.P384():
			return "ecdsa-p384"
		case elliptic.P521():
			return "ecdsa-p521"
		}
	case ed25519.PublicKey:
		if len(key) == ed25519.PublicKeySize {
			return "ed25519"
		}
	}
	return ""
}
