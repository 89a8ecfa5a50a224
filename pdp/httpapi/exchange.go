package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// exchange is one request and its answer. One goroutine owns it; it is used again afterwards, so nothing
// may keep it, or its buffers, beyond the answer.
type exchange struct {
	api   *API
	route *route
	w     http.ResponseWriter
	r     *http.Request
	ctx   context.Context // the request's, with the deadline
	start time.Time
	id    string

	caller  pdp.Caller
	grant   *Grant
	bearer  presented
	placed  bool  // holds one of its route's places
	reserve int64 // bytes taken of MaxBuffered

	status   int // 0 until the answer is written
	decision *pdp.Decision

	conn *connection // nil over TLS
	held promise

	decoder decoder
	body    []byte
	out     []byte
}

// ServeHTTP is the one line that every request walks.
func (rt *route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := rt.api
	x := a.pool.Get().(*exchange)
	x.route, x.w, x.r, x.start = rt, w, r, a.c.Now()
	x.id = a.requestID(r)
	deadline := deadline{Context: r.Context(), at: x.start.Add(a.c.Timeout), now: a.c.Now, caller: &x.caller, id: x.id, header: r.Header}
	if x.conn, _ = r.Context().Value(connectionKey{}).(*connection); x.conn != nil {
		x.conn.begin()
	}
	deadline.conn = x.conn
	x.ctx = &deadline
	defer x.end(&deadline)

	w.Header()["X-Request-Id"] = []string{x.id}
	if a.draining.Load() {
		w.Header().Set("Connection", "close")
	}
	if err := x.walk(); err != nil {
		x.refuse(asProblem(err))
	}
}

func (x *exchange) walk() error {
	if !x.route.anyHost {
		if err := x.api.addressed(x.r); err != nil {
			return err
		}
	}
	if x.route.places != nil && !x.route.late {
		if err := x.takePlace(); err != nil {
			return err
		}
	}
	if err := x.api.admit(x); err != nil {
		return err
	}
	return x.route.serve(x)
}

// end is deferred: it answers a panic, and finishes unless the answer is held.
func (x *exchange) end(d *deadline) {
	fault := recover()
	a, id := x.api, x.id
	if fault != nil && x.status == 0 && fault != http.ErrAbortHandler { //nolint:errorlint // compared as net/http does
		x.refuse(&problem{problemType: internal, detail: asProblem(nil).detail})
	}
	held := x.held.answer != nil
	d.cancel()
	if d.conn != nil {
		d.conn.end()
	}
	if !held { // else it may be over by now
		x.finish()
	}
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { //nolint:errorlint // as above
		panic(fault)
	}
	a.panicked(id, fault)
}

func (a *API) panicked(id string, fault any) {
	a.c.Log.Error("a handler panicked", "request_id", id, "fault", faultName(fault), "stack", string(debug.Stack()))
}

// finish gives back what an answered request took, counts and logs it. The exchange is another request's then.
func (x *exchange) finish() {
	a := x.api
	if x.placed {
		<-x.route.places
	}
	a.buffered.Add(-x.reserve)
	elapsed := a.c.Now().Sub(x.start)
	x.route.metrics.observe(x.status, elapsed)
	if x.decision != nil {
		a.metrics.decided(x.decision)
	}
	if a.c.AccessLog != nil {
		x.logAccess(elapsed)
	}
	x.clear()
	a.pool.Put(x)
}

// clear lets go of all that belongs to the request, and of buffers too large to keep.
func (x *exchange) clear() {
	x.route, x.w, x.r, x.ctx, x.id = nil, nil, nil, nil, ""
	x.caller, x.grant, x.bearer, x.placed, x.reserve = pdp.Caller{}, nil, presented{}, false, 0
	x.status, x.decision = 0, nil
	x.conn, x.held = nil, promise{}
	if x.body = x.body[:0]; cap(x.body) > retainedBuffer {
		x.body = nil
	}
	if x.out = x.out[:0]; cap(x.out) > retainedBuffer {
		x.out = nil
	}
	x.decoder.reset(nil)
}

// faultName describes a panic without values that the handler may have put into it.
func faultName(fault any) string {
	if err, ok := fault.(runtime.Error); ok {
		return err.Error()
	}
	return fmt.Sprintf("%T", fault)
}

// refuse writes a problem.
func (x *exchange) refuse(p *problem) {
	if p.status >= http.StatusInternalServerError {
		level := slog.LevelWarn
		if p.status == http.StatusInternalServerError {
			level = slog.LevelError
		}
		x.api.failures.tell(level, x.id, p.name, p.cause)
	}
	if p.status == status499 {
		x.status = status499
		return
	}
	if x.status != 0 {
		return // the answer has begun
	}
	if told := x.api.c.Refused; told != nil && (p.status == http.StatusUnauthorized || p.status == http.StatusForbidden) {
		told(Refusal{Caller: x.caller, Route: x.route.path, Problem: p.name, Status: p.status, RequestID: x.id})
	}
	h := x.w.Header()
	for _, field := range p.header {
		h[field[0]] = append(h[field[0]], field[1])
	}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	h.Set("Cache-Control", "no-store")
	if x.route.refusal != nil {
		x.route.refusal(x, p)
		return
	}
	x.write(p.status, "application/problem+json", p.appendJSON(x.out[:0], x.id))
}

// write sends the answer in one piece. body becomes the exchange's buffer again.
func (x *exchange) write(status int, contentType string, body []byte) {
	h := x.w.Header()
	if h["Content-Type"] = jsonType; contentType != jsonType[0] {
		h["Content-Type"] = []string{contentType}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	x.status, x.out = status, body
	x.w.WriteHeader(status)
	if x.r.Method != http.MethodHead {
		_, _ = x.w.Write(body) // an error means that the caller is gone
	}
}

// takePlace takes one of the places in flight, or waits briefly for one where few others do.
func (x *exchange) takePlace() error {
	a, places := x.api, x.route.places
	select {
	case places <- struct{}{}:
		x.placed = true
		return nil
	default:
	}
	if a.waiting.Add(1) <= int64(a.c.MaxInFlight) {
		timer := time.NewTimer(min(a.c.QueueTime, a.c.Timeout))
		defer timer.Stop()
		select {
		case places <- struct{}{}:
			a.waiting.Add(-1)
			x.placed = true
			return nil
		case <-x.ctx.Done():
		case <-timer.C:
		}
	}
	a.waiting.Add(-1)
	a.metrics.shed.Inc()
	return problemf(overloaded, "the server is at its limit; ask again").retry(retryAfter)
}

// read reads the whole body into the exchange's buffer, after its type was checked.
func (x *exchange) read() ([]byte, error) {
	if err := x.checkMedia(); err != nil {
		return nil, err
	}
	limit, length := x.api.c.MaxBody, x.r.ContentLength
	if x.route.longest > 0 {
		limit = min(limit, x.route.longest)
	}
	if length > limit {
		x.w.Header().Set("Connection", "close")
		return nil, problemf(tooLarge, "a body may have %d bytes", limit)
	}
	if x.body == nil {
		x.body = make([]byte, 0, initialBody)
	}
	// The body must come in time, its first byte too: until then the request holds a place. At the body's end net/http
	// lifts the deadline. Not every ResponseWriter has deadlines; a server's has. They are the machine's time, whatever
	// clock this API was given.
	_ = http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(x.api.c.Timeout))
	for int64(len(x.body)) <= limit {
		if len(x.body) == cap(x.body) {
			if err := x.grow(length); err != nil {
				return nil, err
			}
		}
		n, err := x.r.Body.Read(x.body[len(x.body):cap(x.body)])
		x.body = x.body[:len(x.body)+n]
		switch {
		case errors.Is(err, io.EOF) && int64(len(x.body)) <= limit:
			return x.body, nil
		case err != nil && !errors.Is(err, io.EOF):
			return nil, x.unread(err)
		}
	}
	x.w.Header().Set("Connection", "close")
	return nil, problemf(tooLarge, "a body may have %d bytes", limit)
}

// grow makes room for a body of that length, or twice what there is where it is not known, and takes
// what is large out of the budget of all large bodies.
func (x *exchange) grow(length int64) error {
	size := int64(2 * cap(x.body))
	if length > 0 {
		size = min(max(length, initialBody), 4*size)
	}
	if size > largeBody {
		more := size - x.reserve
		if x.api.buffered.Add(more) > x.api.c.MaxBuffered {
			x.api.buffered.Add(-more)
			x.api.metrics.shed.Inc()
			return problemf(overloaded, "too many large bodies are being read; ask again").retry(retryAfter)
		}
		x.reserve = size
	}
	grown := make([]byte, len(x.body), size)
	copy(grown, x.body)
	x.body = grown
	return nil
}

func (x *exchange) unread(err error) error {
	x.w.Header().Set("Connection", "close")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return problemf(requestTimeout, "the body did not come within %s", x.api.c.Timeout)
	}
	if x.r.Context().Err() != nil {
		return &problem{problemType: problemType{"gone", "The caller went away", status499}, cause: err}
	}
	return problemf(malformedJSON, "the body could not be read to its end")
}

// checkMedia refuses a body that is not said to be plain and of the route's type.
func (x *exchange) checkMedia() error {
	given, want := x.r.Header["Content-Type"], x.route.media
	if want == "" {
		want = "application/json"
	}
	if len(given) == 1 && given[0] == want && x.r.Header["Content-Encoding"] == nil {
		return nil
	}
	if coding := x.r.Header.Values("Content-Encoding"); len(coding) > 0 && !strings.EqualFold(strings.Join(coding, ","), "identity") {
		return problemf(unsupportedMedia, "the body must not be compressed").with("Accept-Encoding", "identity")
	}
	if len(given) == 1 {
		media, parameters, err := mime.ParseMediaType(given[0])
		charset, other := parameters["charset"]
		if err == nil && media == want && (!other || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return problemf(unsupportedMedia, "send the body with Content-Type: %s", want).with("Accept", want)
}
