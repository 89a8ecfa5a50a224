package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// What lies in the inbox: a record as Leave put it there, and one that the writer has begun to append, whose name
// then says how many records the log had.
const (
	leftSuffix    = ".left"
	claimedMarker = ".from-"
)

// Leave puts a record into the inbox of the ledger in dir, for the process that holds its lock to append. It returns
// when the record is on disk for good; it is appended once, also across a crash. at is the event's time.
func Leave(dir string, at time.Time, record []byte) error {
	if err := checkRecord(record); err != nil {
		return err
	}
	inbox := filepath.Join(dir, inboxDir)
	if err := os.MkdirAll(inbox, 0o700); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	name := fmt.Sprintf("%020d-%s%s", at.UnixNano(), rand.Text(), leftSuffix)
	line := appendLine(nil, tlog.RecordHash(record), record)
	if err := (osDisk{}).put(filepath.Join(inbox, name), line, true); err != nil {
		return fmt.Errorf("audit log: leaving a record in %s: %w", inbox, err)
	}
	return syncDir(dir) // inbox may be new
}

// emptyInbox appends what commands left, in the order of the events.
func (l *Ledger) emptyInbox(ctx context.Context) error {
	entries, err := os.ReadDir(l.path(inboxDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	failed := 0
	for _, entry := range entries {
		err := l.takeIn(ctx, entry.Name())
		if err == nil {
			continue
		}
		if failed++; failed <= mostTold {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Join(inboxDir, entry.Name()), err))
		}
	}
	if failed > mostTold {
		errs = append(errs, fmt.Errorf("and %d more files in %s", failed-mostTold, inboxDir))
	}
	return errors.Join(errs...)
}

// mostTold is how many files that cannot be taken in are named: health is read by people.
const mostTold = 5

// readLeft reads what a command left. Anything else that has such a name is not opened: a pipe would be waited for.
func readLeft(path string) ([]byte, error) {
	line, err := readRegular(path, maxLineSize)
	if errors.Is(err, errStrange) {
		return nil, fmt.Errorf("this is not a file that a command left: remove it (%w)", err)
	}
	return line, err
}

// takeIn appends one record that was left. Before it does, the file's name says how large the log is, so that after a
// crash between appending and removing it is looked for from there, and not appended twice.
func (l *Ledger) takeIn(ctx context.Context, name string) error {
	path := l.path(filepath.Join(inboxDir, name))
	from := int64(-1)
	switch left, claim, claimed := strings.Cut(name, claimedMarker); {
	case claimed && strings.HasSuffix(left, leftSuffix):
		n, err := strconv.ParseInt(claim, 10, 64)
		if err != nil || n < 0 {
			return errors.New("the name does not say from which record on to look for it")
		}
		from = n
	case !strings.HasSuffix(name, leftSuffix):
		return nil // still being written, or nothing of ours
	}
	line, err := readLeft(path)
	if err != nil {
		return err
	}
	leaf, record, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
	if err == nil {
		err = checkRecord(record)
	}
	if err != nil {
		return err
	}
	if from >= 0 {
		found, err := l.holds(ctx, leaf, from)
		if err != nil {
			return err
		}
		if found {
			delete(l.notes.handed, name)
			return l.forgetLeft(path)
		}
		if l.notes.handed[name] { // it waits for the disk, in memory
			return nil
		}
	} else {
		claimed := path + claimedMarker + strconv.FormatInt(l.Size(), 10)
		if err := l.config.disk.rename(path, claimed); err != nil {
			return err
		}
		path = claimed
		if err := l.config.disk.syncDir(l.path(inboxDir)); err != nil {
			return err
		}
	}
	_, _, durable, err := l.Append(ctx, eventTime(record), record)
	if err != nil {
		return err
	}
	if !durable { // buffered mode: it is looked for, and removed, the next time
		if l.notes.handed == nil {
			l.notes.handed = make(map[string]bool)
		}
		l.notes.handed[filepath.Base(path)] = true
		return nil
	}
	return l.forgetLeft(path)
}

func (l *Ledger) forgetLeft(path string) error {
	if err := l.config.disk.remove(path); err != nil {
		return err
	}
	return l.config.disk.syncDir(l.path(inboxDir))
}

// holds looks for a leaf among the records from an index on.
func (l *Ledger) holds(ctx context.Context, leaf tlog.Hash, from int64) (bool, error) {
	r, err := l.Reader()
	if err != nil {
		return false, err
	}
	for record, err := range r.Records(ctx, from, -1) {
		if err != nil {
			return false, err
		}
		if record.Hash == leaf {
			return true, nil
		}
	}
	return false, nil
}

// InboxWaiting is how many records commands left that are not yet in the log.
func (r *Reader) InboxWaiting() (int, error) {
	entries, err := os.ReadDir(filepath.Join(r.dir, inboxDir))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	n := 0
	for _, entry := range entries {
		if strings.Contains(entry.Name(), leftSuffix) && !strings.HasSuffix(entry.Name(), temporarySuffix) {
			n++
		}
	}
	return n, err
}
