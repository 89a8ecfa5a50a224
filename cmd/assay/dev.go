package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/devvault"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// devLifetime is how long the tokens that dev prints live: as long as the default policies allow.
const devLifetime = time.Hour

func newDev(e env) *cobra.Command {
	var listen, folder string
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, to try it",
		Long: `Dev uses the Vault at VAULT_ADDR with VAULT_TOKEN, or starts one in dev mode (ASSAY_DEV_VAULT names the
program, else vault or bao on the PATH), provisions it like 'assay keys setup', writes a configuration file,
serves on loopback, has a sample token signed in Vault, and prints what to try with curl.

Ctrl-C stops it and removes what it made; in the Vault at VAULT_ADDR its key, policies and AppRoles, all
named assay-dev-…, stay. With --dir the folder stays, too, and can be used again: the configuration file and the
credentials in it are then made anew, since those of before are for a Vault that may be gone; revocations and the audit
log go on, but what that Vault signed of the log cannot be verified without it. Nothing of it is meant for production.`,
		Example: "  assay dev\n  assay dev --dir ./assay-dev",
		Args:    noArgs,
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "host:port to serve on; loopback only")
	cmd.Flags().StringVar(&folder, "dir", "", "keep configuration, credentials, revocations and audit log in this folder, which is made where it is not there (default: a temporary one)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return dev(cmd.Context(), e, listen, folder) }
	return cmd
}

func dev(ctx context.Context, e env, listen, folder string) (err error) {
	if folder == "" {
		if folder, err = os.MkdirTemp("", "assay-dev-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	}
	old, err := devFolder(folder)
	if err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(listen); err == nil && !(&config.Config{Listen: listen}).Loopback() {
		return fmt.Errorf("--listen %s: dev serves on a loopback address only, such as 127.0.0.1:8080", listen)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return fmt.Errorf("listening on %s: %w; another address can be given with --listen", listen, err)
	}
	defer listener.Close() //nolint:errcheck // serving closes it; this is for the ways that do not get there
	say := func(format string, args ...any) { _, _ = fmt.Fprintf(e.err, format+"\n", args...) }
	address, token, stop, err := devVault(ctx, e, say)
	if err != nil {
		return err
	}
	defer stop()
	c, err := devConfig(folder, listener.Addr().String(), address)
	if err != nil {
		return err
	}
	say("configuration: %s", c.Path)
	if len(old) > 0 {
		say("credentials: those of an earlier 'assay dev' in %s are replaced by new ones", folder)
		say("audit log: it goes on; what was signed in an earlier Vault that is gone, 'assay audit verify' can no longer check")
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	if err := devProvision(ctx, e, c, token); err != nil {
		return err
	}
	app, err := serve.New(ctx, c, serve.Deps{Version: version, Now: e.now, Getenv: func(string) string { return "" }, Log: e.serviceLog("warn")})
	if err != nil {
		return err
	}
	if err := app.StartAudit(ctx); err != nil {
		return err
	}
	if err := app.Load(ctx); err != nil {
		return err
	}
	if err := app.LoadRevocations(ctx); err != nil {
		return err
	}
	if err := devGreeting(ctx, e.out, c, app); err != nil {
		return err
	}
	err = app.Run(ctx, listener)
	say("stopped")
	return err
}

// devFolder makes the folder where it is not there, and answers the credentials that an earlier dev left in it. They are to
// go, since Vault may be another one by now. So a folder where anything else put its own is refused.
func devFolder(folder string) (credentials []string, err error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	text, err := os.ReadFile(filepath.Join(folder, devFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("--dir: %w", err)
	}
	found := err == nil
	names := []string{devBearer}
	for _, role := range []string{"decider", "issuer", "notary", "custodian"} { // those of devTemplate
		names = append(names, role+".role_id", role+".secret_id")
	}
	for _, name := range names {
		path := filepath.Join(folder, name)
		if _, err := os.Lstat(path); err == nil {
			credentials = append(credentials, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("--dir: %w", err)
		}
	}
	if found && !strings.HasPrefix(string(text), devMark) || !found && len(credentials) > 0 {
		return nil, fmt.Errorf("--dir %s: it holds a configuration or credentials that 'assay dev' did not make and would overwrite; name another folder", folder)
	}
	return credentials, nil
}

// devVault finds a Vault or starts one. stop ends what was started.
func devVault(ctx context.Context, e env, say func(string, ...any)) (address, token string, stop func(), err error) {
	if address = e.getenv("VAULT_ADDR"); address != "" {
		if token = e.getenv("VAULT_TOKEN"); token == "" {
			return "", "", nil, errors.New("VAULT_ADDR is set and VAULT_TOKEN is not: set both to use that Vault, or neither to have one started")
		}
		say("vault: the one at %s (VAULT_ADDR)", address)
		return address, token, func() {}, nil
	}
	program, err := devvault.Find(e.getenv("ASSAY_DEV_VAULT"))
	if err != nil {
		return "", "", nil, err
	}
	say("vault: starting %s in dev mode", program)
	server, err := devvault.Start(ctx, devvault.Options{Binary: program})
	if err != nil {
		return "", "", nil, err
	}
	say("vault: %s", server.Address)
	return server.Address, server.RootToken, server.Stop, nil
}

// devFile is the configuration in dev's folder, devBearer the credential of the caller "developer", and devMark how a
// configuration begins that dev wrote and may replace.
const (
	devFile   = "assay.yaml"
	devBearer = "developer.jwt"
	devMark   = "# Made by 'assay dev' for this machine only."
)

// devTemplate is the configuration that dev writes; other commands can be tried with it.
const devTemplate = devMark + `
listen: "%[1]s"
issuers:
  - issuer: http://%[1]s
    keys: {vault: assay-dev-access}
vault:
  address: %[2]s
  roles:
    decider: {auth: {approle: {role_id_file: decider.role_id, secret_id_file: decider.secret_id}}}
    issuer: {auth: {approle: {role_id_file: issuer.role_id, secret_id_file: issuer.secret_id}}}
    notary: {auth: {approle: {role_id_file: notary.role_id, secret_id_file: notary.secret_id}}}
    custodian: {auth: {approle: {role_id_file: custodian.role_id, secret_id_file: custodian.secret_id}}}
  keys:
    assay-dev-access: {type: ecdsa-p256, rotate_every: 24h, publish_ahead: 1h, max_token_lifetime: 1h}
    assay-dev-checkpoint: {use: checkpoint}
    assay-dev-pseudonym: {use: pseudonym}
revocation:
  jetstream: {dir: revocation}
audit:
  dir: audit
  checkpoint: {key: assay-dev-checkpoint}
  pseudonyms: {key: assay-dev-pseudonym}
callers:
  audience: http://%[1]s
  grants:
    - issuer: http://%[1]s
      subject: developer
      decide: {audiences: ["*"], purposes: ["*"]}
      issue:
        - {token_types: ["*"], issuers: ["*"], audiences: ["*"], subjects: ["*"], clients: ["*"], scopes: ["*"], claims: ["*"]}
      revoke: {read: true, write: ["*"], lift: ["*"], issuers: ["*"]}
`

func devConfig(folder, listen, vaultAddress string) (*config.Config, error) {
	path := filepath.Join(folder, devFile)
	if err := os.WriteFile(path, fmt.Appendf(nil, devTemplate, listen, vaultAddress), 0o600); err != nil {
		return nil, err
	}
	return config.Read(path)
}

func devProvision(ctx context.Context, e env, c *config.Config, token string) error {
	client, err := serve.NewClientWith(c, transit.StaticToken(token), serve.Deps{Now: e.now, Log: e.quietLog(), VaultTimeout: provisioningTimeout}, nil)
	if err != nil {
		return err
	}
	return setup(ctx, io.Discard, c, client, setupOptions{prefix: "assay-dev-"}, "text")
}

// devGreeting has the tokens signed and prints what to try.
func devGreeting(ctx context.Context, w io.Writer, c *config.Config, app *serve.App) error {
	base, by := "http://"+c.Listen, pdp.Caller{Name: "assay dev", Method: "command"}
	order := httpapi.TokenOrder{
		TokenType: pdp.AccessToken, Subject: "alice", ClientID: "web", Audience: []string{"orders"},
		Scope: "orders:read", LifetimeSeconds: int64(devLifetime / time.Second),
	}
	sample, err := app.Issuer.Issue(ctx, by, order)
	if err != nil {
		return fmt.Errorf("issuing the sample token: %w", err)
	}
	order.Subject, order.ClientID, order.Audience, order.Scope = "developer", "developer", []string{base}, "revocations"
	credential, err := app.Issuer.Issue(ctx, by, order)
	if err != nil {
		return fmt.Errorf("issuing the caller's credential: %w", err)
	}
	bearer := filepath.Join(filepath.Dir(c.Path), devBearer)
	if err := os.WriteFile(bearer, []byte(credential.Token+"\n"), 0o600); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, devText, base, sample.Token, credential.Token, c.Path, devLifetime, bearer)
	return err
}

var devText = strings.TrimLeft(`
Assay serves on %[1]s. These tokens were signed in Vault and live %[5]s.

Allow: alice's access token, asked about by the audience that it is for

  curl -s %[1]s/decide -H 'Content-Type: application/json' -d '{"token": "%[2]s", "request": {"audience": "orders"}}'

Deny, with the reasons: the same token, asked about by another audience that expects an ID token

  curl -s %[1]s/decide -H 'Content-Type: application/json' -d '{"token": "%[2]s", "request": {"audience": "payroll", "token_type": "id_token"}}'

Issue a token, as the caller "developer" with its credential

  curl -s %[1]s/tokens -H 'Content-Type: application/json' -H 'Authorization: Bearer %[3]s' -d '{"subject": "bob", "client_id": "web", "audience": ["orders"], "scope": "orders:read"}'

Revoke alice's token, and ask the first question again: no

  curl -s %[1]s/revocations -H 'Content-Type: application/json' -H 'Authorization: Bearer %[3]s' -d '{"token": "%[2]s", "reason": "trying it"}'

The other commands work with its configuration, in another terminal (after 'make dev' assay is bin/assay):

  assay keys list --config %[4]s
  assay keys rotate assay-dev-access --config %[4]s
  assay token issue --config %[4]s --subject bob --client web --audience orders | assay decide --config %[4]s --audience orders
  assay revocations list --server %[1]s --token-file %[6]s
  assay audit query --config %[4]s --newest --limit 10

Ctrl-C stops it.
`, "\n")
