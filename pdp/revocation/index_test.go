package revocation

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

const (
	idp   = "https://idp.example"
	other = "https://other.example"
	start = 1795460000
)

// clocks are a wall clock and a monotonic one that a test moves.
type clocks struct {
	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
}

func newClocks() *clocks { return &clocks{wall: time.Unix(start, 0), elapsed: time.Minute} }

func (c *clocks) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *clocks) since() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.elapsed
}

func (c *clocks) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall, c.elapsed = c.wall.Add(d), c.elapsed+d
}

func (c *clocks) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall = c.wall.Add(d)
}

func newTestIndex(t testing.TB, c *clocks) *Index {
	t.Helper()
	x, err := NewIndex(IndexConfig{Now: c.now, Elapsed: c.since})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func verified(t testing.TB, issuer string) *pdp.Verification {
	t.Helper()
	trust, err := pdp.NewTrust(pdp.Issuer{ID: issuer}, []pdp.Key{{ID: "k1", Thumbprint: "print-1"}})
	if err != nil {
		t.Fatal(err)
	}
	return &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: &trust.Keys()[0], Algorithm: "ES256"}
}

func aToken(iat int64) *pdp.Token {
	issued := pdp.UnixDate(iat)
	return &pdp.Token{ID: "jti-1", Subject: "alice", ClientID: "web", SessionID: "s-1", IssuedAt: &issued}
}

func added(kind Kind, issuer, value string, change ...func(*Entry)) *Event {
	e := &Event{Sequence: 1, At: time.Unix(start, 0), Entry: Entry{Kind: kind, Issuer: issuer, Value: value, Ends: time.Unix(start+600, 0)}}
	for _, c := range change {
		c(&e.Entry)
	}
	return e
}

func before(iat int64) func(*Entry) { return func(e *Entry) { e.IssuedBefore = time.Unix(iat, 0) } }

func TestWhatAnEntryRevokes(t *testing.T) {
	noIAT := aToken(0)
	noIAT.IssuedAt = nil
	half, err := pdp.ParseNumericDate("1795459999.5")
	if err != nil {
		t.Fatal(err)
	}
	fraction := aToken(0)
	fraction.IssuedAt = &half
	nameless := &pdp.Token{ID: "sha256:abc"}
	for name, tc := range map[string]struct {
		entry *Event
		token *pdp.Token
		want  Kind
	}{
		"its jti":                              {added(Token, idp, "jti-1"), aToken(start), Token},
		"another jti":                          {added(Token, idp, "jti-2"), aToken(start), ""},
		"the jti at another issuer":            {added(Token, other, "jti-1"), aToken(start), ""},
		"the jti's text as a subject":          {added(Subject, idp, "jti-1"), aToken(start), ""},
		"a token by its signing input":         {added(Token, idp, "sha256:abc"), nameless, Token},
		"its subject":                          {added(Subject, idp, "alice"), aToken(start), Subject},
		"its client":                           {added(Client, idp, "web"), aToken(start), Client},
		"its session":                          {added(Session, idp, "s-1"), aToken(start), Session},
		"its key":                              {added(Key, idp, "print-1"), aToken(start), Key},
		"its key, of a token without iat":      {added(Key, idp, "print-1"), noIAT, Key},
		"its key, of a token of the future":    {added(Key, idp, "print-1"), aToken(start + 9999), Key},
		"its issuer":                           {added(Issuer, idp, ""), aToken(start), Issuer},
		"another issuer":                       {added(Issuer, other, ""), aToken(start), ""},
		"a token without a subject":            {added(Subject, idp, "alice"), nameless, ""},
		"issued one second before":             {added(Subject, idp, "alice", before(start)), aToken(start - 1), Subject},
		"issued half a second before":          {added(Subject, idp, "alice", before(start)), fraction, Subject},
		"issued at that second":                {added(Subject, idp, "alice", before(start)), aToken(start), ""},
		"issued after":                         {added(Client, idp, "web", before(start)), aToken(start + 1), ""},
		"no iat counts as before":              {added(Session, idp, "s-1", before(start)), noIAT, Session},
		"an issuer's old tokens":               {added(Issuer, idp, "", before(start)), aToken(start - 5), Issuer},
		"an issuer's new tokens":               {added(Issuer, idp, "", before(start)), aToken(start), ""},
		"a part of a second counts as a whole": {added(Subject, idp, "alice", func(e *Entry) { e.IssuedBefore = time.Unix(start, 1) }), aToken(start), Subject},
		"one that has ended":                   {added(Subject, idp, "alice", func(e *Entry) { e.Ends = time.Unix(start, 0) }), aToken(start), ""},
		"one in its last second":               {added(Subject, idp, "alice", func(e *Entry) { e.Ends = time.Unix(start, 1) }), aToken(start), Subject},
	} {
		t.Run(name, func(t *testing.T) {
			x := newTestIndex(t, newClocks())
			x.Apply(tc.entry)
			if got := x.Match(tc.token, verified(t, idp)); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if got := x.Match(tc.token, &pdp.Verification{}); got != "" {
				t.Errorf("an unverified token matches %q", got)
			}
			gone := *tc.entry
			gone.Removed = true
			x.Apply(&gone)
			if got := x.Match(tc.token, verified(t, idp)); got != "" || x.Len() != 0 {
				t.Errorf("after its removal: %q, %d entries", got, x.Len())
			}
		})
	}
}

func TestTwoEntriesForOneThingRevokeWhatEitherDoes(t *testing.T) {
	long := func(e *Entry) { e.Ends = time.Unix(start+900, 0) }
	for name, tc := range map[string]struct {
		first, second *Event
		iat           int64
		after         time.Duration
		want          Kind
	}{
		"a later issued_before":            {added(Subject, idp, "alice", before(start)), added(Subject, idp, "alice", before(start+10)), start + 5, 0, Subject},
		"an earlier one changes nothing":   {added(Subject, idp, "alice", before(start+10)), added(Subject, idp, "alice", before(start)), start + 5, 0, Subject},
		"none is the widest":               {added(Subject, idp, "alice"), added(Subject, idp, "alice", before(start)), start + 5, 0, Subject},
		"none after one":                   {added(Subject, idp, "alice", before(start)), added(Subject, idp, "alice"), start + 5, 0, Subject},
		"a later end":                      {added(Token, idp, "jti-1"), added(Token, idp, "jti-1", long), start, 700 * time.Second, Token},
		"an earlier end":                   {added(Token, idp, "jti-1", long), added(Token, idp, "jti-1"), start, 700 * time.Second, Token},
		"not past the later end":           {added(Token, idp, "jti-1", long), added(Token, idp, "jti-1"), start, 900 * time.Second, ""},
		"what had ended counts no more":    {added(Subject, idp, "alice", func(e *Entry) { e.Ends = time.Unix(start-1, 0) }), added(Subject, idp, "alice", before(start)), start + 5, 0, ""},
		"the narrowest of two kinds comes": {added(Issuer, idp, ""), added(Client, idp, "web"), start, 0, Client},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClocks()
			x := newTestIndex(t, c)
			x.Apply(tc.first)
			x.Apply(tc.second)
			c.pass(tc.after)
			if got := x.Match(aToken(tc.iat), verified(t, idp)); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}

// TestAgainstAModel holds the table against a map through growth, removal and sweeping.
func TestAgainstAModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	c := newClocks()
	x := newTestIndex(t, c)
	model := make(map[string]int64)
	v := verified(t, idp)
	for step := range 60_000 {
		value := strconv.Itoa(random.IntN(20_000))
		switch random.IntN(4) {
		case 0:
			x.Apply(&Event{Removed: true, Entry: Entry{Kind: Subject, Issuer: idp, Value: value}})
			delete(model, value)
		default:
			ends := start + 1 + random.Int64N(1000)
			x.Apply(added(Subject, idp, value, func(e *Entry) { e.Ends = time.Unix(ends, 0) }))
			model[value] = max(model[value], ends)
		}
		if step%20_000 == 19_999 {
			limit := int64(start + 300)
			dropped := x.sweep(limit)
			if dropped == 0 {
				t.Error("nothing was swept")
			}
			for value, ends := range model {
				if ends < limit {
					delete(model, value)
				}
			}
		}
	}
	if x.Len() != len(model) {
		t.Errorf("%d entries, want %d", x.Len(), len(model))
	}
	if perEntry := x.Bytes() / int64(x.Len()); perEntry > 64 {
		t.Errorf("%d bytes an entry", perEntry)
	}
	for i := range 20_000 {
		token := &pdp.Token{Subject: strconv.Itoa(i)}
		want := Kind("")
		if model[token.Subject] > start {
			want = Subject
		}
		if got := x.Match(token, v); got != want {
			t.Fatalf("%d: %q, want %q", i, got, want)
		}
	}
}

// TestLookupsDuringChangesNeverMissWhatWasApplied runs readers beside a writer that makes the tables grow.
func TestLookupsDuringChangesNeverMissWhatWasApplied(t *testing.T) {
	x := newTestIndex(t, newClocks())
	v := verified(t, idp)
	x.Apply(added(Session, idp, "s-1"))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := x.Match(&pdp.Token{SessionID: "s-1"}, v); got != Session {
					t.Errorf("%q", got)
					return
				}
			}
		})
	}
	for i := range 50_000 {
		x.Apply(added(Session, idp, fmt.Sprint("other-", i)))
		if got := x.Match(&pdp.Token{SessionID: fmt.Sprint("other-", i)}, v); got != Session {
			t.Fatalf("%d is not in force after it was applied", i)
		}
	}
	close(stop)
	readers.Wait()
}

func TestAge(t *testing.T) {
	c := newClocks()
	x := newTestIndex(t, c)
	age := func() int64 { return x.Lookup(aToken(start), verified(t, idp)).AgeSeconds }
	if got := age(); got != NeverRead {
		t.Errorf("%d before the first heartbeat", got)
	}
	x.beat(c.since())
	for name, step := range map[string]time.Duration{"forward": time.Hour, "backward": -2 * time.Hour} {
		c.step(step)
		if got := age(); got != 0 {
			t.Errorf("%d after the wall clock stepped %s; it has no part in this", got, name)
		}
	}
	c.pass(DefaultMaxAge)
	if got := age(); got != 0 {
		t.Errorf("%d at the age that is allowed", got)
	}
	c.pass(time.Millisecond)
	if got := age(); got != 11 {
		t.Errorf("%d just past it; want 11, rounded up", got)
	}
	x.beat(0)
	if got := age(); got != 11 {
		t.Errorf("%d after an older heartbeat", got)
	}
}
