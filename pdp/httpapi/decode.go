package httpapi

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/strictjson"
)

// maxString bounds every string of a request but the token, in bytes: they are recorded with each
// decision. The token is bounded by the body, and judged by its size in the decision.
const maxString = 8 << 10

// decoder reads request bodies strictly: a member that is not known, a name that comes twice, a value of
// another type, null where something is expected, invalid UTF-8 and anything behind the value are all
// refused, with the member's JSON Pointer. It is used again from request to request; what it returns
// shares no memory with the body.
type decoder struct {
	json jsontext.Decoder
	body bytes.Buffer
	// values is how many the contexts of this request may still hold, members and elements counted each.
	values int
}

// The values of one context, and of all those of a batch: three bytes of a body can be an object, which costs memory and
// an evaluation's time many times over.
const (
	maxContextValues = strictjson.DefaultMaxValues
	maxBatchValues   = 2 * maxContextValues
)

// reset points the decoder at a body, which it does not change. It must not change until decoding ends.
func (d *decoder) reset(body []byte) {
	d.body = *bytes.NewBuffer(body)
	d.json.Reset(&d.body)
	d.values = maxContextValues
}

// decide reads the body of POST /decide.
func (d *decoder) decide(r *pdp.Request) error {
	if err := d.item(r); err != nil {
		return err
	}
	return d.end()
}

// item reads {"token": …, "request": {…}, "purpose": …, "context": {…}}.
func (d *decoder) item(r *pdp.Request) error {
	seen := false
	at := d.next()
	err := d.object(func(name []byte) (err error) {
		switch string(name) {
		case "token":
			seen = true
			r.Token, err = d.string(-1)
		case "request":
			err = d.object(func(name []byte) error { return d.request(r, name) })
		case "purpose":
			r.Purpose, err = d.name()
		case "context":
			r.Context, err = d.free()
		default:
			err = d.unknown(name)
		}
		return err
	})
	if err == nil && !seen {
		return problemf(missingField, "%stoken: a decision needs a token", path(at)).at(at.AppendToken("token"))
	}
	return err
}

// request reads one member of a decide request's "request".
func (d *decoder) request(r *pdp.Request, name []byte) (err error) {
	switch string(name) {
	case "audience":
		r.Audience, err = d.name()
	case "token_type":
		r.TokenType, err = d.tokenType()
	case "action":
		r.Action, err = d.string(maxString)
	case "resource":
		r.Resource, err = d.string(maxString)
	case "method":
		r.Method, err = d.string(maxString)
	case "path":
		r.Path, err = d.string(maxString)
	case "client_ip":
		if r.ClientIP, err = d.string(maxString); err == nil {
			if ip, bad := netip.ParseAddr(r.ClientIP); bad != nil || !validZone(ip.Zone()) {
				err = d.invalid("expected an IP address such as 192.0.2.7 or 2001:db8::7")
			}
		}
	default:
		err = d.unknown(name)
	}
	return err
}

// validZone tells whether a zone (RFC 4007 section 11) can be an interface's: what a parser of addresses takes for one is
// any text, and an address may be written where no text may.
func validZone(zone string) bool {
	const longest = 15 // IFNAMSIZ less its zero byte
	return len(zone) <= longest && !strings.ContainsFunc(zone, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
	})
}

// batch reads {"items": [decide-request, …]}.
func (d *decoder) batch(limit int) ([]pdp.Request, error) {
	var items []pdp.Request
	seen := false
	d.values = maxBatchValues
	err := d.object(func(name []byte) error {
		if string(name) != "items" {
			return d.unknown(name)
		}
		seen = true
		return d.array(func() error {
			if len(items) == limit {
				return problemf(tooManyItems, "items: at most %d items are decided at once", limit).at("/items")
			}
			items = append(items, pdp.Request{})
			return d.item(&items[len(items)-1])
		})
	})
	if err != nil {
		return nil, err
	}
	if !seen {
		return nil, problemf(missingField, "items: a batch needs items").at("/items")
	}
	return items, d.end()
}

// order reads the body of POST /tokens.
func (d *decoder) order(o *TokenOrder) error {
	err := d.object(func(name []byte) (err error) {
		switch string(name) {
		case "token_type":
			o.TokenType, err = d.tokenType()
		case "issuer":
			o.Issuer, err = d.name()
		case "key":
			o.Key, err = d.name()
		case "audience":
			o.Audience, err = d.names()
		case "subject":
			o.Subject, err = d.name()
		case "client_id":
			o.ClientID, err = d.name()
		case "scope":
			if o.Scope, err = d.name(); err == nil && !validScope(o.Scope) {
				err = d.invalid("expected scope tokens separated by single spaces (RFC 6749 section 3.3)")
			}
		case "lifetime_seconds":
			o.LifetimeSeconds, err = d.seconds()
		case "claims":
			o.Claims, err = d.free()
		default:
			err = d.unknown(name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return d.end()
}

// validScope reports whether s is a list of scope tokens (RFC 6749 section 3.3).
func validScope(s string) bool {
	for token := range strings.SplitSeq(s, " ") {
		if token == "" {
			return false
		}
		for _, c := range []byte(token) {
			if c < '!' || c > '~' || c == '"' || c == '\\' {
				return false
			}
		}
	}
	return true
}
