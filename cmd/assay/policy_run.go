package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func newPolicyTest(e env) *cobra.Command {
	var (
		source    policySource
		c         workbench.TestConfig
		threshold float64
		verbose   bool
	)
	cmd := &cobra.Command{
		Use:   "test [PATH…]",
		Short: "Run the tests of a policy by OPA's tester",
		Long: `Test compiles a policy as the server does and runs its tests (rules named test_… in files named …_test.rego).
A builtin that fails is an error, as it denies in production. Without a PATH the library's own tests run.

` + pathsHelp + `

Exit code 0: all pass, 1: a test fails, the policy does not compile or the coverage is below the threshold, 2: it could not be done.`,
		Example: `  assay policy test
  assay policy test --run partner --threshold 100 my-rules`,
	}
	source.addFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&c.Library, "library", false, "run the library's tests, too")
	flags.StringVar(&c.Run, "run", "", "run only the tests whose package.name matches this regular expression")
	flags.DurationVar(&c.Timeout, "timeout", 10*time.Second, "how long one test may take")
	flags.Float64Var(&threshold, "threshold", 0, "least per cent of the lines of the rules that tests must evaluate")
	flags.BoolVarP(&verbose, "verbose", "v", false, "show the tests that pass and the lines that no test evaluates")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		if threshold < 0 || threshold > 100 {
			return fmt.Errorf("--threshold %g: a per cent, from 0 to 100", threshold)
		}
		p, err := source.read(cmd.Context(), paths)
		if err != nil {
			return err
		}
		c.Policy = p
		c.Library = c.Library || len(paths) == 0
		report, err := workbench.Test(cmd.Context(), c)
		if err != nil {
			return source.refused(e, err, *format)
		}
		if *format == "json" {
			err = json.NewEncoder(e.out).Encode(testJSON(report, threshold))
		} else {
			err = printTests(e, report, threshold, verbose)
		}
		if err != nil {
			return err
		}
		if len(report.Results) == 0 {
			return fmt.Errorf("no test ran: rules named test_… in files named …_test.rego are tests")
		}
		if !report.OK() || report.Coverage < threshold {
			return errNo
		}
		return nil
	}
	return cmd
}

func printTests(e env, r *workbench.TestReport, threshold float64, verbose bool) error {
	var b strings.Builder
	for _, t := range r.Results {
		if t.Outcome == "pass" && !verbose {
			continue
		}
		fmt.Fprintf(&b, "%-5s  %s.%s (%s)\n", strings.ToUpper(t.Outcome), t.Package, t.Name, duration(t.Took))
		if t.Outcome != "pass" && t.Message == "" && t.File != "" {
			fmt.Fprintf(&b, "         %s:%d\n", t.File, t.Line)
		}
		for _, line := range append(lines(t.Message), append(t.Cases, lines(t.Output)...)...) {
			fmt.Fprintf(&b, "         %s\n", line)
		}
	}
	if verbose || r.Coverage < threshold {
		for _, l := range r.Missed {
			fmt.Fprintf(&b, "%s:%d: no test evaluates lines %d to %d\n", l.File, l.First, l.First, l.Last)
		}
	}
	fmt.Fprintf(&b, "%d passed, %d failed, %d errors, %d skipped; coverage %.1f %%", r.Passed, r.Failed, r.Errors, r.Skipped, r.Coverage)
	if r.Coverage < threshold {
		fmt.Fprintf(&b, ", below the threshold of %g %%", threshold)
	}
	_, err := fmt.Fprintln(e.out, b.String())
	return err
}

func lines(text string) []string {
	text = strings.TrimSpace(text)
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// duration is short enough for a column.
func duration(d time.Duration) string {
	if d < time.Millisecond {
		return d.Round(time.Microsecond).String()
	}
	return d.Round(10 * time.Microsecond).String()
}

func testJSON(r *workbench.TestReport, threshold float64) any {
	type test struct {
		Package string   `json:"package"`
		Name    string   `json:"name"`
		File    string   `json:"file"`
		Line    int      `json:"line"`
		Seconds float64  `json:"seconds"`
		Outcome string   `json:"outcome"`
		Message string   `json:"message,omitempty"`
		Cases   []string `json:"failed_cases,omitempty"`
		Output  string   `json:"output,omitempty"`
	}
	type missed struct {
		File  string `json:"file"`
		First int    `json:"first_line"`
		Last  int    `json:"last_line"`
	}
	tests, gaps := []test{}, []missed{}
	for _, t := range r.Results {
		tests = append(tests, test{t.Package, t.Name, t.File, t.Line, t.Took.Seconds(), t.Outcome, t.Message, t.Cases, t.Output})
	}
	for _, m := range r.Missed {
		gaps = append(gaps, missed(m))
	}
	return map[string]any{
		"tests": tests, "passed": r.Passed, "failed": r.Failed, "errors": r.Errors, "skipped": r.Skipped,
		"coverage_percent": r.Coverage, "threshold_percent": threshold, "not_covered": gaps,
	}
}
