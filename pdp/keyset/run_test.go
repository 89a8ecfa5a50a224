package keyset

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// running runs a set until the test, in a synctest bubble, says stop.
func running(t *testing.T, c Config) (set *Set, stop func()) {
	t.Helper()
	c.Random = func() float64 { return 0 }
	set = newSet(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- set.Run(ctx) }()
	synctest.Wait()
	return set, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestRunLoadsOnTheSourcesSchedule(t *testing.T) {
	keys := keysOf(t, "k")
	synctest.Test(t, func(t *testing.T) {
		a, b := &fake{}, &fake{}
		a.set(Loaded{Keys: keys, Next: time.Minute}, nil)
		b.set(Loaded{}, nil)
		set, stop := running(t, Config{Issuers: issuers(a, b)})
		if !has(set.Trust(issuerA), "k") || a.count() != 1 {
			t.Errorf("at the start: %d loads", a.count())
		}
		time.Sleep(time.Minute - 1)
		synctest.Wait()
		if a.count() != 1 {
			t.Errorf("just before it is due: %d loads, want 1", a.count())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if a.count() != 2 {
			t.Errorf("when it is due: %d loads, want 2", a.count())
		}
		time.Sleep(DefaultRefresh)
		synctest.Wait()
		if a.count() != 12 || b.count() != 2 {
			t.Errorf("ten minutes later: %d and %d loads, want 12 and 2", a.count(), b.count())
		}
		stop()
		time.Sleep(time.Hour)
		if a.count() != 12 {
			t.Error("loaded after the end")
		}
		if set.Refresh(t.Context(), issuerA, "unknown"); a.count() != 12 {
			t.Error("refreshed after the end")
		}
	})
}

func TestRunTriesAgainMoreAndMoreSlowly(t *testing.T) {
	keys := keysOf(t, "k")
	synctest.Test(t, func(t *testing.T) {
		source := &fake{}
		source.set(Loaded{}, errors.New("it is down"))
		var mu sync.Mutex
		var at []time.Duration
		start := time.Now()
		set, stop := running(t, Config{Issuers: issuers(source), OnLoad: func(LoadEvent) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Since(start))
		}})
		time.Sleep(4 * time.Minute)
		source.set(Loaded{Keys: keys, Next: time.Hour}, nil)
		time.Sleep(time.Minute)
		mu.Lock()
		s := time.Second
		if want := []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 31 * s, 63 * s, 123 * s, 183 * s, 243 * s}; !slices.Equal(at, want) {
			t.Errorf("loads at %v\nwant     %v", at, want)
		}
		mu.Unlock()
		if !has(set.Trust(issuerA), "k") {
			t.Error("it did not recover by itself")
		}
		stop()
	})
}

func TestRunLoadsWhenTheSourceSaysThatItChanged(t *testing.T) {
	old, mid, last := keysOf(t, "old"), keysOf(t, "mid"), keysOf(t, "last")
	synctest.Test(t, func(t *testing.T) {
		source := &fake{changes: make(chan struct{})}
		source.set(Loaded{Keys: old, Next: time.Hour}, nil)
		set, stop := running(t, Config{Issuers: issuers(source)})
		source.set(Loaded{Keys: mid, Next: time.Hour}, nil)
		source.changes <- struct{}{}
		synctest.Wait()
		if !has(set.Trust(issuerA), "mid") {
			t.Error("the change was not loaded")
		}
		// A change that is noticed while a load lasts makes another load after it.
		hold := make(chan struct{})
		source.mu.Lock()
		source.hold = hold
		source.mu.Unlock()
		source.changes <- struct{}{}
		synctest.Wait()
		source.changes <- struct{}{}
		before := source.count()
		source.mu.Lock()
		source.hold, source.loaded.Keys = nil, last
		source.mu.Unlock()
		close(hold)
		synctest.Wait()
		if !has(set.Trust(issuerA), "last") || source.count() != before+1 {
			t.Errorf("%d loads more, want 1", source.count()-before)
		}
		stop()
	})
}

func TestRunFailsOnABrokenLocalSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fake{local: true}
		source.set(Loaded{}, errors.New("no such file"))
		set := newSet(t, Config{Issuers: issuers(source)})
		if err := set.Run(t.Context()); err == nil {
			t.Error("it started")
		}
	})
}

func TestRunEndsWhileALoadHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &fake{hold: make(chan struct{})}
		_, stop := running(t, Config{Issuers: issuers(source), LoadTimeout: time.Hour})
		start := time.Now()
		stop()
		if time.Since(start) != 0 {
			t.Errorf("the end took %s", time.Since(start))
		}
	})
}

func TestJitterIsAtMostATenthEarly(t *testing.T) {
	for random, want := range map[float64]time.Duration{0: 10 * time.Minute, 0.5: 570 * time.Second} {
		set := newSet(t, Config{Issuers: issuers(&fake{}), Random: func() float64 { return random }})
		if got := set.delay(set.order[0]); got != want {
			t.Errorf("random %v: %s, want %s", random, got, want)
		}
	}
}

func TestRetryIn(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: time.Second, 2: 2 * time.Second, 6: 32 * time.Second, 7: time.Minute, 1 << 40: time.Minute} {
		if got := retryIn(failures); got != want {
			t.Errorf("after %d failures %s, want %s", failures, got, want)
		}
	}
}

func TestFunc(t *testing.T) {
	old, last := keysOf(t, "old"), keysOf(t, "last")
	synctest.Test(t, func(t *testing.T) {
		changed := make(chan struct{})
		var keys atomic.Pointer[[]pdp.Key]
		keys.Store(&old)
		source, err := Func("the keyring", func(context.Context) (Loaded, error) { return Loaded{Keys: *keys.Load()}, nil }, 0, changed)
		if err != nil {
			t.Fatal(err)
		}
		c := Config{Issuers: issuers(&fake{})}
		c.Issuers[0].Source = source
		set, stop := running(t, c)
		keys.Store(&last)
		changed <- struct{}{}
		synctest.Wait()
		if !has(set.Trust(issuerA), "last") {
			t.Error("the change was not seen")
		}
		close(changed)
		keys.Store(&old)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if !has(set.Trust(issuerA), "old") {
			t.Error("five seconds later it was not asked again")
		}
		if name := set.Health()[0].Source; name != "the keyring" {
			t.Errorf("it is called %q", name)
		}
		stop()
	})
	if _, err := Func("x", nil, 0, nil); err == nil {
		t.Error("accepted no function")
	}
	if _, err := Func("x", func(context.Context) (Loaded, error) { return Loaded{}, nil }, -1, nil); err == nil {
		t.Error("accepted a negative period")
	}
}
