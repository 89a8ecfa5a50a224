package replay

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

// What becomes of a decision under the other policy.
const (
	Same         = "same"
	NewlyDenied  = "newly_denied"
	NewlyAllowed = "newly_allowed"
	OtherReasons = "other_reasons" // the answer stays, its reasons do not
	Undecidable  = "undecidable"   // the record does not hold what it depends on
)

// Tally counts decisions by what becomes of them.
type Tally struct {
	Decisions    int64 `json:"decisions"`
	NewlyDenied  int64 `json:"newly_denied"`
	NewlyAllowed int64 `json:"newly_allowed"`
	OtherReasons int64 `json:"other_reasons"`
	Undecidable  int64 `json:"undecidable"`
}

// Changed is how many would be decided otherwise, or for other reasons.
func (t *Tally) Changed() int64 { return t.NewlyDenied + t.NewlyAllowed + t.OtherReasons }

func (t *Tally) count(outcome string) {
	t.Decisions++
	switch outcome {
	case NewlyDenied:
		t.NewlyDenied++
	case NewlyAllowed:
		t.NewlyAllowed++
	case OtherReasons:
		t.OtherReasons++
	case Undecidable:
		t.Undecidable++
	}
}

func (t *Tally) add(o *Tally) {
	t.Decisions += o.Decisions
	t.NewlyDenied += o.NewlyDenied
	t.NewlyAllowed += o.NewlyAllowed
	t.OtherReasons += o.OtherReasons
	t.Undecidable += o.Undecidable
}

// ReasonTally counts decisions that would get a reason which they did not have, lose it, or in which it would do
// something else.
type ReasonTally struct {
	Added       int64 `json:"added"`
	Removed     int64 `json:"removed"`
	Enforcement int64 `json:"enforcement"`
}

// Example is one decision.
type Example struct {
	Index      int64  `json:"index"`
	DecisionID string `json:"decision_id"`
	Issuer     string `json:"issuer,omitempty"`
	Client     string `json:"client,omitempty"`
}

// Group is decisions that change in the same way, or that cannot be told for the same want.
type Group struct {
	Outcome string `json:"outcome"`
	// Added and Removed are findings, as "code" or "code (enforcement)" where that is not deny.
	Added   []string `json:"added,omitempty"`
	Removed []string `json:"removed,omitempty"`
	// Missing names what the records do not hold.
	Missing   []string  `json:"missing,omitempty"`
	Decisions int64     `json:"decisions"`
	Examples  []Example `json:"examples"` // the first in the log
}

// Summary is what a replay came to.
type Summary struct {
	Tally
	// ByReason is by a reason's code; ByIssuer and ByClient are by names, empty for tokens that were not verified or have
	// none; ByMissing is by the name of what records do not hold.
	ByReason  map[string]*ReasonTally
	ByIssuer  map[string]*Tally
	ByClient  map[string]*Tally
	ByMissing map[string]int64
	// ByRevision counts by the policy that decided.
	ByRevision map[string]*Tally

	examples int
	groups   map[string]*Group
}

func newSummary(examples int) *Summary {
	return &Summary{ByReason: make(map[string]*ReasonTally), ByIssuer: make(map[string]*Tally), ByClient: make(map[string]*Tally),
		ByMissing: make(map[string]int64), ByRevision: make(map[string]*Tally), examples: examples, groups: make(map[string]*Group)}
}

// Groups are the changes, the most frequent first.
func (s *Summary) Groups() []*Group {
	groups := slices.Collect(maps.Values(s.groups))
	slices.SortFunc(groups, func(a, b *Group) int {
		return cmp.Or(cmp.Compare(b.Decisions, a.Decisions), strings.Compare(a.key(), b.key()))
	})
	return groups
}

func (g *Group) key() string {
	return strings.Join([]string{g.Outcome, strings.Join(g.Added, "\x00"), strings.Join(g.Removed, "\x00"), strings.Join(g.Missing, "\x00")}, "\x01")
}

func (s *Summary) count(found *index.Found, was *workbench.Record, is *workbench.Replayed) {
	g := &Group{Outcome: outcome(was, is), Missing: is.Undecidable, Decisions: 1}
	s.Tally.count(g.Outcome)
	tally(s.ByIssuer, found.Row.Issuer).count(g.Outcome)
	tally(s.ByClient, found.Row.Client).count(g.Outcome)
	tally(s.ByRevision, was.Revision).count(g.Outcome)
	switch g.Outcome {
	case Same:
		return
	case Undecidable:
		for _, name := range is.Undecidable {
			s.ByMissing[name]++
		}
	default:
		s.countReasons(was.Was.Findings, is.Answer.Findings)
		g.Added, g.Removed = without(is.Answer.Findings, was.Was.Findings), without(was.Was.Findings, is.Answer.Findings)
	}
	g.Examples = []Example{{found.Record.Index, found.Row.DecisionID, found.Row.Issuer, found.Row.Client}}
	s.join(g)
}

func outcome(was *workbench.Record, is *workbench.Replayed) string {
	switch {
	case len(is.Undecidable) > 0:
		return Undecidable
	case was.Was.Equal(is.Answer):
		return Same
	case was.Was.Allow && !is.Answer.Allow:
		return NewlyDenied
	case !was.Was.Allow && is.Answer.Allow:
		return NewlyAllowed
	}
	return OtherReasons
}

func tally(of map[string]*Tally, name string) *Tally {
	t := of[name]
	if t == nil {
		t = &Tally{}
		of[name] = t
	}
	return t
}

// countReasons compares by code; a code that stands there more than once is one.
func (s *Summary) countReasons(was, is []workbench.Finding) {
	before, after := byCode(was), byCode(is)
	reason := func(code string) *ReasonTally {
		t := s.ByReason[code]
		if t == nil {
			t = &ReasonTally{}
			s.ByReason[code] = t
		}
		return t
	}
	for code, enforcement := range before {
		if now, there := after[code]; !there {
			reason(code).Removed++
		} else if now != enforcement {
			reason(code).Enforcement++
		}
	}
	for code := range after {
		if _, there := before[code]; !there {
			reason(code).Added++
		}
	}
}

func byCode(findings []workbench.Finding) map[string]string {
	codes := make(map[string]string, len(findings))
	for _, f := range findings { // sorted, so that the joined text is the same for the same findings
		codes[f.Code] += " " + f.Enforcement
	}
	return codes
}

// without gives the findings of a that are not in b, in words.
func without(a, b []workbench.Finding) []string {
	var words []string
	for _, f := range a {
		if slices.Contains(b, f) {
			continue
		}
		word := f.Code
		if f.Enforcement != "deny" {
			word += " (" + f.Enforcement + ")"
		}
		words = append(words, word)
	}
	return slices.Compact(words)
}

// join adds a group to those that are known, and keeps the examples that stand first in the log.
func (s *Summary) join(g *Group) {
	known := s.groups[g.key()]
	if known == nil {
		s.groups[g.key()] = g
		return
	}
	known.Decisions += g.Decisions
	known.Examples = append(known.Examples, g.Examples...)
	slices.SortFunc(known.Examples, func(a, b Example) int { return cmp.Compare(a.Index, b.Index) })
	known.Examples = known.Examples[:min(len(known.Examples), s.examples)]
}

// add joins what another goroutine counted.
func (s *Summary) add(o *Summary) {
	s.Tally.add(&o.Tally)
	for _, pair := range []struct{ to, from map[string]*Tally }{{s.ByIssuer, o.ByIssuer}, {s.ByClient, o.ByClient}, {s.ByRevision, o.ByRevision}} {
		for name, t := range pair.from {
			tally(pair.to, name).add(t)
		}
	}
	for name, n := range o.ByMissing {
		s.ByMissing[name] += n
	}
	for code, t := range o.ByReason {
		if s.ByReason[code] == nil {
			s.ByReason[code] = &ReasonTally{}
		}
		s.ByReason[code].Added += t.Added
		s.ByReason[code].Removed += t.Removed
		s.ByReason[code].Enforcement += t.Enforcement
	}
	for _, g := range o.groups {
		s.join(g)
	}
}
