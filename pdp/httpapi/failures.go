package httpapi

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// failuresASecond is how many failed requests of one kind are written a second. Whoever floods a service makes the same
// failure over and over, and a log that grows with each would slow all others; the metrics count them all.
const failuresASecond = 5

// failures writes about requests that failed, the first few of each kind in a second.
type failures struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex
	kinds map[string]*failureKind // guarded by mu, by the problem's name, of which there are a few
}

type failureKind struct {
	since    time.Time // when this second began
	written  int       // in it
	unlogged int       // since one was last written
}

func newFailures(log *slog.Logger, now func() time.Time) *failures {
	return &failures{log: log, now: now, kinds: make(map[string]*failureKind)}
}

// tell writes that a request failed for that problem, with how many like it were left out since the last.
func (f *failures) tell(level slog.Level, requestID, problem string, cause error) {
	unlogged, write := f.take(problem)
	if !write {
		return
	}
	attributes := []slog.Attr{slog.String("request_id", requestID), slog.String("problem", problem), slog.Any("cause", cause)}
	if unlogged > 0 {
		attributes = append(attributes, slog.Int("unlogged_before", unlogged))
	}
	f.log.LogAttrs(context.Background(), level, "a request failed", attributes...)
}

func (f *failures) take(problem string) (unlogged int, write bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	kind := f.kinds[problem]
	if kind == nil {
		kind = &failureKind{since: now}
		f.kinds[problem] = kind
	}
	if passed := now.Sub(kind.since); passed >= time.Second || passed < 0 {
		kind.since, kind.written = now, 0
	}
	if kind.written >= failuresASecond {
		kind.unlogged++
		return 0, false
	}
	kind.written++
	unlogged, kind.unlogged = kind.unlogged, 0
	return unlogged, true
}
