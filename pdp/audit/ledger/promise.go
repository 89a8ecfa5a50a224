package ledger

import (
	"context"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// promise is a record of which somebody is told when it is on disk, or that it is not by then.
type promise struct {
	w     pdp.Witness
	place int // in the batch
	by    time.Time
}

// Promise is Append for one who does not wait: in durable mode it answers as soon as the record is queued, with the place
// that it will have unless a write before it fails; promised is true, and w hears what became of the record. What it hears
// late is an error of Append: at most 50 ms after ctx's deadline context.DeadlineExceeded, and the record may yet land. In
// buffered mode Promise is Append, and w hears nothing.
func (l *Ledger) Promise(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (index int64, leafHash [32]byte, promised bool, err error) {
	if l.config.Mode == Buffered {
		return l.Append(ctx, at, record)
	}
	b, place, leaf, err := l.put(ctx, at, record, w)
	if err != nil {
		return -1, leaf, false, err
	}
	return b.expected + int64(place), leaf, true, nil
}

// promise makes one of the record that was added last. About as many as expected come in one batch.
func (b *batch) promise(ctx context.Context, w pdp.Witness, expected int) {
	if b.promises == nil {
		b.promises = make([]promise, 0, max(expected, manyCallers))
	}
	by, _ := ctx.Deadline()
	b.promises = append(b.promises, promise{w, len(b.hashes) - 1, by})
}

// keepPromises tells those of a batch that is done. Two goroutines share it, since to write hundreds of answers takes longer
// than to sync the next batch.
func (l *Ledger) keepPromises(b *batch) {
	l.mu.Lock()
	promises := b.promises
	b.promises = nil
	l.mu.Unlock()
	half := len(promises)
	if half >= manyCallers {
		half /= 2
	}
	for _, part := range [...][]promise{promises[:half], promises[half:]} {
		if len(part) == 0 {
			continue
		}
		l.telling.Go(func() {
			for _, p := range part {
				if b.err != nil {
					p.w.Recorded(-1, b.err)
				} else {
					p.w.Recorded(b.first+int64(p.place), nil)
				}
			}
		})
	}
}

// breakPromises tells those whose time is over before the batch is done. It returns when it is.
func (l *Ledger) breakPromises(b *batch) {
	ticker := time.NewTicker(patience)
	defer ticker.Stop()
	for {
		for _, p := range l.overdue(b, time.Now()) {
			p.w.Recorded(-1, context.DeadlineExceeded)
		}
		select {
		case <-b.done:
			return
		case <-ticker.C:
		}
	}
}

// overdue takes those promises out of a batch.
func (l *Ledger) overdue(b *batch, now time.Time) (late []promise) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := b.promises[:0]
	for _, p := range b.promises {
		if !p.by.IsZero() && !now.Before(p.by) {
			late = append(late, p)
		} else {
			kept = append(kept, p)
		}
	}
	b.promises = kept
	return late
}
