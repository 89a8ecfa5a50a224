package report

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// The changes that are listed together, as patterns of index.Query.Kind.
const (
	keyChanges      = "key.*"
	issuedTokens    = string(pdp.TokenIssued)
	bundlesActive   = string(pdp.BundleActivated)
	bundlesRefused  = string(pdp.BundleRefused)
	configurations  = string(pdp.ConfigActivated)
	refusedAccess   = string(pdp.AccessRefused)
	logRecovered    = string(pdp.LogRecovered)
	logTrimmed      = string(pdp.LogTrimmed)
	logDropped      = string(pdp.LogDropped)
	logUndelivered  = string(pdp.LogUndelivered)
	refusedTokens   = string(pdp.TokenRefused)
	revocationAdded = string(pdp.RevocationAdded)
	revocationEnded = string(pdp.RevocationRemoved)
)

var kinds = []string{
	keyChanges, issuedTokens, bundlesActive, bundlesRefused, configurations, refusedAccess, logRecovered, logTrimmed, logDropped, logUndelivered,
	refusedTokens, revocationAdded, revocationEnded,
}

// listed are the changes of one pattern.
type listed struct {
	count int64
	kept  []Change
}

type keyChange struct{ target, kind string }

// read bounds how many records of one pattern are read.
const readMost = 5000

// addChange counts a change and, where it is listed or measured, reads its record.
func (b *Builder) addChange(ctx context.Context, r *index.Row) error {
	pattern := r.Kind
	if strings.HasPrefix(r.Kind, strings.TrimSuffix(keyChanges, "*")) {
		pattern = keyChanges
	}
	list := b.changes[pattern]
	if list == nil || pattern == issuedTokens {
		if list != nil {
			list.count++
		}
		return nil // counted among all changes
	}
	list.count++
	most := b.c.Listed
	if pattern != refusedAccess && pattern != refusedTokens {
		most = readMost
	}
	if list.count > int64(most) {
		b.passed["changes "+pattern] = true
		return nil
	}
	change, event := b.read(ctx, r)
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(list.kept) < b.c.Listed {
		list.kept = append(list.kept, change)
	}
	switch pattern {
	case keyChanges:
		b.addKeyChange(&change)
	case bundlesActive, configurations:
		if revision, ok := change.Details["policy_revision"].(string); ok && len(b.revisionPut) < 10*b.c.Names {
			b.revisionPut[revision] = change.Index
		}
	case logDropped:
		addRecords(&b.lost, &change)
	case logUndelivered:
		addRecords(&b.undelivered, &change)
	case revocationAdded:
		b.revocations.added(change, event)
	case revocationEnded:
		b.revocations.removed(&change)
	}
	return nil
}

// addRecords adds up how many records a change tells of. However much one says, the sum is never less than what honest ones
// say.
func addRecords(sum *int64, c *Change) {
	n, _ := number(c.Details, "records")
	*sum += min(max(n, 0), math.MaxInt64-*sum)
}

// read gives a change as it is listed, and its record where that could be read.
func (b *Builder) read(ctx context.Context, r *index.Row) (Change, *audit.Event) {
	listed := Change{Index: r.Index, At: r.Time, Kind: r.Kind, Actor: r.Caller}
	event, err := b.c.Event(ctx, r.Index)
	switch {
	case err != nil:
		listed.Unread = "the record could not be read: " + err.Error()
		return listed, nil
	case event.Input.Change == nil:
		listed.Unread = "the record says nothing of what was changed"
		return listed, nil
	}
	change := event.Input.Change
	listed.Target, listed.Reason, listed.Ticket, listed.Details = change.Target, change.Reason, change.Ticket, change.Details
	return listed, event
}

func (b *Builder) addKeyChange(c *Change) {
	for _, plan := range b.c.Keys {
		if plan.Name != c.Target {
			continue
		}
		b.keyChanges[keyChange{c.Target, c.Kind}]++
		// A compromise makes new versions, too: the custodian's way of it ends in one that signs.
		if c.Kind == string(pdp.KeyRotated) || c.Kind == string(pdp.KeyCompromised) {
			b.rotated[c.Target] = append(b.rotated[c.Target], c.At)
		}
	}
}

// number reads a detail, which is a json.Number in a record.
func number(details map[string]any, name string) (int64, bool) {
	switch n := details[name].(type) {
	case json.Number:
		i, err := n.Int64()
		return i, err == nil
	case int64:
		return n, true
	case float64:
		return int64(n), true
	}
	return 0, false
}

// waiverCount is how often a waiver covered a finding.
type waiverCount struct {
	waiver *Waiver
	distinct
}

// addWaived counts a waived finding for the waivers that name its issuer, client and audience.
func (b *Builder) addWaived(r *index.Row, code string) {
	for _, w := range b.waived[code] {
		if (w.waiver.Issuer == "" || w.waiver.Issuer == r.Issuer) && (w.waiver.Client == "" || w.waiver.Client == r.Client) &&
			(w.waiver.Audience == "" || w.waiver.Audience == r.Audience) {
			w.add(b.seq)
		}
	}
}

// evidence watches the sequence of records.
type evidence struct {
	first, last Mark
	any         bool
	rows        int64
	silent      []Silence
	// outside are the indexes of rows at other times.
	outside []int64
}

// Margin is how long before and after the period rows are to be given, so that records whose timestamps are not in the
// log's order are not taken for missing.
const Margin = time.Minute

func (e *evidence) besides(r *index.Row) {
	const most = 1 << 20
	if len(e.outside) < most {
		e.outside = append(e.outside, r.Index)
	}
}

const silencesListed = 20

func (e *evidence) add(r *index.Row, over time.Duration) {
	here := Mark{r.Index, r.Time}
	e.rows++
	if !e.any {
		e.first, e.last, e.any = here, here, true
		return
	}
	if pause := here.At.Sub(e.last.At); pause > over {
		s := Silence{From: e.last.At, To: here.At, Seconds: int64(pause / time.Second), Says: "the records do not say whether the program ran and nobody asked"}
		switch r.Kind {
		case logRecovered:
			s.Says = "it ends with the log being written again: records could not be written, or the program did not run"
		case configurations:
			s.Says = "it ends with a configuration coming into force, as at a start: the program may not have run"
		}
		e.keep(s)
	}
	if here.Index > e.last.Index {
		e.last.Index = here.Index
	}
	if here.At.After(e.last.At) {
		e.last.At = here.At
	}
	e.first.Index = min(e.first.Index, here.Index)
}

// keep holds the longest silences, longest first.
func (e *evidence) keep(s Silence) {
	at := len(e.silent)
	for at > 0 && e.silent[at-1].Seconds < s.Seconds {
		at--
	}
	if at >= silencesListed {
		return
	}
	e.silent = append(e.silent[:at], append([]Silence{s}, e.silent[at:]...)...)
	e.silent = e.silent[:min(len(e.silent), silencesListed)]
}
