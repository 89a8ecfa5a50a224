//go:build unix

package ledger

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

var kills = flag.Int("kills", 20, "how often the kill -9 test kills")

const (
	childDir   = "ASSAY_LEDGER_TEST_DIR"
	childLimit = "ASSAY_LEDGER_TEST_LIMIT"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	switch {
	case dir == "":
		os.Exit(m.Run())
	case os.Getenv(childLimit) != "":
		report(fullDiskChild(dir))
	default:
		report(appendUnderLoad(dir))
	}
}

func report(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// appendUnderLoad appends from many goroutines and prints each receipt, until it is killed.
func appendUnderLoad(dir string) error {
	l, err := Open(context.Background(), Config{Dir: dir, Origin: testOrigin, SegmentBytes: 200_000, Signer: &stamp{}, CheckpointEvery: 15 * time.Millisecond})
	if err != nil {
		return err
	}
	go func() {
		if err := l.Run(context.Background()); err != nil {
			report(err)
		}
	}()
	go func() { // sealing's background work, oftener than Run does it
		for {
			if err := errors.Join(l.emptyInbox(context.Background()), l.compressSealed(context.Background())); err != nil {
				report(err)
			}
		}
	}()
	var group sync.WaitGroup
	for caller := range 24 {
		group.Go(func() {
			for n := 0; ; n++ {
				record := fmt.Appendf(nil, `{"pid":%d,"caller":%d,"n":%d,"timestamp":%q,"pad":%q}`, os.Getpid(), caller, n,
					time.Now().UTC().Format(time.RFC3339Nano), strings.Repeat("x", rand.IntN(400)))
				index, hash, err := keep(l, record, caller%2 == 0)
				if err != nil {
					report(fmt.Errorf("append: %w", err))
				}
				fmt.Printf("%d %s\n", index, base64.StdEncoding.EncodeToString(hash[:]))
			}
		})
	}
	group.Wait()
	return nil
}

// keep appends a record, or has it promised and waits until it is told.
func keep(l *Ledger, record []byte, promised bool) (index int64, leaf [32]byte, err error) {
	if !promised {
		index, leaf, durable, err := l.Append(context.Background(), time.Now(), record)
		if err == nil && !durable {
			err = errors.New("not durable")
		}
		return index, leaf, err
	}
	w := newTold()
	expected, leaf, _, err := l.Promise(context.Background(), time.Now(), record, w)
	if err != nil {
		return -1, leaf, err
	}
	if <-w.heard; w.err == nil && w.index != expected {
		w.err = fmt.Errorf("told %d, promised %d", w.index, expected)
	}
	return w.index, leaf, w.err
}

// runUntilKilled starts a writer, kills it some time after its start or its first receipt, and gives the receipts that it
// printed.
func runUntilKilled(t *testing.T, dir string, after time.Duration, fromReceipt bool) map[int64]string {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = child.Process.Kill() } // it cannot end by itself
	if !fromReceipt {
		defer time.AfterFunc(after, kill).Stop()
	}
	receipts := map[int64]string{}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil { // a line cut off was not a receipt yet
			break
		}
		var index int64
		var hash string
		if _, err := fmt.Sscanf(line, "%d %s", &index, &hash); err != nil {
			t.Fatalf("child printed %q", line)
		}
		if _, twice := receipts[index]; twice {
			t.Errorf("index %d was acknowledged twice", index)
		}
		if fromReceipt && len(receipts) == 0 {
			defer time.AfterFunc(after, kill).Stop()
		}
		receipts[index] = hash
	}
	_ = child.Wait() // it was killed
	if stderr.Len() > 0 {
		t.Fatalf("the writer says: %s", stderr.String())
	}
	return receipts
}

// TestKilledUnderLoadLosesNothing kills a writer at random moments, from its very start on, and starts it again on what
// is there. Each receipt must be found in the end, and each record left by a command once.
func TestKilledUnderLoadLosesNothing(t *testing.T) {
	times := *kills
	if testing.Short() {
		times = min(times, 5)
	}
	dir := t.TempDir()
	receipts := map[int64]string{}
	left := map[string]int{}
	alive := 0
	for n := range times {
		record := fmt.Appendf(nil, `{"left":%d,"timestamp":"2026-11-24T12:00:00Z"}`, n)
		if err := Leave(dir, time.Now(), record); err != nil {
			t.Fatal(err)
		}
		left[string(record)] = 0
		got := runUntilKilled(t, dir, time.Duration(rand.IntN(200))*time.Millisecond, n%3 > 0)
		if len(got) > 0 {
			alive++
		}
		for index, hash := range got {
			if before, ok := receipts[index]; ok {
				t.Fatalf("kill %d: index %d was acknowledged as %s and again as %s", n, index, before, hash)
			}
			receipts[index] = hash
		}
	}
	l := mustOpen(t, Config{Dir: dir, Signer: &stamp{}}) // nothing is repaired by hand
	if err := l.emptyInbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := mustReader(t, dir)
	var leaves []tlog.Hash
	for record, err := range r.Records(t.Context(), 0, -1) {
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := receipts[record.Index]; ok && want != base64.StdEncoding.EncodeToString(record.Hash[:]) {
			t.Errorf("record %d is not the acknowledged one", record.Index)
		}
		delete(receipts, record.Index)
		if _, ok := left[string(record.Event)]; ok {
			left[string(record.Event)]++
		}
		leaves = append(leaves, record.Hash)
	}
	for index := range receipts {
		t.Errorf("record %d was acknowledged and is lost", index)
	}
	for record, count := range left {
		if count != 1 {
			t.Errorf("%s is in the log %d times", record, count)
		}
	}
	history, err := r.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	var grown tree
	at := 0
	for _, c := range history {
		made, err := readCheckpoint(c.Note)
		if err != nil || made.size > int64(len(leaves)) {
			t.Fatalf("checkpoint of %d records of %d: %v", made.size, len(leaves), err)
		}
		for ; int64(at) < made.size; at++ {
			grown.add(leaves[at], func(tile) {})
		}
		if damage := made.agrees(&grown); damage != nil {
			t.Error(damage)
		}
	}
	torn, err := filepath.Glob(filepath.Join(dir, tornDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if alive < times/2 {
		t.Errorf("only %d of %d writers lived until their first receipt", alive, times)
	}
	t.Logf("%d kills, %d of them after the first receipt; %d records, %d checkpoints, %d torn tails cut off", times, alive, len(leaves), len(history), len(torn))
}

// fullDiskChild appends until no byte fits any more, then gives itself room, and goes on.
func fullDiskChild(dir string) error {
	signal.Ignore(syscall.SIGXFSZ) // so that a write beyond the limit is an error
	l, err := Open(context.Background(), Config{Dir: dir, Origin: testOrigin})
	if err != nil {
		return err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	most := limit.Cur
	limit.Cur = 20_000
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		return err
	}
	failed := 0
	for n := range 600 {
		if n == 500 {
			if h := l.Health(); h.Writable || len(h.Problems) == 0 {
				return fmt.Errorf("health while the disk is full: %+v", h)
			}
			limit.Cur = most
			if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
				return err
			}
		}
		index, hash, durable, err := l.Append(context.Background(), time.Now(), event(time.Now(), n))
		if err != nil {
			if !errors.Is(err, syscall.EFBIG) {
				return err
			}
			failed++
			continue
		}
		if !durable {
			return errors.New("not durable")
		}
		fmt.Printf("%d %s\n", index, base64.StdEncoding.EncodeToString(hash[:]))
	}
	if failed < 100 {
		return fmt.Errorf("%d appends failed", failed)
	}
	if h := l.Health(); !h.Writable {
		return fmt.Errorf("health after the disk has room again: %+v", h)
	}
	return l.Close()
}

// TestFullDiskFailsAppendsAndHealsByItself uses a real write that fails: a limit on the size of files.
func TestFullDiskFailsAppendsAndHealsByItself(t *testing.T) {
	dir := t.TempDir()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir, childLimit+"=1")
	var stderr strings.Builder
	child.Stderr = &stderr
	out, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	all := readAll(t, mustReader(t, dir), 0, -1)
	acknowledged := 0
	for line := range strings.Lines(string(out)) {
		var index int64
		var hash string
		if _, err := fmt.Sscanf(line, "%d %s", &index, &hash); err != nil {
			t.Fatal(err)
		}
		if index >= int64(len(all)) || base64.StdEncoding.EncodeToString(all[index].Hash[:]) != hash {
			t.Errorf("record %d was acknowledged and is not there", index)
		}
		acknowledged++
	}
	if acknowledged != len(all) || acknowledged < 200 {
		t.Errorf("%d records acknowledged, %d in the log", acknowledged, len(all))
	}
}
