package vaultkeys

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Errors of a Keyring's answers.
var (
	// ErrUnknownKey: no key of that name is configured.
	ErrUnknownKey = errors.New("no such signing key is configured")
	// ErrNotKnown: the key was never read, or not for too long. Ask again later.
	ErrNotKnown = errors.New("the signing key could not be read from Vault")
)

// SigningKey is what signs now.
type SigningKey struct {
	// Version is to be named to Vault: its latest one is not published long enough.
	Version int
	// Key is the public half, with kid and "alg".
	Key pdp.Key
	// MaxTokenLifetime is the longest that a token signed with it may live.
	MaxTokenLifetime time.Duration
}

// Published is what verifies now.
type Published struct {
	// Keys are those of all published versions, by ascending version.
	Keys []pdp.Key
	// Ends says of them, by thumbprint, when they retire, where that is known already.
	Ends map[string]time.Time
	// AsOf is when the record was read that they come from.
	AsOf time.Time
}

// believed is the last good reading while it may be believed.
func (h *heldKey) believed(now time.Time) *reading {
	r := h.reading.Load()
	if r == nil || !now.Round(0).Before(r.at.Add(h.maxStale)) {
		return nil
	}
	return r
}

func (k *Keyring) believed(name string, now time.Time) (*heldKey, *reading, error) {
	key := k.keys[name]
	if key == nil {
		return nil, nil, fmt.Errorf("%w: %q", ErrUnknownKey, name)
	}
	r := key.believed(now)
	if r == nil {
		return nil, nil, fmt.Errorf("%w: %s", ErrNotKnown, name)
	}
	return key, r, nil
}

// Signer is the version of a key that signs now. Its errors are ErrUnknownKey, ErrNotKnown and ErrNoSigner.
//
// A record is trusted less long for signing than for verifying: a version made after it was read is due
// after publish_ahead at the earliest, rotate_every as a rule. Past that, another replica may be retiring
// what we would sign with.
func (k *Keyring) Signer(name string) (SigningKey, error) { return k.signerAt(name, k.c.Now()) }

func (k *Keyring) signerAt(name string, now time.Time) (SigningKey, error) {
	key, r, err := k.believed(name, now)
	if err != nil {
		return SigningKey{}, err
	}
	if horizon := key.Periods.delay() - key.Periods.ClockSkew; !now.Round(0).Before(r.at.Add(horizon)) {
		return SigningKey{}, fmt.Errorf("%w for %s: %s; a newer version may have taken over", ErrNotKnown, text(horizon), name)
	}
	version, err := Signer(r.record, key.Periods, now)
	if err != nil {
		return SigningKey{}, err
	}
	return SigningKey{Version: version.Number, Key: *r.key(version.Number), MaxTokenLifetime: key.Periods.MaxTokenLifetime}, nil
}

// Verification is the key's published versions. Its errors are ErrUnknownKey and ErrNotKnown.
func (k *Keyring) Verification(name string) (Published, error) {
	now := k.c.Now()
	key, r, err := k.believed(name, now)
	if err != nil {
		return Published{}, err
	}
	published := Published{AsOf: r.at, Ends: map[string]time.Time{}}
	for _, s := range States(r.record, key.Periods, now) {
		if !s.State.Published() {
			continue
		}
		verifies := *r.key(s.Number)
		published.Keys = append(published.Keys, verifies)
		if !s.Ends.IsZero() {
			published.Ends[verifies.Thumbprint] = s.Ends
		}
	}
	return published, nil
}

// JWKS is a published set of keys (RFC 7517 section 5). It does not change; another set is another pointer.
type JWKS struct {
	// Body is the JSON, the same bytes on every replica that knows the same.
	Body []byte
	// ETag is a strong entity tag with its quotes (RFC 9110 section 8.8.3).
	ETag string
	// MaxAge is how long it may be cached: the least of the keys' JWKSMaxAge.
	MaxAge time.Duration
}

// builtJWKS remembers what a document was built from and until when it stays right.
type builtJWKS struct {
	readings []*reading // parallel to order; nil for a key that is not believed
	until    time.Time  // zero: until a reading changes
	jwks     *JWKS
}

// JWKS is the document of all published keys, by order of configuration and ascending version. It is nil
// where nothing can be said: until every key was tried once, and while none is believed. A key that alone
// is not believed is left out.
func (k *Keyring) JWKS() *JWKS {
	now := k.c.Now()
	if built := k.document.Load(); built != nil && k.current(built, now) {
		return built.jwks
	}
	if !k.allTried() {
		return nil
	}
	k.building.Lock()
	defer k.building.Unlock()
	before := k.document.Load()
	if before != nil && k.current(before, now) {
		return before.jwks
	}
	built := k.build(now)
	if before != nil && before.jwks != nil && built.jwks != nil && before.jwks.ETag == built.jwks.ETag {
		built.jwks = before.jwks
	}
	k.document.Store(built)
	return built.jwks
}

func (k *Keyring) current(built *builtJWKS, now time.Time) bool {
	if !built.until.IsZero() && !now.Before(built.until) {
		return false
	}
	for i, key := range k.order {
		if key.believed(now) != built.readings[i] {
			return false
		}
	}
	return true
}

func (k *Keyring) allTried() bool {
	return !slices.ContainsFunc(k.order, func(key *heldKey) bool {
		key.failureMu.Lock()
		defer key.failureMu.Unlock()
		return !key.tried
	})
}

func (k *Keyring) build(now time.Time) *builtJWKS {
	built := &builtJWKS{readings: make([]*reading, len(k.order))}
	jwks := &JWKS{Body: []byte(`{"keys":[`)}
	believed := 0
	for i, key := range k.order {
		r := key.believed(now)
		if built.readings[i] = r; r == nil {
			continue
		}
		if age := key.Periods.JWKSMaxAge; believed == 0 || age < jwks.MaxAge {
			jwks.MaxAge = age
		}
		believed++
		for _, s := range States(r.record, key.Periods, now) {
			if !s.NextAt.IsZero() && (built.until.IsZero() || s.NextAt.Before(built.until)) {
				built.until = s.NextAt
			}
			if s.State.Published() {
				jwks.Body = appendMember(jwks.Body, r.key(s.Number))
			}
		}
	}
	if believed == 0 {
		return built
	}
	jwks.Body = append(jwks.Body, "]}"...)
	sum := sha256.Sum256(jwks.Body)
	jwks.ETag = `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
	built.jwks = jwks
	return built
}

func appendMember(body []byte, key *pdp.Key) []byte {
	start := len(body)
	if body[start-1] != '[' {
		body = append(body, ',')
	}
	grown, err := appendJWK(body, key)
	if err != nil { // a reading holds only keys that have a thumbprint, and so a form
		return body[:start]
	}
	return grown
}

// KeyHealth is what an operator wants to know of one key.
type KeyHealth struct {
	Name, Type, Algorithm string
	// ReadAt is when the last good record was read; zero: never.
	ReadAt time.Time
	// Believed: it verifies. False when it was never read or not for too long.
	Believed bool
	// Signs: there is a version that signs now.
	Signs bool
	// Err is why the last reading failed; nil where it did not.
	Err error
	// Versions of the last good record with their states now.
	Versions []VersionState
	// Warnings are short sentences about what should not be so, without secrets.
	Warnings []string
}

// Health tells of every key, in the order of the configuration.
func (k *Keyring) Health() []KeyHealth {
	now := k.c.Now()
	all := make([]KeyHealth, 0, len(k.order))
	for _, key := range k.order {
		h := KeyHealth{Name: key.Name, Type: key.Type, Algorithm: key.Algorithm}
		key.failureMu.Lock()
		h.Err = key.failure
		key.failureMu.Unlock()
		if r := key.reading.Load(); r != nil {
			h.Type, h.Algorithm, h.ReadAt = r.record.Type, r.algorithm, r.at
			h.Believed = key.believed(now) != nil
			_, err := k.Signer(key.Name)
			h.Signs = err == nil
			h.Versions = States(r.record, key.Periods, now)
			h.Warnings = Warnings(r.record, key.Periods, now)
		}
		all = append(all, h)
	}
	return all
}

// Warnings are short sentences about what should not be so with a key, without secrets.
func Warnings(r Record, p Periods, now time.Time) []string {
	var found []string
	if r.Exportable {
		found = append(found, "the key is exportable: its private half can leave Vault")
	}
	if r.AllowPlaintextBackup {
		found = append(found, "the key allows plaintext backup: its private half can leave Vault")
	}
	if r.DeletionAllowed {
		found = append(found, "the key may be deleted")
	}
	if r.Imported {
		found = append(found, "the key was imported: its private half has been outside Vault")
	}
	if r.AutoRotatePeriod > 0 {
		found = append(found, fmt.Sprintf("Vault itself rotates the key every %s: set auto_rotate_period=0, one custodian is enough", text(r.AutoRotatePeriod)))
	}
	pending := false
	for _, s := range States(r, p, now) {
		pending = pending || s.State == Pending
		if age := now.Sub(s.Since); s.State == Active && s.NextAt.IsZero() && !s.Since.IsZero() && age > p.RotateEvery {
			found = append(found, fmt.Sprintf("version %d signs for %s already, rotate_every is %s", s.Number, text(age.Truncate(time.Second)), text(p.RotateEvery)))
		}
	}
	if !pending {
		found = append(found, "no version is pending: rotate the key, or a compromise leaves nothing that verifiers know")
	}
	return found
}
