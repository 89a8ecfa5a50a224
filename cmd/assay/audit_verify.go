package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

func newAuditVerify(e env) *cobra.Command {
	var (
		place             auditPlace
		keys              []string
		anchors, receipts []string
		noKeys            bool
		most              int
	)
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Find and name every record that was altered, removed, reordered, inserted, cut off or forged; exit 1 on a finding",
		Long: `Verify reads the whole log, also while a server writes it, and holds it against itself and against what you have: each
record against its leaf hash, the tree of all records against every checkpoint and its tiles, the checkpoints against
their signatures and each other, and what retention deleted against the tree that it left.

A log that was wholly written anew and signed with its own key agrees with itself, and so does one whose end was cut off
together with its last checkpoints and tiles. Give checkpoints that were kept outside (--checkpoint) to find that, as far
as they reach: the newest is the best. The receipts of callers (--receipt) find what was never logged; each speaks for its
own record alone.

Up to which record the log is proved by what was kept outside, and what could not be proved for want of a key, such a
checkpoint or receipts, it says at its end ("anchored" and "not_proved" in JSON).

Exit code 0: nothing was found, 1: there are findings, 2: it could not be verified.`,
		Example: `  assay audit verify --config assay.yaml
  assay audit verify --dir ./state/audit --key checkpoint.keys --checkpoint outside.checkpoint --receipt answers.ndjson`,
		Args: noArgs,
	}
	place.flags(cmd)
	flags := cmd.Flags()
	flags.StringArrayVar(&keys, "key", nil, verifierKeysHelp+" (default: Vault is asked, with --config)")
	flags.BoolVar(&noKeys, "no-signatures", false, "do not check signatures: the log is held against what its folder says of itself")
	flags.StringArrayVar(&anchors, "checkpoint", nil, "file with a signed checkpoint that was kept outside the log; may be repeated")
	flags.StringArrayVar(&receipts, "receipt", nil, "file with receipts, or answers that have some, as JSON values; may be repeated")
	flags.IntVar(&most, "max-findings", ledger.DefaultMaxFindings, "how many findings to list; the others are counted")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := place.find()
		if err != nil {
			return err
		}
		if most < 1 {
			return fmt.Errorf("--max-findings %d: give a number of findings, 1 or more", most)
		}
		c := ledger.VerifyConfig{Dir: dir, MaxFindings: most}
		if !noKeys {
			if c.Verifiers, err = verifiersOf(cmd.Context(), e, keys, place.config); err != nil {
				return err
			}
		}
		if c.Anchors, err = readAnchors(anchors); err != nil {
			return err
		}
		if c.Receipts, err = readReceipts(receipts); err != nil {
			return err
		}
		report, err := ledger.Verify(cmd.Context(), c)
		if err != nil {
			return err
		}
		if *format == "json" {
			err = json.NewEncoder(e.out).Encode(struct {
				Sound     bool     `json:"sound"`
				NotProved []string `json:"not_proved"`
				*ledger.Report
			}{report.Sound() && report.SignaturesChecked, report.Unproven(), report})
		} else {
			err = printVerification(e.out, dir, report)
		}
		if err == nil && !report.Sound() {
			return errNo
		}
		return err
	}
	return cmd
}

// readAnchors reads files with checkpoints that were kept outside.
func readAnchors(paths []string) ([]ledger.Anchor, error) {
	var anchors []ledger.Anchor
	for _, path := range paths {
		signed, err := readCheckpointFile(path)
		if err != nil {
			return nil, err
		}
		anchors = append(anchors, ledger.Anchor{Name: path, Signed: signed})
	}
	return anchors, nil
}

// readCheckpointFile reads a file with a signed checkpoint, whose signature is not checked yet. One empty line at its end,
// as copying a text leaves behind, is not of it.
func readCheckpointFile(path string) ([]byte, error) {
	signed, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasSuffix(signed, []byte("\n\n")) && ledger.CheckForm(signed[:len(signed)-1]) == nil {
		return signed[:len(signed)-1], nil
	}
	if err := ledger.CheckForm(signed); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signed, nil
}

func printVerification(w io.Writer, dir string, r *ledger.Report) error {
	var b strings.Builder
	for _, f := range r.Findings {
		b.WriteString(string(visibleJSON([]byte(findingLine(&f)))) + "\n")
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "and %d more (--max-findings)\n", r.Omitted)
	}
	for _, n := range r.Notes {
		b.WriteString("note: " + string(visibleJSON([]byte(n))) + "\n")
	}
	fmt.Fprintf(&b, "%s: %d records read", dir, r.Records)
	if r.Origin != "" {
		fmt.Fprintf(&b, " of %s", visible(r.Origin))
	}
	if r.First > 0 {
		fmt.Fprintf(&b, ", from record %d on; those before were deleted by retention", r.First)
	}
	fmt.Fprintf(&b, "\n%s; the largest covers %d records\n", counted(r.Checkpoints, "checkpoint agrees", "checkpoints agree"), r.Witnessed)
	if r.Trimmed > 0 {
		fmt.Fprintf(&b, "of them %d are over deleted records and could be checked for signature, size and order only\n", r.Trimmed)
	}
	if r.Anchors > 0 {
		b.WriteString(counted(r.Anchors, "checkpoint kept outside agrees", "checkpoints kept outside agree"))
		if r.Anchored > 0 {
			fmt.Fprintf(&b, "; the largest covers %d records", r.Anchored)
		}
		b.WriteString("\n")
	}
	if r.Receipts > 0 {
		b.WriteString(counted(r.Receipts, "receipt agrees", "receipts agree") + "\n")
	}
	switch {
	case !r.Sound():
		b.WriteString(counted(len(r.Findings)+r.Omitted, "finding", "findings") + "\n")
	case r.SignaturesChecked:
		b.WriteString("sound: nothing was found\n")
	default:
		b.WriteString("nothing was found, by what the folder says of itself: signatures were not checked\n")
	}
	for _, open := range r.Unproven() {
		b.WriteString("not proved: " + open + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// placeOf names the file of a finding and its lines.
func placeOf(f *ledger.Finding) string {
	switch {
	case f.ThroughLine > 0:
		return fmt.Sprintf("%s lines %d to %d", f.File, f.Line, f.ThroughLine)
	case f.Line > 0:
		return fmt.Sprintf("%s line %d", f.File, f.Line)
	}
	return f.File
}

// findingLine names what is wrong: kind, records, place, decision.
func findingLine(f *ledger.Finding) string {
	var at []string
	switch {
	case f.Index >= 0 && f.Through > f.Index:
		at = append(at, fmt.Sprintf("records %d to %d", f.Index, f.Through))
	case f.Index >= 0:
		at = append(at, fmt.Sprintf("record %d", f.Index))
	}
	if place := placeOf(f); place != "" {
		at = append(at, place)
	}
	if f.DecisionID != "" {
		at = append(at, "decision "+f.DecisionID)
	}
	if len(at) == 0 {
		return fmt.Sprintf("%s: %s", f.Kind, f.What)
	}
	return fmt.Sprintf("%s: %s: %s", f.Kind, strings.Join(at, ", "), f.What)
}
