package token

import (
	"crypto/sha256"
	"fmt"

	"github.com/maypok86/otter/v2"

	"github.com/assaypdp/assay/pdp"
)

// DefaultCacheBytes is the memory that verified tokens may take, by estimate.
const DefaultCacheBytes = 64 << 20

// digest names a token by all its compact bytes, so that no two tokens share an entry, and the token itself
// need not be kept.
type digest [sha256.Size]byte

// The copy that hashing a string needs stays on the stack for a token of usual length: this runs for every
// request, and with it a hit allocates nothing.
func digestOf(compact string) digest {
	var usual [2048]byte
	if len(compact) > len(usual) {
		return sha256.Sum256([]byte(compact))
	}
	return sha256.Sum256(usual[:copy(usual[:], compact)])
}

// entry is a verified token with the verification that held when it was last looked at. Both are immutable.
type entry struct {
	token        *pdp.Token
	verification *pdp.Verification
}

// cache keeps verified tokens. It owns no lock: entries are immutable and replaced whole.
type cache struct{ entries *otter.Cache[digest, entry] }

func newCache(bytes int, work WorkObserver) (*cache, error) {
	if bytes == 0 {
		bytes = DefaultCacheBytes
	}
	options := &otter.Options[digest, entry]{
		MaximumWeight: uint64(bytes), //nolint:gosec // New checks that it is not negative
		Weigher:       func(_ digest, e entry) uint32 { return e.weight() },
	}
	if work != nil {
		options.OnDeletion = func(gone otter.DeletionEvent[digest, entry]) {
			if gone.WasEvicted() {
				work.TokenEvicted(gone.Value.weight())
			}
		}
	}
	entries, err := otter.New(options)
	if err != nil {
		return nil, fmt.Errorf("token: %w", err)
	}
	return &cache{entries}, nil
}

func (c *cache) put(name digest, t *pdp.Token, v *pdp.Verification) {
	c.entries.Set(name, entry{t, v})
}

// get gives the token if it would be verified today as well: under the snapshot that it was verified under,
// or else because issuer, algorithm and key are still those that a fresh examination would choose; of an
// encrypted token the key that opened it must still be in use, too. What
// does not pass is dropped, and examined anew it gets its reason.
func (c *cache) get(name digest, trust Trust, decrypter Decrypter) (*pdp.Token, *pdp.Verification) {
	found, ok := c.entries.GetIfPresent(name)
	if !ok {
		return nil, nil
	}
	was := found.verification
	if was.Encrypted && !decrypter.Holds(was.EncryptionKeyID) {
		c.entries.Invalidate(name)
		return nil, nil
	}
	now := trust.Trust(was.Trust.Issuer.ID)
	if now == was.Trust {
		return found.token, was
	}
	if now != nil && now.Issuer.Allows(was.Algorithm) {
		key := find(now, found.token.Header)
		if key != nil && key.Thumbprint == was.Key.Thumbprint && key.Fits(was.Algorithm) {
			is := *was
			is.Trust, is.Key = now, key
			c.put(name, found.token, &is)
			return found.token, &is
		}
	}
	c.entries.Invalidate(name)
	return nil, nil
}

// CacheSize tells how many verified tokens are cached and what they weigh, in bytes. It may lag behind by
// the last few additions.
func (e *Examiner) CacheSize() (tokens int, bytes uint64) {
	if e.cache == nil {
		return 0, 0
	}
	return e.cache.entries.EstimatedSize(), e.cache.entries.WeightedSize()
}
