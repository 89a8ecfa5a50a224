package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// provisioningTimeout bounds one request of who provisions Vault, which may have to make an RSA key of 4096 bits.
const provisioningTimeout = time.Minute

func newKeys(e env) *cobra.Command {
	return group("keys", "Provision, look after, watch and, when one leaked, burn the keys in Vault",
		newKeysSetup(e), newKeysList(e), newKeysPlan(e), newKeysVerify(e),
		newKeysRun(e), newKeysRotate(e), newKeysRetire(e), newKeysCompromise(e), newKeysForget(e))
}

// keysConfig reads a configuration that has keys in Vault.
func keysConfig(path string) (*config.Config, error) {
	c, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	if len(c.Vault.Keys) == 0 {
		return nil, errors.New("the configuration has no keys in Vault: name them under vault.keys, and the file with --config")
	}
	return c, nil
}

// keyArg takes the name of one key of vault.keys; it may be left out where there is only one.
func keyArg(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("%s takes one key; got %s", cmd.CommandPath(), strings.Join(args, " "))
	}
	return nil
}

func oneKey(c *config.Config, args []string) (string, error) {
	names := c.TokenKeyNames()
	switch {
	case len(args) == 0 && len(names) == 1:
		return names[0], nil
	case len(args) == 0:
		return "", fmt.Errorf("which key? Name one of %s", strings.Join(names, ", "))
	}
	if !slices.Contains(names, args[0]) {
		return "", fmt.Errorf("there is no key %q for tokens under vault.keys; there are %s", args[0], strings.Join(names, ", "))
	}
	return args[0], nil
}

// readingClient logs in as the decider, else with the token of whoever runs the command; nil where there are no keys for it.
func readingClient(e env, c *config.Config) (*transit.Client, error) {
	if len(c.TokenKeyNames()) == 0 {
		return nil, nil
	}
	return clientOf(e, c, c.Vault.Roles.Decider)
}

// changingClient logs in as the custodian, else with the token of whoever runs the command.
func changingClient(e env, c *config.Config) (*transit.Client, error) {
	return clientOf(e, c, c.Vault.Roles.Custodian)
}

func clientOf(e env, c *config.Config, role *config.Role) (*transit.Client, error) {
	if role != nil {
		return serve.NewClient(c, role, serve.Deps{Now: e.now, Getenv: e.getenv, Log: e.quietLog(), VaultTimeout: provisioningTimeout}, nil)
	}
	return adminClient(e, c)
}

// adminClient logs in with VAULT_TOKEN: a person's own rights, for the time of one command.
func adminClient(e env, c *config.Config) (*transit.Client, error) {
	token := e.getenv("VAULT_TOKEN")
	if token == "" {
		return nil, errors.New("VAULT_TOKEN is not set: this is done with your own Vault token (vault login, then export VAULT_TOKEN)")
	}
	return serve.NewClientWith(c, transit.StaticToken(token), serve.Deps{Now: e.now, Getenv: e.getenv, Log: e.quietLog()}, nil)
}

// readRecord reads what Vault says of a key, in words for a person where it cannot.
func readRecord(ctx context.Context, c *config.Config, client *transit.Client, name string) (vaultkeys.Record, error) {
	record, err := client.ReadKey(ctx, name)
	if errors.Is(err, transit.ErrNotFound) {
		return record, fmt.Errorf("vault has no transit key %s under %s/: run 'assay keys setup' first", name, c.Vault.Mount)
	}
	if err != nil {
		return record, fmt.Errorf("reading the key %s: %w", name, err)
	}
	return record, record.Check()
}

// recordChange writes down what a person changed with a command: in the audit log, where the configuration has one, and
// in any case on standard error. Who it was is what the machine says; Vault's own audit log knows by which login.
func recordChange(ctx context.Context, e env, c *config.Config, change pdp.Change) error {
	change.Actor = e.person()
	changes, err := serve.Changes(c, serve.Deps{Version: version, Now: e.now, Getenv: e.getenv, Log: e.serviceLog("info")})
	if err == nil {
		err = changes.RecordChange(ctx, change)
	}
	if err != nil {
		return fmt.Errorf("it was done, but not recorded: %w", err)
	}
	return nil
}

// person is who runs a command, as the machine says.
func (e env) person() pdp.Caller { return pdp.Caller{Name: e.getenv("USER"), Method: "command"} }
