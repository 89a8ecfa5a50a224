package ledger

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// line is one line of a segment, good or bad.
type line struct {
	number int64
	// leaf is the hash of the record that stands there; claimed is what the line says that it is.
	leaf, claimed tlog.Hash
	// bad is what is wrong with the line in itself; nil: leaf and claimed are the same.
	bad error
	// id is the decision id, where it was asked for or the line is bad.
	id string
	// trimmed is the first record that a deletion by retention left, where the line is the record of one; else 0.
	trimmed int64
	event   []byte // until the next line is read
}

// lineReader reads a segment's lines, and ahead where something is searched.
type lineReader struct {
	in    *bufio.Reader
	space []byte
	count int64 // lines read
	bytes int64 // of them
	// queue is what was read ahead; places says how many lines ahead of the first ever queued a leaf stands.
	queue  []line
	taken  int64 // of the lines ever queued, those that next gave
	places map[tlog.Hash]int64
	err    error // that ended reading; io.EOF: the end
	// torn is set where the last line has no line feed.
	torn bool
}

func newLineReader(in io.Reader) *lineReader {
	return &lineReader{in: bufio.NewReaderSize(in, 256<<10)}
}

// next answers the next line; false at the end, or where reading failed (err).
func (r *lineReader) next() (line, bool) {
	if len(r.queue) > 0 {
		l := r.queue[0]
		r.queue = r.queue[1:]
		r.taken++
		return l, true
	}
	return r.read(false)
}

func (r *lineReader) read(withID bool) (line, bool) {
	if r.err != nil {
		return line{}, false
	}
	text, err := readLine(r.in, r.space)
	if err != nil && !errors.Is(err, errTornLine) && !errors.Is(err, errLongLine) {
		r.err = err
		return line{}, false
	}
	r.count++
	r.bytes += int64(len(text)) + 1
	l := line{number: r.count, bad: err}
	if errors.Is(err, errLongLine) {
		if skipped := r.skipLine(); skipped != nil {
			r.err = skipped
		}
	}
	r.torn = errors.Is(err, errTornLine)
	r.space = text
	l.parse(text)
	if withID || l.bad != nil {
		l.id = decisionID(l.event)
	}
	l.trimmed = trimmedTo(l.event)
	return l, true
}

func (l *line) parse(text []byte) {
	leaf, event, err := parseLine(text)
	if l.bad == nil {
		l.bad = err
	}
	if l.bad == nil {
		l.leaf, l.claimed, l.event = leaf, leaf, event
		return
	}
	if len(text) > hashText+1 {
		l.event = text[hashText+1:]
		l.leaf = tlog.RecordHash(l.event)
		if raw, err := base64.StdEncoding.DecodeString(string(text[:hashText])); err == nil && len(raw) == tlog.HashSize {
			copy(l.claimed[:], raw)
		}
	}
}

// mostSkipped is how much of a line that is too long for a record is passed over, in bytes, to read on behind it. A file
// can be made to be endless at no cost.
const mostSkipped = 64 << 20

var errEndless = errors.New("a line is so long that what follows is not looked for")

// skipLine goes to the end of a line that is too long for a record.
func (r *lineReader) skipLine() error {
	for skipped := 0; skipped < mostSkipped; {
		part, err := r.in.ReadSlice('\n')
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		skipped += len(part)
	}
	return errEndless
}

// readAhead fills the queue.
func (r *lineReader) readAhead(lines int) {
	if r.places == nil {
		r.places = make(map[tlog.Hash]int64)
	}
	for len(r.queue) < lines {
		l, ok := r.read(true)
		if !ok {
			return
		}
		l.event = nil
		at := r.taken + int64(len(r.queue))
		if old, there := r.places[l.leaf]; !there || old < r.taken {
			r.places[l.leaf] = at
		}
		r.queue = append(r.queue, l)
	}
}

// search answers how many lines ahead (0: the next) a leaf stands.
func (r *lineReader) search(leaf tlog.Hash) (int64, bool) {
	r.readAhead(lookahead / 2)
	at, ok := r.places[leaf]
	return at - r.taken, ok && at >= r.taken
}

// peek answers the next line without taking it.
func (r *lineReader) peek() (line, bool) {
	r.readAhead(1)
	if len(r.queue) == 0 {
		return line{}, false
	}
	return r.queue[0], true
}

// trimmedTo reads the record of a deletion by retention: the first record that was left. 0 for any other record.
func trimmedTo(event []byte) int64 {
	if !bytes.Contains(event, []byte(`"`+pdp.LogTrimmed+`"`)) {
		return 0
	}
	type details struct {
		First   int64 `json:"first"`
		Records int64 `json:"records"`
	}
	var e struct {
		Path  string `json:"path"`
		Input struct {
			Change  struct{ Details details } `json:"change"`
			Details details                   `json:"details"` // as the ledger writes it by itself
		} `json:"input"`
		Custom struct {
			Assay struct {
				Kind string `json:"kind"`
			} `json:"assay"`
		} `json:"custom"`
	}
	if json.Unmarshal(event, &e) != nil || e.Custom.Assay.Kind != string(pdp.LogTrimmed) {
		return 0
	}
	d := e.Input.Details
	if d.Records == 0 {
		d = e.Input.Change.Details
	}
	return d.First + d.Records
}
