//go:build unix

package revocation

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"
)

// crashDir tells this test program to publish into that folder until it is killed.
const crashDir = "ASSAY_TEST_CRASH_DIR"

// TestMain is the test program, and the process that TestKillLosesNothingAcknowledged kills.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		if err := publishUntilKilled(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// publishUntilKilled prints what was acknowledged, once it was. Four publish at once.
func publishUntilKilled(dir string) error {
	s, err := New(Config{Dir: dir})
	if err == nil {
		err = s.Start()
	}
	if err != nil {
		return err
	}
	ctx := context.Background()
	failed := make(chan error)
	go func() { failed <- s.Run(ctx) }()
	if err := s.WaitComplete(ctx); err != nil {
		return err
	}
	for who := range 4 {
		go func() {
			for i := 0; ; i++ {
				value := fmt.Sprintf("%d-%d-%d", os.Getpid(), who, i)
				if _, err := s.Publish(ctx, Entry{Kind: Token, Issuer: idp, Value: value, Ends: time.Now().Add(time.Hour)}); err != nil {
					failed <- err
					return
				}
				fmt.Println(value)
			}
		}()
	}
	return <-failed
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	var acknowledged []string
	for round := range 3 {
		process := exec.Command(os.Args[0])
		process.Env = append(os.Environ(), crashDir+"="+dir)
		process.Stderr = os.Stderr
		out, err := process.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := process.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			acknowledged = append(acknowledged, lines.Text())
			if n == 40+17*round {
				if err := process.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := process.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the process ended by itself: %v", err)
		}
	}
	// The last line may be half written: then nobody read it as acknowledged.
	s, _ := running(t, Config{Dir: dir})
	for _, value := range acknowledged {
		if value != "" && strings.Count(value, "-") == 2 {
			if _, ok := s.index.holds(&Entry{Kind: Token, Issuer: idp, Value: value}); !ok {
				t.Errorf("%s was acknowledged and is lost", value)
			}
		}
	}
	if len(acknowledged) < 150 || s.Index().Len() < len(acknowledged)-3 {
		t.Errorf("%d acknowledged, %d known", len(acknowledged), s.Index().Len())
	}
}

// TestFullDisk lets no file of this process grow past a limit, as a disk that is full would, and then gives room.
func TestFullDisk(t *testing.T) {
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	s, _ := running(t, Config{Dir: t.TempDir(), Heartbeat: 50 * time.Millisecond, MaxAge: 500 * time.Millisecond})
	publish(t, s, entry(Session, "s-1"))
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	limit := func(bytes uint64) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: bytes, Max: was.Max}); err != nil {
			t.Fatal(err)
		}
	}
	limit(4096)
	defer limit(was.Cur)
	big := strings.Repeat("x", 900)
	accepted, refused := []string{}, 0
	full := func() bool { h := s.Health(); return !h.Fresh && h.Error != "" }
	// A call that took too long is refused as well, before the disk is full: it goes on until the disk is what is wrong.
	for deadline := time.Now().Add(3 * time.Minute); refused == 0 || !full(); {
		if time.Now().After(deadline) {
			t.Fatalf("the disk was never full: %d were taken, %d refused; %+v", len(accepted), refused, s.Health())
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		value := fmt.Sprint("full-", len(accepted)+refused)
		_, err := s.Publish(ctx, entry(Token, value, func(e *Entry) { e.Reason = big }))
		cancel()
		switch {
		case err == nil, errors.Is(err, ErrNotYetEffective):
			accepted = append(accepted, value)
		case errors.Is(err, ErrUnavailable):
			refused++
		default:
			t.Fatalf("refused with %v", err)
		}
	}
	if got := s.Index().Match(aToken(start), verified(t, idp)); got != Session {
		t.Errorf("while the disk is full: %q", got)
	}
	limit(was.Cur)
	eventually(t, func() bool { return s.Health().Fresh }, func() any { return s.Health() })
	publish(t, s, entry(Subject, "bob"))
	for _, value := range accepted {
		if _, ok := s.index.holds(&Entry{Kind: Token, Issuer: idp, Value: value}); !ok {
			t.Errorf("%s was acknowledged and is lost", value)
		}
	}
}

func TestAFullStreamRefusesAndForgetsNothing(t *testing.T) {
	s, _ := running(t, Config{Dir: t.TempDir(), StoreLimit: 16 << 10})
	var err error
	for i := 0; err == nil && i < 100; i++ {
		_, err = s.Publish(context.Background(), entry(Token, fmt.Sprint("jti-", i), func(e *Entry) { e.Reason = strings.Repeat("x", 900) }))
	}
	if !errors.Is(err, ErrFull) || !errors.Is(err, ErrUnavailable) {
		t.Errorf("refused with %v", err)
	}
	if _, ok := s.index.holds(&Entry{Kind: Token, Issuer: idp, Value: "jti-0"}); !ok {
		t.Error("the first entry made room for the last")
	}
}
