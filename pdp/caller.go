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
