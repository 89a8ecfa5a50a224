package index

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"slices"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// Found is a record with its row.
type Found struct {
	Row    Row
	Record ledger.Record
}

// ErrDisagrees means that an index says something else of a record than the record. The records count: the index is
// to be deleted, and asked again.
var ErrDisagrees = errors.New("the audit index says something else than the record")

// Records yields the records that the query selects, in the order of Rows. Each is compared with what the index said
// of it; ErrDisagrees ends it.
func (x *Index) Records(ctx context.Context, q Query) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		for t, err := range x.tables(ctx, &q) {
			if err != nil {
				yield(Found{}, err)
				return
			}
			for rows := range chunks(slices.Collect(t.rows(&q)), q.Newest) {
				for found, err := range x.read(ctx, rows, q.Newest) {
					if !yield(found, err) || err != nil {
						return
					}
				}
			}
		}
	}
}

// Record reads the record with an index. ledger.ErrTrimmed: retention deleted it.
func (x *Index) Record(ctx context.Context, index int64) (Found, error) {
	record, err := x.log.Record(ctx, index)
	if err != nil {
		return Found{}, err
	}
	return Found{Row: RowOf(record), Record: record}, nil
}

// chunks parts a segment's rows into what is read in one pass over it. Forwards that is all of them. The other way
// round a pass has to end before its first record can be given, and to begin at the segment's beginning again, so the
// passes begin small, for those who want the newest few, and grow.
func chunks(rows []Row, newest bool) iter.Seq[[]Row] {
	return func(yield func([]Row) bool) {
		size := len(rows)
		if newest {
			size = 64
		}
		for len(rows) > 0 {
			n := min(size, len(rows))
			if !yield(rows[:n]) {
				return
			}
			rows, size = rows[n:], 16*size
		}
	}
}

// read yields the records of rows that are in the order of the log, or with newest the other way round.
func (x *Index) read(ctx context.Context, rows []Row, newest bool) iter.Seq2[Found, error] {
	return func(yield func(Found, error) bool) {
		if newest {
			rows = slices.Clone(rows)
			slices.Reverse(rows)
			var found []Found
			for f, err := range x.read(ctx, rows, false) {
				if err != nil {
					yield(f, err)
					return
				}
				found = append(found, f)
			}
			for _, f := range slices.Backward(found) {
				if !yield(f, nil) {
					return
				}
			}
			return
		}
		said := newTable(0) // of the records, one after the other
		for record, err := range x.log.Records(ctx, rows[0].Index, rows[len(rows)-1].Index+1) {
			if err != nil {
				yield(Found{}, err)
				return
			}
			if len(rows) == 0 || record.Index != rows[0].Index {
				continue
			}
			said.add(record.Event)
			row := said.row(said.count() - 1)
			row.Index = record.Index
			if !reflect.DeepEqual(row, rows[0]) {
				yield(Found{}, fmt.Errorf("%w %d; delete its folder, it is made again", ErrDisagrees, record.Index))
				return
			}
			if !yield(Found{Row: rows[0], Record: record}, nil) {
				return
			}
			rows = rows[1:]
		}
		if len(rows) > 0 {
			yield(Found{}, fmt.Errorf("record %d: %w", rows[0].Index, ledger.ErrTrimmed))
		}
	}
}
