package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/vaultkeys/notary"
)

func newAuditKeys(e env) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Print the verifier keys of the log's checkpoints, one for each version of the key in Vault",
		Long: `Keys asks Vault for the public keys of audit.checkpoint.key, as the role vault.roles.notary, else with VAULT_TOKEN, and
prints them as verifier keys of signed notes (C2SP signed-note): what assay audit verify --key and every other verifier
of checkpoints takes. Give them to those who verify, and keep them where the operator of the log cannot change them: a
version that is withdrawn in Vault is not listed any more, and what it signed goes on to need its key. A new version
signs an hour after it was made.`,
		Example: "  assay audit keys --config assay.yaml > checkpoint.keys",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file with audit.checkpoint.key")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if path == "" {
			return errors.New("whose keys? Give a configuration that has audit.checkpoint.key with --config")
		}
		c, err := readConfig(path)
		if err != nil {
			return err
		}
		keys, err := vaultVerifierKeys(cmd.Context(), e, c)
		if err != nil {
			return err
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"origin": c.Audit.Origin, "keys": keys})
		}
		for _, key := range keys {
			if _, err := fmt.Fprintln(e.out, key); err != nil {
				return err
			}
		}
		return nil
	}
	return cmd
}

// vaultVerifierKeys asks Vault by which keys the log's checkpoints are signed.
func vaultVerifierKeys(ctx context.Context, e env, c *config.Config) ([]string, error) {
	if c.Audit.Checkpoint.Key == "" {
		return nil, errors.New("the configuration has no audit.checkpoint.key: its log is not signed")
	}
	client, err := clientOf(e, c, c.Vault.Roles.Notary)
	if err != nil {
		return nil, err
	}
	if c.Vault.Roles.Notary != nil {
		defer func() { _ = client.Close(context.WithoutCancel(ctx)) }() // a login that is not given back expires by itself
	}
	signer, err := notary.NewSigner(notary.SignerConfig{Vault: client, Key: c.Audit.Checkpoint.Key, Origin: c.Audit.Origin, Now: e.now})
	if err != nil {
		return nil, err
	}
	return signer.VerifierKeys(ctx)
}

// vaultVerifiers asks Vault for the keys that count; never nil without an error, which would mean that none is needed.
func vaultVerifiers(ctx context.Context, e env, c *config.Config) (note.Verifiers, error) {
	keys, err := vaultVerifierKeys(ctx, e, c)
	if err != nil {
		return nil, err
	}
	list, _, err := parseVerifiers(strings.Join(keys, "\n"))
	if err != nil {
		return nil, err
	}
	return note.VerifierList(list...), nil
}

// verifiersOf reads the keys given, or else asks Vault where a configuration names the key.
func verifiersOf(ctx context.Context, e env, given []string, path string) (note.Verifiers, error) {
	verifiers, err := givenVerifiers(given)
	if err != nil || verifiers != nil {
		return verifiers, err
	}
	if path == "" {
		return nil, errors.New("whose signatures count? Give the verifier keys with --key, as assay audit keys prints them, or a configuration with --config")
	}
	c, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	if c.Audit.Checkpoint.Key == "" {
		return nil, fmt.Errorf("whose signatures count? %s has no audit.checkpoint.key, so its log is not signed: give --no-signatures to hold the log against itself alone, or --key for checkpoints of before", path)
	}
	if verifiers, err = vaultVerifiers(ctx, e, c); err != nil {
		return nil, fmt.Errorf("asking Vault for the verifier keys (or give them with --key): %w", err)
	}
	return verifiers, nil
}
