package index

import (
	"math"
	"slices"
	"time"
)

// filter is a query, worked out for one table: which values of each dictionary it accepts. A query that names
// something that a dictionary does not have is told to be empty before a single row is looked at.
type filter struct {
	accepts  [dictionaryColumns][]bool // nil accepts all
	from, to int64                     // nanoseconds, from <= time < to
	flags    byte                      // that must be set
	allow    *bool
	subjects []uint64
	id       string
}

// filter gives nil where no row can match.
func (t *table) filter(q *Query) *filter {
	f := &filter{from: bound(q.From, math.MinInt64), to: bound(q.To, math.MaxInt64), allow: q.Allow, id: q.DecisionID}
	for _, subject := range q.Subjects {
		f.subjects = append(f.subjects, subjectHash([]byte(subject)))
	}
	f.flags = flag(supersededFlag, q.Superseded) | flag(maskFailedFlag, q.MaskFailed)
	for column, wanted := range [...]string{
		statusColumn: q.Status, issuerColumn: q.Issuer, clientColumn: q.Client, audienceColumn: q.Audience,
		callerColumn: q.Caller, algColumn: q.Alg, keyColumn: q.Key, revisionColumn: q.Revision,
	} {
		if wanted != "" && !f.accept(t, column, func(place int) bool { return t.columns[column].values[place] == wanted }) {
			return nil
		}
	}
	kinds := t.columns[kindColumn].values
	if q.Kind != "" && !f.accept(t, kindColumn, func(place int) bool { return matchesKind(kinds[place], q.Kind) }) {
		return nil
	}
	if q.Allow != nil && !f.accept(t, kindColumn, func(place int) bool {
		return kinds[place] == KindDecision && (q.Kind == "" || matchesKind(KindDecision, q.Kind))
	}) {
		return nil
	}
	if q.asksReasons() && !f.accept(t, reasonsColumn, func(place int) bool { return slices.ContainsFunc(t.reasons[place], q.matchesReason) }) {
		return nil
	}
	return f
}

// bound is a moment in nanoseconds; one that 64 bits do not reach, as well as none at all, bounds nothing or everything.
func bound(at time.Time, open int64) int64 {
	switch {
	case at.IsZero():
		return open
	case at.Year() < 1970:
		return math.MinInt64
	case at.Year() > 2200:
		return math.MaxInt64
	}
	return at.UnixNano()
}

// accept works out a column and says whether any of its values is accepted.
func (f *filter) accept(t *table, column int, wanted func(place int) bool) bool {
	accepts, some := make([]bool, len(t.columns[column].values)), false
	for place := range accepts {
		accepts[place] = wanted(place)
		some = some || accepts[place]
	}
	f.accepts[column] = accepts
	return some
}

// matches is Query.Matches for the i-th record, by codes.
func (f *filter) matches(t *table, i int) bool {
	if t.times[i] < f.from || t.times[i] >= f.to {
		return false
	}
	for column, accepts := range f.accepts {
		if accepts != nil && !accepts[t.columns[column].codes[i]] {
			return false
		}
	}
	return t.flags[i]&f.flags == f.flags &&
		(f.allow == nil || (t.flags[i]&allowFlag != 0) == *f.allow) &&
		(f.subjects == nil || slices.Contains(f.subjects, t.subject[i])) &&
		(f.id == "" || t.row(i).DecisionID == f.id)
}
