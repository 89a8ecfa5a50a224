package ledger

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

var decisionIDPattern = regexp.MustCompile(`"decision_id":"([0-9A-Za-z._-]{1,64})"`)

// mark is a good checkpoint: the root that a tree of its size must have.
type mark struct {
	size   int64
	root   tlog.Hash
	anchor bool // kept outside the folder
	file   string
	line   int64
}

// OpenCheckpoint reads a signed checkpoint (C2SP tlog-checkpoint) that one of the verifiers of the log's own name has signed.
func OpenCheckpoint(signed []byte, verifiers note.Verifiers) (origin string, tree tlog.Tree, err error) {
	opened, err := note.Open(signed, verifiers)
	if err != nil {
		if unknown, ok := errors.AsType[*note.UnverifiedNoteError](err); ok {
			return "", tlog.Tree{}, fmt.Errorf("no signature is by a key that counts%s", signers(unknown.Note))
		}
		return "", tlog.Tree{}, err
	}
	c, err := readCheckpoint(opened.Text + "\n")
	if err != nil {
		return "", tlog.Tree{}, err
	}
	// The log's own signature is by a key of its name. One by a key of another name that counts, such as a witness's, says
	// only that it saw the checkpoint; and another log's says nothing of this one.
	if !slices.ContainsFunc(opened.Sigs, func(s note.Signature) bool { return s.Name == c.origin }) {
		return "", tlog.Tree{}, fmt.Errorf("it is of the log %q, and no signature is by a key of that name that counts", c.origin)
	}
	return c.origin, tlog.Tree{N: c.size, Hash: c.root}, nil
}

// CheckForm says what is wrong with the form of a signed checkpoint, such as one that a person saved. It checks no signature.
func CheckForm(signed []byte) error {
	_, err := note.Open(signed, note.VerifierList())
	if _, form := errors.AsType[*note.UnverifiedNoteError](err); !form { // it is never nil: no key counts
		if bytes.HasSuffix(signed, []byte("\n\n")) {
			return errors.New("it is no signed checkpoint: an empty line stands at its end, which is not of it")
		}
		return fmt.Errorf("it is no signed checkpoint: %w", err)
	}
	if _, err := readCheckpoint(string(signed)); err != nil {
		return fmt.Errorf("it is no checkpoint: %w", err)
	}
	return nil
}

// signers says by which keys a note claims to be signed.
func signers(n *note.Note) string {
	var names []string
	for _, s := range n.UnverifiedSigs {
		names = append(names, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
	}
	if len(names) == 0 {
		return ""
	}
	return "; it claims to be by " + strings.Join(names, ", ")
}

// open reads a checkpoint, and checks its signature where there are keys.
func (v *verifier) open(signed string) (string, tlog.Tree, error) {
	if v.c.Verifiers != nil {
		return OpenCheckpoint([]byte(signed), v.c.Verifiers)
	}
	c, err := readCheckpoint(signed)
	if err != nil {
		return "", tlog.Tree{}, err
	}
	return c.origin, tlog.Tree{N: c.size, Hash: c.root}, nil
}

// readMarks reads the history of checkpoints, the newest one and those kept outside.
func (v *verifier) readMarks() error {
	// The newest one is written after its line in the history; so it is read before.
	newest, err := readRegular(filepath.Join(v.c.Dir, checkpointName), mostNote)
	switch {
	case errors.Is(err, errStrange):
		v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointName, What: err.Error()})
	case err != nil && !errors.Is(err, fs.ErrNotExist): // it is derived
		return err
	}
	last, err := v.readHistory()
	if err != nil {
		return err
	}
	if len(newest) > 0 && string(newest) != last {
		v.readNewest(newest)
	}
	for i, anchor := range v.c.Anchors {
		name := anchor.Name
		if name == "" {
			name = fmt.Sprintf("number %d", i+1)
		}
		origin, tree, err := v.open(string(anchor.Signed))
		switch {
		case err != nil:
			v.find(Finding{Kind: BadCheckpoint, Index: -1, What: fmt.Sprintf("the checkpoint kept outside, %s: %v", name, err)})
			continue
		case v.report.Origin == "":
			v.report.Origin = origin
		case origin != v.report.Origin:
			v.find(Finding{Kind: BadCheckpoint, Index: -1, What: fmt.Sprintf("the checkpoint kept outside, %s, is of the log %q, not of %q", name, origin, v.report.Origin)})
			continue
		}
		if !v.isMarked(tree) { // it is published when the history has it
			v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointsName,
				What: fmt.Sprintf("the checkpoint kept outside over %d records is not in the history: its line was removed or altered, or the log was written anew", tree.N)})
		}
		v.marks = append(v.marks, mark{size: tree.N, root: tree.Hash, anchor: true})
	}
	slices.SortStableFunc(v.marks, func(a, b mark) int { return cmp.Compare(a.size, b.size) })
	return nil
}

// readHistory reads "checkpoints" line by line and answers the last note.
func (v *verifier) readHistory() (string, error) {
	file, err := OpenRegular(filepath.Join(v.c.Dir, checkpointsName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, errStrange) {
		v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointsName, What: err.Error()})
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer func() { _ = file.Close() }() // only read
	r := bufio.NewReaderSize(file, 64<<10)
	var space []byte
	var before tlog.Tree
	var at time.Time
	last := ""
	for number := int64(1); ; number++ {
		line, err := readLine(r, space)
		switch {
		case errors.Is(err, io.EOF):
			return last, nil
		case errors.Is(err, errTornLine): // being written just now, or by a process that was killed; never published
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("line %d of %s is cut off; it was never published", number, checkpointsName))
			return last, nil
		case errors.Is(err, errLongLine):
			v.badMark(number, "it is longer than a checkpoint can be; what follows is not read")
			return last, nil
		case err != nil:
			return "", fmt.Errorf("%s: %w", checkpointsName, err)
		}
		space = line
		var entry Checkpoint
		if err := json.Unmarshal(line, &entry); err != nil {
			v.badMark(number, "it cannot be read: "+err.Error())
			continue
		}
		last = entry.Note
		if v.addMark(number, entry, before, at) {
			m := v.marks[len(v.marks)-1]
			before, at = tlog.Tree{N: m.size, Hash: m.root}, entry.Time
		}
	}
}

// badMark finds a line; one finding is enough for lines that follow one another with the same wrong, such as all of a
// history that another key has signed.
func (v *verifier) badMark(line int64, what string) {
	if n := len(v.report.Findings); n > 0 {
		last := &v.report.Findings[n-1]
		if last.Kind == BadCheckpoint && last.File == checkpointsName && last.What == what && max(last.Line, last.ThroughLine)+1 == line {
			last.ThroughLine = line
			return
		}
	}
	v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointsName, Line: line, What: what})
}

// addMark checks one line of the history against the good one before it.
func (v *verifier) addMark(line int64, entry Checkpoint, before tlog.Tree, at time.Time) bool {
	origin, tree, err := v.open(entry.Note)
	switch {
	case err != nil:
		v.badMark(line, err.Error())
	case v.report.Origin != "" && origin != v.report.Origin:
		v.badMark(line, fmt.Sprintf("it is of the log %q, those before of %q", origin, v.report.Origin))
	case tree.N < before.N:
		v.badMark(line, fmt.Sprintf("it covers %d records, one before it %d: the log shrank, or the history was altered", tree.N, before.N))
	case tree.N == before.N && tree.Hash != before.Hash && before.N > 0:
		v.badMark(line, fmt.Sprintf("it has another root over %d records than the one before it: two histories were signed", tree.N))
	default:
		if entry.Time.Before(at) {
			v.report.Notes = append(v.report.Notes, fmt.Sprintf("line %d of %s is older than the one before it: the clock went back", line, checkpointsName))
		}
		v.report.Origin = origin
		v.marks = append(v.marks, mark{size: tree.N, root: tree.Hash, file: checkpointsName, line: line})
		return true
	}
	return false
}

// readNewest compares "checkpoint" with the history.
func (v *verifier) readNewest(newest []byte) {
	origin, tree, err := v.open(string(newest))
	bad := func(what string) {
		v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointName, What: what})
	}
	switch {
	case err != nil:
		bad(err.Error())
		return
	case v.report.Origin != "" && origin != v.report.Origin:
		bad(fmt.Sprintf("it is of the log %q, the history of %q", origin, v.report.Origin))
		return
	}
	v.report.Origin = origin
	// One that is older than the history's end was left by a crash between the two, or read while a newer one was made.
	if !v.isMarked(tree) {
		v.marks = append(v.marks, mark{size: tree.N, root: tree.Hash, file: checkpointName})
		bad(fmt.Sprintf("the checkpoint over %d records is not in the history: a line of %s was removed or altered", tree.N, checkpointsName))
	}
}

// isMarked says whether a checkpoint of the log's own is over that tree.
func (v *verifier) isMarked(tree tlog.Tree) bool {
	return slices.ContainsFunc(v.marks, func(m mark) bool { return !m.anchor && m.size == tree.N && m.root == tree.Hash })
}
