package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp/keyset"
	"github.com/assaypdp/assay/pdp/policy"
)

func newConfig(e env) *cobra.Command {
	return group("config", "Check and show the configuration", newConfigCheck(e), newConfigShow(e))
}

func newConfigCheck(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a configuration file and report all its problems, each with its line",
		Long: `Check reads the file, the policy configuration and the bundles on this machine that it names, and the keys that
it has in files; bundles behind URLs are left out. It does not ask Vault or any other server. Exit code 1 where there are problems.`,
		Example: "  assay config check assay.yaml",
		Args:    fileArg(false),
	}
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		problems, err := checkConfig(cmd.Context(), args[0])
		if err != nil {
			return err
		}
		if err := printProblems(e, problems, *format); err != nil {
			return err
		}
		if *format == "text" {
			_, err = fmt.Fprintf(e.out, "%s: no problems\n", args[0])
		}
		return err
	}
	return cmd
}

func newConfigShow(e env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Print the configuration in force, defaults included",
		Example: "  assay config show\n  assay config show --config assay.yaml",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file (default: built-in defaults)")
	cmd.RunE = func(*cobra.Command, []string) error {
		c, err := readConfig(path)
		if err != nil {
			return err
		}
		text, err := yaml.MarshalWithOptions(c, yaml.CustomMarshaler(func(d config.Duration) ([]byte, error) {
			return []byte(d.String()), nil
		}))
		if err != nil {
			return err
		}
		_, err = e.out.Write(text)
		return err
	}
	return cmd
}

// readConfig reads the file, or gives the defaults where none is named.
func readConfig(path string) (*config.Config, error) {
	if path == "" {
		return config.Defaults(), nil
	}
	c, err := config.Read(path)
	if problems, ok := errors.AsType[*config.Error](err); ok {
		return nil, fmt.Errorf("the configuration has problems:\n%w", problems)
	}
	return c, err
}

// checkKeyFiles finds the files with issuers' keys that would stop the server from starting.
func checkKeyFiles(c *config.Config) []config.Problem {
	var problems []config.Problem
	for i, issuer := range c.Issuers {
		if issuer.Keys.File == "" {
			continue
		}
		key := fmt.Sprintf("issuers[%d].keys.file", i)
		text, err := os.ReadFile(issuer.Keys.File)
		if err == nil {
			_, _, err = keyset.ParseJWKS(text)
		}
		if err != nil {
			problems = append(problems, config.Problem{
				Path: c.Path, Line: config.LineOf(c.Path, key), Key: key, Text: fmt.Sprintf("%s: %v", issuer.Keys.File, err),
			})
		}
	}
	return problems
}

// checkConfig gathers the problems of the file, of the keys and of the policy configuration that it names.
func checkConfig(ctx context.Context, path string) ([]config.Problem, error) {
	c, err := config.Read(path)
	if found, ok := errors.AsType[*config.Error](err); ok {
		return found.Problems, nil
	}
	if err != nil {
		return nil, err
	}
	problems := checkKeyFiles(c)
	_, err = serve.CompilePolicy(ctx, c)
	if found, ok := errors.AsType[*policy.ConfigError](err); ok {
		file := c.Policy.Config
		if file == "" { // it is a bundle's
			file = path
		}
		for _, p := range found.Problems {
			problems = append(problems, config.Problem{Path: file, Line: config.LineOf(file, p.Field), Key: p.Field, Text: p.Text})
		}
		return problems, nil
	}
	if err != nil {
		key := "policy.config"
		if len(c.Policy.Bundle) > 0 {
			key = "policy.bundle"
		}
		return append(problems, config.Problem{Path: path, Line: config.LineOf(path, key), Key: key, Text: err.Error()}), nil //nolint:nilerr // it is the answer
	}
	return problems, nil
}
