package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

// question is how a token is put before a policy: who issues, who asks, when.
type question struct {
	path, issuer, jwks, kind, at string
	request                      pdp.Request
}

func (q *question) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&q.path, "config", "c", "", "configuration file: the issuers, and the policy where none is named (default: built-in defaults)")
	flags.StringVar(&q.issuer, "issuer", "", "trust this issuer, with the keys of --jwks")
	flags.StringVar(&q.jwks, "jwks", "", "JWKS file with that issuer's keys")
	flags.StringVar(&q.request.Audience, "audience", "", "the resource server that asks")
	flags.StringVar(&q.kind, "token-type", string(pdp.AccessToken), "the kind of token expected: "+kinds())
	flags.StringVar(&q.request.Purpose, "purpose", "", "the purpose for which claims are wanted")
	flags.StringVar(&q.request.Action, "action", "", "what is to be done")
	flags.StringVar(&q.request.Resource, "resource", "", "to what")
	flags.StringVar(&q.at, "at", "", "judge as of this moment (RFC 3339; default: now)")
}

// configured checks the flags and reads the configuration.
func (q *question) configured() (*config.Config, error) {
	c, err := decideConfig(q.path, q.issuer, q.jwks)
	if err != nil {
		return nil, err
	}
	q.request.TokenType, err = tokenType(q.kind)
	return c, err
}

// examine gives the facts about tokens, in their order. Only keys and issuers of the configuration count: what the
// policy says is asked elsewhere.
func (q *question) examine(ctx context.Context, e env, configured *config.Config, tokens []string) ([]*pdp.Facts, error) {
	c := *configured
	c.Policy = config.Policy{Timeout: c.Policy.Timeout}
	now := e.now
	if q.at != "" {
		at, err := time.Parse(time.RFC3339, q.at)
		if err != nil {
			return nil, fmt.Errorf("--at %s: a moment such as 2026-11-23T18:00:00Z", q.at)
		}
		now = func() time.Time { return at }
	}
	app, err := serve.New(ctx, &c, serve.Deps{Version: version, Now: now, Getenv: e.getenv, Log: e.quietLog()})
	if err != nil {
		return nil, err
	}
	return serve.Once(ctx, app, func(ctx context.Context) ([]*pdp.Facts, error) {
		all := make([]*pdp.Facts, 0, len(tokens))
		for _, token := range tokens {
			request := q.request
			request.Token = token
			_, facts, err := app.Decider.Explain(ctx, &request)
			if err != nil {
				return nil, err
			}
			all = append(all, facts)
		}
		return all, nil
	})
}

// configuredPaths are the bundles and the policy configuration that a configuration names, where none is named to a command.
func (s *policySource) configuredPaths(c *config.Config) ([]string, error) {
	if s.configFile == "" {
		s.configFile = c.Policy.Config
	}
	var paths []string
	for _, bundle := range c.Policy.Bundle {
		if strings.Contains(bundle.Source, "://") {
			return nil, fmt.Errorf("policy.bundle %s is a URL; fetch the archive and name it with --policy", bundle.Source)
		}
		paths = append(paths, bundle.Source)
	}
	return paths, nil
}

func newPolicyExplain(e env) *cobra.Command {
	var (
		q              question
		source         policySource
		paths          []string
		recorded, save string
		options        workbench.ExplainOptions
	)
	cmd := &cobra.Command{
		Use:   "explain [FILE]",
		Short: "Say of one token which rules found something, and what made them find it",
		Long: `Explain decides about a token, from a file or standard input, and shows every rule that found something: what it
looked at in the token and in the configuration, its mode and what set it, and the waivers for it.
Of the token it shows names and numbers, never a text, and never the token itself.

--save-input writes the input document that the policy judged, for 'assay policy diff' and 'opa eval';
it holds the token's claims, so keep it as carefully. --input explains such a file again.

Exit code 0: allow, 1: deny, 2: no decision.`,
		Example: `  assay policy explain --config assay.yaml --audience orders token.jwt
  assay policy explain --issuer https://idp.example --jwks jwks.json --audience orders --policy my-rules --trace < token.jwt`,
		Args: fileArg(true),
	}
	q.addFlags(cmd)
	source.addFlags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&paths, "policy", nil, "directory, archive or .rego file to lay over the library (default: what the configuration names)")
	flags.StringVar(&recorded, "input", "", "explain this recorded input document instead of a token")
	flags.StringVar(&save, "save-input", "", "write the input document to this file")
	flags.BoolVar(&options.Trace, "trace", false, "add OPA's trace, with texts masked")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		c, err := q.configured()
		if err != nil {
			return err
		}
		if len(paths) == 0 {
			if paths, err = source.configuredPaths(c); err != nil {
				return err
			}
		}
		prepared, err := source.prepare(ctx, paths)
		if err != nil {
			return err
		}
		subject, err := q.subject(ctx, e, c, args, recorded)
		if err != nil {
			return err
		}
		if save != "" {
			if err := saveInput(save, subject.Input); err != nil {
				return err
			}
		}
		return explain(ctx, e, prepared, subject, c.Leeway.D(), options, *format)
	}
	return cmd
}

// prepare reads and compiles; what is refused is told with file and line.
func (s *policySource) prepare(ctx context.Context, paths []string) (*workbench.Prepared, error) {
	p, err := s.read(ctx, paths)
	if err != nil {
		return nil, err
	}
	prepared, err := workbench.Prepare(ctx, p)
	if err != nil {
		return nil, s.refusal(err)
	}
	return prepared, nil
}

// refusal names, with file and line, what is wrong where err says that modules or configuration are refused; else it is
// err. It is for commands that a refused policy keeps from answering; for those that answer with it there is refused.
func (s *policySource) refusal(err error) error {
	problems, err := s.problemsOf(err)
	if err != nil {
		return err
	}
	texts := make([]string, len(problems))
	for i, problem := range problems {
		texts[i] = problem.String()
	}
	return errors.New("the policy is refused:\n  " + strings.Join(texts, "\n  "))
}

// subject is the token or the recorded input to explain.
func (q *question) subject(ctx context.Context, e env, c *config.Config, args []string, recorded string) (workbench.Case, error) {
	if recorded != "" {
		if len(args) > 0 {
			return workbench.Case{}, errors.New("--input takes the place of a token; give one of the two")
		}
		text, err := os.ReadFile(recorded)
		if err != nil {
			return workbench.Case{}, err
		}
		in, err := workbench.ReadInput(text)
		if err != nil {
			return workbench.Case{}, fmt.Errorf("%s: %w", recorded, err)
		}
		return workbench.Case{Name: recorded, Input: in}, nil
	}
	token, err := readToken(e.in, args)
	if err != nil {
		return workbench.Case{}, err
	}
	facts, err := q.examine(ctx, e, c, []string{token})
	if err != nil {
		return workbench.Case{}, err
	}
	in, err := workbench.InputOf(facts[0])
	return workbench.Case{Facts: facts[0], Input: in}, err
}

func saveInput(path string, in workbench.Input) error {
	text, err := in.JSON()
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

func explain(ctx context.Context, e env, p *workbench.Prepared, subject workbench.Case, leeway time.Duration, o workbench.ExplainOptions, format output) error {
	explanation, err := p.Explain(ctx, subject.Input, o)
	if err != nil {
		return err
	}
	allow, reasons := explanation.Verdict.Allow, explanation.Verdict.Reasons
	if subject.Facts != nil {
		decision, err := p.Judge(ctx, subject.Facts, leeway)
		if err != nil {
			return err
		}
		allow, reasons = decision.Allow, decision.Reasons
	}
	if format == "json" {
		err = json.NewEncoder(e.out).Encode(explanationJSON(explanation, allow, reasons, p.Revision()))
	} else {
		err = printExplanation(e, explanation, allow, reasons, p.Revision())
	}
	if err == nil && !allow {
		return errNo
	}
	return err
}

// unfired are the reasons that no rule of the policy gave: those of Go's examination and floor.
func unfired(x *workbench.Explanation, reasons []pdp.Reason) []pdp.Reason {
	var floor []pdp.Reason
	for _, r := range reasons {
		if !slices.ContainsFunc(x.Fired, func(f workbench.Fired) bool { return f.Code == r.Code }) {
			floor = append(floor, r)
		}
	}
	return floor
}
