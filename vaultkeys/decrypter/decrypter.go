// Package decrypter opens the encrypted keys of JWEs with private keys that never leave Vault.
//
// Anyone can make a JWE that decrypts: the key to encrypt to is public. So opening is where a stranger makes
// Vault work, and everything here bounds that. A token costs one call at most, and none where its kid names no
// version that is held. Those who ask for the same token at the same time share the call. Nothing is retried.
// Few calls are under way at once; each caller has a rate of its own and few places before the calls, so that
// a flood fills its own places and nobody else's. Past a bound the answer is ErrUnavailable at once: whoever
// waits holds one of the server's places for requests, and those belong to signed tokens.
//
// Whether Vault refused the ciphertext, the version or the kid is told to nobody: all are the same error.
package decrypter

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// Keys finds the transit key and version behind a kid; *vaultkeys.EncryptionRing is one. It answers from
// memory and is called concurrently. Its errors are vaultkeys.ErrNotHeld and ErrNotKnown.
type Keys interface {
	Decryption(kid string) (name string, version int, err error)
}

// Vault decrypts with one version of a key. It is called concurrently, and retries nothing.
type Vault interface {
	Decrypt(ctx context.Context, key string, version int, ciphertext []byte) ([]byte, error)
}

// The defaults of Config.
const (
	DefaultMaxCalls       = 8
	DefaultMaxPerCaller   = 16
	DefaultRatePerCaller  = 100
	DefaultTimeout        = 2 * time.Second
	mostCallers           = 4096
	mostEncryptedKeyBytes = 512 // RSA-4096
)

// Config wires a Decrypter.
type Config struct {
	Keys  Keys  // required
	Vault Vault // required
	// MaxCalls is the most calls under way at once; default DefaultMaxCalls.
	MaxCalls int
	// MaxPerCaller is the most tokens of one caller that wait or are being opened; past it ErrUnavailable.
	// Default DefaultMaxPerCaller.
	MaxPerCaller int
	// RatePerCaller is how many tokens a second one caller may have opened, as many at once after a pause of
	// a second; past it ErrUnavailable. Default DefaultRatePerCaller.
	RatePerCaller int
	// Timeout bounds waiting and call together; default DefaultTimeout. Past it ErrUnavailable.
	Timeout time.Duration
	// NoVerdict tells an error of Vault that says nothing about the ciphertext: it is away, or does not let us.
	// Nil: only a call that ended with its context is one.
	NoVerdict func(error) bool
	// Observe is told how every question ended, by one of Outcomes; nil: nobody is. It must not block.
	Observe func(outcome string)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Outcomes of a question, as Observe is told.
const (
	Opened      = "opened"
	Refused     = "refused"     // Vault could not open it
	NotHeld     = "not_held"    // its kid names no key that is held; Vault was not asked
	Limited     = "limited"     // the caller is past its rate or its places
	Unavailable = "unavailable" // Vault is away, or too slow
)

// errRefused is the one error about a token. What exactly is wrong would be an oracle.
var errRefused = errors.New("it cannot be opened with a key that is held here")

// Decrypter implements token.Decrypter. It is safe for concurrent use.
type Decrypter struct {
	c     Config
	calls chan struct{} // one element for each call under way

	mu      sync.Mutex
	callers map[string]*caller       // guarded by mu
	shared  map[[32]byte]*sharedCall // guarded by mu; calls under way, and those that wait
}

// caller is the quota of one caller.
type caller struct {
	open   int       // tokens that wait or are being opened
	tokens float64   // what is left of its rate
	at     time.Time // when tokens was right
}

// sharedCall is one call, for all who ask for the same.
type sharedCall struct {
	done chan struct{} // closed when key and err are there
	key  []byte
	err  error
}

// New checks the wiring.
func New(c Config) (*Decrypter, error) {
	if c.Keys == nil || c.Vault == nil {
		return nil, errors.New("decrypter: Keys and Vault are required")
	}
	for _, limit := range []struct {
		value    *int
		fallback int
	}{{&c.MaxCalls, DefaultMaxCalls}, {&c.MaxPerCaller, DefaultMaxPerCaller}, {&c.RatePerCaller, DefaultRatePerCaller}} {
		if *limit.value == 0 {
			*limit.value = limit.fallback
		}
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MaxCalls < 0 || c.MaxPerCaller < 0 || c.RatePerCaller < 0 || c.Timeout < 0 {
		return nil, errors.New("decrypter: negative limits")
	}
	if c.NoVerdict == nil {
		c.NoVerdict = func(error) bool { return false }
	}
	if c.Observe == nil {
		c.Observe = func(string) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Decrypter{
		c: c, calls: make(chan struct{}, c.MaxCalls), callers: make(map[string]*caller), shared: make(map[[32]byte]*sharedCall),
	}, nil
}

// Holds implements token.Decrypter.
func (d *Decrypter) Holds(kid string) bool {
	_, _, err := d.c.Keys.Decryption(kid)
	return err == nil
}

// DecryptKey implements token.Decrypter. Who asks is pdp.CallerOf(ctx).
func (d *Decrypter) DecryptKey(ctx context.Context, kid, alg string, encryptedKey []byte) ([]byte, error) {
	key, err := d.open(ctx, kid, alg, encryptedKey)
	switch {
	case err == nil:
		d.c.Observe(Opened)
	case errors.Is(err, errLimited):
		d.c.Observe(Limited)
	case errors.Is(err, pdp.ErrUnavailable):
		d.c.Observe(Unavailable)
	case errors.Is(err, vaultkeys.ErrNotHeld):
		d.c.Observe(NotHeld)
		err = errRefused
	case ctx.Err() != nil: // whoever asked went away
	default:
		d.c.Observe(Refused)
	}
	return key, err
}

// errLimited is a bound of this package's own.
var errLimited = fmt.Errorf("%w: more encrypted tokens than one caller may have opened at a time", pdp.ErrUnavailable)

func (d *Decrypter) open(ctx context.Context, kid, alg string, encryptedKey []byte) ([]byte, error) {
	if alg != vaultkeys.EncryptionAlgorithm || len(encryptedKey) > mostEncryptedKeyBytes {
		return nil, vaultkeys.ErrNotHeld
	}
	name, version, err := d.c.Keys.Decryption(kid)
	if errors.Is(err, vaultkeys.ErrNotKnown) {
		return nil, fmt.Errorf("%w: %w", pdp.ErrUnavailable, err)
	}
	if err != nil {
		return nil, vaultkeys.ErrNotHeld
	}
	who := pdp.CallerOf(ctx)
	call, mine, err := d.join(who, sha256.Sum256(append([]byte(kid+"\x00"), encryptedKey...)))
	if err != nil {
		return nil, err
	}
	if mine != nil {
		// Not the asker's context: one that goes away must not take the others along.
		go mine(func(ctx context.Context) ([]byte, error) { return d.ask(ctx, name, version, encryptedKey) })
	}
	select {
	case <-call.done:
		return call.key, call.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join gives the call under way for the same encrypted key, or a new one and the function that makes it. Only
// a new one counts against the caller.
func (d *Decrypter) join(who string, same [32]byte) (call *sharedCall, work func(func(context.Context) ([]byte, error)), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if call := d.shared[same]; call != nil {
		return call, nil, nil
	}
	quota := d.quota(who)
	if quota == nil || quota.open >= d.c.MaxPerCaller || quota.tokens < 1 {
		return nil, nil, errLimited
	}
	quota.open++
	quota.tokens--
	call = &sharedCall{done: make(chan struct{})}
	d.shared[same] = call
	return call, func(ask func(context.Context) ([]byte, error)) {
		ctx, cancel := context.WithTimeout(context.Background(), d.c.Timeout)
		defer cancel()
		call.key, call.err = ask(ctx)
		d.mu.Lock()
		quota.open--
		delete(d.shared, same)
		d.mu.Unlock()
		close(call.done)
	}, nil
}

// quota is what a caller has left now. Callers come from the configuration's grants, so that their number is
// bounded; nil where it is not, and all are busy. mu is held.
func (d *Decrypter) quota(who string) *caller {
	now, most := d.c.Now(), float64(d.c.RatePerCaller)
	c := d.callers[who]
	if c == nil {
		if len(d.callers) >= mostCallers && !d.forget(now) {
			return nil
		}
		c = &caller{tokens: most, at: now}
		d.callers[who] = c
	}
	if passed := now.Sub(c.at).Seconds(); passed > 0 {
		c.tokens, c.at = min(most, c.tokens+passed*most), now
	}
	return c
}

// forget drops the callers whose quota is whole again; it tells whether there was one.
func (d *Decrypter) forget(now time.Time) bool {
	before := len(d.callers)
	for who, c := range d.callers {
		if c.open == 0 && now.Sub(c.at) >= time.Second {
			delete(d.callers, who)
		}
	}
	return len(d.callers) < before
}

// ask waits for its turn and makes the one call.
func (d *Decrypter) ask(ctx context.Context, name string, version int, encryptedKey []byte) ([]byte, error) {
	select {
	case d.calls <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: too many encrypted tokens wait to be opened", pdp.ErrUnavailable)
	}
	defer func() { <-d.calls }()
	key, err := d.c.Vault.Decrypt(ctx, name, version, encryptedKey)
	switch {
	case err == nil:
		return key, nil
	case ctx.Err() != nil, d.c.NoVerdict(err):
		return nil, fmt.Errorf("%w: decrypting in Vault: %w", pdp.ErrUnavailable, err)
	}
	return nil, errRefused
}
