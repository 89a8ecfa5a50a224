package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Mode says what Append waits for.
type Mode string

const (
	// Durable means that Append returns when the record is on disk for good.
	Durable Mode = "durable"
	// Buffered means that Append returns at once. Records wait in bounded memory; what does not fit is dropped and counted.
	Buffered Mode = "buffered"
)

// Limits and defaults.
const (
	// MaxRecordBytes is the longest record that Append takes.
	MaxRecordBytes = 1 << 20
	// DefaultSegmentBytes and DefaultSegmentAge are when a segment is sealed and the next one begun.
	DefaultSegmentBytes = 64 << 20
	DefaultSegmentAge   = 24 * time.Hour
	// DefaultCheckpointEvery is how often a tree that grew gets a checkpoint.
	DefaultCheckpointEvery = 10 * time.Second
	// DefaultBufferBytes bounds what waits in memory in buffered mode.
	DefaultBufferBytes = 32 << 20
)

// Config says where a ledger is and how it is kept.
type Config struct {
	// Dir is the ledger's folder; made if it is not there. Required.
	Dir string
	// Origin names the log in its checkpoints (C2SP checkpoint), such as "assay.example/replica-1". Required; one
	// line without a blank or a plus sign. A folder whose checkpoints name another origin is refused.
	Origin string
	// Mode is Durable unless said.
	Mode Mode
	// SegmentBytes and SegmentAge seal a segment when it is that large or its first record that old.
	SegmentBytes int64
	SegmentAge   time.Duration
	// Retention deletes whole sealed segments whose newest record is older; zero keeps everything. Only what a
	// checkpoint covers is deleted (where there is a Signer).
	Retention time.Duration
	// Keep, where given, is asked whether a segment whose time is over is still needed, such as by an upload; it is then
	// kept with all behind it, and asked about again. It is called from a goroutine of Run; it may append.
	Keep func(ctx context.Context, s Segment) (bool, error)
	// CheckpointEvery is how often a checkpoint is made of a tree that grew.
	CheckpointEvery time.Duration
	// Signer signs checkpoints; nil makes none, and then nothing but the leaf hashes speaks for the records.
	Signer CheckpointSigner
	// Publishers are given each new checkpoint; one that fails is tried again with the newest one.
	Publishers []Publisher
	// BufferBytes bounds memory in buffered mode.
	BufferBytes int64
	// Describe turns a change that the ledger itself made (log.recovered, log.trimmed, log.dropped) into a record:
	// one JSON object without a line feed. nil writes a minimal one.
	Describe func(pdp.Change) []byte
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Observer hears of commits, failures and losses; may be nil.
	Observer Observer

	disk         disk          // tests put a failing one here
	lastStep     time.Duration // tests put others than the constants here
	longestClose time.Duration
}

// CheckpointSigner signs the text of a checkpoint (C2SP checkpoint: origin, size, root hash) as a signed note
// (C2SP signed-note). It may fail for as long as it likes: appends go on, the next interval asks again.
type CheckpointSigner interface {
	SignNote(ctx context.Context, text string) (note []byte, err error)
}

// Publisher puts a signed checkpoint where the operator of the log cannot take it back. It is called from one
// goroutine at a time, with ever newer checkpoints, the same one again after an error.
type Publisher interface {
	Publish(ctx context.Context, checkpoint []byte) error
}

// Observer hears what the ledger does. Its methods are called on the way of a commit and must not block.
type Observer interface {
	// Committed tells of one batch on disk: its records, its bytes, and how long write and sync took together.
	Committed(records, bytes int, took time.Duration)
	// Failed tells of a write or sync that failed.
	Failed(err error)
	// Dropped tells of records that buffered mode had no room for.
	Dropped(records int)
}

// Errors that a caller tells apart.
var (
	// ErrLocked means that another process writes this ledger. A command leaves its record with Leave instead.
	ErrLocked = errors.New("the audit log is held by another process")
	// ErrClosed means that the ledger was closed.
	ErrClosed = errors.New("the audit log is closed")
	// ErrDropped means that buffered mode had no room for the record, and that it is lost and counted.
	ErrDropped = errors.New("the audit log's buffer is full")
	// ErrTrimmed means that retention deleted what was asked for.
	ErrTrimmed = errors.New("deleted by retention")
)

func (c *Config) fill() error {
	if c.Dir == "" {
		return errors.New("audit log: Dir is required")
	}
	if c.Origin == "" || strings.ContainsAny(c.Origin, " \t\r\n+") {
		return fmt.Errorf("audit log: origin %q: one word without a blank or a plus sign is required", c.Origin)
	}
	switch c.Mode {
	case "":
		c.Mode = Durable
	case Durable, Buffered:
	default:
		return fmt.Errorf("audit log: mode %q: durable or buffered", c.Mode)
	}
	fillNumber(&c.SegmentBytes, DefaultSegmentBytes)
	fillNumber(&c.SegmentAge, DefaultSegmentAge)
	fillNumber(&c.CheckpointEvery, DefaultCheckpointEvery)
	fillNumber(&c.BufferBytes, DefaultBufferBytes)
	if c.Describe == nil {
		c.Describe = describe
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observer == nil {
		c.Observer = silent{}
	}
	fillNumber(&c.lastStep, lastStep)
	fillNumber(&c.longestClose, longestClose)
	if c.disk == nil {
		c.disk = osDisk{}
	}
	return nil
}

func fillNumber[N int64 | time.Duration](n *N, standard N) {
	if *n <= 0 {
		*n = standard
	}
}

type silent struct{}

func (silent) Committed(int, int, time.Duration) {}
func (silent) Failed(error)                      {}
func (silent) Dropped(int)                       {}
