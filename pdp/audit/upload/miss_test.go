package upload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// losses remembers what it is told, once it is let.
type losses struct {
	fail error
	list []Loss
}

func (l *losses) add(_ context.Context, loss Loss) error {
	if l.fail == nil {
		l.list = append(l.list, loss)
	}
	return l.fail
}

// What is given up is written down and counted, is not sent even though it is in memory already, and what follows is.
func TestGivingUp(t *testing.T) {
	var up atomic.Bool
	d := &taker{fail: func(_ int, r []Record) (int, error) {
		if up.Load() {
			return len(r), nil
		}
		return 0, errDown
	}}
	told := &losses{fail: errDamaged}
	s, stop := running(t, Config{Log: newMemory(10), Destination: d, Missed: told.add})
	until(t, "the failure in health", func() bool { return s.Health().Error == "down" })
	if err := s.GiveUp(t.Context(), 6); !errors.Is(err, errDamaged) || s.Next() != 0 {
		t.Fatalf("what could not be written down: %v, next %d", err, s.Next())
	}
	told.fail = nil
	if err := errors.Join(s.GiveUp(t.Context(), 6), s.GiveUp(t.Context(), 6), s.GiveUp(t.Context(), 2)); err != nil {
		t.Fatal(err)
	}
	if h := s.Health(); h.Next != 6 || h.Missed != 6 || h.Lag != 4 || !slices.Equal(told.list, []Loss{{"there", 0, 6}}) {
		t.Errorf("%+v, told of %v", h, told.list)
	}
	up.Store(true)
	until(t, "the rest delivered", delivered(s))
	stop()
	if got := d.indexes(); !slices.Equal(got, []int64{6, 7, 8, 9}) {
		t.Errorf("delivered %v", got)
	}
}

// Written down once, however often the cursor has to be tried.
func TestGivingUpIsToldOnce(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "there.cursor.new")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	told := &losses{}
	s, err := New(Config{Name: "there", Dir: dir, Log: newMemory(10), Destination: &taker{}, Missed: told.add})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.GiveUp(t.Context(), 4); err == nil || s.Next() != 0 {
			t.Fatalf("without a cursor: %v, next %d", err, s.Next())
		}
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	if err := s.GiveUp(t.Context(), 4); err != nil || s.Next() != 4 || len(told.list) != 1 {
		t.Errorf("%v, next %d, told of %v", err, s.Next(), told.list)
	}
}

// What is gathered when the end comes is delivered all the same, and the start after it has nothing to send.
func TestTheEndDeliversWhatWaits(t *testing.T) {
	log, d := newMemory(0), &taker{}
	s, stop := running(t, Config{Log: log, Destination: d, Every: time.Hour, BatchRecords: 100, Flush: time.Hour})
	for range 10 {
		log.add(0)
	}
	stop()
	if got := d.indexes(); len(got) != 10 || s.Next() != 10 {
		t.Errorf("delivered %v, next %d", got, s.Next())
	}
}

// handled is a destination whose delivery says when it began, and ends when it is let or its context does.
type handled struct {
	begun   chan struct{}
	release chan struct{}
	took    []int64
}

func (h *handled) Deliver(ctx context.Context, records []Record) (int, error) {
	select {
	case h.begun <- struct{}{}:
	default:
	}
	select {
	case <-h.release:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	for _, r := range records {
		h.took = append(h.took, r.Index)
	}
	return len(records), nil
}

func (h *handled) Close() error { return nil }

// A delivery that is under way at the end is finished, so that it does not come twice; one that takes for ever is not
// waited for.
func TestADeliveryUnderWayAtTheEnd(t *testing.T) {
	for _, test := range []struct {
		name  string
		flush time.Duration
		ends  bool
		want  int64
	}{
		{"is finished", time.Hour, true, 5},
		{"that hangs is left", time.Millisecond, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := &handled{begun: make(chan struct{}, 1), release: make(chan struct{})}
			s, err := New(Config{Name: "there", Dir: t.TempDir(), Log: newMemory(5), Destination: h, Every: time.Millisecond, BatchRecords: 5, Flush: test.flush})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() { err = s.Run(ctx) })
			<-h.begun
			cancel()
			if test.ends {
				close(h.release)
			}
			done.Wait()
			if err != nil || s.Next() != test.want || int64(len(h.took)) != test.want {
				t.Errorf("%v, next %d, took %v", err, s.Next(), h.took)
			}
		})
	}
}

// What was set aside goes when its own time is over, also a line that a kill cut off, and what is younger stays.
func TestWhatWasSetAsideIsTrimmed(t *testing.T) {
	dir := t.TempDir()
	log := newMemory(4) // a second apart, from 12:00:00 on
	s, stop := running(t, Config{Dir: dir, Log: log, Destination: &taker{fail: func(_ int, r []Record) (int, error) {
		return 0, &TooLarge{Bytes: len(r[0].Event), Err: errDown}
	}}})
	until(t, "all set aside", func() bool { return s.Health().Refused == 4 })
	stop()
	path := filepath.Join(dir, "there.refused")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines[1] = lines[1][:10] + "\n"
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	at := func(second int) time.Time { return time.Date(2026, 11, 24, 12, 0, second, 0, time.UTC) }
	for _, test := range []struct {
		before time.Time
		want   string
	}{{at(0), strings.Join(lines, "")}, {at(1), lines[2] + lines[3]}, {at(3), lines[3]}} {
		if err := s.dropRefused(test.before); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadFile(path); err != nil || string(left) != test.want {
			t.Errorf("before %s: %v, left %s", test.before, err, left)
		}
	}
	if err := s.dropRefused(at(4)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file without lines: %v", err)
	}
	if err := s.dropRefused(at(4)); err != nil {
		t.Errorf("without the file: %v", err)
	}
	old := Config{Dir: dir, Log: log, Destination: &taker{}, KeepRefused: time.Hour, Now: func() time.Time { return at(3).Add(time.Hour) }}
	if err := os.WriteFile(path, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	running(t, old)
	until(t, "a start to delete what is too old", func() bool {
		left, err := os.ReadFile(path)
		return err == nil && string(left) == lines[3]
	})
}
