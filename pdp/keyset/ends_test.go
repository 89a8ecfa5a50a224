package keyset

import (
	"slices"
	"testing"
	"time"
)

// Keys end by the clock: nobody loads, and a nanosecond makes the difference.
func TestKeysEndByTheClock(t *testing.T) {
	now, source := &clock{}, &fake{}
	keys := keysOf(t, "first", "second", "twin", "last")
	start := now.now()
	loaded := Loaded{Keys: keys, Next: time.Hour, Ends: map[string]time.Time{
		keys[0].Thumbprint: start.Add(time.Second),
		keys[1].Thumbprint: start.Add(3 * time.Second), keys[2].Thumbprint: start.Add(3 * time.Second),
		"of a key that is not there": start.Add(2 * time.Second),
	}}
	source.set(loaded, nil)
	set := loadedSet(t, Config{Issuers: issuers(source), Now: now.now})
	names := func() (have []string) {
		for _, key := range set.Trust(issuerA).Keys() {
			have = append(have, key.ID)
		}
		return have
	}
	for _, at := range []struct {
		name string
		when time.Duration
		want []string
	}{
		{"at the start", 0, []string{"first", "second", "twin", "last"}},
		{"just before the first ends", time.Second - 1, []string{"first", "second", "twin", "last"}},
		{"when it ends", time.Second, []string{"second", "twin", "last"}},
		{"just before two end", 3*time.Second - 1, []string{"second", "twin", "last"}},
		{"when they end", 3 * time.Second, []string{"last"}},
		{"long after", time.Hour, []string{"last"}},
	} {
		now.nanos.Store(int64(at.when))
		if have := names(); !slices.Equal(have, at.want) {
			t.Errorf("%s: %v, want %v", at.name, have, at.want)
		}
	}
	if source.count() != 1 {
		t.Errorf("%d loads, want the first alone", source.count())
	}
}

// A load in between, of the same or of what is left, keeps snapshots, tells once of what has changed, and does
// not bring back what has ended.
func TestLoadsAroundAnEnd(t *testing.T) {
	now, source := &clock{}, &fake{}
	keys := keysOf(t, "ends", "stays")
	end := now.now().Add(time.Minute)
	whole := Loaded{Keys: keys, Ends: map[string]time.Time{keys[0].Thumbprint: end}}
	source.set(whole, nil)
	var changes []bool
	set := loadedSet(t, Config{Issuers: issuers(source), Now: now.now, OnLoad: func(e LoadEvent) { changes = append(changes, e.Changed) }})
	before := set.Trust(issuerA)
	now.nanos.Store(int64(time.Minute))
	after := set.Trust(issuerA)
	for _, again := range []Loaded{whole, {Keys: keys[1:]}} {
		source.set(again, nil)
		if err := set.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if set.Trust(issuerA) != after {
			t.Error("another snapshot of the same keys")
		}
	}
	if has(after, "ends") || !has(before, "ends") || !has(after, "stays") {
		t.Error("the wrong keys have ended")
	}
	if want := []bool{true, true, false}; !slices.Equal(changes, want) {
		t.Errorf("loads that changed something: %v, want %v", changes, want)
	}
}
