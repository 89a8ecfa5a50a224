package index

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

const (
	suffix          = ".idx"
	temporaryPrefix = "new-"
	// temporaryAge is when a file that a builder left half written is cleared away.
	temporaryAge = time.Hour
)

func (x *Index) path(first int64) string {
	return filepath.Join(x.dir, fmt.Sprintf("%020d%s", first, suffix))
}

// Build builds what is missing for the sealed segments, so many at once, and writes it; what belongs to segments that
// retention deleted is deleted too. Readers do the same as they go: this is for who wants them not to wait. An error
// is of reading the log, or that the folder cannot be written.
func (x *Index) Build(ctx context.Context, atOnce int) error {
	segments, err := x.log.Segments()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, s := range segments {
		if !s.Sealed || ctx.Err() != nil {
			continue
		}
		group.Go(func() error {
			bound, err := x.bind(s)
			if err != nil {
				return err
			}
			if _, err := x.load(bound, s.Bytes); err == nil {
				return nil
			}
			t, err := x.scan(ctx, s.First, s.First+s.Count)
			if err != nil {
				return err
			}
			return x.write(t.encode(bound), s.First)
		})
	}
	return errors.Join(group.Wait(), x.clear(segments))
}

// tables yields the tables of those segments that may hold something that the query selects. The next ones are made
// ready while one is in use.
func (x *Index) tables(ctx context.Context, q *Query) iter.Seq2[*table, error] {
	return func(yield func(*table, error) bool) {
		segments, err := x.segments(q)
		if err != nil {
			yield(nil, err)
			return
		}
		type made struct {
			table *table
			err   error
		}
		ctx, cancel := context.WithCancel(ctx)
		var group errgroup.Group
		defer func() {
			cancel()
			_ = group.Wait() // its functions return nothing
		}()
		queue := make([]chan made, len(segments))
		begin := func(i int) {
			if i >= len(segments) {
				return
			}
			queue[i] = make(chan made, 1)
			group.Go(func() error {
				t, err := x.table(ctx, segments[i], q.Unindexed)
				queue[i] <- made{t, err}
				return nil
			})
		}
		ahead := runtime.GOMAXPROCS(0)
		for i := range min(ahead, len(segments)) {
			begin(i)
		}
		for i := range segments {
			m := <-queue[i]
			queue[i] = nil
			begin(i + ahead)
			if m.err != nil && errors.Is(m.err, ledger.ErrTrimmed) {
				continue // retention was quicker
			}
			if !yield(m.table, m.err) || m.err != nil {
				return
			}
		}
	}
}

// table gives the table of a segment: from memory, from its file, or from its records.
func (x *Index) table(ctx context.Context, s ledger.Segment, unindexed bool) (*table, error) {
	if !s.Sealed {
		return x.open(ctx, s, unindexed)
	}
	if unindexed {
		return x.scan(ctx, s.First, s.First+s.Count)
	}
	bound, err := x.bind(s)
	if err != nil {
		return nil, err
	}
	if t := x.remembered(bound); t != nil {
		return t, nil
	}
	if t, err := x.load(bound, s.Bytes); err == nil {
		return t, nil
	}
	// It is not there, damaged, or of another segment: all one, since it is made of the segment alone.
	t, err := x.scan(ctx, s.First, s.First+s.Count)
	if err != nil {
		return nil, err
	}
	if x.write(t.encode(bound), s.First) != nil {
		x.remember(bound, t) // a folder that one may only read, or a full disk: the answer is the same
	}
	return t, nil
}

// open gives the table of the segment that is still written: what was read of it before is kept and gone on from.
func (x *Index) open(ctx context.Context, s ledger.Segment, unindexed bool) (*table, error) {
	bound := binding{first: s.First}
	before := x.remembered(bound)
	if before == nil || unindexed {
		before = newTable(s.First)
	}
	t := before.clone()
	if err := x.extend(ctx, t, -1); err != nil {
		return nil, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for first, h := range x.kept { // the one that was open before
		if h.bound.count == 0 && first != s.First {
			delete(x.kept, first)
		}
	}
	if now := x.kept[s.First]; now == nil || now.table.count() < t.count() {
		x.kept[s.First] = &held{bound, t}
	}
	return t, nil
}

func (x *Index) remembered(bound binding) *table {
	x.mu.Lock()
	defer x.mu.Unlock()
	if h := x.kept[bound.first]; h != nil && h.bound == bound {
		return h.table
	}
	return nil
}

func (x *Index) remember(bound binding, t *table) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.kept[bound.first] = &held{bound, t}
}

// scan makes a table of the records with from <= index < to.
func (x *Index) scan(ctx context.Context, from, to int64) (*table, error) {
	t := newTable(from)
	return t, x.extend(ctx, t, to)
}

// extend reads on from where a table ends; to < 0 is the log's end.
func (x *Index) extend(ctx context.Context, t *table, to int64) error {
	at := t.first + int64(t.count())
	for record, err := range x.log.Records(ctx, at, to) {
		if err != nil {
			return err
		}
		if record.Index != at {
			return fmt.Errorf("record %d: %w", at, ledger.ErrTrimmed)
		}
		t.add(record.Event)
		at++
	}
	if to >= 0 && at < to {
		return fmt.Errorf("audit index: the log ends before record %d", at)
	}
	return nil
}

// longestFile is the most that the index of so many records can have, in bytes: what stands before its columns and their
// widths, of each record some numbers, and the texts, which are those of the records with their lengths. Both numbers are
// what a seal says, which need not be true.
func longestFile(count, records int64) int64 {
	const fixed, ofRecord, most = 1 << 10, 192, 1 << 30
	if count < 0 || count > most/ofRecord || records < 0 || records > most/4 {
		return most
	}
	return min(fixed+ofRecord*count+4*records, most)
}

// load reads the file of a segment whose records have so many bytes. What is there may be anybody's, and larger than
// memory or without end: it is read no further than an index of these records can go.
func (x *Index) load(bound binding, records int64) (*table, error) {
	longest := longestFile(bound.count, records)
	f, err := ledger.OpenRegular(x.path(bound.first))
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // read only
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > longest {
		return nil, fmt.Errorf("%w: too long", errDamaged)
	}
	file := make([]byte, info.Size())
	if _, err := io.ReadFull(f, file); err != nil {
		return nil, err
	}
	return decode(file, bound)
}

// write writes a segment's file at once or not at all. It is not synced: what a crash leaves half written fails its
// checksum.
func (x *Index) write(file []byte, first int64) (err error) {
	if err := os.MkdirAll(x.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(x.dir, temporaryPrefix+"*"+suffix)
	if err != nil {
		return err
	}
	_, err = f.Write(file)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), x.path(first))
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the first error is the one that matters
	}
	return err
}

// bind says how a segment is now.
func (x *Index) bind(s ledger.Segment) (binding, error) {
	bound := binding{first: s.First, count: s.Count}
	name := filepath.Join(x.log.Dir(), "segments", fmt.Sprintf("%020d", s.First))
	info, err := os.Stat(name + ".log.zst")
	if errors.Is(err, fs.ErrNotExist) {
		info, err = os.Stat(name + ".log")
	}
	if errors.Is(err, fs.ErrNotExist) {
		return bound, fmt.Errorf("the segment of record %d: %w", s.First, ledger.ErrTrimmed)
	}
	if err != nil {
		return bound, err
	}
	bound.size, bound.modified = info.Size(), info.ModTime().UnixNano()
	seal, err := os.ReadFile(name + ".seal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return bound, err
	}
	bound.seal = sha256.Sum256(seal)
	return bound, nil
}

// clear deletes what belongs to no segment, since a segment that retention deleted must not live on in its index, and
// what builders left half written.
func (x *Index) clear(segments []ledger.Segment) error {
	entries, err := os.ReadDir(x.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		stem, ours := strings.CutSuffix(entry.Name(), suffix)
		if !ours {
			continue
		}
		stale := false
		if first, err := strconv.ParseInt(stem, 10, 64); err == nil && len(stem) == 20 {
			stale = !slices.ContainsFunc(segments, func(s ledger.Segment) bool { return s.First == first })
		} else if info, err := entry.Info(); err == nil && strings.HasPrefix(stem, temporaryPrefix) {
			stale = time.Since(info.ModTime()) > temporaryAge
		}
		if stale {
			if err := os.Remove(filepath.Join(x.dir, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}
