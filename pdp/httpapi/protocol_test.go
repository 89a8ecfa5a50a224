package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

func TestMediaType(t *testing.T) {
	server := start(t, nil)
	for _, c := range []struct {
		name   string
		fields []string
		status int
	}{
		{"plain", []string{"Content-Type: application/json"}, 200},
		{"charset", []string{"Content-Type: Application/JSON; charset=UTF-8"}, 200},
		{"identity", []string{"Content-Encoding: identity"}, 200},
		{"none", []string{"Content-Type: "}, 415},
		{"form", []string{"Content-Type: application/x-www-form-urlencoded"}, 415},
		{"text", []string{"Content-Type: text/plain"}, 415},
		{"latin", []string{"Content-Type: application/json; charset=iso-8859-1"}, 415},
		{"suffix", []string{"Content-Type: application/problem+json"}, 415},
		{"broken", []string{"Content-Type: application/json; =;"}, 415},
		{"gzip", []string{"Content-Encoding: gzip"}, 415},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, c.fields...)
			if c.status == 200 {
				a.wantsStatus(t, 200)
				return
			}
			a.wants(t, 415, "unsupported-media-type")
		})
	}
}

func TestHost(t *testing.T) {
	server := start(t, func(c *httpapi.Config) { c.Hosts = httpapi.DefaultHosts("pdp.internal:8080", "Assay.Example") })
	for _, c := range []struct {
		host, path string
		status     int
	}{
		{"localhost", "/openapi.json", 200},
		{"LOCALHOST:99", "/openapi.json", 200},
		{"assay.example", "/openapi.json", 200},
		{"assay.example.:443", "/openapi.json", 200},
		{"pdp.internal:8080", "/openapi.json", 200},
		{"[::1]:8080", "/openapi.json", 200},
		{"evil.example", "/openapi.json", 421},
		{"localhost.evil.example", "/openapi.json", 421},
		{"evil.example", "/nothing", 421},
		{"192.0.2.1", "/.well-known/jwks.json", 421},
		{"192.0.2.1", "/livez", 200},
		{"192.0.2.1:1", "/readyz", 200},
	} {
		t.Run(c.host+c.path, func(t *testing.T) {
			a := do(t, server.Client(), "GET", server.URL+c.path, "", "Host: "+c.host)
			if c.status == 421 {
				a.wants(t, 421, "misdirected")
				return
			}
			a.wantsStatus(t, c.status)
		})
	}
	t.Run("the address a connection came in on", func(t *testing.T) {
		server := start(t, func(c *httpapi.Config) { c.Hosts = []string{"assay.example"} })
		do(t, server.Client(), "GET", server.URL+"/openapi.json", "").wantsStatus(t, 200)
		do(t, server.Client(), "GET", server.URL+"/openapi.json", "", "Host: 127.0.0.2").wants(t, 421, "misdirected")
	})
	t.Run("any", func(t *testing.T) {
		server := start(t, func(c *httpapi.Config) { c.Hosts = []string{httpapi.Any} })
		do(t, server.Client(), "GET", server.URL+"/openapi.json", "", "Host: x.example").wantsStatus(t, 200)
	})
}

func TestUnroutedRequests(t *testing.T) {
	server := start(t, nil)
	for _, c := range []struct {
		method, path, allow string
		status              int
		problem             string
	}{
		{"GET", "/", "", 404, "not-found"},
		{"POST", "/decide/", "", 404, "not-found"},
		{"POST", "//decide", "", 404, "not-found"},
		{"POST", "/x/../decide", "", 404, "not-found"},
		{"POST", "/Decide", "", 404, "not-found"},
		{"POST", "/tokens", "", 404, "not-found"},
		{"GET", "/decide", "POST", 405, "method-not-allowed"},
		{"PUT", "/decide", "POST", 405, "method-not-allowed"},
		{"OPTIONS", "/decide/batch", "POST", 405, "method-not-allowed"},
		{"BREW", "/decide", "POST", 405, "method-not-allowed"},
		{"POST", "/livez", "GET, HEAD", 405, "method-not-allowed"},
		{"DELETE", "/.well-known/jwks.json", "GET, HEAD", 405, "method-not-allowed"},
	} {
		t.Run(c.method+" "+c.path, func(t *testing.T) {
			a := do(t, server.Client(), c.method, server.URL+c.path, "")
			a.wants(t, c.status, c.problem)
			if got := a.Header.Get("Allow"); got != c.allow {
				t.Errorf("Allow %q, want %q", got, c.allow)
			}
		})
	}
}

func TestBodyLimit(t *testing.T) {
	server := start(t, func(c *httpapi.Config) { c.MaxBody = 100_000 })
	body := func(n int) string {
		const frame = `{"token":""}`
		return `{"token":"` + strings.Repeat("x", n-len(frame)) + `"}`
	}
	chunked := func(t *testing.T, body string) answer {
		r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/decide", io.MultiReader(strings.NewReader(body)))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		return send(t, server.Client(), r)
	}
	do(t, server.Client(), "POST", server.URL+"/decide", body(100_000)).wantsStatus(t, 200)
	do(t, server.Client(), "POST", server.URL+"/decide", body(100_001)).wants(t, 413, "too-large")
	chunked(t, body(100_000)).wantsStatus(t, 200)
	chunked(t, body(100_001)).wants(t, 413, "too-large")
	chunked(t, "").wants(t, 400, "malformed-json")
}

func TestContentLengthIsCheckedBeforeTheBodyIsRead(t *testing.T) {
	r := httptest.NewRequest("POST", "/decide", unreadable{})
	r.ContentLength = 2 << 20
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	build(t, nil).ServeHTTP(w, r)
	if w.Code != 413 {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

type unreadable struct{}

func (unreadable) Read([]byte) (int, error) { return 0, errors.New("the body was read") }

func TestABodyThatEndsEarlyIsRefused(t *testing.T) {
	r := httptest.NewRequest("POST", "/decide", io.MultiReader(strings.NewReader(`{"token"`), unreadable{}))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	build(t, nil).ServeHTTP(w, r)
	if w.Code != 400 || strings.Contains(w.Body.String(), "was read") {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}

func TestLargeBodiesShareABudget(t *testing.T) {
	server := start(t, func(c *httpapi.Config) { c.MaxBuffered = 200_000 })
	large := `{"token":"` + strings.Repeat("x", 150_000) + `"}`
	for range 3 { // what one took is given back
		do(t, server.Client(), "POST", server.URL+"/decide", large).wantsStatus(t, 200)
	}
	a := do(t, server.Client(), "POST", server.URL+"/decide", large+strings.Repeat(" ", 100_000))
	a.wants(t, 503, "overloaded")
	do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"small"}`).wantsStatus(t, 200)
}

func TestRequestID(t *testing.T) {
	j := &judge{}
	server := start(t, func(c *httpapi.Config) { c.Decider, c.Random = j, bytes.NewReader(make([]byte, 8)) })
	for _, c := range []struct {
		name, given string
		kept        bool
	}{
		{"kept", "X-Request-Id: Root=1-67891233:abc/def+g=.", true},
		{"a mail address", "X-Request-Id: alice@example.org", false},
		{"a piece of a token", "X-Request-Id: eyJhbGciOiJFUzI1NiJ9", false},
		{"longest", "X-Request-Id: " + strings.Repeat("a", 128), true},
		{"too long", "X-Request-Id: " + strings.Repeat("a", 129), false},
		{"space", "X-Request-Id: a b", false},
		{"quote", `X-Request-Id: a"b`, false},
		{"none", "X-Nothing: x", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, c.given).wantsStatus(t, 200).Header.Get("X-Request-Id")
			_, value, _ := strings.Cut(c.given, ": ")
			if (got == value) != c.kept || (!c.kept && !strings.HasPrefix(got, "0000000000000000-")) {
				t.Errorf("echoed %q", got)
			}
			if asked := j.last(t).ID; asked != got {
				t.Errorf("the Decider got id %q, the caller %q", asked, got)
			}
		})
	}
	t.Run("two", func(t *testing.T) {
		got := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, "X-Request-Id: a", "X-Request-Id: b")
		if id := got.Header.Get("X-Request-Id"); id == "a" || id == "b" {
			t.Errorf("echoed %q", id)
		}
	})
}

func TestAccessLog(t *testing.T) {
	var log bytes.Buffer
	clock := moment
	api := build(t, func(c *httpapi.Config) {
		c.AccessLog = slog.New(slog.NewJSONHandler(&log, nil))
		c.Now = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	})
	serve := func(method, path, body string, fields ...string) map[string]any {
		t.Helper()
		log.Reset()
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Host = "localhost"
		r.Header.Set("Content-Type", "application/json")
		for _, f := range fields {
			name, value, _ := strings.Cut(f, ": ")
			r.Header.Add(name, value)
		}
		api.ServeHTTP(httptest.NewRecorder(), r)
		if strings.Contains(log.String(), "s3cret") {
			t.Errorf("the log holds what it must not: %s", &log)
		}
		var event map[string]any
		if err := json.Unmarshal(log.Bytes(), &event); err != nil {
			t.Fatalf("not one event: %v in %q", err, log.String())
		}
		return event
	}
	wants := func(t *testing.T, event map[string]any, want map[string]any) {
		t.Helper()
		for name, value := range want {
			if event[name] != value {
				t.Errorf("%s is %v, want %v", name, event[name], value)
			}
		}
	}
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	event := serve("POST", "/decide?token=s3cret", `{"token":"s3cret","context":{"a":"s3cret"}}`,
		"X-Request-Id: r-1", "Traceparent: 00-"+trace+"-00f067aa0ba902b7-01", "Authorization: Bearer s3cret")
	wants(t, event, map[string]any{
		"msg": "request", "method": "POST", "route": "/decide", "status": 200.0, "request_id": "r-1", "decision_id": "01JDECISION",
		"allow": true, "trace_id": trace, "parent_id": "00f067aa0ba902b7", "duration_us": 1000.0,
	})
	wants(t, serve("POST", "/decide", `{"token":"s3cret","s3":1}`), map[string]any{"status": 400.0, "allow": nil, "trace_id": nil})
	wants(t, serve("GET", "/s3cret", ""), map[string]any{"status": 404.0, "route": ""})
	for _, bad := range []string{
		"00-" + trace + "-00f067aa0ba902b7", "00-" + trace + "-00f067aa0ba902b7-01-x", "ff-" + trace + "-00f067aa0ba902b7-01",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01", "00-" + trace + "-0000000000000000-01",
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01", "00-" + trace + "-00f067aa0ba902b7-0g",
	} {
		wants(t, serve("GET", "/livez", "", "Traceparent: "+bad), map[string]any{"trace_id": nil})
	}
	wants(t, serve("GET", "/livez", "", "Traceparent: 01-"+trace+"-00f067aa0ba902b7-01-more"), map[string]any{"trace_id": trace})
}

func TestFaultsAreLoggedWithoutTheirValues(t *testing.T) {
	var log bytes.Buffer
	api := build(t, func(c *httpapi.Config) {
		c.Log = slog.New(slog.NewJSONHandler(&log, nil))
		c.Decider = &judge{fn: func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) { panic("s3cret " + r.Token) }}
	})
	r := httptest.NewRequest("POST", "/decide", strings.NewReader(`{"token":"s3cret"}`))
	r.Host = "localhost"
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	if w.Code != 500 || !strings.Contains(log.String(), "a handler panicked") || !strings.Contains(log.String(), w.Header().Get("X-Request-Id")) {
		t.Errorf("status %d, log %s", w.Code, &log)
	}
	if strings.Contains(log.String(), "s3cret") {
		t.Error("the log holds the panic's value")
	}
}
