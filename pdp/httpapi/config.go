package httpapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/pdp"
)

// The defaults of Config's limits.
const (
	DefaultMaxBody     = 1 << 20
	DefaultMaxBatch    = 100
	DefaultMaxInFlight = 1024
	DefaultMaxBuffered = 64 << 20
	DefaultQueueTime   = 100 * time.Millisecond
	DefaultTimeout     = time.Second
)

// What is not worth a setting.
const (
	asideInFlight     = 16 // requests for metrics and documents that ask who calls
	watchingInFlight  = 64 // requests that wait for changes
	eventsInFlight    = 64 // events that are examined
	batchWorkers      = 16 // goroutines for one batch
	maxRequestID      = 128
	defaultJWKSMaxAge = 5 * time.Minute
	initialBody       = 4 << 10  // a new body buffer, in bytes
	largeBody         = 64 << 10 // past it a body counts against MaxBuffered
	retainedBuffer    = 64 << 10 // past it a buffer is not kept for the next request
	retryAfter        = 1        // seconds, where nothing better is known
)

// Decider answers decide requests; *pdp.Decider is one. Its error means that there is no decision.
type Decider interface {
	Decide(ctx context.Context, r *pdp.Request) (*pdp.Decision, error)
}

// promiser is a Decider that can be left before a decision's record is on disk, as *pdp.Decider can; see there.
type promiser interface {
	Promise(ctx context.Context, r *pdp.Request, w pdp.Witness) (pdp.Promised, error)
	Stands(p *pdp.Promised, index int64) bool
	Confirm(ctx context.Context, p *pdp.Promised, index int64, err error) (*pdp.Decision, error)
}

// Refusal is a request that was refused for who asked.
type Refusal struct {
	// Caller is whoever proved to be somebody and was not granted enough; zero for one who did not.
	Caller pdp.Caller
	// Route is the path of the route, as documented; Problem the name of the problem, such as "not-granted".
	Route, Problem string
	Status         int
	RequestID      string
}

// TokenIssuer builds and signs tokens. It is called concurrently. Its errors are *RefusedError,
// *UnavailableError and *OrderError; any other is a fault of the server (500).
type TokenIssuer interface {
	Issue(ctx context.Context, caller pdp.Caller, o TokenOrder) (IssuedToken, error)
}

// TokenOrder is the body of POST /tokens after the caller's grant was held against it and completed it.
// Empty members leave the choice to the issuer.
type TokenOrder struct {
	TokenType pdp.TokenType
	// Issuer is the "iss"; Key names the signing key.
	Issuer, Key string
	Audience    []string
	Subject     string
	ClientID    string
	// Scope is a space-separated list (RFC 6749 section 3.3).
	Scope string
	// LifetimeSeconds is what the caller asks for; 0 leaves it to the issuer.
	LifetimeSeconds int64
	// MaxLifetimeSeconds is the grant's limit, also on what the issuer chooses itself; 0 is none.
	MaxLifetimeSeconds int64
	// Claims are further claims as decoded by strictjson.
	Claims map[string]any
}

// IssuedToken is a signed token.
type IssuedToken struct {
	Token     string
	TokenType pdp.TokenType
	Issuer    string
	KeyID     string
	// EncryptionKeyID is the "kid" of the key that the token is encrypted to; empty where it is only signed.
	EncryptionKeyID string
	TokenID         string
	ExpiresAt       time.Time
}

// RefusedError is policy's refusal of a token before it is signed: 422 with the reasons.
type RefusedError struct{ Reasons []pdp.Reason }

func (e *RefusedError) Error() string { return "policy refuses the token: " + denyingCodes(e.Reasons) }

// UnavailableError says that nothing can be signed, or no revocation stored, now: 503. Err is for the log.
type UnavailableError struct {
	// RetryAfter is rounded up to whole seconds, at least one.
	RetryAfter time.Duration
	Err        error
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("unavailable: %v", e.Err) }

func (e *UnavailableError) Unwrap() error { return e.Err }

// OrderError says what is wrong with an order: 400. Both strings are shown to the caller.
type OrderError struct {
	// Field is the body's member, such as "key".
	Field  string
	Detail string
}

func (e *OrderError) Error() string { return e.Field + ": " + e.Detail }

// KeySetDocument is a published JWKS. It does not change; a new one has a new pointer.
type KeySetDocument struct {
	// Body is the JWK Set's JSON.
	Body []byte
	// MaxAge is how long it may be cached; default 5 minutes.
	MaxAge time.Duration
}

// Health is whether decisions can be made, and what is amiss.
type Health struct {
	// Failing: no correct decision can be made, so no request should come here.
	Failing bool
	// Causes are short sentences for an operator, without secrets; one while not Failing means degraded.
	Causes []string
}

// Config wires the API.
type Config struct {
	Decider Decider // required
	// CallerDecider judges the tokens that callers themselves present; default Decider. One that records nothing keeps who
	// has no token at all from filling a log with them: refusals are told to Refused, and whoever was let in stands in
	// the record of what was done.
	CallerDecider Decider
	// Refused, where given, is told of each request that was answered 401 or 403, before the answer. It must be quick.
	Refused func(Refusal)
	// Issuer may be nil: POST /tokens then answers 404.
	Issuer TokenIssuer
	// Revocations may be nil: the routes about revocation, /introspect among them, then answer 404.
	Revocations Revocations
	// Examiner examines tokens that are to be revoked; required where there are Revocations.
	Examiner pdp.Examiner
	// Events receives security event tokens; nil: POST /events answers 404.
	Events EventReceiver

	// KeySet gives the document of /.well-known/jwks.json; nil from it means not known yet (503). A nil
	// func publishes an empty set.
	KeySet func() *KeySetDocument
	// Issuers are those whose metadata and own key sets are published, for whoever verifies their tokens.
	Issuers []PublishedIssuer
	// Health is asked by /readyz; nil means always ready.
	Health func() Health

	// Hosts that requests may be addressed to, names or addresses without port; see DefaultHosts.
	// Any ("*") accepts all. The address a connection came in on is always accepted, and /livez and
	// /readyz, which probes ask by whatever address they know, look at no Host.
	Hosts []string
	// Open lets anybody ask for decisions, metrics and the API's description. It is meant for loopback;
	// who sets it sees to that. POST /tokens asks for a caller nevertheless.
	Open bool
	// CallerAudience is the audience that callers' bearer tokens must be meant for; empty: no bearer tokens.
	CallerAudience string
	Grants         []Grant

	// MaxBody is in bytes; past it 413. Default 1 MiB.
	MaxBody int64
	// MaxBatch is the most items in a batch; past it 400. Default 100.
	MaxBatch int
	// MaxInFlight is the most requests in work at once, probes, public documents and events apart. As many may
	// wait for QueueTime; past that 503 with Retry-After. Default 1024; 100 ms.
	MaxInFlight int
	QueueTime   time.Duration
	// MaxBuffered bounds the bytes of all bodies over 64 KiB together; past it 503. Default 64 MiB.
	MaxBuffered int64
	// Timeout is how long a request may take from its header to its answer; past it 503, or 408 where the
	// body is what takes so long. Default 1 s.
	Timeout time.Duration

	// Registry takes this package's metrics and is what /metrics shows; nil: a new one.
	Registry *prometheus.Registry
	// Log gets faults; nil: discarded. AccessLog gets one event for each request; nil: none.
	Log, AccessLog *slog.Logger
	// Now is the clock; default time.Now. Random feeds request ids; default crypto/rand.Reader.
	Now    func() time.Time
	Random io.Reader
}

// complete fills in defaults and refuses what cannot work.
func (c Config) complete() (Config, error) {
	var problems []error
	if c.Decider == nil {
		problems = append(problems, errors.New("a Decider is required"))
	}
	if c.Revocations != nil && c.Examiner == nil {
		problems = append(problems, errors.New("an Examiner is required where there are Revocations"))
	}
	for name, value := range map[string]int64{
		"MaxBody": c.MaxBody, "MaxBatch": int64(c.MaxBatch), "MaxInFlight": int64(c.MaxInFlight),
		"MaxBuffered": c.MaxBuffered, "QueueTime": int64(c.QueueTime), "Timeout": int64(c.Timeout),
	} {
		if value < 0 {
			problems = append(problems, fmt.Errorf("%s must not be negative", name))
		}
	}
	seen := map[string]bool{}
	for i := range c.Grants {
		problems = append(problems, c.Grants[i].check(seen))
	}
	if err := errors.Join(problems...); err != nil {
		return c, fmt.Errorf("httpapi: %w", err)
	}
	if c.CallerDecider == nil {
		c.CallerDecider = c.Decider
	}
	c.MaxBody = orDefault(c.MaxBody, DefaultMaxBody)
	c.MaxBatch = orDefault(c.MaxBatch, DefaultMaxBatch)
	c.MaxInFlight = orDefault(c.MaxInFlight, DefaultMaxInFlight)
	c.MaxBuffered = orDefault(c.MaxBuffered, DefaultMaxBuffered)
	c.QueueTime = orDefault(c.QueueTime, DefaultQueueTime)
	c.Timeout = orDefault(c.Timeout, DefaultTimeout)
	if c.Registry == nil {
		c.Registry = prometheus.NewRegistry()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return c, nil
}

func (g *Grant) check(seen map[string]bool) error {
	switch {
	case g.Caller == "":
		return errors.New("a grant needs a caller")
	case g.Caller == Any:
		return errors.New("a grant is to one caller; * names none")
	case g.Method != "" && g.Method != "mtls" && g.Method != "bearer":
		return fmt.Errorf("grant to %s: callers prove who they are by mtls or bearer, not by %s", g.Caller, g.Method)
	case seen[g.Caller]:
		return fmt.Errorf("two grants to the caller %s: join them", g.Caller)
	}
	seen[g.Caller] = true
	if err := g.Revoke.check(); err != nil {
		return fmt.Errorf("grant to %s: %w", g.Caller, err)
	}
	for i := range g.Issue {
		if lifetime := g.Issue[i].MaxLifetime; lifetime < 0 || lifetime%time.Second != 0 {
			return fmt.Errorf("grant to %s: the longest lifetime %s is not a whole number of seconds", g.Caller, lifetime)
		}
	}
	return nil
}

func orDefault[T int | int64 | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}
