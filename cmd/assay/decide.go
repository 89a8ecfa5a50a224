package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
)

// maxTokenInput bounds what is read as a token: far more than any limit, so that the limit itself answers.
const maxTokenInput = 4 << 20

func newDecide(e env) *cobra.Command {
	var (
		path, issuer, jwks string
		request            pdp.Request
		kind               string
	)
	cmd := &cobra.Command{
		Use:   "decide [FILE]",
		Short: "Decide about one token, from a file or standard input",
		Long: `Decide judges one token by the same code and policies as the server does, without a server.

The issuers come from the configuration file, or one issuer is named with --issuer and --jwks.

Where the configuration has an audit log, the decision is recorded there like the server's, which may be writing
the log meanwhile; 'assay policy explain' decides and records nothing.

Exit code 0: allow, 1: deny, 2: no decision.`,
		Example: `  assay decide --config assay.yaml --audience orders token.jwt
  assay decide --issuer https://idp.example --jwks jwks.json --audience orders --output json < token.jwt`,
		Args: fileArg(true),
	}
	flags := cmd.Flags()
	flags.StringVarP(&path, "config", "c", "", "configuration file (default: built-in defaults)")
	flags.StringVar(&issuer, "issuer", "", "trust this issuer, with the keys of --jwks")
	flags.StringVar(&jwks, "jwks", "", "JWKS file with that issuer's keys")
	flags.StringVar(&request.Audience, "audience", "", "the resource server that asks")
	flags.StringVar(&kind, "token-type", string(pdp.AccessToken), "the kind of token expected: "+kinds())
	flags.StringVar(&request.Purpose, "purpose", "", "the purpose for which claims are wanted")
	flags.StringVar(&request.Action, "action", "", "what is to be done")
	flags.StringVar(&request.Resource, "resource", "", "to what")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := decideConfig(path, issuer, jwks)
		if err != nil {
			return err
		}
		if request.TokenType, err = tokenType(kind); err != nil {
			return err
		}
		if request.Token, err = readToken(e.in, args); err != nil {
			return err
		}
		return decide(cmd.Context(), e, c, &request, *format)
	}
	return cmd
}

func decide(ctx context.Context, e env, c *config.Config, request *pdp.Request, format output) error {
	app, err := serve.New(ctx, c, serve.Deps{Version: version, Now: e.now, Getenv: e.getenv, Log: e.quietLog()})
	if err != nil {
		return err
	}
	decision, err := serve.Once(ctx, app, func(ctx context.Context) (*pdp.Decision, error) {
		return app.Decider.Decide(ctx, request)
	})
	if err != nil {
		return err
	}
	if err := printDecision(e.out, decision, format); err != nil {
		return err
	}
	if !decision.Allow {
		return errNo
	}
	return nil
}

// decideConfig is the file's configuration, with one more issuer where the flags name one.
func decideConfig(path, issuer, jwks string) (*config.Config, error) {
	c, err := readConfig(path)
	if err != nil {
		return nil, err
	}
	switch {
	case issuer == "" && jwks == "":
		return c, nil
	case issuer == "" || jwks == "":
		return nil, errors.New("--issuer and --jwks go together: whose tokens, and that issuer's public keys")
	}
	c.Issuers = append(c.Issuers, config.Issuer{
		Issuer: issuer, Keys: config.Keys{File: jwks},
		HardMaxLifetime: config.Duration(pdp.DefaultHardMaxLifetime),
	})
	return c, nil
}

func kinds() string {
	names := make([]string, 0, len(pdp.TokenTypes()))
	for _, kind := range pdp.TokenTypes() {
		names = append(names, string(kind))
	}
	return strings.Join(names, ", ")
}

func tokenType(name string) (pdp.TokenType, error) {
	for _, kind := range pdp.TokenTypes() {
		if string(kind) == name {
			return kind, nil
		}
	}
	return "", fmt.Errorf("--token-type %s: choose one of %s", name, kinds())
}

// readToken reads one token and takes away the white space that files and pipes end with; what is inside
// is left for the decision to judge.
func readToken(in io.Reader, args []string) (string, error) {
	source := "standard input"
	if len(args) > 0 && args[0] != "-" {
		if strings.Count(args[0], ".") == 2 && strings.HasPrefix(args[0], "ey") {
			return "", errors.New("give the token in a file or on standard input, not as an argument: arguments are seen by every process of the machine")
		}
		file, err := os.Open(args[0])
		if err != nil {
			return "", err
		}
		defer file.Close() //nolint:errcheck // read only
		in, source = file, args[0]
	}
	text, err := io.ReadAll(io.LimitReader(in, maxTokenInput))
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", source, err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" {
		return "", fmt.Errorf("%s holds no token", source)
	}
	return token, nil
}

func printDecision(w io.Writer, d *pdp.Decision, format output) error {
	if format == "json" {
		text, err := d.AppendJSON(nil)
		if err != nil {
			return err
		}
		_, err = w.Write(append(text, '\n'))
		return err
	}
	var b strings.Builder
	word := "deny"
	if d.Allow {
		word = "allow"
	}
	fmt.Fprintf(&b, "%s\n", word)
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range d.Reasons {
		// Errors of a strings.Builder do not happen.
		_, _ = fmt.Fprintf(table, "  %s\t%s\t%s\t%s\n", r.Enforcement, r.Severity, r.Code, r.Message)
	}
	_ = table.Flush()
	fmt.Fprintf(&b, "token: %s", d.Token.Status)
	for _, part := range []struct{ name, value string }{
		{"kind", d.Token.Kind}, {"typ", d.Token.Type}, {"alg", d.Token.Algorithm}, {"kid", d.Token.KeyID}, {"issuer", d.Token.Issuer},
	} {
		if part.value != "" {
			fmt.Fprintf(&b, ", %s %s", part.name, printable(part.value))
		}
	}
	fmt.Fprintf(&b, "\npolicy: %s\n", d.PolicyRevision)
	_, err := io.WriteString(w, b.String())
	return err
}

// printable keeps a token's own words from steering the terminal.
func printable(s string) string {
	if len(s) > 80 {
		s = s[:80] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return '\uFFFD'
		}
		return r
	}, s)
}
