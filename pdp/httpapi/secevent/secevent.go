// Package secevent examines security event tokens (SETs, RFC 8417) of the OpenID Shared Signals framework and says
// what each asks to be revoked.
//
// A SET is a signed statement that something happened. It carries neither exp nor sub, and must never pass for an
// access token nor the other way round, so it has an entrypoint of its own with rules of its own: typ is
// secevent+jwt, the signature is one of a configured transmitter, aud is this receiver, iat lies in a window, and
// each jti is acted on once. What a transmitter may say is bounded: it speaks for the subjects of those issuers
// that are declared for it, and for no other's.
//
// The jti's are remembered by this process alone, for as long as their window lasts. Another replica, or this one
// after a restart, acts on the same SET once more within it. What a subject's event asks for counts from the time of
// the event, so that the entry is there already; a session's counts from each arrival. Whoever lifted an entry meanwhile
// has to lift it again.
package secevent

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// The defaults of Config.
const (
	DefaultMaxAge   = time.Hour
	DefaultRemember = 100_000
)

// Codes of refusals (RFC 8935 section 2.4).
const (
	InvalidRequest       = "invalid_request"
	InvalidKey           = "invalid_key"
	InvalidIssuer        = "invalid_issuer"
	InvalidAudience      = "invalid_audience"
	AuthenticationFailed = "authentication_failed"
	AccessDenied         = "access_denied"
)

// ErrBusy is returned for a SET that cannot be taken now: the same one is being worked on, too many different
// ones came within the window, or its key is not known at present, which it may be once its issuer's keys are loaded
// anew. The transmitter should send it again later.
var ErrBusy = errors.New("the security event token cannot be taken now")

// RefusedError says why a SET is refused. Code is one of the constants; Description is for the transmitter and
// repeats nothing of the token.
type RefusedError struct{ Code, Description string }

func (e *RefusedError) Error() string { return e.Code + ": " + e.Description }

func refuse(code, format string, args ...any) *RefusedError {
	return &RefusedError{code, fmt.Sprintf(format, args...)}
}

// Transmitter is somebody whose SETs are believed.
type Transmitter struct {
	// Issuer is the SETs' "iss"; its keys are those that the Examiner knows.
	Issuer string
	// Issuers are the token issuers for whose subjects it speaks.
	Issuers []string
	// Authorization is the exact Authorization field that its deliveries must bring; empty: none is needed.
	Authorization string
	// Opaque and Email say what a subject identifier of these formats (RFC 9493 sections 3.2.2, 3.2.4) names:
	// "subject" (the sub of the tokens) or "session" (their sid); empty: such a SET is refused. They name no
	// issuer, so Issuers must then be exactly one.
	Opaque, Email string
}

// Config wires a Receiver.
type Config struct {
	Examiner pdp.Examiner // required
	// Audience is what the SETs' "aud" must hold; required.
	Audience     string
	Transmitters []Transmitter
	// MaxAge is how long ago "iat" may be; default DefaultMaxAge. Skew is how far it, and the time of the event,
	// may lie in the future; zero: not at all.
	MaxAge, Skew time.Duration
	// Remember is how many SETs may come within MaxAge; default DefaultRemember. More are answered ErrBusy.
	Remember int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Action is one thing to revoke.
type Action struct {
	// Kind is "token", "subject" or "session".
	Kind, Issuer, Value string
	// IssuedBefore spares tokens issued at that second or later; zero for kinds where it makes no difference.
	IssuedBefore time.Time
}

// Event is an accepted SET.
type Event struct {
	// Transmitter is its "iss", ID its "jti".
	Transmitter, ID string
	// Types are the short names of its events, such as "session-revoked", sorted; those that are not known are
	// called "unknown".
	Types []string
	// Actions is what it asks for, in the order of Types; empty for a verification event, for a credential that
	// was only added, and for events that are not known.
	Actions []Action
}

// Receiver examines SETs. It is safe for concurrent use.
type Receiver struct {
	c       Config
	senders map[string]*Transmitter
	seen    *seen
}

// New checks the configuration.
func New(c Config) (*Receiver, error) {
	if c.Examiner == nil || c.Audience == "" {
		return nil, errors.New("secevent: Examiner and Audience are required")
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Remember == 0 {
		c.Remember = DefaultRemember
	}
	if c.MaxAge < 0 || c.Skew < 0 || c.Remember < 0 {
		return nil, errors.New("secevent: MaxAge, Skew and Remember must not be negative")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Receiver{c: c, senders: make(map[string]*Transmitter, len(c.Transmitters)), seen: newSeen(c.Remember)}
	for i := range c.Transmitters {
		t := &c.Transmitters[i]
		for _, names := range []string{t.Opaque, t.Email} {
			if names != "" && names != subject && names != session {
				return nil, fmt.Errorf("secevent: transmitter %s: an identifier names a subject or a session, not a %s", t.Issuer, names)
			}
			if names != "" && len(t.Issuers) != 1 {
				return nil, fmt.Errorf("secevent: transmitter %s: its opaque and e-mail identifiers name no issuer, so it must speak for exactly one", t.Issuer)
			}
		}
		if t.Issuer == "" || r.senders[t.Issuer] != nil {
			return nil, fmt.Errorf("secevent: transmitter %q: each needs one issuer of its own", t.Issuer)
		}
		r.senders[t.Issuer] = t
	}
	return r, nil
}

// Receive examines a SET, has act carry out what it asks for, and remembers it once that is done. A SET that was
// carried out before is not carried out again. The error is a *RefusedError, ErrBusy, or act's or the Examiner's.
func (r *Receiver) Receive(ctx context.Context, compact, authorization string, act func(context.Context, *Event) error) error {
	event, err := r.examine(ctx, compact, authorization)
	if err != nil {
		return err
	}
	now := r.c.Now()
	fresh, err := r.seen.reserve(event.Transmitter, event.ID, now)
	if err != nil || !fresh {
		return err
	}
	done := false // also where act panics
	defer func() { r.seen.settle(event.Transmitter, event.ID, now.Add(r.c.MaxAge+r.c.Skew), done) }()
	err = act(ctx, event)
	done = err == nil
	return err
}

// examine verifies a SET and reads what it asks for (RFC 8417 sections 2.2 and 2.3).
func (r *Receiver) examine(ctx context.Context, compact, authorization string) (*Event, error) {
	set, v, err := r.c.Examiner.Examine(ctx, compact)
	if err != nil {
		return nil, err
	}
	if v.Status == pdp.StatusKeyUnknown {
		return nil, ErrBusy // refused it would be lost: the transmitter sends it no more
	}
	if !v.Verified() {
		return nil, unverified(v.Status)
	}
	sender := r.senders[v.Trust.Issuer.ID]
	switch {
	case sender == nil:
		return nil, refuse(InvalidIssuer, "its issuer is no transmitter of this receiver")
	case sender.Authorization != "" && subtle.ConstantTimeCompare([]byte(sender.Authorization), []byte(authorization)) != 1:
		return nil, refuse(AuthenticationFailed, "the delivery does not bring the Authorization field that was agreed on")
	case set.Header.Type != "secevent+jwt":
		return nil, refuse(InvalidRequest, "its typ is not secevent+jwt (RFC 8417 section 2.3)")
	case !meantFor(set.Claims["aud"], r.c.Audience):
		return nil, refuse(InvalidAudience, "its aud is not this receiver")
	}
	id, _ := set.Claims["jti"].(string)
	now := r.c.Now()
	if refused := r.inTime(set, now); refused != nil {
		return nil, refused
	}
	if id == "" {
		return nil, refuse(InvalidRequest, "it has no jti")
	}
	if _, present := set.Claims["sub"]; present {
		return nil, refuse(InvalidRequest, "it has a sub; whom it is about stands in sub_id")
	}
	event := &Event{Transmitter: sender.Issuer, ID: id}
	if refused := r.read(event, sender, set, now); refused != nil {
		return nil, refused
	}
	return event, nil
}

func unverified(status pdp.Status) *RefusedError {
	switch status {
	case pdp.StatusIssuerUntrusted:
		return refuse(InvalidIssuer, "its issuer is not known here")
	case pdp.StatusAlgorithmRefused:
		return refuse(InvalidKey, "its key or algorithm is not one of its issuer (%s)", status)
	case pdp.StatusSignatureInvalid:
		return refuse(AuthenticationFailed, "its signature does not verify")
	}
	return refuse(InvalidRequest, "it is not a signed token that can be read (%s)", status)
}

// inTime holds iat against the window; an exp, which a SET should not have, is not ignored either.
func (r *Receiver) inTime(t *pdp.Token, now time.Time) *RefusedError {
	switch {
	case t.IssuedAt == nil:
		return refuse(InvalidRequest, "it has no usable iat")
	case t.IssuedAt.Floor() > now.Add(r.c.Skew).Unix():
		return refuse(InvalidRequest, "its iat lies in the future")
	case t.IssuedAt.Floor() < now.Add(-r.c.MaxAge).Unix():
		return refuse(InvalidRequest, "it was issued more than %s ago", r.c.MaxAge)
	case len(t.Unusable) > 0:
		return refuse(InvalidRequest, "exp or nbf is not a NumericDate")
	case t.ExpiresAt != nil && t.ExpiresAt.Floor() <= now.Add(-r.c.Skew).Unix():
		return refuse(InvalidRequest, "it has expired")
	case t.NotBefore != nil && t.NotBefore.Floor() > now.Add(r.c.Skew).Unix():
		return refuse(InvalidRequest, "it is not valid yet")
	}
	return nil
}

// meantFor tells whether aud is or holds the audience (RFC 7519 section 4.1.3).
func meantFor(aud any, audience string) bool {
	if list, ok := aud.([]any); ok {
		return slices.Contains(list, any(audience))
	}
	return aud == any(audience)
}

// eventTime is when the event happened: event_timestamp (CAEP section 2), else the SET's iat. A token issued in
// that very second is not spared.
func (r *Receiver) eventTime(payload map[string]any, t *pdp.Token, now time.Time) (time.Time, *RefusedError) {
	at := t.IssuedAt.Floor()
	if given, present := payload["event_timestamp"]; present {
		number, _ := given.(json.Number)
		date, err := pdp.ParseNumericDate(number)
		if err != nil || date.Floor() < 1 {
			return time.Time{}, refuse(InvalidRequest, "event_timestamp is not a number of seconds since the epoch")
		}
		at = date.Floor()
	}
	if at > now.Add(r.c.Skew).Unix() {
		return time.Time{}, refuse(InvalidRequest, "event_timestamp lies in the future; it is in seconds")
	}
	return time.Unix(at+1, 0).UTC(), nil
}
