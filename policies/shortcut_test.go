package policies_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/rego"
)

// TestShortCut judges tokens that are each a few changes away from a plain one, under configurations that are each
// a few changes away from the defaults, with and without the short cut for plain tokens. The decisions must be the
// same. Builtin errors are errors here, so that no rule can hide behind a value of a type that it does not expect.
func TestShortCut(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	const rounds, tokens = 32, 24
	short, allowed := 0, 0
	for round := range rounds {
		config := changed(random, configurations, map[string]any{}, round%4)
		policy := prepare(t, config)
		// without unchanged_until, which only the short cut gives
		with := policy.answer(t, `d := object.remove(data.assay.decision, {"unchanged_until"})`)
		without := policy.answer(t, `d := object.remove(data.assay.decision, {"unchanged_until"}) with data.assay.plain.token as false`)
		plain := policy.answer(t, `d := {token | token := data.assay.plain.token}`)
		for range tokens {
			in := accessToken()
			in = changed(random, changes, in, random.IntN(4))
			got, want := with(in), without(in)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("the short cut changes the decision\ninput  %s\nconfig %s\nwith    %s\nwithout %s", text(in), text(config), text(got), text(want))
			}
			if len(plain(in).([]any)) > 0 {
				short++
			}
			if got.(map[string]any)["allow"] == true {
				allowed++
			}
		}
	}
	// A generator that hardly ever meets the short cut, or always, proves nothing.
	for what, n := range map[string]int{"plain": short, "allowed": allowed} {
		if n < rounds*tokens/16 || n > rounds*tokens*7/8 {
			t.Errorf("%d of %d tokens were %s", n, rounds*tokens, what)
		}
	}
}

// A change sets the value at a path, one of several.
type change struct {
	path   []string
	values []any
}

var anything = []any{nil, false, true, 0, -1, 1.5, "", "x", []any{}, []any{"orders"}, map[string]any{}, map[string]any{"a": "b"}}

func claim(name string, values ...any) change {
	return change{[]string{"token", "claims", name}, append(values, anything...)}
}

var changes = []change{
	claim("iss", "https://idp.example/"),
	claim("sub", "alice@example.org", "+31612345678", "GB82WEST12345698765432", "4111111111111111", "AKIAIOSFODNN7EXAMPLE", "spiffe://a.example/b"),
	claim("aud", "orders", "billing", []any{"orders", "billing"}, []any{"orders", nil}, []any{[]any{"orders"}}),
	claim("exp", now, now-1, now+1, now-29, now-30, now+30, now+31, now+3540, now+3541, now+3540.5, "1795460300"),
	claim("iat", now, now+1, now+30, now+31, now-3300, now-3301, now-3300.5, now+300, "1795459940"),
	claim("nbf", now, now-60, now+30, now+31, now+400),
	claim("jti", "01JDXYZ"),
	claim("client_id", "app", "web"),
	claim("scope", "admin", "orders:read admin", []any{"admin"}),
	claim("auth_time", now-90, now-9000),
	claim("nonce", "n"), claim("at_hash", "h"), claim("c_hash", "h"), claim("events"), claim("azp", "web"), claim("sid", "s1"),
	claim("acr", "high"), claim("amr", []any{"pwd"}), claim("act"), claim("may_act"),
	claim("kubernetes.io", map[string]any{"namespace": "a"}), claim("cnf", map[string]any{"jwk": map[string]any{"kty": "OKP", "d": "d"}}, map[string]any{"jwk": "x"}),
	claim("tenant", "acme"), claim("roles", []any{"a", 1, nil}), claim("email", "a@b.example"), claim("ssn", "1"),
	claim("user", map[string]any{"email": "a@b.example", "tags": []any{"call +31612345678"}}),
	{[]string{"token", "typ"}, []any{"jwt", "at+jwt", "logout+jwt", "secevent+jwt", "acme+jwt", absent}},
	{[]string{"token", "size"}, []any{16384, 16385, 64}},
	{[]string{"token", "encrypted"}, []any{true}},
	{[]string{"token", "key_references"}, []any{[]any{"jku"}, []any{"jwk", "x5c"}, absent}},
	{[]string{"request", "token_type"}, []any{"id_token", "logout_token", "jwt_svid", "security_event", "jwt", "x", absent}},
	{[]string{"request", "audience"}, []any{"billing", "", absent}},
	{[]string{"request", "purpose"}, []any{"fulfilment", "marketing"}},
	{[]string{"request", "context"}, []any{map[string]any{"nonce": "n"}, map[string]any{}}},
	{[]string{"verification", "alg"}, []any{"EdDSA", "HS256", "es256", absent}},
	{[]string{"verification", "issuer"}, []any{"https://other.example", absent}},
	{[]string{"verification", "status"}, []any{"malformed", absent}},
	{[]string{"verification", "key"}, []any{
		map[string]any{"kty": "RSA", "bits": 2047}, map[string]any{"kty": "RSA", "bits": 2048, "created": now - 90000},
		map[string]any{"kty": "OKP", "bits": 256}, map[string]any{"kty": "XYZ", "bits": 9}, absent,
	}},
	{[]string{"revocation", "revoked"}, []any{"token", "subject", "client", "session", "key", "issuer"}},
	{[]string{"revocation", "age_seconds"}, []any{10, 10.5, 0, absent}},
	{[]string{"revocation"}, []any{map[string]any{"known": false}, absent}},
	{[]string{"token", "claims"}, []any{map[string]any{}, absent}},
	{[]string{"time"}, []any{absent, now + 300, now + 331}},
}

// limits are what can be configured for an issuer, audience, client or scope.
var limits = []any{
	map[string]any{}, map[string]any{"max_lifetime_seconds": 300}, map[string]any{"max_lifetime_seconds": 7200},
	map[string]any{"max_age_seconds": 30}, map[string]any{"max_auth_age_seconds": 60}, map[string]any{"not_issued_before": now - 10},
	map[string]any{"required_claims": map[string]any{"tenant": true}}, map[string]any{"expected_claims": map[string]any{"acr": []any{"high"}}},
	map[string]any{"subject_pattern": "^user-"}, map[string]any{"subject_pattern": "^admin-"}, map[string]any{"algorithms": map[string]any{"ES256": true}},
	map[string]any{"algorithms": map[string]any{"PS256": true}}, map[string]any{"release": map[string]any{"tenant": true, "user": map[string]any{"email": true}}},
	map[string]any{"withhold": map[string]any{"sub": true, "tenant": true}},
	map[string]any{"allowed_scopes": map[string]any{"orders:read": true}}, map[string]any{"authorized_parties": map[string]any{"web": true}},
	map[string]any{"max_key_age_seconds": 3600}, map[string]any{"min_key_bits": map[string]any{"EC": 384}},
	map[string]any{"max_audiences": 1}, map[string]any{"claim_patterns": map[string]any{"sub": "^user-"}},
}

var configurations = []change{
	{[]string{"issuers", "https://idp.example"}, append(limits, map[string]any{"report_only": true}, map[string]any{"explicit_typ": true},
		map[string]any{"token_types": map[string]any{"access_token": map[string]any{"at+jwt": "jwt_svid", "": false}}}, map[string]any{"modes": map[string]any{"claims.missing": "off"}})},
	{[]string{"audiences", "orders"}, append(limits, map[string]any{"purposes": map[string]any{"marketing": true}})},
	{[]string{"clients", "web"}, limits},
	{[]string{"scopes", "orders:read"}, limits},
	{[]string{"scopes", "admin"}, limits},
	{[]string{"purposes", "fulfilment"}, []any{map[string]any{}, map[string]any{"release": map[string]any{"tenant": true}}}},
	{[]string{"leeway_seconds"}, []any{0, 5}},
	{[]string{"cache_for_seconds"}, []any{0, 299, 300, 301}},
	{[]string{"max_lifetime_seconds"}, []any{300, 360}},
	{[]string{"max_token_bytes"}, []any{699, 700}},
	{[]string{"max_key_age_seconds"}, []any{3600, 864000}},
	{[]string{"not_issued_before"}, []any{now - 60, now - 59}},
	{[]string{"profiles", "access_token", "expected_claims"}, []any{map[string]any{"acr": []any{"high"}}}},
	{[]string{"profiles", "access_token", "not_issued_before"}, []any{now - 59}},
	{[]string{"algorithms", "ES256"}, []any{false}},
	{[]string{"min_key_bits", "EC"}, []any{384}},
	{[]string{"token_types", "access_token", "at+jwt"}, []any{"generic", "security_event", "kubernetes_service_account", "id_token", false}},
	{[]string{"token_types", "access_token", "acme+jwt"}, []any{"acme", "access_token"}},
	{[]string{"profiles", "acme"}, []any{map[string]any{}, map[string]any{"required_claims": map[string]any{"tenant": true}}}},
	{[]string{"profiles", "access_token", "required_claims"}, []any{map[string]any{"client_id": false}, map[string]any{"tenant": true}, map[string]any{"exp": false, "iat": false}}},
	{[]string{"profiles", "access_token", "max_lifetime_seconds"}, []any{300, 7200}},
	{[]string{"profiles", "access_token", "max_age_seconds"}, []any{20, 200}},
	{[]string{"profiles", "access_token", "max_auth_age_seconds"}, []any{20}},
	{[]string{"profiles", "access_token", "foreign_claims"}, []any{map[string]any{"nonce": true}, map[string]any{"events": false}}},
	{[]string{"profiles", "access_token", "algorithms"}, []any{map[string]any{"ES256": true}, map[string]any{"EdDSA": true}}},
	{[]string{"modes"}, []any{map[string]any{"lifetime.expired": "off"}, map[string]any{"claims.wrong_type": "warn"}, map[string]any{"minimization.claim_not_allowed": "deny"}}},
	{[]string{"waivers"}, []any{
		[]any{map[string]any{"rule": "lifetime.too_long", "client": "web", "until": "2026-11-30", "ticket": "T"}},
		[]any{map[string]any{"rule": "claims.missing", "issuer": "https://idp.example", "until": "some day", "ticket": "T"}},
	}},
	{[]string{"revocation", "max_age_seconds"}, []any{1, 2}},
	{[]string{"minimization", "release"}, []any{map[string]any{"tenant": true}}},
	{[]string{"minimization", "withhold"}, []any{map[string]any{"sub": true}, map[string]any{"sub": false}}},
	{[]string{"minimization", "claims"}, []any{map[string]any{"tenant": "special_category"}}},
}

// absent as a value takes the member away.
var absent = new(int)

func changed(random *rand.Rand, from []change, in map[string]any, times int) map[string]any {
	for range times {
		c := from[random.IntN(len(from))]
		set(in, c.path, c.values[random.IntN(len(c.values))])
	}
	return in
}

func set(in map[string]any, path []string, value any) {
	for _, name := range path[:len(path)-1] {
		inner, ok := in[name].(map[string]any)
		if !ok {
			inner = map[string]any{}
			in[name] = inner
		}
		in = inner
	}
	if last := path[len(path)-1]; value == any(absent) {
		delete(in, last)
	} else {
		in[last] = copied(value)
	}
}

// copied keeps later changes out of the tables above.
func copied(value any) any {
	switch v := value.(type) {
	case map[string]any:
		c := make(map[string]any, len(v))
		for name, inner := range v {
			c[name] = copied(inner)
		}
		return c
	case []any:
		return slices.Clone(v)
	}
	return value
}

// answer gives what the query binds to d, for any input.
func (p *prepared) answer(t *testing.T, query string) func(map[string]any) any {
	t.Helper()
	ctx := context.Background()
	q, err := rego.New(rego.Query(query), rego.Compiler(p.compiler), rego.Store(p.store), rego.Transaction(p.txn),
		rego.StoreReadAST(true), rego.StrictBuiltinErrors(true)).PrepareForEval(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return func(in map[string]any) any {
		results, err := q.Eval(ctx, rego.EvalInput(in), rego.EvalTransaction(p.txn))
		if err != nil || len(results) != 1 {
			t.Fatalf("%d results, error %v\ninput %s", len(results), err, text(in))
		}
		return results[0].Bindings["d"]
	}
}

func text(value any) string {
	b, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(b)
}
