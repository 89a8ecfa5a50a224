package vaultkeys

import (
	"context"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// EncryptionAlgorithm is the JWE "alg" of every encryption key (RFC 7518 section 4.3): the one that transit's RSA
// keys serve without an oracle.
const EncryptionAlgorithm = "RSA-OAEP-256"

// ErrNotHeld is the answer to a kid that names no version that decrypts here.
var ErrNotHeld = errors.New("no such encryption key is held here")

// EncryptionRing holds the public halves of encryption keys: the keys of audiences, to which tokens are
// encrypted and with which Vault decrypts them.
//
// States are those of signing keys by the same arithmetic, and mean:
//
//   - pending: it decrypts already, and nobody was told of it;
//   - active: the only published one, so that a sender has one choice;
//   - retiring: no longer published; it decrypts what was encrypted by a set that a sender had kept
//     (see Periods.Encryption);
//   - retired: it decrypts nothing.
//
// A version is known to every replica long before it is published, since it was made publish_ahead earlier.
// Its methods are safe for concurrent use, and none but Load and Run waits for Vault.
type EncryptionRing struct{ ring *Keyring }

// NewEncryption checks the configuration, whose keys must be of RSA types and without Algorithm.
func NewEncryption(c Config) (*EncryptionRing, error) {
	var problems []error
	keys := make([]KeyConfig, len(c.Keys))
	for i, key := range c.Keys {
		if key.Algorithm != "" || key.Type != "" && !strings.HasPrefix(key.Type, "rsa-") {
			problems = append(problems, fmt.Errorf("encryption key %q: it must be of an RSA type, and its algorithm is %s", key.Name, EncryptionAlgorithm))
		}
		key.Periods.Encryption = true
		keys[i] = key
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	c.Keys = keys
	ring, err := New(c)
	return &EncryptionRing{ring}, err
}

// Load reads every key once, as Keyring.Load does.
func (e *EncryptionRing) Load(ctx context.Context) error { return e.ring.Load(ctx) }

// Run reads every key again and again until ctx ends, as Keyring.Run does.
func (e *EncryptionRing) Run(ctx context.Context) error { return e.ring.Run(ctx) }

// Encryption is the key to encrypt to now, with its kid, by the key's name. Its errors are those of
// Keyring.Signer.
func (e *EncryptionRing) Encryption(name string) (pdp.Key, error) {
	signer, err := e.ring.Signer(name)
	if err != nil {
		return pdp.Key{}, err
	}
	return encrypts(signer.Key)
}

func encrypts(key pdp.Key) (pdp.Key, error) {
	if _, ok := key.Public.(*rsa.PublicKey); !ok {
		return pdp.Key{}, fmt.Errorf("%w: its type in Vault is not RSA", ErrNotHeld)
	}
	key.Algorithm = EncryptionAlgorithm
	return key, nil
}

// Decryption finds the transit key and version that a JWE's kid names. Its error is ErrNotHeld, for a retired
// version too, or ErrNotKnown where a key could not be read, which may be the one.
func (e *EncryptionRing) Decryption(kid string) (name string, version int, err error) {
	now := e.ring.c.Now()
	unknown := false
	for _, key := range e.ring.order {
		r := key.believed(now)
		if r == nil {
			unknown = true
			continue
		}
		for i := range r.keys {
			if r.keys[i].ID != kid {
				continue
			}
			for _, s := range States(r.record, key.Periods, now) {
				if s.Number == r.record.Versions[i].Number && s.State != Retired {
					return key.Name, s.Number, nil
				}
			}
			return "", 0, fmt.Errorf("%w: it is retired", ErrNotHeld)
		}
	}
	if unknown {
		return "", 0, ErrNotKnown
	}
	return "", 0, ErrNotHeld
}

// Health tells of every key. Signs means that a version can be encrypted to.
func (e *EncryptionRing) Health() []KeyHealth {
	all := e.ring.Health()
	for i := range all {
		all[i].Algorithm = EncryptionAlgorithm
	}
	return all
}

// JWKS is the set of the active versions, in the order of the configuration, "use" enc; nil while there is
// none. A key that is not believed is left out.
func (e *EncryptionRing) JWKS() *JWKS {
	set := newSet()
	for _, key := range e.ring.order {
		if active, err := e.Encryption(key.Name); err == nil {
			set.add(key.Periods.JWKSMaxAge, active)
		}
	}
	if set.MaxAge == 0 {
		return nil
	}
	return set.done()
}

// JWKSOf is the set of the published versions of these keys, in this order: those of one issuer, who is not to
// vouch for its neighbours. Its errors are those of Verification; a set in which a key is missing would be kept
// by verifiers.
func (k *Keyring) JWKSOf(names ...string) (*JWKS, error) {
	set := newSet()
	for _, name := range names {
		published, err := k.Verification(name)
		if err != nil {
			return nil, err
		}
		set.add(k.keys[name].Periods.JWKSMaxAge, published.Keys...)
	}
	return set.done(), nil
}

// Join puts the keys of two sets into one, in this order; either may be nil.
func Join(a, b *JWKS) *JWKS {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	joined := &JWKS{MaxAge: min(a.MaxAge, b.MaxAge)}
	const open, shut = len(`{"keys":[`), len(`]}`)
	joined.Body = append(joined.Body, a.Body[:len(a.Body)-shut]...)
	if len(a.Body) > open+shut && len(b.Body) > open+shut {
		joined.Body = append(joined.Body, ',')
	}
	joined.Body = append(joined.Body, b.Body[open:]...)
	joined.tag()
	return joined
}

func newSet() *JWKS { return &JWKS{Body: []byte(`{"keys":[`)} }

func (j *JWKS) add(maxAge time.Duration, keys ...pdp.Key) {
	if j.MaxAge == 0 || maxAge < j.MaxAge {
		j.MaxAge = maxAge
	}
	for i := range keys {
		j.Body = appendMember(j.Body, &keys[i])
	}
}

func (j *JWKS) done() *JWKS {
	j.Body = append(j.Body, "]}"...)
	j.tag()
	return j
}

func (j *JWKS) tag() {
	sum := sha256.Sum256(j.Body)
	j.ETag = `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
}
