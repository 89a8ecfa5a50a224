package bundles

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// server is a bundle server: ETag, 304, and long polls where it is told to.
type server struct {
	*httptest.Server
	mu       sync.Mutex
	archive  []byte
	version  int
	status   int // 0: as is right
	longPoll bool
	changed  chan struct{} // closed when something is put, then another
	asked    []http.Header
	sent     int // whole archives
}

func newServer(t *testing.T, longPoll bool) *server {
	s := &server{longPoll: longPoll, changed: make(chan struct{})}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.CloseClientConnections) // a long poll does not hold up the end
	t.Cleanup(s.Close)
	return s
}

func (s *server) put(archive []byte, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive, s.status = archive, status
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Header.Clone())
	etag := fmt.Sprintf(`"v%d"`, s.version)
	if s.status == 0 && r.Header.Get("If-None-Match") == etag && s.longPoll && strings.Contains(r.Header.Get("Prefer"), "wait=") {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
		s.mu.Lock()
		etag = fmt.Sprintf(`"v%d"`, s.version)
	}
	defer s.mu.Unlock()
	if s.longPoll {
		w.Header().Set("Content-Type", "application/vnd.openpolicyagent.bundles")
	}
	switch {
	case s.status != 0:
		w.WriteHeader(s.status)
	case r.Header.Get("If-None-Match") == etag:
		w.Header().Set("ETag", etag)
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", etag)
		s.sent++
		_, _ = w.Write(s.archive) // the test says what was received
	}
}

func (s *server) counts() (sent int, asked []http.Header) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.asked
}

func remoteSource(t *testing.T, c SourceConfig) Source {
	t.Helper()
	c.Read.Name, c.Read.Now, c.Poll = "policy", at(noon), time.Second
	s, err := NewSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLongPollBringsWhatIsNewAtOnce(t *testing.T) {
	signer := newSigner(t, "ES256")
	s := newServer(t, true)
	s.put(signed(t, build(t, BuildConfig{Revision: "one"}).Archive, signer), 0)
	source := remoteSource(t, SourceConfig{
		Location: s.URL + "/bundles/b.tar.gz?region=eu", LongPoll: time.Hour, Read: ReadConfig{Verify: trust(signer)},
		HTTP: HTTPConfig{Bearer: func() (string, error) { return "secret", nil }},
	})
	if strings.Contains(source.String(), "region") || !source.Remote() {
		t.Errorf("the source is %s", source)
	}
	first, err := source.Load(t.Context())
	if err != nil || first.Bundle.Revision != "one" || first.ETag != `"v1"` {
		t.Fatalf("Load: %+v, %v", first, err)
	}
	deliveries := run(t, source)
	s.put(signed(t, build(t, BuildConfig{Revision: "two"}).Archive, signer), 0)
	next(t, deliveries, revision("two"))
	s.put(signed(t, build(t, BuildConfig{Revision: "three"}).Archive, signer), 0)
	next(t, deliveries, revision("three"))
	sent, asked := s.counts()
	if sent != 3 {
		t.Errorf("%d archives were sent for 3 versions", sent)
	}
	for _, header := range asked {
		if header.Get("Authorization") != "Bearer secret" || strings.Contains(header.Get("Prefer"), "delta") {
			t.Errorf("asked with %v", header)
		}
	}
}

func TestPollingServerIsNotSentForTheSameTwice(t *testing.T) {
	s := newServer(t, false)
	s.put(build(t, BuildConfig{Revision: "one"}).Archive, 0)
	deliveries := run(t, remoteSource(t, SourceConfig{Location: s.URL, LongPoll: time.Hour}))
	next(t, deliveries, revision("one"))
	unchanged := next(t, deliveries, func(d delivery) bool { return d.err == nil && d.loaded.Bundle == nil })
	if unchanged.loaded.ETag != `"v1"` {
		t.Errorf("the unchanged bundle has the ETag %q", unchanged.loaded.ETag)
	}
	if sent, _ := s.counts(); sent != 1 {
		t.Errorf("%d archives were sent", sent)
	}
}

func TestWhatIsRefusedIsNotTakenAndTheNextGoodOneIs(t *testing.T) {
	signer := newSigner(t, "ES256")
	one := signed(t, build(t, BuildConfig{Revision: "one"}).Archive, signer)
	tampered := append([]byte(nil), one...)
	tampered[len(tampered)/2] ^= 1
	s := newServer(t, false)
	s.put(tampered, 0)
	deliveries := run(t, remoteSource(t, SourceConfig{Location: s.URL, Read: ReadConfig{Verify: trust(signer), MaxBytes: int64(len(one)) + 1000}}))
	next(t, deliveries, func(d delivery) bool { return refusal(ReasonMalformed)(d) || refusal(ReasonSignature)(d) })
	s.put(append(one, make([]byte, 2000)...), 0)
	next(t, deliveries, refusal(ReasonTooLarge))
	s.put(nil, http.StatusServiceUnavailable)
	down := next(t, deliveries, func(d delivery) bool {
		var refused *RefusedError
		return d.err != nil && !errors.As(d.err, &refused)
	})
	if !strings.Contains(down.err.Error(), s.URL) {
		t.Errorf("%v does not say which server", down.err)
	}
	s.put(one, 0)
	next(t, deliveries, revision("one"))
}

// After a failure the whole is asked for: what was refused may have been taken back.
func TestAfterARefusalTheSameIsOfferedAgain(t *testing.T) {
	signer := newSigner(t, "ES256")
	one := signed(t, build(t, BuildConfig{Revision: "one"}).Archive, signer)
	s := newServer(t, false)
	s.put(one, 0)
	deliveries := run(t, remoteSource(t, SourceConfig{Location: s.URL, Read: ReadConfig{Verify: trust(signer)}}))
	next(t, deliveries, revision("one"))
	s.put([]byte("none"), 0)
	next(t, deliveries, refusal(ReasonMalformed))
	s.mu.Lock()
	s.archive, s.version = one, 1
	s.mu.Unlock()
	next(t, deliveries, revision("one"))
}

func TestRedirectStaysWithTheServerThatHasTheToken(t *testing.T) {
	good := newServer(t, false)
	good.put(build(t, BuildConfig{Revision: "one"}).Archive, 0)
	moved := httptest.NewServer(http.RedirectHandler(good.URL, http.StatusFound))
	t.Cleanup(moved.Close)
	_, err := remoteSource(t, SourceConfig{Location: moved.URL}).Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a redirect to another server: %v", err)
	}
	if _, asked := good.counts(); len(asked) > 0 {
		t.Error("the other server was asked")
	}
}

func TestAMalformedAnswerIsNotQuoted(t *testing.T) {
	const token = "the-bearer-token"
	for name, answer := range map[string]string{
		"no status line":     token + "\r\n\r\n",
		"no protocol":        "HTTP/" + token + " 200 OK\r\n\r\n",
		"no status":          "HTTP/1.1 " + token + "\r\n\r\n",
		"no header":          "HTTP/1.1 200 OK\r\n" + token + "\r\n\r\n",
		"no length":          "HTTP/1.1 200 OK\r\nContent-Length: " + token + "\r\n\r\n",
		"unknown encoding":   "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + token + "\r\n\r\n",
		"no place to go to":  "HTTP/1.1 302 Found\r\nLocation: http://[" + token + "\r\n\r\n",
		"another server":     "HTTP/1.1 302 Found\r\nLocation: http://" + token + "/\r\nContent-Length: 0\r\n\r\n",
		"a trailer, no name": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + token + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer "+token {
					t.Error("the token was not sent")
				}
				connection, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = connection.Write([]byte(answer)) // the source says what it makes of it
				_ = connection.Close()
			}))
			t.Cleanup(s.Close)
			_, err := remoteSource(t, SourceConfig{Location: s.URL, HTTP: HTTPConfig{Bearer: func() (string, error) { return token, nil }}}).Load(t.Context())
			if err == nil || strings.Contains(err.Error(), token) {
				t.Errorf("error %v, want one that does not quote the answer", err)
			}
		})
	}
}

func TestURLsThatAreRefused(t *testing.T) {
	for name, location := range map[string]string{
		"plaintext beyond this machine": "http://bundles.example/b.tar.gz",
		"credentials":                   "https://user:pass@bundles.example/b.tar.gz",
		"fragment":                      "https://bundles.example/b.tar.gz#x",
		"no host":                       "https:///b.tar.gz",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewSource(SourceConfig{Location: location, Read: ReadConfig{Name: "policy"}})
			if err == nil || strings.Contains(err.Error(), "pass@") {
				t.Errorf("%s: %v", location, err)
			}
		})
	}
}
