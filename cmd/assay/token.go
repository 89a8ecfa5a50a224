package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/strictjson"
	"github.com/assaypdp/assay/pdp/token"
)

func newToken(e env) *cobra.Command {
	return group("token", "Issue and inspect tokens", newTokenIssue(e), newTokenInspect(e))
}

func newTokenIssue(e env) *cobra.Command {
	var (
		path, kind, claims string
		order              httpapi.TokenOrder
		lifetime           time.Duration
	)
	cmd := &cobra.Command{
		Use:   "issue",
		Short: "Issue a token, signed in Vault",
		Long: `Issue builds a token, has the policies judge it, and has it signed in Vault with this process's
role vault.roles.issuer. What /decide would deny is not issued: exit code 1, with the reasons. A token for
an audience of the issuer's encrypt_to is then encrypted to that audience's key (a nested token).

The token alone goes to standard output.`,
		Example: `  assay token issue --config assay.yaml --subject alice --client web --audience orders --scope "read write"`,
		Args:    noArgs,
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file")
	flags.StringVar(&order.Issuer, "issuer", "", "the token's iss (default: the only issuer whose keys are in Vault)")
	flags.StringVar(&kind, "token-type", string(pdp.AccessToken), "access_token (RFC 9068) or jwt")
	flags.StringVar(&order.Subject, "subject", "", "sub")
	flags.StringVar(&order.ClientID, "client", "", "client_id")
	flags.StringSliceVar(&order.Audience, "audience", nil, "aud; may be given more than once")
	flags.StringVar(&order.Scope, "scope", "", "scope, separated by spaces")
	flags.DurationVar(&lifetime, "lifetime", 15*time.Minute, "how long it lives")
	flags.StringVar(&claims, "claims", "", `further claims, a JSON object`)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var err error
		if order.TokenType, err = tokenType(kind); err != nil {
			return err
		}
		if lifetime < time.Second || lifetime%time.Second != 0 {
			return fmt.Errorf("--lifetime %s: whole seconds, at least one", lifetime)
		}
		order.LifetimeSeconds = int64(lifetime / time.Second)
		if claims != "" {
			if order.Claims, err = strictjson.DecodeObject([]byte(claims), strictjson.Limits{}); err != nil {
				return fmt.Errorf("--claims: %w", err)
			}
		}
		return issue(cmd.Context(), e, path, order, *format)
	}
	return cmd
}

func issue(ctx context.Context, e env, path string, order httpapi.TokenOrder, format output) error {
	c, err := readConfig(path)
	if err != nil {
		return err
	}
	app, err := serve.New(ctx, c, serve.Deps{Version: version, Now: e.now, Getenv: e.getenv, Log: e.quietLog()})
	if err != nil {
		return err
	}
	if app.Issuer == nil {
		return errors.New("this configuration issues no tokens: it needs an issuer with keys: {vault: …}, and vault.roles.issuer")
	}
	issued, err := serve.Once(ctx, app, func(ctx context.Context) (httpapi.IssuedToken, error) {
		return app.Issuer.Issue(ctx, e.person(), order)
	})
	if refused, ok := errors.AsType[*httpapi.RefusedError](err); ok {
		table := tabwriter.NewWriter(e.err, 0, 0, 2, ' ', 0)
		_, _ = fmt.Fprintln(table, "not issued: the policies would deny it")
		for _, r := range refused.Reasons {
			_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\n", r.Enforcement, r.Code, r.Message)
		}
		return errors.Join(table.Flush(), errNo)
	}
	if err != nil {
		return err
	}
	if format == "json" {
		answer := map[string]any{
			"token": issued.Token, "token_type": issued.TokenType, "issuer": issued.Issuer,
			"key_id": issued.KeyID, "token_id": issued.TokenID, "expires_at": issued.ExpiresAt.Unix(),
		}
		if issued.EncryptionKeyID != "" {
			answer["encryption_key_id"] = issued.EncryptionKeyID
		}
		return json.NewEncoder(e.out).Encode(answer)
	}
	_, err = fmt.Fprintln(e.out, issued.Token)
	return err
}

func newTokenInspect(e env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show what a token says, without verifying anything",
		Long: `Inspect decodes a token from a file or standard input by the same strict reader as a decision, and
shows header and claims. Nothing in it is verified: use decide for that. It never prints the signature.`,
		Example: "  assay token inspect token.jwt",
		Args:    fileArg(true),
	}
	format := addOutput(cmd)
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		compact, err := readToken(e.in, args)
		if err != nil {
			return err
		}
		inspection, err := token.Inspect(compact)
		if err != nil {
			return fmt.Errorf("not a token that Assay reads: %w", err)
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{
				"verified": false, "kind": inspection.Kind, "header": inspection.Header,
				"claims": inspection.Claims, "signature_bytes": inspection.SignatureBytes,
			})
		}
		return printInspection(e, inspection)
	}
	return cmd
}

func printInspection(e env, i token.Inspection) error {
	var b strings.Builder
	fmt.Fprintf(&b, "not verified: this is what the token says of itself (%s)\n", i.Kind)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, part := range []struct {
		title  string
		values map[string]any
	}{{"header", i.Header}, {"claims", i.Claims}} {
		if part.values == nil {
			continue
		}
		_, _ = fmt.Fprintf(table, "%s\n", part.title)
		for _, name := range slices.Sorted(maps.Keys(part.values)) {
			text, err := json.Marshal(part.values[name])
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(table, "  %s\t%s%s\n", printable(name), printable(string(text)), when(e.now(), name, part.values[name]))
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if i.Kind == "jwe" {
		b.WriteString("the claims are encrypted\n")
	} else {
		fmt.Fprintf(&b, "signature of %d bytes\n", i.SignatureBytes)
	}
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

// when reads a NumericDate for a person.
func when(now time.Time, name string, value any) string {
	if !slices.Contains([]string{"exp", "nbf", "iat", "auth_time"}, name) {
		return ""
	}
	number, ok := value.(json.Number)
	if !ok {
		return "  (not a NumericDate)"
	}
	date, err := pdp.ParseNumericDate(number)
	if err != nil {
		return "  (not a NumericDate)"
	}
	at := time.Unix(date.Floor(), 0).UTC()
	distance := now.Sub(at).Round(time.Second)
	word := "ago"
	if distance < 0 {
		distance, word = -distance, "from now"
	}
	return "  (" + at.Format(time.RFC3339) + ", " + humanDuration(distance) + " " + word + ")"
}

// humanDuration is a duration in its largest unit that matters.
func humanDuration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d/(24*time.Hour))) + " days"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	case d >= 2*time.Minute:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	}
	return strconv.Itoa(int(d/time.Second)) + " s"
}
