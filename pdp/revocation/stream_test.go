package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// running opens a stream and runs it until stop is called or the test ends.
func running(t testing.TB, c Config) (s *Stream, stop func()) {
	t.Helper()
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-done
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	complete(t, s)
	return s, stop
}

func complete(t testing.TB, s *Stream) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // a benchmark loads millions
	defer cancel()
	if err := s.WaitComplete(ctx); err != nil {
		t.Fatalf("not complete: %v; health %+v", err, s.Health())
	}
}

func entry(kind Kind, value string, change ...func(*Entry)) Entry {
	e := Entry{Kind: kind, Issuer: idp, Value: value, Ends: time.Now().Add(time.Hour).Truncate(time.Second), Reason: "leaked", Actor: "carol", Ticket: "T-1"}
	for _, c := range change {
		c(&e)
	}
	return e
}

func publish(t testing.TB, s *Stream, e Entry) Published {
	t.Helper()
	p, err := s.Publish(context.Background(), e)
	if err != nil {
		t.Fatalf("publish: %v; health %+v", err, s.Health())
	}
	return p
}

func TestPublishedIsInForceAndSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Config{Dir: dir})
	v, token := verified(t, idp), aToken(start)
	if r := s.Index().Lookup(token, v); r != (pdp.Revocation{Known: true}) {
		t.Errorf("an empty and fresh index says %+v", r)
	}
	p := publish(t, s, entry(Subject, "alice"))
	if !p.Created || p.Sequence == 0 || p.Entry.CreatedAt.IsZero() {
		t.Errorf("published %+v", p)
	}
	if r := s.Index().Lookup(token, v); r.Revoked != "subject" {
		t.Errorf("after Publish: %+v", r)
	}
	again := publish(t, s, entry(Subject, "alice", func(e *Entry) { e.Reason = "again" }))
	if again.Created || again.Sequence != p.Sequence || again.Entry.Reason != "leaked" {
		t.Errorf("the same again: %+v; it changes nothing", again)
	}
	if h := s.Health(); !h.Complete || !h.Fresh || !h.Connected || h.Entries != 1 || h.Error != "" {
		t.Errorf("health %+v", h)
	}
	stop()
	s, _ = running(t, Config{Dir: dir})
	if r := s.Index().Lookup(token, v); r.Revoked != "subject" || r.AgeSeconds != 0 {
		t.Errorf("after a restart: %+v", r)
	}
}

func TestJoinedNeverWeakens(t *testing.T) {
	s, _ := running(t, Config{Dir: t.TempDir()})
	early, late := time.Unix(start, 0), time.Unix(start+100, 0)
	publish(t, s, entry(Subject, "alice", func(e *Entry) { e.IssuedBefore = late }))
	p := publish(t, s, entry(Subject, "alice", func(e *Entry) { e.IssuedBefore, e.Ends = early, e.Ends.Add(time.Hour) }))
	if p.Created || !p.Entry.IssuedBefore.Equal(late) || time.Until(p.Entry.Ends) < 100*time.Minute {
		t.Errorf("joined %+v", p.Entry)
	}
	event, err := s.Get(context.Background(), p.Entry.Key())
	if err != nil || event.Sequence != p.Sequence || !event.Entry.IssuedBefore.Equal(late) {
		t.Errorf("got %+v, %v", event, err)
	}
}

func TestRemove(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, Config{Dir: dir})
	ctx := context.Background()
	e := entry(Session, "s-1")
	if _, err := s.Remove(ctx, e.Key(), Removal{Actor: "dave"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing what is not there: %v", err)
	}
	publish(t, s, e)
	removed, err := s.Remove(ctx, e.Key(), Removal{Actor: "dave", Reason: "mistake"})
	if err != nil || removed.Actor != "carol" || removed.Value != "s-1" {
		t.Fatalf("removed %+v, %v", removed, err)
	}
	v, token := verified(t, idp), aToken(start)
	if got := s.Index().Match(token, v); got != "" {
		t.Errorf("%q after its removal", got)
	}
	stop()
	s, _ = running(t, Config{Dir: dir})
	if got := s.Index().Match(token, v); got != "" {
		t.Errorf("%q after its removal and a restart", got)
	}
	if p := publish(t, s, e); !p.Created || s.Index().Match(token, v) != Session {
		t.Errorf("revoked again: %+v", p)
	}
}

func TestListAndWatch(t *testing.T) {
	s, _ := running(t, Config{Dir: t.TempDir()})
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	watched := make(chan Event, 100)
	watching := make(chan error, 1)
	from := publish(t, s, entry(Client, "web")).Sequence
	go func() {
		watching <- s.Watch(ctx, from, func(e Event) error { watched <- e; return nil })
	}()
	for i := range 25 {
		publish(t, s, entry(Token, fmt.Sprint("jti-", i)))
	}
	gone := entry(Token, "jti-7")
	if _, err := s.Remove(ctx, gone.Key(), Removal{Actor: "dave"}); err != nil {
		t.Fatal(err)
	}
	for i := range 26 {
		e := <-watched
		if want := fmt.Sprint("jti-", i); i < 25 && (e.Removed || e.Entry.Value != want) || i == 25 && (!e.Removed || e.Entry.Value != "jti-7" || e.Entry.Actor != "dave") {
			t.Errorf("watched %d: %+v", i, e)
		}
	}
	var listed []string
	pages := 0
	for after := uint64(0); ; pages++ {
		page, err := s.List(ctx, Filter{Kind: Token}, after, 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			listed = append(listed, e.Entry.Value)
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	if len(listed) != 24 || listed[7] != "jti-8" || pages != 2 {
		t.Errorf("%d pages more, listed %v", pages, listed)
	}
	cancel()
	if err := <-watching; !errors.Is(err, context.Canceled) {
		t.Errorf("Watch ended with %v", err)
	}
}

func TestEntriesEndByThemselves(t *testing.T) {
	c := newClocks()
	c.wall = time.Now()
	s, _ := running(t, Config{Dir: t.TempDir(), Now: c.now})
	publish(t, s, entry(Session, "s-1", func(e *Entry) { e.Ends = c.now().Add(time.Hour) }))
	v, token := verified(t, idp), aToken(start)
	c.step(2 * time.Hour)
	if got := s.Index().Match(token, v); got != "" {
		t.Errorf("%q after its end", got)
	}
	if n := s.sweep(); n != 0 {
		t.Errorf("%d swept because one clock stepped", n)
	}
	c.step(-2 * time.Hour)
	if got := s.Index().Match(token, v); got != Session {
		t.Errorf("%q once the clock is right again; the entry was forgotten", got)
	}
	c.step(2 * time.Hour)
	s.stored.Store(c.now().Unix())
	if n := s.sweep(); n != 1 || s.Index().Len() != 0 {
		t.Errorf("%d swept when every clock agrees, %d left", n, s.Index().Len())
	}
}

func TestWhatCannotBePublished(t *testing.T) {
	s, _ := running(t, Config{Dir: t.TempDir()})
	for name, e := range map[string]Entry{
		"no such kind":               entry("tokens", "jti-1"),
		"no issuer":                  entry(Token, "jti-1", func(e *Entry) { e.Issuer = "" }),
		"no value":                   entry(Subject, ""),
		"a value of a whole issuer":  entry(Issuer, "x"),
		"a key with issued_before":   entry(Key, "print", func(e *Entry) { e.IssuedBefore = time.Now() }),
		"a token with issued_before": entry(Token, "jti", func(e *Entry) { e.IssuedBefore = time.Now() }),
		"one that has ended":         entry(Token, "jti", func(e *Entry) { e.Ends = time.Now().Add(-time.Second) }),
		"one without an end":         entry(Token, "jti", func(e *Entry) { e.Ends = time.Time{} }),
		"one that ends after 2106":   entry(Token, "jti", func(e *Entry) { e.Ends = time.Unix(1<<32, 0) }),
		"a reason without end":       entry(Token, "jti", func(e *Entry) { e.Reason = string(make([]byte, maxText+1)) }),
	} {
		if _, err := s.Publish(context.Background(), e); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFolderServesOneProcess(t *testing.T) {
	dir := t.TempDir()
	running(t, Config{Dir: dir})
	s, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); !errors.Is(err, ErrInUse) {
		t.Errorf("started twice: %v", err)
	}
}

// TestAStuckServerIsStartedAgain stops the embedded server behind the stream's back, as its own failure would.
func TestAStuckServerIsStartedAgain(t *testing.T) {
	s, _ := running(t, Config{Dir: t.TempDir(), Heartbeat: 50 * time.Millisecond, MaxAge: time.Second})
	publish(t, s, entry(Session, "s-1"))
	s.embedded.server.Shutdown()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	e := entry(Subject, "bob")
	for {
		if _, err := s.Publish(ctx, e); err == nil {
			break
		} else if !errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
			t.Fatalf("%v; health %+v", err, s.Health())
		}
	}
	if got := s.Index().Match(aToken(start), verified(t, idp)); got != Session {
		t.Errorf("what was published before: %q", got)
	}
	eventually(t, func() bool { h := s.Health(); return h.Fresh && h.Error == "" }, func() any { return s.Health() })
}

// eventually waits until a condition holds.
func eventually(t testing.TB, holds func() bool, or func() any) {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come to pass; %+v", or())
		}
	}
}
