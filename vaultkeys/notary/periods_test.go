package notary_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/notary"
)

func at(text string) time.Time {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err) // a mistake in the test itself
	}
	return t
}

func newPeriods(t *testing.T, v notary.Vault, c *clock) *notary.Periods {
	t.Helper()
	p, err := notary.NewPeriods(notary.PeriodsConfig{Vault: v, Key: "pseudonyms", Now: c.now, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustKey(t *testing.T, p *notary.Periods, period string) ([]byte, int) {
	t.Helper()
	key, version, err := p.PeriodKey(t.Context(), period)
	if err != nil || len(key) != 32 {
		t.Fatalf("period %s: %d bytes, %v", period, len(key), err)
	}
	return key, version
}

// TestAPeriodIsForgotten follows one master key through rotation and destruction on a real Vault.
func TestAPeriodIsForgotten(t *testing.T) {
	v, c := newVault(t), &clock{at: at("2026-10-20T00:00:00Z")}
	v.made = map[int]time.Time{1: at("2026-09-10T08:00:00Z"), 2: at("2026-10-25T08:00:00Z"), 3: at("2026-11-30T23:30:00Z")}
	p := newPeriods(t, v, c)
	october, version := mustKey(t, p, "2026-10")
	if version != 1 {
		t.Fatalf("October has version %d, want 1", version)
	}
	v.rotate(t, "pseudonyms", 1)
	again, version := mustKey(t, newPeriods(t, v, c), "2026-10")
	if version != 1 || !bytes.Equal(october, again) {
		t.Fatalf("after a rotation within it, another replica has version %d for October, or another key", version)
	}
	c.at = at("2026-10-31T23:10:00Z")
	november, version := mustKey(t, p, "2026-11")
	if version != 2 || bytes.Equal(november, october) {
		t.Fatalf("November, asked for ahead, has version %d, want 2, and a key of its own", version)
	}
	v.rotate(t, "pseudonyms", 2) // half an hour before December: too late for it
	c.at = at("2026-12-02T00:00:00Z")
	if _, version := mustKey(t, p, "2026-12"); version != 2 {
		t.Fatalf("December has version %d, want 2: 3 was not settled", version)
	}

	forget := func(through string) error {
		record, err := v.ReadVersions(t.Context(), "pseudonyms")
		if err != nil {
			return err
		}
		plan, err := notary.PlanForgetting(record, through, c.at)
		if err != nil {
			return err
		}
		return notary.Forget(t.Context(), v.root, "pseudonyms", plan)
	}
	if err := forget("2026-12"); err == nil {
		t.Error("a period that lasts was forgotten")
	}
	if err := forget("2026-11"); err == nil {
		t.Error("November was forgotten, and December shares its version")
	}
	if err := forget("2026-10"); err != nil {
		t.Fatal(err)
	}
	fresh := newPeriods(t, v, c)
	for _, period := range []string{"2026-09", "2026-10"} {
		if key, _, err := fresh.PeriodKey(t.Context(), period); !errors.Is(err, notary.ErrForgotten) {
			t.Errorf("%s, forgotten: %d bytes, %v", period, len(key), err)
		}
	}
	// Not by any other way either: Vault itself has nothing to compute with.
	if _, err := v.root.HMAC(t.Context(), "pseudonyms", 1, []byte(notary.Label+"2026-10")); err == nil {
		t.Error("Vault still computes with version 1")
	}
	if err := v.root.Retire(t.Context(), "pseudonyms", 1); err != nil {
		t.Fatal(err)
	}
	if other, err := v.root.HMAC(t.Context(), "pseudonyms", 2, []byte(notary.Label+"2026-10")); err != nil || bytes.Equal(other, october) {
		t.Errorf("the same label under the next version: the same key, or %v", err)
	}
	if kept, _ := mustKey(t, fresh, "2026-11"); !bytes.Equal(kept, november) {
		t.Error("November's key is another after October was forgotten")
	}
}

func TestKeysAreHeldWhileTheirPeriodLasts(t *testing.T) {
	v, c := newVault(t), &clock{at: at("2026-10-20T00:00:00Z")}
	v.made = map[int]time.Time{1: at("2026-09-10T08:00:00Z")}
	p := newPeriods(t, v, c)
	key, _ := mustKey(t, p, "2026-10")
	clear(key) // the caller's own
	asked := v.calls
	if held, _ := mustKey(t, p, "2026-10"); bytes.Equal(held, key) || v.calls != asked {
		t.Errorf("the key held was cleared with the caller's, or Vault was asked again (%d requests)", v.calls-asked)
	}
	v.fail = errors.New("away")
	if _, _, err := p.PeriodKey(t.Context(), "2026-10"); err != nil {
		t.Errorf("with Vault away: %v", err)
	}
	c.at = at("2026-11-01T00:00:00Z")
	if _, _, err := p.PeriodKey(t.Context(), "2026-10"); err == nil {
		t.Error("the key of a period that is over was held")
	}
}

func TestNobodyPilesUpWhileVaultIsAway(t *testing.T) {
	v, c := newVault(t), &clock{at: at("2026-10-20T00:00:00Z")}
	v.made, v.fail = map[int]time.Time{1: at("2026-09-10T08:00:00Z")}, errors.New("away")
	p := newPeriods(t, v, c)
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, _, err := p.PeriodKey(t.Context(), "2026-10"); !errors.Is(err, v.fail) {
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	if v.calls != 1 {
		t.Errorf("a hundred callers made %d requests, want 1", v.calls)
	}
	pauses := []time.Duration{notary.DefaultBackoff, 2 * notary.DefaultBackoff, 4 * notary.DefaultBackoff}
	for i, pause := range pauses {
		c.at = c.at.Add(pause - time.Millisecond)
		if _, _, err := p.PeriodKey(t.Context(), "2026-10"); !errors.Is(err, notary.ErrWaiting) {
			t.Errorf("before pause %d is over: %v", i, err)
		}
		c.at = c.at.Add(time.Millisecond)
		if _, _, err := p.PeriodKey(t.Context(), "2026-10"); errors.Is(err, notary.ErrWaiting) || err == nil {
			t.Errorf("after pause %d: %v", i, err)
		}
	}
	v.fail, c.at = nil, c.at.Add(notary.DefaultMaxBackoff)
	mustKey(t, p, "2026-10")
}

func TestWhichVersionIsAPeriods(t *testing.T) {
	record := vaultkeys.Record{Name: "pseudonyms", Latest: 4, Versions: []vaultkeys.Version{
		{Number: 1, Created: at("2026-09-10T08:00:00Z")}, {Number: 2, Created: at("2026-10-25T08:00:00Z")},
		{Number: 3, Created: at("2026-10-31T22:00:00Z")}, {Number: 4, Created: at("2026-10-31T22:00:01Z")},
	}}
	for _, test := range []struct {
		name, period string
		change       func(*vaultkeys.Record)
		want         int // 0: forgotten
	}{
		{"before the key", "2026-08", nil, 0},
		{"the key's own", "2026-09", nil, 1},
		{"the next", "2026-10", nil, 1},
		{"made to the second in time", "2026-11", nil, 3},
		{"made too late", "2026-12", nil, 4},
		{"a day", "2026-10-26", nil, 2},
		{"a quarter", "2026-Q3", nil, 1},
		{"a year", "2027", nil, 4},
		{"the first version destroyed", "2026-09", func(r *vaultkeys.Record) { r.Versions = r.Versions[1:] }, 0},
		{"its version destroyed", "2026-10", func(r *vaultkeys.Record) { r.Versions = r.Versions[1:] }, 0},
		{"its version withdrawn", "2026-10", func(r *vaultkeys.Record) { r.MinEncryptionVersion = 2 }, 0},
		{"no version at all", "2026-10", func(r *vaultkeys.Record) { r.Versions = nil }, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := record
			if test.change != nil {
				test.change(&r)
			}
			start, end, err := notary.Period(test.period)
			if err != nil {
				t.Fatal(err)
			}
			got, err := notary.VersionOf(r, start, end)
			if got != test.want || (test.want == 0) != errors.Is(err, notary.ErrForgotten) {
				t.Errorf("version %d, %v; want %d", got, err, test.want)
			}
		})
	}
}

func TestLabelsOfPeriods(t *testing.T) {
	for label, want := range map[string][2]string{
		"2026":       {"2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"2026-Q4":    {"2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"2026-W01":   {"2025-12-29T00:00:00Z", "2026-01-05T00:00:00Z"},
		"2026-W53":   {"2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z"},
		"2026-02":    {"2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z"},
		"2026-12-31": {"2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z"},
	} {
		start, end, err := notary.Period(label)
		if err != nil || !start.Equal(at(want[0])) || !end.Equal(at(want[1])) {
			t.Errorf("%s: %s to %s, %v", label, start, end, err)
		}
	}
	for _, label := range []string{"", "26", "2026-Q5", "2026-Q0", "2026-13", "2026-1", "2026-02-30", "x-Q1", "2026-W54", "2027-W53", "2026-W00", "2026-W1"} {
		if _, _, err := notary.Period(label); err == nil {
			t.Errorf("%q is taken", label)
		}
	}
	p := newPeriods(t, newVault(t), &clock{at: at("2026-10-31T21:50:00Z")})
	if _, _, err := p.PeriodKey(t.Context(), "2026-11"); !errors.Is(err, notary.ErrEarly) {
		t.Errorf("two hours ahead: %v", err)
	}
}
