package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func newPolicyNew(e env) *cobra.Command {
	var (
		rule workbench.NewRule
		dir  string
	)
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "Write a new rule with its metadata and tests, ready to run and to be changed",
		Long: `New writes a package assay.rules.NAME: a rule that is an example of its kind, its metadata, and tests that
pass at once, with 'assay policy test' and with stock 'opa test'. No file that exists is changed.
A new rule warns; set custom.mode, or modes in the configuration, once it has shown what it does.`,
		Example: `  assay policy new --dir my-rules acme_partners
  assay policy new --dir my-rules --code acme.office_hours --severity high --control SOC2:CC6.3 acme`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("give the rule one name: " + cmd.UseLine())
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&dir, "dir", ".", "directory of the bundle to write it in; made where it is missing")
	flags.StringVar(&rule.Code, "code", "", "reason code, family.name (default NAME.found)")
	flags.StringVar(&rule.Title, "title", "", "title (default made of NAME)")
	flags.StringVar(&rule.Severity, "severity", "medium", "low, medium, high or critical")
	flags.StringVar(&rule.Mode, "mode", "warn", "deny, warn or off")
	flags.StringArrayVar(&rule.Controls, "control", nil, "requirement that it serves, such as SOC2:CC6.3; may be repeated")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		rule.Name = args[0]
		files, err := workbench.Scaffold(rule)
		if err != nil {
			return err
		}
		names := slices.Sorted(maps.Keys(files))
		for _, name := range names { // before anything is written
			path := filepath.Join(dir, filepath.FromSlash(name))
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists; choose another name", path)
			}
		}
		for _, name := range names {
			path := filepath.Join(dir, filepath.FromSlash(name))
			if err := writeNew(path, files[name]); err != nil {
				return err
			}
			if _, err := fmt.Fprintln(e.out, path); err != nil {
				return err
			}
		}
		_, err = fmt.Fprintf(e.out, "run it: assay policy test -v %s\n", dir)
		return err
	}
	return cmd
}

func writeNew(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a source tree like any other
		return err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644) //nolint:gosec // a source file like any other
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	return errors.Join(err, file.Close())
}
