package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/audit/report"
	"github.com/assaypdp/assay/policies"
)

// reporting is one call of assay audit report.
type reporting struct {
	place                            auditPlace
	framework, from, to, format, out string
	policyConfig, catalogue          string
	verifierKeys, anchors            []string
	force, unverified, unindexed     bool
	begin, end                       time.Time
	e                                env
	reader                           *ledger.Reader
	index                            *index.Index
}

func newAuditReport(e env) *cobra.Command {
	r := &reporting{e: e, format: "html"}
	cmd := &cobra.Command{
		Use:   "report",
		Short: "Answer an auditor: what the log shows for each control of a framework",
		Long: `Report reads a period of the audit log and writes, for each control of SOC 2, ISO/IEC 27001 or the GDPR, which rules
served it and how many tokens were judged, denied, warned of and waived; with trends, lifetimes, algorithms, keys against
their plan, revocations and how fast they took effect, changes, waivers, the checkpoints between which nothing was removed,
and the gaps in the evidence. Each number carries the command that lists its records.

The page is one file without scripts that fetches nothing; it can be printed. JSON has the same and no less.

A period is named by --from and --to: days, months or years as wholes in UTC, or moments (--to is then the first moment that
is no longer meant). The plan of keys, the limits of issuers and the waivers are those of the configuration, where
one is given. The log is verified as by assay audit verify, with the keys of --key, else those that Vault has for the
configuration's audit.checkpoint.key. Without either the signatures of its checkpoints are not checked, and the report says
so.

A record that cannot be read any more cannot be counted, and figures that leave some out would be false: then there is no
report, and assay audit verify names all that is damaged. What else the verification finds the report lists.

Exit code 0: the report was written, 1: it was written and says that the log's verification found faults, 2: it could not
be done, as where the records cannot be counted.`,
		Example: `  assay audit report --framework soc2 --from 2026-11 --config assay.yaml --out report.html
  assay audit report --framework gdpr --from 2026-10-01 --to 2026-12-31 --dir ./state/audit --key notary.vkey --format json`,
		Args: noArgs,
	}
	flags := cmd.Flags()
	r.place.flags(cmd)
	flags.StringVar(&r.framework, "framework", "", "soc2, iso27001 or gdpr")
	flags.StringVar(&r.from, "from", "", "first day, month, year or moment of the period")
	flags.StringVar(&r.to, "to", "", "last day, month or year of the period, or the first moment after it (default: what --from names)")
	flags.StringVar(&r.format, "format", "html", "html or json")
	flags.StringVar(&r.out, "out", "", "file to write (default: standard output)")
	flags.BoolVar(&r.force, "force", false, "replace the file of --out if it is there")
	flags.StringVar(&r.policyConfig, "policy-config", "", "YAML or JSON file with the waivers (default policy.config of the configuration)")
	flags.StringVar(&r.catalogue, "catalogue", "", "JSON file of assay policy catalogue, for rules of one's own (default: the library's)")
	flags.StringArrayVar(&r.verifierKeys, "key", nil, verifierKeysHelp)
	flags.StringArrayVar(&r.anchors, "checkpoint", nil, "file with a signed checkpoint that was kept outside the log, to verify it by; may be repeated")
	flags.BoolVar(&r.unindexed, "no-index", false, "read every record instead of the index, which is no evidence by itself")
	flags.BoolVar(&r.unverified, "no-verify", false, "do not verify the log; the report says so")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return r.run(cmd.Context()) }
	return cmd
}

func (r *reporting) run(ctx context.Context) error {
	if r.framework == "" {
		var names []string
		for _, f := range report.Frameworks() {
			names = append(names, f.ID)
		}
		return fmt.Errorf("which framework? Give --framework with one of %s", strings.Join(names, ", "))
	}
	framework, err := report.FrameworkByID(r.framework)
	if err != nil {
		return fmt.Errorf("--framework: %w", err)
	}
	if r.format != "html" && r.format != "json" {
		return fmt.Errorf("--format %s: choose html or json", r.format)
	}
	if r.begin, r.end, err = parsePeriod(r.from, r.to); err != nil {
		return err
	}
	if err := r.mayWrite(); err != nil {
		return err
	}
	check, err := r.checking(ctx)
	if err != nil {
		return err
	}
	if r.reader, r.index, err = openAudit(&r.place); err != nil {
		return err
	}
	c, err := r.settings(ctx, framework)
	if err != nil {
		return err
	}
	verified := make(chan error, 1)
	go func() { verified <- check.run(ctx, r.reader.Dir()) }() // beside the counting: it takes as long
	b, err := r.count(ctx, c)
	failed := <-verified
	if _, damaged := errors.AsType[*ledger.DamageError](err); damaged {
		return fmt.Errorf("no report was written, since the records cannot be counted: %w", errors.Join(err, failed))
	}
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	integrity, err := r.integrity(check, b.Last())
	if err != nil {
		return err
	}
	made := b.Report(integrity)
	if err := r.write(made); err != nil {
		return err
	}
	if err := r.say(made); err != nil {
		return err
	}
	if integrity.State == report.Damaged {
		_, err := fmt.Fprintf(r.e.err, "assay: the verification of the log found faults, which the report lists: %s; see assay audit verify\n", visible(integrity.Findings[0]))
		return errors.Join(errNo, err)
	}
	return nil
}

// say tells what was written, where that is not what is seen.
func (r *reporting) say(made *report.Report) error {
	if r.out == "" {
		return nil
	}
	_, err := fmt.Fprintf(r.e.err, "wrote %s: %s for %s, %s to %s, %s\n", visible(r.out), strings.ToUpper(r.format), made.Framework.Title,
		made.From.UTC().Format(time.RFC3339), made.To.UTC().Format(time.RFC3339), counted(int(made.Totals.Judged.Value), "decision", "decisions"))
	return err
}

func (r *reporting) count(ctx context.Context, c report.Config) (*report.Builder, error) {
	b, err := report.New(c)
	if err != nil {
		return nil, err
	}
	for row, err := range r.index.Rows(ctx, index.Query{From: r.begin.Add(-report.Margin), To: r.end.Add(report.Margin), Unindexed: r.unindexed}) {
		if err != nil {
			return nil, err
		}
		if err := b.Add(ctx, &row); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// settings gathers what the report compares the records with.
func (r *reporting) settings(ctx context.Context, framework report.Framework) (report.Config, error) {
	c := report.Config{
		Framework: framework, From: r.begin, To: r.end, Now: r.e.now(), Program: "assay " + version, Event: r.event,
		Command: r.command(), RotatedBefore: make(map[string]time.Time), RevisionsBefore: make(map[string]int64), Lifetimes: make(map[string]time.Duration),
	}
	data := policies.Catalogue()
	var err error
	if r.catalogue != "" {
		if data, err = os.ReadFile(r.catalogue); err != nil {
			return c, fmt.Errorf("the catalogue of rules: %w", err)
		}
	}
	if c.Catalogue, err = report.ParseCatalogue(data); err != nil {
		if r.catalogue != "" {
			err = fmt.Errorf("--catalogue %s: %w", r.catalogue, err)
		}
		return c, err
	}
	if !r.unindexed {
		c.Notes = append(c.Notes, "The figures were counted by way of the index beside the log, which is made from the records and is not signed: whoever may write the log's folder could alter it. "+
			"With --no-index every record is read instead.")
	}
	segments, err := r.reader.Segments()
	if err != nil {
		return c, err
	}
	if len(segments) > 0 {
		c.OldestKept = segments[0].FirstTime
	}
	if r.place.config != "" {
		configured, err := readConfig(r.place.config)
		if err != nil {
			return c, err
		}
		r.plan(&c, configured)
	}
	if r.policyConfig != "" {
		if c.Waivers, err = readWaivers(r.policyConfig); err != nil {
			return c, err
		}
		c.WaiversFrom = r.policyConfig
	}
	return c, r.before(ctx, &c)
}

// plan takes the keys' periods and the issuers' limits from a configuration.
func (r *reporting) plan(c *report.Config, configured *config.Config) {
	for _, name := range configured.TokenKeyNames() {
		c.Keys = append(c.Keys, report.KeyPlan{Name: name, RotateEvery: configured.Vault.Keys[name].RotateEvery.D()})
	}
	for i := range configured.Issuers {
		c.Lifetimes[configured.Issuers[i].Issuer] = configured.Issuers[i].HardMaxLifetime.D()
	}
	if r.policyConfig == "" {
		r.policyConfig = configured.Policy.Config
	}
	if len(configured.Policy.Bundle) > 0 {
		c.Notes = append(c.Notes, "Waivers that a policy bundle brings are not listed as configured; what they covered in the period is.")
	}
}

// changesBefore is how many changes before the period are read, the newest.
const changesBefore = 2000

// before finds what was in force when the period began.
func (r *reporting) before(ctx context.Context, c *report.Config) error {
	for _, kind := range []string{"key.*", string(pdp.BundleActivated), string(pdp.ConfigActivated)} {
		read := 0
		for row, err := range r.index.Rows(ctx, index.Query{To: r.begin, Kind: kind, Newest: true}) {
			if err != nil {
				return err
			}
			if read++; read > changesBefore {
				break
			}
			event, err := r.event(ctx, row.Index)
			if err != nil || event.Input.Change == nil {
				continue // the report is not about it; what hangs on it is then not told
			}
			change := event.Input.Change
			switch {
			case row.Kind == string(pdp.KeyRotated) || row.Kind == string(pdp.KeyCompromised):
				if c.RotatedBefore[change.Target].Before(row.Time) {
					c.RotatedBefore[change.Target] = row.Time
				}
			case kind != "key.*":
				revision, ok := change.Details["policy_revision"].(string)
				if _, newer := c.RevisionsBefore[revision]; ok && !newer {
					c.RevisionsBefore[revision] = row.Index
				}
			}
		}
	}
	return nil
}

func (r *reporting) event(ctx context.Context, at int64) (*audit.Event, error) {
	found, err := r.index.Record(ctx, at)
	if err != nil {
		return nil, err
	}
	return audit.Decode(found.Record.Event)
}

// command begins the commands that the report names: the log as it was named here.
func (r *reporting) command() []string {
	words := []string{"assay", "audit", "query"}
	if r.place.dir != "" {
		return append(words, "--dir="+r.place.dir)
	}
	return append(words, "--config="+r.place.config)
}

// readWaivers takes the waivers out of an organisation's policy configuration, which has been checked where it is in force.
func readWaivers(path string) ([]report.Waiver, error) {
	text, err := policyConfig(path)
	if err != nil {
		return nil, err
	}
	var organisation struct {
		Waivers []struct{ Rule, Issuer, Client, Audience, Until, Ticket string } `json:"waivers"`
	}
	if err := json.Unmarshal(text, &organisation); err != nil {
		return nil, fmt.Errorf("policy configuration %s: %w", path, err)
	}
	waivers := make([]report.Waiver, 0, len(organisation.Waivers))
	for _, w := range organisation.Waivers {
		waivers = append(waivers, report.Waiver{Rule: w.Rule, Issuer: w.Issuer, Client: w.Client, Audience: w.Audience, Until: w.Until, Ticket: w.Ticket})
	}
	return waivers, nil
}

// mayWrite refuses before the work what write would refuse after it.
func (r *reporting) mayWrite() error {
	if r.out == "" || r.force {
		return nil
	}
	if _, err := os.Lstat(r.out); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there already: give --force to replace it", r.out)
	}
	return nil
}

// write puts the whole report in its place, or nothing.
func (r *reporting) write(made *report.Report) error {
	var text bytes.Buffer
	if r.format == "json" {
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", " ")
		if err := encoder.Encode(made); err != nil {
			return err
		}
	} else if err := report.WriteHTML(&text, made); err != nil {
		return err
	}
	if r.out == "" {
		_, err := r.e.out.Write(text.Bytes())
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(r.out), ".assay-report-*")
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", r.out, err)
	}
	_, err = temporary.Write(text.Bytes())
	err = errors.Join(err, temporary.Close())
	if err == nil && r.force {
		err = os.Rename(temporary.Name(), r.out)
	} else if err == nil {
		err = os.Link(temporary.Name(), r.out) // which never replaces
	}
	if removed := os.Remove(temporary.Name()); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
