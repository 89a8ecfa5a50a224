package report

import (
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// measured says what the times of a revocation are, for whoever reads them as something else.
const measured = "Each time is the difference of two timestamps in the log: from the record of the revocation to the first deny recorded after it " +
	"that names this kind of revocation. It counts how long nobody brought such a token, too, so it is the longest that the revocation can have taken " +
	"to reach the decisions in this log, not the delay of its spreading, which replicas measure themselves (metrics) and do not record here. Denies that were recorded " +
	"before the revocation's own record are not counted; a time below zero tells that the clocks of who revoked and of who decided differ by as much at least. Tokens, subjects and sessions are written as pseudonyms that last for a period (audit.pseudonyms.period): a deny in a " +
	"later period than the revocation's is not told to be its. Allows after a revocation are counted for revoked keys alone: entries for clients, subjects and " +
	"issuers spare tokens issued later, and records do not tell when a token was issued."

// What makes a decision this entry's.
const (
	// matchRow: the decision's issuer and client or verifying key are those that were revoked.
	matchRow = "exact"
	// matchRecord: the token's identifier, subject or session is written, in the decision's record, as the same text, most
	// often a pseudonym.
	matchRecord = "same text in the record"
	// matchNone: the record of the revocation does not say what it is about.
	matchNone = "not told"
)

// revocations are the entries of the period and what decisions show of them.
type revocations struct {
	entries []*revocation
	// byRow finds entries by what rows tell: (client, issuer, id), (key, issuer, thumbprint), (issuer, issuer, "").
	byRow map[about][]*revocation
	// byRecord finds the others by what the record tells, waiting counts those of a kind and issuer that no deny was
	// found of yet: without such no record is read.
	byRecord map[about]*revocation
	waiting  map[about]int
	// reads is how many records of decisions were read, tooMany that there were more to be read.
	reads   int
	tooMany bool
}

type about struct{ kind, issuer, value string }

type revocation struct {
	Revocation
	value    string // of what is revoked, as the record has it
	lifted   bool
	allowed  int64
	lastSeen time.Time
}

func (r *revocations) added(change Change, event *audit.Event) {
	entry := &revocation{Revocation: Revocation{Change: change, Match: matchNone}}
	r.entries = append(r.entries, entry)
	entry.What, _ = change.Details["revocation_kind"].(string)
	entry.Issuer, _ = change.Details["issuer"].(string)
	if event == nil || event.Input.Change.About == nil {
		return
	}
	of := about{event.Input.Change.About.Kind, event.Input.Change.About.Issuer, event.Input.Change.About.Value}
	entry.What, entry.Issuer, entry.value = of.kind, of.issuer, of.value
	if r.byRow == nil {
		r.byRow, r.byRecord, r.waiting = make(map[about][]*revocation), make(map[about]*revocation), make(map[about]int)
	}
	switch of.kind {
	case "client", "key", "issuer":
		entry.Match = matchRow
		r.byRow[of] = append(r.byRow[of], entry)
	case "token", "subject", "session":
		if of.value == "" {
			return // erased: nothing can be told to be the same
		}
		entry.Match = matchRecord
		if r.byRecord[of] == nil {
			r.waiting[about{of.kind, of.issuer, ""}]++
		}
		r.byRecord[of] = entry
	}
}

func (r *revocations) removed(change *Change) {
	for _, entry := range r.entries {
		if entry.Target != change.Target || entry.lifted {
			continue
		}
		entry.lifted = true
		if entry.Match == matchRecord && entry.FirstDenied == nil {
			r.waiting[about{entry.What, entry.Issuer, ""}]--
		}
	}
}

// readsMost bounds how many records of denies are read to find what they are about.
const readsMost = 10_000

// decided looks whether a decision shows an entry's effect. Most are of what nothing was revoked of.
func (r *revocations) decided(row *index.Row, read func() *audit.Event) {
	if len(r.entries) == 0 || row.Issuer == "" {
		return
	}
	if row.Allow {
		for _, entry := range r.byRow[about{"key", row.Issuer, row.Key}] {
			if !entry.lifted && !row.Time.Before(entry.At) {
				entry.allowed++
				entry.lastSeen = row.Time
			}
		}
		return
	}
	for _, reason := range row.Reasons {
		kind, revoked := strings.CutPrefix(reason.Code, "revocation.")
		if !revoked || reason.Enforcement != string(pdp.Deny) {
			continue
		}
		switch kind {
		case "client":
			r.denied(row, r.byRow[about{kind, row.Issuer, row.Client}]...)
		case "key":
			r.denied(row, r.byRow[about{kind, row.Issuer, row.Key}]...)
		case "issuer":
			r.denied(row, r.byRow[about{kind, row.Issuer, ""}]...)
		case "token", "subject", "session":
			r.lookInto(row, kind, read)
		}
	}
}

// lookInto reads the record of a deny for what was revoked, while there is an entry that no deny was found of.
func (r *revocations) lookInto(row *index.Row, kind string, read func() *audit.Event) {
	all := about{kind, row.Issuer, ""}
	if r.waiting[all] == 0 {
		return
	}
	if r.reads >= readsMost {
		r.tooMany = true
		return
	}
	r.reads++
	event := read()
	if event == nil || event.Input.Token == nil {
		return
	}
	var value string
	switch kind {
	case "token":
		value = event.Input.Token.ID
	case "subject":
		value, _ = event.Input.Token.Claims["sub"].(string)
	case "session":
		value, _ = event.Input.Token.Claims["sid"].(string)
	}
	if entry := r.byRecord[about{kind, row.Issuer, value}]; entry != nil && value != "" && entry.FirstDenied == nil {
		r.denied(row, entry)
		r.waiting[all]--
	}
}

func (r *revocations) denied(row *index.Row, entries ...*revocation) {
	for _, entry := range entries {
		if entry.FirstDenied == nil && !entry.lifted {
			after := row.Time.Sub(entry.At).Seconds()
			entry.FirstDenied, entry.DeniedAfterSeconds = &Seen{DecisionID: row.DecisionID, At: row.Time}, &after
		}
	}
}
