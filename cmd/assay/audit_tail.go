package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

func newAuditTail(e env) *cobra.Command {
	var place auditPlace
	var filter auditFilter
	var lines int
	var once bool
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Watch decisions and changes as they are recorded",
		Long: `Tail prints the last records that the given flags select, and then those that come, until Ctrl-C. It goes on when the
log begins another segment, and when a server is restarted. Lines are those of assay audit query; --output json prints
the records as they are in the log.

Exit codes: 0 ended by Ctrl-C or with --no-follow, 2 it could not go on, with the cause on standard error.`,
		Example: `  assay audit tail --dir ./state/audit --deny
  assay audit tail --config assay.yaml --kind change -n 100 --no-follow`,
		Args: noArgs,
	}
	place.flags(cmd)
	filter.flags(cmd)
	format := addOutput(cmd)
	cmd.Flags().IntVarP(&lines, "lines", "n", 10, "how many of those that are there already")
	cmd.Flags().BoolVar(&once, "no-follow", false, "only what is there already")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := filter.read(cmd, e.now())
		if err != nil {
			return err
		}
		if lines < 0 {
			return fmt.Errorf("-n %d: give a number of records", lines)
		}
		reader, x, err := openAudit(&place)
		if err != nil {
			return err
		}
		t := tailing{reader: reader, index: x, query: q, print: func(found *index.Found) error {
			return printFound(e.out, e.terminal, found, *format == "json")
		}}
		end, err := t.last(cmd.Context(), lines)
		if err == nil && !once {
			err = t.follow(cmd.Context(), end)
		}
		if cmd.Context().Err() != nil {
			return nil //nolint:nilerr // whoever watched has seen enough
		}
		return err
	}
	return cmd
}

// printFound prints a record on one line.
func printFound(w io.Writer, terminal bool, found *index.Found, whole bool) error {
	var text []byte
	if !whole {
		text = []byte(auditLine(&found.Row, targetOf(found.Record.Event)))
	} else {
		text = found.Record.Event
		if terminal {
			text = visibleJSON(text)
		}
	}
	_, err := fmt.Fprintf(w, "%s\n", text)
	return err
}

// tailing is one call of assay audit tail.
type tailing struct {
	reader *ledger.Reader
	index  *index.Index
	query  index.Query
	print  func(*index.Found) error
}

// last prints the last n records that are there, and answers the log's end.
func (t *tailing) last(ctx context.Context, n int) (int64, error) {
	end, err := t.reader.Size()
	if err != nil || n == 0 || end == 0 {
		return end, err
	}
	q := t.query
	q.Newest, q.End = true, end
	var found []index.Found
	for f, err := range t.index.Records(ctx, q) {
		if err != nil {
			return end, err
		}
		if found = append(found, f); len(found) == n {
			break
		}
	}
	for _, f := range slices.Backward(found) {
		if err := t.print(&f); err != nil {
			return end, err
		}
	}
	return end, nil
}

// follow prints what comes.
func (t *tailing) follow(ctx context.Context, from int64) error {
	for record, err := range t.reader.Follow(ctx, from) {
		if err != nil {
			return err
		}
		found := index.Found{Row: index.RowOf(record), Record: record}
		if !t.query.Matches(&found.Row) {
			continue
		}
		if err := t.print(&found); err != nil {
			return err
		}
	}
	return nil
}
