package report

import "time"

// The states of Integrity.
const (
	// Verified: the log was verified in this run and nothing was found.
	Verified = "verified"
	// Damaged: the verification found something.
	Damaged = "damaged"
	// Consistent: the log agrees with its own checkpoints, whose signatures were not checked for want of keys.
	Consistent = "consistent, signatures not checked"
	// NotVerified: the log was not verified in this run.
	NotVerified = "not verified in this run"
)

// Integrity tells between which checkpoints nothing was altered or removed, as the verification of this run found.
type Integrity struct {
	State string `json:"state"`
	// How says what was checked with which keys, or why nothing was.
	How string `json:"how"`
	// Findings name what is wrong, in the verification's words.
	Findings []string `json:"findings"`
	// Records counts the records whose leaves were read and hashed.
	Records int64 `json:"records"`
	// Origin is the log's name.
	Origin string `json:"origin"`
	// Checkpoints counts those whose time lies in the period.
	Checkpoints int64 `json:"checkpoints"`
	// First is the last checkpoint before the period, or the first in it where there is none; Last the first that covers
	// every record of the period, or the newest where none does.
	First *Checkpoint `json:"first,omitempty"`
	Last  *Checkpoint `json:"last,omitempty"`
}

// Checkpoint is one signed statement of the log's size and root hash.
type Checkpoint struct {
	At time.Time `json:"at"`
	// Size is the number of records it covers.
	Size int64 `json:"size"`
	// Root is the Merkle tree's root hash, standard base64.
	Root string `json:"root"`
	// Signers names the keys that signed it.
	Signers []string `json:"signers"`
}

// Evidence tells how complete the records are.
type Evidence struct {
	// First and Last are the first and the last record of the period.
	First *Mark `json:"first,omitempty"`
	Last  *Mark `json:"last,omitempty"`
	// OldestKept is the time of the oldest record that the log still holds: after the period's begin, part of the
	// period was removed by retention.
	OldestKept *time.Time `json:"oldest_kept,omitempty"`
	// Missing counts index numbers between First and Last that have no row.
	Missing int64 `json:"missing"`
	// MaskFailed counts records in which everything was masked because the mask failed.
	MaskFailed Figure `json:"mask_failed"`
	// Recovered are torn ends that were cut off at a start, and times in which nothing could be written; Trimmed is what
	// retention removed; Lost tells of records that buffered mode dropped, LostRecords how many those were.
	LostRecords int64   `json:"lost_records"`
	Recovered   Changes `json:"recovered"`
	Trimmed     Changes `json:"trimmed"`
	Lost        Changes `json:"lost"`
	// Undelivered tells of records that a destination of audit.upload was not given, UndeliveredRecords how many those
	// were, counted for each destination.
	UndeliveredRecords int64   `json:"undelivered_records"`
	Undelivered        Changes `json:"undelivered"`
	// Silent are the longest times without any record, longest first, each above SilentOverSeconds.
	Silent            []Silence `json:"silent"`
	SilentOverSeconds int64     `json:"silent_over_seconds"`
}

// Mark is one record's place.
type Mark struct {
	Index int64     `json:"index"`
	At    time.Time `json:"at"`
}

// Silence is a time without records.
type Silence struct {
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Seconds int64     `json:"seconds"`
	// Says tells what the records around it say of its cause.
	Says string `json:"says"`
}
