package policy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// DefaultTimeout is how long one evaluation may take, by the clock. It is there for policies that run away: a
// thousand times what an evaluation takes, so that a processor that others use does not deny a good token.
const DefaultTimeout = time.Second

// Observer is told of every evaluation. It must not block.
type Observer interface {
	// PolicyEvaluated tells how long an evaluation took; failure is nil, or why there was no usable result.
	PolicyEvaluated(took time.Duration, failure error)
	// PolicyRemembered tells that a verdict of this second was used again.
	PolicyRemembered()
}

// Config of an Engine.
type Config struct {
	// Revision is the first to be in force; required.
	Revision *Revision
	// Timeout bounds one evaluation; default DefaultTimeout. Past it the verdict is a deny, policy.failed.
	Timeout time.Duration
	// Concurrency is how many evaluations run at once; default runtime.GOMAXPROCS(0). More wait for their
	// turn, as long as their context lasts, and Timeout counts from then: if hundreds shared the processors,
	// each would take hundreds of times as long, and good tokens would be denied because many asked.
	Concurrency int
	// Observer may be nil.
	Observer Observer
	// Now is the clock by which Timeout is measured and evaluations are timed; default time.Now. The time
	// that policy sees is that of the facts.
	Now func() time.Time
}

// Engine evaluates under the Revision in force. It implements pdp.Policy and is safe for concurrent use.
type Engine struct {
	c       Config
	current atomic.Pointer[Revision]
	turns   chan struct{} // holds one element for each evaluation that runs
}

// New makes an Engine.
func New(c Config) (*Engine, error) {
	if c.Revision == nil {
		return nil, errors.New("policy: Revision is required")
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < 0 {
		return nil, fmt.Errorf("policy: timeout %s: it must be longer than nothing", c.Timeout)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Concurrency < 0 {
		return nil, fmt.Errorf("policy: concurrency %d: it must be positive", c.Concurrency)
	}
	if c.Concurrency == 0 {
		c.Concurrency = runtime.GOMAXPROCS(0)
	}
	e := &Engine{c: c, turns: make(chan struct{}, c.Concurrency)}
	e.current.Store(c.Revision)
	return e, nil
}

// Revision is the one in force.
func (e *Engine) Revision() *Revision { return e.current.Load() }

// Swap puts another Revision in force. Evaluations under way finish under the one they began with.
func (e *Engine) Swap(r *Revision) { e.current.Store(r) }

// Evaluate implements pdp.Policy. Its error says that ctx ended before there was a verdict.
//
// Verdicts are shared between callers and must not be changed.
func (e *Engine) Evaluate(ctx context.Context, f *pdp.Facts) (pdp.Verdict, error) {
	r := e.current.Load()
	remembering := r.remembers && f.Verification.Verified()
	var scratch [192]byte
	var asked []byte
	var known *kept
	if remembering {
		known = r.keptWith(f)
		asked = r.view.appendKey(scratch[:0], f)
		if verdict, ok := known.recall(f.Time, asked); ok {
			if e.c.Observer != nil {
				e.c.Observer.PolicyRemembered()
			}
			return verdict, nil
		}
	}
	if err := TakeTurn(ctx, e.turns); err != nil {
		return pdp.Verdict{}, err
	}
	defer func() { <-e.turns }()
	began := e.c.Now()
	verdict, err := r.evaluate(ctx, &cutOff{ctx: ctx, now: e.c.Now, deadline: began.Add(e.c.Timeout)}, f)
	took := e.c.Now().Sub(began)
	switch {
	case errors.Is(err, ErrCutOff) && ctx.Err() != nil:
		return pdp.Verdict{}, context.Cause(ctx)
	case errors.Is(err, ErrBuiltin): // what else the policy found stands beside the failure
		failed := e.failed(r, took, err)
		failed.Reasons = append(failed.Reasons, verdict.Reasons...)
		return failed, nil
	case err != nil:
		return e.failed(r, took, err), nil
	}
	if remembering {
		known.remember(f.Time, asked, verdict)
	}
	if e.c.Observer != nil {
		e.c.Observer.PolicyEvaluated(took, nil)
	}
	return verdict, nil
}

// failed is the deny for an evaluation without a verdict. What went wrong goes to the observer: it may
// quote the policy, and the answer goes to whoever asks.
func (e *Engine) failed(r *Revision, took time.Duration, err error) pdp.Verdict {
	if e.c.Observer != nil {
		e.c.Observer.PolicyEvaluated(took, err)
	}
	reason := pdp.NewFloorReason("policy.failed", "the policy could not be evaluated", nil)
	if errors.Is(err, ErrUndefined) {
		reason = pdp.NewFloorReason("policy.undefined", "the policy gave no usable verdict", nil)
	}
	return pdp.Verdict{Reasons: []pdp.Reason{*reason}, Revision: r.id, Words: r.words}
}

// TakeTurn takes one of the places in turns, or answers with ctx's cause. It asks for ctx's Done only where there is none free,
// since to be told of its end costs a request a timer and a watch.
func TakeTurn(ctx context.Context, turns chan<- struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	default:
	}
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
