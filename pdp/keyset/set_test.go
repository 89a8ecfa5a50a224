package keyset

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// fake is a source that gives what the test last said.
type fake struct {
	mu      sync.Mutex
	loaded  Loaded
	err     error
	loads   int
	inside  int
	overlap bool
	hold    chan struct{} // if set, a load waits until it is closed or its context ends
	changes chan struct{}
	local   bool
}

func (f *fake) set(loaded Loaded, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loaded, f.err = loaded, err
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loads
}

func (f *fake) Load(ctx context.Context) (Loaded, error) {
	f.mu.Lock()
	f.loads++
	f.inside++
	f.overlap = f.overlap || f.inside > 1
	hold := f.hold
	f.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.inside--
	if ctx.Err() != nil {
		return Loaded{}, ctx.Err()
	}
	return f.loaded, f.err
}

func (f *fake) Watch(ctx context.Context, changed func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-f.changes:
			changed()
		}
	}
}

func (f *fake) Local() bool    { return f.local }
func (f *fake) String() string { return "fake" }

// keysOf gives keys that are new with every call, one for each kid.
func keysOf(t testing.TB, kids ...string) []pdp.Key {
	t.Helper()
	var members []any
	for _, kid := range kids {
		members = append(members, edMember(t, kid))
	}
	keys, skipped, err := ParseJWKS(jwks(t, members...))
	if err != nil || len(skipped) > 0 {
		t.Fatal(err, skipped)
	}
	return keys
}

func issuers(sources ...*fake) []IssuerConfig {
	var list []IssuerConfig
	for i, source := range sources {
		list = append(list, IssuerConfig{Issuer: pdp.Issuer{ID: fmt.Sprintf("https://%c.example", 'a'+i)}, Source: source})
	}
	return list
}

const issuerA, issuerB = "https://a.example", "https://b.example"

// clock is a clock that the test moves.
type clock struct{ nanos atomic.Int64 }

func (c *clock) now() time.Time          { return time.Unix(1795460000, c.nanos.Load()) }
func (c *clock) advance(d time.Duration) { c.nanos.Add(int64(d)) }

func newSet(t testing.TB, c Config) *Set {
	t.Helper()
	set, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(set.stop)
	return set
}

func loadedSet(t testing.TB, c Config) *Set {
	t.Helper()
	set := newSet(t, c)
	if err := set.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return set
}

func has(trust *pdp.Trust, kid string) bool {
	_, ok := trust.KeyByID(kid)
	return ok
}

func TestNewRefuses(t *testing.T) {
	source := &fake{}
	for name, c := range map[string]Config{
		"no issuer ID":      {Issuers: []IssuerConfig{{Source: source}}},
		"no source":         {Issuers: []IssuerConfig{{Issuer: pdp.Issuer{ID: issuerA}}}},
		"an issuer twice":   {Issuers: []IssuerConfig{issuers(source)[0], issuers(source)[0]}},
		"negative age":      {Issuers: []IssuerConfig{{Issuer: pdp.Issuer{ID: issuerA}, Source: source, MaxStale: -1}}},
		"negative interval": {MinRefreshInterval: -1},
		"negative waiters":  {MaxWaiters: -1},
		"negative timeout":  {LoadTimeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(c); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func TestTrustOfIssuers(t *testing.T) {
	a, b := &fake{}, &fake{}
	a.set(Loaded{Keys: keysOf(t, "a1", "a2")}, nil)
	b.set(Loaded{Keys: keysOf(t, "b1")}, nil)
	set := newSet(t, Config{Issuers: issuers(a, b)})
	if trust := set.Trust(issuerA); trust == nil || trust.Issuer.ID != issuerA || len(trust.Keys()) != 0 {
		t.Error("before the first load an issuer is trusted and has no keys")
	}
	if err := set.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if trust := set.Trust(issuerA); !has(trust, "a1") || !has(trust, "a2") || has(trust, "b1") {
		t.Error("issuer a has not exactly its keys")
	}
	if trust := set.Trust(issuerB); !has(trust, "b1") || len(trust.Keys()) != 1 {
		t.Error("issuer b has not exactly its keys")
	}
	for _, other := range []string{"", "https://a.example/", "https://A.example", "https://c.example"} {
		if set.Trust(other) != nil || set.Refresh(t.Context(), other, "k") != nil {
			t.Errorf("issuer %q is trusted", other)
		}
	}
}

func TestUnchangedKeysKeepTheirSnapshot(t *testing.T) {
	now, source := &clock{}, &fake{}
	keys := keysOf(t, "k")
	source.set(Loaded{Keys: keys}, nil)
	set := loadedSet(t, Config{Issuers: issuers(source), Now: now.now})
	before := set.Trust(issuerA)
	reload := func() *pdp.Trust {
		now.advance(11 * time.Second)
		return set.Refresh(t.Context(), issuerA, "unknown")
	}
	source.set(Loaded{Keys: keysAgain(keys)}, nil)
	if reload() != before {
		t.Error("the same keys made another snapshot")
	}
	for name, change := range map[string]func(*pdp.Key){
		"kid":     func(k *pdp.Key) { k.ID = "other" },
		"alg":     func(k *pdp.Key) { k.Algorithm = "EdDSA" },
		"created": func(k *pdp.Key) { k.Created = now.now() },
	} {
		changed := keysAgain(keys)
		change(&changed[0])
		source.set(Loaded{Keys: changed}, nil)
		if reload() == before {
			t.Errorf("another %s kept the snapshot", name)
		}
		source.set(Loaded{Keys: keys}, nil)
		before = reload()
	}
}

func keysAgain(keys []pdp.Key) []pdp.Key { return append([]pdp.Key(nil), keys...) }

func TestRotationIsSeenThroughAnUnknownKid(t *testing.T) {
	source := &fake{}
	source.set(Loaded{Keys: keysOf(t, "old")}, nil)
	set := loadedSet(t, Config{Issuers: issuers(source)})
	source.set(Loaded{Keys: keysOf(t, "new")}, nil)
	if trust := set.Refresh(t.Context(), issuerA, "new"); !has(trust, "new") || has(trust, "old") {
		t.Error("the refresh did not bring the new key")
	}
	if trust := set.Refresh(t.Context(), issuerA, "new"); !has(trust, "new") || source.count() != 2 {
		t.Errorf("a known kid made a load: %d", source.count())
	}
}

func TestAFloodOfUnknownKidsMakesOneLoad(t *testing.T) {
	now, source := &clock{}, &fake{}
	source.set(Loaded{Keys: keysOf(t, "k")}, nil)
	set := loadedSet(t, Config{Issuers: issuers(source), Now: now.now})
	flood := func() {
		var all sync.WaitGroup
		for worker := range 16 {
			all.Go(func() {
				for i := range 625 {
					if trust := set.Refresh(t.Context(), issuerA, fmt.Sprint(worker, "-", i)); !has(trust, "k") {
						t.Error("the current keys were not the answer")
						return
					}
				}
			})
		}
		all.Wait()
	}
	flood()
	if got := source.count() - 1; got != 1 {
		t.Errorf("10000 unknown kids made %d loads, want 1", got)
	}
	now.advance(10*time.Second - 1)
	flood()
	if got := source.count() - 1; got != 1 {
		t.Errorf("just before the interval has passed: %d loads, want 1", got)
	}
	now.advance(1)
	flood()
	if got := source.count() - 1; got != 2 {
		t.Errorf("when the interval has passed: %d loads, want 2", got)
	}
	if health := set.Health()[0]; health.RefusedRefreshes < 10000 {
		t.Errorf("%d refused refreshes were counted", health.RefusedRefreshes)
	}
}

func TestOneIssuersFloodDoesNotHinderAnother(t *testing.T) {
	a, b := &fake{}, &fake{}
	set := loadedSet(t, Config{Issuers: issuers(a, b)})
	for i := range 100 {
		set.Refresh(t.Context(), issuerA, fmt.Sprint(i))
	}
	b.set(Loaded{Keys: keysOf(t, "b1")}, nil)
	if !has(set.Refresh(t.Context(), issuerB, "b1"), "b1") {
		t.Error("issuer b was not refreshed")
	}
}

func TestWaitersShareOneLoadAndAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fake{}
		set := loadedSet(t, Config{Issuers: issuers(source), MaxWaiters: 8})
		source.hold = make(chan struct{})
		source.set(Loaded{Keys: keysOf(t, "new")}, nil)
		var saw, sawNot atomic.Int32
		for range 20 {
			go func() {
				if has(set.Refresh(t.Context(), issuerA, "new"), "new") {
					saw.Add(1)
				} else {
					sawNot.Add(1)
				}
			}()
		}
		synctest.Wait()
		if sawNot.Load() != 12 || saw.Load() != 0 {
			t.Errorf("while the load lasts %d are answered from the current keys, want 12", sawNot.Load())
		}
		close(source.hold)
		synctest.Wait()
		if saw.Load() != 8 || source.count() != 2 {
			t.Errorf("%d waiters saw the new key after %d loads, want 8 after 2", saw.Load(), source.count())
		}
		synctest.Wait()
	})
}

func TestAWaiterGoesWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fake{}
		set := loadedSet(t, Config{Issuers: issuers(source), LoadTimeout: time.Hour, MaxWaiters: 1})
		source.hold = make(chan struct{})
		source.set(Loaded{Keys: keysOf(t, "new")}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if has(set.Refresh(ctx, issuerA, "new"), "new") || time.Since(start) != time.Second {
			t.Errorf("it waited %s, want 1s", time.Since(start))
		}
		// The load is not the first waiter's: it goes on, and its place is free for the next.
		go close(source.hold)
		if !has(set.Refresh(t.Context(), issuerA, "new"), "new") || source.count() != 2 {
			t.Errorf("the next waiter did not get the same load's keys (%d loads)", source.count())
		}
	})
}

func TestALoadThatHangsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fake{}
		set := loadedSet(t, Config{Issuers: issuers(source), LoadTimeout: 3 * time.Second})
		source.hold = make(chan struct{})
		start := time.Now()
		set.Refresh(t.Context(), issuerA, "new")
		if time.Since(start) != 3*time.Second {
			t.Errorf("it took %s, want 3s", time.Since(start))
		}
		if health := set.Health()[0]; !strings.Contains(health.Error, "deadline") {
			t.Errorf("health says %q", health.Error)
		}
	})
}

func TestTheLastGoodKeysStayAndThenGo(t *testing.T) {
	now, source := &clock{}, &fake{}
	source.set(Loaded{Keys: keysOf(t, "k")}, nil)
	c := Config{Issuers: issuers(source), Now: now.now, MinRefreshInterval: time.Nanosecond}
	c.Issuers[0].MaxStale = time.Hour
	set := loadedSet(t, c)
	source.set(Loaded{}, errors.New("it is down"))
	now.advance(time.Hour)
	if trust := set.Refresh(t.Context(), issuerA, "x"); !has(trust, "k") {
		t.Error("at the age limit the last good keys were gone")
	}
	health := set.Health()[0]
	if health.Error != "it is down" || health.Age != time.Hour || health.Keys != 1 || health.Stale {
		t.Errorf("health: %+v", health)
	}
	now.advance(1)
	trust := set.Trust(issuerA)
	if trust == nil || len(trust.Keys()) != 0 || trust.Issuer.ID != issuerA {
		t.Error("past the age limit the issuer must be trusted and have no keys")
	}
	if set.Trust(issuerA) != trust {
		t.Error("the issuer without keys is not one snapshot")
	}
	if health := set.Health()[0]; !health.Stale || health.Keys != 0 {
		t.Errorf("health: %+v", health)
	}
	source.set(Loaded{Keys: keysOf(t, "k")}, nil)
	if !has(set.Refresh(t.Context(), issuerA, "k"), "k") {
		t.Error("it did not recover")
	}
	if health := set.Health()[0]; health.Stale || health.Error != "" || health.Age != 0 {
		t.Errorf("health after recovery: %+v", health)
	}
}

// A source that keeps its keys itself says since when they are known; time spent there counts too.
func TestAgeCountsFromWhereTheSourceSays(t *testing.T) {
	now, source := &clock{}, &fake{}
	known := now.now()
	source.set(Loaded{Keys: keysOf(t, "k"), AsOf: known}, nil)
	now.advance(59 * time.Minute)
	c := Config{Issuers: issuers(source), Now: now.now, MinRefreshInterval: time.Nanosecond}
	c.Issuers[0].MaxStale = time.Hour
	set := loadedSet(t, c)
	if health := set.Health()[0]; !has(set.Trust(issuerA), "k") || health.Age != 59*time.Minute {
		t.Errorf("health: %+v", health)
	}
	now.advance(time.Minute + 1)
	if trust := set.Refresh(t.Context(), issuerA, "x"); has(trust, "k") {
		t.Error("a load of old knowledge made it young")
	}
}

func TestASetThatIsRefusedChangesNothing(t *testing.T) {
	good := keysOf(t, "k")
	twice := keysAgain(append(keysOf(t, "same"), keysOf(t, "same")...))
	for name, refused := range map[string]struct {
		keys []pdp.Key
		says string
	}{
		"two keys with one kid": {twice, "two keys"},
		"one key twice":         {append(keysAgain(good), pdp.Key{ID: "x", Thumbprint: good[0].Thumbprint}), "stands twice"},
	} {
		t.Run(name, func(t *testing.T) {
			source := &fake{}
			source.set(Loaded{Keys: good}, nil)
			set := loadedSet(t, Config{Issuers: issuers(source)})
			before := set.Trust(issuerA)
			source.set(Loaded{Keys: refused.keys}, nil)
			if set.Refresh(t.Context(), issuerA, "same") != before {
				t.Error("it took force")
			}
			if health := set.Health()[0]; !strings.Contains(health.Error, refused.says) {
				t.Errorf("health says %q, want %q", health.Error, refused.says)
			}
		})
	}
}

func TestAKeyHasOneIssuer(t *testing.T) {
	now, a, b := &clock{}, &fake{}, &fake{}
	shared := keysOf(t, "shared")
	a.set(Loaded{Keys: shared}, nil)
	b.set(Loaded{Keys: keysOf(t, "b1")}, nil)
	set := loadedSet(t, Config{Issuers: issuers(a, b), Now: now.now, MinRefreshInterval: time.Nanosecond})
	step := func(issuer string) *pdp.Trust {
		now.advance(time.Second)
		return set.Refresh(t.Context(), issuer, "x")
	}
	renamed := keysAgain(shared)
	renamed[0].ID = "another kid"
	b.set(Loaded{Keys: append(keysOf(t, "b2"), renamed...)}, nil)
	if trust := step(issuerB); !has(trust, "b1") || has(trust, "b2") || has(trust, "another kid") {
		t.Error("the later load of a shared key was not refused whole")
	}
	if health := set.Health()[1]; !strings.Contains(health.Error, shared[0].Thumbprint) || !strings.Contains(health.Error, issuerA) {
		t.Errorf("health says %q", health.Error)
	}
	if !has(step(issuerA), "shared") {
		t.Error("the first issuer lost its key")
	}
	a.set(Loaded{Keys: keysOf(t, "a2")}, nil)
	step(issuerA)
	if trust := step(issuerB); !has(trust, "another kid") {
		t.Error("after the first issuer gave it up the second may have it")
	}
}

func TestAtStartTheFirstConfiguredIssuerHasASharedKey(t *testing.T) {
	shared := keysOf(t, "shared")
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{hold: make(chan struct{})}, &fake{}
		a.set(Loaded{Keys: shared}, nil)
		b.set(Loaded{Keys: shared}, nil)
		set := newSet(t, Config{Issuers: issuers(a, b)})
		failed := make(chan error)
		go func() { failed <- set.Load(t.Context()) }()
		synctest.Wait() // b has been read, a has not
		if b.count() != 1 {
			t.Error("sources are not read at the same time")
		}
		close(a.hold)
		if err := <-failed; err != nil {
			t.Error(err)
		}
		if !has(set.Trust(issuerA), "shared") || has(set.Trust(issuerB), "shared") {
			t.Error("who answered first had it")
		}
	})
}

func TestLoadFailsForLocalSourcesOnly(t *testing.T) {
	a, b := &fake{local: true}, &fake{}
	a.set(Loaded{}, errors.New("no such file"))
	b.set(Loaded{}, errors.New("connection refused"))
	set := newSet(t, Config{Issuers: issuers(a, b)})
	err := set.Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), issuerA+": no such file") || strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v", err)
	}
}

func TestHealthNamesWhatIsSkipped(t *testing.T) {
	source := &fake{}
	keys, skipped, err := ParseJWKS(jwks(t, edMember(t, "k"), ecMember(t, elliptic.P256(), "e").with("use", "enc")))
	if err != nil {
		t.Fatal(err)
	}
	source.set(Loaded{Keys: keys, Skipped: skipped}, nil)
	var events []LoadEvent
	set := loadedSet(t, Config{Issuers: issuers(source), OnLoad: func(e LoadEvent) { events = append(events, e) }})
	health := set.Health()[0]
	if len(health.Skipped) != 1 || health.Issuer != issuerA || health.Source != "fake" || health.Keys != 1 {
		t.Errorf("health: %+v", health)
	}
	if len(events) != 1 || events[0].Trigger != AtStart || events[0].Keys != 1 || events[0].Skipped != 1 || !events[0].Changed || events[0].Err != nil {
		t.Errorf("events: %+v", events)
	}
}

// Readers see either the old keys or the new ones, whole, while they are swapped.
func TestReadersAgainstSwaps(t *testing.T) {
	now, source := &clock{}, &fake{}
	sets := [][]pdp.Key{keysOf(t, "a", "b"), keysOf(t, "c", "d")}
	source.set(Loaded{Keys: sets[0]}, nil)
	set := loadedSet(t, Config{Issuers: issuers(source), Now: now.now, MinRefreshInterval: time.Nanosecond})
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				trust := set.Trust(issuerA)
				if has(trust, "a") != has(trust, "b") || has(trust, "c") != has(trust, "d") || has(trust, "a") == has(trust, "c") {
					t.Error("a reader saw a mixture")
					return
				}
				set.Health()
			}
		})
	}
	for i := range 500 {
		source.set(Loaded{Keys: sets[(i+1)%2]}, nil)
		now.advance(time.Second)
		set.Refresh(t.Context(), issuerA, "unknown")
	}
	close(stop)
	readers.Wait()
	if source.overlap {
		t.Error("two loads of one source at once")
	}
}

func BenchmarkTrust(b *testing.B) {
	source := &fake{}
	source.set(Loaded{Keys: keysOf(b, "k")}, nil)
	set := loadedSet(b, Config{Issuers: issuers(source)})
	b.ReportAllocs()
	for b.Loop() {
		if set.Trust(issuerA) == nil {
			b.Fatal("not trusted")
		}
	}
}
