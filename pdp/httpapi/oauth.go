package httpapi

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp"
)

// formMedia is the type of the bodies of RFC 7009 section 2.1 and RFC 7662 section 2.1.
const formMedia = "application/x-www-form-urlencoded"

// form reads the body of an OAuth request. A parameter that is not known is ignored and one without a value is
// as if it were left out, but none may come twice (RFC 6749 section 3.2).
func (x *exchange) form(known ...string) (map[string]string, error) {
	body, err := x.read()
	if err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(string(body))
	if err != nil || !utf8.Valid(body) {
		return nil, problemf(invalidValue, "the body is not well-formed %s", formMedia)
	}
	parameters := make(map[string]string, len(known))
	for _, name := range known {
		given := values[name]
		switch {
		case len(given) > 1:
			return nil, problemf(duplicateField, "%s must not come twice", name)
		case len(given) == 1 && !utf8.ValidString(given[0]): // which bytes that are can still be percent-encoded
			return nil, problemf(invalidValue, "%s: not UTF-8", name)
		case len(given) == 1 && name != "token" && len(given[0]) > maxString:
			return nil, problemf(invalidValue, "%s: longer than %d bytes", name, maxString)
		case len(given) == 1:
			parameters[name] = given[0]
		}
	}
	// A file that was sent as it is ends with a newline. To take that for a part of the token would make it one that
	// is not known, and the answer to its revocation would be 200.
	parameters["token"] = strings.TrimSpace(parameters["token"])
	if parameters["token"] == "" {
		return nil, problemf(missingField, "the parameter token is missing")
	}
	return parameters, nil
}

// revokeToken serves POST /revoke (RFC 7009). token_type_hint is read and not needed: Assay knows a token by
// itself. What is no token of an issuer that is trusted is answered like one that was revoked: it is invalid
// already (section 2.2). One whose key is not known at present may become valid: 503 (section 2.2.1).
func (x *exchange) revokeToken() error {
	parameters, err := x.form("token", "token_type_hint")
	if err != nil {
		return err
	}
	t, v, err := x.api.c.Examiner.Examine(x.ctx, parameters["token"])
	if err != nil {
		return x.api.undecided(x, errors.Join(pdp.ErrUnavailable, err))
	}
	if v.Status == pdp.StatusKeyUnknown {
		return x.keyUnknown()
	}
	if v.Verified() {
		order := RevocationOrder{Kind: KindToken, Issuer: v.Trust.Issuer.ID, Value: t.ID, TokenExpires: t.ExpiresAt}
		if err := x.mayRevoke(t, order.Issuer); err != nil {
			return err
		}
		if t.ExpiresAt == nil || t.ExpiresAt.Floor() >= x.start.Unix()-int64(pdp.DefaultHardMaxLifetime.Seconds()) {
			// One that is dead for longer than any leeway needs no entry.
			if _, _, err := x.api.c.Revocations.Revoke(x.ctx, x.caller, order); err != nil {
				return x.unstored(err)
			}
		}
	}
	x.w.Header()["Cache-Control"] = noStore
	x.status = http.StatusOK
	x.w.WriteHeader(http.StatusOK)
	return nil
}

// introspect serves POST /introspect (RFC 7662): the same decision as POST /decide, for the caller's own audience,
// in that standard's words. A caller that is granted several audiences names the one that it asks for in the
// parameter "audience", which is not the standard's. Whatever is not allowed is {"active":false} and no more
// (section 2.2), so that a caller learns nothing of a token that is not meant for it.
func (x *exchange) introspect() error {
	parameters, err := x.form("token", "token_type_hint", "audience")
	if err != nil {
		return err
	}
	request := x.asking()
	request.Token, request.Audience = parameters["token"], parameters["audience"]
	if parameters["token_type_hint"] == string(pdp.IDToken) {
		request.TokenType = pdp.IDToken
	}
	return x.decided(request, func(dst []byte, d *pdp.Decision) ([]byte, error) {
		return appendIntrospection(dst, d, request.TokenType)
	})
}

// appendIntrospection appends an introspection response (RFC 7662 section 2.2): the claims that policy releases to
// the audience stand beside "active". A claim that is called like one of the response's own members is left out:
// the token's maker must not write the answer.
func appendIntrospection(dst []byte, d *pdp.Decision, kind pdp.TokenType) ([]byte, error) {
	if !d.Allow {
		return append(dst, `{"active":false}`...), nil
	}
	dst = append(dst, `{"active":true`...)
	if kind != pdp.IDToken {
		dst = append(dst, `,"token_type":"Bearer"`...)
	}
	names := make([]string, 0, len(d.Claims))
	for name := range d.Claims {
		if !slices.ContainsFunc([]string{"active", "token_type", "username"}, func(own string) bool { return strings.EqualFold(own, name) }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		value, err := json.Marshal(d.Claims[name])
		if err != nil {
			return nil, err
		}
		dst = append(appendString(append(dst, ','), name), ':')
		dst = append(dst, value...)
	}
	return append(dst, '}'), nil
}

// refuseOAuth writes a refusal as RFC 6749 section 5.2 has it, which RFC 7009 section 2.2.1 and RFC 7662 section
// 2.3 refer to; for what a caller's identity or its bearer token lacks, as RFC 6750 section 3.1 does.
func (x *exchange) refuseOAuth(p *problem) {
	code := "invalid_request"
	switch p.status {
	case http.StatusUnauthorized:
		if code = "invalid_token"; p.name == unauthenticated.name {
			code = "invalid_client"
		}
	case http.StatusForbidden:
		if code = "insufficient_scope"; x.bearer.token == "" {
			code = "unauthorized_client"
		}
	case http.StatusServiceUnavailable:
		code = "temporarily_unavailable"
	case http.StatusInternalServerError:
		code = "server_error"
	}
	x.w.Header().Set("Pragma", "no-cache")
	x.write(p.status, "application/json", appendPair(x.out[:0], "error", code, "error_description", ascii(p.detail)))
}

func appendPair(dst []byte, name, value, other, detail string) []byte {
	dst = append(appendString(append(dst, '{'), name), ':')
	dst = append(appendString(dst, value), ',')
	dst = append(appendString(dst, other), ':')
	return append(appendString(dst, detail), '}')
}

// ascii keeps what RFC 6749 section 5.2 lets stand in error_description.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, s)
}
