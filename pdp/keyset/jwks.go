package keyset

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/strictjson"
)

// Bounds on a JWKS. The largest public provider's is under 20 KiB.
const (
	MaxJWKSBytes = 512 << 10
	maxKeys      = 1000
	maxKeyID     = 1024 // bytes
)

// Sizes of RSA moduli in bits. Below the least a key is left out, as being none; whether one above it is
// good enough is for policy (key.too_weak). The most bounds what one verification may cost.
const (
	minModulus = 1024
	maxModulus = 16384
)

// ErrPrivateKey is wrapped where a JWKS holds a private key. Whoever could read the file has the key: it
// must be replaced, not only taken out.
var ErrPrivateKey = errors.New("it holds a private key; replace that key and publish public keys only")

// ParseJWKS reads a JWK Set (RFC 7517 section 5) strictly: at most MaxJWKSBytes of JSON without duplicate
// names. It gives the keys that can verify signatures, in their order, with their RFC 7638 SHA-256
// thumbprints. A key that can not (for encryption, symmetric, of an unknown type, not on its curve, …) is
// left out, and skipped says which and why. The whole set is refused where it is not a JWK Set, holds a
// private key (ErrPrivateKey), or where two of the keys given share a kid or are the same key.
func ParseJWKS(data []byte) (keys []pdp.Key, skipped []string, err error) {
	if len(data) > MaxJWKSBytes {
		return nil, nil, fmt.Errorf("not a JWK Set: longer than %d bytes", MaxJWKSBytes)
	}
	document, err := decodeObject(data)
	if err != nil {
		return nil, nil, fmt.Errorf("not a JWK Set: %w", err)
	}
	members, ok := document["keys"].([]any)
	if !ok {
		return nil, nil, errors.New(`not a JWK Set: it has no array "keys"`)
	}
	if len(members) > maxKeys {
		return nil, nil, fmt.Errorf("a JWK Set of more than %d keys", maxKeys)
	}
	for i, member := range members {
		fields, _ := member.(map[string]any)
		if isPrivate(fields) {
			return nil, nil, fmt.Errorf("%s: %w", describe(i, fields), ErrPrivateKey)
		}
		key, err := parseKey(fields)
		if err != nil {
			skipped = append(skipped, fmt.Sprintf("%s: %v", describe(i, fields), err))
			continue
		}
		keys = append(keys, key)
	}
	// NewTrust holds the rules for a set; which issuer it is for does not matter to them.
	if _, err := pdp.NewTrust(pdp.Issuer{}, keys); err != nil {
		return nil, nil, setError(keys)
	}
	return keys, skipped, nil
}

// setError says which rule of pdp.NewTrust the keys break, in words that name no issuer.
func setError(keys []pdp.Key) error {
	for i, key := range keys {
		for _, other := range keys[:i] {
			if key.ID != "" && key.ID == other.ID {
				return fmt.Errorf("two keys have the kid %q", key.ID)
			}
			if key.Thumbprint == other.Thumbprint {
				return fmt.Errorf("the key with thumbprint %s stands twice in the set", key.Thumbprint)
			}
		}
	}
	return errors.New("the keys contradict each other")
}

func decodeObject(data []byte) (map[string]any, error) {
	return strictjson.DecodeObject(data, strictjson.Limits{})
}

// isPrivate tells a private key of any type. A symmetric key ("k") is none: it is left out like others.
func isPrivate(fields map[string]any) bool {
	for _, name := range [...]string{"d", "p", "q", "dp", "dq", "qi", "oth", "priv"} {
		if _, ok := fields[name]; ok {
			return true
		}
	}
	return false
}

// describe names a key for people, by its place and kid.
func describe(index int, fields map[string]any) string {
	kid, ok := fields["kid"].(string)
	if !ok || kid == "" {
		return fmt.Sprintf("key %d", index+1)
	}
	if len(kid) > 64 {
		kid = strings.ToValidUTF8(kid[:64], "") + "…"
	}
	return fmt.Sprintf("key %d (kid %q)", index+1, kid)
}

// parseKey reads one public key. What decides whether it is used (kty, use, key_ops, alg, kid) is read
// here from the strict reader's result; jwx sees only the members that make up the key itself.
func parseKey(fields map[string]any) (pdp.Key, error) {
	if fields == nil {
		return pdp.Key{}, errors.New("not a JSON object")
	}
	key := pdp.Key{}
	var err error
	if key.ID, err = optionalString(fields, "kid"); err != nil {
		return key, err
	}
	if len(key.ID) > maxKeyID {
		return key, fmt.Errorf("a kid of more than %d bytes", maxKeyID)
	}
	if key.Algorithm, err = optionalString(fields, "alg"); err != nil {
		return key, err
	}
	if err := checkUse(fields); err != nil {
		return key, err
	}
	if key.Public, err = publicKey(fields); err != nil {
		return key, err
	}
	if key.Algorithm != "" && !key.Fits(key.Algorithm) {
		return key, fmt.Errorf("its alg %.32q is no signature algorithm for its type and curve", key.Algorithm)
	}
	key.Thumbprint, err = thumbprint(key.Public)
	return key, err
}

func optionalString(fields map[string]any, name string) (string, error) {
	value, present := fields[name]
	if !present {
		return "", nil
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return text, nil
}

// checkUse refuses a key that says that it is not for verifying (RFC 7517 sections 4.2 and 4.3).
func checkUse(fields map[string]any) error {
	if use, present := fields["use"]; present && use != "sig" {
		return errors.New(`its use is not "sig"`)
	}
	operations, present := fields["key_ops"]
	if !present {
		return nil
	}
	if list, _ := operations.([]any); !slices.Contains(list, any("verify")) {
		return errors.New(`its key_ops do not hold "verify"`)
	}
	return nil
}

// publicKey builds the key after checking that each member has exactly the form that RFC 7518 section 6
// and RFC 8037 section 2 give it, so that one key has one spelling.
func publicKey(fields map[string]any) (crypto.PublicKey, error) {
	switch kty := fields["kty"]; kty {
	case "RSA":
		return rsaKey(fields)
	case "EC":
		return ecKey(fields)
	case "OKP":
		return okpKey(fields)
	case "oct":
		return nil, errors.New("a symmetric key is never used")
	default:
		return nil, errors.New("its kty is unknown")
	}
}

func rsaKey(fields map[string]any) (crypto.PublicKey, error) {
	modulus, err := octets(fields, "n")
	if err != nil {
		return nil, err
	}
	exponent, err := octets(fields, "e")
	if err != nil {
		return nil, err
	}
	if len(exponent) > 4 || exponent[len(exponent)-1]&1 == 0 {
		return nil, errors.New("its exponent is even or exceeds 31 bits")
	}
	if len(modulus) > maxModulus/8+1 || modulus[len(modulus)-1]&1 == 0 {
		return nil, fmt.Errorf("its modulus is even or exceeds %d bits", maxModulus)
	}
	public, err := parsed[*rsa.PublicKey](fields, "kty", "n", "e")
	if err != nil {
		return nil, err
	}
	if bits := public.N.BitLen(); bits < minModulus || bits > maxModulus {
		return nil, fmt.Errorf("an RSA modulus of %d bits", bits)
	}
	if public.E < 3 || public.E > 1<<31-1 {
		return nil, errors.New("its exponent is less than 3 or exceeds 31 bits")
	}
	return public, nil
}

// coordinateBytes is how long a coordinate is on each curve (RFC 7518 section 6.2.1.2); 0 for others.
func coordinateBytes(curve any) int {
	switch curve {
	case "P-256":
		return 32
	case "P-384":
		return 48
	case "P-521":
		return 66
	}
	return 0
}

func ecKey(fields map[string]any) (crypto.PublicKey, error) {
	size := coordinateBytes(fields["crv"])
	if size == 0 {
		return nil, errors.New("its curve is unknown")
	}
	for _, name := range [...]string{"x", "y"} {
		coordinate, err := octets(fields, name)
		if err != nil {
			return nil, err
		}
		if len(coordinate) != size {
			return nil, fmt.Errorf("its %q is %d bytes long; on its curve it has %d", name, len(coordinate), size)
		}
	}
	public, err := parsed[*ecdsa.PublicKey](fields, "kty", "crv", "x", "y")
	if err != nil {
		return nil, err
	}
	if _, err := public.ECDH(); err != nil { // which refuses a point that is not on the curve
		return nil, errors.New("its point is not on its curve")
	}
	return public, nil
}

func okpKey(fields map[string]any) (crypto.PublicKey, error) {
	if fields["crv"] != "Ed25519" {
		return nil, errors.New("its curve is not one for signatures here (Ed25519)")
	}
	point, err := octets(fields, "x")
	if err != nil {
		return nil, err
	}
	if len(point) != ed25519.PublicKeySize {
		return nil, fmt.Errorf(`its "x" is %d bytes long; on Ed25519 it has %d`, len(point), ed25519.PublicKeySize)
	}
	return parsed[ed25519.PublicKey](fields, "kty", "crv", "x")
}

// octets reads a member in unpadded base64url without trailing bits (RFC 7515 section 2).
func octets(fields map[string]any, name string) ([]byte, error) {
	text, _ := fields[name].(string)
	decoded, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(decoded) == 0 || strings.ContainsAny(text, "\r\n") { // the decoder ignores line ends
		return nil, fmt.Errorf("its %q is not base64url", name)
	}
	return decoded, nil
}

// parsed has jwx make a key of the named members alone.
func parsed[K crypto.PublicKey](fields map[string]any, names ...string) (K, error) {
	var public K
	bare := make(map[string]any, len(names))
	for _, name := range names {
		bare[name] = fields[name]
	}
	text, err := json.Marshal(bare)
	if err != nil {
		return public, errors.New("not a key")
	}
	key, err := jwk.ParseKey(text)
	if err != nil {
		return public, errors.New("not a key of its type") // jwx's error may quote the key
	}
	if err := key.Raw(&public); err != nil {
		return public, errors.New("not a key of its type")
	}
	return public, nil
}

// thumbprint is the RFC 7638 thumbprint. It is computed from the key, not from its JWK, so that two
// spellings of one RSA key (leading zero bytes) are still one key.
func thumbprint(public crypto.PublicKey) (string, error) {
	key, err := jwk.FromRaw(public)
	if err != nil {
		return "", errors.New("not a key of its type")
	}
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", errors.New("it has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}
