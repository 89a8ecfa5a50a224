package pdp

import (
	"context"
	"fmt"
)

// Promiser is a Recorder that can be left before a record is on disk.
type Promiser interface {
	Recorder
	// Promise hands a record over. The receipt is what it will be, unless a write fails meanwhile, and w hears what it
	// came to; the decision must not be answered before. Where the receipt is nil or there is an error, they are final as
	// Record's are, and w hears nothing.
	Promise(ctx context.Context, f *Facts, d *Decision, w Witness) (*Receipt, error)
}

// Witness hears what became of a record that was promised.
type Witness interface {
	// Recorded is called once, from another goroutine, perhaps before Promise returns: the record is on disk for good at
	// index; or not, by an error, and soon after the deadline of Promise's context, if it has one, at the latest. It must not wait
	// for anybody: others hear after it.
	Recorded(index int64, err error)
}

// Promised is a decision that is not to be answered before its record is on disk.
type Promised struct {
	// Decision is what is probably answered, its receipt included.
	Decision *Decision
	// Waits: the witness hears; only then Stands or Confirm say what is answered. Else Decision is final.
	Waits bool

	facts *Facts
}

// Promise is Decide for one who need not stand by while the record is written: a goroutine that waits, and its memory, cost as
// much as the decision itself where hundreds wait. The error is Decide's.
func (d *Decider) Promise(ctx context.Context, r *Request, w Witness) (Promised, error) {
	promiser, ok := d.c.Recorder.(Promiser)
	if !ok {
		decision, err := d.Decide(ctx, r)
		return Promised{Decision: decision}, err
	}
	decision, facts, err := d.make(ctx, r)
	if err != nil {
		return Promised{}, err
	}
	receipt, err := promiser.Promise(ctx, facts, decision, w)
	if err != nil {
		return Promised{}, unrecorded(err)
	}
	decision.Receipt = receipt
	if receipt != nil {
		return Promised{Decision: decision, Waits: true, facts: facts}, nil
	}
	decision, err = d.lookAgain(ctx, facts, decision)
	return Promised{Decision: decision}, err
}

// Stands tells, of what the witness heard no error of, that the decision may be answered as it was promised.
func (d *Decider) Stands(p *Promised, index int64) bool {
	return p.Decision.Receipt.Index == index && d.revokedSince(p.facts, p.Decision).Revoked == ""
}

// Confirm gives what is answered, in place of what was promised, once the witness heard. The error is Decide's.
func (d *Decider) Confirm(ctx context.Context, p *Promised, index int64, err error) (*Decision, error) {
	if err != nil {
		return nil, unrecorded(err)
	}
	p.Decision.Receipt.Index = index
	return d.lookAgain(ctx, p.facts, p.Decision)
}

func unrecorded(err error) error {
	return fmt.Errorf("%w: recording the decision: %w", ErrUnavailable, err)
}
