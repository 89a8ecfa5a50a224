package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

func newVersion(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Short:   "Print which build this is",
		Example: "  assay version --output json",
		Args:    noArgs,
	}
	format := addOutput(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		build := map[string]string{"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		if info, ok := debug.ReadBuildInfo(); ok {
			for _, dependency := range info.Deps {
				if dependency.Path == "github.com/open-policy-agent/opa" {
					build["opa"] = dependency.Version
				}
			}
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(build)
		}
		_, err := fmt.Fprintf(e.out, "assay %s (%s, %s, OPA %s)\n", build["version"], build["go"], build["platform"], build["opa"])
		return err
	}
	return cmd
}
