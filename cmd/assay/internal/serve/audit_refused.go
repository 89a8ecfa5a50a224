package serve

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// refusals records requests to the API that were refused for who asked. Whoever has no right at all can make as many as he
// likes, so the log must not grow with them: the first of a kind, that is of one caller at one route for one reason, is
// recorded at once, and those that follow within the window are counted and recorded together at its end. Kinds are
// bounded too: what finds no room is counted as one kind of its own, whose caller is nobody.
type refusals struct {
	changes pdp.ChangeRecorder
	log     *slog.Logger
	now     func() time.Time

	mu    sync.Mutex
	kinds map[refusalKind]*repeated // of this window
	since time.Time                 // of the window
}

type refusalKind struct {
	caller         pdp.Caller
	route, problem string
}

// repeated counts what followed the first.
type repeated struct {
	count       int64
	first, last time.Time
}

// A window, and how many kinds are told apart in it: with what finds no room, no more than twice as many records in each.
const (
	refusalWindow = time.Minute
	refusalKinds  = 100
)

// refusalPatience is how long somebody who was refused waits for a disk that is stuck, and as long again where he ends a
// window: what he is answered does not depend on the records.
const refusalPatience = 2 * time.Second

// others is the kind of what finds no room.
var others = refusalKind{route: "(others)"} //nolint:gochecknoglobals // a constant of a struct type

func newRefusals(changes pdp.ChangeRecorder, log *slog.Logger, now func() time.Time) *refusals {
	return &refusals{changes: changes, log: log, now: now, kinds: make(map[refusalKind]*repeated)}
}

// refused is httpapi.Config.Refused.
func (r *refusals) refused(refusal httpapi.Refusal) {
	now := r.now()
	if r.ended(now) {
		ctx, cancel := context.WithTimeout(context.Background(), refusalPatience)
		r.flush(ctx, now)
		cancel()
	}
	kind := refusalKind{refusal.Caller, refusal.Route, refusal.Problem}
	if !r.first(&kind, now) {
		return
	}
	details := map[string]any{"status": int64(refusal.Status), "problem": refusal.Problem}
	if kind == others {
		details = map[string]any{"problem": "many different refusals: the rest of this minute is counted together"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), refusalPatience)
	defer cancel()
	r.record(ctx, &kind, now, details)
}

// first tells whether this one is recorded, and else counts it. kind becomes others where there is no room for it.
func (r *refusals) first(kind *refusalKind, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = now
	}
	known := r.kinds[*kind]
	if known == nil && len(r.kinds) >= refusalKinds {
		*kind = others
		known = r.kinds[others]
	}
	if known == nil {
		r.kinds[*kind] = &repeated{first: now}
		return true
	}
	known.count, known.last = known.count+1, now
	return false
}

func (r *refusals) ended(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.since.IsZero() && now.Sub(r.since) >= refusalWindow
}

// flush ends the window and records what was counted in it. What it does not come to while ctx lasts is counted on in the
// next window.
func (r *refusals) flush(ctx context.Context, now time.Time) {
	r.mu.Lock()
	kinds := r.kinds
	r.kinds, r.since = make(map[refusalKind]*repeated), time.Time{}
	r.mu.Unlock()
	order := func(a, b refusalKind) int {
		return strings.Compare(a.caller.Name+"\x00"+a.route+"\x00"+a.problem, b.caller.Name+"\x00"+b.route+"\x00"+b.problem)
	}
	for _, kind := range slices.SortedFunc(maps.Keys(kinds), order) {
		counted := kinds[kind]
		switch {
		case counted.count == 0:
		case ctx.Err() != nil:
			r.keep(&kind, counted, now)
		default:
			r.record(ctx, &kind, now, map[string]any{
				"problem": kind.problem, "repeated": counted.count, "from": counted.first.Unix(), "until": counted.last.Unix(),
			})
		}
	}
}

// keep counts what an earlier window counted.
func (r *refusals) keep(kind *refusalKind, counted *repeated, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.since.IsZero() {
		r.since = now
	}
	if since := r.kinds[*kind]; since != nil {
		counted = &repeated{count: counted.count + since.count, first: counted.first, last: later(counted.last, since.last)}
	}
	r.kinds[*kind] = counted
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// record writes one down. The answer does not depend on it: it is a refusal anyway.
func (r *refusals) record(ctx context.Context, kind *refusalKind, at time.Time, details map[string]any) {
	err := r.changes.RecordChange(ctx, pdp.Change{Kind: pdp.AccessRefused, At: at, Actor: kind.caller, Target: kind.route, Details: details})
	if err != nil {
		r.log.Error("a refused access could not be recorded", "route", kind.route, "error", err.Error())
	}
}

// run ends windows in which nothing more comes, until ctx ends.
func (r *refusals) run(ctx context.Context) error {
	tick := time.NewTicker(refusalWindow / 4)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if now := r.now(); r.ended(now) {
				r.flush(ctx, now)
			}
		case <-ctx.Done():
			r.flush(context.WithoutCancel(ctx), r.now())
			return nil
		}
	}
}
