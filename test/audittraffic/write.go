package audittraffic

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

// writer goes through the month. One goroutine uses it.
type writer struct {
	c        *Config
	log      *Log
	clock    *clock
	random   *rand.Rand
	entropy  *ulid.MonotonicEntropy
	recorder *audit.Recorder
	keyed    *audit.Keyed
	reasons  catalogue

	issuers  []*issuer
	pools    [][]*token // of each issuer
	persons  int
	minted   int
	plan     []event // what is still to come, in order
	revision string
	sequence int
	revoked  revoked
	masking  bool // works
	stale    bool // the revocation stream is away
}

func pick[T any](random *rand.Rand, from ...T) T { return from[random.IntN(len(from))] }

func write(ctx context.Context, c *Config, log audit.Log, clock *clock) (*Log, error) {
	reasons, err := readCatalogue()
	if err != nil {
		return nil, err
	}
	w := &writer{
		c: c, clock: clock, reasons: reasons, random: rand.New(rand.NewChaCha8(sha256.Sum256(fmt.Append(nil, "traffic ", c.Seed)))),
		entropy: ulid.Monotonic(bytesOf(c.Seed, "ids"), 0), issuers: issuers(), masking: true, revoked: newRevoked(),
		persons: max(20, min(5000, c.Decisions/20)), log: &Log{From: c.From, To: c.From.AddDate(0, 0, c.Days)},
	}
	if w.keyed, err = audit.NewKeyed(audit.KeyedConfig{Keys: PeriodKeys{PseudonymSecret}, Now: clock.Now}); err != nil {
		return nil, err
	}
	if w.recorder, err = audit.New(audit.Config{
		Log: log, Origin: Origin, Masker: w, Pseudonyms: w.keyed, Instance: "decider-1", Version: "1.0.0", NewID: w.id, Now: clock.Now,
	}); err != nil {
		return nil, err
	}
	w.populate()
	w.plan = w.story()
	return w.log, w.run(ctx)
}

// populate fills the pools with tokens that were there before.
func (w *writer) populate() {
	size := max(40, min(2000, w.c.Decisions/w.c.Days/24/4))
	for _, i := range w.issuers {
		if err := i.addKey(w.c.Seed, w.c.From.AddDate(0, 0, -3)); err != nil {
			panic(err) // a scalar made of a hash is out of the curve's range once in 2^32 seeds
		}
		pool := make([]*token, max(4, size*i.share/100))
		for n := range pool {
			pool[n] = w.mint(i, w.c.From)
		}
		w.pools = append(w.pools, pool)
	}
}

func (w *writer) run(ctx context.Context) error {
	for n, count := range w.c.hours() {
		hour := w.c.From.Add(time.Duration(n) * time.Hour)
		w.clock.set(hour)
		if err := errors.Join(ctx.Err(), w.keyed.Load(ctx)); err != nil {
			return err
		}
		for i := range count {
			at := moment(w.random, hour, i, count)
			if err := w.happen(ctx, at); err != nil {
				return err
			}
			if err := w.decide(ctx, at); err != nil {
				return err
			}
		}
	}
	return w.happen(ctx, w.log.To)
}

// happen lets everything happen that comes before a moment.
func (w *writer) happen(ctx context.Context, before time.Time) error {
	for len(w.plan) > 0 && w.plan[0].at.Before(before) {
		e := w.plan[0]
		w.plan = w.plan[1:]
		w.clock.set(e.at)
		if err := e.do(ctx, e.at); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) change(ctx context.Context, c pdp.Change) error {
	w.log.Size++
	return w.recorder.RecordChange(ctx, c)
}

func (w *writer) id(at time.Time) string {
	return ulid.MustNew(ulid.Timestamp(at), w.entropy).String() // 80 bits do not overflow within a millisecond
}

// Mask implements audit.Masker.
func (w *writer) Mask(_ context.Context, f *pdp.Facts, _ *pdp.Decision) (audit.Mask, error) {
	if !w.masking {
		return audit.Mask{}, errors.New("the mask is undefined")
	}
	if kept, ok := f.Token.Prepared(maskSlot).(audit.Mask); ok {
		return kept, nil
	}
	m := standardMask()
	m.Kept = nil
	return m, nil
}

// maskSlot is under which a token keeps its mask.
const maskSlot = "audittraffic mask"

// revisionOf names a policy.
func revisionOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// latency is how long a decision takes: mostly some 100 µs, and some that take much longer.
func (w *writer) latency() time.Duration {
	return time.Duration(120e3 * math.Exp(0.8*w.random.NormFloat64()))
}
