package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// auditFilter holds the flags that select records. A flag that is not given does not restrict.
type auditFilter struct {
	from, to    string
	allow, deny bool
	query       index.Query
}

// flags adds what selects records by what they say.
func (f *auditFilter) flags(cmd *cobra.Command) {
	flags, q := cmd.Flags(), &f.query
	flags.StringVar(&q.Kind, "kind", "", "decision, change (all changes), or a kind of change such as key.rotated or 'revocation.*'")
	flags.BoolVar(&f.deny, "deny", false, "only decisions that deny")
	flags.BoolVar(&f.allow, "allow", false, "only decisions that allow (--allow=false is --deny)")
	flags.StringVar(&q.Reason, "reason", "", "only with a finding of this code, such as lifetime.too_long or 'lifetime.*'")
	flags.StringVar(&q.Control, "control", "", "only with a finding that served this control, such as SOC2:CC6.1")
	flags.StringVar(&q.Enforcement, "enforcement", "", "only with a finding that is deny, warn or waived; --reason and --control mean the same finding")
	flags.StringVar(&q.Issuer, "issuer", "", "only tokens of this issuer")
	flags.StringVar(&q.Client, "client", "", "only tokens of this client")
	flags.StringVar(&q.Audience, "audience", "", "only asked for this audience")
	flags.StringVar(&q.Caller, "caller", "", "only asked, or changed, by this service or person")
	flags.StringVar(&q.Status, "status", "", "only tokens whose examination ended so, such as verified or key_unknown")
	flags.StringVar(&q.Alg, "alg", "", "only tokens with this algorithm")
	flags.StringVar(&q.Key, "key", "", "only tokens verified with the key that has this thumbprint")
	flags.StringVar(&q.Revision, "revision", "", "only decided by this policy revision")
	flags.StringVar(&q.DecisionID, "decision-id", "", "only the decision with this id")
	flags.StringVar(&q.DecisionID, "decision", "", "the same")
	_ = flags.MarkHidden("decision") // it is there
	flags.BoolVar(&q.Superseded, "superseding", false, "only denies in place of an allow that was recorded and not answered")
	flags.BoolVar(&q.MaskFailed, "mask-failed", false, "only records whose mask failed, so that everything was masked")
}

// period adds the flags that select records by time.
func (f *auditFilter) period(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.from, "from", "", "only from here on: a moment (RFC 3339), a day, month or year, or how long ago (24h, 7d)")
	cmd.Flags().StringVar(&f.to, "to", "", "only up to here; a day, month or year is meant as a whole, a moment is the first that is not meant")
}

// read gives the query that the flags make.
func (f *auditFilter) read(cmd *cobra.Command, now time.Time) (index.Query, error) {
	q := f.query
	var err error
	if q.From, _, err = parseAgo("from", f.from, now); err != nil {
		return q, err
	}
	if _, q.To, err = parseAgo("to", f.to, now); err != nil {
		return q, err
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return q, fmt.Errorf("nothing lies from %s to %s: --to is to be later than --from", f.from, f.to)
	}
	allowing := cmd.Flags().Changed("allow")
	switch {
	case f.deny && allowing && f.allow:
		return q, fmt.Errorf("--allow and --deny exclude each other; without either both are meant")
	case f.deny, allowing:
		answer := f.allow && !f.deny
		q.Allow = &answer
	}
	if e := q.Enforcement; e != "" && !slices.Contains([]pdp.Enforcement{pdp.Deny, pdp.Warn, pdp.Waived}, pdp.Enforcement(e)) {
		return q, fmt.Errorf("--enforcement %s: choose deny, warn or waived", e)
	}
	if err := knownKind(q.Kind); err != nil {
		return q, err
	}
	if err := knownStatus(q.Status); err != nil {
		return q, err
	}
	if q.Allow != nil && q.Kind != "" && q.Kind != index.KindDecision {
		return q, fmt.Errorf("--allow and --deny are of decisions; --kind %s has none", q.Kind)
	}
	return q, nil
}

// knownKind refuses a kind that no record has: whoever mistyped it would take the empty answer for the truth.
func knownKind(wanted string) error {
	kinds := []string{index.KindDecision, index.Changes}
	for _, kind := range pdp.ChangeKinds() {
		kinds = append(kinds, string(kind))
	}
	prefix, open := strings.CutSuffix(wanted, "*")
	for _, kind := range append(kinds, index.KindUnreadable, "") {
		if kind == wanted || open && strings.HasPrefix(kind, prefix) {
			return nil
		}
	}
	return fmt.Errorf("--kind %s: no record is of it; choose among %s, or the beginning of some of them with a * behind it", visible(wanted), strings.Join(kinds, ", "))
}

// knownStatus refuses a status with which no examination ends.
func knownStatus(wanted string) error {
	if wanted == "" || slices.Contains(pdp.Statuses(), pdp.Status(wanted)) {
		return nil
	}
	names := make([]string, 0, len(pdp.Statuses()))
	for _, status := range pdp.Statuses() {
		names = append(names, string(status))
	}
	return fmt.Errorf("--status %s: no examination ends so; choose one of %s", visible(wanted), strings.Join(names, ", "))
}

// strangeAlg says that an algorithm is none that Assay takes, where it is. It is not refused: a token may name any in its
// header, and is recorded with it.
func strangeAlg(alg string) string {
	if alg == "" || slices.Contains(pdp.Algorithms(), alg) {
		return ""
	}
	return fmt.Sprintf("; %s is no algorithm that a token can be verified with: those are %s", visible(alg), strings.Join(pdp.Algorithms(), ", "))
}

var days = regexp.MustCompile(`^([0-9]{1,5})d$`)

// parseAgo reads what parseSpan does, and how long before now something is. Nothing is no time.
func parseAgo(flag, text string, now time.Time) (begin, end time.Time, err error) {
	if text == "" {
		return begin, end, nil
	}
	ago, err := time.ParseDuration(text)
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // five digits
		ago, err = time.Duration(n)*24*time.Hour, nil
	}
	if err == nil {
		if ago < 0 {
			return begin, end, fmt.Errorf("--%s %s: give how long ago it is without a sign", flag, text)
		}
		return now.Add(-ago), now.Add(-ago), nil
	}
	if begin, end, err = parseSpan(flag, text); err != nil {
		return begin, end, fmt.Errorf("%w, or how long ago (24h, 7d)", err)
	}
	return begin, end, nil
}

// openAudit opens the log that a command reads, and its index.
func openAudit(place *auditPlace) (*ledger.Reader, *index.Index, error) {
	dir, err := place.find()
	if err != nil {
		return nil, nil, err
	}
	reader, err := ledger.OpenReader(dir)
	if err != nil {
		return nil, nil, err
	}
	x, err := index.Open(reader, index.Folder(dir))
	return reader, x, err
}

// auditLine is a record on one line of a terminal, in columns that stay as wide while lines come. The target is that of a
// change as the record has it, which is after the mask; empty for none.
func auditLine(r *index.Row, target string) string {
	var b strings.Builder
	what := r.Kind
	if r.Kind == index.KindDecision {
		what = "deny"
		if r.Allow {
			what = "allow"
		}
		if r.Superseded {
			what = "deny*"
		}
	}
	at := strings.Repeat(" ", len("2006-01-02T15:04:05.000Z"))
	if !r.Time.IsZero() {
		at = r.Time.Format("2006-01-02T15:04:05.000Z")
	}
	fmt.Fprintf(&b, "%9d  %s  %-18s", r.Index, at, visible(what))
	for _, part := range [...]struct{ name, value string }{
		{"of ", target}, {"", r.Issuer}, {"client ", r.Client}, {"for ", r.Audience}, {"by ", r.Caller}, {"", unlessVerified(r.Status)},
	} {
		if part.value != "" {
			b.WriteString("  " + part.name + visible(part.value))
		}
	}
	for _, reason := range r.Reasons {
		b.WriteString("  " + visible(reason.Code))
		if reason.Enforcement != string(pdp.Deny) {
			b.WriteString(" (" + visible(reason.Enforcement) + ")")
		}
	}
	if r.MaskFailed {
		b.WriteString("  MASK FAILED")
	}
	if r.DecisionID != "" {
		b.WriteString("  " + visible(r.DecisionID))
	}
	return b.String()
}

// targetOf is what a record says was changed, empty for a decision.
func targetOf(record []byte) string {
	if event, err := audit.Decode(record); err == nil && event.Input.Change != nil {
		return event.Input.Change.Target
	}
	return ""
}

// unlessVerified leaves out what is so of most tokens.
func unlessVerified(status string) string {
	if status == string(pdp.StatusVerified) {
		return ""
	}
	return status
}
