package audit

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// promise is a record of a decision that is on its way to the disk. It observes what the record came to before it tells the
// witness, and is used again then.
type promise struct {
	r     *Recorder
	w     pdp.Witness
	size  int
	began time.Time
}

var promises = sync.Pool{New: func() any { return new(promise) }}

// Promise implements pdp.Promiser. The receipt is nil unless the log waits for the disk.
func (r *Recorder) Promise(ctx context.Context, f *pdp.Facts, d *pdp.Decision, w pdp.Witness) (*pdp.Receipt, error) {
	e, err := r.encode(ctx, f, d)
	defer r.release(e)
	if err != nil {
		return nil, err
	}
	if e.notes.withoutKey {
		r.c.Observer.WithoutPseudonyms()
	}
	p, _ := promises.Get().(*promise)
	*p = promise{r, w, len(e.record), r.c.Now()}
	index, hash, promised, err := r.c.Log.Promise(ctx, d.EvaluatedAt, e.record, p)
	if promised {
		return &pdp.Receipt{Log: r.c.Origin, Index: index, LeafHash: hash}, nil
	}
	p.end(err)
	if err != nil && !errors.Is(err, ErrDropped) {
		return nil, fmt.Errorf("audit: %w", err)
	}
	return nil, nil //nolint:nilnil // no receipt is no error; nor is a dropped record, as is the bargain of such a log
}

// Recorded implements pdp.Witness, for the log.
func (p *promise) Recorded(index int64, err error) {
	w := p.w
	p.end(err)
	if err != nil {
		err = fmt.Errorf("audit: %w", err)
	}
	w.Recorded(index, err)
}

// end observes, and gives p away.
func (p *promise) end(err error) {
	p.r.c.Observer.Recorded(KindDecision, p.size, p.r.c.Now().Sub(p.began), err)
	*p = promise{}
	promises.Put(p)
}
