package vaultkeys

import (
	"context"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// fixture is a Keyring over a reader and a clock that the test moves.
type fixture struct {
	t    *testing.T
	ring *Keyring

	mu      sync.Mutex
	now     time.Time         // guarded by mu
	records map[string]Record // guarded by mu
	err     error             // guarded by mu: what reading answers
	reads   int               // guarded by mu
	waits   chan time.Duration
	wake    chan time.Time
}

func (f *fixture) ReadKey(_ context.Context, name string) (Record, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if f.err != nil {
		return Record{}, f.err
	}
	r, ok := f.records[name]
	if !ok {
		return Record{}, errors.New("vault: no such key")
	}
	return r, nil
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) set(name string, r Record, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.records[name], f.err = r, err
}

func (f *fixture) readings() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.reads
}

// withKeys gives every version of a record a public key; the same one for the same number in one test.
func withKeys(t *testing.T, r Record, made map[int]Version) Record {
	t.Helper()
	for i := range r.Versions {
		v := &r.Versions[i]
		if _, known := made[v.Number]; !known {
			made[v.Number] = Version{Public: newECDSA(t, elliptic.P256()).Public()}
		}
		v.Public = made[v.Number].Public
	}
	return r
}

func newFixture(t *testing.T, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{t: t, now: at(0), records: map[string]Record{}, waits: make(chan time.Duration), wake: make(chan time.Time)}
	c := Config{
		Reader: f, MaxStale: 60 * time.Second,
		Keys: []KeyConfig{{Name: "access", Type: "ecdsa-p256", Periods: testPeriods}},
		Now: func() time.Time {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.now
		},
		After:  func(d time.Duration) <-chan time.Time { f.waits <- d; return f.wake },
		Random: func() float64 { return 0.5 },
	}
	if change != nil {
		change(&c)
	}
	var err error
	if f.ring, err = New(c); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestKeyringAnswersFromTheLastRecord(t *testing.T) {
	f, made := newFixture(t, nil), map[int]Version{}
	if _, err := f.ring.Signer("access"); !errors.Is(err, ErrNotKnown) {
		t.Fatalf("before anything was read: %v", err)
	}
	if f.ring.JWKS() != nil {
		t.Fatal("a document before anything was read")
	}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}, [2]int{2, 1}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	signer, err := f.ring.Signer("access")
	if err != nil {
		t.Fatal(err)
	}
	if signer.Version != 1 || signer.Key.Algorithm != "ES256" || signer.Key.ID == "" || signer.Key.ID != signer.Key.Thumbprint ||
		!signer.Key.Created.Equal(at(0)) || signer.MaxTokenLifetime != 30*time.Second {
		t.Errorf("signer %+v", signer)
	}
	published, err := f.ring.Verification("access")
	if err != nil || len(published.Keys) != 2 || published.Keys[0].ID != signer.Key.ID || !published.AsOf.Equal(at(0)) {
		t.Fatalf("%+v, %v", published, err)
	}
	for _, err := range []error{call(f.ring.Signer("other")), call(f.ring.Verification("other")), f.ring.Reread(t.Context(), "other")} {
		if !errors.Is(err, ErrUnknownKey) {
			t.Errorf("a key that is not configured: %v", err)
		}
	}
}

func call[T any](_ T, err error) error { return err }

func TestKeysAreBelievedUntilMaxStaleAndNoLonger(t *testing.T) {
	f, made := newFixture(t, nil), map[int]Version{}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	outage := errors.New("vault is sealed")
	f.set("access", Record{}, outage)
	f.advance(59 * time.Second)
	if err := f.ring.Load(t.Context()); !errors.Is(err, outage) {
		t.Fatal(err)
	}
	if h := f.ring.Health()[0]; !h.Believed || !h.Signs || !errors.Is(h.Err, outage) || !h.ReadAt.Equal(at(0)) {
		t.Errorf("a second before: %+v", h)
	}
	if call(f.ring.Signer("access")) != nil || call(f.ring.Verification("access")) != nil || f.ring.JWKS() == nil {
		t.Error("not believed a second before max_stale")
	}
	f.advance(time.Second)
	if !errors.Is(call(f.ring.Signer("access")), ErrNotKnown) || !errors.Is(call(f.ring.Verification("access")), ErrNotKnown) || f.ring.JWKS() != nil {
		t.Error("believed past max_stale")
	}
	if h := f.ring.Health()[0]; h.Believed || h.Signs || len(h.Versions) != 1 {
		t.Errorf("past max_stale: %+v", h)
	}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if h := f.ring.Health()[0]; !h.Believed || !h.Signs || h.Err != nil {
		t.Errorf("recovered: %+v", h)
	}
}

// A record older than the time in which an unknown version can become due signs no more, but verifies.
func TestAnOldRecordVerifiesButDoesNotSign(t *testing.T) {
	f, made := newFixture(t, func(c *Config) { c.MaxStale = time.Hour }), map[int]Version{}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.advance(94 * time.Second) // rotate_every 100 s less clock skew 5 s
	if err := call(f.ring.Signer("access")); err != nil {
		t.Errorf("a second before: %v", err)
	}
	f.advance(time.Second)
	if err := call(f.ring.Signer("access")); !errors.Is(err, ErrNotKnown) || !strings.Contains(err.Error(), "1m35s") {
		t.Errorf("signs: %v", err)
	}
	if err := call(f.ring.Verification("access")); err != nil {
		t.Errorf("does not verify: %v", err)
	}
}

func TestRecordsThatAreRefusedLeaveTheLastOneInForce(t *testing.T) {
	for name, change := range map[string]func(*Record){
		"other type":         func(r *Record) { r.Type = "ecdsa-p384" },
		"type that encrypts": func(r *Record) { r.Type = "aes256-gcm96" },
		"other name":         func(r *Record) { r.Name = "other" },
		"no versions":        func(r *Record) { r.Versions = nil },
		"no public key":      func(r *Record) { r.Versions = []Version{{Number: 1, Created: at(0)}} },
	} {
		t.Run(name, func(t *testing.T) {
			f, made := newFixture(t, nil), map[int]Version{}
			f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
			if err := f.ring.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			bad := withKeys(t, record(1, 0, [2]int{1, 0}, [2]int{2, 0}), made)
			change(&bad)
			f.set("access", bad, nil)
			if err := f.ring.Load(t.Context()); err == nil {
				t.Fatal("it was believed")
			}
			if p, err := f.ring.Verification("access"); err != nil || len(p.Keys) != 1 {
				t.Errorf("%d keys, %v", len(p.Keys), err)
			}
			if h := f.ring.Health()[0]; h.Err == nil || !h.Believed {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestDocumentFollowsTimeAndRecord(t *testing.T) {
	f, made := newFixture(t, func(c *Config) { c.MaxStale = time.Hour }), map[int]Version{}
	two := withKeys(t, record(1, 0, [2]int{1, 0}, [2]int{2, 10}), made)
	f.set("access", two, nil)
	f.advance(10 * time.Second)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	kids := func(j *JWKS) (all []string) {
		t.Helper()
		set, err := jwk.Parse(j.Body)
		if err != nil {
			t.Fatalf("%v: %s", err, j.Body)
		}
		for i := range set.Len() {
			key, _ := set.Key(i)
			all = append(all, key.KeyID())
		}
		return all
	}
	first := f.ring.JWKS()
	if n := len(kids(first)); n != 2 || first.MaxAge != 10*time.Second || !strings.HasPrefix(first.ETag, `"`) {
		t.Fatalf("%d keys, %+v", n, first)
	}
	f.advance(134 * time.Second) // 144: the first still verifies
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if second := f.ring.JWKS(); second != first {
		t.Error("the same keys, another document")
	}
	f.advance(time.Second) // 145: retired, by time alone
	third := f.ring.JWKS()
	if n := len(kids(third)); n != 1 || third.ETag == first.ETag {
		t.Errorf("%d keys, tag %s before and %s now", n, first.ETag, third.ETag)
	}
	f.set("access", withKeys(t, record(2, 0, [2]int{2, 10}, [2]int{3, 145}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	fourth := kids(f.ring.JWKS())
	if len(fourth) != 2 || fourth[0] != kids(third)[0] {
		t.Errorf("after a rotation: %v", fourth)
	}
}

func TestDocumentOfSeveralKeys(t *testing.T) {
	f, made := newFixture(t, func(c *Config) {
		short := testPeriods
		short.JWKSMaxAge = 3 * time.Second
		c.Keys = []KeyConfig{{Name: "access", Periods: testPeriods}, {Name: "id", Periods: short}, {Name: "missing", Periods: testPeriods}}
	}), map[int]Version{}
	access, id := withKeys(t, record(1, 0, [2]int{1, 0}), made), withKeys(t, record(1, 0, [2]int{1, 0}), map[int]Version{})
	id.Name = "id"
	f.set("access", access, nil)
	f.set("id", id, nil)
	if err := f.ring.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "signing key missing") {
		t.Fatal(err)
	}
	var document struct{ Keys []map[string]string }
	j := f.ring.JWKS()
	if err := json.Unmarshal(j.Body, &document); err != nil {
		t.Fatal(err)
	}
	wantFirst, _ := Thumbprint(access.Versions[0].Public)
	if len(document.Keys) != 2 || document.Keys[0]["kid"] != wantFirst || j.MaxAge != 3*time.Second {
		t.Errorf("%s, max-age %s", j.Body, j.MaxAge)
	}
	for _, key := range document.Keys {
		if key["alg"] != "ES256" || key["use"] != "sig" {
			t.Errorf("%v", key)
		}
	}
}

func TestRunPollsWithJitterAndTellsOfChanges(t *testing.T) {
	events := make(chan ReadEvent, 10)
	f, made := newFixture(t, func(c *Config) { c.OnRead = func(e ReadEvent) { events <- e } }), map[int]Version{}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
	news := f.ring.Subscribe()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.ring.Run(ctx) }()
	if d := <-f.waits; d != 3600*time.Millisecond { // 4 s · (0.8 + 0.2 · 0.5)
		t.Errorf("waits for %s", d)
	}
	if e := <-events; !e.Changed || e.Err != nil || e.Key != "access" {
		t.Errorf("first reading: %+v", e)
	}
	<-news
	f.wake <- at(4)
	<-f.waits
	if e := <-events; e.Changed || e.Err != nil {
		t.Errorf("second reading: %+v", e)
	}
	select {
	case <-news:
		t.Error("told of a change that is none")
	default:
	}
	f.set("access", Record{}, errors.New("down"))
	f.wake <- at(8)
	<-f.waits
	if e := <-events; e.Err == nil {
		t.Errorf("third reading: %+v", e)
	}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}, [2]int{2, 8}), made), nil)
	f.wake <- at(12)
	<-f.waits
	<-news
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRereadIsLimited(t *testing.T) {
	f, made := newFixture(t, nil), map[int]Version{}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}), made), nil)
	for i, want := range []int{1, 1, 2} {
		if i == 2 {
			f.advance(time.Second)
		}
		if err := f.ring.Reread(t.Context(), "access"); err != nil {
			t.Fatal(err)
		}
		if got := f.readings(); got != want {
			t.Errorf("call %d: %d readings, want %d", i+1, got, want)
		}
	}
}

func TestWarnings(t *testing.T) {
	f, made := newFixture(t, func(c *Config) { c.MaxStale = time.Hour }), map[int]Version{}
	r := withKeys(t, record(1, 0, [2]int{1, 0}), made)
	r.Exportable, r.AllowPlaintextBackup, r.DeletionAllowed = true, true, true
	f.set("access", r, nil)
	f.advance(101 * time.Second)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(f.ring.Health()[0].Warnings, "\n")
	for _, want := range []string{"exportable", "plaintext backup", "may be deleted", "version 1 signs for 1m41s already, rotate_every is 1m40s", "no version is pending"} {
		if !strings.Contains(all, want) {
			t.Errorf("no word of %q in:\n%s", want, all)
		}
	}
	f.set("access", withKeys(t, record(1, 0, [2]int{1, 0}, [2]int{2, 101}), made), nil)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w := f.ring.Health()[0].Warnings; len(w) != 0 {
		t.Errorf("a key in order has warnings: %v", w)
	}
}

func TestKeyringConfiguration(t *testing.T) {
	reader := &fixture{}
	key := KeyConfig{Name: "access", Type: "ecdsa-p256"}
	for _, c := range []struct {
		name, want string
		config     Config
	}{
		{"no reader", "a Reader is required", Config{}},
		{"no name", "it needs a name", Config{Reader: reader, Keys: []KeyConfig{{}}}},
		{"twice", "configured twice", Config{Reader: reader, Keys: []KeyConfig{key, key}}},
		{"type", "cannot sign tokens", Config{Reader: reader, Keys: []KeyConfig{{Name: "access", Type: "hmac"}}}},
		{"algorithm", "cannot sign RS256", Config{Reader: reader, Keys: []KeyConfig{{Name: "access", Type: "ecdsa-p256", Algorithm: "RS256"}}}},
		{"periods", "publish_ahead is 1m, less than JWKS max-age 5m + keyring poll 10s + clock skew 30s = 5m40s",
			Config{Reader: reader, Keys: []KeyConfig{{Name: "access", Periods: Periods{PublishAhead: time.Minute}}}}},
		{"max_stale", "max_stale is 19s, less than two keyring polls of 10s", Config{Reader: reader, Keys: []KeyConfig{key}, MaxStale: 19 * time.Second}},
		{"negative", "negative limits", Config{Reader: reader, MaxStale: -1}},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := New(Config{Reader: reader, Keys: []KeyConfig{key}}); err != nil {
		t.Error(err)
	}
}
