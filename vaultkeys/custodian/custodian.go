package custodian

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// Vault is what a custodian does there. Each method bounds its own time and is not repeated behind the
// caller's back; an error can mean that it was done and the answer got lost.
type Vault interface {
	ReadKey(ctx context.Context, name string) (vaultkeys.Record, error)
	// Rotate adds a version, unless there is a later one than from already.
	Rotate(ctx context.Context, key string, from int) error
	// Retire raises both minimum versions to at least version to, in one request; it lowers none.
	Retire(ctx context.Context, key string, to int) error
	// Trim destroys the versions below to.
	Trim(ctx context.Context, key string, to int) error
}

// Key is one key to look after.
type Key struct {
	// Name of the transit key.
	Name string
	// Type that it must have; empty: any that signs.
	Type string
	Rules
}

// Config of a Custodian.
type Config struct {
	Vault Vault // required
	// Keys to look after; at least one.
	Keys []Key
	// Every is the longest time between two rounds; default: the shortest Poll of the keys. A round changes
	// something about twice in a rotation, and reads otherwise.
	Every time.Duration
	// Changes gets a record of every change; nil: none is written.
	Changes pdp.ChangeRecorder
	// Log gets what was done and what failed; nil: nothing is logged.
	Log *slog.Logger
	// OnStep, if set, is told of every step, after it; err says why it failed. It must not block.
	OnStep func(key string, step Step, err error)
	// Now, After and Random are the clock and the jitter's randomness in [0,1); defaults time.Now, time.After
	// and math/rand/v2's Float64.
	Now    func() time.Time
	After  func(time.Duration) <-chan time.Time
	Random func() float64
}

// Custodian does the steps that are due, round after round.
type Custodian struct {
	c Config

	mu      sync.Mutex
	failing map[string]error     // guarded by mu: by key, why its last round failed
	wrong   map[string]time.Time // guarded by mu: by key, when a clock was found wrong by the version just made
}

// New checks the configuration. It asks Vault nothing.
func New(c Config) (*Custodian, error) {
	if c.Vault == nil || len(c.Keys) == 0 {
		return nil, errors.New("custodian: Vault and at least one key are required")
	}
	var problems []error
	for i := range c.Keys {
		key := &c.Keys[i]
		key.Periods = key.Periods.WithDefaults()
		if err := key.Periods.Validate(); err != nil {
			problems = append(problems, fmt.Errorf("signing key %q: %w", key.Name, err))
		}
		if c.Every == 0 || key.Periods.Poll < c.Every {
			c.Every = key.Periods.Poll
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.OnStep == nil {
		c.OnStep = func(string, Step, error) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	return &Custodian{c: c, failing: make(map[string]error), wrong: make(map[string]time.Time)}, errors.Join(problems...)
}

// Run does a round at once, and then again and again until ctx ends; it answers nil. Each pause is between
// half of Every and Every, so that several custodians do not come in step.
func (c *Custodian) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		_ = c.Round(ctx) // Failing tells of it, and the log
		wait := time.Duration(float64(c.c.Every) * (0.5 + 0.5*c.c.Random()))
		select {
		case <-c.c.After(wait):
		case <-ctx.Done():
		}
	}
	return nil
}

// Round does what is due for every key. A key that fails does not keep it from the others, and a step that
// fails ends the key's round: the next one begins with a new reading, so that an answer that got lost is
// never taken for a failure.
func (c *Custodian) Round(ctx context.Context) error {
	var failed []error
	for i := range c.c.Keys {
		key := &c.c.Keys[i]
		err := c.look(ctx, key)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		c.settle(key.Name, err)
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// settle remembers how a key's round ended, and logs it where that is news.
func (c *Custodian) settle(key string, err error) {
	c.mu.Lock()
	before := c.failing[key]
	c.failing[key] = err
	c.mu.Unlock()
	switch {
	case err != nil && (before == nil || before.Error() != err.Error()):
		c.c.Log.Warn("a signing key could not be looked after; it is tried again", "key", key, "cause", err.Error())
	case err == nil && before != nil:
		c.c.Log.Info("a signing key is looked after again", "key", key)
	}
}

// Failing says, by key, why the last round could not do what was due; keys that are well are not in it.
func (c *Custodian) Failing() map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	failing := make(map[string]error)
	for key, err := range c.failing {
		if err != nil {
			failing[key] = err
		}
	}
	return failing
}

func (c *Custodian) look(ctx context.Context, key *Key) error {
	record, err := c.read(ctx, key)
	if err != nil {
		return err
	}
	for _, step := range Next(record, key.Rules, c.c.Now()) {
		if step.Kind == Rotate {
			if err := c.wary(key); err != nil {
				return err
			}
		}
		err := c.do(ctx, key, step)
		c.c.OnStep(key.Name, step, err)
		if err != nil {
			return fmt.Errorf("signing key %s: to %s it (%s): %w", key.Name, step.Kind, step.Why, err)
		}
		c.c.Log.Info("looked after a signing key", "key", key.Name, "step", string(step.Kind), "version", step.Version, "why", step.Why)
		if err := c.record(ctx, key, step); err != nil {
			return fmt.Errorf("signing key %s: %s was done, but not recorded: %w", key.Name, step.Kind, err)
		}
	}
	return nil
}

// read reads a record that may be acted on.
func (c *Custodian) read(ctx context.Context, key *Key) (vaultkeys.Record, error) {
	record, err := c.c.Vault.ReadKey(ctx, key.Name)
	if err != nil {
		return record, fmt.Errorf("signing key %s: %w", key.Name, err)
	}
	if err := record.Check(); err != nil {
		return record, err
	}
	if key.Type != "" && record.Type != key.Type {
		return record, fmt.Errorf("signing key %s: Vault has it with type %s, the configuration wants %s: it is left alone", key.Name, record.Type, key.Type)
	}
	return record, nil
}

func (c *Custodian) do(ctx context.Context, key *Key, step Step) error {
	switch step.Kind {
	case Rotate:
		return c.rotate(ctx, key, step.Version)
	case Retire:
		return c.c.Vault.Retire(ctx, key.Name, step.Version)
	case Trim:
		return c.c.Vault.Trim(ctx, key.Name, step.Version)
	}
	return fmt.Errorf("there is no step %q", step.Kind)
}

// rotate adds a version and looks at when Vault says that it was made. Where Vault's clock is behind ours by
// more than is configured, a new version is due earlier than it should be, in the extreme at once, and every
// round would add another.
func (c *Custodian) rotate(ctx context.Context, key *Key, from int) error {
	began := c.c.Now()
	if err := c.c.Vault.Rotate(ctx, key.Name, from); err != nil {
		return err
	}
	record, err := c.read(ctx, key)
	if err != nil {
		return err
	}
	newest := record.Versions[len(record.Versions)-1]
	if newest.Number != from+1 { // another made it, some time before
		return nil
	}
	if behind := began.Sub(newest.Created); behind > key.Periods.ClockSkew+key.Periods.Poll {
		c.mu.Lock()
		c.wrong[key.Name] = c.c.Now()
		c.mu.Unlock()
		return fmt.Errorf("vault's clock and this one differ: the version just made is %s old, clock_skew is %s; set the clocks right",
			behind.Round(time.Second), key.Periods.ClockSkew)
	}
	c.mu.Lock()
	delete(c.wrong, key.Name)
	c.mu.Unlock()
	return nil
}

// wary refuses to add a version soon after one by which a clock was found wrong.
func (c *Custodian) wary(key *Key) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, found := c.wrong[key.Name]
	if wait := at.Add(key.Periods.RotateEvery).Sub(c.c.Now()); found && wait > 0 {
		return fmt.Errorf("signing key %s: vault's clock and this one differed when a version was made; none is added for %s: set the clocks right and start the custodian anew",
			key.Name, wait.Round(time.Second))
	}
	return nil
}

func (c *Custodian) record(ctx context.Context, key *Key, step Step) error {
	if c.c.Changes == nil {
		return nil
	}
	return c.c.Changes.RecordChange(ctx, Change(key.Name, step, c.c.Now()))
}

// Change is the record of a step that was done.
func Change(key string, step Step, now time.Time) pdp.Change {
	change := pdp.Change{Kind: pdp.KeyRetired, At: now, Target: key, Reason: step.Why, Details: map[string]any{"step": string(step.Kind)}}
	switch step.Kind {
	case Rotate:
		change.Kind = pdp.KeyRotated
		change.Details["after_version"] = step.Version
	case Retire:
		change.Details["lowest_version"] = step.Version
	case Trim:
		change.Details["destroyed_below"] = step.Version
	}
	return change
}
