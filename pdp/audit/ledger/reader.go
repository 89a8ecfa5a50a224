package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// Record is one leaf of the log.
type Record struct {
	Index int64
	// Hash is the leaf hash, RFC 6962 (section 2.1) over Event; it was checked.
	Hash tlog.Hash
	// Event is the JSON object. It may be kept, and must not be altered.
	Event []byte
}

// Segment is one file of records.
type Segment struct {
	First, Count int64
	// FirstTime and LastTime are the least and the greatest time of its records ("timestamp"), in UTC; zero if none has one.
	FirstTime, LastTime time.Time
	// Sealed segments never change any more, except that retention may delete them.
	Sealed bool
	// Bytes is the length of the records before compression.
	Bytes int64
}

// followEvery is how often Follow looks whether there is more.
const followEvery = 200 * time.Millisecond

// Reader reads a ledger's folder. It needs no lock and may read while a server writes; it is safe for concurrent use.
type Reader struct {
	dir   string
	limit func() int64 // nil: all there is

	mu     sync.Mutex
	sealed map[int64]Segment // never changes once it is known
	tail   Segment           // the open one, as far as it was read

	marksMu sync.Mutex
	marks   map[int64][]frame // places in plain segments, by their first index
}

// OpenReader reads the ledger in dir. A folder without records is an empty log.
func OpenReader(dir string) (*Reader, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a folder", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	return &Reader{dir: dir, sealed: map[int64]Segment{}, marks: map[int64][]frame{}}, nil
}

// mark remembers where a record begins in a plain segment, so that it is not counted to again.
func (r *Reader) mark(first int64, at frame) {
	r.marksMu.Lock()
	defer r.marksMu.Unlock()
	if known := r.marks[first]; len(known) == 0 || known[len(known)-1].Index < at.Index {
		r.marks[first] = append(known, at)
	}
}

// marked is the last place that is known at or before a record.
func (r *Reader) marked(first, index int64) frame {
	r.marksMu.Lock()
	defer r.marksMu.Unlock()
	known := r.marks[first]
	at, found := slices.BinarySearchFunc(known, index, func(f frame, index int64) int { return cmp.Compare(f.Index, index) })
	if found {
		return known[at]
	}
	if at == 0 {
		return frame{Index: first}
	}
	return known[at-1]
}

// Dir is the ledger's folder.
func (r *Reader) Dir() string { return r.dir }

// Segments lists the segments with records there are now, oldest first. One that ends before the next one begins is told by
// its Count; Verify says so.
func (r *Reader) Segments() ([]Segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for attempt := 0; ; attempt++ {
		segments, err := r.list()
		if !errors.Is(err, fs.ErrNotExist) || attempt == 3 {
			return segments, err
		}
	}
}

// list goes through the folder once. A segment can vanish meanwhile.
func (r *Reader) list() ([]Segment, error) {
	paths, err := listSegments(r.dir)
	if err != nil {
		return nil, err
	}
	all := make([]Segment, 0, len(paths))
	for i, p := range paths {
		if i == len(paths)-1 && p.plain {
			if err := r.readTail(p.first); err != nil {
				return nil, err
			}
			if tail := r.capped(r.tail); tail.Count > 0 {
				all = append(all, tail)
			}
			break
		}
		s, ok := r.sealed[p.first]
		if !ok {
			if s, err = r.readSealed(p.first); err != nil {
				return nil, err
			}
			r.sealed[p.first] = s
		}
		all = append(all, r.capped(s))
	}
	return all, nil
}

func (r *Reader) capped(s Segment) Segment {
	if r.limit != nil {
		s.Count = max(0, min(s.Count, r.limit()-s.First))
	}
	return s
}

// readSealed takes a segment's measures from its seal, or from its records where the seal is missing.
func (r *Reader) readSealed(first int64) (Segment, error) {
	if s, err := readSeal(r.dir, first); err == nil {
		return s.segment(), nil
	}
	in, err := openSegment(r.dir, first)
	if err != nil {
		return Segment{}, err
	}
	s, err := scan(context.Background(), in, func(tlog.Hash, []byte) error { return nil })
	if err = errors.Join(err, in.Close()); err != nil {
		return Segment{}, err
	}
	return Segment{First: first, Count: s.count, Bytes: s.bytes, FirstTime: s.times.first, LastTime: s.times.last, Sealed: true}, nil
}

// readTail goes on reading the open segment where it ended the last time.
func (r *Reader) readTail(first int64) error {
	f, err := OpenRegular(filepath.Join(r.dir, segmentName(first, plainSuffix)))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if r.tail.First != first || info.Size() < r.tail.Bytes {
		r.tail = Segment{First: first}
	}
	resumed := r.tail.Bytes > 0
	if _, err := f.Seek(r.tail.Bytes, io.SeekStart); err != nil {
		return err
	}
	s, err := scan(context.Background(), f, func(tlog.Hash, []byte) error { return nil })
	if err != nil {
		return err
	}
	if s.bad != nil && !errors.Is(s.bad, errTornLine) && resumed { // cut back and written anew since: from its beginning
		r.tail = Segment{First: first}
		return r.readTail(first)
	}
	r.tail.Count += s.count
	r.tail.Bytes += s.bytes
	span := times{r.tail.FirstTime, r.tail.LastTime}
	span.add(s.times.first)
	span.add(s.times.last)
	r.tail.FirstTime, r.tail.LastTime = span.first, span.last
	return nil
}

// Size is the index behind the last record there is now.
func (r *Reader) Size() (int64, error) {
	if r.limit != nil {
		return r.limit(), nil
	}
	segments, err := r.Segments()
	if err != nil || len(segments) == 0 {
		return 0, err
	}
	last := segments[len(segments)-1]
	return last.First + last.Count, nil
}

// Records yields the records with from <= index < to in order; to < 0 means all that there are now. Where retention
// deleted the first ones it begins with the first that is left. Each record's leaf hash is checked; at one that is
// damaged it yields a *DamageError and stops.
func (r *Reader) Records(ctx context.Context, from, to int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := cursor{r: r, index: max(0, from)}
		defer c.close()
		for to < 0 || c.index < to {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			record, err := c.next(ctx)
			if errors.Is(err, errEnd) || (err == nil && to >= 0 && record.Index >= to) {
				return
			}
			if !yield(record, err) || err != nil {
				return
			}
		}
	}
}

// Record reads one record. ErrTrimmed: retention deleted it. io.EOF: there is none yet.
func (r *Reader) Record(ctx context.Context, index int64) (Record, error) {
	if index < 0 {
		return Record{}, fmt.Errorf("audit log: record %d: indices begin at 0", index)
	}
	c := cursor{r: r, index: index}
	defer c.close()
	record, err := c.next(ctx)
	switch {
	case errors.Is(err, errEnd):
		return Record{}, fmt.Errorf("audit log: record %d: %w", index, io.EOF)
	case err == nil && record.Index != index:
		return Record{}, fmt.Errorf("audit log: record %d: %w; the first that is left is %d", index, ErrTrimmed, record.Index)
	}
	return record, err
}

// Follow yields records from index from on, and then those that come, until ctx ends (its error is not yielded). It
// holds one record at a time, so a slow reader costs no memory.
func (r *Reader) Follow(ctx context.Context, from int64) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := cursor{r: r, index: max(0, from)}
		defer c.close()
		look := time.NewTicker(followEvery)
		defer look.Stop()
		for ctx.Err() == nil {
			record, err := c.next(ctx)
			switch {
			case errors.Is(err, errEnd):
				select {
				case <-look.C:
				case <-ctx.Done():
				}
			case err != nil && ctx.Err() != nil:
				return
			case !yield(record, err) || err != nil:
				return
			}
		}
	}
}

// Checkpoint is one line of the ledger's own history of checkpoints.
type Checkpoint struct {
	Time time.Time `json:"time"`
	Note string    `json:"note"`
}
