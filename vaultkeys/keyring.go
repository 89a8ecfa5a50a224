package vaultkeys

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// DefaultMaxStale is how long keys are believed that could not be read again.
const DefaultMaxStale = 24 * time.Hour

// Reader reads Vault's record of one transit key. It is called concurrently and bounds its own time. An
// error means that nothing is known anew; its text reaches operators.
type Reader interface {
	ReadKey(ctx context.Context, name string) (Record, error)
}

// KeyConfig is one signing key.
type KeyConfig struct {
	// Name of the transit key; required, unique in a Keyring.
	Name string
	// Type that the key must have; empty: whichever Vault's record says.
	Type string
	// Algorithm that it signs under; empty: the type's first (see Algorithms).
	Algorithm string
	// Periods of its life; zero fields have their defaults. Poll is also how often this Keyring reads.
	Periods Periods
}

// Config of a Keyring.
type Config struct {
	Reader Reader // required
	// Keys, in the order in which they are published.
	Keys []KeyConfig
	// MaxStale is how long a record is believed after it was read; default DefaultMaxStale. After that the
	// key verifies nothing and signs nothing.
	MaxStale time.Duration
	// MinReread is the least time between two readings of one key that Reread makes; default 200 ms. After a compromise
	// it is how long no replica may be able to sign, after an order that came too early for the promoted version.
	MinReread time.Duration
	// OnRead, if set, is told of every reading, from several goroutines. It must not block.
	OnRead func(ReadEvent)
	// Now, After and Random are the clock and the jitter's randomness in [0,1); default time.Now, time.After
	// and math/rand/v2's Float64. All must be safe for concurrent use.
	Now    func() time.Time
	After  func(time.Duration) <-chan time.Time
	Random func() float64
}

// ReadEvent is the outcome of one reading.
type ReadEvent struct {
	Key  string
	Took time.Duration
	// Err says why nothing is known anew.
	Err error
	// Changed tells that the record is another than before.
	Changed bool
}

// Keyring holds the records of all signing keys. Its methods are safe for concurrent use, and none but Load,
// Reread and Run waits for Vault.
type Keyring struct {
	c     Config
	order []*heldKey
	keys  map[string]*heldKey // never changed after New

	document atomic.Pointer[builtJWKS]
	building sync.Mutex // held while document is built anew

	mu          sync.Mutex
	subscribers []chan struct{} // guarded by mu
}

// heldKey is one key with what was last read of it.
type heldKey struct {
	KeyConfig
	maxStale time.Duration
	reading  atomic.Pointer[reading] // the last good one; nil before

	mu        sync.Mutex // held while the key is read
	rereadAt  time.Time  // guarded by mu: when a reading last began
	failureMu sync.Mutex
	tried     bool  // guarded by failureMu: a reading has ended
	failure   error // guarded by failureMu: why the last reading failed
}

// reading is one record as it was believed. It does not change.
type reading struct {
	record    Record
	algorithm string
	keys      []pdp.Key // parallel to record.Versions
	at        time.Time // when it was asked for; wall clock, so that a machine that slept has aged
}

// New checks the configuration. It reads nothing: Load or Run does.
func New(c Config) (*Keyring, error) {
	if c.Reader == nil {
		return nil, errors.New("vaultkeys: a Reader is required")
	}
	if c.MaxStale < 0 || c.MinReread < 0 {
		return nil, errors.New("vaultkeys: negative limits")
	}
	if c.MaxStale == 0 {
		c.MaxStale = DefaultMaxStale
	}
	if c.MinReread == 0 {
		c.MinReread = 200 * time.Millisecond
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	k := &Keyring{c: c, keys: make(map[string]*heldKey, len(c.Keys))}
	var problems []error
	for _, key := range c.Keys {
		key.Periods = key.Periods.WithDefaults()
		if err := k.add(key); err != nil {
			problems = append(problems, fmt.Errorf("signing key %q: %w", key.Name, err))
		}
	}
	return k, errors.Join(problems...)
}

func (k *Keyring) add(key KeyConfig) error {
	if key.Name == "" {
		return errors.New("it needs a name")
	}
	if k.keys[key.Name] != nil {
		return errors.New("it is configured twice")
	}
	if key.Type != "" {
		if _, err := Algorithm(key.Type, key.Algorithm); err != nil {
			return err
		}
	}
	if err := key.Periods.Validate(); err != nil {
		return err
	}
	if k.c.MaxStale < 2*key.Periods.Poll {
		return fmt.Errorf("max_stale is %s, less than two keyring polls of %s: one lost reading would deny good tokens",
			text(k.c.MaxStale), text(key.Periods.Poll))
	}
	held := &heldKey{KeyConfig: key, maxStale: k.c.MaxStale}
	k.keys[key.Name], k.order = held, append(k.order, held)
	return nil
}

// Load reads every key once, all at the same time, and answers what failed. Nothing is lost by going on
// after an error: Run tries again.
func (k *Keyring) Load(ctx context.Context) error {
	failed := make([]error, len(k.order))
	var all sync.WaitGroup
	for i, key := range k.order {
		all.Go(func() { failed[i] = k.read(ctx, key, 0) })
	}
	all.Wait()
	return errors.Join(failed...)
}

// Run reads every key again and again until ctx ends, then answers nil. Replicas spread their readings:
// each waits between 0.8 and 1 of the key's poll time.
func (k *Keyring) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, key := range k.order {
		all.Go(func() {
			for ctx.Err() == nil {
				_ = k.read(ctx, key, 0) // Health and OnRead tell of it
				wait := time.Duration(float64(key.Periods.Poll) * (0.8 + 0.2*k.c.Random()))
				select {
				case <-k.c.After(wait):
				case <-ctx.Done():
				}
			}
		})
	}
	all.Wait()
	return nil
}

// Reread reads a key now, unless a reading of it began less than MinReread ago. It is for whoever was told
// by Vault that the record must have changed.
func (k *Keyring) Reread(ctx context.Context, name string) error {
	key := k.keys[name]
	if key == nil {
		return fmt.Errorf("%w: %q", ErrUnknownKey, name)
	}
	return k.read(ctx, key, k.c.MinReread)
}

// Subscribe answers a channel that receives after a record has changed. Its one place holds the news until
// it is taken.
func (k *Keyring) Subscribe() <-chan struct{} {
	news := make(chan struct{}, 1)
	k.mu.Lock()
	k.subscribers = append(k.subscribers, news)
	k.mu.Unlock()
	return news
}

func (k *Keyring) tell() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, news := range k.subscribers {
		select {
		case news <- struct{}{}:
		default:
		}
	}
}

// read asks for the record and keeps it, unless a reading began less than quiet ago.
func (k *Keyring) read(ctx context.Context, key *heldKey, quiet time.Duration) error {
	key.mu.Lock()
	defer key.mu.Unlock()
	began := k.c.Now().Round(0)
	if since := began.Sub(key.rereadAt); quiet > 0 && since >= 0 && since < quiet {
		return nil
	}
	key.rereadAt = began
	next, err := key.ask(ctx, k.c.Reader, began)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // whoever asked went away; that says nothing about Vault
	}
	changed := false
	if err == nil {
		before := key.reading.Swap(next)
		changed = before == nil || !before.same(next)
	}
	key.failureMu.Lock()
	key.tried, key.failure = true, err
	key.failureMu.Unlock()
	if changed {
		k.tell()
	}
	if k.c.OnRead != nil {
		k.c.OnRead(ReadEvent{Key: key.Name, Took: k.c.Now().Sub(began), Err: err, Changed: changed})
	}
	return err
}

func (h *heldKey) ask(ctx context.Context, reader Reader, now time.Time) (*reading, error) {
	record, err := reader.ReadKey(ctx, h.Name)
	if err != nil {
		return nil, fmt.Errorf("signing key %s: %w", h.Name, err)
	}
	if record.Name != h.Name {
		return nil, fmt.Errorf("signing key %s: the record is of a key %q", h.Name, record.Name)
	}
	if err := record.Check(); err != nil {
		return nil, err
	}
	if h.Type != "" && record.Type != h.Type {
		return nil, fmt.Errorf("signing key %s: Vault has it with type %s, the configuration wants %s", h.Name, record.Type, h.Type)
	}
	r := &reading{record: record, at: now, keys: make([]pdp.Key, len(record.Versions))}
	if r.algorithm, err = Algorithm(record.Type, h.Algorithm); err != nil {
		return nil, fmt.Errorf("signing key %s: %w", h.Name, err)
	}
	for i, v := range record.Versions {
		print, err := Thumbprint(v.Public)
		if err != nil {
			return nil, fmt.Errorf("signing key %s, version %d: %w", h.Name, v.Number, err)
		}
		r.keys[i] = pdp.Key{ID: print, Thumbprint: print, Algorithm: r.algorithm, Public: v.Public, Created: v.Created}
	}
	return r, nil
}

func (r *reading) same(o *reading) bool {
	a, b := r.record, o.record
	return a.Type == b.Type && a.Latest == b.Latest && a.MinDecryptionVersion == b.MinDecryptionVersion &&
		a.MinEncryptionVersion == b.MinEncryptionVersion && a.MinAvailableVersion == b.MinAvailableVersion && a.Exportable == b.Exportable &&
		a.AllowPlaintextBackup == b.AllowPlaintextBackup && a.DeletionAllowed == b.DeletionAllowed &&
		slices.EqualFunc(r.keys, o.keys, func(x, y pdp.Key) bool {
			return x.Thumbprint == y.Thumbprint && x.Created.Equal(y.Created)
		})
}

// key finds the public key of a version.
func (r *reading) key(number int) *pdp.Key {
	i, _ := slices.BinarySearchFunc(r.record.Versions, number, func(v Version, n int) int { return v.Number - n })
	return &r.keys[i]
}
