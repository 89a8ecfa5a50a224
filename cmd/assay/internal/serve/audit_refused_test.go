package serve

import (
	"context"
	"fmt"
	"log/slog"
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
