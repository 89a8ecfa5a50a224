package index

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// Log is what the index reads; *ledger.Reader is one.
type Log interface {
	// Dir is the log's folder, where the segments' files are.
	Dir() string
	Segments() ([]ledger.Segment, error)
	Records(ctx context.Context, from, to int64) iter.Seq2[ledger.Record, error]
	Record(ctx context.Context, index int64) (ledger.Record, error)
}

// Folder is where the indexes of a log in dir belong.
func Folder(dir string) string { return filepath.Join(dir, "index") }

// Index answers queries about one log. It is safe for concurrent use, also while the log is written and while other
// processes build the same indexes.
type Index struct {
	log Log
	dir string

	mu   sync.Mutex
	kept map[int64]*held // by first index: what could not be written, and the open segment
}

// held is a table that is in memory because no file has it.
type held struct {
	bound binding
	table *table
}

// Open reads the index of a log in dir (see Folder), which need not be there: what is missing is built when it is
// first needed, and written for the next one if dir can be written, else kept in memory (some 120 bytes a record).
func Open(log Log, dir string) (*Index, error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, fmt.Errorf("audit index: %s is not a folder", dir)
	}
	return &Index{log: log, dir: dir, kept: map[int64]*held{}}, nil
}

// Rows yields the rows that the query selects, in the order of the log or, with Newest, the other way round. Segments
// are read ahead, several at a time. An error ends it; a *ledger.DamageError names the record where the log could not be
// read any further.
func (x *Index) Rows(ctx context.Context, q Query) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for t, err := range x.tables(ctx, &q) {
			if err != nil {
				yield(Row{}, err)
				return
			}
			for row := range t.rows(&q) {
				if !yield(row, nil) {
					return
				}
			}
		}
	}
}

// rows yields those that the query selects.
func (t *table) rows(q *Query) iter.Seq[Row] {
	return func(yield func(Row) bool) {
		f := t.filter(q)
		if f == nil {
			return
		}
		from, end := int64(0), int64(t.count())
		from = max(from, q.First-t.first)
		if q.End != 0 {
			end = min(end, q.End-t.first)
		}
		for n := from; n < end; n++ {
			i := n
			if q.Newest {
				i = end - 1 - (n - from)
			}
			if f.matches(t, int(i)) && !yield(t.row(int(i))) {
				return
			}
		}
	}
}

// segments lists those that may hold something that the query selects, in the order in which it wants them.
func (x *Index) segments(q *Query) ([]ledger.Segment, error) {
	all, err := x.log.Segments()
	if err != nil {
		return nil, err
	}
	segments := slices.DeleteFunc(slices.Clone(all), func(s ledger.Segment) bool { return !mayHold(s, q) })
	if q.Newest {
		slices.Reverse(segments)
	}
	if near := aroundID(q.DecisionID, segments); len(near) > 0 {
		// Where the id says that it is, and only then everywhere: a clock may have been wrong.
		rest := slices.DeleteFunc(segments, func(s ledger.Segment) bool { return slices.Contains(near, s) })
		return append(near, rest...), nil
	}
	return segments, nil
}

func mayHold(s ledger.Segment, q *Query) bool {
	if s.Count == 0 || s.First+s.Count <= q.First || q.End != 0 && s.First >= q.End {
		return false
	}
	if s.FirstTime.IsZero() || !s.Sealed { // the times of the open one may be behind its records
		return true
	}
	return (q.From.IsZero() || !s.LastTime.Before(q.From)) && (q.To.IsZero() || s.FirstTime.Before(q.To))
}

// idSlack is how far a record's time may be from the time in its decision's id.
const idSlack = time.Minute

// aroundID are the segments of the time that a ULID begins with.
func aroundID(id string, segments []ledger.Segment) []ledger.Segment {
	parsed, err := ulid.ParseStrict(id)
	if err != nil {
		return nil
	}
	at := parsed.Timestamp()
	return slices.DeleteFunc(slices.Clone(segments), func(s ledger.Segment) bool {
		return s.FirstTime.IsZero() || s.FirstTime.After(at.Add(idSlack)) || s.Sealed && s.LastTime.Before(at.Add(-idSlack))
	})
}
