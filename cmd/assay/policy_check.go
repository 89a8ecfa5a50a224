package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func newPolicyCheck(e env) *cobra.Command {
	var source policySource
	cmd := &cobra.Command{
		Use:   "check [PATH…]",
		Short: "Check a policy and its configuration, and report each problem with its file and line",
		Long: `Check compiles a policy as strictly as the server does (capabilities, schema of input, entrypoint), holds the
configuration against its schema, and looks at what only people miss: metadata of each rule that is
missing or misshapen, rules that would never be asked, packages that belong to the library.

` + pathsHelp + `

Exit code 0: no problems, 1: problems, 2: it could not be done.`,
		Example: `  assay policy check my-rules
  assay policy check --policy-config org.yaml my-rules`,
	}
	source.addFlags(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		p, err := source.read(cmd.Context(), paths)
		if err != nil {
			return err
		}
		found, err := workbench.Check(cmd.Context(), p)
		problems, err := source.problemsOf(err)
		if err != nil {
			return err
		}
		for _, f := range found {
			problems = append(problems, config.Problem{Path: f.File, Line: f.Line, Text: f.Message})
		}
		if err := printProblems(e, problems, *format); err != nil || *format == "json" {
			return err
		}
		_, err = fmt.Fprintln(e.out, "no problems")
		return err
	}
	return cmd
}
