package upload

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"time"
)

// Defaults and limits of Config.
const (
	DefaultEvery        = time.Second
	DefaultBatchRecords = 1000
	DefaultBatchBytes   = 4 << 20
	DefaultFirstRetry   = 500 * time.Millisecond
	DefaultLongestRetry = time.Minute
	DefaultFlush        = 5 * time.Second

	longestBusy = 10 * time.Minute // what a destination may ask to be left alone for
)

// Config of a Shipper.
type Config struct {
	// Name of the destination, as in configuration, metrics and file names; see CheckName. Required.
	Name string
	// Dir is the folder of cursors and of what was refused; it is made. Required.
	Dir string
	// Log is delivered, to Destination. Both are required.
	Log         Log
	Destination Destination
	// Every is how long records are gathered at most before they are delivered together; default DefaultEvery.
	Every time.Duration
	// BatchRecords and BatchBytes bound what is in memory at once; by default DefaultBatchRecords and
	// DefaultBatchBytes. One record that is larger still goes, alone.
	BatchRecords, BatchBytes int
	// FirstRetry is about how long the first failure is waited for; each further one doubles it, up to LongestRetry. By
	// default DefaultFirstRetry and DefaultLongestRetry.
	FirstRetry, LongestRetry time.Duration
	// Flush is how long, once Run's context has ended, a delivery under way may take and what the log holds by then is
	// delivered; default DefaultFlush. What is not delivered by then is delivered after the next start.
	Flush time.Duration
	// KeepRefused is how long a record that was set aside is kept, by its own time; zero keeps it for ever.
	KeepRefused time.Duration
	// Missed, where given, writes down that records will not be delivered here, before they are passed over. While it fails
	// they are not. After a kill between the two it is told again. It is called from one goroutine at a time.
	Missed func(ctx context.Context, loss Loss) error

	// Now is the clock; default time.Now. Wait waits so long or until ctx ends, which is its error; default by a
	// timer. Random gives numbers from 0 up to 1, so that replicas do not all come back at once; default math/rand/v2.
	Now    func() time.Time
	Wait   func(ctx context.Context, d time.Duration) error
	Random func() float64
	// Log hears of trouble when it begins and when it ends; default nobody. Observer counts; default nobody.
	Logger   *slog.Logger
	Observer Observer
}

// Shipper delivers the log to one destination. Its methods are safe for concurrent use; Run it once.
type Shipper struct {
	c     Config
	files files
	// deliver is Destination.Deliver with a context that outlasts Run's; Run sets it, and its goroutine calls it.
	deliver func(records []Record) (acknowledged int, err error)

	// moving is held while the cursor is moved, by Run or by GiveUp: from reading it to its being on disk.
	moving sync.Mutex
	told   int64 // guarded by moving: up to where Missed was told of records, which may not be passed over yet

	refusing sync.Mutex // held while the file of what was refused is written

	mu      sync.Mutex // guards what follows
	cursor  cursor
	since   time.Time // when the first record was written that waits; zero where it is not known
	trouble error
	failed  int // deliveries in a row
}

// Health tells how far a destination is behind.
type Health struct {
	Name string
	// Next is the index of the first record that was not delivered. Lag is how many wait, and Behind how long the oldest
	// of them has waited.
	Next, Lag int64
	Behind    time.Duration
	// Refused counts the records that were set aside in RefusedFile, Missed those that were given up or deleted from the
	// log before they were delivered.
	Refused, Missed int64
	RefusedFile     string
	// Error says why the last delivery failed; empty after one that did not.
	Error string
}

// New checks the configuration and reads the cursor. A cursor that does not belong to the log is an error.
func New(c Config) (*Shipper, error) {
	if c.Log == nil || c.Destination == nil || c.Dir == "" {
		return nil, errors.New("upload: Log, Destination and Dir are required")
	}
	if err := CheckName(c.Name); err != nil {
		return nil, fmt.Errorf("upload: name %w", err)
	}
	c.Every = cmp.Or(c.Every, DefaultEvery)
	c.BatchRecords, c.BatchBytes = cmp.Or(c.BatchRecords, DefaultBatchRecords), cmp.Or(c.BatchBytes, DefaultBatchBytes)
	c.FirstRetry, c.LongestRetry = cmp.Or(c.FirstRetry, DefaultFirstRetry), cmp.Or(c.LongestRetry, DefaultLongestRetry)
	c.Flush = cmp.Or(c.Flush, DefaultFlush)
	if c.Flush < 0 || c.KeepRefused < 0 || c.Every < 0 || c.BatchRecords < 0 || c.BatchBytes < 0 || c.FirstRetry < 0 || c.LongestRetry < c.FirstRetry {
		return nil, fmt.Errorf("upload: %s: times and sizes must be positive, and the longest retry %s not below the first %s", c.Name, c.LongestRetry, c.FirstRetry)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observer == nil {
		c.Observer = nobody{}
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("upload: %w", err)
	}
	s := &Shipper{c: c, files: files{c.Dir, c.Name}}
	at, err := s.files.read(c.Log.Origin())
	s.cursor = at
	return s, err
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Next is the index of the first record that is still to be delivered.
func (s *Shipper) Next() int64 { return s.at().Next }

// Health tells how it goes.
func (s *Shipper) Health() Health {
	next := s.c.Log.Size()
	s.mu.Lock()
	defer s.mu.Unlock()
	h := Health{Name: s.c.Name, Next: s.cursor.Next, Lag: max(next-s.cursor.Next, 0),
		Refused: s.cursor.Refused, Missed: s.cursor.Missed, RefusedFile: s.files.refused()}
	if h.Lag > 0 && !s.since.IsZero() {
		h.Behind = max(s.c.Now().Sub(s.since), 0)
	}
	if s.trouble != nil {
		h.Error = s.trouble.Error()
	}
	return h
}

// Run delivers until ctx ends, and then, within Flush, what the log holds by then. Trouble never ends it: it is told, and
// tried again.
func (s *Shipper) Run(ctx context.Context) error {
	last, stop := outlasting(ctx, s.c.Flush)
	defer stop()
	s.deliver = func(records []Record) (int, error) { return s.c.Destination.Deliver(last, records) }
	var tidying sync.WaitGroup
	tidying.Go(func() { s.trimRefused(ctx) })
	for ctx.Err() == nil {
		if err := s.follow(ctx, math.MaxInt64); ctx.Err() == nil && s.c.Wait(ctx, s.note(err, 0)) != nil {
			break
		}
	}
	s.flush(last)
	tidying.Wait()
	return s.c.Destination.Close()
}

// outlasting gives a context that ends d after ctx, or when it is stopped.
func outlasting(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	forget := context.AfterFunc(ctx, func() {
		_ = wait(longer, d)
		cancel()
	})
	return longer, func() { forget(); cancel() }
}

// flush delivers what the log holds now, and gives up at the first trouble: the next start goes on from the cursor.
func (s *Shipper) flush(ctx context.Context) {
	end := s.c.Log.Size()
	if s.Next() < end {
		_ = s.follow(ctx, end) // told as what waits
	}
	if next := s.Next(); next < end {
		s.c.Logger.Warn("audit upload: records wait for the next start", "destination", s.c.Name, "records", end-next, "next", next)
	}
}

// follow delivers from the cursor on for as long as the log can be read; or, where an end is given, up to there, and no
// further than to the first delivery that fails.
func (s *Shipper) follow(ctx context.Context, end int64) error {
	at, err := s.readCursor()
	if err != nil {
		return err
	}
	if at.Next > s.c.Log.Size() {
		return s.differs(&at)
	}
	from := at.Next
	if at.LeafHash != "" {
		from-- // the one before is looked at again
	}
	reading, stop := context.WithCancel(ctx)
	g := &gatherer{records: make(chan read), bytes: s.c.BatchBytes, count: s.c.BatchRecords, every: s.c.Every, end: end}
	var reader sync.WaitGroup
	reader.Go(func() { g.read(reading, s.c.Log.Follow(reading, from)) })
	defer reader.Wait()
	defer stop()
	if from < at.Next {
		if err := s.belongs(ctx, &at, g); err != nil {
			return err
		}
	}
	for s.Next() < end {
		batch, err := g.next(ctx)
		if err != nil {
			return err
		}
		if err := s.ship(ctx, batch, end == math.MaxInt64); err != nil {
			return err
		}
	}
	return nil
}

// readCursor takes the cursor from its file, which somebody may have removed.
func (s *Shipper) readCursor() (cursor, error) {
	s.moving.Lock()
	defer s.moving.Unlock()
	at, err := s.files.read(s.c.Log.Origin())
	if err != nil {
		return at, err
	}
	s.mu.Lock()
	s.cursor = at
	s.mu.Unlock()
	return at, nil
}

// belongs checks that the log still holds what was last delivered, since at a log that was put in the other's place the
// cursor means nothing. Where retention deleted that record there is nothing to compare.
func (s *Shipper) belongs(ctx context.Context, at *cursor, g *gatherer) error {
	last, err := g.one(ctx)
	if err != nil {
		return err
	}
	if last.Index != at.Next-1 {
		g.held = &read{record: last}
		return nil
	}
	if base64.StdEncoding.EncodeToString(last.Hash[:]) != at.LeafHash {
		return s.differs(at)
	}
	return nil
}

func (s *Shipper) differs(at *cursor) error {
	return fmt.Errorf("upload: the log does not hold record %d as it was delivered to %s: was the log exchanged, or an older copy of it put back? Verify it; once %s is removed, the whole log is delivered again",
		at.Next-1, s.c.Name, s.files.cursor())
}

type nobody struct{}

func (nobody) RecordsDelivered(string, int, time.Duration) {}
func (nobody) DeliveryFailed(string, error)                {}
func (nobody) RecordRefused(string, int64)                 {}
func (nobody) RecordsMissed(string, int64)                 {}
