package notary

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Label starts what the master key computes the HMAC of; the period follows.
const Label = "assay-audit-pseudonym:"

// Settled is how long before a period its version of the master is settled: one that Vault makes later is the
// next period's. It is far more than any two clocks differ.
const Settled = 2 * time.Hour

// earliest is how long before a period its key may be asked for: Settled, less what two clocks may differ.
const earliest = Settled - 5*time.Minute

// Defaults of PeriodsConfig.
const (
	DefaultBackoff    = time.Second
	DefaultMaxBackoff = time.Minute
)

// Errors of PeriodKey that are not about reaching Vault.
var (
	// ErrForgotten means that the version of the master that the period's key was made with is destroyed or
	// retired, or that the master is younger than the period.
	ErrForgotten = errors.New("the period's key cannot be made (again)")
	// ErrEarly means that the period begins too far in the future: its version is not settled yet.
	ErrEarly = errors.New("the period's key is not settled yet")
	// ErrWaiting means that Vault did not serve the last request and is not asked again before a while is over.
	ErrWaiting = errors.New("vault could not be asked a moment ago")
)

// PeriodsConfig wires Periods.
type PeriodsConfig struct {
	Vault Vault // required
	// Key is the name of the master, a transit key of type aes256-gcm96; required.
	Key string
	// Backoff is how long nobody asks again after Vault failed, doubled with each further failure up to MaxBackoff;
	// defaults as above.
	Backoff, MaxBackoff time.Duration
	// Timeout bounds one fetch, two requests; default DefaultTimeout.
	Timeout time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Periods has the keys of periods from Vault. It holds those of periods that are not over, in memory only. It is safe
// for concurrent use; any number of callers make one fetch at a time, and none while Vault is away.
type Periods struct {
	c PeriodsConfig

	turn chan struct{} // held by the one that asks Vault

	mu       sync.Mutex
	held     map[string]periodKey
	failures int       // in a row
	asleep   time.Time // nobody asks before
	last     error     // why
}

type periodKey struct {
	key     []byte
	version int
	end     time.Time
}

// NewPeriods makes Periods; it does not ask Vault.
func NewPeriods(c PeriodsConfig) (*Periods, error) {
	if c.Vault == nil || c.Key == "" {
		return nil, errors.New("notary: the keys of periods need Vault and the name of a key")
	}
	fill(&c.Backoff, DefaultBackoff)
	fill(&c.MaxBackoff, max(DefaultMaxBackoff, c.Backoff))
	fill(&c.Timeout, DefaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Periods{c: c, turn: make(chan struct{}, 1), held: make(map[string]periodKey)}, nil
}

// PeriodKey answers the key of a period, 32 bytes, and the version of the master that made it. period is a label as
// Period takes it. It may be asked for from almost two hours before the period begins (ErrEarly before). Of a period that is
// over the key is fetched and not held. It is the caller's own; clear it after use.
func (p *Periods) PeriodKey(ctx context.Context, period string) ([]byte, int, error) {
	start, end, err := Period(period)
	if err != nil {
		return nil, 0, err
	}
	if key, version, ok := p.hold(period); ok {
		return key, version, nil
	}
	if p.c.Now().Before(start.Add(-earliest)) {
		return nil, 0, fmt.Errorf("notary: period %s: %w", period, ErrEarly)
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("notary: period %s: waiting for another: %w", period, ctx.Err())
	}
	if key, version, ok := p.hold(period); ok { // another has fetched it meanwhile
		return key, version, nil
	}
	if err := p.awake(); err != nil {
		return nil, 0, fmt.Errorf("notary: period %s: %w", period, err)
	}
	key, version, err := p.fetch(ctx, period, start, end)
	p.note(ctx, err)
	if err != nil {
		return nil, 0, fmt.Errorf("notary: period %s: %w", period, err)
	}
	p.keep(period, periodKey{key: slices.Clone(key), version: version, end: end})
	return key, version, nil
}

// hold answers a copy of the key where it is held, and forgets those of periods that are over.
func (p *Periods) hold(period string) ([]byte, int, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drop()
	k, ok := p.held[period]
	return slices.Clone(k.key), k.version, ok
}

func (p *Periods) keep(period string, k periodKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[period] = k
	p.drop()
}

// drop clears the keys of periods that are over; p.mu is held.
func (p *Periods) drop() {
	now := p.c.Now()
	for label, k := range p.held {
		if !now.Before(k.end) {
			clear(k.key)
			delete(p.held, label)
		}
	}
}

// awake tells whether Vault may be asked.
func (p *Periods) awake() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.c.Now().Before(p.asleep) {
		return fmt.Errorf("%w: %w", ErrWaiting, p.last)
	}
	return nil
}

// note remembers how a fetch ended. Where the caller gave up that says nothing of Vault, and where the period is
// forgotten Vault has answered.
func (p *Periods) note(ctx context.Context, err error) {
	if errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil || errors.Is(err, ErrForgotten) {
		p.failures, p.asleep, p.last = 0, time.Time{}, nil
		return
	}
	pause := min(p.c.Backoff<<min(p.failures, 16), p.c.MaxBackoff)
	p.failures, p.asleep, p.last = p.failures+1, p.c.Now().Add(pause), err
}

func (p *Periods) fetch(ctx context.Context, period string, start, end time.Time) ([]byte, int, error) {
	record, err := p.c.Vault.ReadVersions(ctx, p.c.Key)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the key %s: %w", p.c.Key, err)
	}
	version, err := VersionOf(record, start, end)
	if err != nil {
		return nil, 0, err
	}
	key, err := p.c.Vault.HMAC(ctx, p.c.Key, version, []byte(Label+period))
	if err != nil {
		return nil, 0, fmt.Errorf("asking for it with version %d of the key %s: %w", version, p.c.Key, err)
	}
	return key, version, nil
}

// VersionOf says which version of the master belongs to the period [start, end): the newest that was made at least
// Settled before start; where none is so old, version 1, if it was made before end. A version that is not listed
// any more, or below the minimum version, belongs to nothing: ErrForgotten.
func VersionOf(record vaultkeys.Record, start, end time.Time) (int, error) {
	settled := start.Add(-Settled)
	version := 0
	for _, v := range record.Versions {
		if !v.Created.After(settled) || v.Number == 1 && v.Created.Before(end) {
			version = v.Number
		}
	}
	if version == 0 || version < record.MinEncryptionVersion {
		return 0, ErrForgotten
	}
	return version, nil
}
