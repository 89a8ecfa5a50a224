package httpapi

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestAFloodOfOneFailureIsWrittenAFewTimesASecond(t *testing.T) {
	var text bytes.Buffer
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f := newFailures(slog.New(slog.NewTextHandler(&text, nil)), func() time.Time { return now })
	lines := func() []string {
		defer text.Reset()
		return strings.Split(strings.TrimSpace(text.String()), "\n")
	}
	flood := func(n int) {
		for range n {
			f.tell(slog.LevelWarn, "r", "undecided", errors.New("limited"))
		}
	}
	flood(1000)
	if got := lines(); len(got) != failuresASecond || strings.Contains(got[0], "unlogged_before") {
		t.Errorf("%d lines of a thousand: %s", len(got), got[0])
	}
	f.tell(slog.LevelWarn, "r", "overloaded", errors.New("no place"))
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "overloaded") {
		t.Errorf("another kind is not written beside it: %v", got)
	}
	now = now.Add(time.Second - 1)
	flood(5)
	if got := lines(); got[0] != "" {
		t.Errorf("within the second: %v", got)
	}
	now = now.Add(1)
	flood(2)
	if got := lines(); len(got) != 2 || !strings.Contains(got[0], "unlogged_before=1000") || strings.Contains(got[1], "unlogged_before") {
		t.Errorf("a second later: %v", got)
	}
	now = now.Add(-time.Hour)
	flood(1)
	if got := lines(); len(got) != 1 || got[0] == "" {
		t.Errorf("a clock that went back keeps it silent: %v", got)
	}
}
