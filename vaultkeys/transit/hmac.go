package transit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// PseudonymKeyType is the transit type of a key that pseudonyms come from. Such a key has an HMAC key in each of its
// versions. Those of type hmac would do as well, but of them Vault does not tell when a version was made, and by
// that all replicas choose the same version for a period; see vaultkeys/notary.
const PseudonymKeyType = "aes256-gcm96"

// HMAC answers HMAC-SHA-256 of input, 32 bytes, with one version of a key. version is explicit and must be
// positive. A version that was retired or destroyed is an error that is not ErrUnavailable.
func (c *Client) HMAC(ctx context.Context, key string, version int, input []byte) ([]byte, error) {
	if version < 1 {
		return nil, fmt.Errorf("vault: key version %d: name the version to use", version)
	}
	if err := checkName("key", key); err != nil {
		return nil, err
	}
	// The algorithm is transit's default; the notary's policy lets none be named.
	secret, err := c.write(ctx, "hmac", c.path("hmac", key), map[string]any{
		"input": base64.StdEncoding.EncodeToString(input), "key_version": version,
	})
	if err != nil {
		return nil, err
	}
	return parseHMAC(secret.Data["hmac"], version)
}

// parseHMAC reads "vault:v<version>:<base64>". Its errors do not quote it: it is a secret.
func parseHMAC(value any, version int) ([]byte, error) {
	text, _ := value.(string)
	encoded, ok := strings.CutPrefix(text, "vault:v"+strconv.Itoa(version)+":")
	if !ok {
		return nil, fmt.Errorf("vault: the answer has no HMAC of version %d", version)
	}
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || len(raw) != sha256.Size {
		return nil, errors.New("vault: the HMAC is not 32 bytes in base64")
	}
	return raw, nil
}
