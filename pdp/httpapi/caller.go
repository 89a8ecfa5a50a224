package httpapi

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// realm is the protection space that challenges name (RFC 9110 section 11.5).
const realm = `Bearer realm="assay"`

// authenticate finds out who calls: a bearer token where the request brings one and bearer tokens are
// configured, else the client certificate of the connection. No caller and no error means that the
// request brings neither.
func (a *API) authenticate(x *exchange) (pdp.Caller, error) {
	if a.c.CallerAudience != "" {
		switch given := x.r.Header["Authorization"]; {
		case len(given) > 1:
			return pdp.Caller{}, problemf(badCredentials, "one Authorization field is expected, not %d", len(given)).
				with("WWW-Authenticate", realm+`, error="invalid_request"`)
		case len(given) == 1:
			return a.bearer(x, given[0])
		}
	}
	if x.r.TLS != nil && len(x.r.TLS.VerifiedChains) > 0 {
		name, err := certificateName(x.r.TLS.VerifiedChains[0][0])
		if err != nil {
			return pdp.Caller{}, problemf(credentialsRefused, "the client certificate names no caller: %s", err)
		}
		return pdp.Caller{Name: name, Method: "mtls"}, nil
	}
	return pdp.Caller{}, nil
}

// certificateName is the identity in a client certificate: its SPIFFE ID, else its first DNS name, else
// its subject's common name. A certificate that holds a SPIFFE ID holds no other URI (X.509-SVID section 2).
func certificateName(certificate *x509.Certificate) (string, error) {
	for _, uri := range certificate.URIs {
		if uri.Scheme != "spiffe" {
			continue
		}
		if len(certificate.URIs) > 1 {
			return "", errors.New("it has a SPIFFE ID beside another URI")
		}
		return uri.String(), nil
	}
	if len(certificate.DNSNames) > 0 {
		return certificate.DNSNames[0], nil
	}
	if strings.Contains(certificate.Subject.CommonName, "://") {
		return "", errors.New("its common name looks like a URI; a SPIFFE ID stands in the URI of the subject alternative name")
	}
	if certificate.Subject.CommonName != "" {
		return certificate.Subject.CommonName, nil
	}
	return "", errors.New("it has no SPIFFE ID, no DNS name and no common name")
}

// bearer has the token of an Authorization field judged like any other (RFC 6750 section 2.1): an access
// token for the audience that this server's own callers use.
func (a *API) bearer(x *exchange, field string) (pdp.Caller, error) {
	scheme, token, ok := strings.Cut(field, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || strings.ContainsAny(token, " \t,") {
		return pdp.Caller{}, problemf(badCredentials, "the Authorization field must read: Bearer <token>").
			with("WWW-Authenticate", realm+`, error="invalid_request"`)
	}
	decision, err := a.c.CallerDecider.Decide(x.ctx, &pdp.Request{
		Token: token, Audience: a.c.CallerAudience, TokenType: pdp.AccessToken, ID: x.id,
	})
	if err != nil {
		return pdp.Caller{}, a.undecided(x, err)
	}
	if decision.Token.Keyless {
		return pdp.Caller{}, callerKeyless()
	}
	if !decision.Allow {
		return pdp.Caller{}, problemf(credentialsRefused, "the bearer token was refused: %s", denyingCodes(decision.Reasons)).
			with("WWW-Authenticate", realm+`, error="invalid_token", error_description="`+denyingCodes(decision.Reasons)+`"`)
	}
	if !meantFor(decision.Claims["aud"], a.c.CallerAudience) {
		// An issuer may be on report_only, or the rule be off, for the tokens that others ask about; nobody becomes
		// a caller of this server with a token that was made for another one.
		return pdp.Caller{}, problemf(credentialsRefused, "the bearer token is not meant for this server, or policy does not release its aud").
			with("WWW-Authenticate", realm+`, error="invalid_token", error_description="claims.audience_mismatch"`)
	}
	subject, _ := decision.Claims["sub"].(string)
	if subject == "" {
		return pdp.Caller{}, problemf(credentialsRefused, "the bearer token names no subject that policy releases to this server").
			with("WWW-Authenticate", realm+`, error="invalid_token"`)
	}
	x.bearer = presented{token: token, issuer: decision.Token.Issuer}
	x.bearer.clientID, _ = decision.Claims["client_id"].(string)
	scope, _ := decision.Claims["scope"].(string)
	x.bearer.scopes = strings.Fields(scope)
	return pdp.Caller{Name: decision.Token.Issuer + " " + subject, Method: "bearer"}, nil
}

// callerKeyless answers a bearer token of an issuer none of whose keys is known now, as where they could not be loaded since
// the start: it may be good, and a 401 would have the caller throw it away. Where there are keys and its own is not among
// them it is refused: a new token is what helps then, and a stranger cannot make the server look down.
func callerKeyless() error {
	return problemf(unavailable, "no key of the bearer token's issuer is known at present, so that it cannot be verified; ask again").retry(retryAfter)
}

// meantFor tells whether a released aud is or holds the audience (RFC 7519 section 4.1.3).
func meantFor(aud any, audience string) bool {
	if list, ok := aud.([]any); ok {
		return slices.Contains(list, any(audience))
	}
	return aud == any(audience)
}

// denyingCodes lists the codes that deny, as they may stand in a quoted string of a header field.
func denyingCodes(reasons []pdp.Reason) string {
	var codes []string
	for i := range reasons {
		if reasons[i].Enforcement == pdp.Deny && len(codes) < 8 {
			codes = append(codes, strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' || r == '"' || r == '\\' {
					return -1
				}
				return r
			}, reasons[i].Code))
		}
	}
	return strings.Join(codes, " ")
}

// admit lets a request pass its route's door: known callers only, unless the route is open.
// It sets the exchange's caller and grant.
func (a *API) admit(x *exchange) error {
	door := x.route.door
	if door == public {
		return nil
	}
	if door == openable && a.c.Open {
		// Nobody is asked who they are: an Authorization field that a gateway passed on is not for us. A
		// verified certificate costs nothing and makes a better record.
		if x.r.TLS != nil && len(x.r.TLS.VerifiedChains) > 0 {
			if name, err := certificateName(x.r.TLS.VerifiedChains[0][0]); err == nil {
				x.caller = pdp.Caller{Name: name, Method: "mtls"}
			}
		}
		x.grant = &a.everything
		return nil
	}
	caller, err := a.authenticate(x)
	if err != nil {
		return err
	}
	if caller.Name == "" {
		return problemf(unauthenticated, "%s", a.howToAuthenticate()).with("WWW-Authenticate", realm)
	}
	x.caller = caller
	grant, ok := a.grants[caller.Name]
	if !ok || grant.Method != "" && grant.Method != caller.Method {
		return problemf(notGranted, "nothing is granted to the caller %s", caller.Name)
	}
	x.grant = grant
	return nil
}

func (a *API) howToAuthenticate() string {
	if a.c.CallerAudience == "" {
		return "connect with a client certificate"
	}
	return "connect with a client certificate, or send an access token for the audience " + a.c.CallerAudience +
		" in the Authorization field"
}

// status499 is logged when the caller went away before the answer; nothing is sent.
const status499 = 499

// undecided renders an error of the Decider.
func (a *API) undecided(x *exchange, err error) error {
	var p *problem
	switch {
	case !a.c.Now().Before(x.start.Add(a.c.Timeout)):
		// Before the other question: the deadline of the body's reading, which is this one, ends the watch for a caller that
		// goes away, and looks like one.
		p = problemf(timedOut, "no decision within %s; ask again", a.c.Timeout).retry(retryAfter)
	case errors.Is(x.ctx.Err(), context.Canceled):
		p = &problem{problemType: problemType{"gone", "The caller went away", status499}, cause: err}
	case x.ctx.Err() != nil:
		p = problemf(timedOut, "no decision within %s; ask again", a.c.Timeout).retry(retryAfter)
	case errors.Is(err, pdp.ErrUnavailable):
		p = problemf(unavailable, "no decision could be made or recorded; refuse, and ask again").retry(retryAfter)
	default:
		return err
	}
	p.cause = err
	return p
}

var _ http.Handler = (*API)(nil)
