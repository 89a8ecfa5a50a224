package bundles

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes that the algorithms name
	_ "crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// PEMSigner signs with a private key from a PEM file, for those who have no Vault. The key is in this process's
// memory; with Vault it never is.
type PEMSigner struct {
	key       crypto.Signer
	id, alg   string
	publicPEM string
}

// NewPEMSigner reads one private key (PKCS #8, PKCS #1 or SEC 1). alg is one of Algorithms, default what suits the
// key (RS256 for RSA). id is the key id, default Thumbprint of the public key.
func NewPEMSigner(text []byte, alg, id string) (*PEMSigner, error) {
	key, err := parsePrivate(text)
	if err != nil {
		return nil, fmt.Errorf("bundles: the private key: %w", err)
	}
	public := key.Public()
	if alg == "" {
		alg = defaultAlgorithm(public)
	}
	if err := fits(public, alg); err != nil {
		return nil, fmt.Errorf("bundles: the private key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	s := &PEMSigner{key: key, id: id, alg: alg}
	s.publicPEM = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if s.id == "" {
		s.id, err = Thumbprint(s.publicPEM)
	}
	return s, err
}

// Thumbprint is the JWK thumbprint (RFC 7638, SHA-256, base64url) of a public key in PEM, by which Assay names keys.
func Thumbprint(publicPEM string) (string, error) {
	public, err := parsePublic(publicPEM)
	if err != nil {
		return "", fmt.Errorf("bundles: %w", err)
	}
	sum, err := (&jose.JSONWebKey{Key: public}).Thumbprint(crypto.SHA256)
	if err != nil {
		return "", fmt.Errorf("bundles: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

func parsePrivate(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("it is not in PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block %q is no plain private key", block.Type)
	}
	if err != nil {
		return nil, errors.New("it cannot be parsed") // the cause might quote it
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it does not sign")
	}
	return signer, nil
}

func defaultAlgorithm(public any) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		return map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[key.Params().BitSize]
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return "RS256"
}

// KeyID implements Signer.
func (s *PEMSigner) KeyID() string { return s.id }

// Algorithm implements Signer.
func (s *PEMSigner) Algorithm() string { return s.alg }

// PublicKey implements Signer.
func (s *PEMSigner) PublicKey() string { return s.publicPEM }

// SignBundle implements Signer: RFC 7518 section 3, RFC 8037 section 3.1.
func (s *PEMSigner) SignBundle(_ context.Context, input []byte) ([]byte, error) {
	if s.alg == "EdDSA" {
		return s.key.Sign(rand.Reader, input, crypto.Hash(0))
	}
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[s.alg[2:]]
	h := hash.New()
	_, _ = h.Write(input) // a hash never fails
	digest := h.Sum(nil)
	switch {
	case strings.HasPrefix(s.alg, "PS"):
		return s.key.Sign(rand.Reader, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash})
	case strings.HasPrefix(s.alg, "RS"):
		return s.key.Sign(rand.Reader, digest, hash)
	}
	der, err := s.key.Sign(rand.Reader, digest, hash)
	if err != nil {
		return nil, err
	}
	var pair struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &pair); err != nil {
		return nil, err
	}
	public, ok := s.key.Public().(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("a %T does not sign with %s", s.key, s.alg)
	}
	size := (public.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	pair.R.FillBytes(raw[:size])
	pair.S.FillBytes(raw[size:])
	return raw, nil
}
