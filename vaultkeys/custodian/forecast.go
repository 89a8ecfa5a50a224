package custodian

import (
	"slices"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Event is one thing that will happen to a key if a custodian looks after it.
type Event struct {
	At time.Time
	// Version that it happens to.
	Version int
	// State that the version comes into by time alone; empty where Step says what a custodian does.
	State vaultkeys.State
	Step  Kind
}

// mostEvents bounds a forecast: with very short periods a long time ahead holds very many rotations.
const mostEvents = 1000

// Forecast tells what will happen to a key from now until a time, in order, as long as nobody interferes: it
// plays Next through on a copy of the record.
func Forecast(r vaultkeys.Record, rules Rules, now, until time.Time) []Event {
	r.Versions = slices.Clone(r.Versions)
	var events []Event
	for len(events) < mostEvents {
		for _, step := range Next(r, rules, now) {
			events = append(events, Event{At: now, Version: play(&r, step, now), Step: step.Kind})
		}
		before := states(r, rules, now)
		next := nextAt(r, rules, now)
		if next.IsZero() || next.After(until) {
			return events
		}
		now = next
		for number, state := range states(r, rules, now) {
			if was, known := before[number]; known && was != state {
				events = append(events, Event{At: now, Version: number, State: state})
			}
		}
		sortFrom(events, now)
	}
	return events
}

// sortFrom orders the events of one moment by version.
func sortFrom(events []Event, at time.Time) {
	start := len(events)
	for start > 0 && events[start-1].At.Equal(at) {
		start--
	}
	slices.SortStableFunc(events[start:], func(a, b Event) int { return a.Version - b.Version })
}

func states(r vaultkeys.Record, rules Rules, now time.Time) map[int]vaultkeys.State {
	all := make(map[int]vaultkeys.State)
	for _, s := range vaultkeys.States(r, rules.Periods, now) {
		all[s.Number] = s.State
	}
	return all
}

// nextAt is when the record has to be looked at again.
func nextAt(r vaultkeys.Record, rules Rules, now time.Time) time.Time {
	var next time.Time
	consider := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	for _, s := range vaultkeys.States(r, rules.Periods, now) {
		if !s.NextAt.IsZero() {
			consider(s.NextAt)
		}
	}
	if rules.TrimAfter >= 0 && r.MinDecryptionVersion > max(1, r.MinAvailableVersion) {
		consider(TrimAt(r, rules))
	}
	return next
}

// play does a step on a record as Vault would, and answers the version that it is about.
func play(r *vaultkeys.Record, step Step, now time.Time) int {
	switch step.Kind {
	case Rotate:
		r.Latest++
		r.Versions = append(r.Versions, vaultkeys.Version{Number: r.Latest, Created: now})
		return r.Latest
	case Retire:
		r.MinDecryptionVersion = max(r.MinDecryptionVersion, step.Version)
		r.MinEncryptionVersion = max(r.MinEncryptionVersion, step.Version)
	case Trim:
		r.MinAvailableVersion = step.Version
	}
	return step.Version - 1
}
