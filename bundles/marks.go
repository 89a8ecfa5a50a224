package bundles

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// Mark is the newest bundle of a name that was ever in force.
type Mark struct {
	Sequence int64  `json:"sequence"`
	Digest   string `json:"digest"`
	Revision string `json:"revision,omitempty"`
}

// Marks keeps, for each bundle name, the highest sequence that was ever in force, in one file per name. A mark
// is on the disk (file and directory synced) before Raise returns, and replaces the one before in one step, so
// that a crash leaves one or the other. Marks only rise.
//
// One process owns a directory of marks. It is safe for concurrent use within that process.
type Marks struct {
	dir string
	mu  sync.Mutex // held while files are written
}

var namePattern = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9_])?$`)

// CheckName says whether a bundle may have a name: it becomes part of file names and metrics.
func CheckName(name string) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("bundles: name %q: use letters, digits, \"_\", and \"-\" and \".\" inside, at most 128", name)
	}
	return nil
}

// OpenMarks uses a directory, which it makes (mode 0700) where there is none.
func OpenMarks(dir string) (*Marks, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("bundles: high-water marks: %w", err)
	}
	return &Marks{dir: dir}, nil
}

func (m *Marks) path(name string) string { return filepath.Join(m.dir, name+".mark.json") }

// Get gives the mark of a name; the zero Mark where there is none. A mark that cannot be read is an error:
// nothing can then be told to be new enough.
func (m *Marks) Get(name string) (Mark, error) {
	if err := CheckName(name); err != nil {
		return Mark{}, err
	}
	text, err := os.ReadFile(m.path(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Mark{}, nil
	case err != nil:
		return Mark{}, fmt.Errorf("bundles: high-water mark: %w", err)
	}
	var mark Mark
	if err := json.Unmarshal(text, &mark); err != nil || mark.Sequence < 1 || mark.Digest == "" {
		return Mark{}, fmt.Errorf("bundles: %s is no high-water mark; restore it, or delete it to accept any sequence once", m.path(name))
	}
	return mark, nil
}

// Check refuses (ReasonOlder) a bundle below the mark of its name: one with a lower sequence, with none, or with the
// same sequence and another content. Other errors mean that the mark could not be read.
func (m *Marks) Check(b *Bundle) error {
	mark, err := m.Get(b.Name)
	if err != nil {
		return err
	}
	if r := below(mark, b); r != nil {
		r.Name = b.Name
		return r
	}
	return nil
}

func below(mark Mark, b *Bundle) *RefusedError {
	switch {
	case mark.Sequence == 0 || b.Sequence > mark.Sequence:
		return nil
	case b.Sequence == 0:
		return refuse(ReasonOlder, "it has no sequence, and one with sequence %d was in force; build it with a higher one", mark.Sequence)
	case b.Sequence < mark.Sequence:
		return refuse(ReasonOlder, "its sequence is %d, and one with %d was in force; to go back, build the old content with a higher sequence", b.Sequence, mark.Sequence)
	case b.Digest != mark.Digest:
		return refuse(ReasonOlder, "another bundle with sequence %d was in force; build it with a higher one", mark.Sequence)
	}
	return nil
}

// Raise records that a bundle is in force. A bundle below the mark is refused as by Check and leaves the mark as it
// is. Of a bundle that is not RollbackProtected nothing is recorded: it has no sequence, or only its own word for
// it, by which it could lock out the signed ones.
func (m *Marks) Raise(b *Bundle) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.Check(b); err != nil {
		return err
	}
	if !b.RollbackProtected() {
		return nil
	}
	text, err := json.Marshal(Mark{Sequence: b.Sequence, Digest: b.Digest, Revision: b.Revision})
	if err != nil {
		return fmt.Errorf("bundles: high-water mark: %w", err)
	}
	if err := replaceFile(m.path(b.Name), append(text, '\n'), 0o600); err != nil {
		return fmt.Errorf("bundles: high-water mark: %w", err)
	}
	return nil
}

// WriteFile replaces a file in one step that survives a crash: readers see the old content or the new one.
func WriteFile(path string, content []byte) error { return replaceFile(path, content, 0o644) }

func replaceFile(path string, content []byte, mode fs.FileMode) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir makes a rename durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
