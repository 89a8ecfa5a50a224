package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// held is the answer that a connection holds back until the record of its decision is on disk.
//
// The handler returns meanwhile, and net/http goes on to wait for the next request, as it does where nothing is recorded. To let
// the handler wait took a tenth more of both sides' time with 256 callers: each was put to sleep once more, and its stack had
// left the processor's caches when it went on. The answer is net/http's own, framed and all; what takes its place, where the
// record is not on disk after all, is framed like it.
//
// An answer goes out when two things have happened: net/http has written all of it, and the witness has heard. Whoever comes
// second sends it, and ends the exchange. One answer is held at a time: the next one's bytes wait for it to go out, and its handler
// for its own record.
type held struct {
	mu      sync.Mutex
	x       *exchange // whose answer is held; nil: none is
	text    []byte    // what net/http wrote of it
	whole   bool      // net/http has written all
	heard   bool      // index and err say what became of the record
	index   int64
	err     error
	closing bool          // net/http has closed the connection
	gone    chan struct{} // closed when the answer is out; made by who waits for that

	raw  syscall.RawConn
	try  func(fd uintptr) bool
	sent int   // by try
	fail error // likewise
}

// promise is what an exchange needs once its answer is let go. answer is nil where none is held.
type promise struct {
	pdp.Promised
	answer answerer
}

// answerer appends the body of a decision's answer, as its route has it.
type answerer func(dst []byte, d *pdp.Decision) ([]byte, error)

// sendTime is how long a caller may take to receive an answer that was held.
const sendTime = 30 * time.Second

func (h *held) prepare(plain *net.TCPConn) {
	raw, err := plain.SyscallConn()
	if err != nil {
		return // closed already
	}
	h.raw = raw
	h.try = func(fd uintptr) bool {
		h.sent, h.fail = send(fd, h.text)
		return true
	}
}

// promise makes the decision. Nothing waits for its record where the connection can hold the answer.
func (x *exchange) promise(request *pdp.Request) (pdp.Promised, error) {
	if x.api.promiser != nil && x.conn.free() {
		return x.api.promiser.Promise(x.ctx, request, x)
	}
	decision, err := x.api.c.Decider.Decide(x.ctx, request)
	return pdp.Promised{Decision: decision}, err
}

// free tells that the connection can hold an answer. c may be nil.
func (c *connection) free() bool {
	if c == nil || c.held.raw == nil {
		return false
	}
	c.held.mu.Lock()
	defer c.held.mu.Unlock()
	return c.held.x == nil
}

// hold holds back what is answered from here on.
func (x *exchange) hold(promised pdp.Promised, answer answerer) {
	x.held = promise{promised, answer}
	x.api.held.Add(1)
	h := &x.conn.held
	h.mu.Lock()
	h.x = x
	h.mu.Unlock()
}

// Recorded implements pdp.Witness.
func (x *exchange) Recorded(index int64, err error) {
	c := x.conn
	h := &c.held
	h.mu.Lock()
	h.heard, h.index, h.err = true, index, err
	due := h.whole
	h.mu.Unlock()
	if due {
		c.settle()
	}
}

// stateOf is net/http's ConnState: a connection that is idle has been given the whole answer.
func stateOf(c net.Conn, state http.ConnState) {
	if c, ok := c.(*connection); ok && state == http.StateIdle {
		c.written()
	}
}

// written is called once net/http has written the whole answer.
func (c *connection) written() {
	h := &c.held
	h.mu.Lock()
	due := h.complete()
	h.mu.Unlock()
	if due {
		c.settle()
	}
}

// complete notes that the whole answer is there, and tells whether it is to be settled by that. The caller holds mu.
func (h *held) complete() (due bool) {
	due = h.x != nil && !h.whole && h.heard
	h.whole = h.x != nil
	return due
}

// Write implements net.Conn.
func (c *connection) Write(p []byte) (int, error) {
	for {
		gone, kept := c.keep(p)
		switch {
		case kept:
			return len(p), nil
		case gone == nil:
			return c.TCPConn.Write(p)
		}
		<-gone
	}
}

// keep takes what belongs to the held answer. gone is not nil where p comes after it.
func (c *connection) keep(p []byte) (gone chan struct{}, kept bool) {
	h := &c.held
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.x == nil {
		return nil, false
	}
	if !h.whole {
		h.text = append(h.text, p...)
		return nil, true
	}
	if h.gone == nil {
		h.gone = make(chan struct{})
	}
	return h.gone, false
}

// Close implements net.Conn. A held answer goes out before.
func (c *connection) Close() error {
	c.mu.Lock()
	h := &c.held
	h.mu.Lock()
	if h.x == nil {
		h.mu.Unlock()
		c.mu.Unlock()
		return c.TCPConn.Close()
	}
	h.closing = true
	// While a request is handled, a server that is stopped closes it, and the handler, which has the exchange, goes on.
	due := !c.handling && h.complete()
	h.mu.Unlock()
	c.mu.Unlock()
	if due {
		c.settle()
	}
	return nil
}

// settle sends the answer, or another in its place. It is called once for each answer, and does not wait for the caller.
func (c *connection) settle() {
	h := &c.held
	if h.err != nil || !h.x.stands(h.index) {
		go h.x.correct(h.index, h.err)
		return
	}
	c.send()
}

// stands tells that the answer may go out as it is. What panics here does again in correct, where it is answered.
func (x *exchange) stands(index int64) (ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	return x.status != http.StatusOK || x.api.promiser.Stands(&x.held.Promised, index)
}

// send lets the answer go, without waiting for a caller who does not take it. The lock is held over it, so that what the caller
// asks next finds the connection free.
func (c *connection) send() {
	h := &c.held
	h.mu.Lock()
	h.sent, h.fail = 0, nil
	if err := h.raw.Write(h.try); err != nil {
		h.fail = err
	}
	if h.fail == nil && h.sent < len(h.text) {
		h.mu.Unlock()
		go c.sendRest()
		return
	}
	c.letGo(h.fail)
}

func (c *connection) sendRest() {
	_ = c.SetWriteDeadline(time.Now().Add(sendTime)) // net/http sets its own with the next request
	_, err := c.TCPConn.Write(c.held.text[c.held.sent:])
	c.held.mu.Lock()
	c.letGo(err)
}

// letGo ends the exchange of which the answer is out, or its caller gone. It unlocks what is held.
func (c *connection) letGo(failure error) {
	h := &c.held
	x, gone, closing := h.x, h.gone, h.closing
	if h.text = h.text[:0]; cap(h.text) > initialBody {
		h.text = nil
	}
	h.x, h.whole, h.heard, h.err, h.gone, h.closing = nil, false, false, nil, nil, false
	if closing || failure != nil { // which net/http reads, where it did not close the connection itself
		_ = c.TCPConn.Close() // before anything can be written past the answer
	}
	h.mu.Unlock()
	if gone != nil {
		close(gone)
	}
	x.over()
}

// over ends an exchange of which the answer was held. What panics in it, such as a handler of the access log, is caught here,
// since whoever lets answers go is none of net/http's goroutines and has others to tell.
func (x *exchange) over() {
	a, id := x.api, x.id
	defer a.held.Done()
	defer func() { _ = recover() }() // the log's handler, too
	defer func() {
		if fault := recover(); fault != nil {
			a.panicked(id, fault)
		}
	}()
	x.finish()
}

// correct puts another answer in the place of the one that is held: why there is none, or what is decided now.
func (x *exchange) correct(index int64, failure error) {
	c := x.conn
	w, err := rewrite(c.held.text, x.r)
	if err != nil { // net/http wrote no answer
		c.abandon()
		return
	}
	d := deadline{
		Context: context.WithoutCancel(x.r.Context()), at: x.start.Add(x.api.c.Timeout), now: x.api.c.Now,
		caller: &x.caller, id: x.id, header: x.r.Header,
	}
	x.ctx, x.w, x.status, x.decision = &d, w, 0, nil
	answered := x.reanswer(index, failure)
	d.cancel()
	if !answered {
		c.abandon()
		return
	}
	c.held.text = w.appendTo(c.held.text[:0])
	c.send()
}

// abandon closes the connection, of which the answer is held, without one.
func (c *connection) abandon() {
	c.held.text = nil
	_ = c.Close()
	c.send()
}

// reanswer is false where even to say that it panicked does.
func (x *exchange) reanswer(index int64, failure error) (answered bool) {
	defer func() { answered = recover() == nil }()
	defer func() {
		if fault := recover(); fault != nil {
			x.refuse(&problem{problemType: internal, detail: asProblem(nil).detail})
			x.api.panicked(x.id, fault)
		}
	}()
	decision, err := x.api.promiser.Confirm(x.ctx, &x.held.Promised, index, failure)
	if err != nil {
		x.refuse(asProblem(x.api.undecided(x, err)))
		return
	}
	if err := x.answered(decision, x.held.answer); err != nil {
		x.refuse(asProblem(err))
	}
	return
}

// rewriter is the ResponseWriter of an answer that is framed as another was.
type rewriter struct {
	response *http.Response
	body     bytes.Buffer
}

func rewrite(answer []byte, r *http.Request) (*rewriter, error) {
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
	if err != nil {
		return nil, err
	}
	_ = response.Body.Close() // of memory
	return &rewriter{response: &http.Response{
		ProtoMajor: response.ProtoMajor, ProtoMinor: response.ProtoMinor, Header: response.Header, Close: response.Close, Request: r,
	}}, nil
}

func (w *rewriter) Header() http.Header         { return w.response.Header }
func (w *rewriter) WriteHeader(status int)      { w.response.StatusCode = status }
func (w *rewriter) Write(p []byte) (int, error) { return w.body.Write(p) }

func (w *rewriter) appendTo(dst []byte) []byte {
	w.response.ContentLength = int64(w.body.Len())
	w.response.Body = io.NopCloser(&w.body)
	out := bytes.NewBuffer(dst)
	_ = w.response.Write(out) // to memory
	return out.Bytes()
}

// release waits until no answer is held any more. No request is being handled.
func (a *API) release(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		a.held.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("answers wait for their records: %w", ctx.Err())
	}
}
