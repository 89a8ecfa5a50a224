package secevent

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// The kinds of Action.
const (
	token   = "token"
	subject = "subject"
	session = "session"
)

// The events that are understood (CAEP 1.0 section 3, SSF 1.0 section 8.1.4).
const (
	caep = "https://schemas.openid.net/secevent/caep/event-type/"
	ssf  = "https://schemas.openid.net/secevent/ssf/event-type/"
)

// maxEvents bounds the events of one SET. They are aspects of one occurrence (RFC 8417 section 2), so there are few.
const maxEvents = 16

// read reads the events, in the order of their names.
func (r *Receiver) read(e *Event, sender *Transmitter, t *pdp.Token, now time.Time) *RefusedError {
	events, ok := t.Claims["events"].(map[string]any)
	if !ok || len(events) == 0 || len(events) > maxEvents {
		return refuse(InvalidRequest, "its events are not an object with 1 to %d members", maxEvents)
	}
	for _, name := range slices.Sorted(maps.Keys(events)) {
		payload, ok := events[name].(map[string]any)
		if !ok {
			return refuse(InvalidRequest, "an event's payload is not an object")
		}
		var narrow bool // it is about one session where the subject names one
		switch name {
		case caep + "session-revoked":
			narrow = true
		case caep + "credential-change":
			if payload["change_type"] == "create" {
				e.Types = append(e.Types, "credential-change")
				continue // what was issued before is as good as it was
			}
		case caep + "token-claims-change":
		case ssf + "verification", ssf + "stream-updated":
			e.Types = append(e.Types, strings.TrimPrefix(name, ssf))
			continue
		default:
			e.Types = append(e.Types, "unknown")
			continue
		}
		e.Types = append(e.Types, strings.TrimPrefix(name, caep))
		before, refused := r.eventTime(payload, t, now)
		if refused != nil {
			return refused
		}
		action, refused := sender.subject(t.Claims["sub_id"], narrow)
		if refused != nil {
			return refused
		}
		if action.Kind == subject {
			action.IssuedBefore = before
		}
		if !slices.Contains(e.Actions, action) {
			e.Actions = append(e.Actions, action)
		}
	}
	return nil
}

// subject reads whom a SET is about (RFC 9493 section 3; SSF 1.0 section 3).
func (s *Transmitter) subject(given any, narrow bool) (Action, *RefusedError) {
	id, ok := given.(map[string]any)
	if !ok {
		return Action{}, refuse(InvalidRequest, "sub_id is missing or no object: whom the event is about")
	}
	format, _ := id["format"].(string)
	switch format {
	case "iss_sub":
		return s.named(subject, id["iss"], id["sub"])
	case "jwt_id":
		return s.named(token, id["iss"], id["jti"])
	case "opaque":
		return s.mapped(s.Opaque, format, id["id"])
	case "email":
		return s.mapped(s.Email, format, id["email"])
	case "complex":
		return s.complex(id, narrow)
	case "":
		return Action{}, refuse(InvalidRequest, "sub_id has no format")
	}
	return Action{}, refuse(InvalidRequest, "sub_id has a format that is not understood here; iss_sub, jwt_id and complex are, opaque and email where they are configured")
}

// complex reads a subject that is described from several sides. A session, where the event is about one, says all.
// Else it is the user: what would narrow it further (a device, a tenant) is passed over, which revokes rather too
// much than too little.
func (s *Transmitter) complex(id map[string]any, narrow bool) (Action, *RefusedError) {
	if inner, ok := id["session"].(map[string]any); ok && narrow {
		switch {
		case inner["format"] != "opaque":
			return Action{}, refuse(InvalidRequest, "the session in sub_id is not of format opaque")
		case len(s.Issuers) != 1:
			return Action{}, refuse(AccessDenied, "a session names no issuer, and this transmitter does not speak for exactly one")
		}
		return s.named(session, s.Issuers[0], inner["id"])
	}
	user, ok := id["user"].(map[string]any)
	if !ok || user["format"] == "complex" {
		return Action{}, refuse(InvalidRequest, "sub_id names neither a user nor, for session-revoked, a session")
	}
	return s.subject(user, narrow)
}

func (s *Transmitter) mapped(names, format string, value any) (Action, *RefusedError) {
	if names == "" {
		return Action{}, refuse(InvalidRequest, "sub_id is of format %s, and what that names is not configured here", format)
	}
	return s.named(names, s.Issuers[0], value)
}

// named refuses subjects of issuers that the transmitter does not speak for.
func (s *Transmitter) named(kind string, issuer, value any) (Action, *RefusedError) {
	iss, _ := issuer.(string)
	name, _ := value.(string)
	switch {
	case iss == "" || name == "":
		return Action{}, refuse(InvalidRequest, "sub_id lacks a member that its format needs")
	case !slices.Contains(s.Issuers, iss):
		return Action{}, refuse(AccessDenied, "this transmitter does not speak for the subjects of that issuer")
	}
	return Action{Kind: kind, Issuer: iss, Value: name}, nil
}
