package httpapi

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// connection is a plain connection on which the caller's leaving is looked for only while somebody waits for it, and answers can
// be held back. TLS connections stay as they are, since net/http must see their type.
//
// net/http looks for a caller who leaves during every request: a goroutine reads one byte ahead, and its error cancels the request's context.
// Beside an answer that waits for the log's disk, the goroutine, its read, its parking and its end take a tenth of
// what a recorded decision costs both sides. So that read is answered with nothing, which ends it, and the same is begun here
// when the deadline's Done is first asked for.
type connection struct {
	*net.TCPConn

	mu       sync.Mutex
	handling bool          // between begin and end
	read     bool          // net/http has lifted the deadline of reading: the request is read to its end
	spared   bool          // net/http's look ahead was
	wanted   bool          // somebody waits
	ended    chan struct{} // closed with the goroutine that reads ahead; nil where there is none

	// What that goroutine read, of the caller's next request, until the next read asks for it. Nobody else reads the connection
	// before the goroutine has ended.
	early    [1]byte
	hasEarly bool

	held held
}

type connectionKey struct{}

// connections gives those that are plain their type.
type connections struct{ net.Listener }

func (l connections) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if plain, ok := c.(*net.TCPConn); ok {
		return newConnection(plain), err
	}
	return c, err
}

func newConnection(plain *net.TCPConn) *connection {
	c := &connection{TCPConn: plain}
	c.held.prepare(plain)
	return c
}

func withConnection(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*connection); ok {
		return context.WithValue(ctx, connectionKey{}, c)
	}
	return ctx
}

// Read implements net.Conn.
func (c *connection) Read(p []byte) (int, error) {
	if c.hasEarly && len(p) > 0 {
		c.hasEarly = false
		return copy(p, c.early[:]), nil
	}
	if len(p) == 1 && c.spare() {
		return 0, nil
	}
	return c.TCPConn.Read(p)
}

// spare tells whether a read of one byte is net/http's look ahead, and is spared. It lifts the deadline of reading before it
// looks, and only then, while a request is handled; a body of which the last byte is asked for has one.
func (c *connection) spare() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spared = c.handling && c.read && !c.wanted
	c.read = false
	return c.spared
}

// SetReadDeadline implements net.Conn.
func (c *connection) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	c.read = c.handling && t.IsZero()
	c.mu.Unlock()
	return c.TCPConn.SetReadDeadline(t)
}

// begin and end are called around each request.
func (c *connection) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handling, c.read, c.spared, c.wanted = true, false, false, false
}

func (c *connection) end() {
	c.mu.Lock()
	c.handling = false
	ended := c.ended
	c.ended = nil
	c.mu.Unlock()
	if ended == nil {
		return
	}
	_ = c.TCPConn.SetReadDeadline(time.Unix(1, 0)) // an error means that the connection is closed, and so the read over
	<-ended
	_ = c.TCPConn.SetReadDeadline(time.Time{})
}

// want has left called, at most once and before end returns, when the caller goes away.
func (c *connection) want(left func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.handling || c.wanted {
		return
	}
	c.wanted = true
	if !c.spared {
		return // net/http looks, or will, and cancels the request's context
	}
	ended := make(chan struct{})
	c.ended = ended
	go func() {
		defer close(ended)
		switch n, err := c.TCPConn.Read(c.early[:]); {
		case n == 1:
			c.hasEarly = true
		case !errors.Is(err, os.ErrDeadlineExceeded):
			left()
		}
	}()
}
