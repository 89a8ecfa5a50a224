package serve

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/httpapi/secevent"
)

// events implements httpapi.EventReceiver: what a security event token asks for is revoked in its transmitter's name.
type events struct {
	receiver *secevent.Receiver
	store    *revocations
}

// newEvents makes the receiver; nil where no transmitter is configured.
func newEvents(c *config.Config, examiner pdp.Examiner, store *revocations, now func() time.Time) (*events, error) {
	if len(c.Events.Transmitters) == 0 {
		return nil, nil
	}
	wired := secevent.Config{
		Examiner: examiner, Audience: c.Events.Audience, MaxAge: c.Events.MaxAge.D(), Skew: c.Vault.ClockSkew.D(), Now: now,
	}
	for _, t := range c.Events.Transmitters {
		authorization := ""
		if t.AuthorizationFile != "" {
			text, err := os.ReadFile(t.AuthorizationFile)
			if err != nil {
				return nil, fmt.Errorf("events: the transmitter %s: %w", t.Issuer, err)
			}
			if authorization = strings.TrimSpace(string(text)); authorization == "" {
				return nil, fmt.Errorf("events: the transmitter %s: %s is empty", t.Issuer, t.AuthorizationFile)
			}
		}
		wired.Transmitters = append(wired.Transmitters, secevent.Transmitter{
			Issuer: t.Issuer, Issuers: t.SpeaksFor, Authorization: authorization, Opaque: t.Opaque, Email: t.Email,
		})
	}
	receiver, err := secevent.New(wired)
	if err != nil {
		return nil, err
	}
	return &events{receiver, store}, nil
}

// Receive implements httpapi.EventReceiver.
func (e *events) Receive(ctx context.Context, set, authorization string) error {
	err := e.receiver.Receive(ctx, set, authorization, e.act)
	if refused, ok := errors.AsType[*secevent.RefusedError](err); ok {
		return &httpapi.EventError{Code: refused.Code, Description: refused.Description}
	}
	if errors.Is(err, secevent.ErrBusy) {
		return &httpapi.UnavailableError{RetryAfter: time.Second, Err: err}
	}
	if order, ok := errors.AsType[*httpapi.OrderError](err); ok {
		return &httpapi.EventError{Code: secevent.InvalidRequest, Description: order.Detail}
	}
	return err
}

// act revokes what an event asks for. The event's id is the ticket by which the entry can be traced to it.
func (e *events) act(ctx context.Context, event *secevent.Event) error {
	caller := pdp.Caller{Name: event.Transmitter, Method: "secevent"}
	for _, a := range event.Actions {
		order := httpapi.RevocationOrder{
			Kind: a.Kind, Issuer: a.Issuer, Value: a.Value, IssuedBefore: a.IssuedBefore,
			Reason: "security event: " + strings.Join(event.Types, ", "), Ticket: shortID(event.ID),
		}
		if _, _, err := e.store.Revoke(ctx, caller, order); err != nil {
			return err
		}
	}
	return nil
}

// shortID keeps a transmitter's identifier within what an entry takes, and out of an entry and the logs what may be
// somebody's address: such an id is told apart by its hash, which its transmitter can make too.
func shortID(id string) string {
	const most = 256
	foreign := func(c rune) bool {
		return !(c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || strings.ContainsRune("-_.:/+=~", c))
	}
	if len(id) > most || strings.ContainsFunc(id, foreign) {
		sum := sha256.Sum256([]byte(id))
		return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return id
}
