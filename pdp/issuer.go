package pdp

import (
	"fmt"
	"slices"
	"time"
)

// DefaultHardMaxLifetime is the floor's limit for an issuer that sets none.
const DefaultHardMaxLifetime = 24 * time.Hour

// DefaultLeeway is the clock skew that is forgiven between an issuer and this machine.
const DefaultLeeway = 30 * time.Second

// Issuer is what the configuration says of one token issuer.
type Issuer struct {
	// ID is compared with "iss" byte for byte (RFC 9068 section 4).
	ID string
	// Algorithms allowed for its signatures. Empty: all of Algorithms(), which policy then narrows.
	Algorithms []string
	// HardMaxLifetime is the longest that the floor lets a token of this issuer live.
	// Whole seconds; zero means DefaultHardMaxLifetime.
	HardMaxLifetime time.Duration
}

// Allows reports whether the issuer may sign with alg at all.
func (i *Issuer) Allows(alg string) bool {
	if len(i.Algorithms) == 0 {
		return slices.Contains(Algorithms(), alg)
	}
	return slices.Contains(i.Algorithms, alg)
}

// MaxLifetime is HardMaxLifetime or its default.
func (i *Issuer) MaxLifetime() time.Duration {
	if i.HardMaxLifetime <= 0 {
		return DefaultHardMaxLifetime
	}
	return i.HardMaxLifetime
}

// Trust is an immutable snapshot of one issuer: its configuration and the keys that it publishes now.
// A change makes a new snapshot, so that two decisions which saw the same pointer saw the same trust.
type Trust struct {
	Issuer  Issuer
	keys    []Key
	byID    map[string]*Key
	byPrint map[string]*Key
}

// NewTrust checks the keys and indexes them. Two keys with one kid, or one key twice, are refused
// (RFC 7517 section 4.5): which of them verifies must not depend on their order.
func NewTrust(issuer Issuer, keys []Key) (*Trust, error) {
	t := &Trust{Issuer: issuer, keys: slices.Clone(keys), byID: make(map[string]*Key, len(keys)), byPrint: make(map[string]*Key, len(keys))}
	for i := range t.keys {
		key := &t.keys[i]
		if key.ID != "" {
			if _, twice := t.byID[key.ID]; twice {
				return nil, fmt.Errorf("issuer %s: two keys have the kid %q", issuer.ID, key.ID)
			}
			t.byID[key.ID] = key
		}
		if _, twice := t.byPrint[key.Thumbprint]; twice {
			return nil, fmt.Errorf("issuer %s: the key with thumbprint %s stands twice in its set", issuer.ID, key.Thumbprint)
		}
		t.byPrint[key.Thumbprint] = key
	}
	return t, nil
}

// Keys are the issuer's published keys, in the order of its set. Not to be changed.
func (t *Trust) Keys() []Key { return t.keys }

// KeyByID finds the key with that kid.
func (t *Trust) KeyByID(kid string) (*Key, bool) {
	key, ok := t.byID[kid]
	return key, ok
}

// KeyByThumbprint finds the key with that RFC 7638 thumbprint.
func (t *Trust) KeyByThumbprint(thumbprint string) (*Key, bool) {
	key, ok := t.byPrint[thumbprint]
	return key, ok
}

// OnlyKeyFor gives the issuer's key for alg if exactly one of its keys fits: a token without kid
// may be verified with that one and with no other.
func (t *Trust) OnlyKeyFor(alg string) (*Key, bool) {
	var only *Key
	for i := range t.keys {
		if !t.keys[i].Fits(alg) {
			continue
		}
		if only != nil {
			return nil, false
		}
		only = &t.keys[i]
	}
	return only, only != nil
}
