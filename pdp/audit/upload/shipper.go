package upload

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
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

	mu      sync.Mutex // guards what follows; written by the goroutine of Run
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
	// Refused counts the records that were set aside in RefusedFile, Missed those that were deleted from the log
	// before they were delivered.
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
	if c.Every < 0 || c.BatchRecords < 0 || c.BatchBytes < 0 || c.FirstRetry < 0 || c.LongestRetry < c.FirstRetry {
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

// Next is the index of the first record that was not delivered.
func (s *Shipper) Next() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor.Next
}

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

// Run delivers until ctx ends. Trouble never ends it: it is told, and tried again.
func (s *Shipper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.follow(ctx); ctx.Err() == nil && s.c.Wait(ctx, s.note(err, 0)) != nil {
			break
		}
	}
	return s.c.Destination.Close()
}

// follow delivers from the cursor on for as long as the log can be read.
func (s *Shipper) follow(ctx context.Context) error {
	at, err := s.files.read(s.c.Log.Origin())
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.cursor = at
	s.mu.Unlock()
	if at.Next > s.c.Log.Size() {
		return s.differs(&at)
	}
	from := at.Next
	if at.LeafHash != "" {
		from-- // the one before is looked at again
	}
	reading, stop := context.WithCancel(ctx)
	g := &gatherer{records: make(chan read), bytes: s.c.BatchBytes, count: s.c.BatchRecords, every: s.c.Every}
	var reader sync.WaitGroup
	reader.Go(func() { g.read(reading, s.c.Log.Follow(reading, from)) })
	defer reader.Wait()
	defer stop()
	if from < at.Next {
		if err := s.belongs(ctx, &at, g); err != nil {
			return err
		}
	}
	for {
		batch, err := g.next(ctx)
		if err != nil {
			return err
		}
		if err := s.ship(ctx, batch); err != nil {
			return err
		}
	}
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

// ship delivers a batch, however often it takes. Its error is that of the context.
func (s *Shipper) ship(ctx context.Context, batch []Record) error {
	for len(batch) > 0 {
		s.waitsSince(writtenAt(batch[0].Event))
		n, err := s.try(ctx, batch)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		batch = batch[n:]
		pause := s.note(err, n)
		if err == nil {
			continue
		}
		if err := s.c.Wait(ctx, pause); err != nil {
			return err
		}
	}
	s.waitsSince(time.Time{})
	return nil
}

// try delivers once, and says how many records it came further.
func (s *Shipper) try(ctx context.Context, batch []Record) (int, error) {
	if left := batch[0].Index; left > s.Next() {
		if err := s.passMissed(left); err != nil {
			return 0, err
		}
	}
	began := s.c.Now()
	acknowledged, failure := s.c.Destination.Deliver(ctx, batch)
	if acknowledged > 0 {
		if err := s.advance(&batch[acknowledged-1], 0); err != nil {
			return 0, err
		}
		s.c.Observer.RecordsDelivered(s.c.Name, acknowledged, s.c.Now().Sub(began))
	}
	tooLarge, never := errors.AsType[*TooLarge](failure)
	if !never || acknowledged >= len(batch) {
		return acknowledged, failure
	}
	poison := &batch[acknowledged]
	if err := s.files.setAside(poison, s.c.Now(), tooLarge); err != nil {
		return acknowledged, err
	}
	if err := s.advance(poison, 1); err != nil {
		return acknowledged, err
	}
	s.c.Observer.RecordRefused(s.c.Name, poison.Index)
	s.c.Logger.Error("audit upload: the destination refuses a record for its size; it was set aside",
		"destination", s.c.Name, "index", poison.Index, "file", s.files.refused(), "error", tooLarge.Error())
	return acknowledged + 1, nil
}

// advance writes down that everything up to a record is done with.
func (s *Shipper) advance(last *Record, refused int64) error {
	s.mu.Lock()
	at := s.cursor
	s.mu.Unlock()
	at.passed(last)
	at.Refused += refused
	return s.put(at)
}

// put makes a cursor the one that counts, once it is on disk.
func (s *Shipper) put(at cursor) error {
	if err := s.files.write(at); err != nil {
		return err
	}
	s.mu.Lock()
	s.cursor = at
	s.mu.Unlock()
	return nil
}

// passMissed goes past what was deleted from the log before it was delivered, up to the first that is left.
func (s *Shipper) passMissed(left int64) error {
	s.mu.Lock()
	at := s.cursor
	s.mu.Unlock()
	missed := left - at.Next
	at.Next, at.LeafHash = left, ""
	at.Missed += missed
	if err := s.put(at); err != nil {
		return err
	}
	s.c.Observer.RecordsMissed(s.c.Name, missed)
	s.c.Logger.Error("audit upload: records were deleted from the log before they were delivered",
		"destination", s.c.Name, "records", missed, "next", left)
	return nil
}

func (s *Shipper) waitsSince(t time.Time) {
	s.mu.Lock()
	s.since = t
	s.mu.Unlock()
}

// writtenAt is the event's timestamp; zero where it has none.
func writtenAt(event []byte) time.Time {
	var e struct {
		Timestamp time.Time `json:"timestamp"`
	}
	if json.Unmarshal(event, &e) != nil {
		return time.Time{}
	}
	return e.Timestamp
}

// note keeps what went wrong, tells its beginning and its end, and says how long to wait.
func (s *Shipper) note(err error, delivered int) time.Duration {
	s.mu.Lock()
	before := s.trouble
	s.trouble = err
	if err == nil || delivered > 0 {
		s.failed = 0
	}
	if err != nil {
		s.failed++
	}
	failed, at := s.failed, s.cursor.Next
	s.mu.Unlock()
	if err == nil {
		if before != nil {
			s.c.Logger.Info("audit upload: goes on", "destination", s.c.Name, "next", at)
		}
		return 0
	}
	s.c.Observer.DeliveryFailed(s.c.Name, err)
	if before == nil || before.Error() != err.Error() {
		s.c.Logger.Warn("audit upload: not delivered, will be tried again", "destination", s.c.Name, "next", at, "error", err.Error())
	}
	pause := retryAfter(s.c.FirstRetry, s.c.LongestRetry, failed, s.c.Random())
	if busy, ok := errors.AsType[*Busy](err); ok {
		pause = max(pause, min(busy.After, longestBusy))
	}
	return pause
}

// retryAfter is the pause after n failures in a row: doubling from first up to longest, of which random takes away up to
// a half. It is four lines, and a library's clocks and timers would have to be led around here.
func retryAfter(first, longest time.Duration, n int, random float64) time.Duration {
	d := first
	for ; n > 1 && d < longest; n-- {
		d *= 2
	}
	d = min(d, longest)
	return d - time.Duration(random*float64(d)/2)
}

type nobody struct{}

func (nobody) RecordsDelivered(string, int, time.Duration) {}
func (nobody) DeliveryFailed(string, error)                {}
func (nobody) RecordRefused(string, int64)                 {}
func (nobody) RecordsMissed(string, int64)                 {}
