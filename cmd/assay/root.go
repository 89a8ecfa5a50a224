package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "assay",
		Short: "A policy decision point for JSON Web Tokens",
		Long: `Assay says of a JSON Web Token whether it may be used, and if not, every reason why.

Exit codes: 0 done (decide: allow), 1 the answer is no (decide: deny; config check: problems),
2 it could not be done, with the cause on standard error.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          subcommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w\nRun '%s --help' for its flags", readableFlag(err), cmd.CommandPath())
	})
	root.AddCommand(
		newServe(e), newDev(e), newDecide(e), newToken(e), newKeys(e), newRevoke(e), newRevocations(e), newBundle(e), newAudit(e), newConfig(e), newPolicy(e), newVersion(e),
	)
	return root
}

// readableFlag says of a value that is no number that it is none, in place of which function of Go's refused it, and where an
// argument goes that looks like a flag: one of 64 thumbprints begins with a hyphen.
func readableFlag(err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "" {
		return fmt.Errorf("%w; if that is no flag but a value, put it last, behind --", err)
	}
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	if !errors.As(err, &invalid) || !errors.As(err, &number) {
		return err
	}
	want := "a whole number"
	switch {
	case errors.Is(number, strconv.ErrRange):
		want = "a number that is not as large"
	case number.Func == "ParseUint":
		want = "a whole number, 0 or more,"
	case number.Func == "ParseBool":
		want = "true or false"
	case number.Func == "ParseFloat":
		want = "a number"
	}
	return fmt.Errorf("--%s %q: %s is expected", invalid.GetFlag().Name, invalid.GetValue(), want)
}

// output is the --output flag: text for people, json for programs.
type output string

func (o *output) String() string { return string(*o) }

// Type names the flag's value in help.
func (o *output) Type() string { return "text|json" }

// Set checks the value.
func (o *output) Set(value string) error {
	if !slices.Contains([]string{"text", "json"}, value) {
		return fmt.Errorf("choose text or json")
	}
	*o = output(value)
	return nil
}

func addOutput(cmd *cobra.Command) *output {
	o := output("text")
	cmd.Flags().VarP(&o, "output", "o", "how to print the answer")
	return &o
}

// noArgs refuses arguments and says which command was meant to have none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments; got %s", cmd.CommandPath(), strings.Join(args, " "))
	}
	return nil
}

// fileArg takes one FILE, or none where it is optional.
func fileArg(optional bool) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) > 1:
			return fmt.Errorf("%s takes one file; got %s", cmd.CommandPath(), strings.Join(args, " "))
		case len(args) == 0 && !optional:
			return fmt.Errorf("%s needs a file: %s", cmd.CommandPath(), strings.TrimSpace(cmd.Example))
		}
		return nil
	}
}

// subcommand refuses the name of one that does not exist.
func subcommand(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s has no subcommand %q\nRun '%s --help' for its subcommands", cmd.CommandPath(), args[0], cmd.CommandPath())
	}
	return nil
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short,
		Args: subcommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(children...)
	return cmd
}
