package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp"
)

// Why there is no verdict, or no value of a Document, or none that may be used as it is.
var (
	// ErrUndefined: policy ran and its result is no verdict, or there is none.
	ErrUndefined = errors.New("no usable verdict")
	// ErrCutOff: the time was up, or the context ended.
	ErrCutOff = errors.New("the evaluation was cut off")
	// ErrBuiltin: a builtin failed. To OPA that makes the expression undefined, and with it perhaps a rule that
	// would have denied; so a verdict that was reached that way never allows.
	ErrBuiltin = errors.New("a builtin function failed")
)

// evaluate asks for Entrypoint once. With ErrBuiltin the verdict holds what was found nevertheless.
func (r *Revision) evaluate(ctx context.Context, cut *cutOff, f *pdp.Facts) (pdp.Verdict, error) {
	input, err := r.view.input(f)
	if err != nil {
		return pdp.Verdict{}, err
	}
	return r.verdict(ctx, cut, f.Time, input)
}

// verdict is evaluate for an input that is made already.
func (r *Revision) verdict(ctx context.Context, cut *cutOff, second int64, input *ast.Term) (pdp.Verdict, error) {
	answer, failures, err := r.answer(ctx, cut, &r.question, second, input)
	if err != nil {
		return pdp.Verdict{}, err
	}
	verdict, err := decode(answer)
	if err != nil {
		return pdp.Verdict{}, likelier(err, failures)
	}
	verdict.Revision, verdict.Words = r.id, r.words
	verdict.Claims = r.shared(verdict.Claims)
	if len(failures) > 0 {
		return verdict, likelier(nil, failures)
	}
	return verdict, nil
}

// likelier gives the failure of a builtin, if there is one, in place of what may have followed from it.
func likelier(err error, failures []topdown.Error) error {
	if len(failures) > 0 {
		return fmt.Errorf("%w: %w", ErrBuiltin, &failures[0])
	}
	return err
}

// cutOff ends an evaluation at its deadline or with its context. It implements topdown.Cancel, which the
// evaluator asks before every step, and costs neither a timer nor a goroutine: every few steps it looks at
// the clock and at the context. It belongs to the goroutine that evaluates.
type cutOff struct {
	ctx      context.Context
	now      func() time.Time
	deadline time.Time
	steps    uint
	over     bool
}

// stepsPerLook is how many steps pass between two looks at the clock. A step takes about a microsecond.
const stepsPerLook = 16

// Cancelled implements topdown.Cancel.
func (c *cutOff) Cancelled() bool {
	if c.steps%stepsPerLook == 0 && !c.over {
		c.over = c.ctx.Err() != nil || c.now().After(c.deadline)
	}
	c.steps++
	return c.over
}

// Cancel implements topdown.Cancel.
func (c *cutOff) Cancel() { c.over = true }
