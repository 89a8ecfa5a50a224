package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// maxFreshTiles bounds the full tiles that wait to be written, 8 KiB each; what is dropped beyond it, readers make from
// the records. As many as tilesAtOnce are written at once, fewer each second and before a checkpoint: to make a file
// between two syncs of the log takes an ext4 journal 300 µs, five times as much as among others.
const (
	maxFreshTiles = 2048
	tilesAtOnce   = 256
)

// grow adds a committed batch to the tree.
func (l *Ledger) grow(b *batch) {
	l.treeMu.Lock()
	for _, leaf := range b.hashes {
		l.tree.add(leaf, func(t tile) {
			if len(l.fresh) < maxFreshTiles {
				l.fresh = append(l.fresh, t)
			}
		})
	}
	many := len(l.fresh) >= tilesAtOnce
	l.treeMu.Unlock()
	if many {
		select {
		case l.tiles <- struct{}{}:
		default: // the writer will look anyway
		}
	}
}

// rotateIfDue seals the segment and begins the next one when it is large or old enough. Only the committing goroutine
// calls it. What fails is tried again a second later; until then the segment grows on.
func (l *Ledger) rotateIfDue() {
	now := l.config.Now()
	old := now.Sub(l.begun) >= l.config.SegmentAge
	if l.offset == 0 || l.broken || (l.offset < l.config.SegmentBytes && !old) || now.Before(l.nextTry) {
		return
	}
	if err := l.rotate(); err != nil {
		l.nextTry = now.Add(time.Second)
		l.problems.set(now, codeSeal, err)
		return
	}
	l.problems.clear(codeSeal)
}

// rotate writes the seal before the next segment is made, so that a segment which is not the newest has one.
func (l *Ledger) rotate() error {
	l.treeMu.Lock()
	edge := l.tree.clone()
	l.treeMu.Unlock()
	r := recovered{tree: edge, first: l.first, bytes: l.offset, times: l.times}
	data, err := r.seal(edge.size - l.first).encode()
	if err != nil {
		return err
	}
	if err := l.config.disk.put(l.path(segmentName(l.first, sealSuffix)), data, true); err != nil {
		return fmt.Errorf("sealing %s: %w", segmentName(l.first, plainSuffix), err)
	}
	l.keepSum() // before somebody finds that the segment can be compressed
	next, err := l.config.disk.open(l.path(segmentName(edge.size, plainSuffix)), true)
	if err != nil {
		return fmt.Errorf("beginning %s: %w", segmentName(edge.size, plainSuffix), err)
	}
	// From here on there is a newer segment, and nothing may be added to the old one; whether the new one's name is
	// durable decides only whether records can be added to it.
	_ = l.file.Close() // all of it is synced
	l.file, l.first, l.offset, l.times = next, edge.size, 0, times{}
	l.sum, l.summed = 0, true
	if err := l.config.disk.syncDir(l.path(segmentsDir)); err != nil {
		l.broken, l.nameless = true, true
		return fmt.Errorf("beginning %s: %w", segmentName(edge.size, plainSuffix), err)
	}
	return nil
}

// noteState is what the ledger still has to say about itself in its own log. Run's goroutine owns it, but for outage.
type noteState struct {
	cut     *pdp.Change // the torn tail that Open cut off
	dropped int64       // of the lost records, those that a record tells of
	// trimming is the deletion that a record tells of and that is not done yet, nil if there is none.
	trimming *trimming
	handed   map[string]bool // files of the inbox whose records are in the buffer
	outage   time.Time       // under mu: since when writing failed; zero if it did not, or a record tells of it
}

// note appends a change of the ledger's own.
func (l *Ledger) note(ctx context.Context, c pdp.Change) error {
	c.At = l.config.Now()
	if c.Target == "" {
		c.Target = l.config.Origin
	}
	_, _, _, err := l.Append(ctx, c.At, l.config.Describe(c))
	return err
}

// tellLosses puts into the log what happened to it: a torn tail, an outage once it is over, records that were dropped.
func (l *Ledger) tellLosses(ctx context.Context) {
	if l.notes.cut != nil && l.note(ctx, *l.notes.cut) == nil {
		l.notes.cut = nil
	}
	l.mu.Lock()
	since := l.notes.outage
	l.mu.Unlock()
	_, failing := l.problems.get(codeWrite)
	// In durable mode the record is also the attempt that finds out whether the disk is back; in buffered mode the
	// committing goroutine makes attempts by itself.
	if !since.IsZero() && (!failing || l.config.Mode == Durable) {
		err := l.note(ctx, pdp.Change{Kind: pdp.LogRecovered, Reason: "records could not be written for a time",
			Details: map[string]any{"since": since.UTC().Format(time.RFC3339Nano)}})
		if err == nil {
			l.mu.Lock()
			l.notes.outage = time.Time{}
			l.mu.Unlock()
		}
	}
	l.tellDropped(ctx)
}

func (l *Ledger) tellDropped(ctx context.Context) {
	l.mu.Lock()
	lost := l.dropped - l.notes.dropped
	l.mu.Unlock()
	if lost == 0 {
		return
	}
	err := l.note(ctx, pdp.Change{Kind: pdp.LogDropped, Reason: "the buffer was full or could not be written", Details: map[string]any{"records": lost}})
	switch {
	case err == nil:
		l.notes.dropped += lost
		l.problems.clear(codeDropped)
	case errors.Is(err, ErrDropped): // the note itself was counted too, and is no loss to tell of
		l.mu.Lock()
		l.dropped--
		l.mu.Unlock()
	}
}
