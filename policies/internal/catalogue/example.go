package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/assaypdp/assay/policies"
)

// example is a decision that a rule denies and the smallest change with which the token passes. It is kept in
// examples.json under "PACKAGE: TITLE", and is executed before it is written into the catalogue.
type example struct {
	// Token names one of the conforming tokens of assay/fixture_test.rego, to which the change is made.
	Token string `json:"token"`
	change
	// Passes is a further change, after which the token is allowed. Null where none can.
	Passes *change `json:"passes"`
}

// change is made to an input document, by JSON pointers into it, and to the default configuration.
type change struct {
	Set    map[string]any `json:"set,omitempty"`
	Drop   []string       `json:"drop,omitempty"`
	Config map[string]any `json:"config,omitempty"`
}

// patch is the change as a JSON patch: what is dropped goes first.
func (c *change) patch() []any {
	var operations []any
	for _, path := range c.Drop {
		operations = append(operations, map[string]any{"op": "remove", "path": path})
	}
	for _, path := range slices.Sorted(maps.Keys(c.Set)) {
		operations = append(operations, map[string]any{"op": "add", "path": path, "value": c.Set[path]})
	}
	return operations
}

// words are the change as a reader understands it.
func (c *change) words() string {
	name := strings.NewReplacer("/token/claims/", "", "/", ".")
	var parts []string
	for _, path := range c.Drop {
		parts = append(parts, "no `"+strings.TrimPrefix(name.Replace(path), ".")+"`")
	}
	for _, path := range slices.Sorted(maps.Keys(c.Set)) {
		parts = append(parts, "`"+strings.TrimPrefix(name.Replace(path), ".")+": "+compact(c.Set[path])+"`")
	}
	if len(c.Config) > 0 {
		parts = append(parts, "configuration `"+compact(c.Config)+"`")
	}
	if len(parts) == 0 {
		return "as it is"
	}
	return strings.Join(parts, ", ")
}

func compact(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(text)
}

func readExamples(dir string) (map[string]*example, error) {
	raw, err := os.ReadFile(filepath.Join(dir, "examples.json")) //nolint:gosec // a directory of this repository
	if err != nil {
		return nil, err
	}
	var file struct {
		Examples map[string]*example `json:"examples"`
	}
	decoder := json.NewDecoder(strings.NewReader(string(raw)))
	decoder.UseNumber()
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, fmt.Errorf("examples.json: %w", err)
	}
	return file.Examples, nil
}

// attach gives every rule its example, executed. It is an error where a rule has none, or one that does not hold.
func attach(rules []entry, dir string) error {
	examples, err := readExamples(dir)
	if err != nil {
		return err
	}
	court, err := newCourt()
	if err != nil {
		return err
	}
	var problems []error
	for i := range rules {
		e := &rules[i]
		key := e.source + ": " + e.title
		shown := examples[key]
		if shown == nil {
			problems = append(problems, fmt.Errorf("examples.json has nothing for %q", key))
			continue
		}
		delete(examples, key)
		if e.says, err = court.holds(e, shown); err != nil {
			problems = append(problems, fmt.Errorf("the example of %q: %w", key, err))
		}
		e.example = shown
	}
	for key := range examples {
		problems = append(problems, fmt.Errorf("examples.json has %q, which is no rule", key))
	}
	return errors.Join(problems...)
}

// court decides about examples with the library and its fixtures.
type court struct {
	query    rego.PreparedEvalQuery
	defaults map[string]any
}

func newCourt() (*court, error) {
	c := &court{}
	if err := json.Unmarshal(policies.Defaults(), &c.defaults); err != nil {
		return nil, err
	}
	options := []func(*rego.Rego){
		rego.Query(`document := json.patch(data.assay.fixture_test[input.token], input.patch)
			configured := object.union(data.assay.config, input.config)
			decision := data.assay.decision with input as document with data.assay.config as configured
			found := {key: messages |
				some finding in data.assay.findings with input as document with data.assay.config as configured
				key := finding.rule.title
				messages := finding.message
			}`),
		rego.Store(inmem.NewFromObject(map[string]any{"assay": map[string]any{"config": c.defaults}})),
	}
	for path, module := range policies.Modules() {
		options = append(options, rego.Module(path, string(module)))
	}
	fixture, err := policies.FS.ReadFile("assay/fixture_test.rego")
	if err != nil {
		return nil, err
	}
	options = append(options, rego.Module("fixture_test.rego", string(fixture)))
	c.query, err = rego.New(options...).PrepareForEval(context.Background())
	return c, err
}

// judged is what was decided about an example, and what each rule that found something says, by its title.
type judged struct {
	allow bool
	found map[string]any
}

func (c *court) judge(token string, changes ...*change) (*judged, error) {
	patch, config := []any{}, map[string]any{}
	for _, made := range changes {
		patch = append(patch, made.patch()...)
		config = merged(config, made.Config)
	}
	in := map[string]any{"token": token, "patch": patch, "config": config}
	results, err := c.query.Eval(context.Background(), rego.EvalInput(in))
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("the fixture has no token %q, or the change does not fit it", token)
	}
	decision, _ := results[0].Bindings["decision"].(map[string]any)
	found, _ := results[0].Bindings["found"].(map[string]any)
	allow, _ := decision["allow"].(bool)
	return &judged{allow, found}, nil
}

func merged(base, over map[string]any) map[string]any {
	result := maps.Clone(base)
	for name, value := range over {
		inner, ok := value.(map[string]any)
		if under, both := result[name].(map[string]any); ok && both {
			result[name] = merged(under, inner)
			continue
		}
		result[name] = value
	}
	return result
}

// holds tells what the rule says of its example: the token is denied and the rule finds something, and with the further
// change it is allowed and the rule finds nothing.
func (c *court) holds(e *entry, shown *example) (string, error) {
	denied, err := c.judge(shown.Token, &shown.change)
	if err != nil {
		return "", err
	}
	says, ok := denied.found[e.title].(string)
	if !ok || denied.allow {
		return "", fmt.Errorf("the rule finds nothing, or does not deny (allow %t, found by %q)", denied.allow, slices.Sorted(maps.Keys(denied.found)))
	}
	if shown.Passes == nil {
		return says, nil
	}
	passed, err := c.judge(shown.Token, &shown.change, shown.Passes)
	if err != nil {
		return "", err
	}
	if _, still := passed.found[e.title]; still || !passed.allow {
		return "", fmt.Errorf("it does not pass with the change (allow %t, found by %q)", passed.allow, slices.Sorted(maps.Keys(passed.found)))
	}
	return says, nil
}
