package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/pdp/policy"
)

func newBundleBuild(e env) *cobra.Command {
	var (
		c          bundles.BuildConfig
		source     policySource
		to, until  string
		validFor   time.Duration
		notCompile bool
	)
	cmd := &cobra.Command{
		Use:   "build DIR",
		Short: "Make a bundle from a directory of rules and configuration",
		Long: `Build makes a bundle in OPA's format from the .rego files, data.json and data.yaml in DIR, each under the path
that it has below data: assay/rules/partner/partner.rego, assay/config/data.yaml. A .manifest in DIR stands where
no flag says otherwise.

The same files and flags give the same bytes. What a server would refuse is refused here: rules outside the
roots, builtins that policy may not use, a configuration that does not fit its schema. To check the latter the
bundle is compiled with the library that is part of this program, and with --policy-config where that is given.

--sequence numbers the bundles of one name: a server that had one in force takes no lower one. With
--not-after it takes the bundle only until then; --valid-for counts from now, so the bytes differ each time.

The bundle is not signed: see assay bundle sign.

Exit code 0: built, 1: there are problems, 2: it could not be done.`,
		Example: `  assay bundle build my-rules --sequence 12 --not-after 2030-01-01T00:00:00Z
  assay bundle build my-rules --to /tmp/org.tar.gz --revision "$(git rev-parse HEAD)" --sequence 12`,
		Args: fileArg(false),
	}
	flags := cmd.Flags()
	flags.StringVar(&to, "to", "bundle.tar.gz", "file to write")
	flags.StringSliceVar(&c.Roots, "roots", nil, "what the bundle owns below data (default assay/rules,assay/config)")
	flags.StringVar(&c.Revision, "revision", "", "revision, free text (default the start of a digest)")
	flags.Int64Var(&c.Sequence, "sequence", 0, "number of this bundle, from 1; more than that of the one before")
	flags.StringVar(&until, "not-after", "", "last moment at which it may be loaded (RFC 3339)")
	flags.DurationVar(&validFor, "valid-for", 0, "the same, counted from now")
	flags.BoolVar(&c.WithoutTests, "without-tests", false, "leave _test.rego files out")
	flags.BoolVar(&notCompile, "no-compile", false, "do not compile it with the library: for a bundle that needs another one beside it")
	source.addFlags(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.Dir, c.Capabilities = args[0], policy.Capabilities()
		var err error
		if c.NotAfter, err = notAfter(e.now(), until, validFor); err != nil {
			return err
		}
		if cmd.Flags().Changed("sequence") && c.Sequence < 1 {
			return fmt.Errorf("--sequence %d: count from 1", c.Sequence)
		}
		built, err := bundles.Build(cmd.Context(), c)
		if err != nil {
			return err
		}
		if !notCompile {
			if err := source.compile(cmd.Context(), e, c.Dir, *format); err != nil {
				return err
			}
		}
		if err := bundles.WriteFile(to, built.Archive); err != nil {
			return fmt.Errorf("writing the bundle: %w", err)
		}
		return printBuilt(e, built, to, *format)
	}
	return cmd
}

func notAfter(now time.Time, until string, validFor time.Duration) (time.Time, error) {
	switch {
	case until != "" && validFor != 0:
		return time.Time{}, errors.New("give --not-after or --valid-for, not both")
	case validFor < 0:
		return time.Time{}, fmt.Errorf("--valid-for %s is in the past", validFor)
	case validFor > 0:
		return now.Add(validFor), nil
	case until == "":
		return time.Time{}, nil
	}
	at, err := time.Parse(time.RFC3339, until)
	switch {
	case err != nil:
		return at, fmt.Errorf("--not-after %q is no time such as 2030-01-31T00:00:00Z", until)
	case !at.After(now):
		return at, fmt.Errorf("--not-after %s is in the past", until)
	}
	return at, nil
}

// compile holds what a directory brings against the library and the schema, and prints the problems.
func (s *policySource) compile(ctx context.Context, e env, dir string, format output) error {
	p, err := s.read(ctx, []string{dir})
	if err == nil {
		_, err = policy.Compile(ctx, p.Source)
	}
	if err != nil {
		return s.refused(e, err, format)
	}
	return nil
}

func printBuilt(e env, built *bundles.Built, to string, format output) error {
	view := viewBundle(built.Bundle)
	if format == "json" {
		return json.NewEncoder(e.out).Encode(map[string]any{"file": to, "bytes": len(built.Archive), "left_out": append([]string{}, built.LeftOut...), "bundle": view})
	}
	if len(built.LeftOut) > 0 {
		_, _ = fmt.Fprintf(e.err, "left out, for OPA loads only .rego, data.json, data.yaml: %s\n", strings.Join(built.LeftOut, ", "))
	}
	if err := view.print(e.out, format, e.now()); err != nil {
		return err
	}
	_, err := fmt.Fprintf(e.out, "wrote %s (%d bytes, not signed)\n", to, len(built.Archive))
	return err
}
