package attacks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The issuers that the server trusts.
const (
	issuerA = "https://idp.example"
	issuerB = "https://partner.example"
	// issuerC publishes RSA keys but may sign with ES256 only.
	issuerC = "https://narrow.example"
	// issuerW has a key that is too short.
	issuerW = "https://weak.example"
)

// key is a signing key of an issuer, or an attacker's.
type key struct {
	id, alg string
	signer  crypto.Signer
}

// lab makes tokens, good and hostile.
type lab struct {
	now  time.Time
	trap string // host:port that must never be called
	// secret is a value that the tokens hold and no log may.
	secret string
	jti    int

	// Keys of issuer A by algorithm, a second one for ES256, and an RSA key whose JWK names no algorithm.
	es256, es256b, es384, es512, rs256, ps256, ed25519, rsaAny key
	other                                                      key // of issuer B
	narrowES, narrowRS                                         key // of issuer C
	weak                                                       key // of issuer W
	attacker, attackerRSA                                      key // of nobody
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{now: time.Now(), trap: trap(t), secret: "s3cret-subject"}
	ec := func(curve elliptic.Curve) crypto.Signer {
		signer, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	rsaKey := func(bits int) crypto.Signer {
		signer, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return signer
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	l.es256, l.es256b = key{"a-es256", "ES256", ec(elliptic.P256())}, key{"a-es256-next", "ES256", ec(elliptic.P256())}
	l.es384, l.es512 = key{"a-es384", "ES384", ec(elliptic.P384())}, key{"a-es512", "ES512", ec(elliptic.P521())}
	l.rs256, l.ps256 = key{"a-rs256", "RS256", rsaKey(2048)}, key{"a-ps256", "PS256", rsaKey(2048)}
	l.rsaAny, l.ed25519 = key{"a-rsa", "", rsaKey(2048)}, key{"a-ed25519", "EdDSA", edwards}
	l.other = key{"b-es256", "ES256", ec(elliptic.P256())}
	l.narrowES, l.narrowRS = key{"c-es256", "ES256", ec(elliptic.P256())}, key{"c-rs256", "RS256", rsaKey(2048)}
	l.weak = key{"w-rs256", "RS256", rsaKey(1024)}
	l.attacker, l.attackerRSA = key{"evil", "ES256", ec(elliptic.P256())}, key{"evil-rsa", "RS256", rsaKey(2048)}
	return l
}

// configure writes the key sets and the configuration, and gives its path.
func (l *lab) configure(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set := func(name string, keys ...key) {
		jwks := make([]m, 0, len(keys))
		for _, k := range keys {
			jwks = append(jwks, k.jwk())
		}
		write(name, mustJSON(m{"keys": jwks}))
	}
	set("a.json", l.es256, l.es256b, l.es384, l.es512, l.rs256, l.ps256, l.ed25519, l.rsaAny)
	set("b.json", l.other)
	set("c.json", l.narrowES, l.narrowRS)
	set("w.json", l.weak)
	write("assay.yaml", fmt.Appendf(nil, `listen: 127.0.0.1:0
issuers:
  - {issuer: %s, keys: {file: a.json}}
  - {issuer: %s, keys: {file: b.json}}
  - {issuer: %s, keys: {file: c.json}, algorithms: [ES256]}
  - {issuer: %s, keys: {file: w.json}}
policy: {timeout: 20s}
limits: {request_timeout: 1m}
`, issuerA, issuerB, issuerC, issuerW))
	return filepath.Join(dir, "assay.yaml")
}

// m is a JSON object; absent as a value takes a default member away.
type m = map[string]any

type absence struct{}

var absent absence

func merge(base, over m) m {
	for name, value := range over {
		if value == absent {
			delete(base, name)
		} else {
			base[name] = value
		}
	}
	return base
}

// header is a good header for a key, changed by over.
func header(k key, over m) m {
	return merge(m{"alg": k.alg, "kid": k.id, "typ": "at+jwt"}, over)
}

// body is a good claims set of issuer A (RFC 9068 section 2.2), changed by over.
func (l *lab) body(over m) m {
	l.jti++
	return merge(m{
		"iss": issuerA, "sub": l.secret, "aud": "orders", "client_id": "shop", "jti": fmt.Sprintf("jti-%d", l.jti),
		"iat": l.now.Unix(), "exp": l.now.Unix() + 3000, "scope": "orders.read",
	}, over)
}

// token is a good access token of issuer A signed with ES256, its header and claims changed.
func (l *lab) token(over, claims m) string {
	return l.signed(l.es256, header(l.es256, over), l.body(claims))
}

// signed signs a header and claims, whatever they say. Strings are taken as the JSON text itself.
func (l *lab) signed(k key, header, claims any) string {
	return l.sign(k, encode(text(header))+"."+encode(text(claims)))
}

// sign appends a signature as the key's own algorithm makes it.
func (l *lab) sign(k key, input string) string {
	return input + "." + encode(k.sign(k.alg, input))
}

// text is the JSON text of a value.
func text(value any) []byte {
	switch v := value.(type) {
	case string:
		return []byte(v)
	case []byte:
		return v
	}
	return mustJSON(value)
}

func mustJSON(value any) []byte {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // a test's own literal
	}
	return data
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

func cut(token string) (header, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

// flip changes the first character of a base64url text to another.
func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

var hashes = map[string]crypto.Hash{
	"ES256": crypto.SHA256, "ES384": crypto.SHA384, "ES512": crypto.SHA512, "RS256": crypto.SHA256, "RS384": crypto.SHA384,
	"RS512": crypto.SHA512, "PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512,
}

// sign makes a signature of the given algorithm with whatever key this is (RFC 7518 section 3).
func (k key) sign(alg, input string) []byte {
	if private, ok := k.signer.(ed25519.PrivateKey); ok {
		return ed25519.Sign(private, []byte(input))
	}
	hash, known := hashes[alg]
	if !known {
		hash = crypto.SHA256
	}
	digest := hash.New()
	digest.Write([]byte(input))
	return k.signDigest(alg, hash, digest.Sum(nil))
}

func (k key) signDigest(alg string, hash crypto.Hash, sum []byte) []byte {
	switch private := k.signer.(type) {
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, private, sum)
		if err != nil {
			panic(err)
		}
		return joined(private.Curve, r, s)
	case *rsa.PrivateKey:
		var signature []byte
		var err error
		if strings.HasPrefix(alg, "PS") {
			signature, err = rsa.SignPSS(rand.Reader, private, hash, sum, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			signature, err = rsa.SignPKCS1v15(rand.Reader, private, hash, sum)
		}
		if err != nil {
			panic(err)
		}
		return signature
	}
	panic("a key of another type")
}

// joined is an ECDSA signature as JWS writes it: both numbers in the field's length (RFC 7518 section 3.4).
func joined(curve elliptic.Curve, r, s *big.Int) []byte {
	size := (curve.Params().BitSize + 7) / 8
	both := make([]byte, 2*size)
	r.FillBytes(both[:size])
	s.FillBytes(both[size:])
	return both
}

// jwk is the public key as its issuer publishes it.
func (k key) jwk() m {
	jwk := m{"kid": k.id, "use": "sig"}
	if k.alg != "" {
		jwk["alg"] = k.alg
	}
	switch public := k.signer.Public().(type) {
	case *ecdsa.PublicKey:
		raw, err := public.Bytes()
		if err != nil {
			panic(err)
		}
		half := (len(raw) - 1) / 2
		jwk["kty"], jwk["crv"] = "EC", public.Curve.Params().Name
		jwk["x"], jwk["y"] = encode(raw[1:1+half]), encode(raw[1+half:])
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", encode(public)
	}
	return jwk
}

// der is the public key as SubjectPublicKeyInfo.
func (k key) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.signer.Public())
	if err != nil {
		panic(err)
	}
	return der
}
