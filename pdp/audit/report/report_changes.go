package report

import "time"

// Change is one record of a change, as it is listed.
type Change struct {
	Index int64     `json:"index"`
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"`
	// Actor is who did it; empty where the program did by itself.
	Actor  string `json:"actor,omitempty"`
	Target string `json:"target,omitempty"`
	Reason string `json:"reason,omitempty"`
	Ticket string `json:"ticket,omitempty"`
	// Details are numbers, booleans, names and digests.
	Details map[string]any `json:"details,omitempty"`
	// Unread says why the record could not be read; then only Index, At and Kind are known.
	Unread string `json:"unread,omitempty"`
}

// Changes are the changes of some kinds. Count counts them all, Listed holds the first of them, at most the
// builder's bound.
type Changes struct {
	Count  Figure   `json:"count"`
	Listed []Change `json:"listed"`
}

// Keys tells of the signing keys: the plan, what was done, and what verified tokens.
type Keys struct {
	// Planned are the keys of the configuration that was given; none where none was.
	Planned []PlannedKey `json:"planned"`
	// Changes are rotations, retirements and compromises in the period.
	Changes Changes   `json:"changes"`
	Used    []UsedKey `json:"used"`
}

// PlannedKey compares a key's rotations with its period.
type PlannedKey struct {
	Name               string `json:"name"`
	RotateEverySeconds int64  `json:"rotate_every_seconds"`
	// Before is the last rotation before the period that the log holds, Rotations those in the period.
	Before    *time.Time  `json:"rotated_before,omitempty"`
	Rotations []time.Time `json:"rotations"`
	// LongestSeconds is the longest time without a rotation: between two of them, and from the last to the end of the period
	// or to when the report was made. -1 where the log holds no rotation to count from.
	LongestSeconds int64 `json:"longest_seconds"`
	// Verdict is "on plan", "late" or "not told": the last where the log holds no rotation to count from.
	Verdict string `json:"verdict"`
	// Rotated, Retired and Compromised count those changes of the key in the period; Keys.Changes lists them.
	Rotated     int64 `json:"rotated"`
	Retired     int64 `json:"retired"`
	Compromised int64 `json:"compromised"`
}

// UsedKey is a key by which tokens were verified in the period.
type UsedKey struct {
	Thumbprint string    `json:"thumbprint"`
	Issuer     string    `json:"issuer"`
	Algorithm  string    `json:"algorithm"`
	First      time.Time `json:"first"`
	Last       time.Time `json:"last"`
	Judged     Figure    `json:"judged"`
}

// Revocations are those recorded in the period.
type Revocations struct {
	Added   Figure `json:"added"`
	Removed Figure `json:"removed"`
	// Effective counts those of Listed that a deny was found of.
	Effective int64 `json:"effective"`
	// Measured says in words what the times of Listed are.
	Measured string       `json:"measured"`
	Listed   []Revocation `json:"listed"`
}

// Revocation is one entry and its effect as far as the decisions of the period show it.
type Revocation struct {
	Change
	What   string `json:"revocation_kind"`
	Issuer string `json:"issuer"`
	// Match says how decisions were told to be this entry's: "exact" (the decision's issuer and client or verifying key),
	// "same text in the record" (the token's identifier, subject or session is written as the same text, most often a
	// pseudonym) or "not told".
	Match string `json:"match"`
	// Lifted tells that it was taken back in the period.
	Lifted bool `json:"lifted"`
	// FirstDenied is the first deny after it with that reason; DeniedAfterSeconds the time between the two
	// records. Absent where no token came to be denied.
	FirstDenied        *Seen    `json:"first_denied,omitempty"`
	DeniedAfterSeconds *float64 `json:"denied_after_seconds,omitempty"`
	// AllowedAfter counts allows of tokens that the same key verified, recorded later than the revocation; told for
	// keys alone: other entries spare tokens that are issued later, and a row does not tell when its token was.
	AllowedAfter *Figure `json:"allowed_after,omitempty"`
	// LastAllowedAfterSeconds is when the last of those came.
	LastAllowedAfterSeconds *float64 `json:"last_allowed_after_seconds,omitempty"`
}

// Seen is one decision.
type Seen struct {
	DecisionID string    `json:"decision_id"`
	At         time.Time `json:"at"`
	Query      string    `json:"query"`
}

// Policy tells which policies judged.
type Policy struct {
	Revisions []Revision `json:"revisions"`
	// Activated and Refused are the bundles that came into force and those that were not let.
	Activated Changes `json:"bundles_activated"`
	Refused   Changes `json:"bundles_refused"`
}

// Revision is one policy revision that gave verdicts in the period.
type Revision struct {
	Revision string    `json:"revision"`
	First    time.Time `json:"first"`
	Last     time.Time `json:"last"`
	Judged   Figure    `json:"judged"`
	// Recorded is the index of the change that put it in force, -1 where the log read for this report holds none.
	Recorded int64 `json:"recorded"`
}

// Waivers are the exceptions: what they covered and which the configuration holds.
type Waivers struct {
	// Source says where Configured was read; empty where no policy configuration was given, which is not the same as
	// that there are no waivers.
	Source     string   `json:"source,omitempty"`
	Configured []Waiver `json:"configured"`
	// Used counts, by code, the decisions in which a waiver covered a finding.
	Used []Finding `json:"used"`
}

// Waiver is one exception of the policy configuration.
type Waiver struct {
	Rule     string `json:"rule"`
	Issuer   string `json:"issuer,omitempty"`
	Client   string `json:"client,omitempty"`
	Audience string `json:"audience,omitempty"`
	Until    string `json:"until"`
	Ticket   string `json:"ticket"`
	// State is "open" or "expired" when the report was made, "unreadable date" where it does nothing.
	State string `json:"state"`
	// DaysLeft counts whole days from then to its end; 0 unless open.
	DaysLeft int64 `json:"days_left"`
	// Covered counts the waived findings of that rule for that issuer, client and audience in the period.
	Covered Figure `json:"covered"`
}
