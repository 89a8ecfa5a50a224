package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

func TestTreeGrowsLikeTheOneOfTlog(t *testing.T) {
	var grown tree
	var leaves []tlog.Hash
	for n := range 70_000 {
		leaf := tlog.RecordHash([]byte{byte(n), byte(n >> 8), byte(n >> 16)})
		leaves = append(leaves, leaf)
		grown.add(leaf, func(tile) {})
		if n == 0 || n == 1 || n == 254 || n == 255 || n == 256 || n == 65_535 || n == 65_536 || n == 69_999 {
			if !grown.fits() {
				t.Errorf("after %d leaves the edges are not those of a tree", n+1)
			}
			if n < 300 || n > 65_000 {
				if got, want := grown.root(), plainRoot(t, leaves); got != want {
					t.Errorf("root of %d leaves: %v, tlog has %v", n+1, got, want)
				}
			}
		}
	}
}

func TestAppendedRecordsAreReadBackAfterReopening(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	config := Config{Dir: dir, Now: now.Now, SegmentBytes: 2000}
	for round := range 3 {
		l := mustOpen(t, config)
		if got, want := l.Size(), int64(round*40); got != want {
			t.Fatalf("size %d, want %d", got, want)
		}
		fill(t, l, 40)
		mustClose(t, l)
		now.move(time.Minute)
	}
	r := mustReader(t, dir)
	all := readAll(t, r, 0, -1)
	if len(all) != 120 {
		t.Fatalf("read %d records of 120", len(all))
	}
	for n, record := range all {
		at := newClock().now.Add(time.Duration(n/40) * time.Minute)
		if record.Index != int64(n) || string(record.Event) != string(event(at, n)) {
			t.Fatalf("record %d is %d: %s", n, record.Index, record.Event)
		}
	}
	segments, err := r.Segments()
	if err != nil {
		t.Fatal(err)
	}
	var count int64
	for i, s := range segments {
		if s.First != count || (!s.Sealed && i < len(segments)-1) {
			t.Errorf("segment %d: %+v", i, s)
		}
		count += s.Count
	}
	if len(segments) < 3 || count != 120 {
		t.Errorf("%d segments with %d records", len(segments), count)
	}
	if first, last := segments[0].FirstTime, segments[len(segments)-1].LastTime; !first.Equal(newClock().now) || !last.Equal(newClock().now.Add(2*time.Minute)) {
		t.Errorf("times from %v to %v", first, last)
	}
	if got := readAll(t, r, 50, 60); len(got) != 10 || got[0].Index != 50 {
		t.Errorf("records 50 to 60: %d, from %d", len(got), got[0].Index)
	}
	if one, err := r.Record(t.Context(), 77); err != nil || one.Index != 77 {
		t.Errorf("record 77: %+v, %v", one, err)
	}
}

func TestManyCallersShareASync(t *testing.T) {
	counted := &countingObserver{}
	l := mustOpen(t, Config{Dir: t.TempDir(), Observer: counted, disk: osDisk{}})
	const callers, each = 64, 20
	seen := make([]bool, callers*each)
	var mu sync.Mutex
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for n := range each {
				index, _, durable, err := l.Append(t.Context(), time.Now(), event(time.Now(), caller*each+n))
				if err != nil || !durable {
					t.Errorf("append: %v", err)
					return
				}
				mu.Lock()
				if seen[index] {
					t.Errorf("index %d was given twice", index)
				}
				seen[index] = true
				mu.Unlock()
			}
		})
	}
	group.Wait()
	if counted.records != callers*each || counted.commits >= callers*each/2 {
		t.Errorf("%d records in %d commits", counted.records, counted.commits)
	}
}

type countingObserver struct{ commits, records, failed, dropped int }

func (c *countingObserver) Committed(records, _ int, _ time.Duration) {
	c.commits++
	c.records += records
}
func (c *countingObserver) Failed(error)  { c.failed++ }
func (c *countingObserver) Dropped(n int) { c.dropped += n }

func TestOneProcessWrites(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, Config{Dir: dir})
	if _, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin}); !errors.Is(err, ErrLocked) {
		t.Errorf("a second writer: %v", err)
	}
}

func TestRecordsThatAreNoLineAreRefused(t *testing.T) {
	l := mustOpen(t, Config{Dir: t.TempDir()})
	for name, record := range map[string]string{"empty": "", "two lines": "{}\n{}", "too long": strings.Repeat("x", MaxRecordBytes+1)} {
		if _, _, _, err := l.Append(t.Context(), time.Now(), []byte(record)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if l.Size() != 0 {
		t.Errorf("size %d", l.Size())
	}
}

func TestCheckpointsOfATreeThatGrew(t *testing.T) {
	dir, signer := t.TempDir(), &stamp{}
	l := mustOpen(t, Config{Dir: dir, Signer: signer})
	fill(t, l, 300)
	for range 2 { // the second time nothing grew
		if err := l.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if signer.count() != 1 {
		t.Fatalf("%d checkpoints were signed", signer.count())
	}
	r := mustReader(t, dir)
	history, err := r.Checkpoints()
	if err != nil || len(history) != 1 {
		t.Fatalf("history %v, %v", history, err)
	}
	made, err := readCheckpoint(history[0].Note)
	if err != nil {
		t.Fatal(err)
	}
	var leaves []tlog.Hash
	for _, record := range readAll(t, r, 0, -1) {
		leaves = append(leaves, record.Hash)
	}
	if made.size != 300 || made.root != plainRoot(t, leaves) {
		t.Errorf("checkpoint of %d records with root %v", made.size, made.root)
	}
	for _, name := range []string{"tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size()%tlog.HashSize != 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
