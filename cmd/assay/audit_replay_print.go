package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/assaypdp/assay/cmd/assay/internal/replay"
)

// mostShown is how many lines a table for people has.
const mostShown = 20

func printReplayJSON(e env, s *replay.Summary, candidate, baseline string) error {
	return json.NewEncoder(e.out).Encode(struct {
		Candidate string `json:"candidate"`
		Baseline  string `json:"baseline"`
		replay.Tally
		Changes    []*replay.Group                `json:"changes"`
		ByReason   map[string]*replay.ReasonTally `json:"by_reason"`
		ByIssuer   map[string]*replay.Tally       `json:"by_issuer"`
		ByClient   map[string]*replay.Tally       `json:"by_client"`
		ByMissing  map[string]int64               `json:"by_missing"`
		ByRevision map[string]*replay.Tally       `json:"by_revision"`
	}{candidate, baseline, s.Tally, append([]*replay.Group{}, s.Groups()...), s.ByReason, s.ByIssuer, s.ByClient, s.ByMissing, s.ByRevision})
}

func printReplay(e env, s *replay.Summary, candidate, baseline string) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d decisions judged again under %s: %d change, %d undecidable\n", s.Decisions, candidate, s.Changed(), s.Undecidable)
	fmt.Fprintf(&b, "  newly denied %d, newly allowed %d, for other reasons %d\n", s.NewlyDenied, s.NewlyAllowed, s.OtherReasons)
	printGroups(&b, s.Groups())
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	if len(s.ByReason) > 0 {
		// Writing to a Builder does not fail.
		_, _ = fmt.Fprintln(w, "\nREASON\tADDED\tREMOVED\tENFORCEMENT")
		codes := slices.SortedFunc(maps.Keys(s.ByReason), func(x, y string) int {
			a, b := s.ByReason[x], s.ByReason[y]
			return cmp.Or(cmp.Compare(b.Added+b.Removed+b.Enforcement, a.Added+a.Removed+a.Enforcement), cmp.Compare(x, y))
		})
		for _, code := range shown(codes) {
			t := s.ByReason[code]
			_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", visible(code), t.Added, t.Removed, t.Enforcement)
		}
		moreThan(w, codes)
	}
	printTallies(w, "ISSUER", s.ByIssuer)
	printTallies(w, "CLIENT", s.ByClient)
	_ = w.Flush()
	if len(s.ByMissing) > 0 {
		b.WriteString("\nNot recorded, and looked at by the candidate:\n")
		for _, name := range slices.Sorted(maps.Keys(s.ByMissing)) {
			fmt.Fprintf(&b, "  %s (%d decisions)\n", visible(name), s.ByMissing[name])
		}
	}
	printAdvice(&b, s, baseline)
	_, err := fmt.Fprint(e.out, b.String())
	return err
}

// printAdvice says what to do about decisions that cannot be told because what then decided is not known.
func printAdvice(b *strings.Builder, s *replay.Summary, baseline string) {
	others := 0
	for _, revision := range slices.Sorted(maps.Keys(s.ByRevision)) {
		t := s.ByRevision[revision]
		if revision == baseline || t.Undecidable == 0 {
			continue
		}
		if others++; others == 1 {
			fmt.Fprintf(b, "\nWhat was not recorded can often be told from what was decided, if the policy of then is known. The baseline is %s; decided by others:\n", baseline)
		}
		if others > mostShown {
			continue
		}
		fmt.Fprintf(b, "  %s  %d decisions, %d undecidable\n", visible(cmp.Or(revision, "(no revision is recorded)")), t.Decisions, t.Undecidable)
	}
	switch {
	case others == 0:
		return
	case others > mostShown:
		fmt.Fprintf(b, "  … and %d more; --output json has all\n", others-mostShown)
	}
	b.WriteString(`To judge them: for each of these revisions run this again with --revision REVISION, and with --baseline PATH and
--baseline-config FILE naming the rules and the policy configuration that were in force then, as your version control has
them. 'assay audit query --kind bundle.activated' and '--kind config.activated' list when policies came into force.
`)
}

func printGroups(b *strings.Builder, groups []*replay.Group) {
	words := map[string]string{
		replay.NewlyDenied: "allow → deny", replay.NewlyAllowed: "deny → allow", replay.OtherReasons: "other reasons", replay.Undecidable: "undecidable",
	}
	for i, g := range groups {
		if i == mostShown {
			fmt.Fprintf(b, "… and %d more kinds of change; --output json has all\n", len(groups)-i)
			return
		}
		fmt.Fprintf(b, "\n%d × %s", g.Decisions, words[g.Outcome])
		for _, list := range []struct {
			sign  string
			names []string
		}{{"+", g.Added}, {"-", g.Removed}, {"not recorded: ", g.Missing}} {
			for _, name := range list.names {
				b.WriteString("  " + list.sign + visible(name))
			}
		}
		b.WriteString("\n")
		for _, x := range g.Examples {
			fmt.Fprintf(b, "  %s  index %d", visible(x.DecisionID), x.Index)
			for _, name := range []string{x.Issuer, x.Client} {
				if name != "" {
					b.WriteString("  " + visible(name))
				}
			}
			b.WriteString("\n")
		}
	}
}

// printTallies prints those of which something changes or cannot be told.
func printTallies(w *tabwriter.Writer, title string, of map[string]*replay.Tally) {
	names := slices.SortedFunc(maps.Keys(of), func(x, y string) int {
		a, b := of[x], of[y]
		return cmp.Or(cmp.Compare(b.Changed()+b.Undecidable, a.Changed()+a.Undecidable), cmp.Compare(x, y))
	})
	names = slices.DeleteFunc(names, func(name string) bool { return of[name].Changed()+of[name].Undecidable == 0 })
	if len(names) == 0 {
		return
	}
	_, _ = fmt.Fprintf(w, "\n%s\tDECISIONS\tNEWLY DENIED\tNEWLY ALLOWED\tOTHER REASONS\tUNDECIDABLE\n", title)
	for _, name := range shown(names) {
		t := of[name]
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\n", visible(cmp.Or(name, "(none)")), t.Decisions, t.NewlyDenied, t.NewlyAllowed, t.OtherReasons, t.Undecidable)
	}
	moreThan(w, names)
}

func shown(names []string) []string { return names[:min(len(names), mostShown)] }

func moreThan(w *tabwriter.Writer, names []string) {
	if len(names) > mostShown {
		_, _ = fmt.Fprintf(w, "… and %d more; --output json has all\n", len(names)-mostShown)
	}
}
