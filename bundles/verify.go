package bundles

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Algorithms are the JWS algorithms that bundles are signed with. Stock OPA verifies all but EdDSA by its
// configuration file; EdDSA verifies in its library alone.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512", "EdDSA"}
}

// Check says whether every key can be used; no bundle could be verified with one that cannot.
func (v *Verification) Check() error {
	if len(v.Keys) == 0 {
		return errors.New("bundles: a signature is demanded and no key is given")
	}
	for _, kid := range slices.Sorted(maps.Keys(v.Keys)) {
		key := v.Keys[kid]
		if kid == "" {
			return errors.New("bundles: a key has an empty id")
		}
		public, err := parsePublic(key.PEM)
		if err == nil {
			err = fits(public, key.Algorithm)
		}
		if err != nil {
			return fmt.Errorf("bundles: key %q: %w", kid, err)
		}
	}
	return nil
}

// parsePublic reads the forms that OPA reads, private keys apart.
func parsePublic(text string) (any, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("give one public key in PEM")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, fmt.Errorf("a PEM block %q is no public key", block.Type)
}

// fits says whether a public key may be used under an algorithm: RFC 7518 section 3.1, RFC 8037 section 3.1.
func fits(public any, alg string) error {
	if !slices.Contains(Algorithms(), alg) {
		return fmt.Errorf("algorithm %q; use one of %s", alg, strings.Join(Algorithms(), ", "))
	}
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		curves := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}
		if curves[alg] == key.Curve {
			return nil
		}
	case *rsa.PublicKey:
		if key.Size() < 256 {
			return errors.New("an RSA key needs 2048 bits")
		}
		if strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS") {
			return nil
		}
	case ed25519.PublicKey:
		if alg == "EdDSA" {
			return nil
		}
	}
	return fmt.Errorf("a key of this type does not sign with %s", alg)
}

// signatures is the content of .signatures.json. The field "plugin" is not signed and says nothing here.
type signatures struct {
	Signatures []string `json:"signatures"`
	Plugin     string   `json:"plugin,omitempty"`
}

// verify checks the signature and that it covers exactly these files. It gives the id of the key.
func (v *Verification) verify(all files) (string, error) {
	text, there := all[signaturesFile]
	if !there {
		return "", refuse(ReasonUnsigned, "it has no %s; sign it with `assay bundle sign` or `opa sign`", signaturesFile)
	}
	var s signatures
	if err := strictJSON(text); err != nil {
		return "", refuse(ReasonSignature, "%s: %v", signaturesFile, err)
	}
	if err := json.Unmarshal(text, &s); err != nil || len(s.Signatures) != 1 {
		return "", refuse(ReasonSignature, "%s must hold exactly one signature", signaturesFile)
	}
	kid, err := v.checkHeader(s.Signatures[0])
	if err != nil {
		return "", err
	}
	key := v.Keys[kid]
	covered, err := (&bundle.DefaultVerifier{}).VerifyBundleSignature(
		bundle.SignaturesConfig{Signatures: s.Signatures},
		bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{kid: {Key: key.PEM, Algorithm: key.Algorithm}}, kid, v.Scope, nil))
	if err != nil {
		return "", refuse(ReasonSignature, "by key %q: %v", kid, err)
	}
	return kid, checkCovered(all, covered)
}

// checkCovered holds every file against its hash in the signature. covered is used up.
func checkCovered(all files, covered map[string]bundle.FileInfo) error {
	for name, info := range covered {
		if plain := strings.TrimPrefix(name, "/"); plain != name { // stock OPA looks for names without a slash
			delete(covered, name)
			info.Name = plain
			covered[plain] = info
		}
	}
	for _, name := range all.names() {
		if name == signaturesFile {
			continue
		}
		info, there := covered[name]
		if !there {
			return refuse(ReasonSignature, "the signature does not cover %s", name)
		}
		if info.Algorithm == string(bundle.MD5) || info.Algorithm == string(bundle.SHA1) {
			return refuse(ReasonSignature, "%s is hashed with %s, which is broken; sign with SHA-256", name, info.Algorithm)
		}
		if err := bundle.VerifyBundleFile(name, *bytes.NewBuffer(all[name]), covered); err != nil {
			return refuse(ReasonSignature, "%s is not what was signed: %v", name, err)
		}
	}
	if missing := slices.Sorted(maps.Keys(covered)); len(missing) > 0 {
		return refuse(ReasonSignature, "the signature covers %s, which is not there", strings.Join(missing, ", "))
	}
	return nil
}

// checkHeader reads the JWS header strictly (RFC 7515 sections 4 and 7.1), which OPA does not: the algorithm must be the
// key's and no extension may be critical. It gives the key id.
func (v *Verification) checkHeader(token string) (string, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "", refuse(ReasonSignature, "the signature is no JWT in compact form")
	}
	var decoded [2][]byte
	for i := range parts {
		text, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil || strings.ContainsAny(parts[i], "\r\n") {
			return "", refuse(ReasonSignature, "the signature is no JWT in compact form")
		}
		if i < 2 {
			decoded[i] = text
			if err := strictJSON(text); err != nil {
				return "", refuse(ReasonSignature, "the signature's JWT: %v", err)
			}
		}
	}
	var header struct {
		Algorithm string          `json:"alg"`
		KeyID     string          `json:"kid"`
		Critical  json.RawMessage `json:"crit"`
	}
	var claims struct {
		KeyID string `json:"keyid"` // deprecated by OPA, still written by opa sign
	}
	if json.Unmarshal(decoded[0], &header) != nil || json.Unmarshal(decoded[1], &claims) != nil {
		return "", refuse(ReasonSignature, "the signature's JWT has members of other types than OPA's")
	}
	kid := header.KeyID
	if kid == "" {
		kid = claims.KeyID
	}
	if kid == "" && len(v.Keys) == 1 { // opa sign without a key id; stock OPA is then told which key by its configuration
		for kid = range v.Keys {
		}
	}
	key, known := v.Keys[kid]
	switch {
	case header.Critical != nil:
		return "", refuse(ReasonSignature, "the signature's header names critical extensions; none is understood")
	case kid == "":
		return "", refuse(ReasonSignature, "the signature names no key, and more than one counts; sign with a key id")
	case !known:
		return "", refuse(ReasonSignature, "it is signed by key %.64q, which is none of those that count", kid)
	case header.Algorithm != key.Algorithm:
		return "", refuse(ReasonSignature, "it is signed with %.16q, and key %q is for %s", header.Algorithm, kid, key.Algorithm)
	}
	return kid, nil
}
