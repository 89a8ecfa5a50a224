package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

func newKeysList(e env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show every key version with its state, its age, and what happens to it next",
		Long: `List reads Vault's record of each configured key, as the role vault.roles.decider or, where the
configuration does not give it, with VAULT_TOKEN, and shows the state of every version:
pending (published, does not sign yet), active (signs), retiring (verifies only), retired (not published).
Below that stand the keys that serve no tokens, for the audit log's checkpoints and pseudonyms and for policy bundles, read
as the roles notary and publisher, and what should not be so.

With --server it asks a running Assay which keys were revoked as compromised, and shows those too; Vault's
record does not hold them any more.`,
		Example: "  assay keys list --config assay.yaml",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	server := addKeyServer(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		client, err := readingClient(e, c)
		if err != nil {
			return err
		}
		list, err := listKeys(cmd.Context(), e, c, client)
		if err != nil {
			return err
		}
		others, warnings := listOthers(cmd.Context(), e, c)
		list.Others, list.Warnings = others, append(list.Warnings, warnings...)
		if list.Compromised, err = server.compromised(cmd.Context(), e, c); err != nil {
			return err
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(list)
		}
		return printKeys(e, list)
	}
	return cmd
}

// keyList is what list answers.
type keyList struct {
	Versions []keyRow     `json:"versions"`
	Warnings []keyWarning `json:"warnings"`
	// Others are the keys that serve no tokens.
	Others []otherKey `json:"not_for_tokens,omitempty"`
	// Compromised keys of the configured issuers, by the server's revocations; absent where none was asked.
	Compromised []compromisedRow `json:"compromised,omitempty"`
}

// keyRow is one key version as it is shown. Times are RFC 3339, ages and waits whole seconds.
type keyRow struct {
	Key        string          `json:"key"`
	Type       string          `json:"type"`
	Algorithm  string          `json:"alg"`
	Version    int             `json:"version"`
	KeyID      string          `json:"kid"`
	State      vaultkeys.State `json:"state"`
	Promoted   bool            `json:"promoted,omitempty"`
	Created    time.Time       `json:"created"`
	AgeSeconds int64           `json:"age_seconds"`
	Next       vaultkeys.State `json:"next,omitempty"`
	NextAt     *time.Time      `json:"next_at,omitempty"`
}

// keyWarning is one thing that should not be so.
type keyWarning struct {
	Key     string `json:"key"`
	Warning string `json:"warning"`
}

// compromisedRow is the revocation of a key.
type compromisedRow struct {
	Issuer  string    `json:"issuer"`
	KeyID   string    `json:"kid"`
	Reason  string    `json:"reason,omitempty"`
	Ticket  string    `json:"ticket,omitempty"`
	Revoked time.Time `json:"revoked"`
}

func listKeys(ctx context.Context, e env, c *config.Config, client *transit.Client) (keyList, error) {
	list := keyList{Versions: []keyRow{}, Warnings: []keyWarning{}}
	now := e.now()
	for _, name := range c.TokenKeyNames() {
		record, err := readRecord(ctx, c, client, name)
		if err != nil {
			return list, err
		}
		algorithm := vaultkeys.EncryptionAlgorithm
		if key := c.Vault.Keys[name]; !key.Encrypts() {
			if algorithm, err = vaultkeys.Algorithm(record.Type, key.Algorithm); err != nil {
				return list, fmt.Errorf("key %s: %w", name, err)
			}
		}
		for _, warning := range vaultkeys.Warnings(record, c.Periods(name), now) {
			list.Warnings = append(list.Warnings, keyWarning{name, warning})
		}
		for _, v := range vaultkeys.States(record, c.Periods(name), now) {
			kid, err := vaultkeys.Thumbprint(v.Public)
			if err != nil {
				return list, fmt.Errorf("key %s, version %d: %w", name, v.Number, err)
			}
			row := keyRow{
				Key: name, Type: record.Type, Algorithm: algorithm, Version: v.Number, KeyID: kid, State: v.State, Promoted: v.Promoted,
				Created: v.Created.UTC(), AgeSeconds: int64(now.Sub(v.Created) / time.Second), Next: v.Next,
			}
			if !v.NextAt.IsZero() {
				at := v.NextAt.UTC()
				row.NextAt = &at
			}
			list.Versions = append(list.Versions, row)
		}
	}
	return list, nil
}

func printKeys(e env, list keyList) error {
	table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	if len(list.Versions) > 0 {
		_, _ = fmt.Fprintln(table, "KEY\tVERSION\tALG\tSTATE\tAGE\tNEXT\tKID")
	}
	for _, r := range list.Versions {
		next := "signs until it has a successor; none is pending: rotate the key"
		switch {
		case r.NextAt != nil:
			next = fmt.Sprintf("%s in %s (%s)", r.Next, humanDuration(r.NextAt.Sub(e.now())), r.NextAt.Format(time.RFC3339))
		case r.State == vaultkeys.Retired:
			next = "-"
		}
		age := humanDuration(time.Duration(r.AgeSeconds) * time.Second)
		_, _ = fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\n", r.Key, r.Version, r.Algorithm, r.State, age, next, r.KeyID)
	}
	if err := errors.Join(table.Flush(), printOthers(e, list.Others)); err != nil {
		return err
	}
	if len(list.Compromised) > 0 {
		_, _ = fmt.Fprintln(table, "\nCOMPROMISED KID\tISSUER\tREVOKED\tREASON\tTICKET")
		for _, r := range list.Compromised {
			_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", r.KeyID, r.Issuer, r.Revoked.Format(time.RFC3339), r.Reason, r.Ticket)
		}
		if err := table.Flush(); err != nil {
			return err
		}
	}
	for _, w := range list.Warnings {
		if _, err := fmt.Fprintf(e.out, "warning: %s: %s\n", w.Key, w.Warning); err != nil {
			return err
		}
	}
	return nil
}
