package httpapi_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// caller is one plain connection, on which requests are written as they are.
type caller struct {
	net.Conn
	answers *bufio.Reader
}

func call(t *testing.T, address string) caller {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil { // sooner than serve's patience
		t.Fatal(err)
	}
	return caller{conn, bufio.NewReader(conn)}
}

func asking(token string) string {
	body := fmt.Sprintf(`{"token":%q}`, token)
	return fmt.Sprintf("POST /decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func (c caller) send(t *testing.T, text string) {
	t.Helper()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// reads gives one answer.
func (c caller) reads(t *testing.T) answer {
	t.Helper()
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{response, string(body)}
}

func (c caller) wants(t *testing.T, status int) {
	t.Helper()
	if got := c.reads(t).StatusCode; got != status {
		t.Errorf("status %d, not %d", got, status)
	}
}

// readingAhead counts net/http's goroutines that look for a caller's leaving.
func readingAhead() int {
	stacks := make([]byte, 1<<20)
	return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "ackgroundRead") // not begun yet: startBackgroundRead
}

// A decision that waits for nobody's context has no goroutine beside it.
func TestNothingReadsAheadUntilSomebodyWaits(t *testing.T) {
	g := newGate()
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = g, time.Minute })}))
	c.send(t, asking("a"))
	<-g.entered
	for began := time.Now(); readingAhead() > 0; time.Sleep(time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			t.Error("net/http reads ahead of a decision")
			break
		}
	}
	close(g.open)
	c.wants(t, 200)
}

// A caller who leaves ends what is waited for on his behalf, whenever the waiting begins.
func TestACallerWhoLeavesWhileADecisionWaits(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 60 * time.Millisecond} {
		t.Run(after.String(), func(t *testing.T) {
			entered, ended := make(chan struct{}), make(chan error, 1)
			j := &judge{fn: func(ctx context.Context, _ *pdp.Request) (*pdp.Decision, error) {
				time.Sleep(after)
				done := ctx.Done()
				close(entered)
				<-done
				ended <- ctx.Err()
				return nil, ctx.Err()
			}}
			c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = j, time.Minute })}))
			c.send(t, asking("a"))
			<-entered
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("ended by %v", err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("nobody noticed")
			}
		})
	}
}

// What a caller sends before the answer to what he sent before is answered in turn, whether or not somebody waits meanwhile, and
// in however small pieces it comes; afterwards the connection is as any other.
func TestRequestsThatComeBeforeTheAnswer(t *testing.T) {
	entered, open := make(chan struct{}), make(chan struct{})
	j := &judge{fn: func(ctx context.Context, r *pdp.Request) (*pdp.Decision, error) {
		var done <-chan struct{}
		if r.Token == "waits" {
			done = ctx.Done()
		}
		entered <- struct{}{}
		select {
		case <-open:
			return allowed(r), nil
		case <-done:
			return nil, ctx.Err()
		}
	}}
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = j, time.Minute })}))
	for round, first := range []string{"waits", "does not", "waits", "waits", "does not", "waits"} {
		for _, second := range []string{asking("waits"), asking("does not"), "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"} {
			c.send(t, asking(first))
			<-entered
			for i := 0; i < round; i++ { // the beginning in pieces
				c.send(t, second[i:i+1])
				time.Sleep(time.Millisecond)
			}
			c.send(t, second[round:])
			open <- struct{}{}
			c.wants(t, 200)
			if strings.HasPrefix(second, "POST") {
				<-entered
				open <- struct{}{}
			}
			c.wants(t, 200)
		}
	}
}

// What came early stays in its place where more than one request is ahead of it: the first two come in one piece, the third while
// the first waits.
func TestAThirdRequestBeforeTheFirstAnswer(t *testing.T) {
	entered, open := make(chan string), make(chan struct{})
	j := &judge{fn: func(ctx context.Context, r *pdp.Request) (*pdp.Decision, error) {
		time.Sleep(20 * time.Millisecond) // for net/http's look ahead to be spared
		done := ctx.Done()
		entered <- r.Token
		select {
		case <-open:
		case <-done:
			return nil, ctx.Err()
		}
		return allowed(r), nil
	}}
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = j, time.Minute })}))
	for range 3 {
		c.send(t, asking("a")+asking("b"))
		third := asking("c")
		for i, want := range []string{"a", "b", "c"} {
			if got := <-entered; got != want {
				t.Fatalf("%q is asked about in place of %q", got, want)
			}
			if i == 0 {
				c.send(t, third)
			}
			time.Sleep(20 * time.Millisecond) // for the watch to read of it
			open <- struct{}{}
			c.wants(t, 200)
		}
	}
}

// A body of which net/http asks for the last byte alone, since its buffer is full but for that, is read like any other.
func TestABodyWhoseLastByteIsReadAlone(t *testing.T) {
	const buffer = 4096 // of net/http
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, nil)}))
	body := `{"token":"a"}`
	c.send(t, fmt.Sprintf("POST /decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n", len(body), body))
	time.Sleep(50 * time.Millisecond)
	trailer := "X: " + strings.Repeat("a", buffer-len("X: \r\n\r\n")) + "\r\n\r\n"
	c.send(t, trailer[:buffer-1])
	time.Sleep(50 * time.Millisecond)
	c.send(t, trailer[buffer-1:])
	c.wants(t, 200)
}

// Where the time of a request is over, its caller is there still: he is answered, and may ask again.
func TestAWatchEndsWithTheRequest(t *testing.T) {
	j := &judge{fn: func(ctx context.Context, _ *pdp.Request) (*pdp.Decision, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	c := call(t, serve(t, httpapi.ServerConfig{API: build(t, func(c *httpapi.Config) { c.Decider, c.Timeout = j, 50*time.Millisecond })}))
	for range 20 {
		c.send(t, asking("a"))
		c.wants(t, 503)
	}
}
