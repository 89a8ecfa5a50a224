package serve

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/masking"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

// CompilePolicy compiles the policy of a configuration from what is on this machine: bundles behind URLs are left
// out. It tests nothing and keeps nothing.
func CompilePolicy(ctx context.Context, c *config.Config) (*policy.Revision, error) {
	local := c.Policy
	local.StateDir, local.RunTests = "", false
	local.Bundle = slices.DeleteFunc(slices.Clone(local.Bundle), func(b config.Bundle) bool { return bundles.IsURL(b.Source) })
	if len(local.Bundle) < len(c.Policy.Bundle) {
		local.ReplaceLibrary = false // what would replace it may not be here
	}
	l, err := newPolicyLoader(&local, "", loaderDeps{})
	if err != nil {
		return nil, err
	}
	pieces := make([]*piece, len(l.parts))
	for i, p := range l.parts {
		if pieces[i], err = l.local(ctx, p); err != nil {
			return nil, err
		}
	}
	return compilePieces(ctx, &local, l.parts, pieces)
}

// compilePieces puts pieces together, one for each part, compiles them, and runs the bundles' tests if configured.
func compilePieces(ctx context.Context, c *config.Policy, parts []*part, pieces []*piece) (*policy.Revision, error) {
	source, tests, err := compose(c, parts, pieces)
	if err != nil {
		return nil, err
	}
	revision, err := policy.Compile(ctx, source)
	if err != nil {
		return nil, err
	}
	if err := masking.Check(ctx, revision); err != nil {
		return nil, err
	}
	if !c.RunTests || len(tests) == 0 {
		return revision, nil
	}
	own := make(map[string]bool, len(tests))
	for name := range tests {
		own[name] = true
	}
	report, err := workbench.Test(ctx, workbench.TestConfig{Policy: workbench.Policy{Source: source, Tests: tests, Own: own}})
	if err != nil {
		return nil, &bundles.RefusedError{Reason: bundles.ReasonTests, Detail: "its tests cannot be run: " + err.Error(), Err: err}
	}
	if !report.OK() {
		return nil, &bundles.RefusedError{Reason: bundles.ReasonTests, Detail: failures(report)}
	}
	return revision, nil
}

// failures names the first tests that failed.
func failures(report *workbench.TestReport) string {
	var names []string
	for _, r := range report.Results {
		if r.Outcome == "fail" || r.Outcome == "error" {
			names = append(names, r.Package+"."+r.Name)
		}
	}
	more := ""
	if len(names) > 5 {
		names, more = names[:5], " and others"
	}
	return fmt.Sprintf("%d of its %d tests failed: %s%s", report.Failed+report.Errors, len(report.Results), strings.Join(names, ", "), more)
}

// compose lays everything over each other: the library, the bundles in their order, the configuration's file. What
// bundles say in assay.config lies over the defaults, and the file over that.
func compose(c *config.Policy, parts []*part, pieces []*piece) (policy.Source, map[string][]byte, error) {
	source := policy.Source{Modules: map[string][]byte{}, InputSchema: policies.InputSchema()}
	if !c.ReplaceLibrary {
		source.Modules, source.Defaults, source.Schema = policies.Modules(), policies.Defaults(), policies.ConfigSchema()
	}
	if err := checkRoots(pieces); err != nil {
		return source, nil, err
	}
	tests := make(map[string][]byte)
	data, configuration := map[string]any{}, map[string]any{}
	for i, p := range pieces {
		if p.bundle == nil {
			var own map[string]any
			if err := decodeConfig(p.text, &own); err != nil {
				return source, nil, err
			}
			configuration = policy.Merge(configuration, own)
			continue
		}
		if definesMask(p.bundle) {
			maps.DeleteFunc(source.Modules, func(name string, _ []byte) bool { return strings.HasPrefix(name, bundles.MaskRoot+"/") })
		}
		placed(source.Modules, p.bundle.Modules, parts[i].name)
		placed(tests, p.bundle.Tests, parts[i].name)
		rest, own := withoutConfig(p.bundle.Data)
		data, configuration = policy.Merge(data, rest), policy.Merge(configuration, own)
	}
	var err error
	if source.Data, err = json.Marshal(data); err != nil {
		return source, nil, err
	}
	source.Config, err = json.Marshal(configuration)
	return source, tests, err
}

// maskPackage finds the package in which a bundle says by itself what may be written into the audit log.
var maskPackage = regexp.MustCompile(`(?m)^package\s+assay\.audit\s*(?:#.*)?$`) //nolint:gochecknoglobals // compiled once

// definesMask tells that a bundle has a mask of its own, which stands in the place of the library's: two would conflict.
func definesMask(b *bundles.Bundle) bool {
	for _, text := range b.Modules {
		if maskPackage.Match(text) {
			return true
		}
	}
	return false
}

// placed puts the name of a bundle before those of its files, which two bundles may share.
func placed(into, from map[string][]byte, bundle string) {
	for name, text := range from {
		into[bundle+"/"+name] = text
	}
}

// withoutConfig takes assay.config out of the data.
func withoutConfig(data map[string]any) (rest, configuration map[string]any) {
	assay, ok := data["assay"].(map[string]any)
	if !ok {
		return data, nil
	}
	configuration, ok = assay["config"].(map[string]any)
	if !ok {
		return data, nil
	}
	others := policy.Merge(assay, nil) // a copy: bundles are never changed
	delete(others, "config")
	rest = policy.Merge(data, nil)
	rest["assay"] = others
	return rest, configuration
}

// checkRoots refuses two bundles that own the same, as stock OPA does: which of them counts would depend on chance.
func checkRoots(pieces []*piece) error {
	for i, p := range pieces {
		for _, q := range pieces[i+1:] {
			if p.bundle == nil || q.bundle == nil {
				continue
			}
			for _, a := range p.bundle.Roots {
				for _, b := range q.bundle.Roots {
					if a == b || a == "" || b == "" || strings.HasPrefix(a, b+"/") || strings.HasPrefix(b, a+"/") {
						return &bundles.RefusedError{Name: q.bundle.Name, Reason: bundles.ReasonRoots, Detail: fmt.Sprintf(
							"the bundles %s and %s both own %q; give each roots of its own in its .manifest", p.bundle.Name, q.bundle.Name, max(a, b))}
					}
				}
			}
		}
	}
	return nil
}

// readPolicyConfig reads the configuration's file, YAML or JSON.
func readPolicyConfig(path string) (*piece, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy configuration: %w", err)
	}
	read, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, &policy.ConfigError{Problems: []policy.ConfigProblem{{Field: path, Text: err.Error()}}}
	}
	sum := sha256.Sum256(read)
	return &piece{digest: "sha256:" + hex.EncodeToString(sum[:]), text: read}, nil
}

func decodeConfig(text []byte, own *map[string]any) error {
	if len(text) == 0 {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(string(text)))
	decoder.UseNumber()
	if err := decoder.Decode(own); err != nil {
		return &policy.ConfigError{Problems: []policy.ConfigProblem{{Field: "(Root)", Text: "is no object: " + err.Error()}}}
	}
	return nil
}
