package upload

import (
	"context"
	"errors"
	"iter"
	"time"
)

// gatherer makes batches of the records that a log gives one by one. It holds one batch and two records.
type gatherer struct {
	records chan read
	held    *read // taken already, and not in a batch
	// The bounds of a batch, and how long its first record waits for others.
	count, bytes int
	every        time.Duration
	// end is behind the last record that is waited for.
	end int64
}

type read struct {
	record Record
	err    error
}

var errEnded = errors.New("upload: the log ended")

// read hands over what the log gives until it ends or ctx does.
func (g *gatherer) read(ctx context.Context, records iter.Seq2[Record, error]) {
	defer close(g.records)
	for record, err := range records {
		select {
		case g.records <- read{record, err}:
		case <-ctx.Done():
			return
		}
	}
}

// one waits for the next record.
func (g *gatherer) one(ctx context.Context) (Record, error) {
	if g.held != nil {
		held := *g.held
		g.held = nil
		return held.record, held.err
	}
	select {
	case next, ok := <-g.records:
		if !ok {
			return Record{}, errEnded
		}
		return next.record, next.err
	case <-ctx.Done():
		return Record{}, ctx.Err()
	}
}

// next waits for a record, and gathers those that follow it without a gap until there are enough or the time is over.
// An error comes after what was read before it.
func (g *gatherer) next(ctx context.Context) ([]Record, error) {
	first, err := g.one(ctx)
	if err != nil {
		return nil, err
	}
	batch, size := []Record{first}, len(first.Event)
	enough := time.NewTimer(g.every)
	defer enough.Stop()
	for len(batch) < g.count && size < g.bytes && batch[len(batch)-1].Index+1 < g.end {
		select {
		case next, ok := <-g.records:
			if !ok {
				return batch, nil
			}
			if size += len(next.record.Event); next.err != nil || size > g.bytes || next.record.Index != batch[len(batch)-1].Index+1 {
				g.held = &next
				return batch, nil
			}
			batch = append(batch, next.record)
		case <-enough.C:
			return batch, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return batch, nil
}
