package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func newPolicyBench(e env) *cobra.Command {
	var (
		source policySource
		inputs []string
		top    int
		c      workbench.BenchConfig
	)
	cmd := &cobra.Command{
		Use:   "bench [PATH…]",
		Short: "Measure what a decision costs, and each package and rule of it",
		Long: `Bench measures decisions about conforming tokens, or about recorded inputs, in units of one P-256 ecdsa.Verify timed
in turns with them: figures compare between machines, times do not.

"within" is the part of the decision that OPA's profiler finds on the lines of a package or rule (it weighs
short expressions too heavily); "alone" is what it costs to ask it and nothing else, so that all look-ups
which rules share count in each. Both have the fixed cost of an evaluation taken off or left out.

` + pathsHelp,
		Example: `  assay policy bench
  assay policy bench --input recorded.json --top 0 my-rules`,
	}
	source.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&inputs, "input", nil, "recorded input document to decide about (assay policy explain --save-input); may be repeated")
	flags.IntVar(&top, "top", 20, "show so many rules, the dearest; 0: all")
	flags.IntVar(&c.Rounds, "rounds", 20, "time each part so often; the shortest counts")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		if c.Rounds < 1 || top < 0 {
			return errors.New("--rounds is at least 1, --top at least 0")
		}
		p, err := source.read(cmd.Context(), paths)
		if err != nil {
			return err
		}
		c.Policy = p
		for _, path := range inputs {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			in, err := workbench.ReadInput(text)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			c.Cases = append(c.Cases, workbench.BenchCase{Name: filepath.Base(path), Input: in})
		}
		report, err := workbench.Bench(cmd.Context(), c)
		if err != nil {
			return source.refused(e, err, *format)
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(benchJSON(report))
		}
		return printBench(e, report, top)
	}
	return cmd
}

func printBench(e env, r *workbench.BenchReport, top int) error {
	var b strings.Builder
	fmt.Fprintf(&b, "In units of one ecdsa.Verify (P-256), which took %s here; an evaluation of nothing costs %.3f.\n\n", duration(r.Verify), r.Nothing)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	// Errors of a strings.Builder do not happen.
	row := func(first, last string, cells ...string) {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", first, strings.Join(cells, "\t"), last)
	}
	both := func(c workbench.Cost) []string {
		var cells []string
		for i := range r.Cases {
			alone := "-"
			if c.Alone[i] >= 0 {
				alone = fmt.Sprintf("%.3f", c.Alone[i])
			}
			cells = append(cells, fmt.Sprintf("%.3f", c.Within[i]), alone)
		}
		return cells
	}
	var names, heads, whole []string
	for i, name := range r.Cases {
		names = append(names, printable(name), "")
		heads = append(heads, "within", "alone")
		whole = append(whole, fmt.Sprintf("%.3f", r.Decisions[i]), "")
	}
	row("", "", names...)
	row("the whole decision", "", whole...)
	row("\nPACKAGE", "", heads...)
	for _, c := range r.Packages {
		row(c.Name, own(c.Own), both(c)...)
	}
	row("\nRULE", "", heads...)
	for i, c := range r.Rules {
		if top > 0 && i == top {
			break
		}
		row(c.Name, strings.TrimSpace(c.Code+" "+fmt.Sprintf("%s:%d", c.File, c.Line)), both(c)...)
	}
	_ = table.Flush()
	if top > 0 && top < len(r.Rules) {
		fmt.Fprintf(&b, "(%d rules more; --top 0 shows all)\n", len(r.Rules)-top)
	}
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

func own(yes bool) string {
	if yes {
		return "own"
	}
	return ""
}

type costJSON struct {
	Name   string     `json:"name"`
	Code   string     `json:"code,omitempty"`
	File   string     `json:"file,omitempty"`
	Line   int        `json:"line,omitempty"`
	Own    bool       `json:"own"`
	Within []float64  `json:"within"`
	Alone  []*float64 `json:"alone"` // null where it cannot be asked alone
}

func benchJSON(r *workbench.BenchReport) any {
	listed := func(costs []workbench.Cost) []costJSON {
		all := []costJSON{}
		for i := range costs {
			c := &costs[i]
			one := costJSON{Name: c.Name, Code: c.Code, File: c.File, Line: c.Line, Own: c.Own, Within: c.Within}
			for n := range c.Alone {
				if c.Alone[n] < 0 {
					one.Alone = append(one.Alone, nil)
				} else {
					one.Alone = append(one.Alone, &c.Alone[n])
				}
			}
			all = append(all, one)
		}
		return all
	}
	return map[string]any{
		"unit": "ecdsa.Verify P-256", "verify_nanoseconds": r.Verify.Nanoseconds(), "nothing": r.Nothing,
		"cases": r.Cases, "decisions": r.Decisions, "packages": listed(r.Packages), "rules": listed(r.Rules),
	}
}
