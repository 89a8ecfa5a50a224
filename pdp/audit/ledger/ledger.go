package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// Ledger is the one writer of a log. It is safe for concurrent use.
type Ledger struct {
	config   Config
	lock     *os.File
	problems problems

	// The queue, under mu.
	mu      sync.Mutex
	queue   []*batch
	spare   [][]byte // lines of batches that are done
	waiting int64    // bytes not yet on disk
	room    chan struct{}
	dropped int64 // records lost in buffered mode
	next    int64 // the index of the next record that is queued, unless a write fails before
	closed  bool
	// sums are the CRCs of sealed segments that are not compressed yet, by their first record.
	sums    map[int64]uint32
	callers int // how many append at the same time, as the last batches show
	target  int // the record at which the committing goroutine is woken though a batch has begun

	wake      chan struct{}  // capacity 1: something is queued or due
	closing   chan struct{}  // closed by Close
	committed chan struct{}  // closed when the committing goroutine has ended
	telling   sync.WaitGroup // of those who tell witnesses

	// The segment that is written: the committing goroutine's alone.
	file     segmentFile
	first    int64
	offset   int64 // its good bytes, all durable
	times    times
	begun    time.Time // when its first record came, by this clock
	broken   bool      // it may hold bytes behind offset
	nameless bool      // its name may not be durable yet
	nextTry  time.Time // of a rotation that failed
	sum      uint32    // the CRC of its good bytes
	summed   bool      // sum is known: this process began the segment

	size atomic.Int64 // records on disk for good

	// The tree, under treeMu; it has what size counts by the time that an append returns. Whoever writes tiles holds writing,
	// and takes treeMu after it.
	writing sync.Mutex
	treeMu  sync.Mutex
	tree    tree
	fresh   []tile // full tiles not yet written, at most maxFreshTiles

	tiles  chan struct{} // capacity 1: fresh is not to wait for the next second
	marked markedState
	notes  noteState
}

// Open takes the lock of a ledger's folder, brings the folder into order after a crash and begins to take records.
// ErrLocked: another process writes it. A *DamageError: something that was durable is altered or missing; it
// is not mended, and its message says what to do.
func Open(ctx context.Context, config Config) (*Ledger, error) {
	if err := config.fill(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(config.Dir, segmentsDir), 0o700); err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	lock, err := lockFile(filepath.Join(config.Dir, lockName))
	if err != nil {
		return nil, fmt.Errorf("audit log %s: %w", config.Dir, err)
	}
	l := &Ledger{
		config: config, lock: lock, room: make(chan struct{}), sums: make(map[int64]uint32),
		wake: make(chan struct{}, 1), closing: make(chan struct{}), committed: make(chan struct{}), tiles: make(chan struct{}, 1),
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	go l.commitLoop()
	l.tellLosses(ctx) // what cannot be told now, Run tells later
	return l, nil
}

// start brings the folder into order and opens the segment that is written next.
func (l *Ledger) start(ctx context.Context) error {
	last, err := l.config.openCheckpoints(&l.marked)
	if err != nil {
		return err
	}
	r, err := l.config.bringIntoOrder(ctx, last)
	if err != nil {
		return err
	}
	path := l.path(segmentName(r.first, plainSuffix))
	f, err := l.config.disk.open(path, true)
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	// What was written before a crash may be in memory only; from here on it counts as durable.
	err = f.datasync()
	if err == nil {
		err = errors.Join(l.config.disk.syncDir(l.path(segmentsDir)), l.config.disk.syncDir(l.config.Dir))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("audit log: %s: %w", path, err), f.Close())
	}
	l.file, l.first, l.offset, l.times, l.tree = f, r.first, r.bytes, r.times, r.tree
	l.begun, l.fresh, l.summed = r.times.first, r.tiles, r.bytes == 0
	if now := l.config.Now(); l.begun.IsZero() || l.begun.After(now) {
		l.begun = now
	}
	if len(l.fresh) > 0 {
		l.tiles <- struct{}{} // it has room: nobody else knows it yet
	}
	l.size.Store(r.tree.size)
	l.next = r.tree.size
	l.notes.cut = r.cut
	return nil
}

func (l *Ledger) path(name string) string { return filepath.Join(l.config.Dir, name) }

// Append adds a record, one JSON object without a line feed, at most MaxRecordBytes long; at is the event's time.
// The record is not kept after Append returns.
//
// In durable mode it returns when the record is on disk for good: durable is true and index its place in the log. An
// error means that the record must not be relied on; where it is ctx's, at most 50 ms after ctx ended, the record may yet
// land. In buffered mode
// it returns at once, durable is false and index -1; ErrDropped says that there was no room.
func (l *Ledger) Append(ctx context.Context, at time.Time, record []byte) (index int64, leafHash [32]byte, durable bool, err error) {
	b, place, leaf, err := l.put(ctx, at, record, nil)
	if err != nil || l.config.Mode == Buffered {
		return -1, leaf, false, err
	}
	if err := b.wait(ctx); err != nil {
		return -1, leaf, false, err
	}
	return b.first + int64(place), leaf, true, nil
}

// put queues a record, and gives the batch that it is in and its place there. w may be nil.
func (l *Ledger) put(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (*batch, int, tlog.Hash, error) {
	if err := checkRecord(record); err != nil {
		return nil, 0, tlog.Hash{}, err
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, tlog.Hash{}, err
	}
	leaf := tlog.RecordHash(record)
	b, place, err := l.add(ctx, at, leaf, record, w)
	if errors.Is(err, ErrDropped) {
		l.config.Observer.Dropped(1)
		l.problems.set(l.config.Now(), codeDropped, err)
	}
	return b, place, leaf, err
}

func checkRecord(record []byte) error {
	switch {
	case len(record) == 0:
		return errors.New("audit log: an empty record")
	case len(record) > MaxRecordBytes:
		return fmt.Errorf("audit log: a record of %d bytes; %d are allowed", len(record), MaxRecordBytes)
	case bytes.IndexByte(record, '\n') >= 0:
		return errors.New("audit log: a record with a line feed in it")
	}
	return nil
}

// poke lets the committing goroutine look at what is queued and due.
func (l *Ledger) poke() {
	select {
	case l.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// longestClose is how long Close lets the disk take what waits.
const longestClose = 30 * time.Second

// Close writes what waits, ends the committing and gives the lock back. Run must have returned. From a disk that does not answer
// for half a minute it turns away: files and lock then go with the process.
func (l *Ledger) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	lost := l.dropped
	l.mu.Unlock()
	close(l.closing)
	told := make(chan struct{})
	go func() {
		<-l.committed
		l.telling.Wait()
		close(told)
	}()
	timer := time.NewTimer(l.config.longestClose)
	defer timer.Stop()
	select {
	case <-l.committed:
	case <-timer.C:
		return fmt.Errorf("audit log: the disk has not answered for %s; what it was to take meanwhile, %d bytes of records, may be lost (in durable mode "+
			"none of them was acknowledged)", l.config.longestClose, l.Health().WaitingBytes)
	}
	select {
	case <-told:
	case <-timer.C: // a witness that blocks; its record is on disk
	}
	if lost = l.dropped - lost; lost > 0 { // the goroutine has ended: nobody else counts
		return errors.Join(fmt.Errorf("audit log: %d buffered records could not be written and are lost", lost), l.file.Close(), l.marked.close(), l.lock.Close())
	}
	return errors.Join(l.file.Close(), l.marked.close(), l.lock.Close())
}

// Size is how many records are on disk for good, trimmed ones included; the next record's index.
func (l *Ledger) Size() int64 { return l.size.Load() }

// Reader reads the ledger up to Size, whatever else is in its files.
func (l *Ledger) Reader() (*Reader, error) {
	r, err := OpenReader(l.config.Dir)
	if err != nil {
		return nil, err
	}
	r.limit = l.Size
	return r, nil
}
