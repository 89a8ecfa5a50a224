package realinput

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

// vaultAlgorithms are all that Vault's identity store offers for its keys.
var vaultAlgorithms = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}

// identity is a Vault whose identity store issues tokens, and somebody who is logged in to it.
type identity struct {
	address string
	root    *api.Client
	// token is the Vault token of the one who is logged in, entity their entity.
	token, entity string
}

const allowTokens = `
path "identity/oidc/token/*" { capabilities = ["read"] }
path "identity/oidc/provider/+/authorize" { capabilities = ["read", "update"] }`

// newIdentity starts a Vault and logs in, which creates the entity. Each issuer has a Vault of its own: within
// one, a key that both a role and a provider's client use is published by two issuers, and to Assay a key has one.
func newIdentity(t *testing.T, login func(*testing.T, *identity) *api.Secret) *identity {
	t.Helper()
	server := vaulttest.Start(t)
	i := &identity{address: server.Address, root: vaulttest.Root(t, server, "")}
	i.write(t, "sys/policies/acl/tokens", m{"policy": allowTokens})
	i.write(t, "identity/oidc/config", m{"issuer": i.address})
	for _, alg := range vaultAlgorithms {
		i.write(t, "identity/oidc/key/"+alg, m{
			"algorithm": alg, "allowed_client_ids": []string{"*"}, "rotation_period": "1h", "verification_ttl": "1h",
		})
		i.write(t, "identity/oidc/role/"+alg, m{"key": alg, "client_id": "orders", "ttl": "10m"})
	}
	secret := login(t, i)
	if secret == nil || secret.Auth == nil || secret.Auth.EntityID == "" {
		t.Fatalf("the login gave no entity: %+v", secret)
	}
	i.token, i.entity = secret.Auth.ClientToken, secret.Auth.EntityID
	return i
}

func byPassword(t *testing.T, i *identity) *api.Secret {
	t.Helper()
	i.write(t, "sys/auth/userpass", m{"type": "userpass"})
	i.write(t, "auth/userpass/users/alice", m{"password": "correct horse", "token_policies": "tokens"})
	return i.write(t, "auth/userpass/login/alice", m{"password": "correct horse"})
}

func byAppRole(t *testing.T, i *identity) *api.Secret {
	t.Helper()
	i.write(t, "sys/auth/approle", m{"type": "approle"})
	i.write(t, "auth/approle/role/robot", m{"token_policies": "tokens"})
	role := i.read(t, i.root, "auth/approle/role/robot/role-id")
	secret := i.write(t, "auth/approle/role/robot/secret-id", m{})
	return i.write(t, "auth/approle/login", m{"role_id": role.Data["role_id"], "secret_id": secret.Data["secret_id"]})
}

func (i *identity) write(t *testing.T, path string, data m) *api.Secret {
	t.Helper()
	secret, err := i.root.Logical().WriteWithContext(t.Context(), path, data)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func (i *identity) read(t *testing.T, client *api.Client, path string) *api.Secret {
	t.Helper()
	secret, err := client.Logical().ReadWithContext(t.Context(), path)
	if err != nil || secret == nil {
		t.Fatalf("%s: %v, error %v", path, secret, err)
	}
	return secret
}

// issuer is the "iss" of identity tokens.
func (i *identity) issuer() string { return i.address + "/v1/identity/oidc" }

// identityToken has Vault issue one for whoever is logged in.
func (i *identity) identityToken(t *testing.T, role string) string {
	t.Helper()
	user, err := i.root.Clone()
	if err != nil {
		t.Fatal(err)
	}
	user.SetToken(i.token)
	token, _ := i.read(t, user, "identity/oidc/token/"+role).Data["token"].(string)
	return token
}

// The two ways of finding Vault's keys, and the two logins.
func TestVaultIdentityTokens(t *testing.T) {
	url, discovery := newIdentity(t, byPassword), newIdentity(t, byAppRole)
	s := serve(t, configure(t, fmt.Sprintf(`issuers:
  - {issuer: %[1]s, keys: {url: %[1]s/.well-known/keys}}
  - {issuer: %[2]s, keys: {discovery: true}}
`, url.issuer(), discovery.issuer())))
	for _, v := range []struct {
		name string
		*identity
	}{{"keys by URL", url}, {"keys by discovery", discovery}} {
		t.Run(v.name, func(t *testing.T) {
			for _, alg := range vaultAlgorithms {
				t.Run(alg, func(t *testing.T) { judgesIdentityToken(t, s, v.identity, alg) })
			}
			t.Run("with claims of a template", func(t *testing.T) { holdsBackTemplate(t, s, v.identity) })
			t.Run("after rotations", func(t *testing.T) { followsRotations(t, s, v.identity) })
		})
	}
	t.Run("the issuer is compared exactly", func(t *testing.T) { comparesIssuer(t, discovery) })
}

// judgesIdentityToken asks about a token that has no typ, and only iss, sub, aud, iat, exp and Vault's own
// "namespace". Nothing in it says what kind it is, so it fits whatever kind demands no more than these.
func judgesIdentityToken(t *testing.T, s *server, i *identity, alg string) {
	t.Helper()
	token := i.identityToken(t, alg)
	header, claims := part(t, token, 0), part(t, token, 1)
	if header["alg"] != alg || header["typ"] != nil || claims["iss"] != i.issuer() || claims["sub"] != i.entity || claims["aud"] != "orders" {
		t.Fatalf("Vault issues another kind of token than this test is about: %v %v", header, claims)
	}
	svid := []reason{notSPIFFE}
	if alg == "EdDSA" {
		svid = append(svid, notForSVIDs)
	}
	omit := []string{"namespace"}
	for _, j := range []judgement{
		{name: "by default", request: m{"audience": "orders"}, omit: omit},
		{name: "as access_token", request: m{"audience": "orders", "token_type": "access_token"}, omit: omit},
		{name: "as jwt", request: m{"audience": "orders", "token_type": "jwt"}, omit: omit},
		{name: "as id_token", request: m{"audience": "orders", "token_type": "id_token"}, omit: omit},
		{name: "as logout_token", request: m{"audience": "orders", "token_type": "logout_token"}, deny: []reason{
			deny("claims.missing", "lacks events, jti; logout tokens need it", "events", "jti"),
		}},
		{name: "as jwt_svid", request: m{"audience": "orders", "token_type": "jwt_svid"}, deny: svid},
		{name: "as security_event", request: m{"audience": "orders", "token_type": "security_event"}, deny: []reason{otherType("security_event")}},
		{name: "for another audience", request: m{"audience": "billing"}, deny: []reason{otherAudience}},
		{name: "with a nonce expected", request: m{"audience": "orders", "token_type": "id_token"}, nonce: "n", deny: []reason{
			deny("claims.unexpected_value", "has not the nonce that the request expects", "nonce"),
		}},
	} {
		t.Run(j.name, func(t *testing.T) { s.check(t, token, alg, i.issuer(), j) })
	}
	s.refusesTampered(t, token, m{"audience": "orders"})
}

// holdsBackTemplate asks about a token with claims that Vault's operator added. Vault says null of an entity
// in no group.
func holdsBackTemplate(t *testing.T, s *server, i *identity) {
	t.Helper()
	template := `{"nbf": {{time.now}}, "groups": {{identity.entity.groups.names}}, "who": {"name": {{identity.entity.name}} } }`
	i.write(t, "identity/oidc/role/template", m{"key": "ES256", "client_id": "orders", "ttl": "10m", "template": template})
	token := i.identityToken(t, "template")
	claims := part(t, token, 1)
	if groups, has := claims["groups"]; !has || groups != nil || claims["nbf"] == nil || claims["who"] == nil {
		t.Fatalf("the template added something else: %v", claims)
	}
	s.check(t, token, "ES256", i.issuer(), judgement{
		request: m{"audience": "orders"}, omit: []string{"groups", "namespace", "who"},
		warned: []reason{warn("minimization.sensitive_claim", "has personal data that the asking audience does not need: who.name", "who.name")},
	})
}

// followsRotations rotates the ES256 key twice. Vault publishes the next key before it signs with it, so that
// the first rotation costs nothing; the second brings a kid that Assay has not seen, and one load.
func followsRotations(t *testing.T, s *server, i *identity) {
	t.Helper()
	loads := fmt.Sprintf(`assay_keyset_loads_total{issuer=%q,outcome="ok",trigger="unknown_key"}`, i.issuer())
	tokens := []string{i.identityToken(t, "ES256")}
	for _, want := range []string{"", "1"} {
		i.write(t, "identity/oidc/key/ES256/rotate", m{"verification_ttl": "1h"})
		tokens = append(tokens, i.identityToken(t, "ES256"))
		var kids []any
		for _, token := range tokens {
			s.check(t, token, "ES256", i.issuer(), judgement{request: m{"audience": "orders"}, omit: []string{"namespace"}})
			kids = append(kids, part(t, token, 0)["kid"])
		}
		if last := len(kids) - 1; slices.Contains(kids[:last], kids[last]) {
			t.Fatalf("the key was not rotated: %v", kids)
		}
		if got := s.metric(t, loads); got != want {
			t.Errorf("after %d rotations unknown kids started %q loads, want %q", len(tokens)-1, got, want)
		}
	}
	s.refusesTampered(t, tokens[2], m{"audience": "orders"})
}

// comparesIssuer names Vault's issuer as somebody might who is used to browsers.
func comparesIssuer(t *testing.T, i *identity) {
	t.Helper()
	status, body := do(t, get(t, i.issuer()+"/.well-known/openid-configuration"))
	metadata := read[m](t, body)
	if status != http.StatusOK || metadata["issuer"] != i.issuer() {
		t.Fatalf("status %d, issuer %v", status, metadata["issuer"])
	}
	token := i.identityToken(t, "ES256")
	for _, issuer := range []string{
		i.issuer() + "/", strings.Replace(i.issuer(), "127.0.0.1", "localhost", 1), strings.Replace(i.issuer(), "http:", "HTTP:", 1),
	} {
		config := configure(t, fmt.Sprintf("issuers:\n  - {issuer: %q, keys: {url: %s/.well-known/keys}}\n", issuer, i.issuer()))
		d, code := decide(t, config, token, "--audience", "orders")
		if code != 1 || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "signature.issuer_untrusted" {
			t.Errorf("%s: exit code %d, %+v", issuer, code, d)
		}
	}
}

func get(t *testing.T, address string) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	return request
}

// TestVaultOIDCProvider goes through the authorization code flow of Vault's OIDC provider.
func TestVaultOIDCProvider(t *testing.T) {
	i := newIdentity(t, byPassword)
	issuer := i.issuer() + "/provider/people"
	i.write(t, "identity/oidc/assignment/alice", m{"entity_ids": []string{i.entity}})
	i.write(t, "identity/oidc/provider/people", m{"issuer": i.address, "allowed_client_ids": []string{"*"}})
	clients := map[string]*api.Secret{}
	for _, alg := range vaultAlgorithms {
		path := "identity/oidc/client/" + alg
		i.write(t, path, m{
			"key": alg, "redirect_uris": []string{callback}, "assignments": []string{"alice"}, "id_token_ttl": "10m", "access_token_ttl": "10m",
		})
		clients[alg] = i.read(t, i.root, path)
	}
	s := serve(t, configure(t, fmt.Sprintf("issuers:\n  - {issuer: %s, keys: {discovery: true}}\n", issuer)))
	for _, alg := range vaultAlgorithms {
		t.Run(alg, func(t *testing.T) { judgesProviderToken(t, s, i, issuer, alg, clients[alg].Data) })
	}
}

// callback is never called: Vault hands the code to the one who is logged in.
const callback = "http://127.0.0.1/callback"

func judgesProviderToken(t *testing.T, s *server, i *identity, issuer, alg string, client m) {
	t.Helper()
	id, _ := client["client_id"].(string)
	secret, _ := client["client_secret"].(string)
	token, opaque := i.logIn(t, issuer, id, secret)
	header, claims := part(t, token, 0), part(t, token, 1)
	if header["alg"] != alg || header["typ"] != nil || claims["iss"] != issuer || claims["sub"] != i.entity || claims["aud"] != id {
		t.Fatalf("Vault issues another kind of token than this test is about: %v %v", header, claims)
	}
	foreign := func(noun string, names ...string) reason {
		message := "has " + strings.Join(names, ", ") + ", which " + noun + " do not have: it is another kind of token"
		return deny("header.type_mismatch", message, names...)
	}
	generic := foreign("tokens of no declared type", "at_hash", "c_hash", "nonce")
	omit := []string{"namespace"}
	for _, j := range []judgement{
		{name: "as id_token", request: m{"audience": id, "token_type": "id_token"}, omit: omit},
		{name: "with its nonce", request: m{"audience": id, "token_type": "id_token"}, nonce: "n-0S6_WzA2Mj", omit: omit},
		{name: "with another nonce", request: m{"audience": id, "token_type": "id_token"}, nonce: "other", deny: []reason{
			deny("claims.unexpected_value", "has not the nonce that the request expects", "nonce"),
		}},
		{name: "for another audience", request: m{"audience": "orders", "token_type": "id_token"}, deny: []reason{otherAudience}},
		{name: "by default", request: m{"audience": id}, deny: []reason{generic}},
		{name: "as access_token", request: m{"audience": id, "token_type": "access_token"}, deny: []reason{generic}},
		{name: "as jwt", request: m{"audience": id, "token_type": "jwt"}, deny: []reason{generic}},
		{name: "as logout_token", request: m{"audience": id, "token_type": "logout_token"}, deny: []reason{
			deny("claims.missing", "lacks events, jti; logout tokens need it", "events", "jti"),
			foreign("logout tokens", "at_hash", "c_hash", "nonce"),
		}},
		{name: "as security_event", request: m{"audience": id, "token_type": "security_event"}, deny: []reason{otherType("security_event")}},
	} {
		t.Run(j.name, func(t *testing.T) { s.check(t, token, alg, issuer, j) })
	}
	s.refusesTampered(t, token, m{"audience": id, "token_type": "id_token"})
	// Vault's access token is no JWT.
	if d := s.decide(t, opaque, m{"audience": id}, ""); d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "signature.malformed" {
		t.Errorf("Vault's opaque access token: %+v", d)
	}
}

// logIn is the authorization code flow (OpenID Connect Core section 3.1) as a client and its user go through it.
func (i *identity) logIn(t *testing.T, issuer, id, secret string) (idToken, accessToken string) {
	t.Helper()
	query := url.Values{
		"scope": {"openid"}, "response_type": {"code"}, "client_id": {id}, "redirect_uri": {callback}, "state": {"s"}, "nonce": {"n-0S6_WzA2Mj"},
	}
	authorize := get(t, issuer+"/authorize?"+query.Encode())
	authorize.Header.Set("X-Vault-Token", i.token)
	status, body := do(t, authorize)
	var granted struct{ Code string }
	if err := json.Unmarshal(body, &granted); err != nil || status != http.StatusOK {
		t.Fatalf("authorize: status %d, error %v: %s", status, err, body)
	}
	form := url.Values{"grant_type": {"authorization_code"}, "code": {granted.Code}, "redirect_uri": {callback}}
	exchange, err := http.NewRequestWithContext(t.Context(), http.MethodPost, issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	exchange.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	exchange.SetBasicAuth(id, secret)
	status, body = do(t, exchange)
	var tokens struct {
		IDToken     string `json:"id_token"`
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &tokens); err != nil || status != http.StatusOK {
		t.Fatalf("token: status %d, error %v: %s", status, err, body)
	}
	return tokens.IDToken, tokens.AccessToken
}
