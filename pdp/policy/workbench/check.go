package workbench

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// Check finds everything that is wrong with the author's own modules, beyond what production refuses: the metadata that
// catalogue and reasons are made of, and rules that would never be asked. The tests are compiled too. What production
// refuses is a *policy.CompileError or *policy.ConfigError, as there.
func Check(ctx context.Context, p Policy) ([]policy.Problem, error) {
	if _, err := policy.Compile(ctx, p.Source); err != nil {
		return nil, err
	}
	draft, err := policy.NewDraft(ctx, p.Source, p.Tests)
	if err != nil {
		return nil, err
	}
	// Parsing has attached the metadata; compiling rewrites the rules, so they are looked at first.
	problems, err := metadataProblems(p, draft)
	if err != nil {
		return nil, err
	}
	if err := draft.Compile(); err != nil {
		return nil, err
	}
	slices.SortFunc(problems, func(a, b policy.Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return problems, nil
}

func metadataProblems(p Policy, draft *policy.Draft) ([]policy.Problem, error) {
	var problems []policy.Problem
	libraryPackages := make(map[string]bool)
	for name, module := range draft.Modules {
		if _, isModule := p.Modules[name]; isModule && !p.Own[name] {
			libraryPackages[packageName(module)] = true
		}
	}
	asked := make(map[string]*ast.Module) // own packages under assay.rules → one of their modules
	finding := make(map[string]bool)
	for name, module := range draft.Modules {
		if _, isModule := p.Modules[name]; !isModule || !p.Own[name] {
			continue
		}
		at := packageName(module)
		if libraryPackages[at] {
			problems = append(problems, policy.Problem{File: name, Line: module.Package.Location.Row, Message: "package " + at +
				" belongs to the library; write rules of your own in a package " + policy.RulesPackage + ".NAME"})
		}
		rules, err := RulesOf(module)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, rule := range rules {
			finding[at] = true
			for _, wrong := range rule.problems() {
				problems = append(problems, policy.Problem{File: rule.File, Line: rule.Line, Message: wrong})
			}
		}
		if strings.HasPrefix(at, policy.RulesPackage+".") {
			asked[at] = module
		}
	}
	for at, module := range asked {
		if !finding[at] {
			problems = append(problems, policy.Problem{File: module.Package.Location.File, Line: module.Package.Location.Row, Message: "package " +
				at + ` has no rule "` + policy.Findings + ` contains …", so nothing in it ever speaks`})
		}
	}
	return problems, nil
}

func packageName(module *ast.Module) string {
	return strings.TrimPrefix(module.Package.Path.String(), "data.")
}

// Rule is one rule that finds something, with what its metadata says.
type Rule struct {
	// Package is without "data.". File and Line are where the rule stands.
	Package, File string
	Line          int
	Title         string
	Description   string
	Code          string
	Severity      string
	// Mode is what the rule itself says that it does; empty: deny, or what the configuration says.
	Mode     string
	Controls []string

	annotated bool
	names     bool // the finding names its rule by rego.metadata.rule()
	custom    map[string]any
}

// RulesOf lists the rules of a module that add to a set named findings, in their order. The module was parsed with its
// metadata and is not compiled yet.
func RulesOf(module *ast.Module) ([]Rule, error) {
	annotations, found := ast.BuildAnnotationSet([]*ast.Module{module})
	if len(found) > 0 {
		return nil, found
	}
	var rules []Rule
	for _, rule := range module.Rules {
		ref := rule.Ref().GroundPrefix()
		if ref[len(ref)-1].Value.Compare(ast.String(policy.Findings)) != 0 || rule.Head.Key == nil && rule.Head.Value == nil {
			continue
		}
		text := rule.String()
		names := strings.Contains(text, ast.RegoMetadataRule.Name)
		// The library's root collects what its families found; such a rule hands on and has nothing to say of itself.
		if !names && !strings.HasPrefix(packageName(module), policy.RulesPackage+".") {
			continue
		}
		one := Rule{Package: packageName(module), File: rule.Location.File, Line: rule.Location.Row, names: names}
		for _, a := range annotations.GetRuleScope(rule) {
			one.annotated = true
			one.Title, one.Description, one.custom = a.Title, a.Description, a.Custom
			one.Code, _ = a.Custom["code"].(string)
			one.Severity, _ = a.Custom["severity"].(string)
			one.Mode, _ = a.Custom["mode"].(string)
			controls, _ := a.Custom["controls"].([]any)
			for _, control := range controls {
				one.Controls = append(one.Controls, fmt.Sprint(control))
			}
		}
		rules = append(rules, one)
	}
	return rules, nil
}

// problems says what a reason made of this rule would lack.
func (r *Rule) problems() []string {
	if !r.annotated {
		return []string{`the rule has no metadata; write "# METADATA" with title, description and custom: {code, severity, controls} directly above it`}
	}
	var wrong []string
	say := func(condition bool, text string) {
		if condition {
			wrong = append(wrong, text)
		}
	}
	say(r.Title == "", "metadata: no title; the catalogue shows it")
	say(r.Description == "", "metadata: no description; it tells people what to do about the finding")
	say(!policy.IsCode(r.Code), `metadata: custom.code is not of the form family.name, such as "acme.office_hours"`)
	say(!slices.Contains([]pdp.Severity{pdp.Low, pdp.Medium, pdp.High, pdp.Critical}, pdp.Severity(r.Severity)),
		"metadata: custom.severity is not low, medium, high or critical")
	_, isList := r.custom["controls"].([]any)
	say(!isList || slices.Contains(r.Controls, ""), "metadata: custom.controls is not a list of requirements, such as [SOC2:CC6.3]; it may be empty")
	_, hasMode := r.custom["mode"]
	say(hasMode && !slices.Contains([]string{"deny", "warn", "off"}, r.Mode), "metadata: custom.mode is not deny, warn or off")
	say(!r.names, `the finding does not say {"rule": rego.metadata.rule(), …}, so its reason has neither code nor severity`)
	return wrong
}
