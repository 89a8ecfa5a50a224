package custodian_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// timed is a real Vault under a test's clock: every version is said to have been made when the clock stood
// where it did as the version was first seen.
type timed struct {
	*transit.Client
	clock *clock
	// lower writes the minimum versions with no regard to what is there.
	lower func(t *testing.T, to int) error

	mu      sync.Mutex
	created map[int]time.Time // guarded by mu
}

func (v *timed) ReadKey(ctx context.Context, name string) (vaultkeys.Record, error) {
	r, err := v.Client.ReadKey(ctx, name)
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range r.Versions {
		n := r.Versions[i].Number
		if _, seen := v.created[n]; !seen {
			v.created[n] = v.clock.Now()
		}
		r.Versions[i].Created = v.created[n]
	}
	return r, err
}

func (v *timed) Rotate(ctx context.Context, key string, from int) error {
	if err := v.Client.Rotate(ctx, key, from); err != nil {
		return err
	}
	_, err := v.ReadKey(ctx, key) // so that it is seen at the time at which it was made
	return err
}

// newTimed provisions a mount of the test's own with a key "access" of one version.
func newTimed(t *testing.T) *timed {
	t.Helper()
	server, mount := vaulttest.Shared(t), vaulttest.Mount(t)
	client, err := transit.New(transit.Config{Address: server.Address, Mount: mount, Auth: transit.StaticToken(server.RootToken), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	root := vaulttest.Root(t, server, "")
	if _, err := root.Logical().Write("sys/mounts/"+mount, map[string]any{"type": "transit"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Logical().Write(mount+"/keys/access", map[string]any{"type": "ecdsa-p256"}); err != nil {
		t.Fatal(err)
	}
	v := &timed{Client: client, clock: &clock{now: epoch}, created: make(map[int]time.Time)}
	v.lower = func(t *testing.T, to int) error {
		_, err := root.Logical().WriteWithContext(t.Context(), mount+"/keys/access/config", map[string]any{"min_decryption_version": to, "min_encryption_version": to})
		return err
	}
	v.read(t)
	return v
}

func (v *timed) read(t *testing.T) vaultkeys.Record {
	t.Helper()
	r, err := v.ReadKey(t.Context(), "access")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// errKilled ends a custodian: it does nothing after.
var errKilled = errors.New("killed")

// mortal kills whoever uses it at a call: before the request is sent, or after it was served and before the
// answer came.
type mortal struct {
	custodian.Vault
	at    int // the call that kills, counted from 0; negative: none
	after bool

	calls int
}

func (m *mortal) call(operation func() error) error {
	n := m.calls
	m.calls++
	switch {
	case m.at >= 0 && n > m.at, n == m.at && !m.after:
		return errKilled
	case n == m.at:
		_ = operation() // its answer is lost
		return errKilled
	}
	return operation()
}

func (m *mortal) ReadKey(ctx context.Context, name string) (r vaultkeys.Record, err error) {
	err = m.call(func() error { r, err = m.Vault.ReadKey(ctx, name); return err })
	return r, err
}

func (m *mortal) Rotate(ctx context.Context, key string, from int) error {
	return m.call(func() error { return m.Vault.Rotate(ctx, key, from) })
}

func (m *mortal) Retire(ctx context.Context, key string, to int) error {
	return m.call(func() error { return m.Vault.Retire(ctx, key, to) })
}

func (m *mortal) Trim(ctx context.Context, key string, to int) error {
	return m.call(func() error { return m.Vault.Trim(ctx, key, to) })
}

func newCustodian(t *testing.T, v custodian.Vault, now func() time.Time) *custodian.Custodian {
	t.Helper()
	c, err := custodian.New(custodian.Config{Vault: v, Now: now, Keys: []custodian.Key{{Name: "access", Rules: rules(time.Minute)}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// watcher holds what must be true of a key at every moment, whoever looks after it.
type watcher struct {
	signed map[int]time.Time // by version: until when a token lives that it signed
	first  int               // the first version of the key may sign at once
	seen   map[int]bool
}

func newWatcher() *watcher {
	return &watcher{signed: make(map[int]time.Time), first: 1, seen: make(map[int]bool)}
}

// look fails the test where a version signs that was not published long enough, or a living token's key is not
// published.
func (w *watcher) look(t *testing.T, v *timed) {
	t.Helper()
	r, now, p := v.read(t), v.clock.Now(), periods()
	signer, err := vaultkeys.Signer(r, p, now)
	if err != nil {
		t.Fatal(err)
	}
	if age := now.Sub(signer.Created); signer.Number > w.first && age < p.PublishAhead {
		t.Fatalf("at %s version %d signs, which has been published for %s", now.Sub(epoch), signer.Number, age)
	}
	w.seen[signer.Number] = true
	w.signed[signer.Number] = now.Add(p.MaxTokenLifetime + p.Leeway)
	published := map[int]bool{}
	for _, s := range vaultkeys.States(r, p, now) {
		published[s.Number] = s.State.Published()
	}
	for number, until := range w.signed {
		if now.Before(until) && !published[number] {
			t.Fatalf("at %s version %d is not published, and a token of it lives until %s", now.Sub(epoch), number, until.Sub(epoch))
		}
	}
}

// A custodian is killed at each of its calls to Vault, before the request or before its answer, round after
// round with the next one taking over; and what it left is looked at every few seconds of the clock.
func TestKilledAtEveryStep(t *testing.T) {
	v, w := newTimed(t), newWatcher()
	kills := 0
	for elapsed := 0; elapsed < 4000; elapsed += 20 {
		w.look(t, v)
		for call := 0; ; call++ {
			died := false
			for _, after := range []bool{false, true} {
				m := &mortal{Vault: v, at: call, after: after}
				if err := newCustodian(t, m, v.clock.Now).Round(t.Context()); err != nil {
					if !errors.Is(err, errKilled) {
						t.Fatal(err)
					}
					died = true
					kills++
				}
				w.look(t, v)
			}
			if !died { // it came through: nothing was left to do at that call
				break
			}
		}
		v.clock.advance(20 * time.Second)
	}
	r := v.read(t)
	if len(w.seen) < 20 || r.MinDecryptionVersion < 20 || r.MinAvailableVersion < 15 {
		t.Errorf("%d versions have signed, those below %d are withdrawn, below %d destroyed: the custodians did not get on", len(w.seen), r.MinDecryptionVersion, r.MinAvailableVersion)
	}
	t.Logf("%d kills; %d versions made, %d have signed", kills, r.Latest, len(w.seen))
}

// rendezvous makes several custodians see the same record before any of them acts on it.
type rendezvous struct {
	custodian.Vault
	read *sync.WaitGroup
	once sync.Once
}

func (r *rendezvous) ReadKey(ctx context.Context, name string) (vaultkeys.Record, error) {
	record, err := r.Vault.ReadKey(ctx, name)
	r.once.Do(func() { r.read.Done(); r.read.Wait() })
	return record, err
}

// Several custodians act on the same reading at the same time, again and again.
func TestRaceOfCustodians(t *testing.T) {
	const custodians = 4
	v, w := newTimed(t), newWatcher()
	surplus := 0
	for elapsed := 0; elapsed < 4000; elapsed += 20 {
		w.look(t, v)
		var read, done sync.WaitGroup
		read.Add(custodians)
		for range custodians {
			c := newCustodian(t, &rendezvous{Vault: v, read: &read}, v.clock.Now)
			done.Go(func() {
				if err := c.Round(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		w.look(t, v)
		pending := 0
		for _, s := range vaultkeys.States(v.read(t), periods(), v.clock.Now()) {
			if s.State == vaultkeys.Pending {
				pending++
			}
		}
		surplus = max(surplus, pending-1)
		if pending == 0 {
			t.Fatalf("at %d s no version is pending", elapsed)
		}
		v.clock.advance(20 * time.Second)
	}
	if len(w.seen) < 20 {
		t.Errorf("only %d versions have signed", len(w.seen))
	}
	t.Logf("%d versions made, %d have signed, up to %d surplus at once", v.read(t).Latest, len(w.seen), surplus)
}

// A version too many, at any moment, harms nobody: retried requests, an operator's hand.
func TestSurplusVersionsAreHarmless(t *testing.T) {
	v, w := newTimed(t), newWatcher()
	for elapsed := 0; elapsed < 2000; elapsed += 20 {
		if err := newCustodian(t, v, v.clock.Now).Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.look(t, v)
		if slices.Contains([]int{20, 40, 100, 500, 520, 540, 560, 1200}, elapsed) {
			if err := v.Rotate(t.Context(), "access", v.read(t).Latest); err != nil {
				t.Fatal(err)
			}
			w.look(t, v)
		}
		v.clock.advance(20 * time.Second)
	}
}
