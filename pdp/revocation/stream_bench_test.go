package revocation

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// BenchmarkPublish tells revocations/s of the embedded server, each fsynced, stored and read back, by how many callers
// revoke at once.
func BenchmarkPublish(b *testing.B) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s, _ := running(b, Config{Dir: b.TempDir()})
			var next atomic.Int64
			b.ResetTimer()
			var all sync.WaitGroup
			for range callers {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						if _, err := s.Publish(context.Background(), entry(Token, fmt.Sprint(i))); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "revocations/s")
		})
	}
}

// BenchmarkStart tells how long a process takes until the index is complete, with -entries in the stream, and what
// the whole process then holds in its heap.
func BenchmarkStart(b *testing.B) {
	dir := b.TempDir()
	_, stop := running(b, Config{Dir: dir}) // makes the stream
	stop()
	fill(b, dir)
	for b.Loop() {
		began := time.Now()
		s, stop := running(b, Config{Dir: dir})
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		b.StopTimer()
		if n := s.Index().Len(); n != *entries {
			b.Fatalf("%d entries", n)
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/float64(*entries), "process-B/entry")
		b.ReportMetric(float64(s.Index().Bytes())/float64(*entries), "index-B/entry")
		stop()
		b.StartTimer()
	}
}

// fill stores the entries by a server that does not sync each of them.
func fill(b *testing.B, dir string) {
	s, err := server.NewServer(&server.Options{ServerName: "assay", DontListen: true, NoSigs: true, JetStream: true, StoreDir: dir})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer func() { s.Shutdown(); s.WaitForShutdown() }()
	if !s.ReadyForConnections(startTimeout) {
		b.Fatal("no server")
	}
	conn, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		b.Fatal(err)
	}
	for i := range *entries {
		e := entry(Token, fmt.Sprintf("0190f7b2-7d1a-7c3e-9a35-%012x", i))
		e.CreatedAt = time.Now()
		data, err := encode(&e, false)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := js.PublishAsync(DefaultStream+".entry", data, jetstream.WithMsgTTL(time.Hour)); err != nil {
			b.Fatal(err)
		}
		if i%2000 == 1999 {
			<-js.PublishAsyncComplete()
		}
	}
	<-js.PublishAsyncComplete()
}
