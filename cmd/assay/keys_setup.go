package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// setupOptions are the flags of keys setup.
type setupOptions struct {
	dryRun, printHCL bool
	noAppRoles       bool // the policies alone: another auth method names them
	credentials      string
	prefix           string // of the names of policies and AppRoles; empty: the default
}

func newKeysSetup(e env) *cobra.Command {
	var (
		path    string
		options setupOptions
	)
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Provision Vault: the transit mount, keys, policies and AppRoles",
		Long: `Setup makes Vault hold what the configuration says: the transit engine, each key of vault.keys with
one version that signs and one that is published for later, and for each role that has keys (decider, issuer,
custodian; notary and publisher where a key has use checkpoint, pseudonym or bundle) a least-privilege policy and an AppRole. It changes nothing that is already right, and never
changes or removes a key; what a person must judge it reports.

It runs with your own Vault token, VAULT_TOKEN. Role ids and secret ids are written to the files that the
configuration names for each role's AppRole, mode 0600, where there is none yet; with --credentials they
are written to that directory instead, as ROLE.role_id and ROLE.secret_id.`,
		Example: `  assay keys setup --config assay.yaml --dry-run
  assay keys setup --config assay.yaml --print-hcl`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file")
	flags.BoolVar(&options.dryRun, "dry-run", false, "print what would change, and change nothing")
	flags.BoolVar(&options.printHCL, "print-hcl", false, "print the policies as HCL, for those who keep theirs elsewhere; asks Vault nothing")
	flags.StringVar(&options.credentials, "credentials", "", "directory for the roles' credentials")
	flags.BoolVar(&options.noAppRoles, "no-approles", false, "make the policies, and no AppRoles: roles log in by another auth method, such as Kubernetes")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		if options.printHCL {
			return printHCL(e.out, c, *format)
		}
		client, err := adminClient(e, c)
		if err != nil {
			return err
		}
		return setup(cmd.Context(), e.out, c, client, options, *format)
	}
	return cmd
}

// desired is what Vault should hold for this configuration.
func desired(c *config.Config) transit.Desired {
	d := transit.Desired{AppRoleMount: appRoleMount(c)}
	for _, name := range c.KeyNames() {
		key := c.Vault.Keys[name]
		wanted := transit.DesiredKey{Name: name, Type: key.Type, Algorithm: key.Algorithm, Decrypts: key.Encrypts(), Pseudonyms: key.Use == "pseudonym"}
		if wanted.Pseudonyms {
			wanted.AutoRotate = pseudonymRotation(c.Audit.Pseudonyms.Period)
		}
		if !slices.Contains(c.TokenKeyNames(), name) {
			wanted.Versions = 1 // it has no life by periods, so nothing is pending
		}
		d.Keys = append(d.Keys, wanted)
	}
	for _, role := range []transit.DesiredRole{
		{Role: transit.Decider, Keys: c.TokenKeyNames()},
		{Role: transit.Issuer, Keys: c.KeyNamesOf(false)},
		{Role: transit.Custodian, Keys: c.TokenKeyNames()},
		{Role: transit.Notary, Keys: append(c.KeyNamesFor("checkpoint"), c.KeyNamesFor("pseudonym")...)},
		{Role: transit.Publisher, Keys: c.KeyNamesFor("bundle")},
	} {
		if len(role.Keys) > 0 {
			d.Roles = append(d.Roles, role)
		}
	}
	return d
}

func appRoleMount(c *config.Config) string {
	for _, given := range c.Vault.Roles.Given() {
		if a := given.Role.Auth.AppRole; a != nil {
			return a.Mount
		}
	}
	return transit.DefaultAppRoleMount
}

func printHCL(w io.Writer, c *config.Config, format output) error {
	policies, err := desired(c).Policies(c.Vault.Mount)
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(w).Encode(map[string]any{"policies": policies})
	}
	for _, p := range policies {
		if _, err := fmt.Fprintf(w, "# policy %s, for the role %s\n%s\n", p.Name, p.Role, p.HCL); err != nil {
			return err
		}
	}
	return nil
}

func setup(ctx context.Context, w io.Writer, c *config.Config, client *transit.Client, o setupOptions, format output) error {
	want := desired(c)
	want.Prefix, want.NoAppRoles = o.prefix, o.noAppRoles
	plan, err := client.Plan(ctx, want)
	if err != nil {
		return fmt.Errorf("comparing Vault with the configuration: %w", err)
	}
	if format == "json" {
		if err := json.NewEncoder(w).Encode(map[string]any{"dry_run": o.dryRun, "changes": plan.Changes, "findings": plan.Findings}); err != nil {
			return err
		}
		w = io.Discard
	}
	for _, f := range plan.Findings {
		word := "note"
		if f.Blocking {
			word = "blocked"
		}
		if _, err := fmt.Fprintf(w, "%s: %s: %s; %s\n", word, f.Path, f.Problem, f.Advice); err != nil {
			return err
		}
	}
	if o.dryRun {
		return printPlan(w, plan)
	}
	report := func(change transit.Change) {
		_, _ = fmt.Fprintf(w, "%s %s: %s\n", change.Action, change.Path, change.Summary)
	}
	if err := client.Apply(ctx, plan, report); err != nil {
		return fmt.Errorf("changing Vault: %w", err)
	}
	if o.noAppRoles {
		_, err = fmt.Fprintf(w, "Vault holds what the configuration says (%d changes)\n", len(plan.Changes))
		return err
	}
	if err := writeCredentials(ctx, w, c, client, want, o.credentials); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "Vault holds what the configuration says (%d changes)\n", len(plan.Changes))
	return err
}

func printPlan(w io.Writer, plan transit.Plan) error {
	for _, change := range plan.Changes {
		if _, err := fmt.Fprintf(w, "would %s %s: %s\n", change.Action, change.Path, change.Summary); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d changes would be made; nothing was changed\n", len(plan.Changes))
	return err
}

// credentialFiles says where the credentials of a role belong; empty where nobody said.
func credentialFiles(c *config.Config, role transit.Role, directory string) (roleID, secretID string) {
	if directory != "" {
		return filepath.Join(directory, string(role)+".role_id"), filepath.Join(directory, string(role)+".secret_id")
	}
	for _, given := range c.Vault.Roles.Given() {
		if a := given.Role.Auth.AppRole; a != nil && given.Name == string(role) {
			return a.RoleIDFile, a.SecretIDFile
		}
	}
	return "", ""
}

// writeCredentials writes what each role logs in with, where there is nothing yet: running setup again
// makes no second secret id.
func writeCredentials(ctx context.Context, w io.Writer, c *config.Config, client *transit.Client, want transit.Desired, directory string) error {
	for _, role := range want.Roles {
		roleFile, secretFile := credentialFiles(c, role.Role, directory)
		if roleFile == "" {
			continue
		}
		if _, err := os.Stat(secretFile); err == nil {
			_, _ = fmt.Fprintf(w, "keep %s: the credentials of the role %s are there\n", secretFile, role.Role)
			continue
		}
		credentials, err := client.Issue(ctx, want, role.Role)
		if err != nil {
			return fmt.Errorf("making credentials for the role %s: %w", role.Role, err)
		}
		// The secret id last: it is what says that both are there.
		if err := errors.Join(writeSecret(roleFile, credentials.RoleID), writeSecret(secretFile, credentials.SecretID)); err != nil {
			return err
		}
		_, _ = fmt.Fprintf(w, "write %s, %s: the credentials of the role %s\n", roleFile, secretFile, role.Role)
	}
	return nil
}

// writeSecret writes a file that only its owner may read, whole or not at all.
func writeSecret(path, secret string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = file.WriteString(secret + "\n")
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return nil
}
