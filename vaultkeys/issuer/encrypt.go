package issuer

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// EncryptionKeys says what tokens are encrypted to now; *vaultkeys.EncryptionRing is one. It answers from
// memory and is called concurrently. An error wraps vaultkeys.ErrUnknownKey, ErrNotKnown or ErrNoSigner.
type EncryptionKeys interface {
	Encryption(name string) (pdp.Key, error)
}

// The sizes of A256GCM (RFC 7518 section 5.3), in bytes.
const (
	contentKeyBytes = 32
	ivBytes         = 12
	tagBytes        = 16
)

// envelope is what a signed token is put in: a JWE under RSA-OAEP-256 and A256GCM, not compressed (RFC 7519
// section 5.2: sign, then encrypt). The cryptography is the standard library's, three calls; a library's
// choice of algorithms is not wanted here.
type envelope struct {
	key    pdp.Key
	public *rsa.PublicKey
	header string // base64url, which is also what is authenticated with the content
}

// envelope is that for the order; nil where the token is not to be encrypted.
func (i *Issuer) envelope(o *Order) (*envelope, error) {
	if o.EncryptTo == "" {
		return nil, nil
	}
	if i.c.Encryption == nil {
		return nil, fmt.Errorf("issuer: to encrypt to %s there must be encryption keys", o.EncryptTo)
	}
	key, err := i.c.Encryption.Encryption(o.EncryptTo)
	switch {
	case errors.Is(err, vaultkeys.ErrUnknownKey):
		return nil, fmt.Errorf("issuer: encrypting: %w", err)
	case err != nil:
		return nil, &UnavailableError{RetryAfter: keyRetry, Err: err}
	}
	public, ok := key.Public.(*rsa.PublicKey)
	if !ok || key.Algorithm != vaultkeys.EncryptionAlgorithm {
		return nil, fmt.Errorf("issuer: the key %s is not one to encrypt to", o.EncryptTo)
	}
	w := newWriter(nil)
	w.member("alg", key.Algorithm)
	w.member("enc", "A256GCM")
	w.member("cty", "JWT")
	w.member("kid", key.ID)
	header, err := w.end()
	if err != nil {
		return nil, err
	}
	return &envelope{key: key, public: public, header: base64.RawURLEncoding.EncodeToString(header)}, nil
}

// size is that of the JWE which holds a token of so many bytes.
func (e *envelope) size(inner int) int {
	b64 := base64.RawURLEncoding
	return len(e.header) + 4 + b64.EncodedLen(e.public.Size()) + b64.EncodedLen(ivBytes) + b64.EncodedLen(inner) + b64.EncodedLen(tagBytes)
}

// seal encrypts (RFC 7516 section 5.1): a fresh content key and initialisation vector for each token, always
// from the system's randomness.
func (e *envelope) seal(inner string) (string, error) {
	var fresh [contentKeyBytes + ivBytes]byte
	_, _ = rand.Read(fresh[:]) // it never fails
	key, iv := fresh[:contentKeyBytes], fresh[contentKeyBytes:]
	wrapped, err := rsa.EncryptOAEP(sha256.New(), rand.Reader, e.public, key, nil)
	if err != nil {
		return "", fmt.Errorf("issuer: encrypting the content key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return "", fmt.Errorf("issuer: encrypting: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return "", fmt.Errorf("issuer: encrypting: %w", err)
	}
	sealed := aead.Seal(nil, iv, []byte(inner), []byte(e.header))
	cut := len(sealed) - tagBytes
	token := append(make([]byte, 0, e.size(len(inner))), e.header...)
	for _, part := range [][]byte{wrapped, iv, sealed[:cut], sealed[cut:]} {
		token = base64.RawURLEncoding.AppendEncode(append(token, '.'), part)
	}
	return string(token), nil
}
