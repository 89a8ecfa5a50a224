package httpapi

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

type nobody struct{}

func (nobody) Decide(context.Context, *pdp.Request) (*pdp.Decision, error) {
	return nil, errors.New("not to be asked")
}

// A server that is stopped may close the connection after the handler has ended and before net/http writes the answer. If the
// record then fails, nothing of what was promised goes out.
func TestNothingIsWrittenPastAClosedConnection(t *testing.T) {
	a, err := New(Config{Decider: nobody{}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	for range 100 {
		caller, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if err := caller.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		accepted, err := connections{l}.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c, ok := accepted.(*connection)
		if !ok {
			t.Fatalf("a %T", accepted)
		}
		x, ok := a.pool.Get().(*exchange)
		if !ok {
			t.Fatal("no exchange")
		}
		x.route, x.r, x.conn, x.start = a.routes[0], httptest.NewRequestWithContext(t.Context(), "POST", "/decide", nil), c, time.Now()
		c.begin()
		x.hold(pdp.Promised{Waits: true}, appendDecision)
		c.end()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		go x.Recorded(-1, errors.New("full"))
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")) // it may be refused
		if got, err := io.ReadAll(caller); len(got) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%q went out, %v", got, err)
		}
		_ = caller.Close()
	}
}

// net/http's time to write counts from the request's header, as its timeout does: what is answered late has time left.
func TestALateAnswerHasTimeToBeWritten(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, time.Minute} {
		a, err := New(Config{Decider: nobody{}, Timeout: timeout})
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(ServerConfig{API: a})
		if err != nil {
			t.Fatal(err)
		}
		if s.http.WriteTimeout < timeout+10*time.Second {
			t.Errorf("a request may take %s, and writing its answer ends after %s", timeout, s.http.WriteTimeout)
		}
	}
}
