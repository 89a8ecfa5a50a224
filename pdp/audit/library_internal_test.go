package audit

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/policies"
)

// What is said to be the library's is what the library has.
func TestTheTextsOfTheLibraryAreKnown(t *testing.T) {
	var file struct {
		Catalogue struct {
			Reasons []struct {
				Code     string   `json:"code"`
				Controls []string `json:"controls"`
			} `json:"reasons"`
		} `json:"catalogue"`
	}
	if err := json.Unmarshal(policies.Catalogue(), &file); err != nil {
		t.Fatal(err)
	}
	for _, r := range file.Catalogue.Reasons {
		if !isOf(families, r.Code, ".") {
			t.Errorf("the family of %s is not known", r.Code)
		}
		for _, control := range r.Controls {
			if !isOf(frameworks, control, ":") {
				t.Errorf("whose requirement %s is, is not known", control)
			}
		}
	}
	names := 0
	for file, text := range policies.Modules() {
		module, err := ast.ParseModuleWithOpts(file, string(text), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			t.Fatal(err)
		}
		ast.WalkTerms(module, func(term *ast.Term) bool {
			o, ok := term.Value.(ast.Object)
			if !ok {
				return false
			}
			details := o.Get(ast.StringTerm("details"))
			if details == nil || o.Get(ast.StringTerm("rule")) == nil {
				return false
			}
			if named, ok := details.Value.(ast.Object); ok {
				named.Foreach(func(name, _ *ast.Term) {
					if s, ok := name.Value.(ast.String); !ok || !slices.Contains(ours, string(s)) {
						t.Errorf("%s: the detail %s is not known", file, name)
					}
					names++
				})
			}
			return false
		})
	}
	if len(file.Catalogue.Reasons) < 30 || names < 20 {
		t.Errorf("only %d reasons and %d details were looked at", len(file.Catalogue.Reasons), names)
	}
}
