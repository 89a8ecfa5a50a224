package serve

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/revocation"
)

// burntKeyLasts is how long a key's entry lasts that says no end: whoever holds a burnt key makes new tokens with it
// for as long as its issuer publishes it, so that no token's lifetime bounds it.
const burntKeyLasts = 10 * 365 * 24 * time.Hour

// revocationStore is what the API needs of the stream of revocations; *revocation.Stream is one.
type revocationStore interface {
	Publish(ctx context.Context, e revocation.Entry) (revocation.Published, error)
	Remove(ctx context.Context, key string, by revocation.Removal) (revocation.Entry, error)
	Get(ctx context.Context, key string) (revocation.Event, error)
	List(ctx context.Context, f revocation.Filter, after uint64, limit int) (revocation.Page, error)
	Watch(ctx context.Context, after uint64, handle func(revocation.Event) error) error
	Applied() uint64
}

// revocations implements httpapi.Revocations: it completes what is ordered, and has every change recorded.
type revocations struct {
	store   revocationStore
	changes pdp.ChangeRecorder
	now     func() time.Time
	// lives is how long a token of each issuer can live at most; an issuer that is not here is not configured.
	lives map[string]time.Duration
	// slack is what an entry outlasts the tokens that it concerns: leeway and clock skew.
	slack time.Duration
}

func newRevocations(c *config.Config, store revocationStore, changes pdp.ChangeRecorder, now func() time.Time) *revocations {
	r := &revocations{store: store, changes: changes, now: now, lives: make(map[string]time.Duration, len(c.Issuers)), slack: c.Leeway.D() + c.Vault.ClockSkew.D()}
	for i := range c.Issuers {
		r.lives[c.Issuers[i].Issuer] = c.Issuers[i].HardMaxLifetime.D()
	}
	return r
}

// Revoke implements httpapi.Revocations.
func (r *revocations) Revoke(ctx context.Context, caller pdp.Caller, o httpapi.RevocationOrder) (httpapi.Revocation, bool, error) {
	e, err := r.entry(caller, o)
	if err != nil {
		return httpapi.Revocation{}, false, err
	}
	published, err := r.store.Publish(ctx, e)
	if err != nil {
		return httpapi.Revocation{}, false, storeError(err)
	}
	err = r.record(ctx, pdp.RevocationAdded, caller, &published.Entry, o.Reason, o.Ticket, map[string]any{"created": published.Created})
	return describe(&published.Entry), published.Created, err
}

// entry completes an order: which tokens are spared, and when the last that is not is dead.
func (r *revocations) entry(caller pdp.Caller, o httpapi.RevocationOrder) (revocation.Entry, error) {
	now := r.now()
	lives, known := r.lives[o.Issuer]
	if !known {
		return revocation.Entry{}, &httpapi.OrderError{Field: "issuer", Detail: "no such issuer is configured; its tokens are denied anyway. It is compared exactly"}
	}
	e := revocation.Entry{
		Kind: revocation.Kind(o.Kind), Issuer: o.Issuer, Value: o.Value, IssuedBefore: o.IssuedBefore, Ends: o.Ends,
		Reason: o.Reason, Actor: caller.Name, Ticket: o.Ticket, CreatedAt: now,
	}
	if e.Kind.Wide() && e.IssuedBefore.IsZero() {
		// The second that is running is not spared: a token issued at its beginning has the same iat as one
		// issued at its end.
		e.IssuedBefore = now.Truncate(time.Second).Add(time.Second)
	}
	if e.Ends.IsZero() {
		switch {
		case o.TokenExpires != nil:
			e.Ends = time.Unix(o.TokenExpires.Floor()+1, 0).Add(r.slack)
		case e.Kind == revocation.Key:
			e.Ends = now.Add(burntKeyLasts)
		case e.IssuedBefore.After(now):
			e.Ends = e.IssuedBefore.Add(lives + r.slack)
		default:
			e.Ends = now.Add(lives + r.slack)
		}
		// A token that has expired is revoked all the same, for as long as clocks may differ about that.
		e.Ends = latest(e.Ends, now.Add(r.slack+time.Second))
	}
	if err := e.Check(now); err != nil {
		return e, storeError(err)
	}
	return e, nil
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Lift implements httpapi.Revocations.
func (r *revocations) Lift(ctx context.Context, caller pdp.Caller, lifted httpapi.Revocation, reason, ticket string) error {
	by := revocation.Removal{Actor: caller.Name, Reason: reason, Ticket: ticket}
	removed, err := r.store.Remove(ctx, lifted.Key, by)
	if errors.Is(err, revocation.ErrNotFound) {
		return nil
	}
	if err != nil {
		return storeError(err)
	}
	return r.record(ctx, pdp.RevocationRemoved, caller, &removed, reason, ticket, nil)
}

// Find implements httpapi.Revocations.
func (r *revocations) Find(ctx context.Context, key string) (httpapi.Revocation, bool, error) {
	event, err := r.store.Get(ctx, key)
	if errors.Is(err, revocation.ErrNotFound) {
		return httpapi.Revocation{}, false, nil
	}
	if err != nil {
		return httpapi.Revocation{}, false, storeError(err)
	}
	return describe(&event.Entry), true, nil
}

// List implements httpapi.Revocations. The cursor is a place in the stream.
func (r *revocations) List(ctx context.Context, q httpapi.RevocationQuery) (httpapi.RevocationPage, error) {
	var after uint64
	if q.Cursor != "" {
		var err error
		if after, err = strconv.ParseUint(q.Cursor, 10, 64); err != nil {
			return httpapi.RevocationPage{}, &httpapi.OrderError{Field: "cursor", Detail: "give the next of the page before, as it is"}
		}
	}
	page, err := r.store.List(ctx, revocation.Filter{Kind: revocation.Kind(q.Kind), Issuer: q.Issuer, Actor: q.Actor}, after, q.Limit)
	if err != nil {
		return httpapi.RevocationPage{}, storeError(err)
	}
	out := httpapi.RevocationPage{Revocations: make([]httpapi.Revocation, 0, len(page.Events))}
	for i := range page.Events {
		out.Revocations = append(out.Revocations, describe(&page.Events[i].Entry))
	}
	if page.Next > 0 {
		out.Next = strconv.FormatUint(page.Next, 10)
	}
	return out, nil
}

// watchTogether is how long a change waits for others that come with it, and watchMost how many are told at once.
const (
	watchTogether = 20 * time.Millisecond
	watchMost     = 500
)

var errEnough = errors.New("enough changes for one answer")

// Changes implements httpapi.Revocations. The cursor is a place in the stream.
func (r *revocations) Changes(ctx context.Context, q httpapi.RevocationQuery, wait time.Duration) (httpapi.RevocationChanges, error) {
	if q.Cursor == "" {
		return httpapi.RevocationChanges{Next: strconv.FormatUint(r.store.Applied(), 10)}, nil
	}
	last, err := strconv.ParseUint(q.Cursor, 10, 64)
	if err != nil {
		return httpapi.RevocationChanges{}, &httpapi.OrderError{Field: "cursor", Detail: "give the next of the answer before, as it is"}
	}
	watching, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var out httpapi.RevocationChanges
	filter := revocation.Filter{Kind: revocation.Kind(q.Kind), Issuer: q.Issuer, Actor: q.Actor}
	err = r.store.Watch(watching, last, func(e revocation.Event) error {
		last = e.Sequence
		if !filter.Matches(&e.Entry) {
			return nil
		}
		if out.Changes = append(out.Changes, httpapi.RevocationChange{Lifted: e.Removed, At: e.At, Revocation: describe(&e.Entry)}); len(out.Changes) == watchMost {
			return errEnough
		}
		if len(out.Changes) == 1 {
			time.AfterFunc(watchTogether, cancel)
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) && watching.Err() == nil {
		return httpapi.RevocationChanges{}, storeError(err)
	}
	if err := ctx.Err(); err != nil && len(out.Changes) == 0 {
		return httpapi.RevocationChanges{}, err
	}
	out.Next = strconv.FormatUint(last, 10)
	return out, nil
}

func (r *revocations) record(ctx context.Context, kind pdp.ChangeKind, caller pdp.Caller, e *revocation.Entry, reason, ticket string, details map[string]any) error {
	if details == nil {
		details = make(map[string]any, 3)
	}
	details["revocation_kind"], details["issuer"], details["ends"] = string(e.Kind), e.Issuer, e.Ends.Unix()
	return r.changes.RecordChange(ctx, pdp.Change{Kind: kind, At: r.now(), Actor: caller, Target: e.Key(),
		About: pdp.About{Kind: string(e.Kind), Issuer: e.Issuer, Value: e.Value}, Reason: reason, Ticket: ticket, Details: details})
}

func describe(e *revocation.Entry) httpapi.Revocation {
	return httpapi.Revocation{
		Key: e.Key(), Kind: string(e.Kind), Issuer: e.Issuer, Value: e.Value, IssuedBefore: e.IssuedBefore, Ends: e.Ends,
		Reason: e.Reason, Actor: e.Actor, Ticket: e.Ticket, CreatedAt: e.CreatedAt,
	}
}

// revocationRoutes wires what the API does about revocation. examiner is the one that decisions use.
func revocationRoutes(wired *httpapi.Config, c *config.Config, store revocationStore, examiner pdp.Examiner, changes pdp.ChangeRecorder, now func() time.Time) error {
	revoking := newRevocations(c, store, changes, now)
	wired.Revocations, wired.Examiner = revoking, examiner
	receiver, err := newEvents(c, examiner, revoking, now)
	if err != nil {
		return err
	}
	if receiver != nil {
		wired.Events = receiver
	}
	return nil
}

// storeError says an error of the stream in the API's terms.
func storeError(err error) error {
	switch {
	case errors.Is(err, revocation.ErrInvalid):
		return &httpapi.OrderError{Field: "revocation", Detail: err.Error()}
	case errors.Is(err, revocation.ErrUnavailable), errors.Is(err, revocation.ErrNotYetEffective):
		return &httpapi.UnavailableError{RetryAfter: time.Second, Err: err}
	}
	return err
}
