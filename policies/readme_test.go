package policies_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/assaypdp/assay/policies"
)

// recipe is a section of README.md that has Rego: a configuration or a rule, and a test of it.
type recipe struct {
	title string
	// config is the text of its configuration in YAML; empty where it has none.
	config  string
	modules map[string]*ast.Module
}

var (
	section = regexp.MustCompile(`(?m)^###? `)
	snippet = regexp.MustCompile("(?s)```(yaml|rego)\n(.*?)```")
)

// recipes are the sections that have a snippet of Rego.
func recipes(t *testing.T) []recipe {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var found []recipe
	for _, text := range section.Split(string(readme), -1) {
		title, _, _ := strings.Cut(text, "\n")
		r := recipe{title: title, modules: map[string]*ast.Module{}}
		for i, block := range snippet.FindAllStringSubmatch(text, -1) {
			if block[1] == "yaml" {
				r.config += block[2]
				continue
			}
			path := fmt.Sprintf("%s-%d.rego", title, i)
			r.modules[path] = parse(t, path, []byte(block[2]))
			if formatted, err := format.Source(path, []byte(block[2])); err != nil || string(formatted) != block[2] {
				t.Errorf("%s is not as opa fmt writes it (%v)", path, err)
			}
		}
		if len(r.modules) > 0 {
			found = append(found, r)
		}
	}
	return found
}

// TestReadme runs what README.md shows, each recipe beside the library and by itself: its tests pass with its
// configuration and rules, and do not all pass without them, so that each recipe does something and its test sees it.
func TestReadme(t *testing.T) {
	cooked := 0
	for _, r := range recipes(t) {
		t.Run(r.title, func(t *testing.T) {
			var own map[string]any
			if err := util.Unmarshal([]byte(r.config), &own); err != nil {
				t.Fatal(err)
			}
			text, err := json.Marshal(own)
			if err != nil {
				t.Fatal(err)
			}
			if valid, problems := matches(t, policies.ConfigSchema(), text); own != nil && !valid {
				t.Errorf("its configuration does not fit the schema: %v", problems)
			}
			tests, rules := map[string]*ast.Module{}, 0
			for path, module := range r.modules {
				if strings.HasSuffix(module.Package.Path.String(), "_test") {
					tests[path] = module
				} else {
					rules++
				}
			}
			if own == nil && rules == 0 {
				t.Error("it has neither a configuration nor a rule")
			}
			for _, failed := range failing(t, r.modules, own) {
				t.Errorf("%s failed", failed)
			}
			if len(failing(t, tests, nil)) == 0 {
				t.Error("its tests pass without its configuration and rules, too")
			}
		})
		if r.config != "" {
			cooked++
		}
	}
	if cooked < 10 {
		t.Errorf("%d recipes have a configuration", cooked)
	}
}

// failing runs the tests among the modules beside the library, and names those that do not pass.
func failing(t *testing.T, modules map[string]*ast.Module, own map[string]any) []string {
	t.Helper()
	all := map[string]*ast.Module{}
	for path, text := range everyText(t) {
		if !strings.HasSuffix(path, "_test.rego") || strings.HasSuffix(path, "/fixture_test.rego") {
			all[path] = parse(t, path, text)
		}
	}
	var packages []string
	for path, module := range modules {
		all[path] = module.Copy()
		if name := strings.TrimPrefix(module.Package.Path.String(), "data."); strings.HasSuffix(name, "_test") {
			packages = append(packages, regexp.QuoteMeta(name)+`\.`)
		}
	}
	compiler := ast.NewCompiler().WithStrict(true).WithCapabilities(capabilities())
	ctx := context.Background()
	store := inmem.NewFromObject(map[string]any{"assay": map[string]any{"config": configuration(t, own)}})
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Abort(ctx, txn)
	results, err := tester.NewRunner().SetCompiler(compiler).SetStore(store).SetModules(all).Filter(strings.Join(packages, "|")).RunTests(ctx, txn)
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	ran := 0
	for result := range results {
		ran++
		if !result.Pass() {
			failed = append(failed, result.Package+"."+result.Name)
		}
	}
	if ran == 0 {
		t.Fatal("it has no test")
	}
	return failed
}
