package transit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

var (
	// ErrUnavailable is matched by every UnavailableError: try again later, nothing else needs to be done.
	ErrUnavailable = errors.New("vault is unavailable")
	// ErrDenied means that Vault does not let us: the role's policy lacks something, or the token that one command
	// was given does not count. Asking again does not help before somebody changes it.
	ErrDenied = errors.New("vault denies it")
	// ErrNotFound means that there is no such key or path.
	ErrNotFound = errors.New("vault has no such thing")
)

// UnavailableError means that Vault did not serve the request and may serve it later: it is down, slow,
// sealed or overloaded, or we cannot log in.
type UnavailableError struct {
	// RetryAfter is when asking again may make sense.
	RetryAfter time.Duration
	// Cause says what happened.
	Cause error
}

func (e *UnavailableError) Error() string { return "vault is unavailable: " + e.Cause.Error() }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, ErrUnavailable) true.
func (e *UnavailableError) Is(target error) bool { return target == ErrUnavailable }

// StatusError is what Vault answered with a status that is not success.
type StatusError struct {
	Status  int
	Method  string
	Path    string
	Message string // Vault's own words, cut to a bounded length
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("vault answers %d to %s %s: %s", e.Status, e.Method, e.Path, e.Message)
}

// Is makes a 403 ErrDenied and a 404 ErrNotFound.
func (e *StatusError) Is(target error) bool {
	return target == ErrDenied && e.Status == http.StatusForbidden || target == ErrNotFound && e.Status == http.StatusNotFound
}

// maxMessage bounds what of Vault's answer gets into an error, in bytes.
const maxMessage = 400

// classify turns an error of Vault's client into one of ours. ctx is the caller's context, without our
// own time limit.
func (c *Client) classify(ctx context.Context, err error) error {
	var response *api.ResponseError
	var credential *credentialError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &credential):
		return err // our own trouble, it says nothing about Vault
	case errors.As(err, &response):
		status := newStatusError(response)
		if isOutage(status) {
			return &UnavailableError{RetryAfter: c.c.BreakerOpen, Cause: status}
		}
		return status
	case errors.Is(ctx.Err(), context.Canceled):
		return ctx.Err()
	default:
		return &UnavailableError{RetryAfter: c.c.BreakerOpen, Cause: err}
	}
}

func newStatusError(r *api.ResponseError) *StatusError {
	message := strings.Join(strings.Fields(strings.Join(r.Errors, "; ")), " ")
	if len(message) > maxMessage {
		message = message[:maxMessage] + "…"
	}
	_, path, _ := strings.Cut(r.URL, "/v1/")
	return &StatusError{Status: r.StatusCode, Method: r.HTTPMethod, Path: path, Message: message}
}

// isOutage tells an answer about Vault's own state from one about our request. Vault also answers 500 to
// requests that are merely wrong (a ciphertext that does not decrypt, a key version that does not exist):
// those must not open the breaker, or whoever sends us a bad token could close Vault to all.
func isOutage(e *StatusError) bool {
	switch e.Status {
	case http.StatusInternalServerError:
		return strings.Contains(e.Message, "local node not active") || strings.Contains(e.Message, "Vault is sealed")
	case http.StatusTooManyRequests, http.StatusPreconditionFailed, http.StatusNotImplemented, 472, 473, 530:
		return true
	}
	return e.Status > http.StatusNotImplemented && e.Status < 600
}

// isCallersOwn is an error that says nothing about Vault: the caller went away.
func isCallersOwn(err error) bool { return errors.Is(err, context.Canceled) }
