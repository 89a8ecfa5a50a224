package upload

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/assaypdp/assay/pdp/strictjson"
)

// cursor says what was delivered: everything below Next, of the log Log. LeafHash is that of the record before Next, by
// which a log that was put in the other's place is noticed; empty while nothing was delivered. Refused and Missed count.
type cursor struct {
	Log      string `json:"log"`
	Next     int64  `json:"next"`
	LeafHash string `json:"leaf_hash,omitempty"`
	Refused  int64  `json:"refused,omitempty"`
	Missed   int64  `json:"missed,omitempty"`
}

func (c *cursor) passed(r *Record) {
	c.Next, c.LeafHash = r.Index+1, base64.StdEncoding.EncodeToString(r.Hash[:])
}

// files are those of one destination in the folder of uploads.
type files struct{ dir, name string }

func (f files) cursor() string  { return filepath.Join(f.dir, f.name+".cursor") }
func (f files) refused() string { return filepath.Join(f.dir, f.name+".refused") }

var cursorLimits = strictjson.Limits{MaxBytes: 4 << 10, MaxDepth: 2, MaxValues: 16}

// read gives the cursor; one at the log's beginning where there is none yet.
func (f files) read(log string) (cursor, error) {
	text, err := os.ReadFile(f.cursor())
	if errors.Is(err, fs.ErrNotExist) {
		return cursor{Log: log}, nil
	}
	if err != nil {
		return cursor{}, fmt.Errorf("upload: %w", err)
	}
	c, err := parseCursor(bytes.TrimSpace(text))
	if err != nil {
		return c, fmt.Errorf("upload: %s is damaged (%w); remove it, and the whole log is delivered again", f.cursor(), err)
	}
	if c.Log != log {
		return c, fmt.Errorf("upload: %s is about the log %q, this one is %q: put back the log, or remove the file, and the whole of this log is delivered", f.cursor(), c.Log, log)
	}
	return c, nil
}

func parseCursor(text []byte) (cursor, error) {
	var c cursor
	if _, err := strictjson.DecodeObject(text, cursorLimits); err != nil {
		return c, err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&c); err != nil {
		return cursor{}, err
	}
	if hash, err := base64.StdEncoding.Strict().DecodeString(c.LeafHash); err != nil || len(hash) != 0 && len(hash) != 32 {
		return cursor{}, errors.New("leaf_hash is none")
	}
	if c.Log == "" || c.Next < 0 || c.Refused < 0 || c.Missed < 0 {
		return cursor{}, errors.New("log is missing or a number is negative")
	}
	return c, nil
}

// write replaces the cursor: once it returns, the new one is on disk; killed before, the old or the new one is there, whole.
func (f files) write(c cursor) error {
	text, err := json.Marshal(c)
	if err != nil {
		return err
	}
	fresh := f.cursor() + ".new"
	if err := writeSynced(fresh, os.O_TRUNC, append(text, '\n')); err != nil {
		return fmt.Errorf("upload: the cursor cannot be written: %w", err)
	}
	if err := os.Rename(fresh, f.cursor()); err != nil {
		return fmt.Errorf("upload: the cursor cannot be written: %w", err)
	}
	return f.syncDir()
}

func writeSynced(path string, flag int, text []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// syncDir has the folder remember the names in it.
func (f files) syncDir() error {
	dir, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	return nil
}
