package ledger

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// told is a Witness that remembers.
type told struct {
	mu    sync.Mutex
	times int
	index int64
	err   error
	heard chan struct{}
}

func newTold() *told { return &told{heard: make(chan struct{})} }

func (w *told) Recorded(index int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.times++; w.times == 1 {
		w.index, w.err = index, err
		close(w.heard)
	}
}

func (w *told) wants(t *testing.T, index int64, err error) {
	t.Helper()
	select {
	case <-w.heard:
	case <-time.After(time.Minute):
		t.Fatal("nobody told")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.index != index || !errors.Is(w.err, err) || (err == nil) != (w.err == nil) {
		t.Errorf("told %d, %v; not %d, %v", w.index, w.err, index, err)
	}
}

func mustPromise(ctx context.Context, t *testing.T, l *Ledger, n int) (*told, int64) {
	t.Helper()
	w := newTold()
	index, leaf, promised, err := l.Promise(ctx, l.config.Now(), event(l.config.Now(), n), w)
	if err != nil || !promised || leaf == [32]byte{} {
		t.Fatalf("promised %t, %v", promised, err)
	}
	return w, index
}

func TestPromisesAreKept(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	fill(t, l, 3)
	var all []*told
	for i := range 500 {
		w, index := mustPromise(t.Context(), t, l, i)
		if index != int64(3+i) {
			t.Fatalf("promised %d as the %d.", index, 3+i)
		}
		all = append(all, w)
	}
	for i, w := range all {
		w.wants(t, int64(3+i), nil)
	}
	mustClose(t, l)
	l = mustOpen(t, Config{Dir: dir})
	if w, index := mustPromise(t.Context(), t, l, 0); index != 503 {
		t.Errorf("promised %d", index)
	} else {
		w.wants(t, 503, nil)
	}
	mustClose(t, l)
	if _, _, promised, err := l.Promise(t.Context(), time.Now(), []byte(`{}`), newTold()); promised || !errors.Is(err, ErrClosed) {
		t.Errorf("%t, %v", promised, err)
	}
}

// failingOnce fails one write that it holds until it is let go.
type failingOnce struct {
	quickDisk
	begun, fail chan struct{}
}

type failingFile struct {
	segmentFile
	disk *failingOnce
}

func (d *failingOnce) open(path string, create bool) (segmentFile, error) {
	f, err := d.quickDisk.open(path, create)
	return failingFile{f, d}, err
}

func (f failingFile) WriteAt(p []byte, at int64) (int, error) {
	select {
	case f.disk.begun <- struct{}{}:
		<-f.disk.fail
		return 0, errFault
	default:
		return f.segmentFile.WriteAt(p, at)
	}
}

// After a write that failed, those behind it get another place than was promised, and the next are promised the right one.
func TestPromisesBehindOneThatIsBroken(t *testing.T) {
	d := &failingOnce{begun: make(chan struct{}), fail: make(chan struct{})}
	l := mustOpen(t, Config{Dir: t.TempDir(), disk: d})
	waits := make(chan struct{})
	go func() { <-d.begun; close(waits) }()
	time.Sleep(10 * time.Millisecond) // for it to wait there
	first, _ := mustPromise(t.Context(), t, l, 0)
	<-waits
	behind, index := mustPromise(t.Context(), t, l, 1)
	if index != 1 {
		t.Errorf("promised %d behind the first", index)
	}
	close(d.fail)
	first.wants(t, -1, errFault)
	behind.wants(t, 0, nil)
	next, index := mustPromise(t.Context(), t, l, 2)
	next.wants(t, index, nil)
	if index != 1 || l.Size() != 2 {
		t.Errorf("then promised %d; the log has %d", index, l.Size())
	}
}

// A disk that does not answer breaks promises when their time is over, each once, also where it answers after all.
func TestPromisesThatAreLate(t *testing.T) {
	d := &stuck{held: make(chan struct{})}
	l := mustOpen(t, Config{Dir: t.TempDir(), disk: d})
	soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	late, _ := mustPromise(soon, t, l, 0)
	time.Sleep(2 * patience) // into another batch, which is waited for as well
	alsoLate, _ := mustPromise(soon, t, l, 1)
	patient, _ := mustPromise(t.Context(), t, l, 2)
	late.wants(t, -1, context.DeadlineExceeded)
	alsoLate.wants(t, -1, context.DeadlineExceeded)
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("broken after %s", took)
	}
	close(d.held)
	patient.wants(t, 2, nil)
	mustClose(t, l)
	for _, w := range []*told{late, alsoLate, patient} {
		if w.times != 1 {
			t.Errorf("told %d times", w.times)
		}
	}
}

func TestBufferedModePromisesNothing(t *testing.T) {
	l := mustOpen(t, Config{Dir: t.TempDir(), Mode: Buffered})
	w := newTold()
	if _, _, promised, err := l.Promise(t.Context(), time.Now(), []byte(`{}`), w); promised || err != nil {
		t.Errorf("%t, %v", promised, err)
	}
	mustClose(t, l)
	if w.times != 0 {
		t.Error("told")
	}
}
