package policies_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/policies"
)

// now is the moment at which the tests judge.
const now = 1795460000

// document is an input document.
type document map[string]any

func (d document) claims() map[string]any {
	return d["token"].(map[string]any)["claims"].(map[string]any)
}

// accessToken is the input about a conforming RFC 9068 access token.
func accessToken() document {
	return document{
		"time":    now,
		"request": map[string]any{"audience": "orders", "token_type": "access_token", "action": "read"},
		"token": map[string]any{
			"size": 700, "kind": "jws", "alg": "ES256", "kid": "k1", "typ": "at+jwt", "key_references": []any{}, "encrypted": false,
			"header": map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"},
			"claims": map[string]any{
				"iss": "https://idp.example", "sub": "user-17", "aud": "orders", "exp": now + 300, "iat": now - 60,
				"jti": "01JDXYZ", "client_id": "web", "scope": "orders:read orders:write",
			},
			"id": "01JDXYZ",
		},
		"verification": map[string]any{
			"status": "verified", "issuer": "https://idp.example", "alg": "ES256",
			"key": map[string]any{"thumbprint": "t1", "kid": "k1", "kty": "EC", "crv": "P-256", "bits": 256, "created": now - 86400, "alg": "ES256"},
		},
		"revocation": map[string]any{"known": true, "age_seconds": 1.5},
	}
}

// idToken is the input about a conforming OpenID Connect ID token.
func idToken() document {
	d := accessToken()
	d["request"].(map[string]any)["token_type"] = "id_token"
	token := d["token"].(map[string]any)
	token["typ"] = "jwt"
	delete(d.claims(), "scope")
	delete(d.claims(), "client_id")
	maps.Copy(d.claims(), map[string]any{"nonce": "n-0S6", "auth_time": now - 90, "email": "a@b.example", "sid": "s1"})
	return d
}

// configuration is the defaults with an organisation's own merged into them, as the policy engine does it.
func configuration(t testing.TB, own map[string]any) map[string]any {
	t.Helper()
	var defaults map[string]any
	decoder := json.NewDecoder(bytes.NewReader(policies.Defaults()))
	decoder.UseNumber()
	if err := decoder.Decode(&defaults); err != nil {
		t.Fatal(err)
	}
	return policy.Merge(defaults, own)
}

// capabilities are those that policy may use: OPA's without whatever is not a function of its operands.
func capabilities() *ast.Capabilities {
	allowed := ast.CapabilitiesForThisVersion()
	kept := allowed.Builtins[:0]
	for _, builtin := range allowed.Builtins {
		if !impure[builtin.Name] && !builtin.Nondeterministic {
			kept = append(kept, builtin)
		}
	}
	allowed.Builtins = kept
	allowed.AllowNet = []string{}
	return allowed
}

var impure = map[string]bool{
	"http.send": true, "net.lookup_ip_addr": true, "opa.runtime": true, "rand.intn": true, "uuid.rfc4122": true,
	"time.now_ns": true, "io.jwt.decode_verify": true, "io.jwt.encode_sign": true, "io.jwt.encode_sign_raw": true,
	"crypto.x509.parse_and_verify_certificates": true, "crypto.x509.parse_and_verify_certificates_with_options": true,
	"trace": true,
}

// compile compiles the library as strictly as opa check --strict with the input schema does.
func compile(t testing.TB) *ast.Compiler {
	t.Helper()
	modules := make(map[string]*ast.Module)
	for path, text := range policies.Modules() {
		modules[path] = parse(t, path, text)
	}
	var schema any
	if err := json.Unmarshal(policies.InputSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.MustParseRef("schema.input"), schema)
	compiler := ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities()).WithSchemas(schemas).WithUseTypeCheckAnnotations(true)
	if compiler.Compile(modules); compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
	return compiler
}

func parse(t testing.TB, path string, text []byte) *ast.Module {
	t.Helper()
	module, err := ast.ParseModuleWithOpts(path, string(text), ast.ParserOptions{ProcessAnnotation: true})
	if err != nil {
		t.Fatal(err)
	}
	return module
}
