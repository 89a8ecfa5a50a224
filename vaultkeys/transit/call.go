package transit

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"
)

// request makes one request with a session's client.
type request func(ctx context.Context, client *api.Client) (*api.Secret, error)

// do makes one request. Where Vault refuses it because the token is dead, it is made once more after one
// login; that is safe for every operation, for a refused request did nothing.
func (c *Client) do(ctx context.Context, operation string, r request) (*api.Secret, error) {
	s, err := c.acquire(ctx, nil)
	if err != nil {
		return nil, err
	}
	with := func(s *session) (*api.Secret, error) {
		return c.guard(ctx, operation, func(ctx context.Context) (*api.Secret, error) { return r(ctx, s.client) })
	}
	secret, err := with(s)
	if !errors.Is(err, ErrDenied) || c.alive(ctx, s) {
		return secret, err
	}
	if s, err = c.acquire(ctx, s); err != nil {
		return nil, err
	}
	return with(s)
}

// alive tells a token that Vault no longer knows from one that merely may not do this, which a login would
// not change. A token may look itself up wherever the role was set up by Plan and Apply, or has Vault's
// default policy.
func (c *Client) alive(ctx context.Context, s *session) bool {
	_, err := c.guard(ctx, "lookup_self", func(ctx context.Context) (*api.Secret, error) {
		return s.client.Auth().Token().LookupSelfWithContext(ctx)
	})
	return !errors.Is(err, ErrDenied)
}

// guard makes one request under the breaker and the time limit, and tells the observer.
func (c *Client) guard(ctx context.Context, operation string, r func(context.Context) (*api.Secret, error)) (*api.Secret, error) {
	began := time.Now()
	secret, err := c.breaker.Execute(func() (*api.Secret, error) {
		limited, cancel := context.WithTimeout(ctx, c.limit(operation))
		defer cancel()
		secret, err := r(limited)
		return secret, c.classify(ctx, err)
	})
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		err = &UnavailableError{RetryAfter: c.c.BreakerOpen, Cause: errors.New("it did not answer the last requests")}
	}
	c.c.Observe(operation, time.Since(began), err)
	return secret, err
}

// keyTimeout bounds requests that have Vault make a key: it looks for two large primes until it finds them, and an RSA key of
// 4096 bits can take a busy Vault longer than everything else may take.
const keyTimeout = time.Minute

// limit is how long a request may take.
func (c *Client) limit(operation string) time.Duration {
	switch operation {
	case "provision", "rotate":
		return max(c.c.Timeout, keyTimeout)
	}
	return c.c.Timeout
}

// Status is what a readiness report wants to know.
type Status struct {
	// LoggedIn says that there is a token.
	LoggedIn bool
	// Reachable is false while the breaker holds requests back.
	Reachable bool
	// Cause says why the last login failed; empty when it did not.
	Cause string
}

// Status reports without asking Vault.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Status{LoggedIn: c.current != nil, Reachable: c.breaker.State() == gobreaker.StateClosed, Cause: text(c.lastErr)}
}
