package transit

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	_ "crypto/sha256" // the hashes that the algorithms name
	_ "crypto/sha512"

	"github.com/hashicorp/vault/api"
)

// signature is how transit must be asked for the signature that a JWS algorithm wants. Its defaults would
// give others, and no error: RSA-PSS with the longest salt, SHA-256 under ES384.
type signature struct {
	hash     crypto.Hash // 0: the key signs the message itself (Ed25519)
	hashName string
	scheme   string // signature_algorithm, for RSA only
}

// signatures maps JWS "alg" (RFC 7518 section 3.1, RFC 8037, RFC 9864) to transit's parameters.
func signatures(alg string) (signature, bool) {
	switch alg {
	case "RS256":
		return signature{crypto.SHA256, "sha2-256", "pkcs1v15"}, true
	case "RS384":
		return signature{crypto.SHA384, "sha2-384", "pkcs1v15"}, true
	case "RS512":
		return signature{crypto.SHA512, "sha2-512", "pkcs1v15"}, true
	case "PS256":
		return signature{crypto.SHA256, "sha2-256", "pss"}, true
	case "PS384":
		return signature{crypto.SHA384, "sha2-384", "pss"}, true
	case "PS512":
		return signature{crypto.SHA512, "sha2-512", "pss"}, true
	case "ES256":
		return signature{crypto.SHA256, "sha2-256", ""}, true
	case "ES384":
		return signature{crypto.SHA384, "sha2-384", ""}, true
	case "ES512":
		return signature{crypto.SHA512, "sha2-512", ""}, true
	case "EdDSA", "Ed25519":
		return signature{0, "", ""}, true
	}
	return signature{}, false
}

// BatchError says which of several inputs were not signed. Its Items are parallel to the inputs, nil for
// those that were.
type BatchError struct{ Items []error }

func (e *BatchError) Error() string {
	failed, first := 0, error(nil)
	for _, err := range e.Items {
		if err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	return fmt.Sprintf("%d of %d were not signed, the first because: %v", failed, len(e.Items), first)
}

// Unwrap gives the errors of the items that have one.
func (e *BatchError) Unwrap() []error {
	var failed []error
	for _, err := range e.Items {
		if err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

// Sign signs each signing input (RFC 7515 section 5.1: header, dot, payload) with one version of a key and
// answers the signatures as JWS wants them before base64url: raw bytes, r||s for ECDSA. More than
// one input go to Vault as one batch. Where only some fail, their signatures are nil and the error is a
// *BatchError. Vault's listener takes 10 000 inputs and 32 MiB at once, unless configured otherwise.
//
// version is explicit and must be positive: "latest" would sign with a key that verifiers do not know yet.
// Where the algorithm hashes, only the hash is sent.
//
// Sign checks that Vault used the version it was asked for, not that the signature is good: Vault has been
// seen to answer success without one. Whoever releases a token verifies it first, with the published key;
// vaultkeys/issuer does.
func (c *Client) Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error) {
	how, ok := signatures(alg)
	switch {
	case !ok:
		return nil, fmt.Errorf("vault: algorithm %q: transit cannot make such signatures", alg)
	case version < 1:
		return nil, fmt.Errorf("vault: key version %d: name the version to sign with", version)
	case len(inputs) == 0:
		return nil, nil
	}
	if err := checkName("key", key); err != nil {
		return nil, err
	}
	secret, err := c.write(ctx, "sign", c.path("sign", key), how.body(version, inputs))
	if err != nil {
		return nil, err
	}
	if len(inputs) == 1 {
		one, err := parseSignature(secret.Data["signature"], version)
		if err != nil {
			return nil, err
		}
		return [][]byte{one}, nil
	}
	return parseBatch(secret.Data["batch_results"], version, len(inputs))
}

func (s signature) body(version int, inputs [][]byte) map[string]any {
	body := map[string]any{"key_version": version, "marshaling_algorithm": "jws"}
	if s.hash != 0 {
		body["prehashed"], body["hash_algorithm"] = true, s.hashName
	}
	if s.scheme != "" {
		body["signature_algorithm"] = s.scheme
	}
	if s.scheme == "pss" {
		body["salt_length"] = "hash" // RFC 7518 section 3.5; transit's default is the longest that fits
	}
	if len(inputs) == 1 {
		body["input"] = s.input(inputs[0])
		return body
	}
	batch := make([]any, len(inputs))
	for i, input := range inputs {
		batch[i] = map[string]any{"input": s.input(input)}
	}
	body["batch_input"] = batch
	return body
}

func (s signature) input(signingInput []byte) string {
	if s.hash != 0 {
		digest := s.hash.New()
		_, _ = digest.Write(signingInput) // a hash never fails
		signingInput = digest.Sum(nil)
	}
	return base64.StdEncoding.EncodeToString(signingInput)
}

func parseBatch(results any, version, want int) ([][]byte, error) {
	list, ok := results.([]any)
	if !ok || len(list) != want {
		return nil, fmt.Errorf("vault: %d inputs were to be signed and %d results came back", want, len(list))
	}
	made := make([][]byte, want)
	failed := &BatchError{Items: make([]error, want)}
	any := false
	for i, item := range list {
		made[i], failed.Items[i] = parseItem(item, version)
		any = any || failed.Items[i] != nil
	}
	if any {
		return made, failed
	}
	return made, nil
}

func parseItem(item any, version int) ([]byte, error) {
	fields, ok := item.(map[string]any)
	if !ok {
		return nil, errors.New("vault: a batch result is no object")
	}
	if message, _ := fields["error"].(string); message != "" {
		return nil, fmt.Errorf("vault: %s", message)
	}
	return parseSignature(fields["signature"], version)
}

// parseSignature reads "vault:v<version>:<base64url>".
func parseSignature(value any, version int) ([]byte, error) {
	text, ok := value.(string)
	if !ok {
		return nil, errors.New("vault: the answer has no signature")
	}
	encoded, ok := strings.CutPrefix(text, "vault:v"+strconv.Itoa(version)+":")
	if !ok {
		used, _, _ := strings.Cut(strings.TrimPrefix(text, "vault:"), ":")
		return nil, fmt.Errorf("vault: asked to sign with version %d, it used %.16q", version, used)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || base64.RawURLEncoding.EncodedLen(len(raw)) != len(encoded) { // the decoder skips line breaks
		return nil, errors.New("vault: the signature is not base64url")
	}
	if len(raw) == 0 {
		return nil, errors.New("vault: the signature is empty")
	}
	return raw, nil
}

// Decrypt decrypts a JWE's encrypted key with one version of an RSA key: RSA-OAEP-256 (RFC 7518 section
// 4.3, SHA-256 for both hashes), the only key encryption of JWE that transit's RSA keys serve safely.
// version is that of the key which the token's kid names. A ciphertext that does not decrypt is an error
// that is not ErrUnavailable.
func (c *Client) Decrypt(ctx context.Context, key string, version int, ciphertext []byte) ([]byte, error) {
	if version < 1 {
		return nil, fmt.Errorf("vault: key version %d: name the version to decrypt with", version)
	}
	if err := checkName("key", key); err != nil {
		return nil, err
	}
	wrapped := "vault:v" + strconv.Itoa(version) + ":" + base64.StdEncoding.EncodeToString(ciphertext)
	secret, err := c.write(ctx, "decrypt", c.path("decrypt", key), map[string]any{"ciphertext": wrapped})
	if err != nil {
		return nil, err
	}
	text, ok := secret.Data["plaintext"].(string)
	if !ok {
		return nil, errors.New("vault: the answer has no plaintext")
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("vault: the plaintext is not base64") // the cause would quote it
	}
	return plain, nil
}

// path names a resource of the mount; the key's name has been checked.
func (c *Client) path(what, key string) string { return c.c.Mount + "/" + what + "/" + key }

func (c *Client) write(ctx context.Context, operation, path string, body map[string]any) (*api.Secret, error) {
	secret, err := c.do(ctx, operation, func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.Logical().WriteWithContext(ctx, path, body)
	})
	if err == nil && secret == nil {
		secret = &api.Secret{} // 204: nothing to say
	}
	return secret, err
}

// read answers nil where there is nothing.
func (c *Client) read(ctx context.Context, operation, path string) (*api.Secret, error) {
	return c.do(ctx, operation, func(ctx context.Context, client *api.Client) (*api.Secret, error) {
		return client.Logical().ReadWithContext(ctx, path)
	})
}

// integer reads a number as Vault's client gives it.
func integer(value any) (int, error) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%T is no number", value)
	}
	n, err := strconv.Atoi(number.String())
	if err != nil {
		return 0, fmt.Errorf("%q is no whole number", number)
	}
	return n, nil
}
