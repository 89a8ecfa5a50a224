package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// tidyEvery is how often the inbox is looked into, and segments are sealed, compressed and deleted.
	tidyEvery = time.Second
	// lastCheckpoint is how long the checkpoint at the end of Run may take.
	lastCheckpoint = 5 * time.Second
	publishTimeout = 30 * time.Second
)

// Run does what is not on the way of an append: checkpoints and their publishing, sealing and compression,
// retention, and what commands left in the inbox. It returns nil when ctx ends, after a last checkpoint. A ledger
// that is not run still takes records.
func (l *Ledger) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	newest := make([]chan string, len(l.config.Publishers))
	for i, p := range l.config.Publishers {
		newest[i] = make(chan string, 1)
		group.Go(func() error { l.publish(ctx, p, codePublish+" "+strconv.Itoa(i), newest[i]); return nil })
	}
	group.Go(func() error { l.checkpointLoop(ctx, newest); return nil })
	group.Go(func() error { l.tidyLoop(ctx); return nil })
	return group.Wait()
}

// checkpointLoop makes checkpoints and gives the newest one to the publishers.
func (l *Ledger) checkpointLoop(ctx context.Context, newest []chan string) {
	every := time.NewTicker(l.config.CheckpointEvery)
	defer every.Stop()
	l.tryCheckpoint(ctx) // of what the start recorded: whoever verifies a new log finds somebody who vouches for it
	l.offer(newest)      // also what was not published before a restart
	for {
		select {
		case <-every.C:
			l.tryCheckpoint(ctx)
			l.offer(newest)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastCheckpoint)
			l.tryCheckpoint(last)
			cancel()
			return
		}
	}
}

func (l *Ledger) tryCheckpoint(ctx context.Context) {
	if err := l.checkpoint(ctx); err != nil {
		l.problems.set(l.config.Now(), codeCheckpoint, err)
		return
	}
	l.problems.clear(codeCheckpoint)
}

// offer replaces what a publisher has not taken yet: only the newest checkpoint matters, it covers the others.
func (l *Ledger) offer(newest []chan string) {
	l.marked.mu.Lock()
	last := l.marked.last
	l.marked.mu.Unlock()
	if last == nil {
		return
	}
	for _, c := range newest {
		select {
		case <-c:
		default: // it has taken the one before
		}
		c <- last.note // nobody else sends
	}
}

// publish gives one publisher each new checkpoint, and after an error the newest there is, ever more slowly.
func (l *Ledger) publish(ctx context.Context, p Publisher, problem string, newest <-chan string) {
	const least, most = time.Second, time.Minute
	published, pause := "", least
	retry := time.NewTimer(0)
	<-retry.C
	defer retry.Stop()
	var note string
	for {
		select {
		case note = <-newest:
			if pause > least { // it is failing: the timer decides when to try
				continue
			}
		case <-retry.C:
		case <-ctx.Done():
			return
		}
		if note == published {
			continue
		}
		once, cancel := context.WithTimeout(ctx, publishTimeout)
		err := p.Publish(once, []byte(note))
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.problems.set(l.config.Now(), problem, fmt.Errorf("publishing a checkpoint: %w", err))
			}
			pause = min(2*pause, most)
			retry.Reset(pause / 2)
			continue
		}
		published, pause = note, least
		l.problems.clear(problem)
	}
}

// tidyLoop does the rest of the background work, one thing after the other.
func (l *Ledger) tidyLoop(ctx context.Context) {
	every := time.NewTicker(tidyEvery)
	defer every.Stop()
	for {
		select {
		case <-l.tiles:
			l.report(codeSeal, l.writeTiles(l.takeFresh()))
		case <-every.C:
			l.tidy(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// tidy is one round.
func (l *Ledger) tidy(ctx context.Context) {
	l.poke() // a segment may be old enough to be sealed
	l.tellLosses(ctx)
	l.report(codeInbox, l.emptyInbox(ctx))
	l.report(codeSeal, l.compressSealed(ctx))
	l.report(codeRetention, l.trim(ctx))
}

// report keeps what a round of background work came to. What the end of Run interrupted is no problem.
func (l *Ledger) report(code string, err error) {
	switch {
	case err == nil:
		l.problems.clear(code)
	case !errors.Is(err, context.Canceled):
		l.problems.set(l.config.Now(), code, err)
	}
}
