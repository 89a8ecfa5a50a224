package pdp

import "context"

// CallerKey is the key under which a request's context holds the name of the caller (Caller.Name) who asks, so
// that what a token costs can be put down to whoever sent it.
type CallerKey struct{}

// CallerOf names the caller on whose behalf work is done; empty for one that is not known.
func CallerOf(ctx context.Context) string {
	name, _ := ctx.Value(CallerKey{}).(string)
	return name
}

// Origin says by which request something was caused, in the words of the caller's own logs and traces.
type Origin struct {
	// RequestID is the request's X-Request-Id.
	RequestID string
	// TraceID and SpanID are those of its traceparent (W3C Trace Context); empty where it had none.
	TraceID, SpanID string
}

// OriginKey is the key under which a request's context holds its Origin.
type OriginKey struct{}

// OriginOf is the request that work is done for; the zero value where it is done for none.
func OriginOf(ctx context.Context) Origin {
	origin, _ := ctx.Value(OriginKey{}).(Origin)
	return origin
}
