package revocation

import (
	"errors"
	"strings"
	"time"
)

// Errors of Stream beside ErrInvalid.
var (
	// ErrNotFound: no entry with this key is in force.
	ErrNotFound = errors.New("no such revocation is in force")
	// ErrUnavailable: the stream cannot be reached or written. Nothing is promised; the same call may be made again.
	ErrUnavailable = errors.New("the revocation stream cannot be written now")
	// ErrFull: the stream is at its store limit. It is wrapped together with ErrUnavailable.
	ErrFull = errors.New("the revocation stream is full")
	// ErrInUse: another process runs the embedded server of this folder.
	ErrInUse = errors.New("in use by another process")
	// ErrNotYetEffective: the revocation is stored and will reach every replica, but this one has not seen it
	// before the caller's time was up. Making the same call again waits for it.
	ErrNotYetEffective = errors.New("the revocation is stored but not yet in force here")
)

// Published is the outcome of Publish.
type Published struct {
	// Entry is what is in force now: the entry given, joined with one that was in force already. It never revokes
	// less than either of them.
	Entry Entry
	// Created tells that nothing was in force under this key before.
	Created bool
	// Sequence is where the entry stands in the stream.
	Sequence uint64
}

// Event is one change that was read from the stream.
type Event struct {
	// Sequence is its place in the stream; later events have larger ones.
	Sequence uint64
	// At is when it was stored, on the servers' clock.
	At time.Time
	// Removed tells that Entry was taken back; else it was made, or extended.
	Removed bool
	// Entry holds of a removed one Kind, Issuer, Value, and who took it back and why.
	Entry Entry
}

// Filter selects entries; a zero member selects all.
type Filter struct {
	Kind          Kind
	Issuer, Value string
	Ticket, Actor string
}

// Matches reports whether the entry is selected.
func (f *Filter) Matches(e *Entry) bool {
	return (f.Kind == "" || f.Kind == e.Kind) && (f.Issuer == "" || f.Issuer == e.Issuer) && (f.Value == "" || f.Value == e.Value) &&
		(f.Ticket == "" || f.Ticket == e.Ticket) && (f.Actor == "" || strings.EqualFold(f.Actor, e.Actor))
}

// Page is a part of the listing, in the order of the stream.
type Page struct {
	Events []Event
	// Next is what to pass as after for the next page; 0 at the end. A page may be empty and yet have a Next: a
	// page reads a bounded part of the stream.
	Next uint64
}

// Health is how well revocations are known here.
type Health struct {
	// Complete tells that the whole stream was read once since the start. Before that no correct decision can
	// be made, and a replica is not ready.
	Complete bool
	// Loaded and Pending count the messages of the stream that were read and that were still to be read when last
	// told: the progress of the first load.
	Loaded, Pending uint64
	// Entries counts what the index holds; Bytes is the memory that it takes.
	Entries int
	Bytes   int64
	// Age is how long ago the heartbeat was sent that was last read back; Fresh that it is within MaxAge. Age
	// is negative where none was yet.
	Age   time.Duration
	Fresh bool
	// Connected tells of the connection to the server. Error says what is amiss, in words for an operator; empty
	// where nothing is.
	Connected bool
	Error     string
}
