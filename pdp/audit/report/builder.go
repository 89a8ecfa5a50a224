package report

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// Config says what to report on.
type Config struct {
	// Framework, From, To and Catalogue are required. To is the first moment after the period.
	Framework Framework
	From, To  time.Time
	Catalogue *Catalogue
	// Now is when the report is made; required.
	Now time.Time
	// Program names the program and its version.
	Program string
	// Command begins the commands that list records, as words; default assay audit query.
	Command []string
	// Event reads one record; required. It is asked in the log's order: for changes, at most some thousands of each kind,
	// and for denies of what was revoked, at most 10,000, while it is not known which entry caused them.
	Event func(ctx context.Context, index int64) (*audit.Event, error)
	// Keys is the plan that rotations are compared with; none where no configuration is given.
	Keys []KeyPlan
	// RotatedBefore holds the last rotation of each key before the period.
	RotatedBefore map[string]time.Time
	// RevisionsBefore holds the index of the change that put each policy revision in force before the period.
	RevisionsBefore map[string]int64
	// Lifetimes holds the hard limit of each issuer.
	Lifetimes map[string]time.Duration
	// Waivers are those of the policy configuration that WaiversFrom names; without a name they are not known.
	Waivers     []Waiver
	WaiversFrom string
	// OldestKept is the time of the oldest record that the log holds; zero for an empty log.
	OldestKept time.Time
	// Notes are further sentences for Limits, of what was given to this report.
	Notes []string
	// Listed is how many changes of one kind are listed; default 200. All are counted.
	Listed int
	// Names is how many issuers, keys, algorithms, revisions and codes are counted one by one, of each; default 1000.
	// Further ones count in the totals only, and Limits says so.
	Names int
	// SilentOver is how long no record may come before it is told; default 1 h.
	SilentOver time.Duration
}

// KeyPlan is the period of a signing key.
type KeyPlan struct {
	Name        string
	RotateEvery time.Duration
}

// Builder counts rows. It is not safe for concurrent use.
type Builder struct {
	c       Config
	seq     int64 // of the row that is added, from 1
	totals  outcome
	records int64
	// verified, superseding and maskFailed count rows.
	verified, superseding, maskFailed int64
	statuses                          map[string]*int64
	days                              []outcome
	firstDay                          int64 // since the epoch
	controls                          []*control
	byControl                         map[string]*control
	reasons                           map[string]*effects
	resolved                          map[index.ReasonRef]*counters
	issuers                           map[string]*issuerCount
	algorithms                        map[string]*outcome
	keys                              map[usedKey]*span
	revisions                         map[string]*span
	waived                            map[string][]*waiverCount // by the rule's code
	passed                            map[string]bool           // which lists are full
	changes                           map[string]*listed        // by the beginning of their kinds
	revocations                       revocations
	evidence                          evidence
	lost                              int64                  // records that buffered mode dropped, as log.dropped says
	undelivered                       int64                  // records that a destination was not given, as log.undelivered says
	rotated                           map[string][]time.Time // of the keys that are planned
	keyChanges                        map[keyChange]int64
	revisionPut                       map[string]int64 // policy revision to the index of the change that put it in force
}

type usedKey struct{ thumbprint, issuer, algorithm string }

// span is a count, and from when until when.
type span struct {
	count       int64
	first, last time.Time
}

func (s *span) add(at time.Time) {
	if s.count++; s.count == 1 || at.Before(s.first) {
		s.first = at
	}
	if at.After(s.last) {
		s.last = at
	}
}

type issuerCount struct {
	outcome
	longest, longestAllowed longest
}

type longest struct {
	seconds  int64
	decision string
}

func (l *longest) add(r *index.Row) {
	if r.Lifetime > l.seconds {
		l.seconds, l.decision = r.Lifetime, r.DecisionID
	}
}

const day = 24 * 60 * 60 // seconds

// New answers a builder that has seen nothing.
func New(c Config) (*Builder, error) {
	switch {
	case c.Catalogue == nil, c.Event == nil, c.Now.IsZero(), c.Framework.Prefix == "":
		return nil, errors.New("a report needs a framework, a catalogue, a way to read records and the time")
	case !c.From.Before(c.To):
		return nil, fmt.Errorf("a report is about a time: %s is not before %s", c.From.UTC().Format(time.RFC3339), c.To.UTC().Format(time.RFC3339))
	case c.To.Sub(c.From) > maxPeriod:
		return nil, fmt.Errorf("a report is about two years at most: from %s to %s is more", c.From.UTC().Format(time.RFC3339), c.To.UTC().Format(time.RFC3339))
	}
	c.From, c.To, c.Now = c.From.UTC(), c.To.UTC(), c.Now.UTC()
	if len(c.Command) == 0 {
		c.Command = []string{"assay", "audit", "query"}
	}
	if c.Listed <= 0 {
		c.Listed = 200
	}
	if c.Names <= 0 {
		c.Names = 1000
	}
	if c.SilentOver <= 0 {
		c.SilentOver = time.Hour
	}
	first := floorDay(c.From)
	b := &Builder{
		c: c, firstDay: first, days: make([]outcome, floorDay(c.To.Add(-1))-first+1),
		byControl: make(map[string]*control), reasons: make(map[string]*effects), resolved: make(map[index.ReasonRef]*counters),
		issuers: make(map[string]*issuerCount), algorithms: make(map[string]*outcome), keys: make(map[usedKey]*span),
		revisions: make(map[string]*span), waived: make(map[string][]*waiverCount), passed: make(map[string]bool),
		changes: make(map[string]*listed), statuses: make(map[string]*int64), rotated: make(map[string][]time.Time), keyChanges: make(map[keyChange]int64),
		revisionPut: maps.Clone(c.RevisionsBefore),
	}
	if b.revisionPut == nil {
		b.revisionPut = make(map[string]int64)
	}
	for i := range c.Waivers {
		code := c.Waivers[i].Rule
		b.waived[code] = append(b.waived[code], &waiverCount{waiver: &c.Waivers[i]})
	}
	for _, kind := range kinds {
		b.changes[kind] = &listed{}
	}
	for _, r := range c.Catalogue.requirements(c.Framework.Prefix) {
		counted := &control{requirement: r, rules: make(map[string]*ruleCount)}
		for code, rule := range c.Catalogue.serving(r.ID) {
			counted.rules[code] = &ruleCount{rule: rule}
		}
		b.controls, b.byControl[r.ID] = append(b.controls, counted), counted
	}
	return b, nil
}

const maxPeriod = 2 * 366 * 24 * time.Hour

// floorDay is the number of the day in UTC since the epoch.
func floorDay(at time.Time) int64 {
	seconds := at.Unix()
	days := seconds / day
	if seconds%day < 0 {
		days--
	}
	return days
}

// Build counts all rows, of which those outside the period are left out, and answers the report.
func Build(ctx context.Context, c Config, rows iter.Seq2[index.Row, error], integrity Integrity) (*Report, error) {
	b, err := New(c)
	if err != nil {
		return nil, err
	}
	for row, err := range rows {
		if err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
		if err := b.Add(ctx, &row); err != nil {
			return nil, err
		}
	}
	return b.Report(integrity), nil
}

// Last answers the index of the last record that was counted, -1 where there was none.
func (b *Builder) Last() int64 {
	if !b.evidence.any {
		return -1
	}
	return b.evidence.last.Index
}

// Add counts a row, which is not kept. Rows come in the log's order, and begin and end Margin outside the period: near its
// ends the order of the records need not be that of their timestamps. The error is the context's: a record that
// cannot be read is told in the report.
func (b *Builder) Add(ctx context.Context, r *index.Row) error {
	if r.Time.Before(b.c.From) || !r.Time.Before(b.c.To) {
		b.evidence.besides(r)
		return nil
	}
	b.seq++
	b.records++
	b.evidence.add(r, b.c.SilentOver)
	if r.MaskFailed {
		b.maskFailed++
	}
	if r.Kind != index.KindDecision {
		return b.addChange(ctx, r)
	}
	return b.addDecision(ctx, r)
}

func (b *Builder) addDecision(ctx context.Context, r *index.Row) error {
	var warned, waived bool
	for _, reason := range r.Reasons {
		b.counters(reason).add(b.seq)
		warned = warned || reason.Enforcement == string(pdp.Warn)
		if reason.Enforcement == string(pdp.Waived) {
			waived = true
			b.addWaived(r, reason.Code)
		}
	}
	b.totals.add(r, warned, waived)
	b.days[floorDay(r.Time)-b.firstDay].add(r, warned, waived)
	if status := named(b, "statuses", b.statuses, r.Status); status != nil {
		*status++
	}
	if r.Superseded {
		b.superseding++
	}
	if revision := named(b, "policy revisions", b.revisions, r.Revision); revision != nil {
		revision.add(r.Time)
	}
	b.revocations.decided(r, func() *audit.Event {
		event, err := b.c.Event(ctx, r.Index)
		if err != nil {
			return nil // the deny is counted; whose entry it shows is not told
		}
		return event
	})
	if r.Status != string(pdp.StatusVerified) {
		return ctx.Err()
	}
	b.verified++
	if issuer := named(b, "issuers", b.issuers, r.Issuer); issuer != nil {
		issuer.add(r, warned, waived)
		issuer.longest.add(r)
		if r.Allow {
			issuer.longestAllowed.add(r)
		}
	}
	if algorithm := named(b, "algorithms", b.algorithms, r.Alg); algorithm != nil {
		algorithm.add(r, warned, waived)
	}
	if key := named(b, "keys", b.keys, usedKey{r.Key, r.Issuer, r.Alg}); key != nil {
		key.add(r.Time)
	}
	return ctx.Err()
}

// named answers the entry of a key, nil where the list is full.
func named[K comparable, V any](b *Builder, list string, entries map[K]*V, key K) *V {
	entry := entries[key]
	if entry == nil {
		if len(entries) >= b.c.Names {
			b.passed[list] = true
			return nil
		}
		entry = new(V)
		entries[key] = entry
	}
	return entry
}

// counters answers what a finding adds to; they are looked up once for each finding that differs.
func (b *Builder) counters(reason index.ReasonRef) *counters {
	reason.Severity = "" // nothing is counted by it
	found := b.resolved[reason]
	if found != nil {
		return found
	}
	found = &counters{}
	if code := named(b, "reason codes", b.reasons, reason.Code); code != nil {
		found.each = append(found.each, code.of(reason.Enforcement))
	}
	for _, id := range reason.ControlIDs() {
		if !strings.HasPrefix(id, b.c.Framework.Prefix) {
			continue
		}
		serves := b.byControl[id]
		if serves == nil {
			if len(b.controls) >= b.c.Names {
				b.passed["controls"] = true
				continue
			}
			serves = &control{requirement: CatalogueRequirement{ID: id}, rules: make(map[string]*ruleCount)}
			b.controls, b.byControl[id] = append(b.controls, serves), serves
		}
		found.each = append(found.each, serves.of(reason.Enforcement))
		if rule := serves.rule(reason.Code, b.c.Names); rule != nil {
			found.each = append(found.each, rule.of(reason.Enforcement))
		}
	}
	if len(b.resolved) < 10*b.c.Names { // past that the work is done again rather than remembered
		b.resolved[reason] = found
	}
	return found
}
