package decrypter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// held are the kids that are known: "unread" one that could not be read.
type held struct{}

func (held) Decryption(kid string) (string, int, error) {
	switch kid {
	case "kid":
		return "orders", 3, nil
	case "unread":
		return "", 0, vaultkeys.ErrNotKnown
	}
	return "", 0, vaultkeys.ErrNotHeld
}

// slow is a Vault that takes a second for each call. What begins with "bad" it cannot open.
type slow struct {
	calls, now, most atomic.Int32
	err              error
}

func (s *slow) Decrypt(ctx context.Context, key string, version int, ciphertext []byte) ([]byte, error) {
	s.calls.Add(1)
	now := s.now.Add(1)
	defer s.now.Add(-1)
	for most := s.most.Load(); now > most && !s.most.CompareAndSwap(most, now); most = s.most.Load() {
	}
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if key != "orders" || version != 3 {
		return nil, fmt.Errorf("asked for %s version %d", key, version)
	}
	if s.err != nil {
		return nil, s.err
	}
	if bytes.HasPrefix(ciphertext, []byte("bad")) {
		return nil, errors.New("vault answers 500: crypto/rsa: decryption error")
	}
	return append([]byte("key of "), ciphertext...), nil
}

func as(t *testing.T, caller string) context.Context {
	return context.WithValue(t.Context(), pdp.CallerKey{}, caller)
}

func start(t *testing.T, vault Vault, change func(*Config)) (*Decrypter, map[string]int) {
	t.Helper()
	outcomes, mu := map[string]int{}, sync.Mutex{}
	c := Config{Keys: held{}, Vault: vault, Timeout: 30 * time.Second, Observe: func(outcome string) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[outcome]++
	}}
	if change != nil {
		change(&c)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d, outcomes
}

func TestOneCallForOneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &slow{}
		d, outcomes := start(t, vault, nil)
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				ctx, cancel := as(t, "gateway"), func() {}
				if i == 0 { // the one who made the call goes away
					ctx, cancel = context.WithTimeout(ctx, time.Millisecond)
				}
				defer cancel()
				key, err := d.DecryptKey(ctx, "kid", "RSA-OAEP-256", []byte("wrapped"))
				if i > 0 && (err != nil || string(key) != "key of wrapped") {
					t.Errorf("%q, %v", key, err)
				}
			})
			synctest.Wait()
		}
		all.Wait()
		if vault.calls.Load() != 1 || outcomes[Opened] != 49 {
			t.Errorf("%d calls, %v", vault.calls.Load(), outcomes)
		}
	})
}

// Whatever is wrong with a token, its sender hears the same, and Vault was asked once at most.
func TestNoOracleAndNoRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &slow{}
		d, outcomes := start(t, vault, nil)
		for _, c := range []struct {
			name, kid, alg, wrapped string
			calls                   int32
		}{
			{"garbage", "kid", "RSA-OAEP-256", "bad", 1},
			{"the same garbage again", "kid", "RSA-OAEP-256", "bad", 1},
			{"an unknown kid", "other", "RSA-OAEP-256", "good", 0},
			{"no kid", "", "RSA-OAEP-256", "good", 0},
			{"another algorithm", "kid", "RSA1_5", "good", 0},
			{"more bytes than any key has", "kid", "RSA-OAEP-256", strings.Repeat("x", 513), 0},
		} {
			before := vault.calls.Load()
			key, err := d.DecryptKey(as(t, "gateway"), c.kid, c.alg, []byte(c.wrapped))
			if key != nil || err != errRefused { //nolint:errorlint // it must be this very error, with nothing around it
				t.Errorf("%s: %q, %v", c.name, key, err)
			}
			if calls := vault.calls.Load() - before; calls != c.calls {
				t.Errorf("%s: %d calls", c.name, calls)
			}
		}
		if outcomes[Refused] != 2 || outcomes[NotHeld] != 4 {
			t.Errorf("%v", outcomes)
		}
		if d.Holds("other") || !d.Holds("kid") {
			t.Error("Holds")
		}
	})
}

// A caller past its places or its rate is refused at once, and the next one is served as if it were alone.
func TestCallersDoNotSlowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &slow{}
		d, outcomes := start(t, vault, func(c *Config) { c.MaxCalls, c.MaxPerCaller, c.RatePerCaller = 4, 3, 10 })
		var flood sync.WaitGroup
		for i := range 100 {
			flood.Go(func() {
				began := time.Now()
				_, err := d.DecryptKey(as(t, "flood"), "kid", "RSA-OAEP-256", fmt.Appendf(nil, "bad %d", i))
				if errors.Is(err, pdp.ErrUnavailable) && time.Since(began) != 0 {
					t.Errorf("refused after %s", time.Since(began))
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if _, err := d.DecryptKey(as(t, "gateway"), "kid", "RSA-OAEP-256", []byte("good")); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s, Vault takes a second", took)
		}
		flood.Wait()
		if outcomes[Refused] != 3 || outcomes[Limited] != 97 || outcomes[Opened] != 1 {
			t.Errorf("%v", outcomes)
		}

		// One after the other, the rate holds: of its ten a second three were used, at 0 s.
		d, outcomes = start(t, instant{}, func(c *Config) { c.RatePerCaller = 10 })
		for i := range 30 {
			_, err := d.DecryptKey(as(t, "flood"), "kid", "RSA-OAEP-256", fmt.Appendf(nil, "%d", i))
			if want := i >= 10; errors.Is(err, pdp.ErrUnavailable) != want {
				t.Errorf("question %d: %v", i, err)
			}
		}
		time.Sleep(500 * time.Millisecond)
		for i := range 10 {
			_, err := d.DecryptKey(as(t, "flood"), "kid", "RSA-OAEP-256", fmt.Appendf(nil, "%d", 100+i))
			if want := i >= 5; errors.Is(err, pdp.ErrUnavailable) != want {
				t.Errorf("question %d after half a second: %v", i, err)
			}
		}
		if outcomes[Limited] != 25 {
			t.Errorf("%v", outcomes)
		}
	})
}

type instant struct{}

func (instant) Decrypt(context.Context, string, int, []byte) ([]byte, error) {
	return []byte("key"), nil
}

func TestCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		vault := &slow{}
		d, _ := start(t, vault, func(c *Config) { c.MaxCalls = 4 })
		var all sync.WaitGroup
		for i := range 12 {
			all.Go(func() {
				if _, err := d.DecryptKey(as(t, fmt.Sprintf("caller %d", i)), "kid", "RSA-OAEP-256", fmt.Appendf(nil, "%d", i)); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if vault.most.Load() != 4 || vault.calls.Load() != 12 {
			t.Errorf("%d at once of %d", vault.most.Load(), vault.calls.Load())
		}
	})
}

// Without Vault there is no verdict on a token, which is not the same as a bad token.
func TestNoVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sealed := errors.New("sealed")
		vault := &slow{err: sealed}
		d, outcomes := start(t, vault, func(c *Config) {
			c.Timeout, c.NoVerdict = 2*time.Second, func(err error) bool { return errors.Is(err, sealed) }
		})
		if _, err := d.DecryptKey(as(t, "a"), "kid", "RSA-OAEP-256", []byte("1")); !errors.Is(err, pdp.ErrUnavailable) {
			t.Errorf("sealed: %v", err)
		}
		if _, err := d.DecryptKey(as(t, "a"), "unread", "RSA-OAEP-256", []byte("2")); !errors.Is(err, pdp.ErrUnavailable) {
			t.Errorf("a key that was never read: %v", err)
		}
		d.c.Timeout = time.Second / 2
		if _, err := d.DecryptKey(as(t, "a"), "kid", "RSA-OAEP-256", []byte("3")); !errors.Is(err, pdp.ErrUnavailable) {
			t.Errorf("too slow: %v", err)
		}
		ctx, cancel := context.WithCancel(as(t, "a"))
		cancel()
		if _, err := d.DecryptKey(ctx, "kid", "RSA-OAEP-256", []byte("4")); !errors.Is(err, context.Canceled) {
			t.Errorf("gone away: %v", err)
		}
		time.Sleep(time.Second)
		d.mu.Lock()
		defer d.mu.Unlock()
		if outcomes[Unavailable] != 3 || len(d.shared) != 0 || d.callers["a"].open != 0 {
			t.Errorf("%v, left: %d calls, %d places", outcomes, len(d.shared), d.callers["a"].open)
		}
	})
}

// The memory of callers does not grow without end: those whose quota is whole are forgotten.
func TestCallersAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := start(t, instant{}, nil)
		for i := range mostCallers + 1 {
			_, err := d.DecryptKey(as(t, fmt.Sprint(i)), "kid", "RSA-OAEP-256", fmt.Appendf(nil, "%d", i))
			if want := i == mostCallers; errors.Is(err, pdp.ErrUnavailable) != want {
				t.Fatalf("caller %d: %v", i, err)
			}
		}
		time.Sleep(time.Second)
		if _, err := d.DecryptKey(as(t, "last"), "kid", "RSA-OAEP-256", []byte("last")); err != nil || len(d.callers) != 1 {
			t.Errorf("%v, %d callers", err, len(d.callers))
		}
	})
}
