package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

const testOrigin = "assay.test/log"

// clock is moved by tests; it starts at a round hour.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// event makes the n-th record of a test.
func event(at time.Time, n int) []byte {
	return fmt.Appendf(nil, `{"decision_id":"d%06d","timestamp":%q,"path":"assay/decision"}`, n, at.UTC().Format(time.RFC3339Nano))
}

// quickDisk is the real one but does not wait for it: what these tests are about is not a loss of power.
type quickDisk struct{ osDisk }

type quickFile struct{ segmentFile }

func (quickFile) datasync() error { return nil }

func (d quickDisk) open(path string, create bool) (segmentFile, error) {
	f, err := d.osDisk.open(path, create)
	if err != nil {
		return nil, err
	}
	return quickFile{f}, nil
}
func (d quickDisk) put(path string, data []byte, _ bool) error {
	return d.osDisk.put(path, data, false)
}
func (quickDisk) sync(string) error    { return nil }
func (quickDisk) syncDir(string) error { return nil }

func mustOpen(t testing.TB, c Config) *Ledger {
	t.Helper()
	if c.disk == nil {
		c.disk = quickDisk{}
	}
	if c.Origin == "" {
		c.Origin = testOrigin
	}
	l, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test that cares closes it itself
	return l
}

func mustClose(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill appends n records, numbered from the size of the log on, fifty at a time.
func fill(t testing.TB, l *Ledger, n int) {
	t.Helper()
	first := l.Size()
	type added struct {
		b     *batch
		place int
	}
	var all []added
	for i := range n {
		at := l.config.Now()
		record := event(at, int(first)+i)
		b, place, err := l.add(t.Context(), at, tlog.RecordHash(record), record, nil)
		if err != nil {
			t.Fatalf("record %d: %v", i, err)
		}
		l.poke()
		all = append(all, added{b, place})
		if i%50 == 49 { // several batches, so that small segments stay small
			<-b.done
		}
	}
	for i, a := range all {
		<-a.b.done
		if index := a.b.first + int64(a.place); a.b.err != nil || index != first+int64(i) {
			t.Fatalf("record %d got index %d, %v", first+int64(i), index, a.b.err)
		}
	}
}

func mustReader(t testing.TB, dir string) *Reader {
	t.Helper()
	r, err := OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func readAll(t testing.TB, r *Reader, from, to int64) []Record {
	t.Helper()
	var all []Record
	for record, err := range r.Records(t.Context(), from, to) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record)
	}
	return all
}

// plainRoot is the root hash as x/mod computes it from all leaves, the other way to the same.
func plainRoot(t testing.TB, leaves []tlog.Hash) tlog.Hash {
	t.Helper()
	var stored []tlog.Hash
	read := tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = stored[n]
		}
		return out, nil
	})
	for n, leaf := range leaves {
		more, err := tlog.StoredHashesForRecordHash(int64(n), leaf, read)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, more...)
	}
	root, err := tlog.TreeHash(int64(len(leaves)), read)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// stamp signs checkpoints the way a note looks, without a key: recovery compares hashes, B's verifiers check keys.
type stamp struct {
	mu     sync.Mutex
	fail   error
	signed []string
}

func (s *stamp) SignNote(_ context.Context, text string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	s.signed = append(s.signed, text)
	return []byte(text + "\n— " + testOrigin + " c3RhbXA=\n"), nil
}

func (s *stamp) set(fail error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = fail
}

func (s *stamp) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.signed)
}

var errDown = errors.New("down")
