package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// scanned is what reading a segment from its beginning found.
type scanned struct {
	count int64
	bytes int64 // of whole, good lines
	times times
	// bad is what is wrong with the line behind the good ones, nil at a clean end.
	bad error
}

// scan reads a segment's lines and gives each record to take. It stops at the first line that is not good, which is
// not an error: err is of reading itself, or from take.
func scan(ctx context.Context, in io.Reader, take func(leaf tlog.Hash, event []byte) error) (scanned, error) {
	var span times
	s, err := scanLines(ctx, in, func(leaf tlog.Hash, line []byte) error {
		event := line[hashText+1:]
		if err := take(leaf, event); err != nil {
			return err
		}
		span.add(eventTime(event))
		return nil
	})
	s.times = span
	return s, err
}

// scanLines is scan that gives whole lines, without their line feeds, and does not look when the records are from.
func scanLines(ctx context.Context, in io.Reader, take func(leaf tlog.Hash, line []byte) error) (s scanned, err error) {
	r := bufio.NewReaderSize(in, 256<<10)
	var space []byte
	for {
		line, err := readLine(r, space)
		switch {
		case errors.Is(err, io.EOF):
			return s, nil
		case errors.Is(err, errTornLine), errors.Is(err, errLongLine):
			s.bad = err
			return s, nil
		case err != nil:
			return s, err
		}
		space = line
		leaf, _, bad := parseLine(line)
		if bad != nil {
			s.bad = bad
			return s, nil //nolint:nilerr // a bad line is what was found
		}
		if err := take(leaf, line); err != nil {
			return s, err
		}
		s.count++
		s.bytes += int64(len(line)) + 1
		if s.count%4096 == 0 && ctx.Err() != nil {
			return s, ctx.Err()
		}
	}
}

// walkSealed reads a sealed segment, gives each line to take and each tile that it fills to full, and answers with the tree
// behind it. Each record is held against its hash and all of them against the seal: what is wrong is named in a
// *DamageError, which tells what is not done with such a segment.
func walkSealed(ctx context.Context, dir string, s *seal, in io.Reader, take func(line []byte) error, full func(tile) error, undone string) (tree, error) {
	t, err := treeBefore(dir, s.First)
	if err != nil {
		return t, err
	}
	var failed error
	found, err := scanLines(ctx, in, func(leaf tlog.Hash, line []byte) error {
		t.add(leaf, func(filled tile) { failed = errors.Join(failed, full(filled)) })
		return errors.Join(failed, take(line))
	})
	if err != nil {
		return t, err
	}
	if found.bad != nil || found.count != s.Count || t.root() != s.Root {
		return t, &DamageError{Index: s.First + found.count, File: segmentName(s.First, plainSuffix), Offset: found.bytes,
			What: "the segment is not what was sealed: it was altered since; " + undone, Advice: "see `assay audit verify`"}
	}
	return t, nil
}

// eventTime is the "timestamp" of a record, zero if it has none that can be read.
//
// Every record is looked at so when its segment is sealed, so the usual place is tried before the whole is decoded: the
// event's own timestamp is the last one in it, since what it tells of others stands before.
func eventTime(event []byte) time.Time {
	const name = `"timestamp":"`
	if i := bytes.LastIndex(event, []byte(name)); i >= 0 {
		text, _, _ := bytes.Cut(event[i+len(name):], []byte(`"`))
		var at time.Time
		if at.UnmarshalText(text) == nil {
			return at
		}
	}
	var e struct {
		Timestamp time.Time `json:"timestamp"`
	}
	if json.Unmarshal(event, &e) != nil {
		return time.Time{}
	}
	return e.Timestamp
}
