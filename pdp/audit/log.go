package audit

import (
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// ErrDropped is wrapped by an error of Append where a log that does not wait for the disk had no room: the record is
// lost, and counted. A decision is answered all the same; a change is reported as not recorded.
var ErrDropped = errors.New("the record was dropped")

// Log keeps records. It is append-only and safe for concurrent use.
type Log interface {
	// Append adds a record, one JSON object without line breaks, and answers with its place, from zero, and its leaf hash in
	// the Merkle tree (RFC 6962 section 2.1). It keeps nothing of record after it has answered.
	//
	// durable tells that the record is on disk for good; otherwise it is in memory still, may be lost with the process,
	// and its place is not known. An error means that the record is not in the log, and, where the error came from
	// ctx, that it may or may not be.
	Append(ctx context.Context, at time.Time, record []byte) (index int64, leafHash [sha256.Size]byte, durable bool, err error)
	// Promise is Append for one who does not wait: it answers once the record is in memory, with the place that it will
	// have unless a write fails before it. Where promised is true, w hears what became of it; else the answer is final, as
	// Append's is, and not durable.
	Promise(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (index int64, leafHash [sha256.Size]byte, promised bool, err error)
}
