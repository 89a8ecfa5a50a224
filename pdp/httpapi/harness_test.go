package httpapi_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// moment is what time it is in these tests.
var moment = time.Date(2026, 11, 23, 18, 0, 0, 0, time.UTC)

// judge is a Decider that allows and remembers what it was asked; fn replaces its answer.
type judge struct {
	mu    sync.Mutex
	asked []pdp.Request
	fn    func(ctx context.Context, r *pdp.Request) (*pdp.Decision, error)
}

func (j *judge) Decide(ctx context.Context, r *pdp.Request) (*pdp.Decision, error) {
	j.mu.Lock()
	j.asked = append(j.asked, *r)
	j.mu.Unlock()
	if j.fn != nil {
		return j.fn(ctx, r)
	}
	return allowed(r), nil
}

// last is the request asked last.
func (j *judge) last(t *testing.T) pdp.Request {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.asked) == 0 {
		t.Fatal("the Decider was not asked")
	}
	return j.asked[len(j.asked)-1]
}

func allowed(r *pdp.Request) *pdp.Decision {
	return &pdp.Decision{
		ID: "01JDECISION", Allow: true,
		Token:  pdp.TokenSummary{Status: pdp.StatusVerified, Kind: "jws", Algorithm: "ES256", Issuer: "https://idp.example"},
		Claims: map[string]any{"sub": r.Token, "aud": "assay"}, CacheForSeconds: 30, PolicyRevision: "r1", EvaluatedAt: moment,
	}
}

func denied(code string) *pdp.Decision {
	return &pdp.Decision{
		ID: "01JDENIED", Reasons: []pdp.Reason{{Code: code, Message: "no", Severity: pdp.High, Enforcement: pdp.Deny}},
		Token: pdp.TokenSummary{Status: pdp.StatusVerified}, EvaluatedAt: moment,
	}
}

// start serves an API with sensible test settings, changed by change.
func start(t *testing.T, change func(*httpapi.Config)) *httptest.Server {
	t.Helper()
	return startAPI(t, build(t, change))
}

func startAPI(t *testing.T, api *httpapi.API) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	return server
}

func build(t testing.TB, change func(*httpapi.Config)) *httpapi.API {
	t.Helper()
	// No request is to end because a busy machine took longer over it than the default's second.
	c := httpapi.Config{Decider: &judge{}, Hosts: httpapi.DefaultHosts("127.0.0.1:0"), Open: true, Timeout: 3 * time.Minute}
	if change != nil {
		change(&c)
	}
	api, err := httpapi.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return api
}

// answer is a response with its body read.
type answer struct {
	*http.Response
	body string
}

// problem decodes the body of a refusal and checks what every refusal has.
func (a answer) problem(t *testing.T) map[string]any {
	t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	var p map[string]any
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Fatalf("the problem is not JSON: %v in %s", err, a.body)
	}
	if p["status"] != float64(a.StatusCode) || p["request_id"] != a.Header.Get("X-Request-Id") || p["title"] == "" || p["detail"] == "" {
		t.Errorf("incomplete problem: %s", a.body)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		t.Error("a problem may be cached")
	}
	return p
}

// wants fails the test unless the answer is a problem of that status and type.
func (a answer) wants(t *testing.T, status int, name string) map[string]any {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	p := a.problem(t)
	if p["type"] != "urn:assay:problem:"+name {
		t.Errorf("type %v, want %s: %s", p["type"], name, a.body)
	}
	return p
}

func (a answer) wantsStatus(t *testing.T, status int) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d: %s", a.StatusCode, status, a.body)
	}
	return a
}

// do sends a request; fields are "Name: value". A field without value removes what is set by default.
func do(t *testing.T, client *http.Client, method, url, body string, fields ...string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, field := range fields {
		name, value, _ := strings.Cut(field, ": ")
		switch {
		case name == "Host":
			r.Host = value
		case value == "":
			r.Header.Del(name)
		case name == "Content-Type":
			r.Header.Set(name, value)
		default:
			r.Header.Add(name, value)
		}
	}
	return send(t, client, r)
}

func send(t *testing.T, client *http.Client, r *http.Request) answer {
	t.Helper()
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}
