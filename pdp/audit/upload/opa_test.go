package upload

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/plugins/logs"
)

func opa(t *testing.T, address string, change func(*OPAConfig)) *OPA {
	t.Helper()
	c := OPAConfig{URL: address + "/v1/opa"}
	if change != nil {
		change(&c)
	}
	d, err := NewOPA(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOPAItselfReadsWhatIsSent(t *testing.T) {
	r := &receiver{t: t}
	server := httptest.NewServer(r)
	defer server.Close()
	s, stop := running(t, Config{Log: newMemory(3), Destination: opa(t, server.URL, nil)})
	until(t, "all delivered", delivered(s))
	stop()
	var events []logs.EventV1
	if err := json.Unmarshal(r.bodies[0], &events); err != nil {
		t.Fatal(err)
	}
	e := events[1]
	if len(events) != 3 || e.DecisionID != "D000001" || e.Labels["app"] != "assay" || e.Bundles["assay"].Revision != "r" || e.Path != "assay/decision" ||
		!slices.Equal(e.Erased, []string{"/input/token/claims/sub"}) || e.RequestedBy != "spiffe://example/gateway" || e.Timestamp.Second() != 1 || e.Input == nil || e.Result == nil {
		t.Errorf("OPA reads %+v", e)
	}
}

// Every fault of a service ends, and then all is there, in order, and the cursor is at the end.
func TestServiceThatFails(t *testing.T) {
	for _, test := range []struct {
		name string
		// fault answers the first requests.
		fault      func(w http.ResponseWriter, r *http.Request)
		wantPause  time.Duration
		wantReason string
	}{
		{"internal error", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 0, "500 Internal Server Error"},
		{"busy", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "77")
			w.WriteHeader(429)
		}, 77 * time.Second, "429 Too Many Requests"},
		{"busy for ever", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "999999")
			w.WriteHeader(503)
		}, longestBusy, "503 Service Unavailable"},
		{"refuses the token", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(401) }, 0, "check token_file"},
		{"is somewhere else", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", 307) }, 0, "307"},
		{"has no such path", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(404) }, 0, "check url"},
		{"cuts the connection before the body is read", func(w http.ResponseWriter, _ *http.Request) { cut(w) }, 0, "logs"},
		{"cuts the connection in the middle of the body", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadFull(r.Body, make([]byte, 100))
			cut(w)
		}, 0, "logs"},
		{"takes all and cuts the connection", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			cut(w)
		}, 0, "closed without an answer"},
		{"is too slow", func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		}, 0, "no answer in time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			const faults = 3
			var mended atomic.Bool
			r := &receiver{t: t}
			r.first = func(w http.ResponseWriter, q *http.Request) bool {
				if mended.Load() {
					return false
				}
				test.fault(w, q)
				return true
			}
			server := httptest.NewServer(r)
			defer server.Close()
			p := &pauses{}
			// Only where the service is to be too slow may it be: a busy machine, too, can take longer than that.
			timeout, slow := time.Minute, test.wantReason == "no answer in time"
			if slow {
				timeout = 200 * time.Millisecond
			}
			s, _ := running(t, Config{Log: newMemory(100), BatchRecords: 30, Wait: p.wait,
				Destination: opa(t, server.URL, func(c *OPAConfig) { c.Timeout = timeout })})
			until(t, "the faults", func() bool { _, n := r.seen(); return n >= faults })
			until(t, "the reason in health", func() bool { return strings.Contains(s.Health().Error, test.wantReason) })
			if h := s.Health(); h.Lag != 100 || h.Next != 0 {
				t.Errorf("while it fails: %+v", h)
			}
			mended.Store(true)
			until(t, "all delivered", delivered(s))
			got, _ := r.seen()
			if slow { // what was taken, and the answer came too late, comes again
				got = firsts(got)
			}
			if len(missing(100, got)) > 0 || !slices.IsSorted(got) {
				t.Errorf("lost %v of %v", missing(100, got), got)
			}
			until(t, "no reason in health", func() bool { return s.Health().Error == "" })
			if test.wantPause > 0 && p.longest() != test.wantPause {
				t.Errorf("waited %s at most, want %s", p.longest(), test.wantPause)
			}
		})
	}
}

// firsts leaves out what came before.
func firsts(ids []string) []string {
	seen := make(map[string]bool)
	return slices.DeleteFunc(ids, func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again
	})
}

func cut(w http.ResponseWriter) {
	if connection, _, err := w.(http.Hijacker).Hijack(); err == nil {
		_ = connection.Close()
	}
}

func TestServiceThatIsDownAtFirst(t *testing.T) {
	port := reserve(t)
	s, _ := running(t, Config{Log: newMemory(5), Destination: opa(t, "http://"+port, nil)})
	until(t, "a failure", func() bool { return strings.Contains(s.Health().Error, "refused") })
	listener, err := net.Listen("tcp", port)
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{t: t}
	server := httptest.NewUnstartedServer(r)
	if err := server.Listener.Close(); err != nil {
		t.Fatal(err)
	}
	server.Listener = listener
	server.Start()
	defer server.Close()
	until(t, "all delivered", delivered(s))
}

func TestBodiesFitTheChunk(t *testing.T) {
	log := newMemory(0)
	for i := range 2000 {
		log.add(i % 700)
	}
	r := &receiver{t: t}
	server := httptest.NewServer(r)
	defer server.Close()
	s, stop := running(t, Config{Log: log, Destination: opa(t, server.URL, func(c *OPAConfig) { c.ChunkBytes = 4 << 10 })})
	until(t, "all delivered", delivered(s))
	stop()
	if got, requests := r.seen(); !slices.Equal(got, ids(2000)) || r.largest > 4<<10 || requests > 400 {
		t.Errorf("%d records in %d requests, the largest %d bytes", len(got), requests, r.largest)
	}
}

// What is too large together goes in pieces, what is too large alone is set aside, once, and does not hold up the rest.
func TestTooLarge(t *testing.T) {
	log := newMemory(40)
	log.add(9000)
	for range 9 {
		log.add(0)
	}
	r := &receiver{t: t, limit: 3000}
	server := httptest.NewServer(r)
	defer server.Close()
	dir := t.TempDir()
	c := Config{Dir: dir, Log: log, Destination: opa(t, server.URL, nil)}
	s, stop := running(t, c)
	until(t, "all delivered or set aside", delivered(s))
	h := s.Health()
	stop()
	got, _ := r.seen()
	if want := slices.Delete(ids(50), 40, 41); !slices.Equal(got, want) || h.Refused != 1 || h.Next != 50 {
		t.Errorf("delivered %v, health %+v", got, h)
	}
	text, err := os.ReadFile(filepath.Join(dir, "there.refused"))
	if err != nil {
		t.Fatal(err)
	}
	var line refusal
	if err := json.Unmarshal(text, &line); err != nil || line.Index != 40 || !bytes.Equal(line.Event, log.records[40].Event) || !strings.Contains(line.Why, "413") {
		t.Errorf("%s: %v", text, err)
	}

	log.add(0)
	c.Destination = opa(t, server.URL, nil)
	again, stop := running(t, c)
	until(t, "the next one", delivered(again))
	stop()
	if got, _ := r.seen(); len(got) != 50 || got[49] != "D000050" || again.Health().Refused != 1 {
		t.Errorf("after a restart: %v, %+v", got[49:], again.Health())
	}
}

func TestClientCertificateAndToken(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile, pool := clientCertificate(t, dir)
	tokenFile := filepath.Join(dir, "token")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(tokenFile, "old\n")
	r := &receiver{t: t, first: func(w http.ResponseWriter, q *http.Request) bool {
		if q.Header.Get("Authorization") == "Bearer new" && len(q.TLS.PeerCertificates) == 1 {
			return false
		}
		w.WriteHeader(403)
		return true
	}}
	server := httptest.NewUnstartedServer(r)
	server.TLS = requireClient(pool)
	server.StartTLS()
	defer server.Close()
	caFile := filepath.Join(dir, "ca.pem")
	write(caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	s, _ := running(t, Config{Log: newMemory(2), Destination: opa(t, server.URL, func(c *OPAConfig) {
		c.CAFile, c.CertFile, c.KeyFile, c.TokenFile = caFile, certFile, keyFile, tokenFile
	})})
	until(t, "the old token to be refused", func() bool { return strings.Contains(s.Health().Error, "403 Forbidden") })
	if strings.Contains(s.Health().Error, "old") {
		t.Errorf("the token is told: %s", s.Health().Error)
	}
	write(tokenFile, "new\n")
	until(t, "all delivered", delivered(s))
	write(tokenFile, "")
	if _, err := opa(t, server.URL, func(c *OPAConfig) { c.TokenFile = tokenFile }).Deliver(t.Context(), newMemory(1).records); err == nil || !strings.Contains(err.Error(), "holds no bearer token") {
		t.Errorf("an empty token: %v", err)
	}
}

func TestOPAConfigurationsThatAreRefused(t *testing.T) {
	for _, test := range []struct {
		name, want string
		c          OPAConfig
	}{
		{"no URL", "not an http or https URL", OPAConfig{}},
		{"plaintext to elsewhere", "in clear", OPAConfig{URL: "http://logs.example"}},
		{"a password in the URL", "token_file", OPAConfig{URL: "https://a:b@logs.example"}},
		{"a query", "without query", OPAConfig{URL: "https://logs.example?x=1"}},
		{"tiny chunks", "at least 1024", OPAConfig{URL: "https://logs.example", ChunkBytes: 10}},
		{"half a client certificate", "go together", OPAConfig{URL: "https://logs.example", CertFile: "c.pem"}},
		{"no such authority", "no such file", OPAConfig{URL: "https://logs.example", CAFile: "/nowhere/ca.pem"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := NewOPA(test.c); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	o := &OPA{c: OPAConfig{Now: func() time.Time { return now }}}
	for field, want := range map[string]time.Duration{
		"": 0, "5": 5 * time.Second, "-5": 0, "soon": 0, "Tue, 24 Nov 2026 12:01:00 GMT": time.Minute,
	} {
		if got := o.retryAfter(field); got != want {
			t.Errorf("%q: %s, want %s", field, got, want)
		}
	}
	var busy *Busy
	if err := error(&Busy{After: time.Second, Err: errDown}); !errors.As(err, &busy) || !errors.Is(err, errDown) {
		t.Error("Busy does not unwrap")
	}
}
