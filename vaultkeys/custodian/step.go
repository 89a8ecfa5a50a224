// Package custodian looks after signing keys: it keeps one version of each published that does not sign yet,
// withdraws those that have had their time, and destroys them a while later.
//
// What is to be done is a pure function of Vault's record, the periods and the time (Next), and a Custodian
// only does it, round after round. Nothing is remembered between rounds, so a custodian that was killed at any
// moment is replaced by one that reads the record and goes on.
//
// Several may run at once, without a lease. Vault's rotate has no compare-and-set: two custodians, a retried
// request or a failover can add a version too many, and no lease could rule that out. It is harmless by
// construction instead: when a version begins to sign follows from when it was made, so a surplus one is
// pending until it was published long enough, and then signs or is passed over; none is ever withdrawn before
// the last token has ended that it can have signed. Each custodian waits a different time between its rounds
// and reads the record once more just before it adds a version, which keeps surplus versions rare.
//
// Burn is the answer to a compromise: see there for the order of its steps.
package custodian

import (
	"fmt"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Kind is what a Step does.
type Kind string

// The kinds of steps.
const (
	Rotate Kind = "rotate" // add a version
	Retire Kind = "retire" // withdraw the versions below Step.Version
	Trim   Kind = "trim"   // destroy the versions below Step.Version
)

// Step is one thing to do in Vault. Each may be done again, or late, or by two at once.
type Step struct {
	Kind Kind
	// Version is the latest one that is known (Rotate), or the lowest that stays (Retire, Trim).
	Version int
	// Why says it in words, for logs and people.
	Why string
}

// DefaultTrimAfter is how long retired versions are kept before they are destroyed.
const DefaultTrimAfter = 30 * 24 * time.Hour

// Rules are what a key's steps follow from, beside Vault's record.
type Rules struct {
	Periods vaultkeys.Periods
	// TrimAfter is how long versions are kept in Vault after they were retired, so that what they signed can
	// still be examined and a wrong configuration be taken back; negative: for ever. (Zero destroys at once.)
	TrimAfter time.Duration
}

// Next lists what is to be done to a key now, in order; none for most of the time. The record must have
// passed its Check.
func Next(r vaultkeys.Record, rules Rules, now time.Time) []Step {
	var steps []Step
	pending, lowest := false, 0
	for _, s := range vaultkeys.States(r, rules.Periods, now) {
		pending = pending || s.State == vaultkeys.Pending
		if lowest == 0 && s.State != vaultkeys.Retired {
			lowest = s.Number
		}
	}
	if !pending {
		steps = append(steps, Step{Rotate, r.Latest, "no version is pending"})
	}
	if lowest == 0 {
		return steps
	}
	withdrawn := max(1, r.MinDecryptionVersion)
	if lowest > withdrawn {
		return append(steps, Step{Retire, lowest, fmt.Sprintf("versions below %d have retired", lowest)})
	}
	if rules.TrimAfter < 0 || withdrawn <= max(1, r.MinAvailableVersion) {
		return steps
	}
	if now.Before(TrimAt(r, rules)) {
		return steps
	}
	if r.MinEncryptionVersion < withdrawn { // raised by hand, and one alone: Vault trims below both only
		steps = append(steps, Step{Retire, withdrawn, "the minimum version for signing lags behind"})
	}
	return append(steps, Step{Trim, withdrawn, fmt.Sprintf("versions below %d were withdrawn long enough ago", withdrawn)})
}

// TrimAt is when the withdrawn versions of a record may be destroyed.
func TrimAt(r vaultkeys.Record, rules Rules) time.Time {
	return vaultkeys.Ended(r, rules.Periods).Add(rules.TrimAfter)
}
