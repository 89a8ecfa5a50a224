package policies_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/policies"
)

// TestRego runs the library's Rego tests as opa test does, and asks that they evaluate every line of it.
func TestRego(t *testing.T) {
	modules := everyModule(t)
	store := inmem.NewFromObject(map[string]any{"assay": map[string]any{"config": configuration(t, nil)}})
	ctx := context.Background()
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(ctx, txn)
	coverage := cover.New()
	results, err := tester.NewRunner().SetStore(store).SetModules(modules).SetCoverageQueryTracer(coverage).
		SetTimeout(time.Minute).RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for result := range results {
		ran++
		t.Run(strings.TrimPrefix(result.Package, "data.")+"."+result.Name, func(t *testing.T) {
			for path, sub := range result.SubResults.Iter {
				if sub.Fail {
					t.Errorf("%s", strings.Join(path, "/"))
				}
			}
			if !result.Pass() {
				t.Errorf("%s: failed: %v", result.Location, result.Error)
			}
		})
	}
	if ran == 0 {
		t.Fatal("no Rego test ran")
	}
	report := coverage.Report(modules)
	for path, file := range report.Files {
		if strings.HasSuffix(path, "_test.rego") {
			continue
		}
		for _, lines := range file.NotCovered {
			t.Errorf("%s: lines %d to %d are never evaluated by a test", path, lines.Start.Row, lines.End.Row)
		}
	}
}

func TestRegoFormat(t *testing.T) {
	for path, text := range everyText(t) {
		formatted, err := format.Source(path, text)
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(formatted, text) {
			t.Errorf("%s is not as opa fmt writes it", path)
		}
	}
}

// TestCompile compiles as opa check --strict --schema does, with the capabilities that policy has.
func TestCompile(t *testing.T) {
	compiler := compile(t)
	for name := range impure {
		module := parse(t, "impure.rego", []byte("package impure\n\nallow if "+name+"(input.a)\n"))
		probe := ast.NewCompiler().WithCapabilities(capabilities())
		if probe.Compile(map[string]*ast.Module{"impure.rego": module}); !probe.Failed() {
			t.Errorf("%s can be called", name)
		}
	}
	decision := compiler.GetAnnotationSet().GetDocumentScope(ast.MustParseRef("data.assay.decision"))
	if decision == nil || !decision.Entrypoint {
		t.Error("data.assay.decision is not annotated as an entrypoint")
	}
}

// TestMetadata checks what the catalogue and the reasons are made of.
func TestMetadata(t *testing.T) {
	var known struct {
		Requirements map[string]string `json:"requirements"`
	}
	if err := json.Unmarshal(policies.Requirements(), &known); err != nil {
		t.Fatal(err)
	}
	given := make(map[string]bool)
	for path, text := range policies.Modules() {
		module := parse(t, path, text)
		annotations, errs := ast.BuildAnnotationSet([]*ast.Module{module})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		if !strings.HasPrefix(module.Package.Path.String(), "data.assay") {
			t.Errorf("%s: package %s is outside assay", path, module.Package.Path)
		}
		for _, rule := range module.Rules {
			if !strings.Contains(rule.String(), "rego.metadata.rule()") {
				continue
			}
			a := annotations.GetRuleScope(rule)
			if len(a) != 1 || a[0].Title == "" || a[0].Description == "" {
				t.Errorf("%s: a finding needs one metadata block with title and description", rule.Location)
				continue
			}
			code, _ := a[0].Custom["code"].(string)
			severity, _ := a[0].Custom["severity"].(string)
			controls, _ := a[0].Custom["controls"].([]any)
			given[code] = true
			if !slices.Contains(codes, code) {
				t.Errorf("%s: code %q is not in the table of reason codes", rule.Location, code)
			}
			if !slices.Contains([]pdp.Severity{pdp.Low, pdp.Medium, pdp.High, pdp.Critical}, pdp.Severity(severity)) {
				t.Errorf("%s: severity %q", rule.Location, severity)
			}
			if len(controls) == 0 {
				t.Errorf("%s: no controls", rule.Location)
			}
			for _, control := range controls {
				if id, ok := control.(string); !ok || known.Requirements[id] == "" {
					t.Errorf("%s: control %v is not a requirement", rule.Location, control)
				}
			}
		}
	}
	for _, reason := range pdp.FloorReasons() {
		given[reason.Code] = true
		for _, id := range reason.Controls {
			if known.Requirements[id] == "" {
				t.Errorf("%s: control %s is not a requirement", reason.Code, id)
			}
		}
	}
	for _, code := range codes {
		if !given[code] && !slices.Contains(later, code) {
			t.Errorf("no rule and not the floor gives %s", code)
		}
	}
}

// codes are all reason codes that there are.
var codes = []string{
	"signature.malformed", "signature.unsupported", "signature.invalid", "signature.issuer_untrusted", "signature.key_unknown",
	"signature.undecryptable", "algorithm.none", "algorithm.not_allowed", "algorithm.key_mismatch", "key.retired",
	"key.compromised", "key.too_weak", "key.too_old", "header.key_reference", "header.critical_unknown", "header.type_mismatch",
	"lifetime.missing_exp", "lifetime.expired", "lifetime.not_yet_valid", "lifetime.too_long", "lifetime.issued_in_future",
	"lifetime.too_old", "lifetime.missing_iat", "claims.missing", "claims.wrong_type", "claims.audience_mismatch",
	"claims.unexpected_value", "minimization.claim_not_allowed", "minimization.sensitive_claim", "minimization.sensitive_value",
	"minimization.too_large", "minimization.purpose_not_allowed", "revocation.token", "revocation.subject", "revocation.client",
	"revocation.session", "revocation.key", "revocation.issuer", "revocation.feed_stale", "policy.undefined", "policy.failed",
}

// later are codes that nothing gives yet: the input does not tell in what state of its life a key is.
var later = []string{"key.retired", "key.compromised"}

func TestConfigSchema(t *testing.T) {
	for _, c := range []struct {
		name   string
		config string
		valid  bool
	}{
		{"the defaults", string(policies.Defaults()), true},
		{"nothing", `{}`, true},
		{"an organisation's", `{
			"issuers": {"https://idp.example": {"max_lifetime_seconds": 900, "report_only": true, "modes": {"lifetime.too_long": "warn"}}},
			"audiences": {"orders": {"release": {"email": true, "address": {"country": true}}, "purposes": {"fulfilment": true}}},
			"scopes": {"admin": {"max_lifetime_seconds": 300}},
			"waivers": [{"rule": "lifetime.too_long", "client": "web", "until": "2026-12-31", "ticket": "SEC-1"}]}`, true},
		{"constraints of everybody they can be set for", `{
			"not_issued_before": 1795460000,
			"profiles": {"access_token": {"not_issued_before": 1, "max_key_age_seconds": 1, "expected_claims": {"acr": ["high"]}, "subject_pattern": "^user-",
				"claim_patterns": {"tenant": "^acme"}, "allowed_scopes": {"read": true}, "authorized_parties": {"web": true}, "max_audiences": 1}},
			"issuers": {"https://idp.example": {"explicit_typ": true, "token_types": {"access_token": {"": "kubernetes_service_account"}},
				"min_key_bits": {"RSA": 3072}, "max_audiences": 2}},
			"audiences": {"orders": {"authorized_parties": {"web": true}, "max_key_age_seconds": 60}},
			"clients": {"web": {"allowed_scopes": {"read": true}, "claim_patterns": {"tenant": "^acme"}}},
			"scopes": {"admin": {"min_key_bits": {"EC": 384}}},
			"minimization": {"classes": {"personal": {"released_in_clear": "deny"}}, "claims": {"pod.name": "none"}}}`, true},
		{"a profile of one's own", `{"profiles": {"acme": {"subject_form": "spiffe_id", "required_one_of": {"sub": true}, "required_event": "urn:example:event",
			"several_audiences_need_azp": true, "credential": false, "foreign_claims": {"kubernetes.io": true, "exp": true}}}}`, true},
		{"no audience at all", `{"issuers": {"https://idp.example": {"max_audiences": 0}}}`, false},
		{"a pattern that is no pattern", `{"clients": {"web": {"claim_patterns": {"tenant": 17}}}}`, false},
		{"a pattern that cannot be read", `{"clients": {"web": {"claim_patterns": {"tenant": "("}}}}`, false},
		{"scopes as a list", `{"clients": {"web": {"allowed_scopes": ["read"]}}}`, false},
		{"keys of an issuer that are too short", `{"issuers": {"https://idp.example": {"min_key_bits": {"RSA": 1024}}}}`, false},
		{"keys of no age", `{"issuers": {"https://idp.example": {"max_key_age_seconds": 0}}}`, false},
		{"a subject of a form that does not exist", `{"profiles": {"acme": {"subject_form": "mail"}}}`, false},
		{"explicit_typ of a client", `{"clients": {"web": {"explicit_typ": true}}}`, false},
		{"a kind that cannot be asked for", `{"issuers": {"https://idp.example": {"token_types": {"refresh_token": {"": "generic"}}}}}`, false},
		{"a mode of what is released that does not exist", `{"minimization": {"classes": {"personal": {"released_in_clear": "block"}}}}`, false},
		{"a key that does not exist", `{"max_lifetime": 900}`, false},
		{"a key that does not exist, further in", `{"issuers": {"https://idp.example": {"max_lifetime": 900}}}`, false},
		{"a lifetime of nothing", `{"max_lifetime_seconds": 0}`, false},
		{"a lifetime with a unit", `{"max_lifetime_seconds": "1h"}`, false},
		{"a mode that does not exist", `{"modes": {"lifetime.too_long": "block"}}`, false},
		{"a mode of a misspelt code", `{"modes": {"lifetime": "warn"}}`, false},
		{"an algorithm that cannot be allowed", `{"algorithms": {"HS256": true}}`, false},
		{"RSA keys that are too short", `{"min_key_bits": {"RSA": 1024}}`, false},
		{"a waiver for nobody", `{"waivers": [{"rule": "lifetime.too_long", "until": "2026-12-31", "ticket": "SEC-1"}]}`, false},
		{"a waiver without an end", `{"waivers": [{"rule": "lifetime.too_long", "client": "web", "ticket": "SEC-1"}]}`, false},
		{"a waiver until some day", `{"waivers": [{"rule": "lifetime.too_long", "client": "web", "until": "next week", "ticket": "SEC-1"}]}`, false},
		{"a class that does not exist", `{"minimization": {"claims": {"email": "secret"}}}`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if valid, problems := matches(t, policies.ConfigSchema(), []byte(c.config)); valid != c.valid {
				t.Errorf("valid: %t: %v", valid, problems)
			}
		})
	}
}

func TestInputSchema(t *testing.T) {
	for name, in := range map[string]document{"access token": accessToken(), "ID token": idToken(), "nothing": {}} {
		text, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		if valid, problems := matches(t, policies.InputSchema(), text); !valid {
			t.Errorf("%s: %v", name, problems)
		}
	}
}

// matches holds a document against a schema as json.match_schema does.
func matches(t *testing.T, schema, text []byte) (bool, any) {
	t.Helper()
	results, err := rego.New(rego.Query("json.match_schema(input.document, input.schema, [valid, problems])"),
		rego.Input(map[string]any{"document": string(text), "schema": string(schema)})).Eval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 {
		t.Fatalf("%d results", len(results))
	}
	return results[0].Bindings["valid"].(bool), results[0].Bindings["problems"]
}

func everyText(t *testing.T) map[string][]byte {
	t.Helper()
	texts := make(map[string][]byte)
	err := fs.WalkDir(policies.FS, ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".rego") {
			return err
		}
		texts[path], err = policies.FS.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

func everyModule(t *testing.T) map[string]*ast.Module {
	t.Helper()
	modules := make(map[string]*ast.Module)
	for path, text := range everyText(t) {
		modules[path] = parse(t, path, text)
	}
	return modules
}
