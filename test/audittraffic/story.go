package audittraffic

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// event is something that happens at a moment.
type event struct {
	at time.Time
	do func(ctx context.Context, at time.Time) error
}

// Who does what people and the custodian do.
func custodian() pdp.Caller {
	return pdp.Caller{Name: "spiffe://prod.example/ns/assay/sa/custodian", Method: "mtls"}
}
func securityDesk() pdp.Caller {
	return pdp.Caller{Name: "https://idp.example security-desk", Method: "bearer"}
}

// story is the plan of the month, in order. What lies behind its end does not happen.
func (w *writer) story() []event {
	plan := []event{
		{w.at(1, 0, 0), w.activate("config.yaml", pdp.ConfigActivated)},
		{w.at(1, 0, 0), w.activate("policy", pdp.BundleActivated)},
		{w.at(5, 0, 0), w.activate("policy", pdp.BundleActivated)},
		{w.at(14, 7, 55), w.recorded(pdp.Change{Kind: pdp.BundleRefused, Target: "policy", Reason: "wrongly_signed"})},
		{w.at(14, 8, 20), w.activate("policy", pdp.BundleActivated)},
		{w.at(20, 12, 0), w.activate("config.yaml", pdp.ConfigActivated)},
		{w.at(23, 0, 0), w.activate("policy", pdp.BundleActivated)},
		{w.at(9, 2, 0), w.set(&w.stale, true)},
		{w.at(9, 3, 0), w.set(&w.stale, false)},
		{w.at(11, 9, 0), w.set(&w.masking, w.c.NoMaskFailure)},
		{w.at(11, 9, 10), w.set(&w.masking, true)},
		{w.at(16, 10, 40), w.compromise},
	}
	for day := 1; day <= w.c.Days; day++ {
		if day%7 == 0 {
			plan = append(plan, event{w.at(day, 3, 0), w.rotate}, event{w.at(day+1, 3, 0), w.retire})
		}
		for range 2 + w.random.IntN(4) {
			plan = append(plan, event{w.at(day, w.random.IntN(24), w.random.IntN(60)), w.revoke})
		}
		for range w.random.IntN(8) {
			plan = append(plan, event{w.at(day, w.random.IntN(24), w.random.IntN(60)), w.refuse})
		}
	}
	for n := range max(1, w.c.Decisions/40) { // issued tokens, spread evenly
		plan = append(plan, event{w.c.From.Add(time.Duration(n) * (w.log.To.Sub(w.c.From) / time.Duration(max(1, w.c.Decisions/40)))), w.issue})
	}
	slices.SortStableFunc(plan, func(a, b event) int { return a.at.Compare(b.at) })
	return plan
}

func (w *writer) at(day, hour, minute int) time.Time {
	return w.c.From.AddDate(0, 0, day-1).Add(time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute)
}

func (w *writer) set(what *bool, to bool) func(context.Context, time.Time) error {
	return func(context.Context, time.Time) error {
		*what = to
		return nil
	}
}

func (w *writer) recorded(c pdp.Change) func(context.Context, time.Time) error {
	return func(ctx context.Context, at time.Time) error {
		c.At = at
		return w.change(ctx, c)
	}
}

// activate puts another policy or configuration in force.
func (w *writer) activate(target string, kind pdp.ChangeKind) func(context.Context, time.Time) error {
	return func(ctx context.Context, at time.Time) error {
		w.sequence++
		w.revision = revisionOf(fmt.Sprint("revision ", w.c.Seed, w.sequence))
		details := map[string]any{"digest": revisionOf(w.revision), "policy_revision": w.revision}
		if kind == pdp.BundleActivated {
			details["revision"], details["sequence"] = fmt.Sprintf("1.%d.0", w.sequence), int64(w.sequence)
			details["signed"], details["rollback_protected"], details["key_id"] = true, true, "publisher-1"
		}
		return w.change(ctx, pdp.Change{Kind: kind, At: at, Target: target, Details: details})
	}
}

func (w *writer) rotate(ctx context.Context, at time.Time) error {
	i := w.issuers[0]
	if err := i.addKey(w.c.Seed, at); err != nil {
		return err
	}
	return w.change(ctx, pdp.Change{Kind: pdp.KeyRotated, At: at, Actor: custodian(), Target: "access", Reason: "rotate_every has passed",
		Details: map[string]any{"step": "rotate", "after_version": int64(len(i.keys))}})
}

func (w *writer) retire(ctx context.Context, at time.Time) error {
	return w.change(ctx, pdp.Change{Kind: pdp.KeyRetired, At: at, Actor: custodian(), Target: "access", Reason: "no token that it signed is valid any more",
		Details: map[string]any{"step": "retire", "lowest_version": int64(2)}})
}

// compromise burns the partner's key: the entry denies what it signed at once, also what others sign with
// it, and a new key signs.
func (w *writer) compromise(ctx context.Context, at time.Time) error {
	i := w.issuers[1]
	leaked := i.signing().Thumbprint
	if err := w.change(ctx, pdp.Change{Kind: pdp.KeyCompromised, At: at, Actor: securityDesk(), Target: "partner", Reason: "private key seen in a repository", Ticket: "SEC-204",
		Details: map[string]any{"through_version": int64(1), "promoted": int64(2), "revocations": int64(1), "complete": true}}); err != nil {
		return err
	}
	if err := w.add(ctx, at.Add(time.Second), pdp.About{Kind: "key", Issuer: i.id, Value: leaked}, "SEC-204"); err != nil {
		return err
	}
	forged := w.mint(i, at) // by whoever found the key
	for n := range 3 {
		if err := w.ask(ctx, forged, at.Add(time.Duration(n+2)*time.Second)); err != nil {
			return err
		}
	}
	return i.addKey(w.c.Seed, at)
}

func (w *writer) issue(ctx context.Context, at time.Time) error {
	return w.change(ctx, pdp.Change{Kind: pdp.TokenIssued, At: at, Actor: callerOf(audiences[w.random.IntN(len(audiences))]), Target: w.hex(16),
		Details: map[string]any{"key": w.issuers[0].signing().Thumbprint, "lifetime_seconds": int64(900)}})
}

func (w *writer) refuse(ctx context.Context, at time.Time) error {
	return w.change(ctx, pdp.Change{Kind: pdp.AccessRefused, At: at, Actor: pdp.Caller{Name: own + " " + fmt.Sprintf("person-%05d", w.random.IntN(w.persons)), Method: "bearer"},
		Target: pick(w.random, "POST /revocations", "POST /tokens", "GET /revocations"), Reason: "scope_missing"})
}
