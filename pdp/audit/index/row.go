package index

import (
	"slices"
	"strings"
	"time"
)

// Row is what the index knows of one record. Strings and Reasons may be shared between rows: not to be changed.
// A member that its record does not have is the zero value.
type Row struct {
	// Index is the record's place in the log, from zero.
	Index int64
	// Time is the record's timestamp, in UTC.
	Time time.Time
	// Kind is KindDecision or a pdp.ChangeKind.
	Kind string
	// Allow is the answer of a decision; false for a change.
	Allow bool
	// Status is how far the token's examination came (pdp.Status).
	Status string
	// Issuer and Client are those of a verified token ("iss", "client_id"); Client may be a pseudonym.
	Issuer, Client string
	// Audience and TokenType are what the caller asked about, with what was filled in for it.
	Audience, TokenType string
	// Caller is who asked for a decision, or who made a change.
	Caller string
	// Alg is the header's algorithm, Key the thumbprint (RFC 7638) of the key that verified.
	Alg, Key string
	// Revision is that of the policy which decided.
	Revision string
	// DecisionID is the ULID in the answer; of a change its own.
	DecisionID string
	// Lifetime is the token's exp - iat in seconds; zero where one of them is missing.
	Lifetime int64
	// Latency is what the decision took until it was recorded.
	Latency time.Duration
	// Superseded says that this is a deny in place of an allow that was recorded and never answered (its id stands in
	// the record as result.supersedes).
	Superseded bool
	// MaskFailed says that the mask did not work, and that everything was masked for it.
	MaskFailed bool
	// Reasons are the findings in the order of the record.
	Reasons []ReasonRef
	// Waived says that at least one finding was waived.
	Waived bool
}

// ReasonRef is one finding of a decision as the index keeps it. It is comparable.
type ReasonRef struct {
	// Code is "family.name"; Enforcement is "deny", "warn" or "waived"; Severity "low" to "critical".
	Code, Enforcement, Severity string
	// Controls are the ids of the controls that the rule served, as recorded, separated by blanks.
	Controls string
}

// ControlIDs are the controls one by one.
func (r ReasonRef) ControlIDs() []string { return strings.Fields(r.Controls) }

// KindDecision is the Kind of a decision's record.
const KindDecision = "decision"

// Query selects records. What is empty does not restrict. The zero value selects everything.
type Query struct {
	// From is the first moment, To the first one that is no longer meant.
	From, To time.Time
	// First and End bound the index: First <= index < End; an End of zero is the log's end.
	First, End int64
	// Kind is KindDecision, a pdp.ChangeKind, or "change" for all changes. A trailing "*" stands for any ending.
	Kind string
	// Reason is a reason's code; with a trailing "*" (such as "lifetime.*") any that begins so. Control is the id of a
	// control that a finding served, Enforcement "deny", "warn" or "waived". One finding must meet all three.
	Reason, Control, Enforcement string
	// Issuer, Client, Audience and Caller are exact.
	Issuer, Client, Audience, Caller string
	// Status, Alg, Key and Revision are exact.
	Status, Alg, Key, Revision string
	// Superseded and MaskFailed select only records of which the row says so.
	Superseded, MaskFailed bool
	// DecisionID is exact. Since it begins with its time, few segments are looked at for it.
	DecisionID string
	// Subjects are subjects as they stand in records, most often pseudonyms ("p:2026-11.v1:…"), of which any will do:
	// one person has another one in each period and with each issuer.
	Subjects []string
	// Allow, where given, selects decisions with this answer.
	Allow *bool
	// Newest yields the newest record first.
	Newest bool
	// Unindexed reads the records of sealed segments too, rather than their indexes.
	Unindexed bool
}

// Changes is the Query.Kind of everything that is no decision.
const Changes = "change"

func matchesKind(kind, wanted string) bool {
	if wanted == Changes {
		return kind != KindDecision
	}
	return matchesPattern(kind, wanted)
}

func matchesPattern(value, pattern string) bool {
	if beginning, open := strings.CutSuffix(pattern, "*"); open {
		return strings.HasPrefix(value, beginning)
	}
	return value == pattern
}

// Matches says whether the query selects the row, all of it apart from Subjects, which is not in a row.
func (q *Query) Matches(r *Row) bool {
	switch {
	case !q.From.IsZero() && r.Time.Before(q.From),
		!q.To.IsZero() && !r.Time.Before(q.To),
		r.Index < q.First,
		q.End != 0 && r.Index >= q.End,
		q.Allow != nil && (r.Kind != KindDecision || r.Allow != *q.Allow),
		q.Kind != "" && !matchesKind(r.Kind, q.Kind),
		q.Issuer != "" && r.Issuer != q.Issuer,
		q.Client != "" && r.Client != q.Client,
		q.Audience != "" && r.Audience != q.Audience,
		q.Caller != "" && r.Caller != q.Caller,
		q.Status != "" && r.Status != q.Status,
		q.Alg != "" && r.Alg != q.Alg,
		q.Key != "" && r.Key != q.Key,
		q.Revision != "" && r.Revision != q.Revision,
		q.Superseded && !r.Superseded,
		q.MaskFailed && !r.MaskFailed,
		q.DecisionID != "" && r.DecisionID != q.DecisionID,
		q.asksReasons() && !slices.ContainsFunc(r.Reasons, q.matchesReason):
		return false
	}
	return true
}

func (q *Query) asksReasons() bool { return q.Reason != "" || q.Control != "" || q.Enforcement != "" }

func (q *Query) matchesReason(r ReasonRef) bool {
	return (q.Reason == "" || matchesPattern(r.Code, q.Reason)) &&
		(q.Enforcement == "" || r.Enforcement == q.Enforcement) &&
		(q.Control == "" || r.serves(q.Control))
}

// serves says whether the finding served the control, without allocating: it is asked of every row.
func (r ReasonRef) serves(control string) bool {
	for id := range strings.SplitSeq(r.Controls, " ") {
		if id == control {
			return true
		}
	}
	return false
}
