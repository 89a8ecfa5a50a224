package upload

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer starts a server; port 0 takes any.
func natsServer(t *testing.T, dir string, port int, payload int32) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true, MaxPayload: payload, SyncAlways: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(3 * time.Minute) {
		t.Fatal("the NATS server does not start")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s
}

func jetStream(t *testing.T, address string, change func(*JetStreamConfig)) *JetStream {
	t.Helper()
	c := JetStreamConfig{NATS: NATSConfig{URL: address}, Log: origin, AckTimeout: 2 * time.Second}
	if change != nil {
		change(&c)
	}
	j, err := NewJetStream(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// client talks to the server as a consumer of the records does.
func client(t *testing.T, address string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stored gives the messages of the stream.
func stored(t *testing.T, js jetstream.JetStream, name string) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var messages []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		messages = append(messages, m)
	}
	return messages
}

func TestStreamHoldsEveryRecordOnce(t *testing.T) {
	nats := natsServer(t, t.TempDir(), 0, 0)
	js := client(t, nats.ClientURL())
	log := newMemory(600) // more than are on their way at once
	for run := range 2 {  // the second begins anew, as after the loss of the cursor
		s, stop := running(t, Config{Log: log, Destination: jetStream(t, nats.ClientURL(), func(c *JetStreamConfig) {
			c.MaxBytes, c.MaxAge, c.DuplicateWindow = 64<<20, time.Hour, 10*time.Minute
		})})
		until(t, "all delivered", delivered(s))
		stop()
		messages := stored(t, js, DefaultStream)
		if len(messages) != 600 {
			t.Fatalf("run %d: %d messages", run, len(messages))
		}
		for i, m := range messages {
			r := &log.records[i]
			if !bytes.Equal(m.Data, r.Event) || m.Subject != "ASSAY_AUDIT.event" || m.Header.Get(LogHeader) != origin ||
				m.Header.Get(IndexHeader) != strconv.Itoa(i) || m.Header.Get(LeafHashHeader) != hex.EncodeToString(r.Hash[:]) {
				t.Fatalf("message %d: %s %v", i, m.Data, m.Header)
			}
		}
	}
	stream, err := js.Stream(t.Context(), DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	if c := stream.CachedInfo().Config; c.MaxBytes != 64<<20 || c.MaxAge != time.Hour || c.Duplicates != 10*time.Minute || c.Discard != jetstream.DiscardNew || c.Storage != jetstream.FileStorage {
		t.Errorf("the stream was made as %+v", c)
	}
}

// The name of a message holds the record's hash: another record at the same place is not taken for a repetition.
func TestAnotherRecordAtTheSamePlaceIsNotSwallowed(t *testing.T) {
	nats := natsServer(t, t.TempDir(), 0, 0)
	j := jetStream(t, nats.ClientURL(), func(c *JetStreamConfig) { c.AckTimeout = time.Minute })
	defer j.Close() //nolint:errcheck // never fails
	until(t, "a connection", j.conn.IsConnected)
	one, other := newMemory(1), newMemory(0)
	other.add(5)
	for _, log := range []*memory{one, other, one} {
		if n, err := j.Deliver(t.Context(), log.records); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if n := len(stored(t, client(t, nats.ClientURL()), DefaultStream)); n != 2 {
		t.Errorf("%d messages of two records", n)
	}
}

// The server is not there at first, and goes away and comes back while records are delivered.
func TestServerThatRestarts(t *testing.T) {
	dir, port := t.TempDir(), reserve(t)
	address := "nats://" + port
	_, text, _ := strings.Cut(port, ":")
	number, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	log := newMemory(10)
	s, _ := running(t, Config{Log: log, BatchRecords: 50, Destination: jetStream(t, address, func(c *JetStreamConfig) { c.AckTimeout = 500 * time.Millisecond })})
	until(t, "the failure in health", func() bool { return strings.Contains(s.Health().Error, "no connection") })
	for round := range 3 {
		nats := natsServer(t, dir, number, 0)
		until(t, "some delivered", func() bool { return s.Next() > int64(round*1000) })
		for range 1000 {
			log.add(0)
		}
		until(t, "some more delivered", func() bool { return s.Next() > int64(round*1000+200) })
		nats.Shutdown()
		nats.WaitForShutdown()
	}
	natsServer(t, dir, number, 0)
	until(t, "all delivered", delivered(s))
	seen := make(map[string]bool)
	for _, m := range stored(t, client(t, address), DefaultStream) {
		seen[m.Header.Get(IndexHeader)] = true
	}
	if len(seen) != 3010 {
		t.Errorf("%d of 3010 records are stored", len(seen))
	}
}

// A stream that is full refuses; the log waits and nothing is dropped on either side.
func TestStreamThatIsFull(t *testing.T) {
	nats := natsServer(t, t.TempDir(), 0, 0)
	js := client(t, nats.ClientURL())
	log := newMemory(400)
	s, _ := running(t, Config{Log: log, Destination: jetStream(t, nats.ClientURL(), func(c *JetStreamConfig) { c.MaxBytes = 64 << 10 })})
	until(t, "it to be full", func() bool { return strings.Contains(s.Health().Error, "maximum bytes") })
	if h := s.Health(); h.Lag == 0 || h.Next == 0 || h.Behind == 0 {
		t.Errorf("full: %+v", h)
	}
	stream, err := js.Stream(t.Context(), DefaultStream)
	if err != nil {
		t.Fatal(err)
	}
	wider := stream.CachedInfo().Config
	wider.MaxBytes = 8 << 20
	if _, err := js.UpdateStream(t.Context(), wider); err != nil {
		t.Fatal(err)
	}
	until(t, "all delivered", delivered(s))
	if n := len(stored(t, js, DefaultStream)); n != 400 {
		t.Errorf("%d messages", n)
	}
}

func TestMessageThatIsTooLarge(t *testing.T) {
	for _, test := range []struct {
		name    string
		payload int32 // the server's limit
		stream  int32 // the stream's
	}{
		{"for the server", 2048, -1},
		{"for the stream", 1 << 20, 2048},
	} {
		t.Run(test.name, func(t *testing.T) {
			nats := natsServer(t, t.TempDir(), 0, test.payload)
			js := client(t, nats.ClientURL())
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OURS", Subjects: []string{"OURS.event"}, MaxMsgSize: test.stream}); err != nil {
				t.Fatal(err)
			}
			log := newMemory(3)
			log.add(4000)
			for range 3 {
				log.add(0)
			}
			s, stop := running(t, Config{Log: log, Destination: jetStream(t, nats.ClientURL(), func(c *JetStreamConfig) { c.Stream = "OURS" })})
			until(t, "all delivered or set aside", delivered(s))
			stop()
			var got []string
			for _, m := range stored(t, js, "OURS") {
				got = append(got, m.Header.Get(IndexHeader))
			}
			slices.Sort(got)
			if !slices.Equal(got, []string{"0", "1", "2", "4", "5", "6"}) || s.Health().Refused != 1 {
				t.Errorf("stored %v, %+v", got, s.Health())
			}
		})
	}
}

func TestStreamThatDoesNotTakeTheSubject(t *testing.T) {
	nats := natsServer(t, t.TempDir(), 0, 0)
	js := client(t, nats.ClientURL())
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"something"}}); err != nil {
		t.Fatal(err)
	}
	s, _ := running(t, Config{Log: newMemory(1), Destination: jetStream(t, nats.ClientURL(), func(c *JetStreamConfig) { c.Stream = "OTHER" })})
	until(t, "the failure in health", func() bool {
		return strings.Contains(s.Health().Error, "does not take the subject OTHER.event")
	})
}

func TestJetStreamConfigurationsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(*JetStreamConfig)
	}{
		{"no log", "origin", func(c *JetStreamConfig) { c.Log = "" }},
		{"no server", "URL", func(c *JetStreamConfig) { c.NATS.URL = "" }},
		{"a stream with a dot", "letters", func(c *JetStreamConfig) { c.Stream = "a.b" }},
		{"six replicas", "replicas", func(c *JetStreamConfig) { c.Replicas = 6 }},
		{"a window longer than what is kept", "duplicate window", func(c *JetStreamConfig) { c.MaxAge = time.Second }},
		{"half a client certificate", "go together", func(c *JetStreamConfig) { c.NATS.KeyFile = "k.pem" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := JetStreamConfig{NATS: NATSConfig{URL: "nats://127.0.0.1:1"}, Log: origin}
			test.change(&c)
			if j, err := NewJetStream(c); err == nil || !strings.Contains(err.Error(), test.want) {
				if err == nil {
					err = errors.Join(j.Close(), errors.New("accepted"))
				}
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}
