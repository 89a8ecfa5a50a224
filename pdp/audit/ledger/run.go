package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// tidyEvery is how often the inbox is looked into, and segments are sealed, compressed and deleted.
	tidyEvery = time.Second
	// lastStep is how long each of the last three steps of Run may take: writing what waits, signing the last checkpoint,
	// and publishing it.
	lastStep       = 5 * time.Second
	publishTimeout = 30 * time.Second
)

// Run does what is not on the way of an append: checkpoints and their publishing, sealing and compression,
// retention, and what commands left in the inbox. It returns nil when ctx ends, after a last checkpoint over all that was
// appended by then, which the publishers have been given: within 15 seconds, whatever does not answer. A ledger that is
// not run still takes records.
func (l *Ledger) Run(ctx context.Context) error {
	group, running := errgroup.WithContext(ctx)
	publishing := make([]*publishing, len(l.config.Publishers))
	for i, p := range l.config.Publishers {
		publishing[i] = newPublishing(p, i)
		group.Go(func() error { l.publish(running, publishing[i]); return nil })
	}
	group.Go(func() error { l.checkpointLoop(running, publishing); return nil })
	group.Go(func() error { l.tidyLoop(running); return nil })
	err := group.Wait()
	l.finish(context.WithoutCancel(ctx), publishing)
	return err
}

// finish puts all that was appended under a last checkpoint and publishes it. What fails is told as ever, and made good by
// the next start.
func (l *Ledger) finish(ctx context.Context, publishing []*publishing) {
	write, cancel := context.WithTimeout(ctx, l.config.lastStep)
	defer cancel()
	l.tellLosses(write)
	_ = l.Flush(write) // what the disk does not take within the time, Close tries once more and tells
	sign, cancel := context.WithTimeout(ctx, l.config.lastStep)
	defer cancel()
	l.tryCheckpoint(sign)
	l.report(codeTiles, l.writeFresh(nil)) // without a signer nobody has yet
	newest := l.marked.note()
	if newest == "" {
		return
	}
	publish, cancel := context.WithTimeout(ctx, l.config.lastStep)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range publishing {
		all.Go(func() { l.publishOnce(publish, p, newest) })
	}
	all.Wait()
}

// Flush waits until what was appended is on disk, which in buffered mode Append does not.
func (l *Ledger) Flush(ctx context.Context) error {
	for {
		l.mu.Lock()
		waiting, room := l.waiting, l.room
		l.mu.Unlock()
		if waiting == 0 {
			return nil
		}
		select {
		case <-room: // something was written
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// checkpointLoop makes checkpoints and gives the newest one to the publishers.
func (l *Ledger) checkpointLoop(ctx context.Context, publishing []*publishing) {
	every := time.NewTicker(l.config.CheckpointEvery)
	defer every.Stop()
	for {
		// At first of what the start recorded, so that whoever verifies a new log finds somebody who vouches for it; and
		// what was not published before a restart is offered too.
		l.tryCheckpoint(ctx)
		l.offer(publishing)
		select {
		case <-every.C:
		case <-ctx.Done():
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

// publishing is one publisher, and what it was given.
type publishing struct {
	to        Publisher
	problem   string        // its key among the problems
	newest    chan string   // capacity 1: a checkpoint that it was not given yet
	published string        // by the goroutine of publish, and by finish after it
	pause     time.Duration // likewise: until the next attempt; more than leastPause while it fails
}

const leastPause, mostPause = time.Second, time.Minute

func newPublishing(to Publisher, number int) *publishing {
	return &publishing{to: to, problem: codePublish + " " + strconv.Itoa(number), newest: make(chan string, 1), pause: leastPause}
}

// offer replaces what a publisher has not taken yet: only the newest checkpoint matters, it covers the others.
func (l *Ledger) offer(publishing []*publishing) {
	newest := l.marked.note()
	if newest == "" {
		return
	}
	for _, p := range publishing {
		select {
		case <-p.newest:
		default: // it has taken the one before
		}
		p.newest <- newest // nobody else sends
	}
}

// publish gives one publisher each new checkpoint, and after an error the newest there is, ever more slowly.
func (l *Ledger) publish(ctx context.Context, p *publishing) {
	retry := time.NewTimer(0)
	<-retry.C
	defer retry.Stop()
	var newest string
	for {
		select {
		case newest = <-p.newest:
			if p.pause > leastPause { // it is failing: the timer decides when to try
				continue
			}
		case <-retry.C:
			select {
			case newest = <-p.newest:
			default: // none since
			}
		case <-ctx.Done():
			return
		}
		once, cancel := context.WithTimeout(ctx, publishTimeout)
		l.publishOnce(once, p, newest)
		cancel()
		if p.pause > leastPause {
			retry.Reset(p.pause / 2)
		}
	}
}

// publishOnce gives one publisher a checkpoint, unless it has that one.
func (l *Ledger) publishOnce(ctx context.Context, p *publishing, newest string) {
	if newest == p.published {
		return
	}
	err := p.to.Publish(ctx, []byte(newest))
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) { // the end of Run, which tries again
			l.problems.set(l.config.Now(), p.problem, fmt.Errorf("publishing a checkpoint: %w", err))
		}
		p.pause = min(2*p.pause, mostPause)
		return
	}
	p.published, p.pause = newest, leastPause
	l.problems.clear(p.problem)
}

// tidyLoop does the rest of the background work, one thing after the other.
func (l *Ledger) tidyLoop(ctx context.Context) {
	every := time.NewTicker(tidyEvery)
	defer every.Stop()
	for {
		select {
		case <-l.tiles:
			l.report(codeTiles, l.writeFresh(nil))
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
	l.report(codeTiles, l.writeFresh(nil))
	l.report(codeSeal, l.compressSealed(ctx))
	l.report(codeRetention, errors.Join(l.trim(ctx), l.trimTorn()))
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
