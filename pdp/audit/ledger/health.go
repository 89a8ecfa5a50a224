package ledger

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Health is how a ledger is.
type Health struct {
	Mode Mode
	// Writable is false while the newest write failed; in durable mode no decision can be answered then. It
	// mends itself: the next record is another attempt, and while Run runs it makes attempts of its own.
	Writable bool
	// Size is how many records are on disk for good, trimmed ones included.
	Size int64
	// CheckpointSize and CheckpointTime are of the newest checkpoint; zero if there is none.
	CheckpointSize int64
	CheckpointTime time.Time
	// Dropped counts the records that buffered mode lost since Open; WaitingBytes is how much waits in memory.
	Dropped, WaitingBytes int64
	// Problems is what is amiss now, by Code; empty is healthy.
	Problems []Problem
}

// Problem is one thing that is amiss.
type Problem struct {
	// Code is one of write_failed, records_dropped, checkpoint_failed, publish_failed, inbox_failed,
	// seal_failed, retention_failed.
	Code  string
	Since time.Time
	Err   string
}

const (
	codeWrite      = "write_failed"
	codeDropped    = "records_dropped"
	codeCheckpoint = "checkpoint_failed"
	codePublish    = "publish_failed"
	codeInbox      = "inbox_failed"
	codeSeal       = "seal_failed"
	codeTiles      = codeSeal + " tiles"
	codeRetention  = "retention_failed"
)

// Health says how the ledger is; it does not wait for the disk.
func (l *Ledger) Health() Health {
	h := Health{Mode: l.config.Mode, Size: l.Size(), Problems: l.problems.list()}
	h.Writable = !slices.ContainsFunc(h.Problems, func(p Problem) bool { return p.Code == codeWrite })
	h.CheckpointSize, h.CheckpointTime = l.marked.newest()
	l.mu.Lock()
	defer l.mu.Unlock()
	h.Dropped, h.WaitingBytes = l.dropped, l.waiting
	return h
}

// problems is what is amiss, by code; one code may have several, told apart by what stands behind a blank.
type problems struct {
	mu  sync.Mutex
	now map[string]Problem
}

// set notes that something is amiss; it stays amiss since it first was.
func (p *problems) set(at time.Time, key string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now == nil {
		p.now = map[string]Problem{}
	}
	if before, ok := p.now[key]; ok {
		at = before.Since
	}
	code, _, _ := strings.Cut(key, " ")
	p.now[key] = Problem{Code: code, Since: at, Err: err.Error()}
}

func (p *problems) clear(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.now, key)
}

func (p *problems) get(code string) (Problem, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	problem, ok := p.now[code]
	return problem, ok
}

func (p *problems) list() []Problem {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make([]Problem, 0, len(p.now))
	for _, key := range slices.Sorted(maps.Keys(p.now)) {
		all = append(all, p.now[key])
	}
	return all
}
