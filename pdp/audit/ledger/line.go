package ledger

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"io"

	"golang.org/x/mod/sumdb/tlog"
)

// A record's line is its leaf hash in standard base64, a blank, the JSON and a line feed.
const (
	hashText    = 44
	lineExtra   = hashText + 2
	maxLineSize = lineExtra + MaxRecordBytes
)

// appendLine appends a record's line to b.
func appendLine(b []byte, leaf tlog.Hash, record []byte) []byte {
	b = base64.StdEncoding.AppendEncode(b, leaf[:])
	b = append(b, ' ')
	b = append(b, record...)
	return append(b, '\n')
}

var (
	// errTornLine is a line that ends with the file instead of with a line feed.
	errTornLine = errors.New("the line is cut off")
	errLongLine = errors.New("the line is longer than a record can be")
	errNoLine   = errors.New("this is not a record's line (leaf hash, blank, JSON)")
	errHash     = errors.New("the leaf hash is not that of the record: one of them was altered")
)

// parseLine takes a line apart, without its line feed, and checks the leaf hash. Only the very bytes that appendLine
// writes are accepted, so there is one line for one record.
func parseLine(line []byte) (leaf tlog.Hash, event []byte, err error) {
	if len(line) <= hashText+1 || len(line) > maxLineSize-1 || line[hashText] != ' ' {
		return leaf, nil, errNoLine
	}
	event = line[hashText+1:]
	leaf = tlog.RecordHash(event)
	var text [hashText]byte
	base64.StdEncoding.Encode(text[:], leaf[:])
	if !bytes.Equal(text[:], line[:hashText]) {
		return leaf, nil, errHash
	}
	return leaf, event, nil
}

// readLine reads the next line into space (which it may outgrow) and gives it without its line feed. io.EOF: there
// is none. errTornLine and errLongLine come with what there is of the line.
func readLine(r *bufio.Reader, space []byte) ([]byte, error) {
	line := space[:0]
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			if len(line) > maxLineSize {
				return line, errLongLine
			}
		case errors.Is(err, io.EOF):
			if len(line) == 0 {
				return nil, io.EOF
			}
			return line, errTornLine
		default:
			return line, err
		}
	}
}
