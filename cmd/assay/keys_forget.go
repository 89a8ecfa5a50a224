package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/vaultkeys/notary"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

func newKeysForget(e env) *cobra.Command {
	var path, through string
	var yes bool
	cmd := &cobra.Command{
		Use:   "forget [KEY] --through PERIOD",
		Short: "Destroy the keys of past periods' pseudonyms: nobody can link them to anyone any more",
		Long: `Forget destroys, in Vault and for ever, those versions of the key for pseudonyms that the keys of the periods up to and
with PERIOD are made from. The records of the audit log stay as they are and verify as before; that one pseudonym in them
belongs to the same person as another, or to whom, can no longer be computed by anyone. Backups of Vault's storage hold
the versions until they are gone too.

A period that lasts cannot be forgotten, nor a part of one (a day, where audit.pseudonyms.period is a month), nor one that shares its version with the period behind it (Vault rotates the
key by itself; keys setup says how often). It runs with your own Vault token, VAULT_TOKEN: no role of Assay's may do it.
It asks on a terminal, and needs --yes elsewhere.

Exit code 0: they are forgotten, 2: nothing, or not all, was done, with the cause on standard error.`,
		Example: "  assay keys forget --through 2026-09 --config assay.yaml",
		Args:    keyArg,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	cmd.Flags().StringVar(&through, "through", "", "the last period to forget: 2026, 2026-Q3, 2026-09, 2026-W36 or 2026-09-01")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		if through == "" {
			return errors.New("which periods? Name the last one to forget with --through, such as --through 2026-09")
		}
		if err := wholePeriods(audit.Period(c.Audit.Pseudonyms.Period), through); err != nil {
			return err
		}
		name, err := pseudonymKey(c, args)
		if err != nil {
			return err
		}
		client, err := adminClient(e, c)
		if err != nil {
			return err
		}
		return forget(cmd.Context(), e, c, client, forgetting{name, through, yes, *format})
	}
	return cmd
}

// wholePeriods refuses to forget up to a moment within a period of pseudonyms. The versions from before that moment are
// what the whole of that period's key was made from, and it may be the one that lasts.
func wholePeriods(each audit.Period, through string) error {
	_, end, err := notary.Period(through)
	if err != nil {
		return err
	}
	within := each.Label(end)
	start, _, err := notary.Period(within)
	if err != nil || start.Equal(end) {
		return err
	}
	return fmt.Errorf("%s ends within %s, and pseudonyms have one key for each %s: that of all of %s would be destroyed too; the last that can be meant is --through %s",
		through, within, each, within, each.Label(start.Add(-time.Second)))
}

// pseudonymKey is the key named, or else the only one.
func pseudonymKey(c *config.Config, args []string) (string, error) {
	names := c.KeyNamesFor("pseudonym")
	for _, name := range names {
		if len(args) == 1 && name == args[0] || len(args) == 0 && len(names) == 1 {
			return name, nil
		}
	}
	if len(names) == 0 {
		return "", errors.New("vault.keys has no key with use pseudonym")
	}
	return "", fmt.Errorf("which key? Name one of those with use pseudonym: %s", strings.Join(names, ", "))
}

type forgetting struct {
	key, through string
	yes          bool
	format       output
}

func forget(ctx context.Context, e env, c *config.Config, client *transit.Client, f forgetting) error {
	record, err := client.ReadVersions(ctx, f.key)
	if errors.Is(err, transit.ErrNotFound) {
		return fmt.Errorf("vault has no transit key %s under %s/: run 'assay keys setup' first", f.key, c.Vault.Mount)
	}
	if err != nil {
		return fmt.Errorf("reading the key %s: %w", f.key, err)
	}
	plan, err := notary.PlanForgetting(record, f.through, e.now())
	if err != nil {
		return err
	}
	if len(plan.Destroyed) > 0 {
		question := fmt.Sprintf("The versions %v of %s are destroyed for ever: pseudonyms up to and with %s can no longer be linked to anyone, by nobody.",
			plan.Destroyed, f.key, f.through)
		if err := confirm(e, f.yes, question); err != nil {
			return err
		}
	}
	if err := notary.Forget(ctx, client, f.key, plan); err != nil {
		return err
	}
	var recorded error
	if len(plan.Destroyed) > 0 {
		recorded = recordChange(ctx, e, c, pdp.Change{Kind: pdp.KeyRetired, At: e.now(), Target: f.key, Reason: "pseudonyms of past periods are forgotten",
			Details: map[string]any{"through": f.through, "min_version": int64(plan.Keep), "destroyed": int64(len(plan.Destroyed))}})
	}
	if f.format == "json" {
		return errors.Join(json.NewEncoder(e.out).Encode(map[string]any{"key": f.key, "through": f.through, "keep_version": plan.Keep, "destroyed": plan.Destroyed}), recorded)
	}
	said := fmt.Sprintf("%s: the periods up to and with %s are forgotten; versions from %d on are left", f.key, f.through, plan.Keep)
	if len(plan.Destroyed) == 0 {
		said = fmt.Sprintf("%s: no version leads to the periods up to and with %s; there was nothing to destroy", f.key, f.through)
	}
	_, err = fmt.Fprintln(e.out, said)
	return errors.Join(err, recorded)
}

// pseudonymRotation is how often Vault adds a version to the key for pseudonyms, so that each period has one of its
// own: less than half of the shortest such period.
func pseudonymRotation(period string) time.Duration {
	const day = 24 * time.Hour
	switch audit.Period(period) {
	case audit.Day:
		return 10 * time.Hour
	case audit.Week:
		return 3 * day
	case audit.Quarter, audit.Year:
		return 30 * day
	case audit.Month:
	}
	return transit.DefaultPseudonymRotation
}
