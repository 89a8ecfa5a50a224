package ledger

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// errEnd is the end of what there is now.
var errEnd = errors.New("end of the log")

// cursor reads records one after the other. Its zero value but for r and index is before the record at index.
type cursor struct {
	r     *Reader
	index int64 // of the next record

	// The segment it is in. It stays known while no file is open.
	known  bool
	first  int64
	offset int64 // of the next record
	// complete: a newer segment was seen after this one's end, so nothing more can come.
	complete bool
	// resumed: it was opened at offset, and what is before was not looked at again.
	resumed bool
	// settled is how much of a plain segment cannot be cut back any more: places in it may be remembered.
	settled int64

	file  io.ReadCloser
	lines *bufio.Reader
	space []byte
	arena []byte
}

func (c *cursor) close() {
	if c.file != nil {
		_ = c.file.Close() // only read
		c.file = nil
	}
}

// next gives the record at index, errEnd if there is none yet. It can be called again after errEnd.
func (c *cursor) next(ctx context.Context) (Record, error) {
	for {
		if c.r.limit != nil && c.index >= c.r.limit() {
			return Record{}, errEnd
		}
		if c.file == nil {
			if err := c.open(ctx); err != nil {
				return Record{}, err
			}
		}
		record, err := c.read()
		if err == nil {
			return record, nil
		}
		c.close()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errTornLine):
			if err := c.pass(errors.Is(err, errTornLine)); err != nil {
				return Record{}, err
			}
		case c.resumed: // it may have been cut back and written anew since: from the segment's beginning
			c.known = false
		default:
			return Record{}, c.damage(err)
		}
	}
}

func (c *cursor) read() (Record, error) {
	line, err := readLine(c.lines, c.space)
	if err != nil {
		return Record{}, err
	}
	c.space = line
	leaf, event, err := parseLine(line)
	if err != nil {
		return Record{}, err
	}
	record := Record{Index: c.index, Hash: leaf, Event: c.keep(event)}
	c.advance(len(line) + 1)
	return record, nil
}

// pass decides what the end of a file is: of the log, of a segment, or of what had been written a moment ago.
func (c *cursor) pass(torn bool) error {
	segments, err := listSegments(c.r.dir)
	if err != nil {
		return err
	}
	for _, s := range segments {
		switch {
		case s.first <= c.first:
			continue
		case s.first == c.index && !torn:
			c.known = false
			return nil
		case !c.complete:
			c.complete = true
			return nil
		}
		return c.damage(fmt.Errorf("the segment ends here, the next one begins at record %d", s.first))
	}
	return errEnd
}

// open opens a segment at the cursor: the one it was in, or the one that the listing says.
func (c *cursor) open(ctx context.Context) error {
	if c.known {
		f, err := OpenRegular(filepath.Join(c.r.dir, segmentName(c.first, plainSuffix)))
		if err == nil {
			if _, err = f.Seek(c.offset, io.SeekStart); err != nil {
				_ = f.Close() // only read
				return err
			}
			c.use(f)
			c.resumed = true
			c.settle(f)
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return c.seek(ctx)
}

// settle notes how much of a plain file is not of the newest write: that one may yet be cut off.
func (c *cursor) settle(f *os.File) {
	c.settled = 0
	if info, err := f.Stat(); err == nil {
		c.settled = info.Size() - maxTorn
	}
}

func (c *cursor) use(f io.ReadCloser) {
	c.file = f
	if c.lines == nil {
		c.lines = bufio.NewReaderSize(f, 256<<10)
	} else {
		c.lines.Reset(f)
	}
}

// seek opens the segment that holds index, or the first one behind it. A segment that is compressed or deleted between
// listing and opening is looked for again.
func (c *cursor) seek(ctx context.Context) error {
	for attempt := 0; ; attempt++ {
		segments, err := listSegments(c.r.dir)
		if err != nil {
			return err
		}
		if len(segments) == 0 {
			return errEnd
		}
		at := 0
		for at+1 < len(segments) && segments[at+1].first <= c.index {
			at++
		}
		f, from, err := c.openNear(segments[at].first)
		if errors.Is(err, fs.ErrNotExist) && attempt < 3 {
			continue
		}
		if err != nil {
			return err
		}
		c.use(f)
		return c.skip(ctx, segments[at].first, from)
	}
}

// openNear opens a segment as shortly before index as its form allows, and says where that is.
func (c *cursor) openNear(first int64) (io.ReadCloser, frame, error) {
	f, err := OpenRegular(filepath.Join(c.r.dir, segmentName(first, plainSuffix)))
	if err == nil {
		from := c.r.marked(first, c.index)
		if _, err := f.Seek(from.Offset, io.SeekStart); err != nil {
			return nil, from, errors.Join(err, f.Close())
		}
		c.settle(f)
		return f, from, nil
	}
	from := frame{Index: first}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, from, err
	}
	c.settled = 0
	if s, err := readSeal(c.r.dir, first); err == nil {
		for _, next := range s.Frames {
			if next.Index <= c.index && next.Index >= first {
				from = next
			}
		}
	}
	unpacked, err := openCompressed(c.r.dir, first, from.Packed)
	return unpacked, from, err
}

// skip goes on from a place in a segment to index; the records before it are not checked.
func (c *cursor) skip(ctx context.Context, first int64, from frame) error {
	index := max(c.index, first)
	if !c.known || c.first != first {
		c.complete = false
	}
	c.known, c.resumed, c.first, c.index, c.offset = true, false, first, from.Index, from.Offset
	for c.index < index {
		if c.index%4096 == 0 && ctx.Err() != nil {
			c.abandon(index)
			return ctx.Err()
		}
		line, err := readLine(c.lines, c.space)
		if errors.Is(err, io.EOF) || errors.Is(err, errTornLine) {
			c.abandon(index)
			return errEnd
		}
		if err != nil {
			err = c.damage(err)
			c.abandon(index)
			return err
		}
		c.space = line
		c.advance(len(line) + 1)
	}
	return nil
}

// markEvery is how many records apart the places are that a reader remembers in plain segments.
const markEvery = 1024

func (c *cursor) advance(bytes int) {
	c.index++
	c.offset += int64(bytes)
	if (c.index-c.first)%markEvery == 0 && c.offset <= c.settled {
		c.r.mark(c.first, frame{Index: c.index, Offset: c.offset})
	}
}

// abandon leaves the cursor before a record that it did not reach.
func (c *cursor) abandon(index int64) {
	c.close()
	c.known, c.index = false, index
}

func (c *cursor) damage(err error) error {
	return &DamageError{Index: c.index, File: segmentName(c.first, plainSuffix), Offset: c.offset, What: err.Error(), Advice: verifyAdvice}
}

// keep copies an event into memory that is shared by neighbouring ones and never written again.
func (c *cursor) keep(event []byte) []byte {
	const chunk = 64 << 10
	if len(event) > cap(c.arena)-len(c.arena) {
		c.arena = make([]byte, 0, max(chunk, len(event)))
	}
	start := len(c.arena)
	c.arena = append(c.arena, event...)
	return c.arena[start:len(c.arena):len(c.arena)]
}
