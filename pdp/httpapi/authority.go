package httpapi

import (
	"fmt"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// The kinds of revocation, as pdp.Revocation.Revoked tells them, and OwnTokens, which a grant may name beside
// them: tokens that were issued to the caller itself (RFC 7009 section 2.1).
const (
	KindToken   = "token"
	KindSubject = "subject"
	KindClient  = "client"
	KindSession = "session"
	KindKey     = "key"
	KindIssuer  = "issuer"
	OwnTokens   = "own"
)

// Kinds lists the kinds of revocation, narrowest first.
func Kinds() []string {
	return []string{KindToken, KindSubject, KindClient, KindSession, KindKey, KindIssuer}
}

// RevokeGrant is what a caller may do about revocations. Lists hold exact values, or Any.
//
// It is one of three that must agree. A caller with a bearer token also needs the scope of what it does in that
// very token: "revocations:read", "revocations:write:KIND" or "revocations:lift:KIND"; a shorter scope such as
// "revocations:write" covers what begins with it and a colon. And its token is judged once more by the policies
// in force, with that scope as request.action and the issuer concerned as request.resource, so that a rule can
// refuse. A certificate carries no scopes and is not judged: its holder has the grant.
type RevokeGrant struct {
	// Read: it may list entries, of its Issuers.
	Read bool
	// Write holds the kinds that it may revoke. OwnTokens are those with its own client_id from its own issuer,
	// whatever Issuers says; only a caller with a bearer token has any.
	Write []string
	// Lift holds the kinds whose entries it may remove before they end.
	Lift []string
	// Issuers of the tokens concerned.
	Issuers []string
}

func (g *RevokeGrant) check() error {
	known := append(Kinds(), Any)
	for _, kind := range g.Lift {
		if !slices.Contains(known, kind) {
			return fmt.Errorf("no kind of revocation is called %s; it may be one of %s", kind, strings.Join(known, " "))
		}
	}
	for _, kind := range g.Write {
		if kind != OwnTokens && !slices.Contains(known, kind) {
			return fmt.Errorf("no kind of revocation is called %s; it may be one of %s or %s", kind, strings.Join(known, " "), OwnTokens)
		}
	}
	return nil
}

// presented is what is known of the bearer token by which a caller identified itself; zero without one.
type presented struct {
	token, issuer, clientID string
	scopes                  []string
}

// has tells whether one of the token's scopes covers what is needed.
func (p *presented) has(needed string) bool {
	return slices.ContainsFunc(p.scopes, func(scope string) bool {
		return scope == needed || strings.HasPrefix(needed, scope+":")
	})
}

// mayWrite refuses unless the caller may revoke something of that kind from that issuer.
func (x *exchange) mayWrite(kind, issuer string) error {
	return x.may(x.grant.Revoke.Write, "write", kind, issuer)
}

// mayLift refuses unless the caller may remove such an entry.
func (x *exchange) mayLift(kind, issuer string) error {
	return x.may(x.grant.Revoke.Lift, "lift", kind, issuer)
}

func (x *exchange) may(granted []string, operation, kind, issuer string) error {
	var missing []string
	if !includes(granted, kind) {
		missing = append(missing, operation+" "+kind)
	}
	if !includes(x.grant.Revoke.Issuers, issuer) {
		missing = append(missing, "issuer "+issuer)
	}
	if err := refuse(missing, ""); err != nil {
		return err
	}
	return x.authorized("revocations:"+operation+":"+kind, issuer)
}

// mayRevoke is mayWrite for one token that was examined: as one of the caller's own, else as any other.
func (x *exchange) mayRevoke(t *pdp.Token, issuer string) error {
	own := x.bearer.clientID != "" && x.bearer.clientID == t.ClientID && x.bearer.issuer == issuer
	if own && slices.Contains(x.grant.Revoke.Write, OwnTokens) && x.bearer.has("revocations:write:"+OwnTokens) {
		return x.authorized("revocations:write:"+OwnTokens, issuer)
	}
	return x.mayWrite(KindToken, issuer)
}

// mayRead refuses unless the caller may list entries of the issuer; where none is named and the grant has just
// one, that is it.
func (x *exchange) mayRead(issuer string) (string, error) {
	grant := &x.grant.Revoke
	var missing []string
	if !grant.Read {
		missing = append(missing, "read")
	}
	if issuer == "" {
		issuer = only(grant.Issuers)
	}
	switch {
	case issuer != "" && !includes(grant.Issuers, issuer):
		missing = append(missing, "issuer "+issuer)
	case issuer == "" && !slices.Contains(grant.Issuers, Any):
		missing = append(missing, "to leave issuer out (name the one that you ask for)")
	}
	if err := refuse(missing, ""); err != nil {
		return "", err
	}
	return issuer, x.authorized("revocations:read", issuer)
}

// authorized holds an action against the caller's own token: its scopes, and policy's judgement of it.
func (x *exchange) authorized(action, resource string) error {
	if x.bearer.token == "" {
		return nil
	}
	if !x.bearer.has(action) {
		p := problemf(notGranted, "the bearer token does not have the scope %s", action).
			with("WWW-Authenticate", realm+`, error="insufficient_scope", scope="`+action+`"`)
		p.missing = []string{"scope " + action}
		return p
	}
	decision, err := x.api.c.CallerDecider.Decide(x.ctx, &pdp.Request{
		Token: x.bearer.token, Audience: x.api.c.CallerAudience, TokenType: pdp.AccessToken,
		Action: action, Resource: resource, Method: x.r.Method, Path: x.route.path, Caller: x.caller, ID: x.id,
	})
	if err != nil {
		return x.api.undecided(x, err)
	}
	if decision.Token.Keyless { // the keys grew too old since the door
		return callerKeyless()
	}
	if !decision.Allow {
		return problemf(notGranted, "policy does not let the bearer token do %s: %s", action, denyingCodes(decision.Reasons))
	}
	return nil
}
