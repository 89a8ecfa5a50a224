package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

func newPolicy(e env) *cobra.Command {
	return group("policy", "Write, test, check, measure and explain policies",
		newPolicyTest(e), newPolicyCheck(e), newPolicyExplain(e), newPolicyDiff(e), newPolicyNew(e), newPolicyCatalogue(e), newPolicyBench(e),
	)
}

// pathsArg is how paths of policies are told in help.
const pathsHelp = `PATH is a directory or archive of a bundle, or a .rego file; it is laid over the library that is
part of this program. One that defines data.assay.decision itself (as policies/ does) is a policy of
its own, with nothing under it.`

// policySource is the policy that a command works on: the library, files laid over it, and an organisation's configuration.
type policySource struct {
	configFile string // data.assay.config
}

func (s *policySource) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.configFile, "policy-config", "", "YAML or JSON file that becomes data.assay.config (what policy.config names)")
}

func (s *policySource) read(ctx context.Context, paths []string) (workbench.Policy, error) {
	p, err := libraryPolicy()
	if err != nil {
		return p, err
	}
	if s.configFile != "" {
		if p.Config, err = policyConfig(s.configFile); err != nil {
			return p, err
		}
	}
	if len(paths) == 0 {
		return p, nil
	}
	all := make([]*workbench.Files, len(paths))
	for i, path := range paths {
		if all[i], err = policyFiles(ctx, path); err != nil {
			return p, err
		}
	}
	joined, err := workbench.Join(all...)
	if err != nil {
		return p, err
	}
	return p.With(joined)
}

func policyConfig(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("policy configuration: %w", err)
	}
	converted, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, fmt.Errorf("policy configuration %s: %w", path, err)
	}
	return converted, nil
}

// libraryPolicy is the library that is part of the program, with its tests.
func libraryPolicy() (workbench.Policy, error) {
	p := workbench.Policy{Source: policy.Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(), InputSchema: policies.InputSchema(),
	}, Tests: make(map[string][]byte)}
	err := fs.WalkDir(policies.FS, "assay", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, "_test.rego") {
			p.Tests[path], err = policies.FS.ReadFile(path)
		}
		return err
	})
	return p, err
}

// policyFiles reads what one path holds. An archive's signature is not looked at: its author works on it here, and
// nothing is put into force.
func policyFiles(ctx context.Context, path string) (*workbench.Files, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() || strings.HasSuffix(path, ".rego") {
		return workbench.Read(path)
	}
	archive, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer archive.Close() //nolint:errcheck // read only
	bundle, err := bundles.Read(ctx, archive, bundles.ReadConfig{Capabilities: policy.Capabilities(), AllowExpired: true})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	within := func(files map[string][]byte) map[string][]byte {
		named := make(map[string][]byte, len(files))
		for name, text := range files {
			named[filepath.Join(path, name)] = text
		}
		return named
	}
	return &workbench.Files{Modules: within(bundle.Modules), Tests: within(bundle.Tests), Data: bundle.Data}, nil
}

// problemsOf lists what is wrong, with lines, where err says that modules or configuration are refused; else it gives err.
func (s *policySource) problemsOf(err error) ([]config.Problem, error) {
	var problems []config.Problem
	if refused, ok := errors.AsType[*policy.CompileError](err); ok {
		for _, p := range refused.Problems {
			problems = append(problems, config.Problem{Path: p.File, Line: p.Line, Text: p.Message})
		}
		return problems, nil
	}
	if refused, ok := errors.AsType[*policy.ConfigError](err); ok {
		for _, p := range refused.Problems {
			problem := config.Problem{Path: s.configFile, Key: p.Field, Text: p.Text}
			if s.configFile != "" {
				problem.Line = config.LineOf(s.configFile, p.Field)
			} else {
				problem.Path = "data.assay.config"
			}
			problems = append(problems, problem)
		}
		return problems, nil
	}
	return nil, err
}

// refused prints what is wrong where err says that modules or configuration are refused, and answers no; else it gives err.
func (s *policySource) refused(e env, err error, format output) error {
	problems, err := s.problemsOf(err)
	if err != nil {
		return err
	}
	return printProblems(e, problems, format)
}

// printProblems prints them; it answers no where there are any.
func printProblems(e env, problems []config.Problem, format output) error {
	if format == "json" {
		if err := json.NewEncoder(e.out).Encode(map[string]any{"problems": append([]config.Problem{}, problems...)}); err != nil {
			return err
		}
	} else {
		for _, p := range problems {
			if _, err := fmt.Fprintln(e.out, p); err != nil {
				return err
			}
		}
	}
	if len(problems) > 0 {
		return errNo
	}
	return nil
}
