// Package upload ships the records of the audit log to where others keep or read them: a service that takes the decision
// logs of OPA, and a JetStream stream.
//
// The log on disk is the buffer. Nothing is queued beside it: a Shipper takes a bounded piece of the log from where its
// cursor stands, delivers it, and moves the cursor once the destination has acknowledged it. The cursor is a small file,
// replaced atomically and synced, so that a start after a kill goes on where the last acknowledgement was written down.
// Between an acknowledgement and the cursor a kill sends records again: every record is delivered at least once, and
// what delivers to JetStream names each message by its place and hash in the log, so that the stream drops the second.
//
// A destination that is away, slow or refuses is asked again, later and later up to a limit, as long as it takes;
// meanwhile the log grows, and what waits is told as a number and as a time. Only a record that a destination says is too
// large for it, alone, is passed over: it is set aside in a file with its index, counted, and told, and kept there for as
// long as the log keeps its records.
//
// Retention asks Next before it deletes. So that a destination that is gone for good does not fill the disk, it may call
// GiveUp: what was not delivered is written down, counted and told, and then deleted. What retention deleted without
// asking is written down, counted and told likewise once it is noticed.
//
// When a process ends, what the log holds by then is delivered within a bounded time; the rest waits for the next start.
package upload

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"regexp"
	"time"
)

// Record is one record of the log.
type Record struct {
	// Index is its place, from zero.
	Index int64
	// Hash is its leaf hash in the Merkle tree (RFC 6962 section 2.1).
	Hash [sha256.Size]byte
	// Event is the JSON object of the event. It must stay as it is for as long as the Record is used.
	Event []byte
}

// Log is what is read. It must be safe for use while records are appended.
type Log interface {
	// Origin is the log's name.
	Origin() string
	// Size is how many records were appended so far, the next one's index. What lies below is on disk for good, so that
	// no other record ever takes its index.
	Size() int64
	// Follow gives the records from an index on, in order, and then those that come, until ctx ends, or with an error
	// where a record cannot be read. Where retention deleted the first of them it begins with the first that is left.
	Follow(ctx context.Context, from int64) iter.Seq2[Record, error]
}

// Destination takes records. A Shipper calls it from one goroutine.
type Destination interface {
	// Deliver hands over records, which follow each other, and says how many, from the first on, the destination has
	// acknowledged. With fewer than all there is an error: *TooLarge where the next record can never be taken, *Busy
	// where the destination says when to come again, any other where the same is to be tried later. It ends with ctx.
	Deliver(ctx context.Context, records []Record) (acknowledged int, err error)
	// Close lets go of connections.
	Close() error
}

// TooLarge says that a destination takes no record of this size, whatever comes with it.
type TooLarge struct {
	Bytes int
	Err   error
}

func (e *TooLarge) Error() string {
	return fmt.Sprintf("a record of %d bytes is too large: %v", e.Bytes, e.Err)
}
func (e *TooLarge) Unwrap() error { return e.Err }

// Busy says that a destination is not to be asked again before After.
type Busy struct {
	After time.Duration
	Err   error
}

func (e *Busy) Error() string { return e.Err.Error() }
func (e *Busy) Unwrap() error { return e.Err }

// Observer counts what happens. It is called from the goroutine that delivers or gives up, and must not block.
type Observer interface {
	// RecordsDelivered tells that so many records were acknowledged, and how long that took.
	RecordsDelivered(name string, records int, took time.Duration)
	// DeliveryFailed tells that a delivery has to be repeated.
	DeliveryFailed(name string, err error)
	// RecordRefused tells that a record was set aside.
	RecordRefused(name string, index int64)
	// RecordsMissed tells that so many records were given up, or deleted from the log, before they were delivered.
	RecordsMissed(name string, records int64)
}

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

// CheckName refuses a name of a destination that would not do as the name of a file.
func CheckName(name string) error {
	if !nameForm.MatchString(name) {
		return fmt.Errorf("%q: lower-case letters, digits, - and _, at most 64, beginning with a letter or digit", name)
	}
	return nil
}
