package audit_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/audit"
)

func TestPeriods(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse(time.RFC3339, text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	for name, tc := range map[string]struct {
		period          audit.Period
		at, label, next string
	}{
		"day":                    {audit.Day, "2026-11-24T23:59:59Z", "2026-11-24", "2026-11-25T00:00:00Z"},
		"day, elsewhere":         {audit.Day, "2026-11-25T00:30:00+01:00", "2026-11-24", "2026-11-25T00:00:00Z"},
		"week, on a Sunday":      {audit.Week, "2026-11-29T12:00:00Z", "2026-W48", "2026-11-30T00:00:00Z"},
		"week, on a Monday":      {audit.Week, "2026-11-30T00:00:00Z", "2026-W49", "2026-12-07T00:00:00Z"},
		"week of the next year":  {audit.Week, "2027-01-01T00:00:00Z", "2026-W53", "2027-01-04T00:00:00Z"},
		"month":                  {audit.Month, "2026-11-24T00:00:00Z", "2026-11", "2026-12-01T00:00:00Z"},
		"month, the last":        {audit.Month, "2026-12-31T23:59:59Z", "2026-12", "2027-01-01T00:00:00Z"},
		"quarter, its beginning": {audit.Quarter, "2026-10-01T00:00:00Z", "2026-Q4", "2027-01-01T00:00:00Z"},
		"quarter, its end":       {audit.Quarter, "2026-03-31T23:00:00Z", "2026-Q1", "2026-04-01T00:00:00Z"},
		"year":                   {audit.Year, "2026-11-24T00:00:00Z", "2026", "2027-01-01T00:00:00Z"},
	} {
		t.Run(name, func(t *testing.T) {
			if label := tc.period.Label(at(tc.at)); label != tc.label {
				t.Errorf("label %s, want %s", label, tc.label)
			}
			if next := tc.period.Next(at(tc.at)); !next.Equal(at(tc.next)) {
				t.Errorf("next %s, want %s", next, tc.next)
			}
		})
	}
}

func TestKeyedFetchesAheadAndForgets(t *testing.T) {
	now := moment
	keys := &periodKeys{secret: "s"}
	k, err := audit.NewKeyed(audit.KeyedConfig{Keys: keys, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	load := func() {
		t.Helper()
		if err := k.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if p := k.Pseudonym(now, "sub", issuerID, "jane"); p != "" || k.Epoch(now) != "" {
		t.Errorf("%q without a key", p)
	}
	load()
	load()
	first := k.Pseudonym(now, "sub", issuerID, "jane")
	if !pseudonym.MatchString(first) || k.Epoch(now) != "2026-11.v3" || !slices.Equal(keys.asked, []string{"2026-11"}) {
		t.Errorf("%q of %q, asked for %q", first, k.Epoch(now), keys.asked)
	}
	for name, other := range map[string]string{
		"another value":       k.Pseudonym(now, "sub", issuerID, "joe"),
		"another kind":        k.Pseudonym(now, "sid", issuerID, "jane"),
		"another issuer":      k.Pseudonym(now, "sub", "https://other.example", "jane"),
		"texts that run over": k.Pseudonym(now, "subh", issuerID[1:], "jane"),
	} {
		if other == first || !pseudonym.MatchString(other) {
			t.Errorf("%s: %q", name, other)
		}
	}
	december := time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
	if p := k.Pseudonym(december, "sub", issuerID, "jane"); p != "" {
		t.Errorf("%q of a period whose key is not there", p)
	}
	now = december.Add(-time.Minute)
	load()
	next := k.Pseudonym(december, "sub", issuerID, "jane")
	if next == "" || next[:10] != "p:2026-12." || k.Pseudonym(now, "sub", issuerID, "jane") != first {
		t.Errorf("the next period's %q, this one's %q", next, k.Pseudonym(now, "sub", issuerID, "jane"))
	}
	now = december.Add(time.Hour)
	load()
	if p := k.Pseudonym(moment, "sub", issuerID, "jane"); p != "" {
		t.Errorf("%q of a period that is over", p)
	}
	if k.Pseudonym(now, "sub", issuerID, "jane") != next {
		t.Error("within a period a pseudonym changed")
	}
}

func TestKeyedTellsWhatItLacks(t *testing.T) {
	away := errors.New("vault is away")
	keys := &periodKeys{failure: away}
	k, err := audit.NewKeyed(audit.KeyedConfig{Keys: keys, Now: func() time.Time { return moment }})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Load(t.Context()); !errors.Is(err, away) || !errors.Is(k.Failing(), away) {
		t.Errorf("error %v, failing %v", err, k.Failing())
	}
	keys.failure = nil
	if err := k.Load(t.Context()); err != nil || k.Failing() != nil || k.Epoch(moment) == "" {
		t.Errorf("error %v, failing %v", err, k.Failing())
	}
}
