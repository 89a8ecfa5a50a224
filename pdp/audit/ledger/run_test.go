package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// waitFor waits until a condition holds; what it waits for happens within milliseconds, on a machine that is not busy.
func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// running runs a ledger until the test ends or stop is called.
func running(t *testing.T, l *Ledger) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func problemCodes(l *Ledger) string {
	var codes []string
	for _, p := range l.Health().Problems {
		codes = append(codes, p.Code)
	}
	return strings.Join(codes, " ")
}

func TestSignerThatIsDownPostponesCheckpoints(t *testing.T) {
	dir, signer := t.TempDir(), &stamp{fail: errDown}
	l := mustOpen(t, Config{Dir: dir, Signer: signer, CheckpointEvery: time.Millisecond})
	running(t, l)
	fill(t, l, 20)
	waitFor(t, "health says so", func() bool { return problemCodes(l) == codeCheckpoint })
	fill(t, l, 20) // appends go on
	if h := l.Health(); !h.Writable || h.Size != 40 || h.CheckpointSize != 0 {
		t.Errorf("health %+v", h)
	}
	signer.set(nil)
	waitFor(t, "it caught up", func() bool { return l.Health().CheckpointSize == 40 && problemCodes(l) == "" })
}

func TestTheLastCheckpointIsMadeWhenRunEnds(t *testing.T) {
	l := mustOpen(t, Config{Dir: t.TempDir(), Signer: &stamp{}, CheckpointEvery: time.Hour})
	stop := running(t, l)
	fill(t, l, 7)
	stop()
	if h := l.Health(); h.CheckpointSize != 7 {
		t.Errorf("health %+v", h)
	}
}

// The last checkpoint covers what was appended a moment before, in buffered mode too, and is published before Run returns,
// also to who failed before and is not due to be tried again.
func TestTheLastCheckpointIsPublishedWhenRunEnds(t *testing.T) {
	for _, mode := range []Mode{Durable, Buffered} {
		t.Run(string(mode), func(t *testing.T) {
			good, bad := &board{}, &board{failures: 1 << 30}
			l := mustOpen(t, Config{Dir: t.TempDir(), Mode: mode, Signer: &stamp{}, CheckpointEvery: time.Hour, Publishers: []Publisher{good, bad}, lastStep: time.Hour})
			fill(t, l, 2)
			stop := running(t, l)
			waitFor(t, "the first one is published, and to the other not", func() bool { return good.last() == 2 && problemCodes(l) == codePublish })
			bad.recover()
			for n := range 500 {
				if _, _, _, err := l.Append(t.Context(), time.Now(), event(time.Now(), n)); err != nil {
					t.Fatal(err)
				}
			}
			stop()
			mustClose(t, l)
			if h := l.Health(); h.Size != 502 || h.CheckpointSize != 502 || good.last() != 502 || bad.last() != 502 || problemCodes(l) != "" {
				t.Errorf("published over %d and %d records, health %+v", good.last(), bad.last(), h)
			}
		})
	}
}

// hung is a publisher that never answers.
type hung struct{ begun chan struct{} }

func (h *hung) Publish(ctx context.Context, _ []byte) error {
	select {
	case h.begun <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return ctx.Err()
}

// A publisher that hangs does not keep the others from the last checkpoint, nor Run from its end.
func TestTheEndOfRunDoesNotWaitForEver(t *testing.T) {
	good, bad := &board{}, &hung{begun: make(chan struct{}, 1)}
	l := mustOpen(t, Config{Dir: t.TempDir(), Signer: &stamp{}, CheckpointEvery: time.Hour, Publishers: []Publisher{bad, good}, lastStep: 10 * time.Millisecond})
	fill(t, l, 2)
	stop := running(t, l)
	<-bad.begun
	fill(t, l, 3)
	stop() // after lastStep
	if good.last() != 5 || problemCodes(l) != codePublish {
		t.Errorf("published over %d records, problems %s", good.last(), problemCodes(l))
	}
}

func TestASignerThatSignsAnotherTextIsNotBelieved(t *testing.T) {
	l := mustOpen(t, Config{Dir: t.TempDir(), Signer: otherText{}})
	fill(t, l, 1)
	if err := l.checkpoint(t.Context()); err == nil || !strings.Contains(err.Error(), "another text") {
		t.Errorf("it says %v", err)
	}
}

type otherText struct{}

func (otherText) SignNote(context.Context, string) ([]byte, error) {
	return []byte("other\n1\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— x y\n"), nil
}

// board is a publisher that fails at first.
type board struct {
	mu       sync.Mutex
	failures int
	notes    []string
}

func (b *board) Publish(_ context.Context, checkpoint []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures > 0 {
		b.failures--
		return errDown
	}
	b.notes = append(b.notes, string(checkpoint))
	return nil
}

func (b *board) recover() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}

func (b *board) published() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.notes)
}

func (b *board) last() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.notes) == 0 {
		return 0
	}
	c, err := readCheckpoint(b.notes[len(b.notes)-1])
	if err != nil {
		return -1
	}
	return c.size
}

func TestCheckpointsArePublishedAndTriedAgain(t *testing.T) {
	dir := t.TempDir()
	good, bad := &board{}, &board{failures: 1 << 30}
	l := mustOpen(t, Config{Dir: dir, Signer: &stamp{}, CheckpointEvery: time.Millisecond, Publishers: []Publisher{good, bad}})
	stop := running(t, l)
	fill(t, l, 10)
	waitFor(t, "the good one has it", func() bool { return good.last() == 10 })
	waitFor(t, "health says that one fails", func() bool { return problemCodes(l) == codePublish })
	fill(t, l, 10)
	waitFor(t, "the good one has the newest", func() bool { return good.last() == 20 })
	bad.recover()
	waitFor(t, "both have the newest one", func() bool { return bad.last() == 20 && problemCodes(l) == "" })
	if n := bad.published(); n != 1 {
		t.Errorf("the one that failed was given %d checkpoints", n)
	}
	stop()
	mustClose(t, l)
	late := &board{}
	running(t, mustOpen(t, Config{Dir: dir, Signer: &stamp{}, CheckpointEvery: time.Hour, Publishers: []Publisher{late}}))
	waitFor(t, "a new publisher has the checkpoint of before", func() bool { return late.last() == 20 })
}

func TestWhatCommandsLeftIsAppendedOnce(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	fill(t, l, 3)
	one, two := []byte(`{"change":1,"timestamp":"2026-11-24T12:00:00Z"}`), []byte(`{"change":2,"timestamp":"2026-11-24T12:00:00Z"}`)
	for i, record := range [][]byte{one, two} {
		if err := Leave(dir, newClock().now.Add(time.Duration(i)*time.Second), record); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := mustReader(t, dir).InboxWaiting(); n != 2 || err != nil {
		t.Errorf("%d wait, %v", n, err)
	}
	running(t, l)
	waitFor(t, "they are in the log", func() bool { return l.Size() == 5 })
	all := readAll(t, mustReader(t, dir), 3, -1)
	if !bytes.Equal(all[0].Event, one) || !bytes.Equal(all[1].Event, two) {
		t.Errorf("%s, %s", all[0].Event, all[1].Event)
	}
	waitFor(t, "the inbox is empty", func() bool { n, err := mustReader(t, dir).InboxWaiting(); return n == 0 && err == nil })
}

func TestSomethingElseInTheInboxIsTold(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	put(t, dir, filepath.Join(inboxDir, "1.left"), []byte("not a record\n"))
	put(t, dir, filepath.Join(inboxDir, "0.left.tmp"), []byte("half"))
	if err := Leave(dir, newClock().now, []byte(`{"change":1}`)); err != nil {
		t.Fatal(err)
	}
	running(t, l)
	waitFor(t, "health names it", func() bool { return problemCodes(l) == codeInbox })
	if h := l.Health(); !strings.Contains(h.Problems[0].Err, "1.left") || h.Size != 1 {
		t.Errorf("health %+v", h)
	}
}

func TestFollowSeesWhatComesAcrossSegments(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 3000})
	fill(t, l, 30)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan int64, 1000)
	ended := make(chan error, 1)
	go func() {
		for record, err := range mustReader(t, dir).Follow(ctx, 10) {
			if err != nil {
				ended <- err
				return
			}
			got <- record.Index
		}
		ended <- nil
	}()
	for range 4 {
		fill(t, l, 50)
		if err := l.compressSealed(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for want := int64(10); want < 230; want++ {
		if index := <-got; index != want {
			t.Fatalf("record %d came instead of %d", index, want)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestALedgersOwnReaderEndsWithWhatIsDurable(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	fill(t, l, 4)
	path := filepath.Join(dir, segmentName(0, plainSuffix))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, segmentName(0, plainSuffix), append(data, data...)) // as a write that was not acknowledged looks
	r, err := l.Reader()
	if err != nil {
		t.Fatal(err)
	}
	if all := readAll(t, r, 0, -1); len(all) != 4 {
		t.Errorf("its own reader gives %d records", len(all))
	}
	if segments, err := r.Segments(); err != nil || segments[0].Count != 4 {
		t.Errorf("%v, %v", segments, err)
	}
}

// brittle is a disk whose segments cannot be synced while it is down.
type brittle struct {
	osDisk
	mu   sync.Mutex
	down bool
}

func (d *brittle) set(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

func (d *brittle) open(path string, create bool) (segmentFile, error) {
	f, err := d.osDisk.open(path, create)
	return brittleFile{f, d}, err
}

type brittleFile struct {
	segmentFile
	disk *brittle
}

func (f brittleFile) datasync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.disk.down {
		return errFault
	}
	return f.segmentFile.datasync()
}

func TestBufferedModeNeverWaitsAndCountsWhatItLoses(t *testing.T) {
	dir, d, seen := t.TempDir(), &brittle{}, &lockedObserver{}
	l := mustOpen(t, Config{Dir: dir, Mode: Buffered, BufferBytes: 20_000, Observer: seen, disk: d})
	d.set(true)
	running(t, l)
	dropped, accepted := 0, 0
	for n := range 400 {
		index, _, durable, err := l.Append(t.Context(), time.Now(), event(time.Now(), n))
		switch {
		case errors.Is(err, ErrDropped):
			dropped++
		case err != nil || durable || index != -1:
			t.Fatalf("index %d, durable %v, %v", index, durable, err)
		default:
			accepted++
		}
	}
	h := l.Health()
	if dropped == 0 || h.Dropped < int64(dropped) || h.WaitingBytes > 20_000 || !strings.Contains(problemCodes(l), codeDropped) {
		t.Errorf("dropped %d, accepted %d, health %+v", dropped, accepted, h)
	}
	waitFor(t, "health says that it cannot write", func() bool { return !l.Health().Writable })
	d.set(false)
	waitFor(t, "what was accepted is on disk, and what was lost is told", func() bool {
		return l.Size() >= int64(accepted)+2 && l.Health().Writable && problemCodes(l) == ""
	})
	var kinds []string
	n := 0
	for _, record := range readAll(t, mustReader(t, dir), 0, -1) {
		switch {
		case bytes.Contains(record.Event, []byte(pdp.LogDropped)):
			kinds = append(kinds, "dropped")
		case bytes.Contains(record.Event, []byte(pdp.LogRecovered)):
			kinds = append(kinds, "recovered")
		default:
			n++
		}
	}
	if n != accepted || len(kinds) < 2 {
		t.Errorf("%d of %d accepted records are in the log, and %v", n, accepted, kinds)
	}
	if seen.total() != int(l.Health().Dropped) {
		t.Errorf("the observer heard of %d losses, health says %d", seen.total(), l.Health().Dropped)
	}
}

type lockedObserver struct {
	mu sync.Mutex
	countingObserver
}

func (o *lockedObserver) Committed(int, int, time.Duration) {}
func (o *lockedObserver) Failed(error)                      {}
func (o *lockedObserver) Dropped(n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped += n
}

func (o *lockedObserver) total() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.dropped
}

func TestClosingBufferedWritesWhatWaitsOrSaysWhatIsLost(t *testing.T) {
	dir, d := t.TempDir(), &brittle{}
	l := mustOpen(t, Config{Dir: dir, Mode: Buffered, disk: d})
	for n := range 100 {
		if _, _, _, err := l.Append(t.Context(), time.Now(), event(time.Now(), n)); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	if all := readAll(t, mustReader(t, dir), 0, -1); len(all) != 100 {
		t.Errorf("%d records of 100", len(all))
	}
	l = mustOpen(t, Config{Dir: dir, Mode: Buffered, disk: d})
	d.set(true)
	if _, _, _, err := l.Append(t.Context(), time.Now(), event(time.Now(), 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err == nil || !strings.Contains(err.Error(), "1 buffered records") {
		t.Errorf("it says %v", err)
	}
}

func TestDurableModeHealsWithoutTraffic(t *testing.T) {
	d := &brittle{}
	l := mustOpen(t, Config{Dir: t.TempDir(), disk: d})
	fill(t, l, 3)
	d.set(true)
	for n := range 3 {
		if _, _, _, err := l.Append(t.Context(), time.Now(), event(time.Now(), n)); !errors.Is(err, errFault) {
			t.Fatalf("append on a broken disk: %v", err)
		}
	}
	if h := l.Health(); h.Writable || h.Size != 3 {
		t.Errorf("health %+v", h)
	}
	d.set(false)
	running(t, l)
	waitFor(t, "it writes again", func() bool { return l.Health().Writable })
	if all := readAll(t, mustReader(t, l.config.Dir), 0, -1); len(all) != 4 || !bytes.Contains(all[3].Event, []byte(pdp.LogRecovered)) {
		t.Errorf("%d records", len(all))
	}
}

// stuck is a disk that does not answer.
type stuck struct {
	osDisk
	held chan struct{}
}

func (d *stuck) open(path string, create bool) (segmentFile, error) {
	f, err := d.osDisk.open(path, create)
	return stuckFile{f, d}, err
}

type stuckFile struct {
	segmentFile
	disk *stuck
}

func (f stuckFile) WriteAt(p []byte, at int64) (int, error) {
	<-f.disk.held
	return f.segmentFile.WriteAt(p, at)
}

func TestAnAppendEndsWithItsContextThoughTheDiskIsStuck(t *testing.T) {
	d := &stuck{held: make(chan struct{})}
	l := mustOpen(t, Config{Dir: t.TempDir(), disk: d})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, _, _, err := l.Append(ctx, time.Now(), []byte(`{}`))
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
	// What waits is bounded: an append that finds no room waits for it no longer than its context.
	big := bytes.Repeat([]byte("x"), MaxRecordBytes)
	for range durableBatches + 4 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, _, _, err := l.Append(ctx, time.Now(), big); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it says %v", err)
		}
		cancel()
	}
	if h := l.Health(); h.WaitingBytes > (durableBatches+1)*batchBytes {
		t.Errorf("%d bytes wait", h.WaitingBytes)
	}
	close(d.held)
}

func TestWhatCommandsLeftWaitsForTheDiskOnce(t *testing.T) {
	dir, d := t.TempDir(), &stuck{held: make(chan struct{})}
	l := mustOpen(t, Config{Dir: dir, disk: d, Mode: Buffered})
	if err := Leave(dir, newClock().now, []byte(`{"change":1}`)); err != nil {
		t.Fatal(err)
	}
	for range 3 { // rounds while nothing is written
		if err := l.emptyInbox(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(d.held)
	waitFor(t, "it is in the log", func() bool { return l.Size() > 0 })
	if err := l.emptyInbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	left, err := mustReader(t, dir).InboxWaiting()
	if all := readAll(t, mustReader(t, dir), 0, -1); len(all) != 1 || left != 0 || err != nil {
		t.Errorf("%d records, %d left, %v", len(all), left, err)
	}
}

func TestTilesThatCouldNotBeWrittenAreWrittenLater(t *testing.T) {
	d := &faultyDisk{synced: map[string]int64{}}
	l := mustOpen(t, Config{Dir: t.TempDir(), disk: d})
	fail := func(every bool) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.failAt, d.crash = 0, every; every {
			d.failAt = d.steps + 1
		}
	}
	fill(t, l, 3*tileWidth)
	fail(true)
	for range 2 {
		if err := l.writeFresh(nil); !errors.Is(err, errFault) {
			t.Fatalf("error %v, want %v", err, errFault)
		}
	}
	fail(false)
	fill(t, l, tileWidth)
	if err := l.writeFresh(nil); err != nil {
		t.Fatal(err)
	}
	for n := range int64(4) {
		if _, err := os.Stat(l.path(tile{number: n, hashes: make([]tlog.Hash, tileWidth)}.path())); err != nil {
			t.Error(err)
		}
	}
}

func TestCloseTurnsAwayFromADiskThatHangs(t *testing.T) {
	for _, mode := range []Mode{Durable, Buffered} {
		t.Run(string(mode), func(t *testing.T) {
			d := &stuck{held: make(chan struct{})}
			l, err := Open(t.Context(), Config{Origin: "log.example", Dir: t.TempDir(), Mode: mode, disk: d, lastStep: 10 * time.Millisecond, longestClose: 20 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			if _, _, durable, err := l.Append(ctx, time.Now(), event(time.Now(), 0)); durable || mode == Durable && err == nil {
				t.Errorf("acknowledged: %v", err)
			}
			err = l.Close()
			if err == nil || !strings.Contains(err.Error(), "has not answered") || strings.Contains(err.Error(), " 0 bytes") {
				t.Errorf("Close: %v", err)
			}
			close(d.held)
			<-l.committed
			if err := errors.Join(l.file.Close(), l.lock.Close()); err != nil { // as the end of the process does
				t.Error(err)
			}
		})
	}
}
