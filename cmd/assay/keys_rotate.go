package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
)

func newKeysRotate(e env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "rotate [KEY]",
		Short: "Add a version to a key; it is published at once and signs when its time has come",
		Long: `Rotate adds a version. It never changes at once which version signs: a new one is pending until it was
published for publish_ahead and the one before signed for rotate_every. A version too many does no harm.

A custodian does this by itself. It runs as the role vault.roles.custodian, else with VAULT_TOKEN.`,
		Example: "  assay keys rotate access --config assay.yaml",
		Args:    keyArg,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		name, err := oneKey(c, args)
		if err != nil {
			return err
		}
		client, err := changingClient(e, c)
		if err != nil {
			return err
		}
		before, err := readRecord(ctx, c, client, name)
		if err != nil {
			return err
		}
		if err := client.Rotate(ctx, name, before.Latest); err != nil {
			return fmt.Errorf("rotating %s: %w", name, err)
		}
		step := custodian.Step{Kind: custodian.Rotate, Version: before.Latest, Why: "by hand"}
		recorded := recordChange(ctx, e, c, custodian.Change(name, step, e.now()))
		after, err := readRecord(ctx, c, client, name)
		if err != nil {
			return err
		}
		states := vaultkeys.States(after, c.Periods(name), e.now())
		made := states[len(states)-1]
		if *format == "json" {
			err = json.NewEncoder(e.out).Encode(map[string]any{"key": name, "version": made.Number, "state": made.State, "next": made.Next, "next_at": made.NextAt.UTC()})
		} else {
			_, err = fmt.Fprintf(e.out, "%s has version %d, %s: %s at %s\n", name, made.Number, made.State, made.Next, made.NextAt.UTC().Truncate(time.Second).Format(time.RFC3339))
		}
		if err != nil {
			return err
		}
		return recorded
	}
	return cmd
}

func newKeysRetire(e env) *cobra.Command {
	var path string
	var below int
	var yes bool
	cmd := &cobra.Command{
		Use:   "retire [KEY]",
		Short: "Withdraw old versions: Vault refuses them from then on",
		Long: `Retire withdraws the versions that have retired by their age, which harms no token; a custodian does
this by itself. Both minimum versions are raised in one request.

With --below it withdraws all versions below that one, whatever their state. Tokens that they signed are then
denied although they have not expired; the oldest version left signs. That is dangerous: it asks on a terminal, and
needs --yes elsewhere. For a version that leaked use 'assay keys compromise', which also revokes it.`,
		Example: `  assay keys retire access --config assay.yaml
  assay keys retire access --below 7 --yes --config assay.yaml`,
		Args: keyArg,
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file")
	flags.IntVar(&below, "below", 0, "the lowest version to keep (default: the lowest that has not retired)")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		name, err := oneKey(c, args)
		if err != nil {
			return err
		}
		return retire(cmd, e, c, name, below, yes, *format)
	}
	return cmd
}

func retire(cmd *cobra.Command, e env, c *config.Config, name string, below int, yes bool, format output) error {
	ctx := cmd.Context()
	client, err := changingClient(e, c)
	if err != nil {
		return err
	}
	record, err := readRecord(ctx, c, client, name)
	if err != nil {
		return err
	}
	step := custodian.Step{Kind: custodian.Retire, Version: below, Why: "by hand"}
	if below == 0 {
		step = dueRetirement(record, serve.KeyRules(c, name), e.now())
	}
	var withdrawn, alive []string
	for _, v := range vaultkeys.States(record, c.Periods(name), e.now()) {
		if v.Number >= step.Version {
			break
		}
		withdrawn = append(withdrawn, fmt.Sprint(v.Number))
		if v.State != vaultkeys.Retired {
			alive = append(alive, fmt.Sprintf("%d (%s)", v.Number, v.State))
		}
	}
	if step.Version > record.Latest {
		return fmt.Errorf("the newest version of %s is %d: it cannot be withdrawn, rotate first", name, record.Latest)
	}
	if len(alive) > 0 {
		question := fmt.Sprintf("Of %s the versions %s have not retired: tokens that they signed will be denied, and other verifiers take them until their cached JWKS expires.",
			name, strings.Join(alive, ", "))
		if err := confirm(e, yes, question); err != nil {
			return err
		}
	}
	var recorded error
	if len(withdrawn) > 0 {
		if err := client.Retire(ctx, name, step.Version); err != nil {
			return fmt.Errorf("retiring versions of %s: %w", name, err)
		}
		recorded = recordChange(ctx, e, c, custodian.Change(name, step, e.now()))
	}
	if format == "json" {
		err = json.NewEncoder(e.out).Encode(map[string]any{"key": name, "withdrawn": withdrawn, "lowest_version": step.Version})
	} else if len(withdrawn) == 0 {
		_, err = fmt.Fprintf(e.out, "no version of %s is to be withdrawn\n", name)
	} else {
		_, err = fmt.Fprintf(e.out, "withdrawn from %s: %s; the lowest version is now %d\n", name, strings.Join(withdrawn, ", "), step.Version)
	}
	if err != nil {
		return err
	}
	return recorded
}

// dueRetirement is the custodian's step, or one that does nothing.
func dueRetirement(record vaultkeys.Record, rules custodian.Rules, now time.Time) custodian.Step {
	for _, step := range custodian.Next(record, rules, now) {
		if step.Kind == custodian.Retire {
			return step
		}
	}
	return custodian.Step{Kind: custodian.Retire, Version: max(1, record.MinDecryptionVersion)}
}
