package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// An export that was interrupted at any byte is gone on with to the same file as one that was not, and so is one of a log
// that has grown.
func TestExportGoesOnWhereItEnded(t *testing.T) {
	dir := traffic(t)
	for name, args := range map[string][]string{
		"ndjson":              {"--reason", "lifetime.*"},
		"ndjson with hashes":  {"--with-hashes", "--reason", "lifetime.*"},
		"csv":                 {"--format", "csv", "--reason", "lifetime.*"},
		"csv of a part":       {"--format", "csv", "--from-index", "100", "--to-index", "400"},
		"everything in a day": {"--with-hashes", "--from", "2026-10-02", "--to", "2026-10-02"},
	} {
		t.Run(name, func(t *testing.T) {
			export := func(more ...string) asked {
				return askAudit(t.Context(), false, append(append([]string{"audit", "export", "--dir", dir}, args...), more...)...)
			}
			want := export()
			if want.code != 0 || len(linesOf(want.out)) < 20 {
				t.Fatalf("%d lines, %s", len(linesOf(want.out)), want.errors)
			}
			file := filepath.Join(t.TempDir(), "export")
			if got := export("--out", file); got.code != 0 || got.out != "" || !strings.Contains(got.errors, "records written") {
				t.Fatalf("%+v", got)
			}
			whole, err := os.ReadFile(file)
			if err != nil || string(whole) != want.out {
				t.Fatalf("the file is not what standard output gets: %v", err)
			}
			for _, at := range []int{0, 1, 200, len(whole) / 2, len(whole) - 1, len(whole)} {
				if err := os.WriteFile(file, whole[:at], 0o600); err != nil {
					t.Fatal(err)
				}
				if got := export("--out", file, "--resume"); got.code != 0 {
					t.Fatalf("cut at %d: %+v", at, got)
				}
				if again, err := os.ReadFile(file); err != nil || !bytes.Equal(again, whole) {
					t.Errorf("cut at %d: %d bytes, want %d; %v", at, len(again), len(whole), err)
				}
			}
		})
	}
}

// What --with-hashes writes can be verified by whoever has it: index by index, leaf by leaf.
func TestExportWithHashesIsVerifiable(t *testing.T) {
	dir := traffic(t)
	got := askAudit(t.Context(), false, "audit", "export", "--with-hashes", "--dir", dir)
	for i, line := range linesOf(got.out) {
		var record struct {
			Index    int64           `json:"index"`
			LeafHash string          `json:"leaf_hash"`
			Event    json.RawMessage `json:"event"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Index != int64(i) || record.LeafHash != tlog.RecordHash(record.Event).String() {
			t.Fatalf("line %d: index %d, leaf hash %s", i, record.Index, record.LeafHash)
		}
	}
}

func TestExportOfAnotherLogIsNotGoneOnWith(t *testing.T) {
	file := filepath.Join(t.TempDir(), "export")
	if err := os.WriteFile(file, []byte(`{"decision_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := askAudit(t.Context(), false, "audit", "export", "--dir", traffic(t), "--out", file, "--resume"); got.code != 2 || !strings.Contains(got.errors, "is not in this log") {
		t.Errorf("%+v", got)
	}
	if got := askAudit(t.Context(), false, "audit", "export", "--dir", traffic(t), "--out", file, "--resume", "--with-hashes"); got.code != 2 || !strings.Contains(got.errors, "another --with-hashes") {
		t.Errorf("%+v", got)
	}
}

// printed collects what a command prints while it runs.
type printed struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (s *printed) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// until waits for a text.
func (s *printed) until(t *testing.T, want string) string {
	t.Helper()
	timeout := time.After(patience)
	for {
		s.mu.Lock()
		text := s.text.String()
		s.mu.Unlock()
		if strings.Contains(text, want) {
			return text
		}
		select {
		case <-s.more:
		case <-timeout:
			t.Fatalf("no %q in\n%s", want, text)
		}
	}
}

// Tail shows what comes, from one segment to the next and through a restart of the server, and only what was asked for.
func TestTailFollowsTheLog(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	number := 0
	write := func(records int) {
		t.Helper()
		l, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, Origin: "test/log", SegmentBytes: 4096})
		if err != nil {
			t.Fatal(err)
		}
		for range records {
			kind := "key.rotated"
			if number%2 == 1 {
				kind = "bundle.activated"
			}
			record := fmt.Appendf(nil, `{"decision_id":"n%04d","path":"assay/change","timestamp":%q,"input":{"change":{"kind":%q}},"metrics":{},"custom":{"assay":{"kind":%q}}}`,
				number, at.Format(time.RFC3339), kind, kind)
			if _, _, _, err := l.Append(t.Context(), at, record); err != nil {
				t.Fatal(err)
			}
			number++
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	write(30)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &printed{more: make(chan struct{}, 1)}
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"audit", "tail", "--dir", dir, "-n", "3", "--kind", "key.*"}, env{
			in: strings.NewReader(""), out: out, err: &bytes.Buffer{}, now: time.Now, getenv: func(string) string { return "" },
		})
	}()
	first := out.until(t, "n0028")
	write(40)
	out.until(t, "n0068")
	write(40)
	all := out.until(t, "n0108")
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if n := len(linesOf(first)); n > 3 || strings.Contains(all, "n0022") {
		t.Errorf("%d lines of what was there, want 3", n)
	}
	want := (108-24)/2 + 1
	if n := len(linesOf(all)); n != want || strings.Contains(all, "bundle") {
		t.Errorf("%d lines, want %d:\n%s", n, want, all)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "segments", "*.log*"))
	if err != nil || len(segments) < 3 {
		t.Errorf("%d segments; the log was to go from one to the next", len(segments))
	}
}
