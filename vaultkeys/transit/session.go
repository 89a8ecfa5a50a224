package transit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"
)

// session is one token. It does not change once made.
type session struct {
	client *api.Client // carries the token
	secret *api.Secret
	began  time.Time
}

// loginCall is a login under way, shared by all who wait for it. Its results may be read once done is
// closed.
type loginCall struct {
	done    chan struct{}
	session *session
	err     error
}

// quiet is how long after the pause of a forced login the next one no longer counts as a sign that logging
// in does not help.
const quiet = time.Minute

// maxChurn bounds the pause between logins that do not help.
const maxChurn = 5 * time.Minute

// errTokenRefused means that Vault does not take the token that we were given. A token file may get another, a StaticToken
// never does.
var errTokenRefused = errors.New("vault refuses the token: it has expired, was revoked, is of another Vault or may not do this; put another in its place")

// acquire answers a session other than stale, logging in if there is none. However many callers come, one
// login is under way, and after one that failed none starts before its pause is over: until then the
// answer is that of notLoggedIn.
func (c *Client) acquire(ctx context.Context, stale *session) (*session, error) {
	c.mu.Lock()
	if c.current != nil && c.current != stale {
		defer c.mu.Unlock()
		return c.current, nil
	}
	call := c.pending
	if call == nil {
		if wait := c.notBefore.Sub(c.c.Now()); wait > 0 {
			defer c.mu.Unlock()
			cause := c.lastErr
			if cause == nil {
				cause = errors.New("vault refused the token of the login just made")
			}
			return nil, c.notLoggedIn(wait, cause)
		}
		call = &loginCall{done: make(chan struct{})}
		c.pending = call
		go c.login(call, stale) //nolint:gosec // it serves all who wait, so no one's context ends it
	}
	c.mu.Unlock()
	select {
	case <-call.done:
		return call.session, call.err
	case <-ctx.Done():
		return nil, c.classify(ctx, ctx.Err())
	}
}

// login runs detached from whoever asked first: it serves all who wait, and it is bounded by the time
// limits of the requests it makes.
func (c *Client) login(call *loginCall, stale *session) {
	began := c.c.Now()
	secret, err := c.guard(context.Background(), "login", func(ctx context.Context) (*api.Secret, error) {
		client, err := c.newAPI("")
		if err != nil {
			return nil, err
		}
		return c.c.Auth.login(ctx, client)
	})
	if err == nil && (secret == nil || secret.Auth == nil || secret.Auth.ClientToken == "") {
		err = errors.New("vault answered the login without a token")
	}
	if err == nil && stale != nil && stale.secret.Auth.ClientToken == secret.Auth.ClientToken {
		err = errTokenRefused
	}
	var made *session
	if err == nil {
		made, err = c.newSession(secret, began)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending = nil
	if err != nil {
		c.failures++
		var unavailable *UnavailableError
		if errors.As(err, &unavailable) {
			err = unavailable.Cause // it is said once more below
		}
		pause := backoff(c.c.LoginBackoff, c.c.MaxLoginBackoff, c.failures)
		c.notBefore, c.lastErr = c.c.Now().Add(pause), fmt.Errorf("logging in to vault: %w", err)
		c.c.Logger.Warn("login to Vault failed", "error", err.Error(), "next_attempt_in", pause.String())
		call.err = c.notLoggedIn(pause, c.lastErr)
	} else {
		c.failures, c.lastErr = 0, nil
		c.forced(stale)
		c.current = made
		close(c.changed)
		c.changed = make(chan struct{})
		c.c.Logger.Info("logged in to Vault", "lease_seconds", secret.Auth.LeaseDuration, "renewable", secret.Auth.Renewable)
		call.session = made
	}
	close(call.done)
}

// notLoggedIn is what a caller is told for as long as no login is tried again.
func (c *Client) notLoggedIn(wait time.Duration, cause error) error {
	if _, static := c.c.Auth.(StaticToken); static && errors.Is(cause, errTokenRefused) {
		return fmt.Errorf("%w: %w", ErrDenied, errTokenRefused) // waiting does not help
	}
	return &UnavailableError{RetryAfter: wait, Cause: cause}
}

// forced keeps logins apart that follow each other because Vault refuses the tokens they give. c.mu is held.
func (c *Client) forced(stale *session) {
	if stale == nil {
		return
	}
	now := c.c.Now()
	if now.Sub(c.notBefore) > quiet {
		c.churn = 0
	}
	c.churn++
	c.notBefore = now.Add(backoff(c.c.LoginBackoff, maxChurn, c.churn))
}

func (c *Client) newSession(secret *api.Secret, began time.Time) (*session, error) {
	client, err := c.newAPI(secret.Auth.ClientToken)
	if err != nil {
		return nil, err
	}
	return &session{client: client, secret: secret, began: began}, nil
}

// backoff is the pause after n failures: doubling from least, at most most, with up to a quarter taken off
// so that replicas do not come in step.
func backoff(least, most time.Duration, n int) time.Duration {
	pause := most
	if n < 30 {
		pause = min(least<<(n-1), most)
	}
	return pause - time.Duration(rand.Int64N(int64(pause)/4+1)) //nolint:gosec // spreads load, guards nothing
}

// Run keeps the client logged in until ctx ends, then returns nil. Without Run a client works as long as
// its first token lives, which is enough for one command.
func (c *Client) Run(ctx context.Context) error {
	var stale *session
	for ctx.Err() == nil {
		s, err := c.acquire(ctx, stale)
		if err != nil {
			pause(ctx, err)
			continue
		}
		stale = nil
		if c.watch(ctx, s) {
			stale = s
		}
	}
	return nil
}

func pause(ctx context.Context, err error) {
	wait := time.Second
	var unavailable *UnavailableError
	if errors.As(err, &unavailable) {
		wait = unavailable.RetryAfter
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// watch renews a session's token until there has to be another (true), there is another already, or ctx
// ends (false).
func (c *Client) watch(ctx context.Context, s *session) bool {
	c.mu.Lock()
	changed, replaced := c.changed, c.current != s
	c.mu.Unlock()
	if replaced {
		return false
	}
	renewed, ended, stop := c.renew(s)
	defer stop()
	var poll <-chan time.Time
	file, isFile := c.c.Auth.(TokenFile)
	if isFile {
		ticker := time.NewTicker(c.c.TokenFilePoll)
		defer ticker.Stop()
		poll = ticker.C
	}
	recovery := time.NewTicker(c.c.BreakerOpen)
	defer recovery.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changed:
			return false
		case <-recovery.C:
			c.probe(ctx, s)
		case err := <-ended: // nil as well means: log in again
			c.c.Logger.Info("renewal of the Vault token ended", "error", text(err))
			return true
		case r := <-renewed:
			c.c.Logger.Debug("renewed the Vault token", "lease_seconds", r.Secret.Auth.LeaseDuration)
		case <-poll:
			token, err := readSecret(file.Path)
			if err == nil && token != s.secret.Auth.ClientToken {
				return true
			}
		}
	}
}

// probe asks Vault for something while the breaker is not closed, so that a login that nobody uses at the moment is
// found well again too, and whoever comes next need not be the one who tries.
func (c *Client) probe(ctx context.Context, s *session) {
	if c.breaker.State() == gobreaker.StateClosed {
		return
	}
	// How it ended is the breaker's to know.
	_, _ = c.guard(ctx, "lookup_self", func(ctx context.Context) (*api.Secret, error) {
		return s.client.Auth().Token().LookupSelfWithContext(ctx)
	})
}

// renew starts renewing; the channels are nil for a token without an end.
func (c *Client) renew(s *session) (<-chan *api.RenewOutput, <-chan error, func()) {
	if s.secret.Auth.LeaseDuration <= 0 {
		return nil, nil, func() {}
	}
	watcher, err := s.client.NewLifetimeWatcher(&api.LifetimeWatcherInput{Secret: s.secret})
	if err != nil { // only for missing input
		ended := make(chan error, 1)
		ended <- err
		return nil, ended, func() {}
	}
	go watcher.Start()
	return watcher.RenewCh(), watcher.DoneCh(), watcher.Stop
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// Close revokes the token, unless somebody else gave it to us. The client can still be used: it would log
// in again.
func (c *Client) Close(ctx context.Context) error {
	c.mu.Lock()
	s := c.current
	c.current = nil
	c.mu.Unlock()
	switch c.c.Auth.(type) {
	case AppRole, Kubernetes:
	default:
		return nil
	}
	if s == nil {
		return nil
	}
	_, err := c.guard(ctx, "revoke_self", func(ctx context.Context) (*api.Secret, error) {
		return nil, s.client.Auth().Token().RevokeSelfWithContext(ctx, "")
	})
	return err
}
