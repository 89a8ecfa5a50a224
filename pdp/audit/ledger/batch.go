package ledger

import (
	"context"
	"fmt"
	"hash/crc32"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// batchBytes is how much one write takes at most, a record that does not fit any more apart; durableBatches is how many
// batches wait in durable mode before Append itself waits.
const (
	batchBytes     = 1 << 20
	durableBatches = 8
)

// bufferedPause is between two writes in buffered mode, unless the buffer fills. In durable mode, where at least
// manyCallers append at the same time, a write waits for half of them, durablePause at most.
const (
	bufferedPause = 20 * time.Millisecond
	durablePause  = 2 * time.Millisecond
	manyCallers   = 16
)

// batch is what is written and synced at once. It is filled under the queue's lock, and belongs to the committing
// goroutine from take on. first and err are set before done is closed.
type batch struct {
	lines  []byte
	hashes []tlog.Hash
	times  times
	first  int64
	err    error
	done   chan struct{}
	// expected is what first will be, unless a write before it fails; promises are who is told when the batch is done. They
	// are the queue's.
	expected int64
	promises []promise
	// look is closed when the batch is done, or late, after which the timer has run out. Nobody waits in buffered mode:
	// both are nil.
	look  chan struct{}
	timer *time.Timer
}

// patience is how long those who wait for a batch do not look whether their own time is over.
const patience = 50 * time.Millisecond

func (l *Ledger) newBatch() *batch {
	b := &batch{done: make(chan struct{}), expected: l.next}
	if l.config.Mode == Durable {
		b.look = make(chan struct{})
		b.timer = time.AfterFunc(patience, func() {
			close(b.look)
			l.breakPromises(b)
		})
	}
	if n := len(l.spare); n > 0 {
		b.lines, l.spare = l.spare[n-1][:0], l.spare[:n-1]
	} else if len(l.queue) > 0 { // the disk is behind: it will be full
		b.lines = make([]byte, 0, batchBytes+batchBytes/8)
	}
	return b
}

// end wakes whoever waits for the batch.
func (b *batch) end() {
	close(b.done)
	if b.timer != nil && b.timer.Stop() { // else it has closed look, or does so now
		close(b.look)
	}
}

// wait waits until the batch is on disk, and answers why it is not; or ctx's error, at most patience after ctx ended.
//
// Most waits take a millisecond or two. For each of them to be woken by its context too took a timer, four allocations
// and a tenth of what a recorded decision takes in all; so at first they wait for the batch alone.
func (b *batch) wait(ctx context.Context) error {
	<-b.look
	select {
	case <-b.done:
		return b.err
	default:
	}
	select {
	case <-b.done:
		return b.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// add queues a record.
func (l *Ledger) add(ctx context.Context, at time.Time, leaf tlog.Hash, record []byte, w pdp.Witness) (*batch, int, error) {
	need := int64(lineExtra + len(record))
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if l.closed {
			return nil, 0, ErrClosed
		}
		if l.config.Mode == Buffered && l.waiting+need > l.config.BufferBytes {
			l.dropped++
			return nil, 0, ErrDropped
		}
		if l.config.Mode == Buffered || l.waiting+need <= durableBatches*batchBytes {
			break
		}
		room := l.room
		l.mu.Unlock()
		select {
		case <-room:
			l.mu.Lock()
		case <-ctx.Done():
			l.mu.Lock()
			return nil, 0, ctx.Err()
		}
	}
	var b *batch
	if n := len(l.queue); n > 0 && len(l.queue[n-1].lines) < batchBytes {
		b = l.queue[n-1]
	} else {
		b = l.newBatch()
		l.queue = append(l.queue, b)
	}
	b.lines = appendLine(b.lines, leaf, record)
	b.hashes = append(b.hashes, leaf)
	b.times.add(at)
	if w != nil {
		b.promise(ctx, w, l.target)
	}
	l.next++
	l.waiting += need
	if n := len(b.hashes); n == 1 || n == l.target || l.config.Mode == Buffered && l.fills() {
		l.poke()
	}
	return b, len(b.hashes) - 1, nil
}

// take gives the batch that waits longest, nil if none does.
func (l *Ledger) take() *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) == 0 {
		return nil
	}
	b := l.queue[0]
	l.queue[0] = nil
	l.queue = l.queue[1:]
	return b
}

// settled gives a batch's room back, once nobody needs its lines any more.
func (l *Ledger) settled(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting -= int64(len(b.lines))
	if b.err != nil {
		l.next -= int64(len(b.hashes))
	}
	if len(l.spare) < 2 {
		l.spare = append(l.spare, b.lines)
	}
	b.lines = nil
	close(l.room)
	l.room = make(chan struct{})
}

// commitLoop is the one goroutine that writes records.
func (l *Ledger) commitLoop() {
	defer close(l.committed)
	for {
		for b := l.take(); b != nil; b = l.take() {
			shared := len(b.hashes)
			l.settle(b)
			l.rotateIfDue()
			l.gather(shared)
		}
		l.rotateIfDue()
		select {
		case <-l.wake:
		case <-l.closing:
			if b := l.take(); b != nil { // added while closing
				l.settle(b)
				continue
			}
			return
		}
	}
}

// gather lets more records come before the next write, since a write and its sync cost the machine some 300 µs, of
// journal, interrupts and switching, however much they write. In buffered mode nobody waits for it. In durable mode half
// of the callers are to wait for one sync while the other half's answers, and what they ask next, are worked on.
func (l *Ledger) gather(settled int) {
	if l.config.Mode == Buffered {
		l.await(bufferedPause, l.pressing)
	} else if l.expect(settled) {
		l.await(durablePause, l.complete)
	}
}

// await waits until there is enough, d at most.
func (l *Ledger) await(d time.Duration, enough func() bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for !enough() {
		select {
		case <-l.wake:
		case <-timer.C:
			return
		case <-l.closing:
			return
		}
	}
}

// pressing tells that records might be dropped if they were let wait.
func (l *Ledger) pressing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fills()
}

// fills tells that a quarter of the buffer is taken. The caller holds mu.
func (l *Ledger) fills() bool { return l.waiting >= l.config.BufferBytes/4 }

// expect estimates how many append at the same time, from the batch that was just written and what waits by now, and
// tells whether more are to be waited for.
func (l *Ledger) expect(settled int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	queued := l.queued()
	l.callers = max(settled+queued, l.callers*7/8)
	l.target = l.callers / 2
	return l.callers >= manyCallers && queued < l.target
}

// complete tells that as many wait as were expected.
func (l *Ledger) complete() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued() >= l.target
}

// queued is how many records wait for a write. The caller holds mu.
func (l *Ledger) queued() int {
	n := 0
	for _, b := range l.queue {
		n += len(b.hashes)
	}
	return n
}

// settle commits a batch. In buffered mode nobody waits for it, so it is tried again until it is on disk or the ledger
// is closed; memory stays bounded because what comes meanwhile is dropped.
func (l *Ledger) settle(b *batch) {
	pause := 50 * time.Millisecond
	for {
		b.err = l.commit(b)
		if b.err == nil || l.config.Mode == Durable {
			break
		}
		if !l.pauseBeforeRetry(pause) {
			if b.err = l.commit(b); b.err != nil { // the last attempt: what failed may have been mended since
				l.drop(len(b.hashes))
			}
			break
		}
		pause = min(2*pause, 2*time.Second)
	}
	if b.err == nil {
		l.grow(b)
	}
	b.end()
	l.keepPromises(b)
	l.settled(b)
}

// pauseBeforeRetry waits; false: the ledger is being closed.
func (l *Ledger) pauseBeforeRetry(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-l.closing:
		return false
	}
}

func (l *Ledger) drop(records int) {
	l.mu.Lock()
	l.dropped += int64(records)
	l.mu.Unlock()
	l.config.Observer.Dropped(records)
}

// commit writes a batch behind the good bytes of the segment and makes it durable. After an error nothing of it counts.
func (l *Ledger) commit(b *batch) error {
	began := time.Now()
	if l.broken {
		if err := l.mend(); err != nil {
			return l.failed(err)
		}
	}
	_, err := l.file.WriteAt(b.lines, l.offset)
	if err == nil {
		err = l.file.datasync()
	}
	if err != nil {
		l.broken = true
		if mended := l.mend(); mended != nil {
			err = fmt.Errorf("%w; and cutting it off again: %w", err, mended)
		}
		return l.failed(err)
	}
	if l.offset == 0 {
		l.begun = l.config.Now()
	}
	b.first = l.size.Load()
	l.offset += int64(len(b.lines))
	l.sum = crc32.Update(l.sum, castagnoli, b.lines)
	l.times.add(b.times.first)
	l.times.add(b.times.last)
	l.size.Add(int64(len(b.hashes)))
	l.problems.clear(codeWrite)
	l.config.Observer.Committed(len(b.hashes), len(b.lines), time.Since(began))
	return nil
}

func (l *Ledger) failed(err error) error {
	err = fmt.Errorf("audit log: %w", err)
	now := l.config.Now()
	l.mu.Lock()
	if l.notes.outage.IsZero() {
		l.notes.outage = now
	}
	l.mu.Unlock()
	l.problems.set(now, codeWrite, err)
	l.config.Observer.Failed(err)
	return err
}

const page = 4096

// mend brings the segment back to its last good byte after a failed write or sync. The file is opened anew, because the
// old descriptor may have reported its only error already; the last page is written once more, because it shares
// its block with bytes whose write-back failed.
func (l *Ledger) mend() error {
	if l.nameless {
		if err := l.config.disk.syncDir(l.path(segmentsDir)); err != nil {
			return err
		}
		l.nameless = false
	}
	f, err := l.config.disk.open(l.path(segmentName(l.first, plainSuffix)), false)
	if err != nil {
		return err
	}
	if err := restore(f, l.offset); err != nil {
		_ = f.Close() // the first error is the one that matters
		return err
	}
	_ = l.file.Close() // whatever it still reports is about bytes that are cut off
	l.file, l.broken = f, false
	return nil
}

func restore(f segmentFile, offset int64) error {
	size, err := f.size()
	if err != nil {
		return err
	}
	if size < offset {
		return fmt.Errorf("the segment has %d bytes, of which %d were acknowledged: it was altered while it was open", size, offset)
	}
	if err := f.Truncate(offset); err != nil {
		return err
	}
	if start := offset / page * page; start < offset {
		good := make([]byte, offset-start)
		if _, err := f.ReadAt(good, start); err != nil {
			return err
		}
		if _, err := f.WriteAt(good, start); err != nil {
			return err
		}
	}
	return f.datasync()
}
