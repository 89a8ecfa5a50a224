package keyset

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

// IssuerConfig is one trusted issuer.
type IssuerConfig struct {
	Issuer pdp.Issuer // its ID is required and unique in a Set
	Source Source     // required
	// MaxStale is how long keys are believed after they were last known to be right; default 24 h.
	// After that the issuer has no keys, so that its tokens are denied with signature.key_unknown.
	MaxStale time.Duration
}

// Config of a Set.
type Config struct {
	Issuers []IssuerConfig
	// MinRefreshInterval is the least time between two loads of one issuer that unknown kids start; default 10 s.
	MinRefreshInterval time.Duration
	// MaxWaiters is how many decisions may wait for one issuer's load at once; default 256. More are answered
	// from the current keys.
	MaxWaiters int
	// LoadTimeout bounds one load with all its requests; default 15 s.
	LoadTimeout time.Duration
	// OnLoad, if set, is told of every load, from several goroutines. It must not block.
	OnLoad func(LoadEvent)
	// Now, After and Random are the clock and the jitter's randomness in [0,1); default time.Now, time.After
	// and math/rand/v2's Float64.
	Now    func() time.Time
	After  func(time.Duration) <-chan time.Time
	Random func() float64
}

// Trigger says why keys were loaded.
type Trigger string

// The triggers.
const (
	AtStart    Trigger = "start"
	OnSchedule Trigger = "schedule"
	OnChange   Trigger = "change"
	UnknownKey Trigger = "unknown_key"
)

// LoadEvent is the outcome of one load.
type LoadEvent struct {
	Issuer  string
	Trigger Trigger
	Took    time.Duration
	// Err says why the load was refused or failed; then the keys are still those of before.
	Err error
	// Changed tells that the keys in force are now others; Keys counts them.
	Changed bool
	Keys    int
	Skipped int
}

// Set holds the keys of all issuers. All methods are safe for concurrent use.
type Set struct {
	c       Config
	order   []*issuerKeys
	issuers map[string]*issuerKeys // never changed after New

	// publishing orders changes of any issuer's snapshot, so that of two issuers with one key only the
	// first to load it has it.
	publishing sync.Mutex

	// life ends with Run; loads are its, and not of the decision that happened to start one.
	life    context.Context
	end     context.CancelFunc
	running sync.WaitGroup

	mu      sync.Mutex
	started bool // guarded by mu: first loads were made or are under way
	closed  bool // guarded by mu: no load starts any more
}

// issuerKeys is one issuer with its snapshot.
type issuerKeys struct {
	IssuerConfig
	without  *pdp.Trust // the issuer without keys
	snapshot atomic.Pointer[snapshot]
	told     *pdp.Trust // guarded by Set.publishing: what the last load was said to have brought

	mu      sync.Mutex
	flight  *flight   // guarded by mu: the load under way
	waiting int       // guarded by mu: decisions that wait for it
	allowed time.Time // guarded by mu: an unknown kid starts no load before
	record  record    // guarded by mu

	refused atomic.Uint64 // refreshes answered at once from the current keys
}

// record is what Health tells and the schedule needs.
type record struct {
	lastSuccess time.Time
	err         error
	watchErr    error
	skipped     []string
	next        time.Duration
	failures    int // in a row
}

// snapshot is what is believed of an issuer until then.
type snapshot struct {
	phases []phase   // by time; the first holds from before, and there is one at least
	until  time.Time // wall clock: a machine that slept has aged
}

// phase is what is believed from then on, up to the next. There is more than one where it is known already when
// keys end: then they end by the clock, and not with whichever load comes next.
type phase struct {
	from  time.Time
	trust *pdp.Trust
}

// flight is one load; done is closed when its outcome is in force.
type flight struct{ done chan struct{} }

// New checks the configuration. It reads no source: Load or Run does.
func New(c Config) (*Set, error) {
	if c.MinRefreshInterval < 0 || c.MaxWaiters < 0 || c.LoadTimeout < 0 {
		return nil, errors.New("keyset: negative limits")
	}
	c.MinRefreshInterval = orDefault(c.MinRefreshInterval, 10*time.Second)
	c.MaxWaiters = orDefault(c.MaxWaiters, 256)
	c.LoadTimeout = orDefault(c.LoadTimeout, 15*time.Second)
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	s := &Set{c: c, issuers: make(map[string]*issuerKeys, len(c.Issuers))}
	for _, issuer := range c.Issuers {
		if issuer.Issuer.ID == "" || issuer.Source == nil {
			return nil, errors.New("keyset: every issuer needs an ID and a source of keys")
		}
		if _, twice := s.issuers[issuer.Issuer.ID]; twice {
			return nil, fmt.Errorf("keyset: issuer %s is configured twice", issuer.Issuer.ID)
		}
		if issuer.MaxStale < 0 {
			return nil, fmt.Errorf("keyset: issuer %s: negative age limit", issuer.Issuer.ID)
		}
		issuer.MaxStale = orDefault(issuer.MaxStale, 24*time.Hour)
		without, err := pdp.NewTrust(issuer.Issuer, nil)
		if err != nil {
			return nil, fmt.Errorf("keyset: %w", err)
		}
		keys := &issuerKeys{IssuerConfig: issuer, without: without}
		s.issuers[issuer.Issuer.ID], s.order = keys, append(s.order, keys)
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Trust is the issuer's keys now; nil where the issuer is not trusted. An issuer whose keys were never
// loaded, or are older than MaxStale, has none. It takes no lock.
func (s *Set) Trust(issuer string) *pdp.Trust {
	keys, ok := s.issuers[issuer]
	if !ok {
		return nil
	}
	return keys.trust(s.c.Now())
}

func (i *issuerKeys) trust(now time.Time) *pdp.Trust {
	current := i.snapshot.Load()
	if current == nil || now.Round(0).After(current.until) {
		return i.without
	}
	trust := current.phases[0].trust
	for _, later := range current.phases[1:] {
		if now.Round(0).Before(later.from) {
			break
		}
		trust = later.trust
	}
	return trust
}

// Refresh is Trust for a token whose kid is not among the issuer's keys: it may wait for one load of them,
// as long as ctx lasts. Where no load may start now, or too many wait, it answers at once.
func (s *Set) Refresh(ctx context.Context, issuer, kid string) *pdp.Trust {
	keys, ok := s.issuers[issuer]
	if !ok {
		return nil
	}
	if trust := keys.trust(s.c.Now()); kid != "" {
		if _, known := trust.KeyByID(kid); known { // loaded meanwhile
			return trust
		}
	}
	if flight := s.board(keys); flight != nil {
		select {
		case <-flight.done:
		case <-ctx.Done():
		}
		keys.mu.Lock()
		keys.waiting--
		keys.mu.Unlock()
	} else {
		keys.refused.Add(1)
	}
	return keys.trust(s.c.Now())
}

// board gives the load that a decision may wait for, counting it as waiting; nil where it may not.
func (s *Set) board(i *issuerKeys) *flight {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.waiting >= s.c.MaxWaiters {
		return nil
	}
	if i.flight == nil {
		now := s.c.Now()
		if now.Before(i.allowed) {
			return nil
		}
		i.allowed = now.Add(s.c.MinRefreshInterval)
		s.launch(i, UnknownKey, nil)
	}
	if i.flight != nil {
		i.waiting++
	}
	return i.flight
}

// join gives the load under way or starts one, and says which; nil after the end.
func (s *Set) join(i *issuerKeys, trigger Trigger, after *flight) (f *flight, started bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.flight != nil {
		return i.flight, false
	}
	s.launch(i, trigger, after)
	return i.flight, true
}

// launch starts a load; i.mu is held and no load is under way. Its outcome takes force after that of the
// load given, if any.
func (s *Set) launch(i *issuerKeys, trigger Trigger, after *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	f := &flight{make(chan struct{})}
	i.flight = f
	s.running.Go(func() {
		s.load(i, trigger, after)
		i.mu.Lock()
		i.flight = nil
		i.mu.Unlock()
		close(f.done)
	})
}

func (s *Set) load(i *issuerKeys, trigger Trigger, after *flight) {
	ctx, cancel := context.WithTimeout(s.life, s.c.LoadTimeout)
	defer cancel()
	start := s.c.Now()
	loaded, err := i.Source.Load(ctx)
	took := s.c.Now().Sub(start)
	if after != nil {
		<-after.done
	}
	changed := false
	if err == nil {
		changed, err = s.publish(i, loaded)
	}
	event := LoadEvent{Issuer: i.Issuer.ID, Trigger: trigger, Took: took, Err: err, Changed: changed, Skipped: len(loaded.Skipped)}
	event.Keys = len(i.trust(s.c.Now()).Keys())
	i.mu.Lock()
	i.record.note(loaded, err, s.asOf(loaded))
	i.mu.Unlock()
	if s.c.OnLoad != nil {
		s.c.OnLoad(event)
	}
}

func (r *record) note(loaded Loaded, err error, asOf time.Time) {
	r.err = err
	if err != nil {
		r.failures++
		return
	}
	r.failures, r.lastSuccess, r.skipped, r.next = 0, asOf, loaded.Skipped, loaded.Next
}

func (s *Set) asOf(loaded Loaded) time.Time {
	if loaded.AsOf.IsZero() {
		return s.c.Now().Round(0)
	}
	return loaded.AsOf.Round(0)
}

// publish puts what was loaded in force, or refuses it. Keys that did not change keep their snapshot, so
// that what was decided with it stays comparable by pointer.
func (s *Set) publish(i *issuerKeys, loaded Loaded) (changed bool, err error) {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	now := s.c.Now()
	for _, other := range s.order {
		if other == i {
			continue
		}
		trust := other.trust(now)
		for _, key := range loaded.Keys {
			if _, taken := trust.KeyByThumbprint(key.Thumbprint); taken {
				return false, fmt.Errorf("its key with thumbprint %s is one of issuer %s: a key has one issuer; the set is refused",
					key.Thumbprint, other.Issuer.ID)
			}
		}
	}
	next := &snapshot{until: s.asOf(loaded).Add(i.MaxStale)}
	if next.phases, err = i.phases(loaded); err != nil {
		return false, err
	}
	before := i.trust(now)
	i.snapshot.Store(next)
	after := i.trust(now)
	changed = before != after || i.told != after
	i.told = after
	return changed, nil
}

// phases makes what is believed of the loaded keys, now and after each of their ends.
func (i *issuerKeys) phases(loaded Loaded) ([]phase, error) {
	made := []phase{{}}
	for _, key := range loaded.Keys {
		if end, known := loaded.Ends[key.Thumbprint]; known {
			made = append(made, phase{from: end.Round(0)})
		}
	}
	slices.SortFunc(made[1:], func(a, b phase) int { return a.from.Compare(b.from) })
	made = slices.CompactFunc(made, func(a, b phase) bool { return a.from.Equal(b.from) })
	for n := range made {
		var keys []pdp.Key
		for _, key := range loaded.Keys {
			if end, known := loaded.Ends[key.Thumbprint]; !known || end.After(made[n].from) {
				keys = append(keys, key)
			}
		}
		var err error
		if made[n].trust, err = i.trustOf(keys); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// trustOf makes what is believed while these are the keys. One that the current snapshot has is taken from there.
func (i *issuerKeys) trustOf(keys []pdp.Key) (*pdp.Trust, error) {
	if current := i.snapshot.Load(); current != nil {
		for _, p := range current.phases {
			if slices.EqualFunc(p.trust.Keys(), keys, sameKey) {
				return p.trust, nil
			}
		}
	}
	return pdp.NewTrust(i.Issuer, keys)
}

func sameKey(a, b pdp.Key) bool {
	return a.Thumbprint == b.Thumbprint && a.ID == b.ID && a.Algorithm == b.Algorithm && a.Created.Equal(b.Created)
}
