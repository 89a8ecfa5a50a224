package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// resumeAt cuts off a file's last line if that was not finished, puts the file at its end, and says which record is the
// next one; -1 where there is none before it.
func (x *exporting) resumeAt(ctx context.Context, f *os.File, records *index.Index) (int64, error) {
	last, size, err := lastLine(f)
	if err != nil {
		return 0, err
	}
	if err := f.Truncate(size); err != nil {
		return 0, err
	}
	if _, err := f.Seek(size, 0); err != nil {
		return 0, err
	}
	if len(last) == 0 {
		return -1, nil
	}
	if x.format == "csv" {
		if bytes.Equal(append(last, '\n'), csvHeader()) {
			return 0, nil
		}
		number, _, _ := strings.Cut(string(last), ",")
		at, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return 0, errors.New("its last line is not one of --format csv")
		}
		return at + 1, nil
	}
	var line struct {
		Index      *int64
		Event      json.RawMessage
		DecisionID string `json:"decision_id"`
	}
	if json.Unmarshal(last, &line) != nil {
		return 0, errors.New("its last line is not one of --format ndjson")
	}
	if hashed := line.Index != nil && line.Event != nil; hashed != x.hashes {
		return 0, errors.New("it was begun with another --with-hashes")
	}
	if x.hashes {
		return *line.Index + 1, nil
	}
	for found, err := range records.Records(ctx, index.Query{DecisionID: line.DecisionID}) {
		if err != nil {
			return 0, err
		}
		if bytes.Equal(found.Record.Event, last) {
			return found.Record.Index + 1, nil
		}
	}
	return 0, fmt.Errorf("its last record, %s, is not in this log", visible(line.DecisionID))
}

// lastLine gives the last whole line of a file, without its line feed, and where the file ends behind it.
func lastLine(f *os.File) (line []byte, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	// Two lines at most are of interest: the last one, and what was begun behind it.
	tail := make([]byte, min(info.Size(), 2*(ledger.MaxRecordBytes+4096)))
	start := info.Size() - int64(len(tail))
	if _, err := f.ReadAt(tail, start); err != nil {
		return nil, 0, err
	}
	end := bytes.LastIndexByte(tail, '\n')
	if end < 0 {
		if start > 0 {
			return nil, 0, errors.New("it has no lines of records")
		}
		return nil, 0, nil
	}
	from := bytes.LastIndexByte(tail[:end], '\n') + 1
	if from == 0 && start > 0 {
		return nil, 0, errors.New("its last line is longer than a record can be")
	}
	return tail[from:end], start + int64(end) + 1, nil
}
