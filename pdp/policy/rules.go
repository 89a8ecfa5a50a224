package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// RulesPackage is where an organisation's own rules live: each package is RulesPackage and one more name.
const RulesPackage = "assay.rules"

// Findings is the name of the set in which a package of rules says what it found.
const Findings = "findings"

// misplaced finds the rules that the library would never ask: it asks for data.assay.rules[_].findings, one name deep,
// and what lies deeper would be silently without effect. A rule that an author believes in and that never runs is worse
// than one that is refused.
func misplaced(modules map[string]*ast.Module) []Problem {
	rules := ast.MustParseRef("data." + RulesPackage)
	var problems []Problem
	for _, module := range modules {
		path := module.Package.Path
		if !path.HasPrefix(rules) {
			continue
		}
		if len(path) > len(rules)+1 {
			name := strings.TrimPrefix(path.String(), "data.")
			problems = append(problems, Problem{File: module.Package.Location.File, Line: module.Package.Location.Row, Message: fmt.Sprintf(
				"package %s is two names below %s, where no rule is ever asked; call it %s.%s, and put what only helps it into a package outside %s",
				name, RulesPackage, RulesPackage, strings.ReplaceAll(strings.TrimPrefix(name, RulesPackage+"."), ".", "_"), RulesPackage)})
			continue
		}
		for _, rule := range module.Rules {
			ref := rule.Ref().GroundPrefix()
			last := ref[len(ref)-1].Value.Compare(ast.String(Findings))
			if last == 0 && len(ref) != len(rules)+2 {
				problems = append(problems, Problem{File: rule.Location.File, Line: rule.Location.Row, Message: fmt.Sprintf(
					"%s is never asked; findings are those of the packages %s.NAME, with one name", strings.TrimPrefix(ref.String(), "data."), RulesPackage)})
			}
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return problems
}
