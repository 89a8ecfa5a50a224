// Package httpapi speaks HTTP for a policy decision point: routes, callers, limits, and one shape for
// every refusal (RFC 9457). It decides nothing: what is asked goes to a Decider, what is ordered to a
// TokenIssuer, both declared here and wired by the program.
//
// A request walks one line, written out in route.ServeHTTP: name it (X-Request-Id), check where it was
// addressed (Host), take a place among the requests in flight or be shed, find out who calls, then the
// route's own work. Handlers return an error; it is rendered once, at the edge, and whatever is not one
// of this package's problems becomes a 500 that says nothing. There is no chain of middlewares: each
// link would cost a closure, a wrapped ResponseWriter and a copied Request on the one path that must be
// fast.
//
// That path is POST /decide. The body is read once into a buffer that is used again, decoded by jsontext
// without reflection, and the answer is appended to another such buffer and written at once with its
// length; on a plain connection the answer is held until the record of its decision is on disk, where that is waited for, and no
// goroutine with it. The deadline of a request is a context that makes its timer only when somebody waits for it.
// Profiled against a plain mux handler with encoding/json (BenchmarkDecide, 0.4 of its time): four fifths
// of the peer's work are encoding/json, which scans a long token twice and reflects; what is left of ours
// is, in half, reading the token once and appending the answer. mux's own dispatch would add a seventh.
//
// A bad token is not an error here: it is a decision, answered 200. 4xx is for what is no decision
// request, 5xx for a decision that could not be made.
package httpapi
