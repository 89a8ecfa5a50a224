package serve

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// decisionLogs takes decision logs, once it is let.
type decisionLogs struct {
	open    atomic.Bool
	records atomic.Int64
}

func (d *decisionLogs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !d.open.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	unpacked, err := gzip.NewReader(r.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	var events []json.RawMessage
	if err := json.NewDecoder(unpacked).Decode(&events); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	d.records.Add(int64(len(events)))
}

// patient lets requests take as long as a busy machine needs.
const patient = "policy: {timeout: 5m}\nlimits: {request_timeout: 10m}\n"

// awaitText asks the server until the answer holds a text.
func awaitText(t *testing.T, url, text string) {
	t.Helper()
	var body []byte
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		response, err := http.Get(url) //nolint:gosec // the test's own server
		if err != nil {
			continue // not listening yet
		}
		body, err = io.ReadAll(response.Body)
		if closed := response.Body.Close(); err == nil && closed == nil && strings.Contains(string(body), text) {
			return
		}
	}
	t.Fatalf("%s never answered with %q; the last answer was %s", url, text, body)
}

// served runs a server with that configuration and its clock for as long as during takes, and says how it ended.
func served(t *testing.T, path string, now func() time.Time, during func(base string)) {
	t.Helper()
	c, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	app, err := New(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler), Now: now, AuditFlush: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, listener) }()
	during("http://" + listener.Addr().String())
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// decideGarbage asks for n decisions.
func decideGarbage(t *testing.T, base string, n int) {
	t.Helper()
	for range n {
		response, err := http.Post(base+"/decide", "application/json", strings.NewReader(`{"token":"garbage"}`)) //nolint:gosec // the test's own server
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
			t.Fatal(response.Status, err)
		}
	}
}

// A server delivers its log to a service and to a stream; while the service is away, health and metrics say how much
// waits, and a server that is started again delivers the rest.
func TestAuditLogIsDelivered(t *testing.T) {
	logs := &decisionLogs{}
	service := httptest.NewServer(logs)
	defer service.Close()
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	defer broker.WaitForShutdown()
	defer broker.Shutdown()
	if !broker.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "assay.yaml")
	text := fmt.Sprintf(patient+"audit:\n  dir: audit\n  upload:\n  - {name: siem, url: %s}\n  - {name: stream, jetstream: {url: %s}}\n", service.URL, broker.ClientURL())
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(during func(base string)) {
		t.Helper()
		served(t, path, time.Now, during)
	}
	run(func(base string) {
		decideGarbage(t, base, 5)
		awaitText(t, base+"/metrics", `assay_audit_upload_records_total{destination="stream"} 6`)
		awaitText(t, base+"/metrics", `assay_audit_upload_lag_records{destination="siem"} 6`)
		awaitText(t, base+"/readyz", "audit upload siem: 6 records wait")
	})
	logs.open.Store(true)
	run(func(base string) {
		awaitText(t, base+"/metrics", `assay_audit_upload_lag_records{destination="siem"} 0`)
		awaitText(t, base+"/metrics", `assay_audit_upload_lag_records{destination="stream"} 0`)
	})
	conn, err := nats.Connect(broker.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "ASSAY_AUDIT")
	if err != nil {
		t.Fatal(err)
	}
	// The second start recorded its configuration, too.
	if stored, taken := stream.CachedInfo().State.Msgs, logs.records.Load(); stored != 7 || taken != 7 {
		t.Errorf("the stream has %d records, the service took %d; there are 7", stored, taken)
	}
}

// Retention waits for a destination that is away, and not for ever: what it gives up is recorded, counted and told, and
// then goes.
func TestADestinationThatIsGoneDoesNotKeepTheLog(t *testing.T) {
	gone := httptest.NewServer(&decisionLogs{})
	defer gone.Close()
	dir := t.TempDir()
	path := filepath.Join(dir, "assay.yaml")
	text := fmt.Sprintf(patient+"audit:\n  dir: audit\n  segment_age: 20m\n  retention: 40m\n  upload:\n  - {name: siem, url: %s, hold: 1h}\n", gone.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var moved atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }
	first := filepath.Join(dir, "audit", "segments", "00000000000000000000.log.zst")
	served(t, path, now, func(base string) {
		decideGarbage(t, base, 5)
		awaitText(t, base+"/readyz", "audit upload siem: 6 records wait")
		moved.Store(int64(50 * time.Minute)) // retention would delete it
		awaitText(t, base+"/readyz", "(retention deletes what is older than 1h40m0s)")
		awaitFile(t, first, true)
		moved.Store(int64(2 * time.Hour))
		awaitText(t, base+"/metrics", `assay_audit_upload_missed_total{destination="siem"} 6`)
		awaitText(t, base+"/readyz", "audit upload siem: 6 records were given up")
		awaitFile(t, first, false)
	})
	reader, err := ledger.OpenReader(filepath.Join(dir, "audit"))
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	for record, err := range reader.Records(t.Context(), 0, -1) {
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(record.Event, []byte(`"change":{"kind":"log.undelivered","target":"siem","reason":"not delivered while retention kept them","details":{"first":0,"records":6}}`)) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("%d records of it", told)
	}
}

// awaitFile waits until a file is there, or is not.
func awaitFile(t *testing.T, path string, there bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(path); (err == nil) == there {
			return
		}
	}
	t.Fatalf("waited in vain for %s to be there: %v", path, there)
}

// What waits when a server ends is delivered before it does, in buffered mode too.
func TestTheEndOfAServerDeliversWhatWaits(t *testing.T) {
	for _, mode := range []string{"durable", "buffered"} {
		t.Run(mode, func(t *testing.T) {
			logs := &decisionLogs{}
			logs.open.Store(true)
			service := httptest.NewServer(logs)
			defer service.Close()
			path := filepath.Join(t.TempDir(), "assay.yaml")
			text := fmt.Sprintf(patient+"audit:\n  dir: audit\n  mode: %s\n  upload:\n  - {name: siem, url: %s}\n", mode, service.URL)
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			served(t, path, time.Now, func(base string) {
				awaitText(t, base+"/metrics", `assay_audit_upload_lag_records{destination="siem"} 0`)
				decideGarbage(t, base, 20)
			})
			if taken := logs.records.Load(); taken != 21 {
				t.Errorf("the service took %d records; there are 21", taken)
			}
		})
	}
}
