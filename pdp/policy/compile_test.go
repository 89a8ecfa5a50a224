package policy

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
)

const denyAll = `decision := {"allow": false, "reasons": []}`

func TestModulesThatAreRefusedSayWhereAndWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name    string
		modules map[string]string
		want    []string
	}{
		{"syntax error", map[string]string{"a.rego": "package assay\n\nx :="}, []string{"a.rego:3: "}},
		{"all files at once", map[string]string{"a.rego": "package assay\nx :=", "b.rego": "package assay\ny :="}, []string{"a.rego:2: ", "b.rego:2: "}},
		{"clock", map[string]string{"a.rego": "package assay\nnow := time.now_ns()"}, []string{"a.rego:2: time.now_ns is not available", "input.time"}},
		{"network", map[string]string{"a.rego": `package assay
x := http.send({"method": "get", "url": "http://127.0.0.1/"})`}, []string{"a.rego:2: http.send is not available"}},
		{"token verification", map[string]string{"a.rego": `package assay
x := io.jwt.verify_es256(input.t, input.k)`}, []string{"io.jwt.verify_es256 is not available", "input.verification"}},
		{"unknown function", map[string]string{"a.rego": "package assay\nx := no.such(1)"}, []string{"a.rego:2: undefined function no.such"}},
		{"unused import in strict mode", map[string]string{"a.rego": "package assay\nimport data.other\n" + denyAll}, []string{"a.rego:2: ", "other"}},
		{"Rego v0", map[string]string{"a.rego": "package assay\nx[y] { y := 1 }"}, []string{"a.rego:2: "}},
		{"recursion", map[string]string{"a.rego": "package assay\nx if y\ny if x"}, []string{"a.rego:2: ", "recursive"}},
		{"rules two names deep", map[string]string{"a.rego": "package assay.rules.acme.partners\nx := 1"}, []string{"a.rego:1: package assay.rules.acme.partners is two names below", "assay.rules.acme_partners"}},
		{"findings two names deep", map[string]string{"a.rego": "package assay.rules.acme\npartners.findings contains 1"}, []string{"a.rego:2: assay.rules.acme.partners.findings is never asked"}},
		{"findings without a name", map[string]string{"a.rego": "package assay.rules\nfindings contains 1"}, []string{"a.rego:2: assay.rules.findings is never asked"}},
		{"no entrypoint", map[string]string{"a.rego": "package other\nx := 1"}, []string{"no module defines data.assay.decision"}},
		{"no module", nil, []string{"no module defines data.assay.decision"}},
		{"unmarked entrypoint", map[string]string{"a.rego": "package assay\n" + denyAll}, []string{"a.rego:2: data.assay.decision is not marked", "# entrypoint: true"}},
		{"another entrypoint is marked", map[string]string{"a.rego": "package assay\n" + denyAll + "\n# METADATA\n# entrypoint: true\nother := 1"}, []string{"is not marked"}},
		{"module over data", map[string]string{"a.rego": "package assay\n# METADATA\n# entrypoint: true\n" + denyAll, "b.rego": "package assay.config\nx := 1"}, []string{"b.rego:2: data.assay.config comes from the configuration alone"}},
		{"misspelt input", map[string]string{"a.rego": "# METADATA\n# schemas:\n#   - input: schema.input\npackage assay\nx := input.token.clams"}, []string{"a.rego:5: ", "clams"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := library()
			source.Modules = map[string][]byte{}
			for name, text := range c.modules {
				source.Modules[name] = []byte(text)
			}
			_, err := Compile(t.Context(), source)
			if _, ok := errors.AsType[*CompileError](err); !ok {
				t.Fatalf("not a CompileError: %v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestConfigurationIsHeldAgainstItsSchema(t *testing.T) {
	for _, c := range []struct{ name, config, field, text string }{
		{"unknown setting", `{"leeway": 30}`, "leeway", "no such setting"},
		{"unknown setting deep in a name with dots", `{"issuers": {"https://idp.example/a.b": {"max_life": 1}}}`, "issuers.https://idp.example/a.b.max_life", "no such setting"},
		{"wrong type", `{"leeway_seconds": "30"}`, "leeway_seconds", "integer"},
		{"below a minimum", `{"leeway_seconds": -1}`, "leeway_seconds", "0"},
		{"array element", `{"waivers": [{"rule": 7}]}`, "waivers.0.rule", "string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := library()
			source.Config = []byte(c.config)
			_, err := Compile(t.Context(), source)
			found, ok := errors.AsType[*ConfigError](err)
			if !ok {
				t.Fatalf("not a ConfigError: %v", err)
			}
			if !slices.ContainsFunc(found.Problems, func(p ConfigProblem) bool {
				return p.Field == c.field && strings.Contains(p.Text, c.text)
			}) {
				t.Errorf("no problem at %s that says %q: %v", c.field, c.text, found)
			}
		})
	}
	t.Run("path has one element a name", func(t *testing.T) {
		source := library()
		source.Config = []byte(`{"issuers": {"https://idp.example/a.b": {"max_life": 1}}}`)
		_, err := Compile(t.Context(), source)
		found, _ := errors.AsType[*ConfigError](err)
		if want := []string{"issuers", "https://idp.example/a.b", "max_life"}; found == nil || !slices.Equal(found.Problems[0].Path, want) {
			t.Errorf("%v, want the path %q", err, want)
		}
	})
	for name, config := range map[string]string{"a name twice": `{"leeway_seconds": 1, "leeway_seconds": 2}`, "no object": `[]`, "no JSON": `leeway: 1`} {
		t.Run(name, func(t *testing.T) {
			source := library()
			source.Config = []byte(config)
			if _, err := Compile(t.Context(), source); err == nil || !strings.Contains(err.Error(), "policy configuration") {
				t.Errorf("compiled, or an error that does not say where: %v", err)
			}
		})
	}
}

func TestSchemaCannotReachTheNetwork(t *testing.T) {
	source := library()
	source.Schema = []byte(`{"$ref": "http://127.0.0.1:1/schema.json"}`)
	if _, err := Compile(t.Context(), source); err == nil || !strings.Contains(err.Error(), "loading disabled") {
		t.Errorf("a remote schema is refused for another reason, or not at all: %v", err)
	}
}

func TestConfigurationIsMergedIntoDefaults(t *testing.T) {
	source := deciding(`decision := {"allow": false, "reasons": [{
		"code": "test.config", "message": "told", "severity": "low", "enforcement": "warn",
		"details": {"a": data.assay.config.a, "b": data.assay.config.o.b, "c": data.assay.config.o.c, "list": data.assay.config.list, "other": data.other}}]}`)
	source.Data = []byte(`{"other": true, "assay": {"config": {"a": 0, "o": {"c": 30}}}}`)
	source.Defaults = []byte(`{"a": 1, "o": {"b": 1}, "list": ["x", "y"]}`)
	source.Config = []byte(`{"o": {"b": 2}, "list": ["z"]}`)
	e, _ := engine(t, compiled(t, source))
	got := judge(t, e, facts(t)).Reasons[0].Details
	want := map[string]any{"a": number(1), "b": number(2), "c": number(30), "other": true}
	list, _ := got["list"].([]string)
	if !slices.Equal(list, []string{"z"}) {
		t.Errorf("list: %v", got["list"])
	}
	delete(got, "list")
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestRevisionIDIsADigestOfEverything(t *testing.T) {
	first := compiled(t, library()).ID()
	if again := compiled(t, library()).ID(); again != first {
		t.Errorf("the same source has two ids: %s and %s", first, again)
	}
	if len(first) != 43 {
		t.Errorf("id %q has %d characters", first, len(first))
	}
	source := library()
	source.Defaults = []byte(strings.Replace(string(source.Defaults), "{", "{ ", 1))
	if id := compiled(t, source).ID(); id != first {
		t.Error("white space in the configuration changes the id")
	}
	for name, change := range map[string]func(*Source){
		"comment in a module": func(s *Source) {
			s.Modules["assay/decision.rego"] = append(s.Modules["assay/decision.rego"], "\n# more"...)
		},
		"another module": func(s *Source) { s.Modules["assay/more.rego"] = []byte("package assay.more") },
		"renamed module": func(s *Source) {
			s.Modules["assay/d.rego"] = s.Modules["assay/decision.rego"]
			delete(s.Modules, "assay/decision.rego")
		},
		"configuration": func(s *Source) { s.Config = []byte(`{"leeway_seconds": 31}`) },
		"data":          func(s *Source) { s.Data = []byte(`{"x": 1}`) },
	} {
		t.Run(name, func(t *testing.T) {
			source := library()
			change(&source)
			if compiled(t, source).ID() == first {
				t.Error("the id stays the same")
			}
		})
	}
}

func TestCapabilitiesArePure(t *testing.T) {
	c := Capabilities()
	if c.AllowNet == nil || len(c.AllowNet) > 0 {
		t.Errorf("AllowNet %v: it must be empty and not nil, which would be everything", c.AllowNet)
	}
	has := func(name string) bool {
		return slices.ContainsFunc(c.Builtins, func(b *ast.Builtin) bool { return b.Name == name })
	}
	for _, name := range []string{
		"http.send", "net.lookup_ip_addr", "opa.runtime", "rand.intn", "uuid.rfc4122", "time.now_ns",
		"io.jwt.decode_verify", "io.jwt.verify_es256", "io.jwt.verify_hs256", "io.jwt.encode_sign", "io.jwt.encode_sign_raw",
		"crypto.x509.parse_and_verify_certificates", "crypto.x509.parse_and_verify_certificates_with_options", "providers.aws.sign_req",
	} {
		if _, known := ast.BuiltinMap[name]; !known {
			t.Errorf("OPA has no %s; the list here is out of date", name)
		}
		if has(name) {
			t.Errorf("%s is available", name)
		}
	}
	for _, name := range []string{"net.cidr_contains", "json.match_schema", "time.parse_rfc3339_ns", "io.jwt.decode", "regex.match"} {
		if !has(name) {
			t.Errorf("%s is not available", name)
		}
	}
	for _, b := range c.Builtins {
		if b.Nondeterministic && !slices.Contains(pureAfterAll, b.Name) {
			t.Errorf("%s is not deterministic and available", b.Name)
		}
	}
}
