package bundles

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/util"
)

// Signer makes signatures with one key. Implementations ask Vault, or hold a key of their own (PEMSigner).
type Signer interface {
	// SignBundle signs a JWS signing input (RFC 7515 section 5.1) and gives the raw signature as JWS wants it:
	// r||s for ECDSA.
	SignBundle(ctx context.Context, signingInput []byte) (signature []byte, err error)
	// KeyID is the "kid" under which verifiers know the key.
	KeyID() string
	// Algorithm is the JWS "alg", one of Algorithms.
	Algorithm() string
	// PublicKey is the key's public half in PKIX PEM: Sign releases nothing that it does not verify.
	PublicKey() string
}

// SignConfig says how to sign.
type SignConfig struct {
	// Signer holds the key; required.
	Signer Signer
	// Scope is what verifiers must be configured with; empty: none.
	Scope string
	// MaxBytes, MaxUnpackedBytes and MaxFiles bound the archive that is signed: as in ReadConfig.
	MaxBytes, MaxUnpackedBytes int64
	MaxFiles                   int
}

// Sign gives the archive with a signature (.signatures.json) over the hash of every file in it, in the form of
// stock OPA; one that is there is replaced. The archive is read with every check but those of time first: what would
// be refused is not signed. The files keep their bytes. The signature is verified before it is handed out.
func Sign(ctx context.Context, archive []byte, c SignConfig) ([]byte, error) {
	if c.Signer == nil {
		return nil, errors.New("bundles: Signer is required")
	}
	read := ReadConfig{MaxBytes: c.MaxBytes, MaxUnpackedBytes: c.MaxUnpackedBytes, MaxFiles: c.MaxFiles, AllowExpired: true}
	if _, err := Read(ctx, bytes.NewReader(archive), read); err != nil {
		return nil, err
	}
	if err := read.complete(); err != nil {
		return nil, err
	}
	all, err := unpack(archive, read.budget())
	if err != nil {
		return nil, err
	}
	delete(all, signaturesFile)
	token, err := sign(ctx, all, &c)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(signatures{Signatures: []string{token}}, "", " ")
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	all[signaturesFile] = text
	signed, err := pack(all)
	if err != nil {
		return nil, err
	}
	key := Key{PEM: c.Signer.PublicKey(), Algorithm: c.Signer.Algorithm()}
	read.Verify = &Verification{Keys: map[string]Key{c.Signer.KeyID(): key}, Scope: c.Scope}
	if _, err := Read(ctx, bytes.NewReader(signed), read); err != nil {
		return nil, fmt.Errorf("bundles: the new signature does not verify, and is not used: %w", err)
	}
	return signed, nil
}

// sign makes the JWT that stock OPA reads: DecodedSignature in its bundle package.
func sign(ctx context.Context, all files, c *SignConfig) (string, error) {
	var payload struct {
		Files []bundle.FileInfo `json:"files"`
		Scope string            `json:"scope,omitempty"`
	}
	payload.Scope = c.Scope
	for _, name := range all.names() {
		hash, err := hashFile(name, all[name])
		if err != nil {
			return "", err
		}
		payload.Files = append(payload.Files, bundle.NewFile(name, hash, string(bundle.SHA256)))
	}
	header := struct {
		Algorithm string `json:"alg"`
		KeyID     string `json:"kid"`
		Type      string `json:"typ"`
	}{c.Signer.Algorithm(), c.Signer.KeyID(), "JWT"}
	var parts [2]string
	for i, part := range []any{header, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", fmt.Errorf("bundles: %w", err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	input := strings.Join(parts[:], ".")
	signature, err := c.Signer.SignBundle(ctx, []byte(input))
	if err != nil {
		return "", fmt.Errorf("bundles: signing with key %q: %w", c.Signer.KeyID(), err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}

// hashFile hashes as OPA does: JSON and YAML by what they mean, everything else by its bytes.
func hashFile(name string, text []byte) (string, error) {
	var value any = text
	if bundle.IsStructuredDoc(name) {
		if err := util.Unmarshal(text, &value); err != nil {
			return "", refuse(ReasonMalformed, "%s: %v", name, err)
		}
	}
	hasher, err := bundle.NewSignatureHasher(bundle.SHA256)
	if err != nil {
		return "", fmt.Errorf("bundles: %w", err)
	}
	sum, err := hasher.HashFile(value)
	if err != nil {
		return "", fmt.Errorf("bundles: hashing %s: %w", name, err)
	}
	return hex.EncodeToString(sum), nil
}
