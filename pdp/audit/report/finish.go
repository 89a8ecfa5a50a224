package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// figure is a count with the command that lists what was counted, in the period where the query says no other time. The
// names are those of the query by which these records are told from others: where one is empty, or cannot be asked for,
// there is no command, since it would list something else. A mask may have taken them out of the records.
func (b *Builder) figure(value int64, q index.Query, names ...string) Figure {
	for _, name := range names {
		if name == "" || strings.Contains(name, "\x00") { // no word of a command holds a zero byte
			return Figure{Value: value}
		}
	}
	if q.From.IsZero() {
		q.From, q.To = b.c.From, b.c.To
	}
	return Figure{Value: value, Query: commandLine(b.c.Command, q)}
}

// outcome is the counts as figures, of the decisions that the query selects; names are those of figure.
func (b *Builder) outcome(o *outcome, q index.Query, names ...string) Outcome {
	q.Kind = index.KindDecision
	with := func(value int64, change func(*index.Query)) Figure {
		own := q
		change(&own)
		return b.figure(value, own, names...)
	}
	yes, no := true, false
	return Outcome{
		Judged:  b.figure(o.judged, q, names...),
		Allowed: with(o.allowed, func(q *index.Query) { q.Allow = &yes }),
		Denied:  with(o.judged-o.allowed, func(q *index.Query) { q.Allow = &no }),
		Warned:  with(o.warned, func(q *index.Query) { q.Enforcement = string(pdp.Warn) }),
		Waived:  with(o.waived, func(q *index.Query) { q.Enforcement = string(pdp.Waived) }),
	}
}

// effects are the counts of a finding as figures: denied, warned and waived; names are those of figure, of which a code
// that reads like a pattern is none.
func (b *Builder) effects(e *effects, q index.Query, names ...string) (denied, warned, waived Figure) {
	q.Kind = index.KindDecision
	if strings.HasSuffix(q.Reason, "*") {
		names = append(names, "")
	}
	of := func(d *distinct, enforcement pdp.Enforcement) Figure {
		q.Enforcement = string(enforcement)
		return b.figure(d.count, q, names...)
	}
	return of(&e.denied, pdp.Deny), of(&e.warned, pdp.Warn), of(&e.waived, pdp.Waived)
}

// Report answers what was counted so far.
func (b *Builder) Report(integrity Integrity) *Report {
	if integrity.Findings == nil {
		integrity.Findings = []string{}
	}
	r := &Report{
		Schema: Schema, Framework: b.c.Framework, From: b.c.From, To: b.c.To, GeneratedAt: b.c.Now, GeneratedBy: b.c.Program,
		Totals: b.reportTotals(), Controls: b.reportControls(), Days: b.reportDays(), Reasons: b.reportReasons(),
		Issuers: b.reportIssuers(), Algorithms: b.reportAlgorithms(), Keys: b.reportKeys(), Revocations: b.reportRevocations(),
		Policy:        Policy{Revisions: b.reportRevisions(), Activated: b.listed(bundlesActive), Refused: b.listed(bundlesRefused)},
		Configuration: b.listed(configurations), Access: b.listed(refusedAccess), TokensRefused: b.listed(refusedTokens),
		Integrity: integrity, Waivers: b.reportWaivers(), Evidence: b.reportEvidence(),
	}
	r.Attention = attention(r)
	r.Limits = b.limits(r)
	return r
}

func (b *Builder) reportTotals() Totals {
	return Totals{
		Records:     b.figure(b.records, index.Query{}),
		Outcome:     b.outcome(&b.totals, index.Query{}),
		Verified:    b.figure(b.verified, index.Query{Kind: index.KindDecision, Status: string(pdp.StatusVerified)}),
		Statuses:    b.reportStatuses(),
		Superseding: b.figure(b.superseding, index.Query{Kind: index.KindDecision, Superseded: true}),
		Changes:     b.figure(b.records-b.totals.judged, index.Query{Kind: index.Changes}),
	}
}

func (b *Builder) reportStatuses() []Status {
	list := make([]Status, 0, len(b.statuses))
	for name, count := range b.statuses {
		list = append(list, Status{Status: name, Judged: b.figure(*count, index.Query{Kind: index.KindDecision, Status: name}, name)})
	}
	rank := func(s Status) int {
		if s.Status == string(pdp.StatusVerified) {
			return 0
		}
		return 1
	}
	slices.SortFunc(list, func(x, y Status) int {
		return cmp.Or(cmp.Compare(rank(x), rank(y)), cmp.Compare(y.Judged.Value, x.Judged.Value), cmp.Compare(x.Status, y.Status))
	})
	return list
}

func (b *Builder) reportControls() []Control {
	reported := make([]Control, 0, len(b.controls))
	for _, counted := range b.controls {
		c := Control{ID: counted.requirement.ID, Text: counted.requirement.Text, Served: "no", Statement: counted.requirement.Otherwise, Rules: []Rule{}, Sections: sections(counted.requirement.ID)}
		if c.Text == "" {
			c.Text = "named by a rule; not among the requirements"
		}
		q := index.Query{Control: c.ID}
		c.Denied, c.Warned, c.Waived = b.effects(&counted.effects, q, c.ID)
		judged := false // of tokens that were not verified, too
		for _, code := range slices.Sorted(maps.Keys(counted.rules)) {
			rule := *counted.rules[code].rule
			rule.Denied, rule.Warned, rule.Waived = b.effects(&counted.rules[code].effects, index.Query{Control: c.ID, Reason: code}, c.ID, code)
			c.Rules = append(c.Rules, rule)
			judged = judged || examines(code)
		}
		switch {
		case len(c.Rules) == 0 && c.Statement != "":
			c.Served = "process"
		case len(c.Rules) > 0:
			c.Served = "rules"
		}
		switch {
		case c.Served != "rules":
			c.Judged = b.figure(0, index.Query{Control: c.ID})
		case judged:
			c.Judged = b.figure(b.totals.judged, index.Query{Kind: index.KindDecision})
		default:
			c.Judged = b.figure(b.verified, index.Query{Kind: index.KindDecision, Status: string(pdp.StatusVerified)})
		}
		reported = append(reported, c)
	}
	return reported
}

// examines says whether a code is found by the examination of a token, so that it judges those that are never verified.
func examines(code string) bool {
	return strings.HasPrefix(code, "signature.") || strings.HasPrefix(code, "algorithm.") || strings.HasPrefix(code, "policy.")
}

func (b *Builder) reportDays() []Day {
	days := make([]Day, len(b.days))
	for i := range b.days {
		begin := time.Unix((b.firstDay+int64(i))*day, 0).UTC()
		from, to := begin, begin.Add(day*time.Second)
		if from.Before(b.c.From) {
			from = b.c.From
		}
		if to.After(b.c.To) {
			to = b.c.To
		}
		days[i] = Day{Date: begin.Format(time.DateOnly), Outcome: b.outcome(&b.days[i], index.Query{From: from, To: to})}
	}
	return days
}

// reportReasons are the codes, the most frequent first.
func (b *Builder) reportReasons() []Finding {
	list := make([]Finding, 0, len(b.reasons))
	for code, e := range b.reasons {
		f := Finding{Code: code, Title: b.c.Catalogue.titleOf(code)}
		f.Denied, f.Warned, f.Waived = b.effects(e, index.Query{Reason: code}, code)
		list = append(list, f)
	}
	all := func(f Finding) int64 { return f.Denied.Value + f.Warned.Value + f.Waived.Value }
	slices.SortFunc(list, func(x, y Finding) int { return cmp.Or(cmp.Compare(all(y), all(x)), cmp.Compare(x.Code, y.Code)) })
	return list
}

func (b *Builder) reportIssuers() []Issuer {
	list := make([]Issuer, 0, len(b.issuers))
	for name, counted := range b.issuers {
		q := index.Query{Issuer: name, Status: string(pdp.StatusVerified)}
		list = append(list, Issuer{
			Issuer: name, Outcome: b.outcome(&counted.outcome, q, name), Longest: b.lifetime(counted.longest),
			LongestAllowed: b.lifetime(counted.longestAllowed), LimitSeconds: int64(b.c.Lifetimes[name] / time.Second),
		})
	}
	slices.SortFunc(list, func(x, y Issuer) int {
		return cmp.Or(cmp.Compare(y.Judged.Value, x.Judged.Value), cmp.Compare(x.Issuer, y.Issuer))
	})
	return list
}

func (b *Builder) lifetime(l longest) *Lifetime {
	if l.seconds == 0 {
		return nil
	}
	return &Lifetime{Seconds: l.seconds, DecisionID: l.decision, Query: b.one(l.decision)}
}

// one is the command that shows a decision; there is none for one without an id.
func (b *Builder) one(decision string) string {
	if decision == "" || strings.Contains(decision, "\x00") {
		return ""
	}
	return commandLine(b.c.Command, index.Query{DecisionID: decision})
}

func (b *Builder) reportAlgorithms() []Algorithm {
	list := make([]Algorithm, 0, len(b.algorithms))
	for name, counted := range b.algorithms {
		list = append(list, Algorithm{Algorithm: name, Outcome: b.outcome(counted, index.Query{Alg: name, Status: string(pdp.StatusVerified)}, name)})
	}
	slices.SortFunc(list, func(x, y Algorithm) int {
		return cmp.Or(cmp.Compare(y.Judged.Value, x.Judged.Value), cmp.Compare(x.Algorithm, y.Algorithm))
	})
	return list
}

func (b *Builder) reportRevisions() []Revision {
	list := make([]Revision, 0, len(b.revisions))
	for name, s := range b.revisions {
		recorded, known := b.revisionPut[name]
		if !known {
			recorded = -1
		}
		list = append(list, Revision{Revision: name, First: s.first, Last: s.last, Recorded: recorded,
			Judged: b.figure(s.count, index.Query{Kind: index.KindDecision, Revision: name}, name)})
	}
	slices.SortFunc(list, func(x, y Revision) int { return cmp.Or(x.First.Compare(y.First), cmp.Compare(x.Revision, y.Revision)) })
	return list
}

func (b *Builder) listed(pattern string) Changes {
	list := b.changes[pattern]
	c := Changes{Count: b.figure(list.count, index.Query{Kind: pattern}), Listed: list.kept}
	if c.Listed == nil {
		c.Listed = []Change{}
	}
	return c
}
