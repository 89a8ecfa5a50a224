package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Config wires a Recorder.
type Config struct {
	Log Log // required
	// Origin is the log's name, that receipts carry; required.
	Origin string
	// Masker is required; Nothing clears nothing.
	Masker Masker
	// Pseudonyms may be nil: identifiers are erased, and every record says that there is no key.
	Pseudonyms Pseudonyms
	// Instance names this process among others, and Version the program, in every record's labels.
	Instance, Version string
	// NewID makes the ids of changes' records; required.
	NewID func(time.Time) string
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Observer may be nil.
	Observer Observer
}

// Observer hears of what happens to records.
type Observer interface {
	// Recorded: a record was handed to the log; failure is why it is not in it.
	Recorded(kind string, size int, took time.Duration, failure error)
	// MaskFailed: a decision was recorded with everything masked.
	MaskFailed(failure error)
	// WithoutPseudonyms: identifiers were erased for want of a key.
	WithoutPseudonyms()
}

// Recorder writes decisions and changes down. It implements pdp.Recorder and pdp.ChangeRecorder and is safe for
// concurrent use.
type Recorder struct {
	c        Config
	prefix   []byte // of every record, to its decision_id
	encoders sync.Pool
}

// New checks the wiring.
func New(c Config) (*Recorder, error) {
	if c.Log == nil || c.Masker == nil || c.NewID == nil || c.Origin == "" {
		return nil, errors.New("audit: Log, Origin, Masker and NewID are required")
	}
	if c.Pseudonyms == nil {
		c.Pseudonyms = NoPseudonyms{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Observer == nil {
		c.Observer = unobserved{}
	}
	r := &Recorder{c: c, encoders: sync.Pool{New: func() any { return &encoder{record: make([]byte, 0, 2048)} }}}
	r.prefix = appendString([]byte(`{"labels":{"app":"assay","id":`), c.Instance)
	r.prefix = appendString(append(r.prefix, `,"version":`...), c.Version)
	r.prefix = append(r.prefix, `},"decision_id":`...)
	return r, nil
}

// longestRecord is the largest record of a decision, in bytes, that shows what a mask clears. Past it everything is masked:
// a record that the log does not take would be a decision that cannot be answered.
const longestRecord = 256 << 10

var errLongRecord = errors.New("the record would be longer than 256 KiB")

// longestKept is the largest buffer that is used again, in bytes.
const longestKept = 64 << 10

// Record implements pdp.Recorder. The receipt is nil unless the record is on disk for good.
func (r *Recorder) Record(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (*pdp.Receipt, error) {
	e, err := r.encode(ctx, f, d)
	defer r.release(e)
	if err != nil {
		return nil, err
	}
	receipt, err := r.append(ctx, KindDecision, d.EvaluatedAt, e)
	if errors.Is(err, ErrDropped) {
		return nil, nil //nolint:nilnil // counted, and answered without a receipt, as is the bargain of such a log
	}
	return receipt, err
}

// encode makes a decision's record in an encoder that is to be released.
func (r *Recorder) encode(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (*encoder, error) {
	mask, err := r.c.Masker.Mask(ctx, f, d)
	applied := &mask
	if err != nil {
		r.c.Observer.MaskFailed(err)
		applied, mask.Remove = nil, nil
	}
	e, _ := r.encoders.Get().(*encoder)
	if err := r.write(e, f, d, applied, mask.Remove); err != nil {
		return e, err
	}
	if len(e.record) > longestRecord { // of what a caller and a token chose
		r.c.Observer.MaskFailed(errLongRecord)
		return e, r.write(e, f, d, nil, mask.Remove) // what is to be taken out is not to come back by that
	}
	return e, nil
}

// write makes a decision's record, masked, without what the pointers lead to.
func (r *Recorder) write(e *encoder, f *pdp.Facts, d *pdp.Decision, m *Mask, pointers []string) (err error) {
	if err := e.decision(r, f, d, m); err != nil {
		return fmt.Errorf("audit: writing the record of a decision: %w", err)
	}
	if len(pointers) == 0 {
		return nil
	}
	if e.record, err = remove(e.record, pointers); err != nil {
		return fmt.Errorf("audit: masking the record of a decision: %w", err)
	}
	return nil
}

func (r *Recorder) append(ctx context.Context, kind string, at time.Time, e *encoder) (*pdp.Receipt, error) {
	if e.notes.withoutKey {
		r.c.Observer.WithoutPseudonyms()
	}
	began := r.c.Now()
	index, hash, durable, err := r.c.Log.Append(ctx, at, e.record)
	r.c.Observer.Recorded(kind, len(e.record), r.c.Now().Sub(began), err)
	if err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	if !durable {
		return nil, nil //nolint:nilnil // no receipt is no error
	}
	return &pdp.Receipt{Log: r.c.Origin, Index: index, LeafHash: hash}, nil
}

func (r *Recorder) release(e *encoder) {
	if cap(e.record) <= longestKept {
		r.encoders.Put(e)
	}
}

type unobserved struct{}

func (unobserved) Recorded(string, int, time.Duration, error) {}
func (unobserved) MaskFailed(error)                           {}
func (unobserved) WithoutPseudonyms()                         {}
