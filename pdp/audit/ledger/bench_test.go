package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// benchRecord is about as long as a decision's record.
func benchRecord(n int64) []byte {
	return fmt.Appendf(nil, `{"decision_id":"d%020d","timestamp":"2026-11-24T12:00:00.000000000Z","pad":"%s"}`, n, bytes.Repeat([]byte("x"), 800))
}

// BenchmarkAppendDurable is 256 callers who each wait for their record to be on disk, beside a bare loop of write and
// fdatasync on the same disk in the same run: fsync-p50-µs is that loop's, records/sync is how many share one.
func BenchmarkAppendDurable(b *testing.B) {
	dir := b.TempDir()
	p50 := bareSync(b, dir)
	seen := &syncObserver{}
	l := mustOpen(b, Config{Dir: dir, Observer: seen, disk: osDisk{}})
	waits := appendFrom(b, l, 256)
	b.ReportMetric(float64(p50.Microseconds()), "fsync-p50-µs")
	b.ReportMetric(float64(seen.records.Load())/float64(max(1, seen.commits.Load())), "records/sync")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()*p50.Seconds(), "x-bare-loop")
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "wait-p50-µs")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "wait-p99-µs")
}

// BenchmarkAppendBuffered is four callers who never wait for the disk, as fast as they can: what the disk cannot take is
// dropped once the buffer is full.
func BenchmarkAppendBuffered(b *testing.B) {
	l := mustOpen(b, Config{Dir: b.TempDir(), Mode: Buffered, disk: osDisk{}})
	waits := appendFrom(b, l, 4)
	b.ReportMetric(float64(waits[len(waits)/2].Nanoseconds()), "wait-p50-ns")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "wait-p99-µs")
	b.ReportMetric(float64(l.Health().Dropped)/float64(b.N), "dropped/op")
}

type syncObserver struct{ commits, records atomic.Int64 }

func (o *syncObserver) Committed(records, _ int, _ time.Duration) {
	o.commits.Add(1)
	o.records.Add(int64(records))
}
func (o *syncObserver) Failed(error) {}
func (o *syncObserver) Dropped(int)  {}

// bareSync is the median of one record's write and fdatasync at a time.
func bareSync(b *testing.B, dir string) time.Duration {
	b.Helper()
	f, err := os.Create(filepath.Join(dir, "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var took []time.Duration
	for n := range 300 {
		began := time.Now()
		if _, err := f.Write(benchRecord(int64(n))); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2]
}

// appendFrom appends b.N records from many callers and gives their sorted waits.
func appendFrom(b *testing.B, l *Ledger, callers int) []time.Duration {
	b.Helper()
	b.ReportAllocs()
	var next atomic.Int64
	waits := make([][]time.Duration, callers)
	b.ResetTimer()
	var group sync.WaitGroup
	for caller := range callers {
		group.Go(func() {
			for n := next.Add(1); n <= int64(b.N); n = next.Add(1) {
				record := benchRecord(n)
				began := time.Now()
				if _, _, _, err := l.Append(b.Context(), began, record); err != nil && !errors.Is(err, ErrDropped) {
					b.Error(err)
					return
				}
				waits[caller] = append(waits[caller], time.Since(began))
			}
		})
	}
	group.Wait()
	b.StopTimer()
	all := slices.Concat(waits...)
	slices.Sort(all)
	return all
}
