package index

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// fakeLog is a log in memory, parted into segments of a fixed number of records, with files that stand for them. The
// tests of the real one are in test/audittraffic.
type fakeLog struct {
	dir     string
	segment int64

	mu      sync.Mutex
	first   int64 // what retention has left
	records []ledger.Record
	times   []time.Time
	reads   int // records given out
}

func (l *fakeLog) Dir() string { return l.dir }

func (l *fakeLog) Segments() ([]ledger.Segment, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var segments []ledger.Segment
	for first := l.first; first < int64(len(l.records)); first += l.segment {
		end := min(first+l.segment, int64(len(l.records)))
		s := ledger.Segment{First: first, Count: end - first, Sealed: end-first == l.segment}
		for _, r := range l.records[first:end] {
			s.Bytes += int64(len(r.Event)) + 1
		}
		for _, at := range l.times[first:end] {
			if s.FirstTime.IsZero() || at.Before(s.FirstTime) {
				s.FirstTime = at
			}
			if at.After(s.LastTime) {
				s.LastTime = at
			}
		}
		segments = append(segments, s)
	}
	return segments, nil
}

func (l *fakeLog) Records(ctx context.Context, from, to int64) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		l.mu.Lock()
		if to < 0 {
			to = int64(len(l.records))
		}
		records := l.records[max(from, l.first):to]
		l.mu.Unlock()
		for _, r := range records {
			if ctx.Err() != nil {
				yield(ledger.Record{}, ctx.Err())
				return
			}
			l.mu.Lock()
			l.reads++
			l.mu.Unlock()
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (l *fakeLog) Record(_ context.Context, index int64) (ledger.Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if index < l.first {
		return ledger.Record{}, ledger.ErrTrimmed
	}
	return l.records[index], nil
}

func (l *fakeLog) seen() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.reads = 0 }()
	return l.reads
}

func (l *fakeLog) append(t testing.TB, event []byte) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	index := int64(len(l.records))
	l.records = append(l.records, ledger.Record{Index: index, Hash: tlog.RecordHash(event), Event: event})
	l.times = append(l.times, RowOf(l.records[index]).Time)
	name := filepath.Join(l.dir, "segments", fmt.Sprintf("%020d.log", index/l.segment*l.segment))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(append(event, '\n'))
	}
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
}

// newFakeLog has n records of pseudo-random events, the i-th one second after the one before.
func newFakeLog(t testing.TB, n, segment int) *fakeLog {
	t.Helper()
	l := &fakeLog{dir: t.TempDir(), segment: int64(segment)}
	if err := os.MkdirAll(filepath.Join(l.dir, "segments"), 0o700); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		l.append(t, encodeEvent(t, randomEvent(random, i)))
	}
	return l
}

func encodeEvent(t testing.TB, e *audit.Event) []byte {
	t.Helper()
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

var begin = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

func pick(random *rand.Rand, from ...string) string { return from[random.IntN(len(from))] }

func randomEvent(random *rand.Rand, i int) *audit.Event {
	at := begin.Add(time.Duration(i)*time.Second + time.Duration(random.IntN(1e9)))
	id := ulid.ULID{byte(i), 1, 2, 3, byte(random.Uint32()), byte(random.Uint32()), byte(i >> 8)}
	if err := id.SetTime(ulid.Timestamp(at)); err != nil {
		panic(err)
	}
	e := &audit.Event{
		Labels: map[string]string{"app": "assay"}, DecisionID: id.String(), Timestamp: at,
		Bundles: map[string]audit.Bundle{"assay": {Revision: pick(random, "r1", "r2")}}, RequestedBy: pick(random, "spiffe://a/shop", "desk \"1\"\\"),
	}
	if random.IntN(10) == 0 {
		e.Path, e.Custom.Assay.Kind = audit.ChangePath, pick(random, "revocation.added", "key.rotated")
		e.Input.Change = &audit.Change{Kind: e.Custom.Assay.Kind, Target: "x", About: &audit.About{
			Kind: pick(random, "subject", "client", "key", "issuer"), Issuer: "https://idp.example", Value: pick(random, "p:2026-10.v1:abcdefghijklmnopqrstuv", "web"),
		}}
		return e
	}
	lifetime := int64(random.IntN(4000) - 10)
	e.Path, e.Custom.Assay = audit.DecisionPath, audit.Details{
		Kind: audit.KindDecision, LifetimeSeconds: &lifetime, Mask: pick(random, audit.MaskApplied, audit.MaskApplied, audit.MaskFailed),
	}
	e.Metrics.HandlerNS = random.Int64N(1e7)
	e.Input.Token = &audit.Token{Algorithm: pick(random, "ES256", "PS256"), Claims: map[string]any{
		pick(random, "client_id", "azp"): pick(random, "web", "mobile", "é\u2028\n"), "sub": fmt.Sprintf("p:2026-10.v1:%022d", random.IntN(50)), "nested": map[string]any{"}": []any{"{\"", 1.5, nil}},
	}}
	e.Input.Verification = &audit.Verification{Status: pick(random, "verified", "key_unknown"), Issuer: pick(random, "https://idp.example", "https://b.example"),
		Key: &audit.Key{Thumbprint: pick(random, "k1", "k2"), ID: "1"}}
	e.Input.Request = &audit.Request{Audience: pick(random, "orders", "billing"), TokenType: "access_token"}
	e.Result = &audit.Result{Allow: random.IntN(3) > 0, Supersedes: pick(random, "", "", "", "01ABC")}
	for range random.IntN(3) {
		e.Result.Reasons = append(e.Result.Reasons, audit.Reason{
			Code: pick(random, "lifetime.too_long", "lifetime.expired", "claims.missing"), Enforcement: pick(random, "deny", "warn", "waived"),
			Severity: "high", Controls: []string{"SOC2:CC6.1", "GDPR:5.1.e"}[:random.IntN(3)], Details: map[string]any{"limit_seconds": random.IntN(9)},
		})
	}
	return e
}
