package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/serve"
)

func newKeysRun(e env) *cobra.Command {
	var path string
	var once bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Look after the keys: rotate when due, withdraw what has retired, destroy it later",
		Long: `Run is the custodian: it keeps one version of each key published that does not sign yet, withdraws
versions whose last token has ended, and destroys them after vault.custodian.trim_after. It logs in as the role
vault.roles.custodian and writes to Vault about twice in a rotation; in between it only reads.

Any number may run, also inside 'assay serve' (vault.custodian.enabled), and each may be killed at any moment:
what is to be done follows from Vault's record alone. A custodian that is away changes nothing for tokens; keys
sign longer than rotate_every until it is back.

With --once it does what is due now and ends: for a scheduler. Exit code 2 where that failed.`,
		Example: `  assay keys run --config assay.yaml
  assay keys run --config assay.yaml --once`,
		Args: noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	cmd.Flags().BoolVar(&once, "once", false, "do what is due now, and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		if c.Vault.Roles.Custodian == nil {
			return errors.New("the configuration does not give the role vault.roles.custodian, which rotates and retires keys; 'assay keys setup' makes its login")
		}
		log := e.serviceLog(c.LogLevel)
		deps := serve.Deps{Version: version, Now: e.now, Getenv: e.getenv, Log: log}
		changes, err := serve.Changes(c, deps)
		if err != nil {
			return err
		}
		custodian, err := serve.NewCustodian(c, deps, changes, nil)
		if err != nil {
			return err
		}
		if once {
			defer custodian.Close()
			return custodian.Round(cmd.Context())
		}
		log.Info("looking after keys", "keys", c.TokenKeyNames())
		return custodian.Run(cmd.Context())
	}
	return cmd
}
