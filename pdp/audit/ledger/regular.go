package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/mod/sumdb/tlog"
)

// Whoever verifies a log reads a folder that somebody else may have filled. So what is read of it by name is opened
// here: a pipe is not waited for, a link is not followed out of the folder, a device is not read, and what is read as a
// whole is not larger than such a file can be.

// The largest that files can be that are read as a whole, in bytes. A seal names the frames of its segment, 60 bytes for
// each MiB, and the tree's edge.
const (
	mostNote = 64 << 10
	mostSeal = 16 << 20
	mostTile = tileWidth * tlog.HashSize
)

// errStrange is what is not as the log's own files are.
var errStrange = errors.New("the log has no such file")

// OpenRegular opens a regular file for reading, and nothing else.
func OpenRegular(path string) (*os.File, error) {
	f, err := openNoWait(path)
	if err != nil {
		if info, looked := os.Lstat(path); looked == nil && !info.Mode().IsRegular() {
			return nil, strange(info)
		}
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = strange(info)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func strange(info fs.FileInfo) error {
	what := "a device"
	switch mode := info.Mode(); {
	case mode&fs.ModeSymlink != 0:
		what = "a symbolic link"
	case mode.IsDir():
		what = "a folder"
	case mode&fs.ModeNamedPipe != 0:
		what = "a named pipe"
	case mode&fs.ModeSocket != 0:
		what = "a socket"
	}
	return fmt.Errorf("%s is %s and no regular file: %w", info.Name(), what, errStrange)
}

// readRegular reads a regular file that is at most so many bytes long.
func readRegular(path string, most int64) ([]byte, error) {
	f, err := OpenRegular(path)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("it is longer than the %d bytes that it can have: %w", most, errStrange)
	}
	return data, nil
}
