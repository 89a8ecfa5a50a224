package oidcprovider

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/keyset"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/policies"
)

// trust finds the provider's keys as a user of Assay would.
func trust(t *testing.T, p *Provider, algorithms ...string) *keyset.Set {
	t.Helper()
	source, err := keyset.Discovery(p.Issuer, keyset.HTTPConfig{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := keyset.New(keyset.Config{Issuers: []keyset.IssuerConfig{
		{Issuer: pdp.Issuer{ID: p.Issuer, Algorithms: algorithms}, Source: source},
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	if err := set.Load(ctx); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- set.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return set
}

func examiner(t *testing.T, set *keyset.Set) *token.Examiner {
	t.Helper()
	e, err := token.New(token.Config{Trust: set})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestRealProvider(t *testing.T) {
	p := Start(t)
	t.Run("its tokens are verified", func(t *testing.T) { verifiesTokens(t, p) })
	t.Run("changed tokens are not", func(t *testing.T) { refusesChangedTokens(t, p) })
	t.Run("it is held to its algorithms", func(t *testing.T) { refusesOtherAlgorithms(t, p) })
	t.Run("its tokens are allowed as what they are", func(t *testing.T) { keepsKindsApart(t, p) })
}

func verifiesTokens(t *testing.T, p *Provider) {
	t.Helper()
	set := trust(t, p)
	if health := set.Health()[0]; health.Keys != len(Algorithms()) || health.Error != "" || len(health.Skipped) != 0 {
		t.Fatalf("its keys: %+v", health)
	}
	e := examiner(t, set)
	for _, kind := range Kinds() {
		for _, alg := range Algorithms() {
			t.Run(string(kind)+" "+alg, func(t *testing.T) {
				found, verification, err := e.Examine(t.Context(), p.Tokens[kind][alg])
				if err != nil || !verification.Verified() {
					t.Fatalf("status %s, reason %v, error %v", verification.Status, verification.Reason, err)
				}
				if verification.Algorithm != alg || verification.Trust.Issuer.ID != p.Issuer {
					t.Errorf("verified under %s of %s", verification.Algorithm, verification.Trust.Issuer.ID)
				}
				checkClaims(t, kind, alg, found)
			})
		}
	}
}

func checkClaims(t *testing.T, kind Kind, alg string, found *pdp.Token) {
	t.Helper()
	type shape struct{ typ, subject, audience, client string }
	want := map[Kind]shape{
		ClientAccessToken: {"at+jwt", ClientID(alg), Audience(alg), ClientID(alg)},
		UserAccessToken:   {"at+jwt", Subject, Audience(alg), ClientID(alg)},
		IDToken:           {"", Subject, ClientID(alg), ""},
		LogoutToken:       {"logout+jwt", Subject, ClientID(alg), ""},
	}[kind]
	audience, _ := found.Claims["aud"].(string)
	if got := (shape{found.Header.Type, found.Subject, audience, found.ClientID}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if found.ExpiresAt == nil || found.IssuedAt == nil || len(found.Unusable) > 0 {
		t.Errorf("exp %v, iat %v, unusable %v", found.ExpiresAt, found.IssuedAt, found.Unusable)
	}
	for name, kinds := range map[string][]Kind{
		"jti": {ClientAccessToken, UserAccessToken, LogoutToken}, "nonce": {IDToken}, "email": {IDToken},
		"sid": {IDToken, LogoutToken}, "events": {LogoutToken}, "scope": {ClientAccessToken, UserAccessToken},
	} {
		if _, has := found.Claims[name]; has != slices.Contains(kinds, kind) {
			t.Errorf("%s: present %v", name, has)
		}
	}
}

func refusesChangedTokens(t *testing.T, p *Provider) {
	t.Helper()
	e := examiner(t, trust(t, p))
	for _, alg := range Algorithms() {
		t.Run(alg, func(t *testing.T) {
			access, id := strings.Split(p.Tokens[UserAccessToken][alg], "."), strings.Split(p.Tokens[IDToken][alg], ".")
			for name, parts := range map[string][]string{
				"the ID token's claims under the access token's signature": {access[0], id[1], access[2]},
				"the ID token's header over the access token":              {id[0], access[1], access[2]},
				"the ID token's signature under the access token":          {access[0], access[1], id[2]},
			} {
				_, verification, err := e.Examine(t.Context(), strings.Join(parts, "."))
				if err != nil || verification.Status != pdp.StatusSignatureInvalid {
					t.Errorf("%s: status %s, error %v", name, verification.Status, err)
				}
			}
		})
	}
}

func refusesOtherAlgorithms(t *testing.T, p *Provider) {
	t.Helper()
	e := examiner(t, trust(t, p, "ES256"))
	for _, alg := range Algorithms() {
		want := pdp.StatusAlgorithmRefused
		if alg == "ES256" {
			want = pdp.StatusVerified
		}
		if _, verification, err := e.Examine(t.Context(), p.Tokens[ClientAccessToken][alg]); err != nil || verification.Status != want {
			t.Errorf("%s: status %s, want %s; error %v", alg, verification.Status, want, err)
		}
	}
}

// keepsKindsApart asks the library's policies for every kind of token as every kind (RFC 8725 section 3.12).
func keepsKindsApart(t *testing.T, p *Provider) {
	t.Helper()
	d := decider(t, examiner(t, trust(t, p)))
	is := map[Kind]pdp.TokenType{
		ClientAccessToken: pdp.AccessToken, UserAccessToken: pdp.AccessToken, IDToken: pdp.IDToken, LogoutToken: pdp.LogoutToken,
	}
	for _, kind := range Kinds() {
		for _, alg := range Algorithms() {
			audience := ClientID(alg)
			if is[kind] == pdp.AccessToken {
				audience = Audience(alg)
			}
			for _, asked := range []pdp.TokenType{"", pdp.AccessToken, pdp.IDToken, pdp.LogoutToken, pdp.JWTSVID, pdp.SecurityEvent, pdp.GenericToken} {
				want := asked == is[kind] || asked == "" && is[kind] == pdp.AccessToken
				decision, err := d.Decide(t.Context(), &pdp.Request{Token: p.Tokens[kind][alg], Audience: audience, TokenType: asked})
				if err != nil {
					t.Fatal(err)
				}
				if decision.Allow != want {
					t.Errorf("%s %s asked for as %q: allow %v, reasons %v", kind, alg, asked, decision.Allow, codes(decision))
				}
			}
			decision, err := d.Decide(t.Context(), &pdp.Request{Token: p.Tokens[kind][alg], Audience: "other", TokenType: is[kind]})
			if err != nil || decision.Allow || !slices.Contains(codes(decision), "claims.audience_mismatch") {
				t.Errorf("%s %s for another audience: %v, error %v", kind, alg, codes(decision), err)
			}
		}
	}
}

func decider(t *testing.T, e *token.Examiner) *pdp.Decider {
	t.Helper()
	revision, err := policy.Compile(t.Context(), policy.Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(),
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(policy.Config{Revision: revision})
	if err != nil {
		t.Fatal(err)
	}
	d, err := pdp.New(pdp.Config{Examiner: e, Policy: engine, NewID: func(time.Time) string { return "id" }})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func codes(d *pdp.Decision) []string {
	var list []string
	for _, reason := range d.Reasons {
		list = append(list, reason.Code)
	}
	return list
}
