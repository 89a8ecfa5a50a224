package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/replay"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

// replaying is one call of assay audit replay.
type replaying struct {
	place               auditPlace
	filter              auditFilter
	candidate, baseline policySource
	bundles, baselines  []string
	examples            int
}

func newAuditReplay(e env) *cobra.Command {
	r := &replaying{}
	cmd := &cobra.Command{
		Use:   "replay",
		Short: "Judge recorded decisions again under another policy",
		Long: `Replay judges the log's decisions again, each as of its own time, under a candidate: the library with the files of --bundle
over it, configured by --policy-config or, without that, as the configuration of --config says. It shows what would
change, by reason, issuer and client. Go's floor, which no policy lifts, is kept as it was recorded. Nothing is changed.

A record does not hold what the mask kept out of it. Where the candidate looks at such a value, others are tried in its
place, and those are dropped with which the policy of then would not have decided as it did. If all that is left gives
the same answer, the value does not matter; else the decision is undecidable, and what is missing is named. What
then decided is known where the record's revision is that of the baseline: --baseline with --baseline-config, else the
policy of --config, else the library. Nearly every decision depends on an identifier that was replaced by a pseudonym, so
without the right baseline nearly all are undecidable; where a log was decided by several revisions, judge those of each
with --revision and its own --baseline. Where a rule that is not the library's looks at such a value, nothing is tried.

Answers and the codes and enforcements of their reasons are compared; messages, released claims and obligations are not.

PATH of --bundle and --baseline is a directory or archive of a bundle, or a .rego file; signatures are not looked at.

Exit code 0: nothing would change, 1: something would or cannot be told, 2: it could not be done.`,
		Example: `  assay audit replay --config assay.yaml --bundle candidate.tar.gz --from 7d
  assay audit replay --dir ./state/audit --policy-config stricter.yaml --issuer https://idp.example --output json`,
		Args: noArgs,
	}
	r.place.flags(cmd)
	r.filter.period(cmd)
	r.filter.flags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&r.bundles, "bundle", nil, "PATH of the candidate's rules (may be repeated; default the configuration's)")
	flags.StringVar(&r.candidate.configFile, "policy-config", "", "the candidate's configuration, a YAML or JSON file that becomes data.assay.config")
	flags.StringArrayVar(&r.baselines, "baseline", nil, "PATH of the rules that decided then (may be repeated)")
	flags.StringVar(&r.baseline.configFile, "baseline-config", "", "the policy configuration of then")
	flags.IntVar(&r.examples, "examples", 3, "name so many decisions for each kind of change")
	flags.Lookup("kind").Usage = "decision, which is the only kind that can be judged again; may be left out"
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := r.filter.read(cmd, e.now())
		if err != nil {
			return err
		}
		if q.Kind != "" && q.Kind != index.KindDecision {
			return errors.New("--kind: only decisions can be judged again")
		}
		if r.examples < 1 {
			return fmt.Errorf("--examples %d: give one at least", r.examples)
		}
		q.Kind = index.KindDecision
		return r.run(cmd.Context(), e, q, *format)
	}
	return cmd
}

func (r *replaying) run(ctx context.Context, e env, q index.Query, format output) error {
	c, err := readConfig(r.place.config)
	if err != nil {
		return err
	}
	if r.place.dir == "" {
		r.place.dir = c.Audit.Dir
	}
	baseline, err := r.revision(ctx, c, &r.baseline, r.baselines)
	if err != nil {
		return fmt.Errorf("the policy that decided then: %w", r.baseline.refusal(err))
	}
	if len(r.bundles) == 0 && r.candidate.configFile == "" && r.place.config == "" {
		return errors.New("judge by what? Give --bundle, --policy-config, or a configuration with --config")
	}
	candidate, err := r.revision(ctx, c, &r.candidate, r.bundles)
	if err != nil {
		return fmt.Errorf("the candidate: %w", r.candidate.refusal(err))
	}
	judge, err := workbench.NewReplay(workbench.ReplayConfig{Candidate: candidate, Baseline: baseline, Library: policies.Modules(), Defaults: policies.Defaults()})
	if err != nil {
		return err
	}
	_, x, err := openAudit(&r.place)
	if err != nil {
		return err
	}
	sum, err := replay.Run(ctx, replay.Config{Judge: judge, Examples: r.examples}, x.Records(ctx, q))
	if err != nil {
		return err
	}
	if sum.Decisions == 0 {
		return errors.New("the log has no such decisions")
	}
	if format == "json" {
		err = printReplayJSON(e, sum, candidate.ID(), baseline.ID())
	} else {
		err = printReplay(e, sum, candidate.ID(), baseline.ID())
	}
	if err == nil && sum.Changed()+sum.Undecidable > 0 {
		return errNo
	}
	return err
}

// revision compiles a policy: files that are named, over the library; what is not named is as the configuration says.
func (r *replaying) revision(ctx context.Context, c *config.Config, source *policySource, paths []string) (*policy.Revision, error) {
	if len(paths) == 0 {
		as := *c
		if source.configFile != "" {
			as.Policy.Config = source.configFile
		}
		return serve.CompilePolicy(ctx, &as)
	}
	named := *source
	if named.configFile == "" {
		named.configFile = c.Policy.Config
	}
	p, err := named.read(ctx, paths)
	if err != nil {
		return nil, err
	}
	return policy.Compile(ctx, p.Source)
}
