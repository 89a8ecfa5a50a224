package token

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// Decrypter opens the encrypted key of a JWE with a private key that it holds and does not give away.
// kid may be empty. DecryptKey is asked at most once for a token, and bounds by itself how long it takes and how
// much it does for whom (pdp.CallerOf). Holds is asked for every cached token, and answers from memory whether
// DecryptKey would still use the key of that kid.
//
// An error that wraps pdp.ErrUnavailable says that the private key cannot be asked now: then there is no
// verdict on the token. Any other error says that the key cannot be opened, and nothing more about why.
type Decrypter interface {
	DecryptKey(ctx context.Context, kid, alg string, encryptedKey []byte) (contentKey []byte, err error)
	Holds(kid string) bool
}

// contentKeyBytes are the accepted "enc" values with the lengths of their keys (RFC 7518 section 5.3).
var contentKeyBytes = map[string]int{"A128GCM": 16, "A192GCM": 24, "A256GCM": 32}

// open decrypts a nested token: a JWS inside a JWE (RFC 7519 section 5.2). Only RSA-OAEP-256 with AES-GCM
// is accepted: RSA1_5 has an oracle, "dir" and PBES2 share secrets, ECDH-ES is refused (RFC 8725 sections
// 3.2 and 3.4), and "zip" makes small tokens large (RFC 8725bis section 3.15).
//
// The content is decrypted with the standard library rather than jwx: AES-GCM is one call there, and what
// jwx adds, the choice of algorithms and recipients by the message, is exactly what must not happen.
//
// Its error is that of a Decrypter which cannot answer now.
func (e *Examiner) open(ctx context.Context, parts []string, h pdp.Header) (compact string, refused *refusal, unavailable error) {
	decoded, refused := readEncrypted(parts, h)
	if refused != nil {
		return "", refused, nil
	}
	// One reason for whatever goes wrong from here: which step failed would be an oracle.
	cannot := refuse(pdp.StatusUndecryptable, "signature.undecryptable", "it cannot be decrypted with a key that is held here")
	if e.c.Decrypter == nil {
		return "", cannot, nil
	}
	key, err := e.c.Decrypter.DecryptKey(ctx, h.KeyID, h.Algorithm, decoded[1])
	if errors.Is(err, pdp.ErrUnavailable) {
		return "", nil, fmt.Errorf("token: decrypting the content key: %w", err)
	}
	if err != nil || len(key) != contentKeyBytes[h.Encryption] {
		// Go on with a key that opens nothing: both failures take the same way (RFC 7516 section 11.5).
		key = make([]byte, contentKeyBytes[h.Encryption])
		_, _ = rand.Read(key) // it never fails
	}
	plain, err := openGCM(key, decoded[2], decoded[3], decoded[4], parts[0])
	if err != nil {
		return "", cannot, nil //nolint:nilerr // the error would be the oracle
	}
	return string(plain), nil, nil
}

// openGCM decrypts AES-GCM content (RFC 7518 section 5.3); the header's own text is authenticated with it.
func openGCM(key, iv, ciphertext, tag []byte, header string) ([]byte, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, iv, slices.Concat(ciphertext, tag), []byte(header))
}

// readEncrypted refuses what is not a nested token in the one accepted form, and decodes its parts.
func readEncrypted(parts []string, h pdp.Header) (decoded [jweParts][]byte, refused *refusal) {
	_, known := contentKeyBytes[h.Encryption]
	_, zipped := h.Parameters["zip"]
	switch {
	case strings.EqualFold(h.Algorithm, "none"):
		return decoded, refuse(pdp.StatusAlgorithmRefused, "algorithm.none", "alg none: the token is not protected at all")
	case h.Algorithm != "RSA-OAEP-256":
		return decoded, unsupported("a JWE whose key is not encrypted with RSA-OAEP-256")
	case !known:
		return decoded, unsupported("a JWE whose content is not encrypted with A128GCM, A192GCM or A256GCM")
	case zipped:
		return decoded, unsupported("a compressed JWE (zip)")
	case h.ContentType != "jwt":
		return decoded, unsupported("a JWE that does not hold a signed token (cty JWT)")
	}
	for i, part := range parts {
		var err error
		if decoded[i], err = decodePart(part); err != nil {
			return decoded, malformed("part %d: %v", i+1, err)
		}
	}
	if len(decoded[1]) == 0 || len(decoded[2]) != 12 || len(decoded[3]) == 0 || len(decoded[4]) != 16 {
		return decoded, malformed("a JWE with a part of the wrong length")
	}
	return decoded, nil
}
