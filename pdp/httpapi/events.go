package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// eventMedia is the type of a security event token's delivery (RFC 8935 section 2.1).
const eventMedia = "application/secevent+jwt"

// EventReceiver acts on security event tokens. Its errors are *EventError and *UnavailableError; any other is a
// fault of the server (500).
type EventReceiver interface {
	// Receive returns once the token was examined and what it asks for is in force here. authorization is the
	// request's Authorization field, empty where it has none or several. To receive a token again does nothing
	// and is no error: a transmitter that had no answer sends it once more.
	Receive(ctx context.Context, set, authorization string) error
}

// EventError is a refused security event token: 400 with the code of RFC 8935 section 2.4. Description is shown to
// the transmitter.
type EventError struct {
	// Code is invalid_request, invalid_key, invalid_issuer, invalid_audience, authentication_failed or
	// access_denied.
	Code, Description string
}

func (e *EventError) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Description) }

// receiveEvent serves POST /events, delivery by push (RFC 8935). Nobody has to be a caller: who speaks is proven by
// the token's signature, and where that is configured by the Authorization field of this delivery.
func (x *exchange) receiveEvent() error {
	body, err := x.read()
	if err != nil {
		return err
	}
	if err := x.takePlace(); err != nil {
		return err
	}
	authorization := ""
	if given := x.r.Header["Authorization"]; len(given) == 1 {
		authorization = given[0]
	}
	if err := x.api.c.Events.Receive(x.ctx, strings.TrimSpace(string(body)), authorization); err != nil {
		if refused, ok := errors.AsType[*EventError](err); ok {
			p := problemf(invalidValue, "%s", refused.Description)
			p.cause = refused
			return p
		}
		return x.unstored(err)
	}
	x.status = http.StatusAccepted
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// refuseEvent writes a refusal as RFC 8935 section 2.3 has it: {"err": …, "description": …} on 400, and where the
// delivery could not be taken at all the status of HTTP with the same members.
func (x *exchange) refuseEvent(p *problem) {
	code := "invalid_request"
	if refused, ok := errors.AsType[*EventError](p.cause); ok {
		code = refused.Code
	}
	x.w.Header().Set("Content-Language", "en")
	x.write(p.status, "application/json", appendPair(x.out[:0], "err", code, "description", p.detail))
}
