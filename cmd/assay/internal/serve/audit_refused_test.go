package serve

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

type keptChanges struct{ list []pdp.Change }

func (k *keptChanges) RecordChange(_ context.Context, c pdp.Change) error {
	k.list = append(k.list, c)
	return nil
}

// However many there are, and of however many callers, a window leaves a bounded number of records, which count them all.
func TestRefusalsAreBoundedAndCounted(t *testing.T) {
	for name, callers := range map[string]int{"of nobody": 1, "of as many as there is room for": refusalKinds, "of far more": 50 * refusalKinds} {
		t.Run(name, func(t *testing.T) {
			now := time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)
			var kept keptChanges
			r := newRefusals(&kept, slog.New(slog.DiscardHandler), func() time.Time { return now })
			const each = 3
			for range each {
				for i := range callers {
					r.refused(httpapi.Refusal{Caller: pdp.Caller{Name: fmt.Sprintf("https://idp.example %d", i)}, Route: "/tokens", Problem: "not-granted", Status: 403})
				}
			}
			now = now.Add(refusalWindow)
			if !r.ended(now) {
				t.Fatal("the window has not ended")
			}
			r.flush(t.Context(), now)
			if len(kept.list) > 2*(refusalKinds+1) {
				t.Errorf("%d records", len(kept.list))
			}
			counted := int64(0)
			for _, c := range kept.list {
				if c.Kind != pdp.AccessRefused {
					t.Errorf("a record of %s", c.Kind)
				}
				if repeated, ok := c.Details["repeated"].(int64); ok {
					counted += repeated
				} else {
					counted++
				}
			}
			if counted != int64(each*callers) {
				t.Errorf("%d counted, there were %d", counted, each*callers)
			}
			before := len(kept.list)
			r.refused(httpapi.Refusal{Route: "/tokens", Problem: "unauthenticated", Status: 401})
			if len(kept.list) != before+1 {
				t.Error("the first of the next window is not recorded at once")
			}
		})
	}
}

// stuckChanges is a log that takes one record and then none until the context ends.
type stuckChanges struct{ keptChanges }

func (s *stuckChanges) RecordChange(ctx context.Context, c pdp.Change) error {
	if len(s.list) > 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.keptChanges.RecordChange(ctx, c)
}

// What was counted and could not be recorded in the time that somebody is kept waiting for it is recorded later.
func TestCountedRefusalsOutlastAStuckDisk(t *testing.T) {
	const kinds, each = 10, 3
	now := time.Date(2026, 11, 24, 20, 0, 0, 0, time.UTC)
	var well keptChanges
	r := newRefusals(&well, slog.New(slog.DiscardHandler), func() time.Time { return now })
	for range each {
		for i := range kinds {
			r.refused(httpapi.Refusal{Caller: pdp.Caller{Name: fmt.Sprint(i)}, Route: "/tokens", Problem: "not-granted", Status: 403})
		}
	}
	stuck := &stuckChanges{}
	r.changes = stuck
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	r.flush(ctx, now)
	r.changes = &well
	r.refused(httpapi.Refusal{Caller: pdp.Caller{Name: "9"}, Route: "/tokens", Problem: "not-granted", Status: 403})
	now = now.Add(refusalWindow)
	r.flush(t.Context(), now)
	told := make(map[string]int64)
	for _, c := range slices.Concat(well.list, stuck.list) {
		repeated, ok := c.Details["repeated"].(int64)
		if !ok {
			repeated = 1
		}
		told[c.Actor.Name] += repeated
	}
	// The log may yet take what it was given when the time was up: at most one record.
	missing := 0
	for i := range kinds {
		switch want := int64(each + i/9); told[fmt.Sprint(i)] {
		case want:
		case 1:
			missing++
		default:
			t.Errorf("of %d are told %d, there were %d", i, told[fmt.Sprint(i)], want)
		}
	}
	if missing > 1 {
		t.Errorf("nothing is told of what followed the first of %d kinds", missing)
	}
}
