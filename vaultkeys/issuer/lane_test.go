package issuer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"math/big"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// held is a fixture whose Vault keeps every call until it is let go. It is to be used in a synctest bubble.
func held(t *testing.T, change func(*Config)) *fixture {
	f := newFixture(t, change)
	f.vault.hold = make(chan struct{})
	return f
}

// letGo lets n calls end, one after the other.
func (f *fixture) letGo(n int) {
	for range n {
		f.vault.hold <- struct{}{}
		synctest.Wait()
	}
}

func (f *fixture) wantCalls(want ...int) {
	f.Helper()
	synctest.Wait()
	if got := f.vault.sizes(); !slices.Equal(got, want) {
		f.Fatalf("calls with %v signatures, want %v", got, want)
	}
}

func oneCall(c *Config) { c.MaxCalls = 1 }

func TestARequestAloneGoesAtOnceAndTheNextGoTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		first := f.start(t.Context(), 1)
		f.wantCalls(1)
		rest := f.start(t.Context(), 10)
		f.wantCalls(1)
		f.letGo(1)
		f.good(first, 1)
		f.wantCalls(1, 10)
		f.letGo(1)
		f.good(rest, 10)
		alone := f.start(t.Context(), 1)
		f.wantCalls(1, 10, 1)
		f.letGo(1)
		f.good(alone, 1)
	})
}

func TestBatchesAndCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, func(c *Config) { c.MaxBatch, c.MaxCalls = 4, 2 })
		first := f.start(t.Context(), 1)
		f.wantCalls(1) // two that come in the same moment may go together
		second := f.start(t.Context(), 1)
		f.wantCalls(1, 1)
		rest := f.start(t.Context(), 10)
		f.wantCalls(1, 1)
		f.letGo(5)
		f.wantCalls(1, 1, 4, 4, 2)
		f.good(first, 1)
		f.good(second, 1)
		f.good(rest, 10)
		if f.vault.most != 2 {
			t.Errorf("%d calls at one time", f.vault.most)
		}
	})
}

func TestCallsAtOnceFollowTheTypeOfKey(t *testing.T) {
	rsaKey := &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}
	for _, c := range []struct {
		name       string
		public     crypto.PublicKey
		configured int
		want       int
	}{
		{"Ed25519", make(ed25519.PublicKey, ed25519.PublicKeySize), 0, DefaultMaxCalls},
		{"RSA", rsaKey, 0, DefaultMaxCallsRSA},
		{"Ed25519, configured", make(ed25519.PublicKey, ed25519.PublicKeySize), 7, 7},
		{"RSA, configured", rsaKey, 1, 1},
	} {
		l := &lane{c: &Config{MaxCalls: c.configured}}
		if got := l.maxCalls(&waiter{draft: &draft{key: vaultkeys.SigningKey{Key: pdp.Key{Public: c.public}}}}); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

func TestWithoutBatchesEveryTokenIsACall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, func(c *Config) { c.MaxBatch = 1 })
		all := f.start(t.Context(), 5)
		f.wantCalls(1, 1, 1, 1, 1)
		f.letGo(5)
		f.good(all, 5)
	})
}

func TestKeysHaveLanesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		access := f.start(t.Context(), 1)
		other := make(chan error, 1)
		go func() {
			o := order()
			o.KeyName = "other"
			_, err := f.issuer.Issue(t.Context(), o)
			other <- err
		}()
		f.wantCalls(1, 1)
		f.letGo(2)
		f.good(access, 1)
		if err := <-other; err != nil {
			t.Error(err)
		}
		if calls := f.vault.made(); calls[0].key == calls[1].key {
			t.Errorf("%v", calls)
		}
	})
}

func TestTheQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, func(c *Config) { c.MaxCalls, c.MaxQueue = 1, 3 })
		taken := f.start(t.Context(), 1)
		f.wantCalls(1)
		waiting := f.start(t.Context(), 3)
		synctest.Wait()
		turnedAway := f.start(t.Context(), 2)
		for range 2 {
			r := <-turnedAway // at once: no call has ended
			if away, ok := errors.AsType[*UnavailableError](r.err); !ok || away.RetryAfter <= 0 || r.issued != nil {
				t.Errorf("%+v", r)
			}
		}
		f.letGo(2)
		f.good(taken, 1)
		f.good(waiting, 3)
		after := f.start(t.Context(), 1)
		synctest.Wait()
		f.letGo(1)
		f.good(after, 1)
	})
}

func TestAWaiterThatGoesAwayTakesNobodyAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		gone := errors.New("the client hung up")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := f.start(t.Context(), 1)
		f.wantCalls(1)
		leaving := f.start(ctx, 2)
		synctest.Wait() // so that they stand first in the batch
		staying := f.start(t.Context(), 3)
		synctest.Wait()
		f.letGo(1)
		f.good(first, 1)
		f.wantCalls(1, 5)
		queued, later := f.start(ctx, 2), f.start(t.Context(), 2)
		synctest.Wait()
		cancel(gone)
		for range 2 { // answered while the call goes on, and while still queued
			for _, results := range []<-chan result{leaving, queued} {
				if r := <-results; !errors.Is(r.err, gone) || r.issued != nil {
					t.Errorf("%+v", r)
				}
			}
		}
		f.letGo(1)
		f.good(staying, 3)
		f.wantCalls(1, 5, 2) // nobody signs for those who left the queue
		f.letGo(1)
		f.good(later, 2)
	})
}

func TestNoCallIsMadeForWaitersThatAllLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		first := f.start(t.Context(), 1)
		f.wantCalls(1)
		ctx, cancel := context.WithCancel(t.Context())
		leaving := f.start(ctx, 3)
		synctest.Wait()
		cancel()
		for range 3 {
			if r := <-leaving; !errors.Is(r.err, context.Canceled) {
				t.Errorf("%+v", r)
			}
		}
		f.letGo(1)
		f.good(first, 1)
		f.wantCalls(1)
		if l := f.issuer.lane("access"); l.calls != 0 || len(l.queue) != 0 {
			t.Errorf("%d goroutines and %d waiters are left", l.calls, len(l.queue))
		}
	})
}

var errItem = errors.New("vault: internal error")

func TestItemsFailEachForItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		f.vault.spoil = func(n int, signatures [][]byte, err error) ([][]byte, error) {
			if n == 1 {
				signatures[1], signatures[3], err = nil, nil, errItem
			}
			return signatures, err
		}
		first := f.start(t.Context(), 1)
		f.wantCalls(1)
		batch := f.start(t.Context(), 5)
		synctest.Wait()
		f.letGo(2)
		f.good(first, 1)
		failed := 0
		for range 5 {
			switch r := <-batch; {
			case r.err == nil:
				f.check(r.issued)
			case errors.Is(r.err, errItem) && r.issued == nil:
				failed++
			default:
				t.Error(r.err)
			}
		}
		if failed != 2 {
			t.Errorf("%d failed", failed)
		}
	})
}

// Whatever comes back that is not the signature of this token by this key: no token leaves, and somebody is told.
func TestBadSignaturesNeverLeave(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func([][]byte) [][]byte
		told  int // how often OnBadSignature is
		bad   int // how many of two have no token
	}{
		"swapped":        {func(s [][]byte) [][]byte { return [][]byte{s[1], s[0]} }, 2, 2},
		"one bit":        {func(s [][]byte) [][]byte { s[1][7] ^= 1; return s }, 1, 1},
		"cut":            {func(s [][]byte) [][]byte { s[0] = s[0][:63]; return s }, 1, 1},
		"longer":         {func(s [][]byte) [][]byte { s[0] = append(s[0], 0); return s }, 1, 1},
		"zeros":          {func(s [][]byte) [][]byte { s[0] = make([]byte, 64); return s }, 1, 1},
		"empty":          {func(s [][]byte) [][]byte { s[0] = nil; return s }, 0, 1},
		"one too few":    {func(s [][]byte) [][]byte { return s[:1] }, 0, 2},
		"one too many":   {func(s [][]byte) [][]byte { return append(s, s[0]) }, 0, 2},
		"none, no error": {func([][]byte) [][]byte { return nil }, 0, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := held(t, oneCall)
				f.vault.spoil = func(n int, signatures [][]byte, err error) ([][]byte, error) {
					if n == 1 {
						signatures = c.spoil(signatures)
					}
					return signatures, err
				}
				first := f.start(t.Context(), 1)
				f.wantCalls(1)
				batch := f.start(t.Context(), 2)
				synctest.Wait()
				f.letGo(2)
				f.good(first, 1)
				bad := 0
				for range 2 {
					if r := <-batch; r.err != nil && r.issued == nil {
						bad++
						if c.told > 0 && !errors.Is(r.err, ErrBadSignature) {
							t.Error(r.err)
						}
					} else {
						f.check(r.issued)
					}
				}
				if bad != c.bad || f.badSignatures() != c.told {
					t.Errorf("%d without a token, told %d times", bad, f.badSignatures())
				}
			})
		})
	}
}

func TestACallThatHangsEndsWithSignTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []SignEvent
		f := held(t, func(c *Config) {
			c.MaxCalls, c.SignTimeout, c.OnSign = 1, 7*time.Second, func(e SignEvent) { events = append(events, e) }
		})
		began := time.Now() // the bubble's clock
		r := <-f.start(t.Context(), 1)
		if away, ok := errors.AsType[*UnavailableError](r.err); !ok || away.RetryAfter <= 0 {
			t.Errorf("%v", r.err)
		}
		if took := time.Since(began); took != 7*time.Second {
			t.Errorf("after %s", took)
		}
		synctest.Wait()
		if len(events) != 1 || events[0].Took != 7*time.Second || events[0].Err == nil || events[0].Items != 1 ||
			events[0].Key != "access" || events[0].Version != 1 || events[0].Algorithm != "EdDSA" {
			t.Errorf("%+v", events)
		}
	})
}

func TestAVaultThatIsAwaySaysWhenToAskAgain(t *testing.T) {
	sealed := errors.New("vault is sealed")
	for _, c := range []struct{ says, want time.Duration }{{9 * time.Second, 9 * time.Second}, {0, time.Second}} {
		f := newFixture(t, func(config *Config) {
			config.Unavailable = func(err error) (time.Duration, bool) { return c.says, errors.Is(err, sealed) }
		})
		f.vault.spoil = func(int, [][]byte, error) ([][]byte, error) { return nil, sealed }
		_, err := f.issuer.Issue(t.Context(), order())
		if away, ok := errors.AsType[*UnavailableError](err); !ok || away.RetryAfter != c.want || !errors.Is(err, sealed) {
			t.Errorf("%v", err)
		}
	}
}

// The kid in the header is that of the version that signs, also where it changes while a token waits.
func TestARotationWhileTokensWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := held(t, oneCall)
		first := f.start(t.Context(), 1)
		f.wantCalls(1)
		waiting := f.start(t.Context(), 3)
		synctest.Wait()
		f.advance(90 * time.Second) // 110: version 2 is due
		f.load()
		f.letGo(1)
		r := <-first
		if r.err != nil || r.issued.KeyVersion != 1 {
			t.Fatalf("%+v", r)
		}
		f.letGo(len(f.vault.sizes()) - 1)
		for len(waiting) < 3 { // the three may go in one call or in two
			f.letGo(1)
		}
		for range 3 {
			r := <-waiting
			if r.err != nil {
				t.Fatal(r.err)
			}
			f.check(r.issued)
			if r.issued.KeyVersion != 2 || !r.issued.IssuedAt.Equal(epoch.Add(110*time.Second)) {
				t.Errorf("version %d, issued at %s", r.issued.KeyVersion, r.issued.IssuedAt)
			}
		}
		if n := len(f.judge.proposals()); n != 1+3+3 {
			t.Errorf("judged %d times: what is built anew is judged anew", n)
		}
		for _, c := range f.vault.made()[1:] {
			if c.version != 2 {
				t.Errorf("signed with version %d", c.version)
			}
		}
	})
}

// A version is withdrawn in Vault, and the keyring has not heard of it: the refusal makes it look.
func TestACompromiseBetweenTwoPolls(t *testing.T) {
	f := newFixture(t, nil)
	f.issue(order())
	f.vault.withdraw("access", 2)
	f.advance(2 * time.Second)
	if issued := f.issue(order()); issued.KeyVersion != 2 {
		t.Errorf("version %d", issued.KeyVersion)
	}
	if calls := f.vault.made(); len(calls) != 3 || calls[1].version != 1 || calls[2].version != 2 {
		t.Errorf("%v", calls)
	}
}

// A version is revoked, as a compromise begins, and the keyring has not heard of what follows. The order is not to
// blame: the promoted version signs, or, while there is none, the answer is to come back.
func TestARevokedVersionIsNotTheOrdersFault(t *testing.T) {
	f := newFixture(t, nil)
	burnt := f.issue(order()).KeyID
	f.judge.answer = func(p Proposal) (*pdp.Decision, error) {
		if p.Key.ID != burnt {
			return &pdp.Decision{Allow: true}, nil
		}
		return &pdp.Decision{Reasons: []pdp.Reason{{Code: "revocation.key", Enforcement: pdp.Deny}}}, nil
	}
	f.advance(2 * time.Second)
	issued, err := f.issuer.Issue(t.Context(), order())
	if away, ok := errors.AsType[*UnavailableError](err); issued != nil || !ok || away.RetryAfter <= 0 || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("before another version is promoted: %v, %v", issued, err)
	}
	f.vault.withdraw("access", 2)
	f.advance(2 * time.Second)
	if issued := f.issue(order()); issued.KeyVersion != 2 {
		t.Errorf("version %d", issued.KeyVersion)
	}
	if calls := f.vault.made(); len(calls) != 2 || calls[0].version != 1 || calls[1].version != 2 {
		t.Errorf("Vault was asked to sign with a revoked version: %v", calls)
	}
}

func TestARefusalThatHasNothingToDoWithVersionsIsAnError(t *testing.T) {
	f := newFixture(t, nil)
	denied := errors.New("vault denies it")
	f.vault.spoil = func(int, [][]byte, error) ([][]byte, error) { return nil, denied }
	f.advance(2 * time.Second)
	issued, err := f.issuer.Issue(t.Context(), order())
	if _, away := errors.AsType[*UnavailableError](err); issued != nil || away || !errors.Is(err, denied) {
		t.Errorf("%v, %v", issued, err)
	}
	if n := len(f.vault.made()); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// A signing version that changes with every look is not chased for ever.
func TestAKeyThatNeverRests(t *testing.T) {
	f := newFixture(t, nil)
	key, err := f.ring.Signer("access")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	f.issuer.c.Keys = keysFunc(func() (vaultkeys.SigningKey, error) {
		mu.Lock()
		defer mu.Unlock()
		key.Version++
		return key, nil
	})
	_, err = f.issuer.Issue(t.Context(), order())
	if away, ok := errors.AsType[*UnavailableError](err); !ok || away.RetryAfter <= 0 {
		t.Errorf("%v", err)
	}
	if n := len(f.judge.proposals()); n != attempts || len(f.vault.made()) != 0 {
		t.Errorf("judged %d times, calls %v", n, f.vault.made())
	}
}

// Under a rotation, requests that end early and calls that fail, every request gets its own token or an error,
// and nothing is left behind.
func TestManyAtOnce(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.MaxBatch = 8 })
	f.vault.spoil = func(n int, signatures [][]byte, err error) ([][]byte, error) {
		if n%7 == 3 && len(signatures) > 1 {
			signatures[0], err = nil, errItem
		}
		return signatures, err
	}
	f.judge.answer = func(Proposal) (*pdp.Decision, error) { return &pdp.Decision{Allow: true}, nil }
	const callers, each = 32, 40
	type outcome struct {
		token string
		err   error
	}
	outcomes := make(chan outcome, callers*each)
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := range each {
				ctx, cancel := context.WithCancel(t.Context())
				if (caller+i)%5 == 0 {
					go cancel()
				}
				if caller == 0 && i == each/2 {
					f.advance(90 * time.Second)
				}
				issued, err := f.issuer.Issue(ctx, order())
				cancel()
				o := outcome{err: err}
				if err == nil {
					f.check(issued)
					o.token = issued.TokenID
				}
				outcomes <- o
			}
		})
	}
	all.Wait()
	close(outcomes)
	seen := make(map[string]bool)
	for o := range outcomes {
		switch {
		case o.err != nil:
			if !errors.Is(o.err, context.Canceled) && !errors.Is(o.err, errItem) {
				t.Error(o.err)
			}
		case seen[o.token]:
			t.Error("one token for two requests")
		}
		if o.err == nil {
			seen[o.token] = true
		}
	}
	if len(seen) < callers*each/2 {
		t.Errorf("only %d tokens", len(seen))
	}
	l := f.issuer.lane("access")
	for {
		l.mu.Lock()
		calls, queued := l.calls, len(l.queue)
		l.mu.Unlock()
		if calls == 0 && queued == 0 {
			break
		}
		runtime.Gosched()
	}
}
