package upload

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	ports "github.com/assaypdp/assay/test/loopback"
)

const origin = "assay.example/test"

// memory is a log whose records follow from their index.
type memory struct {
	mu      sync.Mutex
	first   int64
	records []Record
	damaged map[int64]bool
}

var errDamaged = errors.New("a damaged record")

func event(index int64, padding int) []byte {
	at := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC).Add(time.Duration(index) * time.Second)
	return fmt.Appendf(nil, `{"labels":{"app":"assay","id":"one","version":"1"},"decision_id":"D%06d","bundles":{"assay":{"revision":"r"}},`+
		`"path":"assay/decision","input":{"token":{"size":%d,"padding":%q},"time":%d},"result":{"allow":true,"reasons":[]},`+
		`"erased":["/input/token/claims/sub"],"requested_by":"spiffe://example/gateway","timestamp":%q,`+
		`"metrics":{"timer_server_handler_ns":12345},"custom":{"assay":{"kind":"decision"}}}`,
		index, padding, strings.Repeat("x", padding), at.Unix(), at.Format(time.RFC3339Nano))
}

func newMemory(n int) *memory {
	m := &memory{}
	for range n {
		m.add(0)
	}
	return m
}

func (m *memory) add(padding int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	index := int64(len(m.records))
	text := event(index, padding)
	m.records = append(m.records, Record{Index: index, Hash: tlog.RecordHash(text), Event: text})
}

func (m *memory) trim(first int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = first
}

func (m *memory) Origin() string { return origin }

func (m *memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.records))
}

func (m *memory) Follow(ctx context.Context, from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for ctx.Err() == nil {
			m.mu.Lock()
			from = max(from, m.first)
			there := from < int64(len(m.records))
			var r Record
			if there {
				r = m.records[from]
			}
			damaged := m.damaged[from]
			m.mu.Unlock()
			if damaged {
				yield(Record{}, errDamaged)
				return
			}
			if !there {
				_ = wait(ctx, time.Millisecond) // the loop's condition sees that ctx ended
				continue
			}
			if !yield(r, nil) {
				return
			}
			from++
		}
	}
}

// pauses is a Wait that is over at once and remembers what it was asked for.
type pauses struct {
	mu    sync.Mutex
	asked []time.Duration
}

func (p *pauses) wait(ctx context.Context, d time.Duration) error {
	p.mu.Lock()
	p.asked = append(p.asked, d)
	p.mu.Unlock()
	return wait(ctx, time.Millisecond)
}

func (p *pauses) longest() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Max(append(p.asked, 0))
}

// running starts a Shipper, which is stopped and joined at the end of the test or by stop.
func running(t *testing.T, c Config) (s *Shipper, stop func()) {
	t.Helper()
	if c.Name == "" {
		c.Name = "there"
	}
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	if c.Wait == nil {
		c.Wait = new(pauses).wait
	}
	if c.Every == 0 {
		c.Every = 5 * time.Millisecond
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// reserve gives the address of a port where a server may listen, go away and come back.
func reserve(t *testing.T) string {
	t.Helper()
	port, err := ports.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := port.Release(); err != nil {
			t.Error(err)
		}
	})
	return port.Address
}

// until waits for a condition.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited three minutes for: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func delivered(s *Shipper) func() bool { return func() bool { return s.Health().Lag == 0 } }

// receiver is a service that takes decision logs as OPA sends them, strictly.
type receiver struct {
	t *testing.T
	// first is asked before anything is read; true: it has answered.
	first func(w http.ResponseWriter, r *http.Request) bool
	// limit is the most unpacked bytes that it takes; 0: any.
	limit int

	mu       sync.Mutex
	ids      []string
	requests int
	largest  int // packed
	bodies   [][]byte
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.requests++
	r.mu.Unlock()
	if r.first != nil && r.first(w, q) {
		return
	}
	packed, err := io.ReadAll(q.Body)
	if err != nil {
		return // cut off by the client
	}
	if q.Method != http.MethodPost || q.URL.Path != "/v1/opa/logs" || q.Header.Get("Content-Type") != "application/json" || q.Header.Get("Content-Encoding") != "gzip" {
		r.t.Errorf("%s %s, %v", q.Method, q.URL.Path, q.Header)
	}
	unpacked, err := gzip.NewReader(strings.NewReader(string(packed)))
	if err != nil {
		r.t.Errorf("not gzip: %v", err)
		return
	}
	body, err := io.ReadAll(unpacked)
	if err != nil {
		r.t.Errorf("not gzip: %v", err)
	}
	if r.limit > 0 && len(body) > r.limit {
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		return
	}
	var events []struct {
		DecisionID string `json:"decision_id"`
	}
	if err := json.Unmarshal(body, &events); err != nil || len(events) == 0 {
		r.t.Errorf("%d events: %v", len(events), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		r.ids = append(r.ids, e.DecisionID)
	}
	r.largest = max(r.largest, len(packed))
	r.bodies = append(r.bodies, body)
}

func (r *receiver) seen() (ids []string, requests int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.ids), r.requests
}

func ids(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("D%06d", i)
	}
	return all
}

// missing tells which of the first n records are not among ids.
func missing(n int, seen []string) []string {
	return slices.DeleteFunc(ids(n), func(id string) bool { return slices.Contains(seen, id) })
}

// taker is a destination that remembers, and fails as it is told.
type taker struct {
	mu      sync.Mutex
	got     []int64
	largest int
	fail    func(call int, records []Record) (int, error)
	calls   int
}

func (d *taker) Deliver(_ context.Context, records []Record) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls++
	n := len(records)
	var err error
	if d.fail != nil {
		n, err = d.fail(d.calls, records)
	}
	size := 0
	for _, r := range records[:n] {
		d.got = append(d.got, r.Index)
		size += len(r.Event)
	}
	d.largest = max(d.largest, size)
	return n, err
}

func (d *taker) Close() error { return nil }

func (d *taker) indexes() []int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.got)
}

var errDown = errors.New("down")
