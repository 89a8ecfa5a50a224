package serve

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/revocation"
)

var _ revocationStore = (*revocation.Stream)(nil)

// shelf is a revocationStore that keeps what it is given.
type shelf struct {
	entries map[string]revocation.Entry
	err     error
}

func (s *shelf) Publish(_ context.Context, e revocation.Entry) (revocation.Published, error) {
	_, there := s.entries[e.Key()]
	if s.err == nil {
		s.entries[e.Key()] = e
	}
	return revocation.Published{Entry: e, Created: !there}, s.err
}

func (s *shelf) Remove(_ context.Context, key string, _ revocation.Removal) (revocation.Entry, error) {
	e, ok := s.entries[key]
	if !ok {
		return e, revocation.ErrNotFound
	}
	delete(s.entries, key)
	return e, s.err
}

func (s *shelf) Get(_ context.Context, key string) (revocation.Event, error) {
	e, ok := s.entries[key]
	if !ok {
		return revocation.Event{}, revocation.ErrNotFound
	}
	return revocation.Event{Entry: e}, s.err
}

func (s *shelf) List(_ context.Context, f revocation.Filter, after uint64, limit int) (revocation.Page, error) {
	page := revocation.Page{Next: after + uint64(limit)} //nolint:gosec // small
	for _, e := range s.entries {
		if f.Matches(&e) {
			page.Events = append(page.Events, revocation.Event{Entry: e})
		}
	}
	return page, s.err
}

func (s *shelf) Applied() uint64 { return 41 }

// Watch tells of every entry as if it came after the cursor, then waits.
func (s *shelf) Watch(ctx context.Context, after uint64, handle func(revocation.Event) error) error {
	for _, e := range s.entries {
		after++
		if err := handle(revocation.Event{Sequence: after, At: at, Entry: e}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// diary is a ChangeRecorder.
type diary struct {
	changes []pdp.Change
	err     error
}

func (d *diary) RecordChange(_ context.Context, c pdp.Change) error {
	d.changes = append(d.changes, c)
	return d.err
}

const idp = "https://idp.example"

var at = time.Date(2026, 11, 24, 12, 0, 0, 500_000_000, time.UTC)

func desk(t *testing.T) (*revocations, *shelf, *diary) {
	t.Helper()
	c := config.Defaults()
	c.Issuers = []config.Issuer{{Issuer: idp, HardMaxLifetime: config.Duration(time.Hour)}}
	store, log := &shelf{entries: map[string]revocation.Entry{}}, &diary{}
	return newRevocations(c, store, log, func() time.Time { return at }), store, log
}

func TestWhenAnEntryEndsAndWhatItSpares(t *testing.T) {
	expires := pdp.UnixDate(at.Unix() + 600)
	past := pdp.UnixDate(at.Unix() - 3600)
	second := at.Truncate(time.Second)
	future := second.Add(2 * time.Hour)
	for _, c := range []struct {
		name         string
		order        httpapi.RevocationOrder
		before, ends time.Time
	}{
		{"a token whose expiry is known: expiry, leeway and clock skew", httpapi.RevocationOrder{Kind: "token", Issuer: idp, Value: "t", TokenExpires: &expires}, time.Time{}, second.Add(601*time.Second + time.Minute)},
		{"a token that has expired: as long as clocks may differ", httpapi.RevocationOrder{Kind: "token", Issuer: idp, Value: "t", TokenExpires: &past}, time.Time{}, at.Add(time.Minute + time.Second)},
		{"a token whose expiry is not known: the issuer's limit", httpapi.RevocationOrder{Kind: "token", Issuer: idp, Value: "t"}, time.Time{}, at.Add(time.Hour + time.Minute)},
		{"a subject: the running second is not spared", httpapi.RevocationOrder{Kind: "subject", Issuer: idp, Value: "a"}, second.Add(time.Second), second.Add(time.Second + time.Hour + time.Minute)},
		{"tokens of the future too", httpapi.RevocationOrder{Kind: "client", Issuer: idp, Value: "a", IssuedBefore: future}, future, future.Add(time.Hour + time.Minute)},
		{"an issuer with an end of its own", httpapi.RevocationOrder{Kind: "issuer", Issuer: idp, Ends: future}, second.Add(time.Second), future},
		{"a burnt key", httpapi.RevocationOrder{Kind: "key", Issuer: idp, Value: "k"}, time.Time{}, at.Add(burntKeyLasts)},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, store, _ := desk(t)
			got, created, err := r.Revoke(t.Context(), pdp.Caller{Name: "me"}, c.order)
			if err != nil || !created {
				t.Fatal(created, err)
			}
			e := store.entries[got.Key]
			if !e.IssuedBefore.Equal(c.before) || !e.Ends.Equal(c.ends) || e.Actor != "me" || !e.CreatedAt.Equal(at) {
				t.Errorf("spares from %s, ends %s; want %s and %s", e.IssuedBefore, e.Ends, c.before, c.ends)
			}
		})
	}
}

func TestEveryChangeIsRecordedWithItsActor(t *testing.T) {
	r, _, log := desk(t)
	caller := pdp.Caller{Name: idp + " desk", Method: "bearer"}
	entry, _, err := r.Revoke(t.Context(), caller, httpapi.RevocationOrder{Kind: "subject", Issuer: idp, Value: "alice", Reason: "left", Ticket: "SEC-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Lift(t.Context(), caller, entry, "mistake", "SEC-2"); err != nil {
		t.Fatal(err)
	}
	if err := r.Lift(t.Context(), caller, entry, "again", ""); err != nil {
		t.Errorf("what is gone already: %v", err)
	}
	if len(log.changes) != 2 {
		t.Fatalf("%d changes recorded", len(log.changes))
	}
	for i, want := range []pdp.Change{
		{Kind: pdp.RevocationAdded, Reason: "left", Ticket: "SEC-1"}, {Kind: pdp.RevocationRemoved, Reason: "mistake", Ticket: "SEC-2"},
	} {
		c := log.changes[i]
		if c.Kind != want.Kind || c.Actor != caller || c.Target != entry.Key || c.Reason != want.Reason || c.Ticket != want.Ticket || !c.At.Equal(at) {
			t.Errorf("%+v", c)
		}
		if want := (pdp.About{Kind: "subject", Issuer: idp, Value: "alice"}); c.About != want {
			t.Errorf("it is about %+v, want %+v", c.About, want)
		}
		c.About = pdp.About{} // which recorders replace; nothing else may name the subject
		if strings.Contains(fmt.Sprint(c), "alice") {
			t.Errorf("it names the subject: %+v", c)
		}
	}
	log.err = errors.New("no room")
	if _, _, err := r.Revoke(t.Context(), caller, httpapi.RevocationOrder{Kind: "issuer", Issuer: idp}); !errors.Is(err, log.err) {
		t.Errorf("what was not recorded is reported as done: %v", err)
	}
}

func TestChanges(t *testing.T) {
	r, store, _ := desk(t)
	if got, err := r.Changes(t.Context(), httpapi.RevocationQuery{}, time.Minute); err != nil || got.Next != "41" || got.Changes != nil {
		t.Errorf("to begin with: %+v %v", got, err)
	}
	if got, err := r.Changes(t.Context(), httpapi.RevocationQuery{Cursor: "41"}, time.Millisecond); err != nil || got.Next != "41" || got.Changes != nil {
		t.Errorf("of nothing: %+v %v", got, err)
	}
	for i := range watchMost + 1 {
		e := revocation.Entry{Kind: revocation.Token, Issuer: idp, Value: fmt.Sprint(i)}
		store.entries[e.Key()] = e
	}
	if got, err := r.Changes(t.Context(), httpapi.RevocationQuery{Cursor: "41"}, time.Minute); err != nil || len(got.Changes) != watchMost || got.Next != fmt.Sprint(41+watchMost) {
		t.Errorf("of many: %d, next %s, %v", len(got.Changes), got.Next, err)
	}
	if got, err := r.Changes(t.Context(), httpapi.RevocationQuery{Cursor: "41", Kind: "key"}, time.Millisecond); err != nil || len(got.Changes) != 0 || got.Next != fmt.Sprint(42+watchMost) {
		t.Errorf("of none that was asked for: %d, next %s, %v", len(got.Changes), got.Next, err)
	}
	if _, err := r.Changes(t.Context(), httpapi.RevocationQuery{Cursor: "x"}, time.Minute); err == nil {
		t.Error("a cursor of somebody's own making is taken")
	}
}

func TestErrorsOfTheStore(t *testing.T) {
	r, store, log := desk(t)
	order := httpapi.RevocationOrder{Kind: "issuer", Issuer: idp}
	for _, err := range []error{revocation.ErrUnavailable, fmt.Errorf("%w: %w", revocation.ErrUnavailable, revocation.ErrFull), revocation.ErrNotYetEffective} {
		store.err = err
		_, _, got := r.Revoke(t.Context(), pdp.Caller{}, order)
		if _, ok := errors.AsType[*httpapi.UnavailableError](got); !ok {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	if len(log.changes) > 0 {
		t.Errorf("recorded %+v", log.changes)
	}
	store.err = nil
	for name, order := range map[string]httpapi.RevocationOrder{
		"an issuer that is not configured": {Kind: "issuer", Issuer: "https://other.example"},
		"an end in the past":               {Kind: "issuer", Issuer: idp, Ends: at.Add(-time.Hour)},
		"a value that is too long":         {Kind: "token", Issuer: idp, Value: strings.Repeat("a", 1025)},
	} {
		_, _, err := r.Revoke(t.Context(), pdp.Caller{}, order)
		if wrong, ok := errors.AsType[*httpapi.OrderError](err); !ok || strings.Contains(wrong.Detail, "aaaa") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok, err := r.Find(t.Context(), "none"); ok || err != nil {
		t.Errorf("%v %v", ok, err)
	}
	if _, err := r.List(t.Context(), httpapi.RevocationQuery{Cursor: "x", Limit: 1}); err == nil {
		t.Error("a cursor of somebody's own making is taken")
	}
	if page, err := r.List(t.Context(), httpapi.RevocationQuery{Cursor: "7", Limit: 3}); err != nil || page.Next != "10" {
		t.Errorf("%+v %v", page, err)
	}
}
