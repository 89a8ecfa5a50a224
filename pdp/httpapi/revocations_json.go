package httpapi

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// appendJSON appends the entry's JSON: times are whole seconds since the epoch, issued_before is left out where
// every token is meant, value where the whole issuer is.
func (r *Revocation) appendJSON(dst []byte) []byte {
	dst = append(dst, '{')
	for _, member := range [...]struct{ name, value string }{
		{`"key":`, r.Key}, {`,"kind":`, r.Kind}, {`,"issuer":`, r.Issuer}, {`,"value":`, r.Value},
		{`,"reason":`, r.Reason}, {`,"actor":`, r.Actor}, {`,"ticket":`, r.Ticket},
	} {
		if member.value != "" {
			dst = appendString(append(dst, member.name...), member.value)
		}
	}
	for _, member := range [...]struct {
		name string
		at   time.Time
	}{{`,"issued_before":`, r.IssuedBefore}, {`,"ends":`, r.Ends}, {`,"created_at":`, r.CreatedAt}} {
		if !member.at.IsZero() {
			dst = strconv.AppendInt(append(dst, member.name...), member.at.Unix(), 10)
		}
	}
	return append(dst, '}')
}

// revocation reads the body of POST /revocations: a token, or kind, issuer and value.
func (d *decoder) revocation() (o RevocationOrder, compact string, err error) {
	err = d.object(func(name []byte) (err error) {
		switch string(name) {
		case "token":
			compact, err = d.text()
		case "kind":
			if o.Kind, err = d.name(); err == nil && !slices.Contains(Kinds(), o.Kind) {
				err = d.invalid("expected one of " + strings.Join(Kinds(), " "))
			}
		case "issuer":
			o.Issuer, err = d.name()
		case "value":
			o.Value, err = d.name()
		case "issued_before":
			o.IssuedBefore, err = d.moment()
		case "ends":
			o.Ends, err = d.moment()
		case "reason":
			o.Reason, err = d.string(maxString)
		case "ticket":
			o.Ticket, err = d.string(maxString)
		default:
			err = d.unknown(name)
		}
		return err
	})
	if err != nil {
		return o, "", err
	}
	return o, compact, firstError(orderShape(&o, compact), d.end())
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// orderShape refuses members that do not go together.
func orderShape(o *RevocationOrder, compact string) error {
	switch {
	case compact != "" && (o.Kind != "" && o.Kind != KindToken || o.Issuer != "" || o.Value != "" || !o.IssuedBefore.IsZero()):
		return problemf(invalidValue, "token: it says itself which one it is: leave kind, issuer, value and issued_before out").at("/token")
	case compact != "":
		return nil
	case o.Kind == "":
		return problemf(missingField, "kind: say what is revoked (%s), or give a token", strings.Join(Kinds(), " ")).at("/kind")
	case o.Issuer == "":
		return problemf(missingField, "issuer: the exact iss of the tokens concerned").at("/issuer")
	case o.Value == "" && o.Kind != KindIssuer:
		return problemf(missingField, "value: which %s is revoked", o.Kind).at("/value")
	case o.Value != "" && o.Kind == KindIssuer:
		return problemf(invalidValue, "value: an issuer is revoked as a whole: leave it out").at("/value")
	case !o.IssuedBefore.IsZero() && (o.Kind == KindToken || o.Kind == KindKey):
		return problemf(invalidValue, "issued_before: a %s is revoked whatever its tokens say: leave it out", o.Kind).at("/issued_before")
	case o.Kind == KindKey && !pdp.ValidThumbprint(o.Value):
		// Whoever mistyped it would believe that the key is revoked. What is in the store is not held to this: an entry that
		// matches nothing does no harm, and can be lifted.
		return problemf(invalidValue, "value: %s", noThumbprint).at("/value")
	}
	return nil
}

const noThumbprint = "a key is named by its RFC 7638 SHA-256 thumbprint: base64url without padding, 43 characters"

// moment reads whole seconds since the epoch, up to the year 2106, which is as far as an entry reaches.
func (d *decoder) moment() (time.Time, error) {
	n, err := d.seconds()
	if err == nil && n >= 1<<32-1 {
		err = d.invalid("expected seconds since 1970-01-01T00:00:00Z, not milliseconds")
	}
	return time.Unix(n, 0).UTC(), err
}

// text reads a string that is not empty and as long as the body lets it be.
func (d *decoder) text() (string, error) {
	s, err := d.string(-1)
	if err == nil && s == "" {
		return "", d.invalid("empty; leave it out or name one")
	}
	return s, err
}

// knownKind refuses what is no kind of revocation.
func knownKind(kind, parameter string) error {
	if slices.Contains(Kinds(), kind) {
		return nil
	}
	return problemf(invalidValue, "%s: expected one of %s", parameter, strings.Join(Kinds(), " "))
}
