package keyset

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serve answers every request with handler, at an http URL on loopback.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func document(body []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { write(w, body) }
}

// write ignores what the client does with it: some tests hang up.
func write(w http.ResponseWriter, body []byte) { _, _ = w.Write(body) }

// unhurried are HTTP settings under which no answer comes too late, on however slow a machine.
func unhurried(c HTTPConfig) HTTPConfig {
	c.Timeout = orDefault(c.Timeout, 3*time.Minute)
	return c
}

func urlSourceFor(t *testing.T, address string, c HTTPConfig) Source {
	t.Helper()
	c = unhurried(c)
	source, err := URL(address, c)
	if err != nil {
		t.Fatal(err)
	}
	return source
}

func ids(loaded Loaded) string {
	var list []string
	for _, key := range loaded.Keys {
		list = append(list, key.ID)
	}
	return strings.Join(list, " ")
}

func TestURLFaults(t *testing.T) {
	good := jwks(t, ecMember(t, elliptic.P256(), "k"))
	for name, tc := range map[string]struct {
		handler http.HandlerFunc
		says    string
	}{
		"500":                      {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "secret detail", 500) }, "answered 500 Internal Server Error"},
		"404":                      {http.NotFound, "answered 404"},
		"204":                      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, "answered 204"},
		"304 without having asked": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, "answered 304"},
		"garbage":                  {document([]byte("<html>hello</html>")), "not a JWK Set"},
		"nothing":                  {document(nil), "not a JWK Set"},
		"half of it":               {document(good[:len(good)/2]), "not a JWK Set"},
		"a broken connection": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			write(w, good)
		}, "unexpected EOF"},
		"a huge document":         {document(append(good, strings.Repeat(" ", MaxJWKSBytes)...)), "longer than 524288 bytes"},
		"an endless document":     {endless, "longer than 524288 bytes"},
		"an endless header":       {endlessHeader, "headers exceeded"},
		"a private key":           {document(jwks(t, edMember(t, "k").with("d", "AA"))), "private key"},
		"a redirect to itself":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", 302) }, "more than 3 times"},
		"a redirect elsewhere":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://127.0.0.1:9/jwks", 302) }, "another origin"},
		"a redirect to a file":    {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "file:///etc/passwd", 302) }, "another origin"},
		"a redirect to https":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "https://"+r.Host+"/jwks", 301) }, "another origin"},
		"a redirect to no place":  {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, "answered 302"},
		"a redirect to user info": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "http://a:b@"+r.Host+"/jwks", 302) }, "more than 3 times"},
	} {
		t.Run(name, func(t *testing.T) {
			loaded, err := urlSourceFor(t, serve(t, tc.handler), HTTPConfig{}).Load(t.Context())
			if err == nil || !strings.Contains(err.Error(), tc.says) || len(loaded.Keys) > 0 {
				t.Fatalf("%d keys, error %v; want one that says %q", len(loaded.Keys), err, tc.says)
			}
			if strings.Contains(err.Error(), "secret detail") {
				t.Errorf("the error repeats the response: %v", err)
			}
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	line := []byte(strings.Repeat(" ", 64<<10))
	for {
		if _, err := w.Write(line); err != nil {
			return
		}
	}
}

func endlessHeader(w http.ResponseWriter, _ *http.Request) {
	for i := range 100 {
		w.Header().Set(fmt.Sprint("X-", i), strings.Repeat("x", 1024))
	}
}

func TestURLThatNeverAnswers(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	for name, handler := range map[string]http.HandlerFunc{
		"no header": func(_ http.ResponseWriter, _ *http.Request) { <-release },
		"no body": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200)
			w.(http.Flusher).Flush()
			<-release
		},
	} {
		server := httptest.NewServer(handler)
		t.Run(name+", until the timeout", func(t *testing.T) {
			_, err := urlSourceFor(t, server.URL, HTTPConfig{Timeout: 50 * time.Millisecond}).Load(t.Context())
			var timeout interface{ Timeout() bool }
			if !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Errorf("got %v, want a timeout", err)
			}
		})
		t.Run(name+", until the caller gives up", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := urlSourceFor(t, server.URL, HTTPConfig{Timeout: time.Hour}).Load(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the context's error", err)
			}
		})
		server.CloseClientConnections()
	}
}

func TestURLFollowsRedirectsWithinItsOrigin(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/jwks", http.RedirectHandler("/v2/jwks", http.StatusMovedPermanently))
	mux.HandleFunc("/v2/jwks", document(jwks(t, edMember(t, "k"))))
	loaded, err := urlSourceFor(t, serve(t, mux.ServeHTTP)+"/jwks", HTTPConfig{}).Load(t.Context())
	if err != nil || ids(loaded) != "k" {
		t.Error(ids(loaded), err)
	}
}

func TestURLAsksForChangesOnly(t *testing.T) {
	var set atomic.Pointer[[]byte]
	first, second := jwks(t, edMember(t, "first")), jwks(t, edMember(t, "second"))
	set.Store(&first)
	for validator, ask := range map[string]string{"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"} {
		t.Run(validator, func(t *testing.T) {
			var sent, spared atomic.Int32
			current := map[*byte]string{&first[0]: "Mon, 23 Nov 2026 18:00:00 GMT", &second[0]: "Tue, 24 Nov 2026 18:00:00 GMT"}
			set.Store(&first)
			source := urlSourceFor(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
				body := *set.Load()
				w.Header().Set(validator, current[&body[0]])
				w.Header().Set("Cache-Control", "public, max-age=120")
				if r.Header.Get(ask) == current[&body[0]] {
					spared.Add(1)
					w.WriteHeader(http.StatusNotModified)
					return
				}
				sent.Add(1)
				write(w, body)
			}), HTTPConfig{})
			for i, step := range []struct {
				set          *[]byte
				ids          string
				sent, spared int32
			}{{&first, "first", 1, 0}, {&first, "first", 1, 1}, {&second, "second", 2, 1}, {&second, "second", 2, 2}} {
				set.Store(step.set)
				loaded, err := source.Load(t.Context())
				if err != nil || ids(loaded) != step.ids || loaded.Next != 2*time.Minute {
					t.Fatalf("step %d: keys %q, next %s, error %v", i, ids(loaded), loaded.Next, err)
				}
				if sent.Load() != step.sent || spared.Load() != step.spared {
					t.Fatalf("step %d: sent %d and spared %d, want %d and %d", i, sent.Load(), spared.Load(), step.sent, step.spared)
				}
			}
		})
	}
}

// What a broken response said of itself must not be asked for: a 304 to it would bring back older keys.
func TestURLForgetsTheValidatorOfWhatItRefused(t *testing.T) {
	var broken atomic.Bool
	good := jwks(t, edMember(t, "k"))
	source := urlSourceFor(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		tag, body := `"good"`, good
		if broken.Load() {
			tag, body = `"broken"`, []byte("{")
		}
		w.Header().Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		write(w, body)
	}), HTTPConfig{})
	for i, isBroken := range []bool{false, true, true, false} {
		broken.Store(isBroken)
		if _, err := source.Load(t.Context()); (err != nil) != isBroken {
			t.Errorf("step %d: error %v", i, err)
		}
	}
}

func TestWhenURLIsAskedAgain(t *testing.T) {
	c := HTTPConfig{Refresh: 7 * time.Minute, MinRefresh: time.Minute, MaxRefresh: time.Hour}
	for name, tc := range map[string]struct {
		header http.Header
		want   time.Duration
	}{
		"no header":              {http.Header{}, 7 * time.Minute},
		"within the bounds":      {http.Header{"Cache-Control": {"max-age=300"}}, 5 * time.Minute},
		"with other directives":  {http.Header{"Cache-Control": {"public, MAX-AGE=300, must-revalidate"}}, 5 * time.Minute},
		"in a second line":       {http.Header{"Cache-Control": {"public", "max-age=300"}}, 5 * time.Minute},
		"quoted":                 {http.Header{"Cache-Control": {`max-age="300"`}}, 5 * time.Minute},
		"less its age":           {http.Header{"Cache-Control": {"max-age=300"}, "Age": {"100"}}, 200 * time.Second},
		"older than its life":    {http.Header{"Cache-Control": {"max-age=300"}, "Age": {"900"}}, time.Minute},
		"below the least":        {http.Header{"Cache-Control": {"max-age=59"}}, time.Minute},
		"at the least":           {http.Header{"Cache-Control": {"max-age=60"}}, time.Minute},
		"at the most":            {http.Header{"Cache-Control": {"max-age=3600"}}, time.Hour},
		"above the most":         {http.Header{"Cache-Control": {"max-age=3601"}}, time.Hour},
		"huge":                   {http.Header{"Cache-Control": {"max-age=99999999999999999999999"}}, time.Hour},
		"negative":               {http.Header{"Cache-Control": {"max-age=-1"}}, time.Minute},
		"no number":              {http.Header{"Cache-Control": {"max-age=soon"}}, time.Minute},
		"no-store":               {http.Header{"Cache-Control": {"no-store"}}, time.Minute},
		"no-cache with max-age":  {http.Header{"Cache-Control": {"max-age=300, no-cache"}}, time.Minute},
		"s-maxage is for others": {http.Header{"Cache-Control": {"s-maxage=300"}}, 7 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			if got := c.refreshIn(tc.header); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
}

func TestURLIsAskedAgainByDefault(t *testing.T) {
	loaded, err := urlSourceFor(t, serve(t, document(jwks(t))), HTTPConfig{}).Load(t.Context())
	if err != nil || loaded.Next != DefaultRefresh {
		t.Errorf("next %s, error %v; want %s", loaded.Next, err, DefaultRefresh)
	}
}

func TestURLsThatAreRefused(t *testing.T) {
	for name, address := range map[string]string{
		"empty":                     "",
		"relative":                  "/jwks.json",
		"no host":                   "https:///jwks.json",
		"no host but a port":        "https://:443/",
		"plaintext":                 "http://idp.example/jwks",
		"plaintext by address":      "http://192.0.2.1/jwks",
		"loopback as a prefix":      "http://127.0.0.1.example/jwks",
		"localhost as a suffix":     "http://evil.localhost/jwks",
		"a file":                    "file:///etc/passwd",
		"another scheme":            "ftp://idp.example/jwks",
		"credentials":               "https://user:hunter2@idp.example/jwks",
		"a fragment":                "https://idp.example/jwks#x",
		"a control character":       "https://idp.example/\n",
		"opaque":                    "https:idp.example",
		"longer than any needs be":  "https://idp.example/" + strings.Repeat("x", 2048),
		"not of this world's hosts": "https://[::1/",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := URL(address, HTTPConfig{})
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestURLsThatAreAccepted(t *testing.T) {
	for name, tc := range map[string]struct {
		address string
		config  HTTPConfig
	}{
		"https":                  {"https://idp.example/jwks?p=policy", HTTPConfig{}},
		"loopback":               {"http://127.0.0.1:8080/jwks", HTTPConfig{}},
		"loopback, IPv6":         {"http://[::1]:8080/jwks", HTTPConfig{}},
		"loopback, by name":      {"http://localhost/jwks", HTTPConfig{}},
		"loopback, other":        {"http://127.9.9.9/jwks", HTTPConfig{}},
		"plaintext where wanted": {"http://idp.example/jwks", HTTPConfig{AllowPlaintext: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := URL(tc.address, tc.config); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestHTTPConfigThatIsRefused(t *testing.T) {
	for name, c := range map[string]HTTPConfig{
		"negative timeout":        {Timeout: -1},
		"negative size":           {MaxBytes: -1},
		"too large a size":        {MaxBytes: MaxJWKSBytes + 1},
		"negative refresh":        {Refresh: -1},
		"negative least refresh":  {MinRefresh: -1},
		"bounds that are crossed": {MinRefresh: 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := URL("https://idp.example", c); err == nil {
				t.Error("accepted")
			}
			if _, err := Discovery("https://idp.example", c); err == nil {
				t.Error("accepted for discovery")
			}
		})
	}
}

func TestURLByTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(document(jwks(t, edMember(t, "k"))))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it reports the client that does not trust it
	server.StartTLS()
	defer server.Close()
	loaded, err := urlSourceFor(t, server.URL, HTTPConfig{Transport: server.Client().Transport}).Load(t.Context())
	if err != nil || ids(loaded) != "k" {
		t.Error("with its CA:", ids(loaded), err)
	}
	if _, err := urlSourceFor(t, server.URL, HTTPConfig{}).Load(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without its CA: %v", err)
	}
}

func TestURLWithASmallerLimit(t *testing.T) {
	set := jwks(t, edMember(t, "k"))
	address := serve(t, document(set))
	if _, err := urlSourceFor(t, address, HTTPConfig{MaxBytes: int64(len(set))}).Load(t.Context()); err != nil {
		t.Error("at the limit:", err)
	}
	if _, err := urlSourceFor(t, address, HTTPConfig{MaxBytes: int64(len(set)) - 1}).Load(t.Context()); err == nil {
		t.Error("accepted past the limit")
	}
}
