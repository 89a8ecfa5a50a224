package ledger

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"
)

// BenchmarkVerify verifies a log of records as long as a decision's (900 bytes) with a checkpoint every
// 5000 records. The heap is what is in use at the end: it does not grow with the log.
func BenchmarkVerify(b *testing.B) {
	const records, every = 200_000, 5_000
	keys := newSigning(b)
	s := &sealedLog{TB: b, dir: b.TempDir(), keys: keys}
	clock := newClock()
	l := mustOpen(b, Config{Dir: s.dir, Now: clock.Now, Signer: keys, Mode: Buffered, BufferBytes: 256 << 20})
	for i := range records {
		record := fmt.Appendf(nil, `{"decision_id":"d%09d","timestamp":%q,"path":"assay/decision","pad":%q}`, i, clock.Now().Format(time.RFC3339Nano), strings.Repeat("abcdefghijklmnopqrst", 40))
		if _, _, _, err := l.Append(b.Context(), clock.Now(), record); err != nil {
			b.Fatal(err)
		}
		if (i+1)%every == 0 {
			s.settle(l, int64(i+1))
			if err := l.checkpoint(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	mustClose(b, l)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b.ResetTimer()
	for b.Loop() {
		report, err := Verify(b.Context(), VerifyConfig{Dir: s.dir, Verifiers: keys.known})
		if err != nil || !report.Sound() || report.Witnessed != records {
			b.Fatalf("%+v, %v", report, err)
		}
	}
	b.StopTimer()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(after.TotalAlloc-before.TotalAlloc)/float64(b.N)/records, "alloc-B/record")
	b.ReportMetric(float64(after.HeapSys)/(1<<20), "heap-sys-MiB")
}
