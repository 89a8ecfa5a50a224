//go:build unix

package upload

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// killed is a destination that has its process killed after so many acknowledgements, before the cursor moves.
type killed struct {
	Destination
	after int
}

func (k *killed) Deliver(ctx context.Context, records []Record) (int, error) {
	n, err := k.Destination.Deliver(ctx, records)
	if k.after--; k.after == 0 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			panic(err)
		}
		select {}
	}
	return n, err
}

const crashRecords = 200

// TestCrashingProcess is not a test but the process that TestKilled kills.
func TestCrashingProcess(t *testing.T) {
	address, dir := os.Getenv("ASSAY_UPLOAD_TEST_URL"), os.Getenv("ASSAY_UPLOAD_TEST_DIR")
	if address == "" {
		t.Skip("is started by TestKilled")
	}
	after, err := strconv.Atoi(os.Getenv("ASSAY_UPLOAD_TEST_AFTER"))
	if err != nil {
		t.Fatal(err)
	}
	s, _ := running(t, Config{Dir: dir, Log: newMemory(crashRecords), BatchRecords: 7, Destination: &killed{opa(t, address, nil), after}})
	until(t, "all delivered", delivered(s))
}

// A process that is killed after an acknowledgement and before its cursor moved sends that batch again when it is started
// again, and loses nothing.
func TestKilled(t *testing.T) {
	r := &receiver{t: t}
	server := httptest.NewServer(r)
	defer server.Close()
	dir := t.TempDir()
	kills := 0
	for after := 1; ; after = after%4 + 1 {
		process := exec.Command(os.Args[0], "-test.run=^TestCrashingProcess$", "-test.v")
		process.Env = append(os.Environ(), "ASSAY_UPLOAD_TEST_URL="+server.URL, "ASSAY_UPLOAD_TEST_DIR="+dir, fmt.Sprint("ASSAY_UPLOAD_TEST_AFTER=", after))
		out, err := process.CombinedOutput()
		if err == nil {
			break
		}
		if status, ok := process.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v\n%s", err, out)
		}
		// Killed at the first acknowledgement every time, it would never come further.
		if kills++; kills > 100 {
			t.Fatal("does not come to an end")
		}
	}
	got, _ := r.seen()
	if lost := missing(crashRecords, got); kills < 5 || len(lost) > 0 || len(got) == crashRecords {
		t.Errorf("%d kills, %d deliveries of %d records, lost %v", kills, len(got), crashRecords, lost)
	}
	slices.Sort(got)
	t.Logf("%d kills: %d records came %d times in all", kills, len(slices.Compact(slices.Clone(got))), len(got))
}
