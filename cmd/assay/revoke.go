package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/assaypdp/assay/cmd/assay/internal/client"
	"github.com/assaypdp/assay/pdp"
)

const revokeLong = `It asks a running server, by POST /revocations, and returns when the entry is stored safely and in force at
that server; every other replica follows at once. To revoke again what is revoked changes nothing, or makes the
entry reach further: it is never weakened.

Who asks is proven by a bearer token in a file or a client certificate; see callers.grants[].revoke in the server's
configuration. Exit codes: 0 revoked, 2 not revoked, with the cause on standard error.`

func newRevoke(e env) *cobra.Command {
	return group("revoke", "Revoke a token, or all tokens of a subject, client, session, key or issuer",
		newRevokeToken(e),
		newRevokeKind(e, revokeKind{kind: "subject", value: "SUB", what: `all tokens of a subject ("sub")`, example: "alice"}),
		newRevokeKind(e, revokeKind{kind: "client", value: "CLIENT_ID", what: `all tokens of a client ("client_id")`, example: "web"}),
		newRevokeKind(e, revokeKind{kind: "session", value: "SID", what: `all tokens of a session ("sid")`, example: "08a5019c-17e1"}),
		newRevokeKind(e, revokeKind{kind: "key", value: "THUMBPRINT", what: "all tokens that a key verifies, whenever they were issued; its name is its RFC 7638 thumbprint",
			example: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs --yes", ask: "Every token that this key verifies is denied from now on, the new ones too."}),
		newRevokeKind(e, revokeKind{kind: "issuer", what: "all tokens of an issuer", example: "--yes",
			ask: "Every token that this issuer has issued until now is denied from now on."}),
	)
}

// connection holds the flags that say where the server is and who asks.
type connection struct {
	server, ca, cert, key, token string
}

func (c *connection) add(flags *pflag.FlagSet) {
	flags.StringVar(&c.server, "server", "", "URL of the server (default: $ASSAY_SERVER, else http://127.0.0.1:8080)")
	flags.StringVar(&c.ca, "ca-file", "", "PEM file of authorities for the server's certificate (default: $ASSAY_CA_FILE, else the system's)")
	flags.StringVar(&c.cert, "cert-file", "", "client certificate, PEM (default: $ASSAY_CERT_FILE)")
	flags.StringVar(&c.key, "key-file", "", "its private key, PEM (default: $ASSAY_KEY_FILE)")
	flags.StringVar(&c.token, "token-file", "", "file that holds the caller's bearer token (default: $ASSAY_TOKEN_FILE)")
}

func (c *connection) connect(e env) (*client.Client, error) {
	return client.New(client.Config{
		Address:   cmp.Or(c.server, e.getenv("ASSAY_SERVER"), "http://127.0.0.1:8080"),
		CAFile:    cmp.Or(c.ca, e.getenv("ASSAY_CA_FILE")),
		CertFile:  cmp.Or(c.cert, e.getenv("ASSAY_CERT_FILE")),
		KeyFile:   cmp.Or(c.key, e.getenv("ASSAY_KEY_FILE")),
		TokenFile: cmp.Or(c.token, e.getenv("ASSAY_TOKEN_FILE")),
	})
}

// revokeFlags are those that every kind has.
type revokeFlags struct {
	connection
	order  client.Order
	ends   string
	format *output
}

func (r *revokeFlags) add(cmd *cobra.Command) {
	r.connection.add(cmd.Flags())
	cmd.Flags().StringVar(&r.order.Reason, "reason", "", "why; it is recorded")
	cmd.Flags().StringVar(&r.order.Ticket, "ticket", "", "where it is written down; it is recorded")
	cmd.Flags().StringVar(&r.ends, "ends", "", "when the entry disappears, such as 2027-01-31T00:00:00Z (default: when the last token concerned is dead)")
	r.format = addOutput(cmd)
}

func (r *revokeFlags) run(ctx context.Context, e env) error {
	var err error
	if r.order.Ends, err = instant("--ends", r.ends); err != nil {
		return err
	}
	server, err := r.connect(e)
	if err != nil {
		return err
	}
	entry, created, err := server.Add(ctx, r.order)
	if err != nil {
		return err
	}
	if *r.format == "json" {
		return json.NewEncoder(e.out).Encode(entry)
	}
	word := "revoked"
	if !created {
		word = "was revoked already"
	}
	_, err = fmt.Fprintf(e.out, "%s: %s\n%s", word, entryName(entry), entryText(entry, e.now()))
	return err
}

// instant reads a time of RFC 3339 as seconds since the epoch; empty is zero.
func instant(flag, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0, fmt.Errorf("%s %s: write it like 2027-01-31T00:00:00Z", flag, text)
	}
	return at.Unix(), nil
}

func newRevokeToken(e env) *cobra.Command {
	r := &revokeFlags{}
	var id, issuer string
	cmd := &cobra.Command{
		Use:   "token [FILE]",
		Short: "Revoke one token",
		Long: `Token revokes one token that is read from a file or standard input, never from the command line, or one that
is named by --id and --issuer.

` + revokeLong,
		Example: "  assay revoke token leaked.jwt --token-file caller.jwt --reason 'seen in a log' --ticket SEC-17\n" +
			"  assay revoke token --id token-1 --issuer https://idp.example --token-file caller.jwt",
		Args: fileArg(true),
	}
	r.add(cmd)
	cmd.Flags().StringVar(&id, "id", "", `the token's "jti", instead of the token`)
	cmd.Flags().StringVar(&issuer, "issuer", "", `with --id: the token's "iss"`)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case (id == "") != (issuer == ""):
			return fmt.Errorf("--id and --issuer go together: they name one token")
		case id != "" && len(args) > 0:
			return fmt.Errorf("give a file with the token, or --id and --issuer; not both")
		case id != "":
			r.order.Kind, r.order.Issuer, r.order.Value = "token", issuer, id
		default:
			compact, err := readToken(e.in, args)
			if err != nil {
				return err
			}
			r.order.Token = compact
		}
		return r.run(cmd.Context(), e)
	}
	return cmd
}

// revokeKind is what the other kinds differ in.
type revokeKind struct {
	kind, value, what, example string
	// ask is what a person must agree to; empty: it is not asked.
	ask string
}

func newRevokeKind(e env, k revokeKind) *cobra.Command {
	r := &revokeFlags{}
	var before string
	var yes bool
	wide := k.kind != "key"
	long := strings.ToUpper(k.kind[:1]) + k.kind[1:] + " revokes " + k.what + "."
	if wide {
		long += ` Tokens that are issued later are
good again at once, unless --issued-before says otherwise; one without "iat" counts as issued before.`
	}
	cmd := &cobra.Command{
		Use: strings.TrimSpace(k.kind + " " + k.value), Short: "Revoke " + k.what,
		Long:    long + "\n\n" + revokeLong,
		Example: "  assay revoke " + k.kind + " " + k.example + " --issuer https://idp.example --token-file caller.jwt --ticket SEC-17",
		Args: func(cmd *cobra.Command, args []string) error {
			if k.value == "" {
				return noArgs(cmd, args)
			}
			if len(args) != 1 || args[0] == "" {
				return fmt.Errorf("%s takes one %s: %s", cmd.CommandPath(), k.value, strings.TrimSpace(cmd.Example))
			}
			if k.kind == "key" && !pdp.ValidThumbprint(args[0]) { // before anybody is asked whether it is meant
				return errors.New(visible(args[0]) + " is " + noThumbprint)
			}
			return nil
		},
	}
	r.add(cmd)
	cmd.Flags().StringVar(&r.order.Issuer, "issuer", "", `the exact "iss" of the tokens; required`)
	if wide {
		cmd.Flags().StringVar(&before, "issued-before", "", "spare tokens issued at that time or later, such as 2026-11-24T15:00:00Z (default: now)")
	}
	if k.ask != "" {
		cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if r.order.Issuer == "" {
			return fmt.Errorf(`--issuer is needed: the exact "iss" of the tokens concerned`)
		}
		var err error
		if r.order.IssuedBefore, err = instant("--issued-before", before); err != nil {
			return err
		}
		if k.ask != "" {
			if err := confirm(e, yes, k.ask); err != nil {
				return err
			}
		}
		if r.order.Kind = k.kind; k.value != "" {
			r.order.Value = args[0]
		}
		return r.run(cmd.Context(), e)
	}
	return cmd
}

const noThumbprint = "no RFC 7638 SHA-256 thumbprint: base64url without padding, 43 characters"

// entryName is what an entry revokes, on one line.
func entryName(r client.Revocation) string {
	if r.Value == "" {
		return r.Kind + " " + printable(r.Issuer)
	}
	return r.Kind + " " + printable(r.Value) + " of " + printable(r.Issuer)
}

// entryText says how an entry stands, for a person.
func entryText(r client.Revocation, now time.Time) string {
	var b strings.Builder
	line := func(name, text string) { _, _ = fmt.Fprintf(&b, "  %-8s%s\n", name, text) }
	line("key", r.Key)
	if r.IssuedBefore != 0 {
		line("spares", "tokens issued at "+stamp(r.IssuedBefore)+" or later")
	}
	line("ends", stamp(r.Ends)+", in "+humanDuration(time.Unix(r.Ends, 0).Sub(now)))
	for _, given := range [...]struct{ name, text string }{{"actor", r.Actor}, {"reason", r.Reason}, {"ticket", r.Ticket}} {
		if given.text != "" {
			line(given.name, printable(given.text))
		}
	}
	return b.String()
}

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }
