package httpapi_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/httpapi"
)

// stall sends a request's header and that much of its body, and nothing more.
func stall(t *testing.T, address, path, media, begun string) *bufio.Reader {
	t.Helper()
	c := call(t, address)
	c.send(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n%s", path, media, begun))
	return c.answers
}

// A caller who sends no body at all holds a place no longer than one who sends a bit of it.
func TestABodyThatDoesNotBegin(t *testing.T) {
	address := serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Timeout = 50 * time.Millisecond })})
	for _, begun := range []string{"", "{"} {
		response, err := http.ReadResponse(stall(t, address, "/decide", "application/json", begun), nil)
		if err != nil {
			t.Fatalf("after %q: %v", begun, err)
		}
		if response.StatusCode != 408 || !response.Close {
			t.Errorf("after %q: status %d, closes %v", begun, response.StatusCode, response.Close)
		}
	}
}

// halting is a body that does not come until it is let go.
type halting struct{ asked, let chan struct{} }

func (h halting) Read([]byte) (int, error) {
	h.asked <- struct{}{}
	<-h.let
	return 0, io.EOF
}

// Anybody may deliver an event: what he does with his connections must not take the places of decisions, nor those of
// other events.
func TestStalledEventsTakeNobodysPlace(t *testing.T) {
	const stalled = 200
	api := build(t, func(c *httpapi.Config) {
		c.MaxInFlight, c.QueueTime, c.Events = 2, time.Millisecond, taker{}
	})
	post := func(path, media string, body io.Reader) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, body)
		r.Host = "localhost"
		r.Header.Set("Content-Type", media)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, r)
		return w
	}
	h := halting{make(chan struct{}, stalled), make(chan struct{})}
	var done sync.WaitGroup
	for range stalled {
		done.Go(func() {
			if w := post("/events", "application/secevent+jwt", h); w.Code == 503 {
				h.asked <- struct{}{}
				t.Error("an event was shed before anything of it came")
			}
		})
	}
	for range stalled {
		<-h.asked
	}
	if w := post("/decide", "application/json", strings.NewReader(`{"token":"a"}`)); w.Code != 200 {
		t.Errorf("a decision is answered %d: %s", w.Code, w.Body)
	}
	if w := post("/events", "application/secevent+jwt", strings.NewReader("e30.e30.e30")); w.Code != 202 {
		t.Errorf("an event is answered %d: %s", w.Code, w.Body)
	}
	close(h.let)
	done.Wait()
	if w := post("/events", "application/secevent+jwt", strings.NewReader(strings.Repeat("e", 64<<10+1))); w.Code != 413 {
		t.Errorf("a body that no event has is answered %d", w.Code)
	}
}

// taker takes every event.
type taker struct{}

func (taker) Receive(context.Context, string, string) error { return nil }
