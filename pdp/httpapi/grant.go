package httpapi

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Any in a list of a Grant stands for every value.
const Any = "*"

// Grant is what one caller may ask for. Lists hold exact values, or Any; an empty list grants nothing.
type Grant struct {
	// Caller is the identity it is granted to, as in pdp.Caller.Name: a SPIFFE ID, a certificate's DNS
	// name or common name, or "issuer subject" of a bearer token.
	Caller string
	// Method is how the caller must have proved that, "mtls" or "bearer"; empty: either. A common name may read
	// like an issuer and a subject.
	Method string
	// Audiences that it may ask decisions for. A caller with exactly one may leave request.audience out.
	Audiences []string
	// Purposes that it may ask claims for.
	Purposes []string
	// Issue holds what tokens it may order; an order must be covered by one of them alone.
	Issue []IssueGrant
	// Revoke is what it may revoke, lift and list.
	Revoke RevokeGrant
}

// IssueGrant is one kind of token that a caller may order. What the order leaves out needs no grant; an
// issuer, key, audience, subject or client id that is left out is filled in where exactly one is granted. Only
// the issuer may then not stay open, unless every one is granted.
type IssueGrant struct {
	// TokenTypes: default only access_token.
	TokenTypes []pdp.TokenType
	// Issuers ("iss"), Keys (names of signing keys), Audiences, Subjects, Clients ("client_id"), Scopes
	// (scope tokens) and Claims (names of further claims, of any value).
	Issuers, Keys, Audiences, Subjects, Clients, Scopes, Claims []string
	// MaxLifetime is the longest that such a token may live, in whole seconds; zero leaves it to the issuer.
	MaxLifetime time.Duration
}

func includes(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, Any)
}

// only gives the one value of a list that names exactly one.
func only(list []string) string {
	if len(list) == 1 && list[0] != Any {
		return list[0]
	}
	return ""
}

// allow holds a decide request against the grant, and fills its audience in where only one is possible.
// at is the request's place in a batch, such as "items[3].".
func (g *Grant) allow(r *pdp.Request, at string) error {
	if r.Audience == "" {
		r.Audience = only(g.Audiences)
	}
	var missing []string
	switch {
	case r.Audience != "" && !includes(g.Audiences, r.Audience):
		missing = append(missing, "audience "+r.Audience)
	case r.Audience == "" && !slices.Contains(g.Audiences, Any):
		// Without an audience a token for anybody would pass: that is a right of those who may ask for all.
		missing = append(missing, "to leave request.audience out (name the one that you ask for)")
	}
	if r.Purpose != "" && !includes(g.Purposes, r.Purpose) {
		missing = append(missing, "purpose "+r.Purpose)
	}
	return refuse(missing, at)
}

// allowOrder holds an order against what may be issued to the caller, and completes it.
func (g *Grant) allowOrder(o *TokenOrder) error {
	if len(g.Issue) == 0 {
		return refuse([]string{"to have tokens issued"}, "")
	}
	var closest []string
	for i := range g.Issue {
		completed, missing := g.Issue[i].cover(*o)
		if len(missing) == 0 {
			*o = completed
			return nil
		}
		if closest == nil || len(missing) < len(closest) {
			closest = missing
		}
	}
	return refuse(closest, "")
}

// cover completes the order from the grant and tells what of it the grant does not cover.
func (g *IssueGrant) cover(o TokenOrder) (completed TokenOrder, missing []string) {
	if o.TokenType == "" {
		o.TokenType = pdp.AccessToken
	}
	types := g.TokenTypes
	if len(types) == 0 {
		types = []pdp.TokenType{pdp.AccessToken}
	}
	if !slices.Contains(types, o.TokenType) && !slices.Contains(types, Any) {
		missing = append(missing, "token type "+string(o.TokenType))
	}
	for _, one := range [...]struct {
		what    string
		value   *string
		granted []string
	}{
		{"issuer", &o.Issuer, g.Issuers}, {"key", &o.Key, g.Keys},
		{"subject", &o.Subject, g.Subjects}, {"client", &o.ClientID, g.Clients},
	} {
		if *one.value == "" {
			*one.value = only(one.granted)
		} else if !includes(one.granted, *one.value) {
			missing = append(missing, one.what+" "+*one.value)
		}
	}
	if o.Issuer == "" && !slices.Contains(g.Issuers, Any) {
		// Whoever issues would choose for it, and could choose one that is not granted.
		missing = append(missing, "to leave issuer out (name the one that is to issue)")
	}
	if audience := only(g.Audiences); len(o.Audience) == 0 && audience != "" {
		o.Audience = []string{audience}
	}
	missing = appendMissing(missing, "audience", o.Audience, g.Audiences)
	missing = appendMissing(missing, "scope", strings.Fields(o.Scope), g.Scopes)
	names := make([]string, 0, len(o.Claims))
	for name := range o.Claims {
		names = append(names, name)
	}
	slices.Sort(names)
	missing = appendMissing(missing, "claim", names, g.Claims)
	if limit := int64(g.MaxLifetime / time.Second); limit > 0 {
		o.MaxLifetimeSeconds = limit
		if o.LifetimeSeconds > limit {
			missing = append(missing, fmt.Sprintf("a lifetime of %d s (at most %d s)", o.LifetimeSeconds, limit))
		}
	}
	return o, missing
}

func appendMissing(missing []string, what string, values, granted []string) []string {
	for _, value := range values {
		if !includes(granted, value) {
			missing = append(missing, what+" "+value)
		}
	}
	return missing
}

// refuse names at most a handful of what is missing.
func refuse(missing []string, at string) error {
	if len(missing) == 0 {
		return nil
	}
	const most = 10
	if len(missing) > most {
		missing = append(missing[:most:most], "…")
	}
	for i, what := range missing {
		missing[i] = shortenTo(what, 256)
	}
	p := problemf(notGranted, "%snot granted to this caller: %s", at, strings.Join(missing, "; "))
	p.missing = missing
	return p
}
