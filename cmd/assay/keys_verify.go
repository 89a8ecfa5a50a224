package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

func newKeysVerify(e env) *cobra.Command {
	var path, before string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hold what is in Vault against the configuration; exit 1 on a finding",
		Long: `Verify reads each key, as the role vault.roles.decider, else with VAULT_TOKEN, and finds: a key that is
missing or of another type; one that is exportable, was imported, allows a plaintext backup or its deletion;
minimum versions that leave nothing to sign with or lag behind; no pending version; a rotation that is overdue;
versions that retired long ago and nobody withdrew. The keys that serve no tokens, for the audit log's checkpoints and
pseudonyms and for policy bundles, are read as the roles notary and publisher, and are held against what 'assay keys setup'
makes. It changes nothing.

With --before it also says whether the keys in use can go from the periods of that (older) configuration to those
of --config at this moment: shorter ones can deny good tokens, since what was signed under the old ones is not in
Vault's record. Run it before a change is rolled out.

Exit code 1 where there is a finding.`,
		Example: `  assay keys verify --config assay.yaml
  assay keys verify --config new.yaml --before assay.yaml`,
		Args: noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	cmd.Flags().StringVar(&before, "before", "", "the configuration file that is in force until now")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		var old *config.Config
		if before != "" {
			if old, err = keysConfig(before); err != nil {
				return err
			}
		}
		client, err := readingClient(e, c)
		if err != nil {
			return err
		}
		findings, err := verifyKeys(cmd.Context(), e, c, old, client)
		if err != nil {
			return err
		}
		findings = append(findings, verifyOthers(cmd.Context(), e, c)...)
		if *format == "json" {
			err = json.NewEncoder(e.out).Encode(map[string]any{"findings": findings})
		} else {
			err = printFindings(e, findings, c)
		}
		if err == nil && len(findings) > 0 {
			return errNo
		}
		return err
	}
	return cmd
}

// keyFinding is one thing that is not as it should be.
type keyFinding struct {
	Key     string `json:"key"`
	Problem string `json:"problem"`
	Advice  string `json:"advice"`
}

func printFindings(e env, findings []keyFinding, c *config.Config) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(e.out, "%s: %s; %s\n", f.Key, f.Problem, f.Advice); err != nil {
			return err
		}
	}
	keys := counted(len(c.TokenKeyNames()), "key", "keys")
	if others := otherKeyNames(c); len(others) > 0 {
		keys += fmt.Sprintf(" for tokens and %d not for tokens (%s)", len(others), strings.Join(others, ", "))
	}
	_, err := fmt.Fprintf(e.out, "%s, %s\n", keys, counted(len(findings), "finding", "findings"))
	return err
}

func verifyKeys(ctx context.Context, e env, c, old *config.Config, client *transit.Client) ([]keyFinding, error) {
	findings := []keyFinding{}
	for _, name := range c.TokenKeyNames() {
		record, err := client.ReadKey(ctx, name)
		if errors.Is(err, transit.ErrNotFound) {
			findings = append(findings, keyFinding{name, "Vault has no such key under " + c.Vault.Mount + "/", "run 'assay keys setup'"})
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("reading the key %s: %w", name, err)
		}
		if err := record.Check(); err != nil {
			findings = append(findings, keyFinding{name, err.Error(), "no token is signed or verified with it as it is"})
			continue
		}
		findings = append(findings, inspect(record, c, name, e.now())...)
		if old == nil {
			continue
		}
		if _, known := old.Vault.Keys[name]; !known {
			continue
		}
		if err := vaultkeys.CheckChange(record, old.Periods(name), c.Periods(name), e.now()); err != nil {
			for line := range strings.Lines(err.Error()) {
				findings = append(findings, keyFinding{name, strings.TrimSpace(line), "do not roll these periods out now"})
			}
		}
	}
	if old != nil {
		findings = append(findings, removedKeys(c, old)...)
	}
	return findings, nil
}

// removedKeys finds keys that issuers no longer name: their tokens may still live.
func removedKeys(c, old *config.Config) []keyFinding {
	var findings []keyFinding
	for _, issuer := range old.Issuers {
		for _, name := range issuer.Keys.Vault {
			if !slices.Contains(serve.IssuersOf(c, name), issuer.Issuer) {
				findings = append(findings, keyFinding{name, "is no longer among the keys of " + issuer.Issuer + ", and what it signed may live for " + old.Vault.Keys[name].MaxTokenLifetime.String(),
					"keep it in the issuer's list, behind another that signs, for that long and " + old.Leeway.String()})
			}
		}
	}
	return findings
}

// inspect finds what is wrong with a key that can be read.
func inspect(r vaultkeys.Record, c *config.Config, name string, now time.Time) []keyFinding {
	var findings []keyFinding
	add := func(problem, advice string) { findings = append(findings, keyFinding{name, problem, advice}) }
	key, rules := c.Vault.Keys[name], serve.KeyRules(c, name)
	if r.Type != key.Type {
		add(fmt.Sprintf("it is of type %s, the configuration says %s", r.Type, key.Type), "a key's type cannot change: configure this one, or move to a key of another name")
	}
	for _, w := range weaknesses(&r) {
		add(w.problem, w.advice)
	}
	if r.AutoRotatePeriod > 0 {
		add(fmt.Sprintf("Vault itself rotates it every %s", r.AutoRotatePeriod), "write auto_rotate_period=0 to its config: the custodian rotates")
	}
	if r.MinEncryptionVersion > 0 && r.MinEncryptionVersion < r.MinDecryptionVersion {
		add("its minimum version for signing lags behind that for verifying", "run 'assay keys retire'")
	}
	states := vaultkeys.States(r, rules.Periods, now)
	active := slices.IndexFunc(states, func(s vaultkeys.VersionState) bool { return s.State == vaultkeys.Active })
	if active < 0 {
		add("its minimum versions leave none that may sign", "rotate it")
		return findings
	}
	for _, step := range custodian.Next(r, rules, now) {
		advice := "see that 'assay keys run' or serve with vault.custodian.enabled runs"
		if step.Kind == custodian.Retire { // Vault's record does not tell by which periods a version was kept until now
			advice += "; or, where periods were just made shorter, that none of their tokens lives: give --before with the old configuration"
		}
		add("a custodian has something to do that is not done: to "+string(step.Kind)+", since "+step.Why, advice)
	}
	if s := states[active]; s.Promoted {
		add(fmt.Sprintf("version %d signs before its time: a minimum version was raised", s.Number), "it passes; look whether it was a compromise")
	}
	for _, s := range states {
		if ahead := s.Created.Sub(now); ahead > rules.Periods.ClockSkew {
			add(fmt.Sprintf("version %d was made %s in the future: the clocks of Vault and this machine differ by more than clock_skew", s.Number, ahead.Round(time.Second)), "set the clocks right")
		}
	}
	return findings
}

// weakness is what no key should have, whatever it is for.
type weakness struct {
	found           bool
	problem, advice string
}

func weaknesses(r *vaultkeys.Record) []weakness {
	const stays = "this cannot be taken back: move to a new key"
	return slices.DeleteFunc([]weakness{
		{r.Exportable, "it is exportable: its private half can leave Vault", stays},
		{r.AllowPlaintextBackup, "it allows a backup in plain text: its private half can leave Vault", stays},
		{r.Imported, "it was imported: its private half has been outside Vault", "move to a new key"},
		{r.DeletionAllowed, "it may be deleted", "write deletion_allowed=false to its config"},
	}, func(w weakness) bool { return !w.found })
}
