package realinput

import (
	"fmt"
	"testing"

	"github.com/assaypdp/assay/test/oidcprovider"
)

// TestOIDCProviderTokens judges the tokens of oidc-provider. Where npm cannot have it, it is skipped.
func TestOIDCProviderTokens(t *testing.T) {
	p := oidcprovider.Start(t)
	s := serve(t, configure(t, fmt.Sprintf("issuers:\n  - {issuer: %s, keys: {discovery: true}}\n", p.Issuer)))
	for _, alg := range oidcprovider.Algorithms() {
		t.Run(alg, func(t *testing.T) {
			for _, kind := range oidcprovider.Kinds() {
				token := p.Tokens[kind][alg]
				asked := providerJudgements(kind, alg)
				for _, j := range asked {
					t.Run(string(kind)+" "+j.name, func(t *testing.T) { s.check(t, token, alg, p.Issuer, j) })
				}
				s.refusesTampered(t, token, asked[0].request)
			}
		})
	}
}

// providerJudgements are the questions about one kind of token, the one that is allowed first.
func providerJudgements(kind oidcprovider.Kind, alg string) []judgement {
	own := map[oidcprovider.Kind]string{
		oidcprovider.ClientAccessToken: "access_token", oidcprovider.UserAccessToken: "access_token",
		oidcprovider.IDToken: "id_token", oidcprovider.LogoutToken: "logout_token",
	}[kind]
	audience := oidcprovider.ClientID(alg)
	if own == "access_token" {
		audience = oidcprovider.Audience(alg)
	}
	right := judgement{name: "as what it is", request: m{"audience": audience, "token_type": own}}
	other := judgement{name: "for another audience", request: m{"audience": audience + "/", "token_type": own}, deny: []reason{otherAudience}}
	nobody := judgement{name: "for no audience", request: m{"token_type": own}, deny: []reason{
		deny("claims.audience_mismatch", "the request must name its audience (request.audience), to be compared with the token's aud"),
	}}
	var rest []judgement
	if kind == oidcprovider.IDToken {
		right.omit = []string{"email", "email_verified"}
		rest = idTokenElsewhere(audience, alg)
	} else {
		// typ tells access and logout tokens from all others.
		for _, asked := range []string{"access_token", "jwt", "id_token", "logout_token", "jwt_svid", "security_event"} {
			if asked == own {
				continue
			}
			j := judgement{name: "as " + asked, request: m{"audience": audience, "token_type": asked}, deny: []reason{otherType(asked)}}
			if asked == "jwt_svid" {
				j.deny = append(j.deny, notSPIFFE)
			}
			rest = append(rest, j)
		}
	}
	return append([]judgement{right, other, nobody}, rest...)
}

// idTokenElsewhere presents an ID token, which has no typ, as something else. Its nonce
// gives it away; this provider adds no at_hash in the code flow, where it is optional.
func idTokenElsewhere(audience, alg string) []judgement {
	foreign := func(noun string) reason {
		return deny("header.type_mismatch", "has nonce, which "+noun+" do not have: it is another kind of token", "nonce")
	}
	personal := warn("minimization.sensitive_claim", "has personal data that the asking audience does not need: email", "email")
	generic := []reason{foreign("tokens of no declared type")}
	svid := []reason{foreign("JWT-SVIDs"), notSPIFFE}
	if alg == "EdDSA" || alg == "Ed25519" {
		svid = append(svid, notForSVIDs)
	}
	return []judgement{
		{name: "by default", request: m{"audience": audience}, deny: generic, warned: []reason{personal}},
		{name: "as access_token", request: m{"audience": audience, "token_type": "access_token"}, deny: generic, warned: []reason{personal}},
		{name: "as jwt", request: m{"audience": audience, "token_type": "jwt"}, deny: generic, warned: []reason{personal}},
		{
			name: "as logout_token", request: m{"audience": audience, "token_type": "logout_token"}, warned: []reason{personal},
			deny: []reason{foreign("logout tokens"), deny("claims.missing", "lacks events, jti; logout tokens need it", "events", "jti")},
		},
		{name: "as jwt_svid", request: m{"audience": audience, "token_type": "jwt_svid"}, deny: svid, warned: []reason{personal}},
		{
			name: "as security_event", request: m{"audience": audience, "token_type": "security_event"}, warned: []reason{personal},
			deny: []reason{otherType("security_event")},
		},
	}
}
