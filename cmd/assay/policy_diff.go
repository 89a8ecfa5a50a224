package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func newPolicyDiff(e env) *cobra.Command {
	var q question
	cmd := &cobra.Command{
		Use:   "diff BEFORE AFTER CASES…",
		Short: "Show which decisions change between two policies, and why",
		Long: `Diff decides about every case under two policies and shows what is different: the answer, its reasons, the claims
released, obligations, how long it may be reused.

BEFORE and AFTER are each one or more parts with commas between: "library" (what is part of this program,
beneath everything anyway), a directory or archive of a bundle or a .rego file, a .yaml or .json
file with the policy configuration. CASES are files or directories of them: a token each, judged by the issuers of
--config as of --at; or an input document that was recorded (assay policy explain --save-input), judged as
of its own time and by the policies alone, without Assay's floor.

Exit code 0: no decision changes, 1: some do, 2: it could not be done.`,
		Example: `  assay policy diff library my-rules,org.yaml recorded/
  assay policy diff --config assay.yaml --audience orders old.tar.gz new.tar.gz tokens/`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) < 3 {
				return errors.New("name two policies and the cases: " + cmd.UseLine())
			}
			return nil
		},
	}
	q.addFlags(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, err := q.configured()
		if err != nil {
			return err
		}
		var sides [2]*workbench.Prepared
		for i, side := range args[:2] {
			if sides[i], err = preparedSide(ctx, side); err != nil {
				return fmt.Errorf("%s: %w", side, err)
			}
		}
		cases, err := q.cases(ctx, e, c, args[2:])
		if err != nil {
			return err
		}
		var changes []*workbench.Change
		for _, one := range cases {
			change, err := workbench.Diff(ctx, sides[0], sides[1], one, c.Leeway.D())
			if err != nil {
				return err
			}
			if change != nil {
				changes = append(changes, change)
			}
		}
		if *format == "json" {
			err = json.NewEncoder(e.out).Encode(diffJSON(changes, len(cases)))
		} else {
			err = printDiff(e, changes, len(cases))
		}
		if err == nil && len(changes) > 0 {
			return errNo
		}
		return err
	}
	return cmd
}

// preparedSide puts one side together from its parts.
func preparedSide(ctx context.Context, side string) (*workbench.Prepared, error) {
	var source policySource
	var paths []string
	for part := range strings.SplitSeq(side, ",") {
		switch ext := filepath.Ext(part); {
		case part == "library":
		case ext == ".yaml" || ext == ".yml" || ext == ".json":
			if source.configFile != "" {
				return nil, fmt.Errorf("%s and %s are both a policy configuration; give one", source.configFile, part)
			}
			source.configFile = part
		default:
			paths = append(paths, part)
		}
	}
	return source.prepare(ctx, paths)
}

// cases reads tokens and recorded inputs, in the order of their names.
func (q *question) cases(ctx context.Context, e env, c *config.Config, paths []string) ([]workbench.Case, error) {
	var cases []workbench.Case
	var tokens []string
	var at []int // of each token, its place among the cases
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if strings.HasPrefix(entry.Name(), ".") && path != root {
				return nil
			}
			text, err := readBounded(path)
			if err != nil {
				return err
			}
			one := workbench.Case{Name: path}
			if bytes.HasPrefix(text, []byte("{")) {
				if one.Input, err = workbench.ReadInput(text); err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			} else {
				tokens, at = append(tokens, string(text)), append(at, len(cases))
			}
			cases = append(cases, one)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(cases) == 0 {
		return nil, errors.New("there are no cases in " + strings.Join(paths, ", "))
	}
	if len(tokens) > 0 {
		if len(c.Issuers) == 0 {
			_, _ = fmt.Fprintln(e.err, "warning: no issuer is configured, so every token is denied on both sides: give a configuration that has some (--config), or --issuer with --jwks")
		}
		facts, err := q.examine(ctx, e, c, tokens)
		if err != nil {
			return nil, err
		}
		for i, place := range at {
			cases[place].Facts = facts[i]
		}
	}
	return cases, nil
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // read only
	text, err := io.ReadAll(io.LimitReader(file, maxTokenInput+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTokenInput {
		return nil, fmt.Errorf("%s: longer than %d bytes; neither a token nor an input document", path, maxTokenInput)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	return text, nil
}

func printDiff(e env, changes []*workbench.Change, cases int) error {
	var b strings.Builder
	for _, change := range changes {
		fmt.Fprintf(&b, "%s: %s\n", printable(change.Name), headline(change))
		for _, d := range change.Why {
			switch d.What {
			case "reason":
				fmt.Fprintf(&b, "  reason %s: %s: %s\n", d.Code, arrow(d.Before, d.After), printable(d.Message))
				if d.Fired != nil {
					fmt.Fprintf(&b, "    rule: %s:%d\n", d.Fired.File, d.Fired.Line)
					for _, m := range d.Fired.Modes {
						fmt.Fprintf(&b, "    mode: %s, says %s\n", m.Mode, m.From)
					}
					for _, s := range slices.Concat(d.Fired.Input, d.Fired.Config) {
						if s.Value != nil {
							fmt.Fprintf(&b, "    %s = %s\n", printable(s.Path), printable(fmt.Sprint(s.Value)))
						}
					}
				}
			case "claim", "obligation":
				fmt.Fprintf(&b, "  %s %s: %s\n", d.What, printable(d.Path), arrow(d.Before, d.After))
			case "cache":
				fmt.Fprintf(&b, "  may be reused for: %s s\n", arrow(d.Before, d.After))
			}
		}
	}
	fmt.Fprintf(&b, "%d of %d decisions change\n", len(changes), cases)
	_, err := io.WriteString(e.out, b.String())
	return err
}

func headline(c *workbench.Change) string {
	word := map[bool]string{true: "allow", false: "deny"}
	if c.Before.Allow != c.After.Allow {
		return arrow(word[c.Before.Allow], word[c.After.Allow])
	}
	return "still " + word[c.After.Allow]
}

func arrow(before, after string) string {
	for _, s := range []*string{&before, &after} {
		if *s == "" {
			*s = "nothing"
		}
	}
	return before + " → " + after
}

type differenceJSON struct {
	What    string     `json:"what"`
	Code    string     `json:"code,omitempty"`
	Path    string     `json:"path,omitempty"`
	Before  string     `json:"before,omitempty"`
	After   string     `json:"after,omitempty"`
	Message string     `json:"message,omitempty"`
	Rule    *firedJSON `json:"rule,omitempty"`
}

func diffJSON(changes []*workbench.Change, cases int) any {
	type outcome struct {
		Allow           bool         `json:"allow"`
		Reasons         []reasonJSON `json:"reasons"`
		Claims          []string     `json:"claims"`
		OmitClaims      []string     `json:"omit_claims"`
		CacheForSeconds int64        `json:"cache_for_seconds"`
	}
	type change struct {
		Case   string           `json:"case"`
		Before outcome          `json:"before"`
		After  outcome          `json:"after"`
		Why    []differenceJSON `json:"why"`
	}
	answered := func(o *workbench.Outcome) outcome {
		return outcome{o.Allow, reasonsJSON(o.Reasons), append([]string{}, o.Claims...), append([]string{}, o.OmitClaims...), o.CacheForSeconds}
	}
	listed := []change{}
	for _, c := range changes {
		one := change{Case: c.Name, Before: answered(&c.Before), After: answered(&c.After), Why: []differenceJSON{}}
		for _, d := range c.Why {
			j := differenceJSON{d.What, d.Code, d.Path, d.Before, d.After, d.Message, nil}
			if d.Fired != nil {
				fired := asFiredJSON(d.Fired)
				j.Rule = &fired
			}
			one.Why = append(one.Why, j)
		}
		listed = append(listed, one)
	}
	return map[string]any{"cases": cases, "changes": listed}
}
