package revocation

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// scanned is how many messages one page reads at most, however few of them it selects.
const scanned = 10_000

// List gives the entries in force that the filter selects, in the order of the stream, from after a sequence on: 0, or
// the Next of the page before. limit is from 1 to 1000.
func (s *Stream) List(ctx context.Context, f Filter, after uint64, limit int) (Page, error) {
	limit = min(max(limit, 1), 1000)
	page, err := s.list(ctx, f, after, limit)
	if err != nil {
		return Page{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return page, nil
}

func (s *Stream) list(ctx context.Context, f Filter, after uint64, limit int) (page Page, err error) {
	stream, err := s.open(ctx)
	if err != nil {
		return Page{}, err
	}
	consumer, err := newConsumer(ctx, stream, after+1, s.entrySubject())
	if err != nil {
		return Page{}, err
	}
	left := consumer.CachedInfo().NumPending
	for read := 0; left > 0 && len(page.Events) < limit && read < scanned; {
		batch, err := consumer.FetchNoWait(min(limit-len(page.Events), 500))
		if err != nil {
			return Page{}, err
		}
		got := 0
		for msg := range batch.Messages() {
			got++
			meta, err := msg.Metadata()
			if err != nil {
				return Page{}, err
			}
			left, page.Next = meta.NumPending, meta.Sequence.Stream
			if e, err := decode(msg.Data(), meta.Sequence.Stream, meta.Timestamp); err == nil && s.lists(&e) && f.Matches(&e.Entry) {
				page.Events = append(page.Events, e)
			}
		}
		if err := batch.Error(); err != nil {
			return Page{}, err
		}
		if got == 0 {
			left = 0 // what was left has ended meanwhile
		}
		read += got
	}
	if left == 0 {
		page.Next = 0
	}
	return page, nil
}

// lists reports whether a message is what is in force for its key, and puts the dates in force over its own.
func (s *Stream) lists(e *Event) bool {
	held, ok := s.index.holds(&e.Entry)
	if !ok || e.Removed || held.sequence != e.Sequence {
		return false
	}
	e.Entry.Ends, e.Entry.IssuedBefore = second(held.ends), second(held.before)
	return true
}

// Watch hands over every change after a sequence (0: from now on) as it is read from the stream, until ctx ends or
// handle answers an error, which Watch returns. It reads on after disconnections.
func (s *Stream) Watch(ctx context.Context, after uint64, handle func(Event) error) error {
	if after == 0 {
		after = s.applied.Load()
	}
	for {
		var stop error
		stream, err := s.open(ctx)
		if err == nil {
			err = follow(ctx, stream, after+1, s.entrySubject(), func(msg jetstream.Msg, meta *jetstream.MsgMetadata) error {
				if e, err := decode(msg.Data(), meta.Sequence.Stream, meta.Timestamp); err == nil {
					if stop = handle(e); stop != nil {
						return stop
					}
				}
				after = meta.Sequence.Stream
				return nil
			})
		}
		switch {
		case stop != nil:
			return stop
		case ctx.Err() != nil:
			return ctx.Err()
		}
		s.c.Log.Debug("revocation stream: watching begins anew", "error", text(err))
		if !pause(ctx, retryAfter) {
			return ctx.Err()
		}
	}
}
