package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
	"golang.org/x/mod/sumdb/tlog"
)

// trim deletes the segments whose time is over. First the tiles over them are made durable, from which the tree goes on
// to be provable without the records; then a record says what is deleted; and once that record is under a checkpoint they
// go. Whoever verifies the log believes no other: behind the last checkpoint anybody who can write the folder could have
// said that what he removed was too old.
func (l *Ledger) trim(ctx context.Context) error {
	if l.config.Retention <= 0 {
		return nil
	}
	if l.notes.trimming != nil {
		if said, err := l.isSaid(ctx, l.notes.trimming); err != nil || !said {
			return err
		}
	}
	due, err := l.due(ctx)
	if err != nil || len(due) == 0 {
		return err
	}
	if l.notes.trimming == nil {
		if err := l.announce(ctx, due); err != nil {
			return err
		}
		if said, err := l.isSaid(ctx, l.notes.trimming); err != nil || !said {
			return err
		}
	}
	end := l.notes.trimming.end
	for _, s := range due {
		if s.First+s.Count > end {
			break
		}
		if err := l.deleteSegment(s); err != nil {
			return err
		}
	}
	l.notes.trimming = nil
	return l.deleteTiles(due[0].First, end)
}

// trimming is a deletion of the records before end that a record tells of.
type trimming struct {
	end  int64
	leaf tlog.Hash // of that record, which is at from or behind
	from int64
	size int64 // of a log that has it; 0: it is not on disk yet, as far as is known
}

// announce makes the tree over segments durable and records that they are deleted.
func (l *Ledger) announce(ctx context.Context, due []*seal) error {
	for _, s := range due {
		if err := l.settleTiles(ctx, s); err != nil {
			return fmt.Errorf("keeping the tree over %s: %w", segmentName(s.First, plainSuffix), err)
		}
	}
	first, last := due[0], due[len(due)-1]
	told := trimming{end: last.First + last.Count, from: l.Size()}
	now := l.config.Now()
	record := l.config.Describe(pdp.Change{Kind: pdp.LogTrimmed, At: now, Target: l.config.Origin, Reason: "older than audit.retention", Details: map[string]any{
		"first": first.First, "records": told.end - first.First, "root": last.Root.String(),
		"first_time": first.FirstTime.Format(time.RFC3339Nano), "last_time": last.LastTime.Format(time.RFC3339Nano),
	}})
	told.leaf = tlog.RecordHash(record)
	_, _, durable, err := l.Append(ctx, now, record)
	if err != nil {
		return err
	}
	if durable {
		told.size = l.Size()
	}
	l.notes.trimming = &told
	return nil
}

// isSaid tells whether the record of a deletion is on disk, and under a checkpoint where there are any.
func (l *Ledger) isSaid(ctx context.Context, t *trimming) (bool, error) {
	if t.size == 0 {
		found, err := l.holds(ctx, t.leaf, t.from)
		if err != nil || !found {
			return false, err
		}
		t.size = l.Size()
	}
	if l.config.Signer == nil {
		return true, nil
	}
	covered, _ := l.marked.newest()
	return covered >= t.size, nil
}

// due lists the oldest segments as far as all of each is old enough, under a checkpoint, and needed by nobody.
func (l *Ledger) due(ctx context.Context) ([]*seal, error) {
	segments, err := listSegments(l.config.Dir)
	if err != nil || len(segments) < 2 {
		return nil, err
	}
	before := l.config.Now().Add(-l.config.Retention)
	upTo := l.Size()
	if l.config.Signer != nil {
		upTo, _ = l.marked.newest()
	}
	var due []*seal
	for _, segment := range segments[:len(segments)-1] {
		s, err := readSeal(l.config.Dir, segment.first)
		if err != nil {
			return due, err
		}
		if s.LastTime.IsZero() || !s.LastTime.Before(before) || s.First+s.Count > upTo {
			break
		}
		if l.config.Keep != nil {
			needed, err := l.config.Keep(ctx, s.segment())
			if err != nil {
				return due, fmt.Errorf("whether %s is still needed: %w", segmentName(s.First, plainSuffix), err)
			}
			if needed {
				break
			}
		}
		due = append(due, s)
	}
	return due, nil
}

// trimTorn deletes the tails that recovery cut off, once their time is over as that of records would be. Nobody was
// answered with what is in them, so no proof needs them.
func (l *Ledger) trimTorn() error {
	if l.config.Retention <= 0 {
		return nil
	}
	entries, err := os.ReadDir(l.path(tornDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	before := l.config.Now().Add(-l.config.Retention)
	for _, entry := range entries {
		cut, ok := tornAt(entry.Name())
		if !ok || !cut.Before(before) {
			continue
		}
		if failed := l.config.disk.remove(l.path(filepath.Join(tornDir, entry.Name()))); failed != nil && !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}

// tornAt reads out of its name when a tail was cut off; false: that is no name that cutOff gives.
func tornAt(name string) (time.Time, bool) {
	name, isLog := strings.CutSuffix(name, plainSuffix)
	_, at, two := strings.Cut(name, "-")
	nanoseconds, err := strconv.ParseInt(at, 10, 64)
	return time.Unix(0, nanoseconds), isLog && two && err == nil
}

// settleTiles makes the tiles over a segment's records durable, writing those that are missing or wrong.
func (l *Ledger) settleTiles(ctx context.Context, s *seal) error {
	in, err := openSegment(l.config.Dir, s.First)
	if err != nil {
		return err
	}
	take := func([]byte) error { return nil }
	behind, err := walkSealed(ctx, l.config.Dir, s, in, take, l.settleTile, "it is not deleted")
	if err = errors.Join(err, in.Close()); err != nil {
		return err
	}
	for _, t := range behind.partial() {
		if t.level > 0 { // what is under it is about to go
			if err := l.settleTile(t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *Ledger) settleTile(t tile) error {
	path := l.path(t.path())
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || !bytes.Equal(data, t.data()) {
		return l.config.disk.put(path, t.data(), true)
	}
	return l.config.disk.sync(path)
}

// deleteSegment deletes records. The seal stays for as long as it is the one before the first segment that is left.
func (l *Ledger) deleteSegment(s *seal) error {
	l.forgetSum(s.First)
	names := []string{segmentName(s.First, plainSuffix), segmentName(s.First, compressedSuffix)}
	if previous, err := sealEndingAt(l.config.Dir, s.First); err == nil {
		names = append(names, segmentName(previous.First, sealSuffix))
	}
	for _, name := range names {
		if err := l.config.disk.remove(l.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return l.config.disk.syncDir(l.path(segmentsDir))
}

// deleteTiles deletes the leaf hashes of deleted records where no proof needs them: a consistency proof from a
// checkpoint that ends inside a tile does.
func (l *Ledger) deleteTiles(from, to int64) error {
	r := Reader{dir: l.config.Dir} // only its history is read
	var sizes []int64
	for c, err := range r.EachCheckpoint() {
		if err != nil {
			return err
		}
		if made, err := readCheckpoint(c.Note); err == nil {
			sizes = append(sizes, made.size)
		}
	}
	slices.Sort(sizes)
	for number := from / tileWidth; (number+1)*tileWidth <= to; number++ {
		at, _ := slices.BinarySearch(sizes, number*tileWidth+1)
		if at < len(sizes) && sizes[at] < (number+1)*tileWidth {
			continue
		}
		path := l.path(tile{number: number, hashes: make([]tlog.Hash, tileWidth)}.path())
		if err := l.config.disk.remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		_ = os.RemoveAll(filepath.Clean(path) + ".p") // derived from what is gone; it is in nobody's way
	}
	return nil
}
