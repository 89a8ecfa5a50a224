package upload

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// trimEvery is how often it is looked whether the time of what was set aside is over.
const trimEvery = time.Hour

// refusal is a line of the file of what was set aside.
type refusal struct {
	Index    int64           `json:"index"`
	LeafHash string          `json:"leaf_hash"`
	At       time.Time       `json:"at"`
	Why      string          `json:"why"`
	Event    json.RawMessage `json:"event"`
}

// setAside writes a record down that the destination takes never. After a kill before the cursor it may stand there twice.
func (s *Shipper) setAside(r *Record, why error) error {
	line, err := json.Marshal(refusal{r.Index, base64.StdEncoding.EncodeToString(r.Hash[:]), s.c.Now().UTC(), why.Error(), r.Event})
	if err != nil {
		return fmt.Errorf("upload: record %d is no JSON: %w", r.Index, err)
	}
	s.refusing.Lock()
	defer s.refusing.Unlock()
	path := s.files.refused()
	_, statErr := os.Stat(path)
	if err := writeSynced(path, os.O_APPEND, append(line, '\n')); err != nil {
		return fmt.Errorf("upload: a record cannot be set aside: %w", err)
	}
	if statErr != nil { // it was made now
		return s.files.syncDir()
	}
	return nil
}

// trimRefused deletes what was set aside and is older than KeepRefused, now and then until ctx ends.
func (s *Shipper) trimRefused(ctx context.Context) {
	if s.c.KeepRefused == 0 {
		return
	}
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	for {
		if err := s.dropRefused(s.c.Now().Add(-s.c.KeepRefused)); err != nil {
			s.c.Logger.Error("audit upload: what was set aside and is too old cannot be deleted", "destination", s.c.Name, "file", s.files.refused(), "error", err.Error())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// dropRefused deletes the lines of records from before a time, and the file once none is left.
func (s *Shipper) dropRefused(before time.Time) error {
	s.refusing.Lock()
	defer s.refusing.Unlock()
	path := s.files.refused()
	old, kept := 0, 0
	err := eachRefusal(path, func(_ []byte, at time.Time) error {
		if at.Before(before) {
			old++
		} else {
			kept++
		}
		return nil
	})
	switch {
	case errors.Is(err, fs.ErrNotExist) || err == nil && old == 0:
		return nil
	case err != nil:
		return err
	case kept == 0:
		err = os.Remove(path)
	default:
		err = s.keepRefused(path, before)
	}
	if err != nil {
		return err
	}
	s.c.Logger.Info("audit upload: records that were set aside are past retention and deleted", "destination", s.c.Name, "records", old, "left", kept)
	return s.files.syncDir()
}

// keepRefused replaces the file by one with the lines of records that are not from before a time.
func (s *Shipper) keepRefused(path string, before time.Time) error {
	fresh, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(fresh)
	err = eachRefusal(path, func(line []byte, at time.Time) error {
		if at.Before(before) {
			return nil
		}
		_, err := out.Write(line)
		return err
	})
	if err = errors.Join(err, out.Flush(), fresh.Sync(), fresh.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// eachRefusal gives each line of the file with its record's time. One that a kill cut off has the time of the one before,
// or, as the first, that of the file's last write.
func eachRefusal(path string, each func(line []byte, at time.Time) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	at := info.ModTime()
	for lines := bufio.NewReader(file); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err != nil { // cut off: what comes next begins a line
			line = append(line, '\n')
		}
		var r refusal
		if json.Unmarshal(line, &r) == nil {
			if at = writtenAt(r.Event); at.IsZero() {
				at = r.At
			}
		}
		if err := each(line, at); err != nil {
			return err
		}
	}
}
