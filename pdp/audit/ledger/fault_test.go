package ledger

import (
	"errors"
	"flag"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

var everyStep = flag.Int("every-step", 5, "of the steps that may fail, each which one the fault test tries; 1 for all")

var errFault = errors.New("input/output error")

// faultyDisk is the real one, one step of which fails: once, or that one and all after it, which is a crash. A write that
// fails has written half. It knows how much of each segment was synced, so that a crash can take the rest.
type faultyDisk struct {
	quickDisk
	mu     sync.Mutex
	steps  int
	failAt int // the step that fails, counted from 1; 0 for none
	crash  bool
	synced map[string]int64
}

// step counts one, and says whether it fails.
func (d *faultyDisk) step() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.steps++
	if d.failAt > 0 && (d.steps == d.failAt || (d.crash && d.steps > d.failAt)) {
		return errFault
	}
	return nil
}

type faultyFile struct {
	segmentFile
	disk *faultyDisk
	path string
}

func (d *faultyDisk) open(path string, create bool) (segmentFile, error) {
	if err := d.step(); err != nil {
		return nil, err
	}
	f, err := d.quickDisk.open(path, create)
	if err != nil {
		return nil, err
	}
	return &faultyFile{segmentFile: f, disk: d, path: path}, nil
}

func (f *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	if err := f.disk.step(); err != nil {
		f.disk.mu.Lock()
		dead := f.disk.crash && f.disk.steps > f.disk.failAt
		f.disk.mu.Unlock()
		if dead {
			return 0, err
		}
		n, _ := f.segmentFile.WriteAt(p[:len(p)/2], at)
		return n, err
	}
	return f.segmentFile.WriteAt(p, at)
}

func (f *faultyFile) Truncate(size int64) error {
	if err := f.disk.step(); err != nil {
		return err
	}
	return f.segmentFile.Truncate(size)
}

func (f *faultyFile) datasync() error {
	if err := f.disk.step(); err != nil {
		return err
	}
	if err := f.segmentFile.datasync(); err != nil {
		return err
	}
	size, err := f.size()
	f.disk.mu.Lock()
	f.disk.synced[f.path] = size
	f.disk.mu.Unlock()
	return err
}

func (d *faultyDisk) put(path string, data []byte, lasting bool) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.quickDisk.put(path, data, lasting)
}

func (d *faultyDisk) sync(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.quickDisk.sync(path)
}

func (d *faultyDisk) rename(from, to string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.quickDisk.rename(from, to)
}

func (d *faultyDisk) remove(path string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.quickDisk.remove(path)
}

func (d *faultyDisk) syncDir(dir string) error {
	if err := d.step(); err != nil {
		return err
	}
	return d.quickDisk.syncDir(dir)
}

// losePower takes from the segments a part of what was not synced.
func (d *faultyDisk) losePower(t *testing.T, random *rand.Rand) {
	t.Helper()
	for path, synced := range d.synced {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) || !strings.HasSuffix(path, plainSuffix) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if lost := info.Size() - synced; lost > 0 {
			if err := os.Truncate(path, synced+random.Int64N(lost+1)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// life is all that a ledger does, in small: what it acknowledges is noted. Errors are expected.
type life struct {
	dir          string
	clock        *clock
	acknowledged map[int64]tlog.Hash
}

func (v *life) config(d disk) Config {
	return Config{Dir: v.dir, Origin: testOrigin, Now: v.clock.Now, SegmentBytes: 1500, Retention: 24 * time.Hour, Signer: &stamp{}, disk: d}
}

func (v *life) live(t *testing.T, d disk) {
	l, err := Open(t.Context(), v.config(d))
	if err != nil {
		return
	}
	defer func() { _ = l.Close() }() // the disk may be dead
	for round := range 3 {
		for n := range 12 {
			at := v.clock.Now()
			index, hash, durable, err := l.Append(t.Context(), at, event(at, 100*round+n))
			if err == nil && durable {
				v.acknowledged[index] = hash
			}
		}
		_ = l.checkpoint(t.Context())
		_ = l.emptyInbox(t.Context())
		_ = l.compressSealed(t.Context())
		if round == 1 {
			v.clock.move(25 * time.Hour)
		}
		l.tellLosses(t.Context())
		_ = l.trim(t.Context())
	}
}

// check opens the log on the real disk and looks for everything that was acknowledged.
func (v *life) check(t *testing.T, left []byte) {
	t.Helper()
	l, err := Open(t.Context(), v.config(quickDisk{}))
	if err != nil {
		t.Fatalf("it does not start again: %v", err)
	}
	defer func() { _ = l.Close() }() // checked by what follows
	if err := l.emptyInbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := mustReader(t, v.dir)
	found := 0
	var first int64 = -1
	for record, err := range r.Records(t.Context(), 0, -1) {
		if err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			first = record.Index
		}
		if want, ok := v.acknowledged[record.Index]; ok && record.Hash != want {
			t.Fatalf("record %d is not the acknowledged one", record.Index)
		}
		delete(v.acknowledged, record.Index)
		if string(record.Event) == string(left) {
			found++
		}
	}
	for index := range v.acknowledged {
		if index >= first {
			t.Errorf("record %d was acknowledged and is lost", index)
		}
	}
	if found != 1 {
		t.Errorf("the record that a command left is in the log %d times", found)
	}
	history, err := r.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range history {
		made, err := readCheckpoint(c.Note)
		if err != nil {
			t.Fatal(err)
		}
		if root, err := tlog.TreeHash(made.size, r.Hashes(t.Context())); err != nil || root != made.root {
			t.Errorf("the tree at %d is not the checkpoint's: %v", made.size, err)
		}
	}
	fillOne(t, l)
}

func fillOne(t *testing.T, l *Ledger) {
	t.Helper()
	if _, _, durable, err := l.Append(t.Context(), l.config.Now(), event(l.config.Now(), 1)); err != nil || !durable {
		t.Errorf("it takes no record: %v", err)
	}
}

// left is a record of far in the future, so that retention does not delete it.
var left = []byte(`{"decision_id":"left by a command","timestamp":"2027-01-01T00:00:00Z"}`)

func newLife(t *testing.T) *life {
	v := &life{dir: t.TempDir(), clock: newClock(), acknowledged: map[int64]tlog.Hash{}}
	if err := Leave(v.dir, v.clock.Now(), left); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestEveryStepMayFail(t *testing.T) {
	counted := &faultyDisk{synced: map[string]int64{}}
	newLife(t).live(t, counted)
	if counted.steps < 100 {
		t.Fatalf("only %d steps; the life is too short", counted.steps)
	}
	for name, crash := range map[string]bool{"once": false, "from then on": true} {
		t.Run(name, func(t *testing.T) {
			for step := 1; step <= counted.steps; step += *everyStep {
				v := newLife(t)
				d := &faultyDisk{failAt: step, crash: crash, synced: map[string]int64{}}
				v.live(t, d)
				if crash {
					d.losePower(t, rand.New(rand.NewPCG(6, uint64(step))))
				}
				v.check(t, left)
				if t.Failed() {
					t.Fatalf("after step %d failed (%s)", step, filepath.Base(v.dir))
				}
			}
		})
	}
}
