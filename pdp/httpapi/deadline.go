package httpapi

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// deadline is a context that ends at a time, as context.WithDeadline's does, but makes its timer only
// when somebody first waits for Done. Most decisions are made of what is in memory and wait for nothing:
// for them a deadline costs a look at the clock, not a timer. Nor is their connection watched for a caller that leaves.
type deadline struct {
	context.Context
	at     time.Time
	now    func() time.Time
	caller *pdp.Caller // whose request this is, once that is known
	conn   *connection // nil where net/http watches every request
	id     string      // the request's, and its header
	header http.Header

	mu     sync.Mutex
	real   context.Context // mu; nil until Done was asked
	stop   context.CancelFunc
	closed bool // mu; the request is over
}

func (d *deadline) Deadline() (time.Time, bool) {
	if parent, ok := d.Context.Deadline(); ok && parent.Before(d.at) {
		return parent, true
	}
	return d.at, true
}

// Value answers pdp.CallerKey and pdp.OriginKey itself: contexts of their own for them would cost every request
// allocations.
func (d *deadline) Value(key any) any {
	switch key.(type) {
	case pdp.CallerKey:
		if d.caller != nil {
			return d.caller.Name
		}
	case pdp.OriginKey:
		traceID, spanID := trace(d.header["Traceparent"])
		return pdp.Origin{RequestID: d.id, TraceID: traceID, SpanID: spanID}
	}
	return d.Context.Value(key)
}

func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.real == nil {
		d.real, d.stop = context.WithTimeout(d.Context, d.at.Sub(d.now()))
		if d.closed {
			d.stop()
		} else if d.conn != nil {
			d.conn.want(d.stop)
		}
	}
	return d.real.Done()
}

// Err does not look for a caller who left before somebody asked for Done.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.real != nil:
		return d.real.Err()
	case d.closed:
		return context.Canceled
	case d.Context.Err() != nil:
		return d.Context.Err()
	case !d.now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// cancel ends the context with the request.
func (d *deadline) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.stop != nil {
		d.stop()
	}
}
