// Package workbench is what a policy author works with: it tests, checks, measures and explains a policy, compares two,
// and writes the frame of a new rule. All of it compiles exactly what production compiles, by pdp/policy's own strict
// compiler and capabilities, so that a policy cannot pass here and be refused or behave otherwise there.
//
// An author's files lie over a library, which is handed in: this package knows none. Files that define
// data.assay.decision themselves are a policy of their own, and nothing is laid under them.
//
// Nothing here tells a claim's value: what made a rule fire is told as paths, with numbers and booleans and
// otherwise only the kind of value; in traces every string that comes from the token is masked.
package workbench

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp/policy"
)

// Files are what an author has written.
type Files struct {
	// Modules and Tests are Rego texts by file name, as it is to be told in messages.
	Modules, Tests map[string][]byte
	// Data is the base documents; what lies at assay.config is configuration.
	Data map[string]any
}

// Policy is a policy as its author sees it: what production compiles, the tests beside it, and which of both are the
// author's own.
type Policy struct {
	policy.Source
	Tests map[string][]byte
	// Own names the modules and tests that are the author's; everything else is the library.
	Own map[string]bool
}

// With lays files over a policy, which is not changed. A name that both have is an error: whose file it is could not be
// told any more.
func (p Policy) With(f *Files) (Policy, error) {
	whole, err := definesDecision(f.Modules)
	if err != nil {
		return p, err
	}
	own, data, err := separated(f.Data)
	if err != nil {
		return p, err
	}
	if whole {
		p.Modules, p.Tests, p.Own, p.Data = nil, nil, nil, nil
		if own != nil { // the library itself, with its defaults beside it
			p.Defaults = own
			own = nil
		}
	}
	for name := range f.Modules {
		if _, taken := p.Modules[name]; taken {
			return p, fmt.Errorf("%s: the library has a file of this name; choose another", name)
		}
	}
	p.Modules, p.Tests, p.Own = together(p.Modules, f.Modules), together(p.Tests, f.Tests), maps.Clone(p.Own)
	if p.Own == nil {
		p.Own = make(map[string]bool)
	}
	for _, files := range []map[string][]byte{f.Modules, f.Tests} {
		for name := range files {
			p.Own[name] = true
		}
	}
	if p.Data, err = over("the data", p.Data, data); err != nil {
		return p, err
	}
	// What a person configures beside the files counts more than what the files bring.
	p.Config, err = over("policy configuration", own, p.Config)
	return p, err
}

func together(a, b map[string][]byte) map[string][]byte {
	both := maps.Clone(a)
	if both == nil {
		both = make(map[string][]byte, len(b))
	}
	maps.Copy(both, b)
	return both
}

// over lays one JSON object over another.
func over(what string, base, top []byte) ([]byte, error) {
	if len(base) == 0 {
		return top, nil
	}
	if len(top) == 0 {
		return base, nil
	}
	objects := make([]map[string]any, 2)
	for i, text := range [][]byte{base, top} {
		object, err := readObject(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		objects[i] = object
	}
	return json.Marshal(policy.Merge(objects[0], objects[1]))
}

// separated takes the configuration out of the base documents.
func separated(data map[string]any) (config, rest []byte, err error) {
	if data == nil {
		return nil, nil, nil
	}
	data = maps.Clone(data)
	if assay, ok := data["assay"].(map[string]any); ok {
		if found, ok := assay["config"]; ok {
			if config, err = json.Marshal(found); err != nil {
				return nil, nil, err
			}
			assay = maps.Clone(assay)
			delete(assay, "config")
			data["assay"] = assay
		}
	}
	rest, err = json.Marshal(data)
	return config, rest, err
}

// definesDecision tells whether modules are a whole policy. Files that cannot be read are judged later, by name and line.
func definesDecision(modules map[string][]byte) (bool, error) {
	entrypoint, err := ast.ParseRef(policy.Entrypoint)
	if err != nil {
		return false, err
	}
	for _, name := range slices.Sorted(maps.Keys(modules)) {
		module, err := ast.ParseModuleWithOpts(name, string(modules[name]), ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil || module == nil {
			continue
		}
		for _, rule := range module.Rules {
			if rule.Ref().Equal(entrypoint) {
				return true, nil
			}
		}
	}
	return false, nil
}
