package ledger

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// checkpoint is what a checkpoint's text says (C2SP checkpoint), and the note around it.
type checkpoint struct {
	origin string
	size   int64
	root   tlog.Hash
	time   time.Time
	note   string
}

// agrees says that a tree of the checkpoint's size has its root. Trees of other sizes agree.
func (c *checkpoint) agrees(t *tree) *DamageError {
	if c == nil || c.size != t.size || t.root() == c.root {
		return nil
	}
	return &DamageError{Index: -1, Advice: advice,
		What: fmt.Sprintf("the first %d records are not those that the checkpoint of %s covers: one was altered, removed or added", c.size, c.time.UTC().Format(time.RFC3339))}
}

// checkpointText is what is signed: origin, size and root hash, a line each.
func checkpointText(origin string, size int64, root tlog.Hash) string {
	return fmt.Sprintf("%s\n%d\n%s\n", origin, size, base64.StdEncoding.EncodeToString(root[:]))
}

// readCheckpoint takes the three lines out of a note, whose signatures it does not check.
func readCheckpoint(note string) (*checkpoint, error) {
	lines := strings.SplitN(note, "\n", 4)
	if len(lines) < 4 {
		return nil, errors.New("a checkpoint has three lines: origin, size, root hash")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return nil, fmt.Errorf("size %q is not a number", lines[1])
	}
	root, err := tlog.ParseHash(lines[2])
	if err != nil {
		return nil, fmt.Errorf("root hash: %w", err)
	}
	return &checkpoint{origin: lines[0], size: size, root: root, note: note}, nil
}

// markedState is the ledger's history of checkpoints and the newest of them.
type markedState struct {
	mu   sync.Mutex
	last *checkpoint // nil if there is none

	file   segmentFile // the rest belongs to whoever makes checkpoints
	length int64       // its whole lines
}

func (m *markedState) newest() (int64, time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		return 0, time.Time{}
	}
	return m.last.size, m.last.time
}

// note is the newest checkpoint as it was signed, empty if there is none.
func (m *markedState) note() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last == nil {
		return ""
	}
	return m.last.note
}

func (m *markedState) close() error {
	if m.file == nil {
		return nil
	}
	return m.file.Close()
}

// openCheckpoints reads the newest checkpoint out of the history. A line cut off at its end is the one that was being
// written: it was not published yet, and the next one takes its place.
func (c *Config) openCheckpoints(m *markedState) (*checkpoint, error) {
	line, end, err := lastLine(filepath.Join(c.Dir, checkpointsName))
	if err != nil {
		return nil, fmt.Errorf("audit log: %w", err)
	}
	m.length = end
	if line == nil {
		return nil, c.newestAgrees(nil)
	}
	var entry Checkpoint
	err = json.Unmarshal(line, &entry)
	if err == nil {
		m.last, err = readCheckpoint(entry.Note)
	}
	if err != nil {
		return nil, &DamageError{Index: -1, File: checkpointsName, Offset: m.length - int64(len(line)), What: err.Error(), Advice: advice}
	}
	m.last.time = entry.Time
	if m.last.origin != c.Origin {
		return nil, fmt.Errorf("audit log %s: its checkpoints are of %q, the configuration says audit.origin %q: give each log a folder of its own", c.Dir, m.last.origin, c.Origin)
	}
	return m.last, c.newestAgrees(m.last)
}

// newestAgrees holds the history against the newest checkpoint's own file, which is written once the history has it: a
// history that has not was shortened since, or taken away. That file is derived, so one that a loss of power emptied is
// no evidence; but it is made with the first line of the history, so without one there is none.
func (c *Config) newestAgrees(last *checkpoint) error {
	data, err := readRegular(filepath.Join(c.Dir, checkpointName), mostNote)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("audit log: %s: %w", checkpointName, err)
	}
	damage := &DamageError{Index: -1, File: checkpointsName, Advice: advice}
	newest, err := readCheckpoint(string(data))
	switch {
	case err != nil && last == nil:
		damage.What = "it has no checkpoint, and there is a file " + checkpointName + ", which is made after its first line: it was removed or emptied"
	case err != nil:
		return nil //nolint:nilerr // as said: no evidence
	case last == nil:
		damage.What = fmt.Sprintf("it has no checkpoint, and the file %s is one over %d records: it was removed or emptied", checkpointName, newest.size)
	case newest.size > last.size:
		damage.What = fmt.Sprintf("its last checkpoint is over %d records, and the file %s is one over %d: lines were removed from its end", last.size, checkpointName, newest.size)
	case newest.size == last.size && newest.root != last.root:
		damage.What = fmt.Sprintf("its last checkpoint has another root over %d records than the file %s: one of the two was altered", last.size, checkpointName)
	default:
		return nil
	}
	return damage
}

// lastLine reads the last whole line of a file, and where it ends, without reading what is before it: the history of
// years is long. nil: there is none.
func lastLine(path string) (line []byte, end int64, err error) {
	f, err := OpenRegular(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	for window := int64(16 << 10); ; window *= 4 {
		from := max(0, info.Size()-window)
		data := make([]byte, info.Size()-from)
		if _, err := f.ReadAt(data, from); err != nil {
			return nil, 0, err
		}
		stop := bytes.LastIndexByte(data, '\n') + 1
		if stop == 0 && from == 0 {
			return nil, 0, nil
		}
		if start := bytes.LastIndexByte(data[:max(0, stop-1)], '\n') + 1; stop > 0 && (start > 0 || from == 0) {
			return data[start:stop], from + int64(stop), nil
		}
		if window > 4*maxLineSize {
			return nil, 0, fmt.Errorf("%s: %w", filepath.Base(path), errLongLine)
		}
	}
}

// checkpoint makes and keeps one if the tree grew. Only records that are on disk are in the tree.
func (l *Ledger) checkpoint(ctx context.Context) error {
	l.treeMu.Lock()
	edge := l.tree.clone()
	l.treeMu.Unlock()
	if size, _ := l.marked.newest(); l.config.Signer == nil || edge.size == 0 || edge.size == size {
		return nil
	}
	text := checkpointText(l.config.Origin, edge.size, edge.root())
	note, err := l.config.Signer.SignNote(ctx, text)
	if err != nil {
		return fmt.Errorf("signing a checkpoint: %w", err)
	}
	if !strings.HasPrefix(string(note), text+"\n") {
		return errors.New("signing a checkpoint: the signer answered with another text than it was given")
	}
	made, err := readCheckpoint(string(note))
	if err != nil {
		return fmt.Errorf("signing a checkpoint: %w", err)
	}
	made.time = l.config.Now().UTC()
	// The tiles that a reader of the checkpoint asks for come before it.
	if err := l.writeFresh(edge.partial()); err != nil {
		return err
	}
	if err := l.keepCheckpoint(made); err != nil {
		return fmt.Errorf("keeping a checkpoint: %w", err)
	}
	l.marked.mu.Lock()
	l.marked.last = made
	l.marked.mu.Unlock()
	return nil
}

// keepCheckpoint appends to the history, cutting off what a failed attempt left behind it.
func (l *Ledger) keepCheckpoint(made *checkpoint) error {
	line, err := json.Marshal(Checkpoint{Time: made.time, Note: made.note})
	if err != nil {
		return err
	}
	line = append(line, '\n')
	if l.marked.file == nil {
		f, err := l.config.disk.open(l.path(checkpointsName), true)
		if err != nil {
			return err
		}
		l.marked.file = f
	}
	err = l.marked.file.Truncate(l.marked.length)
	if err == nil {
		_, err = l.marked.file.WriteAt(line, l.marked.length)
	}
	if err == nil {
		err = l.marked.file.datasync()
	}
	if err == nil {
		err = l.config.disk.syncDir(l.config.Dir)
	}
	if err != nil {
		_ = l.marked.file.Close() // opened anew for the next attempt, as a segment is
		l.marked.file = nil
		return err
	}
	l.marked.length += int64(len(line))
	return l.config.disk.put(l.path(checkpointName), []byte(made.note), false)
}

// Checkpoints reads the history, oldest first. A line being written just now is left out.
func (r *Reader) Checkpoints() ([]Checkpoint, error) {
	var all []Checkpoint
	for c, err := range r.EachCheckpoint() {
		if err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, nil
}

// EachCheckpoint is Checkpoints without holding more than one; a log that never rests gets 3 million in a year.
func (r *Reader) EachCheckpoint() iter.Seq2[Checkpoint, error] {
	return func(yield func(Checkpoint, error) bool) {
		f, err := OpenRegular(filepath.Join(r.dir, checkpointsName))
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				yield(Checkpoint{}, err)
			}
			return
		}
		defer func() { _ = f.Close() }() // only read
		lines := bufio.NewReader(f)
		var space []byte
		for offset := int64(0); ; offset += int64(len(space)) + 1 {
			space, err = readLine(lines, space)
			if errors.Is(err, io.EOF) || errors.Is(err, errTornLine) {
				return
			}
			var c Checkpoint
			if err == nil {
				err = json.Unmarshal(space, &c)
			}
			if err != nil {
				yield(Checkpoint{}, &DamageError{Index: -1, File: checkpointsName, Offset: offset, What: err.Error(), Advice: verifyAdvice})
				return
			}
			if !yield(c, nil) {
				return
			}
		}
	}
}
