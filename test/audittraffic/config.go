package audittraffic

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// Config says what is written.
type Config struct {
	// Dir is the ledger's folder; it must be empty or not there.
	Dir string
	// Decisions is how many; required. Changes come on top, some 3 %, most of them issued tokens.
	Decisions int
	// From is when it begins, a day's first moment in UTC; default 2026-10-01. Days is how long it lasts; default 31.
	From time.Time
	Days int
	// Seed chooses among months.
	Seed uint64
	// SegmentBytes is the ledger's; its default is the ledger's.
	SegmentBytes int64
	// NoMaskFailure leaves out the ten minutes in which the mask failed.
	NoMaskFailure bool
}

// Origin is the log's name.
const Origin = "audit.prod.example/decider-1"

// Log says what was written.
type Log struct {
	Dir string
	// Verifier is the key, in the form of golang.org/x/mod/sumdb/note, that checks the checkpoints.
	Verifier string
	// Size is the number of records, Decisions of them decisions and Denied of those denies.
	Size, Decisions, Denied int64
	// From and To bound the records' times.
	From, To time.Time
}

// PseudonymSecret is what the keys of periods are made of: see PeriodKeys.
const PseudonymSecret = "audittraffic"

func (c *Config) fill() error {
	if c.Dir == "" || c.Decisions <= 0 {
		return errors.New("audittraffic: Dir and Decisions are required")
	}
	if c.From.IsZero() {
		c.From = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	}
	if c.Days <= 0 {
		c.Days = 31
	}
	return nil
}

// signer signs checkpoints with a key made of the seed.
type signer struct{ note.Signer }

func (s signer) SignNote(_ context.Context, text string) ([]byte, error) {
	return note.Sign(&note.Note{Text: text}, s.Signer)
}

func newSigner(seed uint64) (signer, string, error) {
	private, public, err := note.GenerateKey(bytesOf(seed, "checkpoints"), Origin)
	if err != nil {
		return signer{}, "", err
	}
	s, err := note.NewSigner(private)
	return signer{s}, public, err
}

// stream is bytes without end that follow from a seed and a name.
type stream struct{ source *rand.ChaCha8 }

func (s stream) Read(p []byte) (int, error) { return s.source.Read(p) }

func bytesOf(seed uint64, name string) stream {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%d %s", seed, name))
	return stream{rand.NewChaCha8(key)}
}

// pending is how many records may wait in the ledger's memory, which has room for more.
const pending = 4 << 10

// Write writes a log. It takes some 20 s for a million decisions.
func Write(ctx context.Context, c Config) (*Log, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	sign, verifier, err := newSigner(c.Seed)
	if err != nil {
		return nil, err
	}
	clock := newClock(c.From)
	l, err := ledger.Open(ctx, ledger.Config{
		Dir: c.Dir, Origin: Origin, Mode: ledger.Buffered, BufferBytes: 256 << 20, SegmentBytes: c.SegmentBytes,
		CheckpointEvery: time.Second, Signer: sign, Now: clock.Now,
	})
	if err != nil {
		return nil, err
	}
	if l.Size() > 0 {
		return nil, errors.Join(fmt.Errorf("audittraffic: %s holds a log already", c.Dir), l.Close())
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- l.Run(running) }()
	log, err := write(ctx, &c, paced{l, new(int64)}, clock)
	if err == nil {
		err = drained(ctx, l, log.Size)
	}
	stop()
	if err = errors.Join(err, <-ended, l.Close()); err != nil {
		return nil, err
	}
	if lost := l.Health().Dropped; lost > 0 || l.Size() != log.Size {
		return nil, fmt.Errorf("audittraffic: %d records were written, %d are in the log, %d were dropped", log.Size, l.Size(), lost)
	}
	log.Dir, log.Verifier = c.Dir, verifier
	return log, nil
}

// paced waits for the disk where the ledger, in buffered mode, would not. One goroutine uses it: that is what keeps
// the records in order.
type paced struct {
	*ledger.Ledger
	sent *int64
}

func (p paced) Append(ctx context.Context, at time.Time, record []byte) (int64, [32]byte, bool, error) {
	if *p.sent++; *p.sent%1024 == 0 {
		if err := drained(ctx, p.Ledger, *p.sent-pending); err != nil {
			return 0, [32]byte{}, false, err
		}
	}
	return p.Ledger.Append(ctx, at, record)
}

// drained waits until the ledger has that many records on disk.
func drained(ctx context.Context, l *ledger.Ledger, size int64) error {
	for l.Size() < size {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Microsecond):
		}
	}
	return nil
}
