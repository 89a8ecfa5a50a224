package report

import (
	"cmp"
	"slices"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// lateAfter is how much longer than its period a key may sign before a rotation is called late: the custodian looks at
// intervals, and waits where Vault is away.
const lateAfter = time.Hour

// The verdicts on a key's rotations.
const (
	OnPlan  = "on plan"
	Late    = "late"
	NotTold = "not told"
)

func (b *Builder) reportKeys() Keys {
	keys := Keys{Planned: make([]PlannedKey, 0, len(b.c.Keys)), Changes: b.listed(keyChanges), Used: make([]UsedKey, 0, len(b.keys))}
	for _, plan := range b.c.Keys {
		keys.Planned = append(keys.Planned, b.planned(plan))
	}
	slices.SortFunc(keys.Planned, func(x, y PlannedKey) int { return cmp.Compare(x.Name, y.Name) })
	for key, s := range b.keys {
		keys.Used = append(keys.Used, UsedKey{
			Thumbprint: key.thumbprint, Issuer: key.issuer, Algorithm: key.algorithm, First: s.first, Last: s.last,
			Judged: b.figure(s.count, index.Query{Kind: index.KindDecision, Status: string(pdp.StatusVerified), Issuer: key.issuer, Key: key.thumbprint, Alg: key.algorithm},
				key.issuer, key.thumbprint, key.algorithm),
		})
	}
	slices.SortFunc(keys.Used, func(x, y UsedKey) int {
		return cmp.Or(cmp.Compare(x.Issuer, y.Issuer), x.First.Compare(y.First), cmp.Compare(x.Thumbprint, y.Thumbprint), cmp.Compare(x.Algorithm, y.Algorithm))
	})
	return keys
}

func (b *Builder) planned(plan KeyPlan) PlannedKey {
	p := PlannedKey{
		Name: plan.Name, RotateEverySeconds: int64(plan.RotateEvery / time.Second), LongestSeconds: -1, Verdict: NotTold,
		Rotations: append([]time.Time{}, b.rotated[plan.Name]...),
	}
	count := func(kind pdp.ChangeKind) int64 { return b.keyChanges[keyChange{plan.Name, string(kind)}] }
	p.Rotated, p.Retired, p.Compromised = count(pdp.KeyRotated), count(pdp.KeyRetired), count(pdp.KeyCompromised)
	slices.SortFunc(p.Rotations, time.Time.Compare)
	marks := slices.Clone(p.Rotations)
	if before, ok := b.c.RotatedBefore[plan.Name]; ok {
		before = before.UTC()
		p.Before = &before
		marks = append([]time.Time{before}, marks...)
	}
	if len(marks) == 0 {
		return p
	}
	end := b.c.To
	if b.c.Now.Before(end) {
		end = b.c.Now
	}
	marks = append(marks, end)
	var longest time.Duration
	for i := range marks[1:] {
		longest = max(longest, marks[i+1].Sub(marks[i]))
	}
	p.LongestSeconds, p.Verdict = int64(longest/time.Second), OnPlan
	if longest > plan.RotateEvery+lateAfter {
		p.Verdict = Late
	}
	return p
}

func (b *Builder) reportRevocations() Revocations {
	r := Revocations{
		Added:   b.figure(b.changes[revocationAdded].count, index.Query{Kind: revocationAdded}),
		Removed: b.figure(b.changes[revocationEnded].count, index.Query{Kind: revocationEnded}),
		Listed:  []Revocation{}, Measured: measured,
	}
	for _, entry := range b.revocations.entries[:min(len(b.revocations.entries), b.c.Listed)] {
		listed := entry.Revocation
		listed.Lifted = entry.lifted
		if seen := listed.FirstDenied; seen != nil {
			shown := *seen
			shown.Query = b.one(seen.DecisionID)
			listed.FirstDenied = &shown
			r.Effective++
		}
		if entry.What == "key" && entry.Match == matchRow && !entry.lifted {
			yes := true
			value := entry.value
			allowed := b.figure(entry.allowed, index.Query{From: entry.At, To: b.c.To, Kind: index.KindDecision, Issuer: entry.Issuer, Key: value, Allow: &yes}, entry.Issuer, value)
			listed.AllowedAfter = &allowed
			if entry.allowed > 0 {
				after := entry.lastSeen.Sub(entry.At).Seconds()
				listed.LastAllowedAfterSeconds = &after
			}
		}
		r.Listed = append(r.Listed, listed)
	}
	return r
}

func (b *Builder) reportWaivers() Waivers {
	w := Waivers{Source: b.c.WaiversFrom, Configured: []Waiver{}, Used: []Finding{}}
	for _, counted := range b.waived {
		for _, c := range counted {
			waiver := *c.waiver
			waiver.State, waiver.DaysLeft = stateOf(waiver.Until, b.c.Now)
			waiver.Covered = b.figure(c.count, index.Query{
				Kind: index.KindDecision, Reason: waiver.Rule, Enforcement: string(pdp.Waived), Issuer: waiver.Issuer, Client: waiver.Client, Audience: waiver.Audience,
			})
			w.Configured = append(w.Configured, waiver)
		}
	}
	slices.SortFunc(w.Configured, func(x, y Waiver) int {
		return cmp.Or(cmp.Compare(x.Until, y.Until), cmp.Compare(x.Rule, y.Rule), cmp.Compare(x.Issuer, y.Issuer), cmp.Compare(x.Client, y.Client), cmp.Compare(x.Audience, y.Audience))
	})
	for _, f := range b.reportReasons() {
		if f.Waived.Value > 0 {
			w.Used = append(w.Used, f)
		}
	}
	return w
}

// stateOf reads a waiver's end as the policy does: a date lasts to the end of its day in UTC, a moment to its last
// second.
func stateOf(until string, now time.Time) (state string, daysLeft int64) {
	end, err := time.Parse(time.DateOnly, until)
	if err == nil {
		end = end.Add(day * time.Second)
	} else if end, err = time.Parse("2006-01-02T15:04:05Z", until); err == nil {
		end = end.Add(time.Second)
	}
	switch {
	case err != nil:
		return "unreadable date", 0
	case !now.Before(end):
		return "expired", 0
	}
	return "open", int64(end.Sub(now) / (day * time.Second))
}

func (b *Builder) reportEvidence() Evidence {
	e := Evidence{
		MaskFailed: b.figure(b.maskFailed, index.Query{MaskFailed: true}),
		Recovered:  b.listed(logRecovered), Trimmed: b.listed(logTrimmed), Lost: b.listed(logDropped), LostRecords: b.lost,
		Undelivered: b.listed(logUndelivered), UndeliveredRecords: b.undelivered,
		Silent: append([]Silence{}, b.evidence.silent...), SilentOverSeconds: int64(b.c.SilentOver / time.Second),
	}
	if b.evidence.any {
		first, last := b.evidence.first, b.evidence.last
		e.First, e.Last = &first, &last
		e.Missing = last.Index - first.Index + 1 - b.evidence.rows
		for _, at := range b.evidence.outside {
			if at > first.Index && at < last.Index {
				e.Missing--
			}
		}
	}
	if !b.c.OldestKept.IsZero() {
		oldest := b.c.OldestKept.UTC()
		e.OldestKept = &oldest
	}
	return e
}
