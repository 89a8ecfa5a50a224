package ledger

import (
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// queue is a ledger in durable mode that nobody commits.
func queue(t *testing.T) (l *Ledger, add func(n int)) {
	t.Helper()
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	l = &Ledger{config: Config{Mode: Durable, Now: func() time.Time { return at }}, wake: make(chan struct{}, 1), room: make(chan struct{})}
	return l, func(n int) {
		for range n {
			record := event(at, 0)
			if _, _, err := l.add(t.Context(), at, tlog.RecordHash(record), record, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// wasWoken tells whether the committing goroutine has been woken since somebody asked.
func wasWoken(l *Ledger) bool {
	select {
	case <-l.wake:
		return true
	default:
		return false
	}
}

// A write waits for half of those who append at the same time, where they are many.
func TestAWriteWaitsForHalfOfTheCallers(t *testing.T) {
	for _, c := range []struct {
		name             string
		settled, queued  int
		before           int // estimate
		waits            bool
		estimate, enough int
	}{
		{name: "one caller", settled: 1, estimate: 1},
		{name: "a few callers", settled: 10, queued: 5, estimate: 15, enough: 7},
		{name: "many, of whom few wait", settled: 30, queued: 4, waits: true, estimate: 34, enough: 17},
		{name: "many, of whom half wait", settled: 16, queued: 16, estimate: 32, enough: 16},
		{name: "most have gone: the estimate follows slowly", before: 64, settled: 20, queued: 2, waits: true, estimate: 56, enough: 28},
		{name: "all have gone", before: 16, settled: 1, estimate: 14, enough: 7},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, add := queue(t)
			l.callers = c.before
			add(c.queued)
			if waits := l.expect(c.settled); waits != c.waits || l.callers != c.estimate || c.enough > 0 && l.target != c.enough {
				t.Errorf("waits %t for %d of %d callers", waits, l.target, l.callers)
			}
		})
	}
}

// The committing goroutine is woken by the first record of a batch and by the one that it waits for, not by others.
func TestTheAwaitedRecordWakes(t *testing.T) {
	l, add := queue(t)
	l.expect(40)
	for n := 1; n <= 40; n++ {
		add(1)
		woken := wasWoken(l)
		if want := n == 1 || n == 20; woken != want {
			t.Errorf("record %d woke: %t", n, woken)
		}
		if l.complete() != (n >= 20) {
			t.Errorf("complete with %d of 20", n)
		}
	}
}

// In buffered mode a write waits for more records only while there is room for many more: what finds none is lost.
func TestABufferThatFillsIsWrittenAtOnce(t *testing.T) {
	l, add := queue(t)
	add(1)
	each := l.waiting
	l, add = queue(t)
	l.config.Mode, l.config.BufferBytes = Buffered, 40*each
	for n := 1; n <= 10; n++ {
		add(1)
		woken := wasWoken(l)
		if want := n == 1 || n == 10; woken != want {
			t.Errorf("record %d of room for 40 woke: %t", n, woken)
		}
	}
	l, add = queue(t)
	l.config.Mode, l.config.BufferBytes = Buffered, 40*each
	ended := make(chan struct{})
	go func() { l.await(time.Hour, l.pressing); close(ended) }()
	add(10)
	<-ended
}
