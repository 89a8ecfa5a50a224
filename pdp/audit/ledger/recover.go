package ledger

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/assaypdp/assay/pdp"
	"golang.org/x/mod/sumdb/tlog"
)

// maxTorn is the longest tail that a crash can leave half written: one batch, which is written before the next one is
// taken. What is damaged further from the end had been durable.
const maxTorn = batchBytes + maxLineSize

const advice = "it is not mended, because it was durable: keep the folder as evidence, see `assay audit verify` for what else is " +
	"concerned, and restore the file from a copy, or give audit.dir a new folder to begin a new log"

// recovered is the state that the folder was left in.
type recovered struct {
	tree  tree
	first int64 // of the segment that is written
	bytes int64 // its good lines
	times times
	// tiles are the full ones over what was read; a crash may have kept their files from the disk.
	tiles []tile
	// cut is what was cut off a torn tail, nil if nothing was.
	cut *pdp.Change
}

// bringIntoOrder reads the end of the log, from the segment that the newest checkpoint ends in, checks it against that
// checkpoint, and cuts off what a crash left half written.
func (c *Config) bringIntoOrder(ctx context.Context, last *checkpoint) (*recovered, error) {
	if err := c.removeTemporary(); err != nil {
		return nil, err
	}
	segments, err := listSegments(c.Dir)
	if err != nil {
		return nil, err
	}
	if len(segments) == 0 {
		if last != nil && last.size > 0 {
			return nil, &DamageError{Index: 0, File: segmentsDir, What: fmt.Sprintf("there are no segments, but a checkpoint over %d records", last.size), Advice: advice}
		}
		return &recovered{}, nil
	}
	at, start, err := c.startOfScan(segments, last)
	if err != nil {
		return nil, err
	}
	r := &recovered{tree: start}
	for ; at < len(segments); at++ {
		if segments[at].first != r.tree.size {
			return nil, &DamageError{Index: r.tree.size, File: segmentName(segments[at].first, plainSuffix), Advice: advice,
				What: fmt.Sprintf("the segment begins at record %d, those before it end at %d: a segment or a part of one is missing", segments[at].first, r.tree.size)}
		}
		newest := at == len(segments)-1 && segments[at].plain
		if err := c.scanSegment(ctx, r, segments[at].first, newest, last); err != nil {
			return nil, err
		}
	}
	if !segments[len(segments)-1].plain { // it is sealed: the next one begins behind it
		r.first, r.bytes, r.times = r.tree.size, 0, times{}
	}
	if last != nil && last.size > r.tree.size {
		return nil, &DamageError{Index: r.tree.size, File: segmentName(r.first, plainSuffix), Offset: r.bytes, Advice: advice,
			What: fmt.Sprintf("the log ends here, but a checkpoint covers %d records: the last %d are missing", last.size, last.size-r.tree.size)}
	}
	return r, nil
}

// startOfScan finds the segment to begin with and the tree before it. It goes back as far as seals are missing.
func (c *Config) startOfScan(segments []segmentPath, last *checkpoint) (int, tree, error) {
	at := len(segments) - 1
	for at > 0 && last != nil && segments[at].first > last.size {
		at--
	}
	for ; ; at-- {
		before, err := treeBefore(c.Dir, segments[at].first)
		if err == nil {
			return at, before, nil
		}
		if at == 0 {
			return 0, tree{}, &DamageError{Index: segments[0].first, File: segmentName(segments[0].first, plainSuffix), Advice: advice,
				What: fmt.Sprintf("the log begins here, but what came before is neither here nor sealed (%v)", err)}
		}
	}
}

// scanSegment reads one segment behind what r knows. Only the newest one may end badly.
func (c *Config) scanSegment(ctx context.Context, r *recovered, first int64, newest bool, last *checkpoint) error {
	if damage := last.agrees(&r.tree); damage != nil {
		damage.File = segmentName(first, plainSuffix)
		return damage
	}
	in, err := openSegment(c.Dir, first)
	if err != nil {
		return err
	}
	s, err := scan(ctx, in, func(leaf tlog.Hash, _ []byte) error {
		r.tree.add(leaf, func(t tile) {
			if len(r.tiles) < maxFreshTiles {
				r.tiles = append(r.tiles, t)
			}
		})
		if damage := last.agrees(&r.tree); damage != nil {
			return damage
		}
		return nil
	})
	closed := in.Close()
	var damage *DamageError
	if errors.As(err, &damage) {
		damage.File, damage.Offset = segmentName(first, plainSuffix), s.bytes
		return damage
	}
	if err != nil && !newest && ctx.Err() == nil { // a compressed segment that does not unpack
		s.bad, err = err, nil
	}
	if err = errors.Join(err, closed); err != nil {
		return fmt.Errorf("audit log: reading %s: %w", segmentName(first, plainSuffix), err)
	}
	r.first, r.bytes, r.times = first, s.bytes, s.times
	if s.bad == nil {
		if newest {
			return nil
		}
		return c.sealAgain(r, s.count)
	}
	damage = &DamageError{Index: r.tree.size, File: segmentName(first, plainSuffix), Offset: s.bytes, What: s.bad.Error(), Advice: advice}
	if !newest || (last != nil && r.tree.size < last.size) {
		return damage
	}
	return c.cutOff(r, damage)
}

// sealAgain puts a seal where one is missing; it is derived.
func (c *Config) sealAgain(r *recovered, count int64) error {
	if _, err := readSeal(c.Dir, r.first); err == nil {
		return nil
	}
	data, err := r.seal(count).encode()
	if err != nil {
		return err
	}
	return c.disk.put(filepath.Join(c.Dir, segmentName(r.first, sealSuffix)), data, true)
}

func (r *recovered) seal(count int64) *seal {
	return &seal{First: r.first, Count: count, Bytes: r.bytes, FirstTime: r.times.first, LastTime: r.times.last, Root: r.tree.root(), Edges: r.tree.edges}
}

// cutOff moves what stands behind the good lines of the newest segment into torn/, where it can be looked at, and
// shortens the segment. Nothing acknowledged is in it: it is at most one batch, the one that was being written.
func (c *Config) cutOff(r *recovered, damage *DamageError) error {
	path := filepath.Join(c.Dir, segmentName(r.first, plainSuffix))
	f, err := c.disk.open(path, false)
	if err != nil {
		return err
	}
	size, err := f.size()
	if err == nil && size-r.bytes > maxTorn {
		damage.What += fmt.Sprintf("; %d bytes follow, more than one write that was under way", size-r.bytes)
		return errors.Join(damage, f.Close())
	}
	tail := make([]byte, max(0, size-r.bytes))
	if err == nil {
		_, err = f.ReadAt(tail, r.bytes)
	}
	name := filepath.Join(tornDir, fmt.Sprintf("%020d-%d.log", r.tree.size, c.Now().UnixNano()))
	if err == nil {
		err = c.disk.put(filepath.Join(c.Dir, name), tail, true)
	}
	if err == nil {
		err = f.Truncate(r.bytes)
	}
	if err == nil {
		err = f.datasync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("audit log: cutting off the torn tail of %s: %w", path, err)
	}
	r.cut = &pdp.Change{Kind: pdp.LogRecovered, Target: c.Origin, Reason: damage.What, Details: map[string]any{
		"index": r.tree.size, "bytes": len(tail), "kept_as": filepath.ToSlash(name),
	}}
	return nil
}

// removeTemporary removes what a crash left half made, and the plain form of segments whose compressed form is
// complete: it got its name only after it had been read back.
func (c *Config) removeTemporary() error {
	for _, dir := range []string{".", segmentsDir, tornDir} {
		entries, err := os.ReadDir(filepath.Join(c.Dir, dir))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if strings.HasSuffix(entry.Name(), temporarySuffix) && !entry.IsDir() {
				if err := c.disk.remove(filepath.Join(c.Dir, dir, entry.Name())); err != nil {
					return err
				}
			}
		}
	}
	segments, err := listSegments(c.Dir)
	if err != nil {
		return err
	}
	for i, s := range segments {
		if s.plain && s.compressed && i < len(segments)-1 {
			if err := c.disk.remove(filepath.Join(c.Dir, segmentName(s.first, plainSuffix))); err != nil {
				return err
			}
		}
	}
	return nil
}
