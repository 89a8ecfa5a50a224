package upload

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// ship delivers a batch, however often it takes where it is to be repeated. Its error is then that of the context.
func (s *Shipper) ship(ctx context.Context, batch []Record, repeat bool) error {
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
		if !repeat {
			return err
		}
		if err := s.c.Wait(ctx, pause); err != nil {
			return err
		}
	}
	s.waitsSince(time.Time{})
	return nil
}

// wanted leaves out what was given up meanwhile.
func (s *Shipper) wanted(batch []Record) []Record {
	next := s.Next()
	for len(batch) > 0 && batch[0].Index < next {
		batch = batch[1:]
	}
	return batch
}

// try delivers once, and says how many records it came further.
func (s *Shipper) try(ctx context.Context, batch []Record) (int, error) {
	if err := s.pass(ctx, batch[0].Index); err != nil {
		return 0, err
	}
	further := len(batch)
	if batch = s.wanted(batch); len(batch) == 0 {
		return further, nil
	}
	further -= len(batch)
	began := s.c.Now()
	acknowledged, failure := s.deliver(batch)
	if acknowledged > 0 {
		if err := s.advance(&batch[acknowledged-1], 0); err != nil {
			return further, err
		}
		s.c.Observer.RecordsDelivered(s.c.Name, acknowledged, s.c.Now().Sub(began))
	}
	further += acknowledged
	tooLarge, never := errors.AsType[*TooLarge](failure)
	if !never || acknowledged >= len(batch) {
		return further, failure
	}
	poison := &batch[acknowledged]
	if err := s.setAside(poison, tooLarge); err != nil {
		return further, err
	}
	if err := s.advance(poison, 1); err != nil {
		return further, err
	}
	s.c.Observer.RecordRefused(s.c.Name, poison.Index)
	s.c.Logger.Error("audit upload: the destination refuses a record for its size; it was set aside",
		"destination", s.c.Name, "index", poison.Index, "file", s.files.refused(), "error", tooLarge.Error())
	return further + 1, nil
}

// advance writes down that everything up to a record is done with. What was given up while it was delivered stays counted
// as missed: the log may not have it any more when somebody asks.
func (s *Shipper) advance(last *Record, refused int64) error {
	s.moving.Lock()
	defer s.moving.Unlock()
	at := s.at()
	at.Refused += refused
	if at.Next <= last.Index {
		at.passed(last)
	}
	return s.put(at)
}

func (s *Shipper) at() cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor
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
