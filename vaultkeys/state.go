package vaultkeys

import (
	"errors"
	"fmt"
	"time"
)

// State is where a key version is in its life.
type State string

// The states, in the order of a version's life.
const (
	Pending  State = "pending"  // published, does not sign yet
	Active   State = "active"   // signs
	Retiring State = "retiring" // published, verifies only
	Retired  State = "retired"  // not published
)

// Published reports whether a version in that state is in the JWKS and verifies tokens.
func (s State) Published() bool { return s == Pending || s == Active || s == Retiring }

// VersionState is a version with its state at one moment, and what happens to it next if nobody does
// anything.
type VersionState struct {
	Version
	State State
	// Since is when it came into this state; zero where Vault's record does not tell, because a raised
	// minimum version was the cause.
	Since time.Time
	// Promoted tells of an active version that signs before its time: a minimum version was raised above
	// all that were due.
	Promoted bool
	// Next is the state that follows, and NextAt when. Empty and zero for a retired version, and for an
	// active one without a successor: it signs until there is one.
	Next   State
	NextAt time.Time
	// Ends is when it will be retired, or was, if nobody does anything; zero while nothing is to supersede it.
	Ends time.Time
}

// ErrNoSigner is Signer's answer for a record without a version that may sign.
var ErrNoSigner = errors.New("no version may sign: rotate the key")

// Signer is the version that signs at that time: of the versions that are due the newest, where none is
// due the oldest; of those only that Vault lets sign.
func Signer(r Record, p Periods, now time.Time) (Version, error) {
	usable := r.usable()
	i := r.signer(usable, p, now)
	if i < 0 {
		return Version{}, fmt.Errorf("transit key %s: %w", r.Name, ErrNoSigner)
	}
	return usable[i], nil
}

// States gives the state of every version that may be used at all, by ascending number.
//
// For a version v of the record, with due(v) = v.Created + max(publish_ahead, rotate_every) and
// superseded(v) = the earliest due(w) of a newer version w:
//
//   - active is the one that Signer names;
//   - pending is a newer one than that, which Vault lets sign;
//   - every other is retiring until superseded(v) + max_token_lifetime + leeway, then retired.
//
// That is stable when old versions vanish from the record, since nothing depends on an older version but
// the promotion of the oldest one. superseded uses the time at which a successor was due also where that
// successor was promoted before: it was promoted earlier than it was due, so what v signed meanwhile has
// ended by then, on a replica too that heard of the promotion late.
func States(r Record, p Periods, now time.Time) []VersionState {
	usable := r.usable()
	signer := r.signer(usable, p, now)
	states := make([]VersionState, len(usable))
	for i := range usable {
		superseded := superseded(usable[i+1:], p)
		s := VersionState{Version: usable[i]}
		if !superseded.IsZero() {
			s.Ends = superseded.Add(p.keep())
		}
		switch {
		case i == signer:
			s.activate(p, superseded, now)
		case i > signer && signer >= 0 && r.maySign(s.Version):
			s.pend(p, superseded)
		default:
			s.retire(superseded, now)
		}
		states[i] = s
	}
	return states
}

func (s *VersionState) activate(p Periods, superseded, now time.Time) {
	s.State = Active
	switch due := s.Created.Add(p.delay()); {
	case s.Number == 1:
		s.Since = s.Created
	case now.Before(due):
		s.Promoted = true
	default:
		s.Since = due
	}
	if !superseded.IsZero() {
		s.Next, s.NextAt = Retiring, superseded
	}
}

func (s *VersionState) pend(p Periods, superseded time.Time) {
	s.State, s.Since = Pending, s.Created
	s.Next, s.NextAt = Active, s.Created.Add(p.delay())
	if !superseded.IsZero() && !s.NextAt.Before(superseded) { // a surplus version: it never signs
		s.Next, s.NextAt = Retiring, superseded
	}
}

func (s *VersionState) retire(superseded, now time.Time) {
	if superseded.IsZero() { // the newest of all, and yet Vault does not let it sign
		s.State = Retiring
		return
	}
	if !now.Before(superseded) {
		s.Since = superseded
	}
	if now.Before(s.Ends) {
		s.State, s.Next, s.NextAt = Retiring, Retired, s.Ends
	} else {
		s.State, s.Since = Retired, s.Ends
	}
}

// Ended is when the last token has ended that a version below the record's MinDecryptionVersion can have
// signed in the ordinary course: such a version is no longer listed, but what superseded it is. Zero where
// no version is usable.
func Ended(r Record, p Periods) time.Time {
	first := superseded(r.usable(), p)
	if first.IsZero() {
		return first
	}
	return first.Add(p.keep())
}

// usable are the versions that Vault lets be used at all.
func (r *Record) usable() []Version {
	for i := range r.Versions {
		if r.Versions[i].Number >= r.MinDecryptionVersion {
			return r.Versions[i:]
		}
	}
	return nil
}

func (r *Record) maySign(v Version) bool { return v.Number >= r.MinEncryptionVersion }

// signer is the index of the version that signs, -1 for none.
func (r *Record) signer(usable []Version, p Periods, now time.Time) int {
	signer := -1
	for i := range usable {
		if r.maySign(usable[i]) && (signer < 0 || !now.Before(usable[i].Created.Add(p.delay()))) {
			signer = i
		}
	}
	return signer
}

// superseded is when the first of the newer versions was or is due; zero if there is none.
func superseded(newer []Version, p Periods) time.Time {
	var first time.Time
	for i := range newer {
		if due := newer[i].Created.Add(p.delay()); first.IsZero() || due.Before(first) {
			first = due
		}
	}
	return first
}
