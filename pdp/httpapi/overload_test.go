package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// gate is a Decider whose decisions wait until they are let go.
type gate struct {
	entered chan struct{}
	open    chan struct{}
	inside  atomic.Int64
	most    atomic.Int64
}

func newGate() *gate { return &gate{entered: make(chan struct{}, 1000), open: make(chan struct{})} }

func (g *gate) Decide(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
	n := g.inside.Add(1)
	defer g.inside.Add(-1)
	for most := g.most.Load(); n > most && !g.most.CompareAndSwap(most, n); most = g.most.Load() {
	}
	g.entered <- struct{}{}
	<-g.open
	return allowed(r), nil
}

func TestOverloadIsShedAndWhatWasAcceptedIsAnswered(t *testing.T) {
	const places, callers = 4, 40
	g := newGate()
	server := start(t, func(c *httpapi.Config) {
		c.Decider, c.MaxInFlight, c.QueueTime, c.Timeout = g, places, time.Millisecond, time.Minute
	})
	statuses := make(chan int, callers)
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`)
			if a.StatusCode == 503 {
				a.wants(t, 503, "overloaded")
				if a.Header.Get("Retry-After") != "1" {
					t.Error("no Retry-After")
				}
			}
			statuses <- a.StatusCode
		})
	}
	for range places {
		<-g.entered
	}
	for range callers - places { // all others are shed while the places are held
		if status := <-statuses; status != 503 {
			t.Fatalf("status %d while all places were held", status)
		}
	}
	do(t, server.Client(), "GET", server.URL+"/livez", "").wantsStatus(t, 200)
	do(t, server.Client(), "GET", server.URL+"/readyz", "").wantsStatus(t, 200)
	if a := do(t, server.Client(), "GET", server.URL+"/metrics", "").wantsStatus(t, 200); !strings.Contains(a.body, "assay_http_in_flight 4\n") ||
		!strings.Contains(a.body, "assay_http_shed_total 36\n") {
		t.Error("the metrics do not show the overload")
	}
	close(g.open)
	callersDone.Wait()
	for range places {
		if status := <-statuses; status != 200 {
			t.Errorf("an accepted request was answered %d", status)
		}
	}
	if most := g.most.Load(); most != places {
		t.Errorf("%d decisions at once, limit %d", most, places)
	}
	do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`).wantsStatus(t, 200)
}

func TestAShortBurstWaits(t *testing.T) {
	g := newGate()
	server := start(t, func(c *httpapi.Config) {
		c.Decider, c.MaxInFlight, c.QueueTime, c.Timeout = g, 1, time.Minute, time.Minute
	})
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`).wantsStatus(t, 200)
		})
	}
	<-g.entered
	close(g.open)
	done.Wait()
}

func TestBatchesStayWithinThePlaces(t *testing.T) {
	const places = 3
	g := newGate()
	server := start(t, func(c *httpapi.Config) { c.Decider, c.MaxInFlight, c.Timeout = g, places, time.Minute })
	body := `{"items":[` + strings.TrimSuffix(strings.Repeat(`{"token":"a"},`, 50), ",") + `]}`
	done := make(chan answer)
	go func() { done <- do(t, server.Client(), "POST", server.URL+"/decide/batch", body) }()
	for range places { // the batch uses the places that are free
		<-g.entered
	}
	close(g.open)
	(<-done).wantsStatus(t, 200)
	if most := g.most.Load(); most != places {
		t.Errorf("%d decisions at once, limit %d", most, places)
	}
	metrics := do(t, server.Client(), "GET", server.URL+"/metrics", "").wantsStatus(t, 200)
	if !strings.Contains(metrics.body, "assay_http_in_flight 0\n") {
		t.Error("places were not given back")
	}
}

func TestABodyThatComesTooSlowly(t *testing.T) {
	address := serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Timeout = 50 * time.Millisecond })})
	response, err := http.ReadResponse(stall(t, address, "/decide", "application/json", "{"), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer{response, string(body)}.wants(t, 408, "request-timeout")
	if !response.Close {
		t.Error("the connection, out of step, stays open")
	}
}

func TestHeaderLimit(t *testing.T) {
	address := serve(t, httpapi.ServerConfig{API: build(t, nil), MaxHeader: 8 << 10})
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+address+"/livez", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Large", strings.Repeat("x", 32<<10))
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	// Its body is not read: net/http resets the connection half a second later, with the rest of the field unread.
	_ = response.Body.Close()
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestACallerThatGoesAwayEndsItsDecision(t *testing.T) {
	ended := make(chan error, 1)
	entered := make(chan struct{})
	server := start(t, func(c *httpapi.Config) {
		c.Timeout = time.Hour
		c.Decider = &judge{fn: func(ctx context.Context, _ *pdp.Request) (*pdp.Decision, error) {
			close(entered)
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, errors.Join(pdp.ErrUnavailable, ctx.Err())
		}}
	})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", server.URL+"/decide", strings.NewReader(`{"token":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	go func() { <-entered; cancel() }()
	if response, err := server.Client().Do(r); err == nil {
		_ = response.Body.Close()
		t.Error("answered")
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestShutdownLosesNoAcceptedRequest stops a server under load: whatever reached the Decider is answered,
// also what hung in it when the server was told to stop.
func TestShutdownLosesNoAcceptedRequest(t *testing.T) {
	g := newGate()
	api := build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = g, time.Minute })
	address, stop, served := run(t, httpapi.ServerConfig{API: api, ShutdownTimeout: time.Minute})
	const callers = 20
	answers := make(chan answer, callers)
	for range callers {
		go func() {
			answers <- do(t, http.DefaultClient, "POST", "http://"+address+"/decide", `{"token":"a"}`)
		}()
	}
	for range callers {
		<-g.entered
	}
	stop()
	for { // until the listener is closed
		conn, err := net.Dial("tcp", address)
		if err != nil {
			break
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	select {
	case err := <-served:
		t.Fatalf("Serve ended with %v while requests were being decided", err)
	default:
	}
	close(g.open)
	for range callers {
		(<-answers).wantsStatus(t, 200)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestShutdownEndsAtItsTimeout(t *testing.T) {
	g := newGate()
	api := build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = g, time.Minute })
	address, stop, served := run(t, httpapi.ServerConfig{API: api, ShutdownTimeout: time.Millisecond, DrainTime: time.Millisecond})
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/decide", strings.NewReader(`{"token":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-g.entered
	stop()
	if err := <-served; !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Serve ended with %v", err)
	}
	close(g.open)
	<-gone
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []struct {
		name string
		c    httpapi.Config
		want string
	}{
		{"no Decider", httpapi.Config{}, "Decider"},
		{"negative", httpapi.Config{Decider: &judge{}, MaxBody: -1}, "MaxBody"},
		{"nameless grant", httpapi.Config{Decider: &judge{}, Grants: []httpapi.Grant{{}}}, "caller"},
		{"grant to all", httpapi.Config{Decider: &judge{}, Grants: []httpapi.Grant{{Caller: "*"}}}, "one caller"},
		{"two grants", httpapi.Config{Decider: &judge{}, Grants: []httpapi.Grant{{Caller: "a"}, {Caller: "a"}}}, "two grants"},
		{"lifetime", httpapi.Config{Decider: &judge{}, Grants: []httpapi.Grant{{Caller: "a", Issue: []httpapi.IssueGrant{{MaxLifetime: 1}}}}}, "whole number"},
		{"no randomness", httpapi.Config{Decider: &judge{}, Random: strings.NewReader("")}, "randomness"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := httpapi.New(c.c); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	if _, err := httpapi.NewServer(httpapi.ServerConfig{}); err == nil {
		t.Error("a server without API")
	}
}
