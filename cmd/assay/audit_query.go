package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// defaultLimit is how many records query prints at most to a person unless said.
const defaultLimit = 50

func newAuditQuery(e env) *cobra.Command {
	var place auditPlace
	var filter auditFilter
	var limit int
	var count bool
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Find decisions and changes in the log",
		Long: `Query prints the records that all the given flags select, the oldest first, a line each: index, time, what it was,
what was changed, issuer, client, audience, caller, reasons and decision id. A deny with a star stands in place of an allow that was recorded
and never answered. --output json prints the records themselves, one JSON object a line, as they are in the log.

It may run beside the server that writes the log. Sealed segments are read by way of an index in the log's folder that is
made when it is first needed, and where that folder cannot be written, each time. An index is no evidence: records
that are printed with --output json are compared with it, and --no-index reads every record instead.

Exit codes: 0 some were found, 1 none, 2 it could not be done, with the cause on standard error.`,
		Example: `  assay audit query --dir ./state/audit --from 24h --deny
  assay audit query --config assay.yaml --from 2026-11 --reason 'lifetime.*' --client web --output json`,
		Args: noArgs,
	}
	place.flags(cmd)
	filter.period(cmd)
	filter.flags(cmd)
	format := addOutput(cmd)
	cmd.Flags().IntVar(&limit, "limit", 0, "print at most so many; 0 is all (default 50 on a terminal)")
	cmd.Flags().BoolVar(&filter.query.Newest, "newest", false, "the newest first")
	cmd.Flags().BoolVar(&filter.query.Unindexed, "no-index", false, "read every record instead of the index")
	cmd.Flags().BoolVar(&count, "count", false, "print only how many there are")
	person := addSubject(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q, err := filter.read(cmd, e.now())
		if err != nil {
			return err
		}
		if limit < 0 {
			return fmt.Errorf("--limit %d: give a number of records, or 0 for all", limit)
		}
		reader, x, err := openAudit(&place)
		if err != nil {
			return err
		}
		if err := person.find(cmd.Context(), e, &place, reader, &q); err != nil {
			return err
		}
		if e.terminal && *format == "text" && !cmd.Flags().Changed("limit") {
			limit = defaultLimit
		}
		return printQuery(cmd.Context(), e, x, q, printing{json: *format == "json", count: count, limit: limit})
	}
	return cmd
}

// printing says how the answer is printed.
type printing struct {
	json, count bool
	limit       int // 0 is none
}

func printQuery(ctx context.Context, e env, x *index.Index, q index.Query, p printing) error {
	out := bufio.NewWriter(e.out)
	printed, more := 0, false
	var unread error
	each := func(line func() error) (bool, error) {
		if p.limit > 0 && printed == p.limit && !p.count {
			more = true
			return false, nil
		}
		printed++
		if p.count {
			return true, nil
		}
		return true, line()
	}
	var err error
	if p.json && !p.count {
		err = eachRecord(ctx, x, q, func(found *index.Found) error { return printFound(out, e.terminal, found, true) }, each)
	} else {
		targets := readTargets(ctx, x, q)
		defer targets.stop()
		for row, failed := range x.Rows(ctx, q) {
			if err = failed; err != nil {
				break
			}
			var goOn bool
			goOn, err = each(func() error { _, err := fmt.Fprintln(out, auditLine(&row, targets.of(&row))); return err })
			if !goOn || err != nil {
				break
			}
		}
		unread = targets.failed
	}
	if p.count && err == nil {
		_, err = fmt.Fprintln(out, printed)
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	if more {
		_, _ = fmt.Fprintf(e.err, "there are more than %d; --limit 0 prints all, --count counts them\n", p.limit)
	}
	if unread != nil {
		_, _ = fmt.Fprintf(e.err, "what was changed is not told of every change: %s\n", unread)
	}
	if printed == 0 {
		if !p.count {
			_, _ = fmt.Fprintf(e.err, "no record matches%s\n", strangeAlg(q.Alg))
		}
		return errNo
	}
	return nil
}

// targets tell what was changed, which stands in the records and not in their index. Those of the changes that a query selects
// are read beside its rows, in the same order, once a line needs the first of them.
type targets struct {
	next   func() (index.Found, error, bool)
	stop   func()
	at     *index.Found // read and not asked for yet
	newest bool
	failed error
}

func readTargets(ctx context.Context, x *index.Index, q index.Query) *targets {
	if q.Kind == "" {
		q.Kind = index.Changes
	}
	t := &targets{newest: q.Newest}
	t.next, t.stop = iter.Pull2(x.Records(ctx, q))
	return t
}

// of is the target of a row, empty where it has none, or where it cannot be read: the line is printed all the same.
func (t *targets) of(row *index.Row) string {
	if row.Kind == index.KindDecision {
		return ""
	}
	for t.failed == nil {
		if t.at == nil {
			found, err, more := t.next()
			if !more {
				return ""
			}
			if t.failed = err; err != nil {
				return ""
			}
			t.at = &found
		}
		switch at := t.at.Record.Index; {
		case at == row.Index:
			return targetOf(t.at.Record.Event)
		case (at > row.Index) != t.newest: // it came after the rows were looked up, or the other way round
			return ""
		}
		t.at = nil
	}
	return ""
}

// eachRecord prints whole records.
func eachRecord(ctx context.Context, x *index.Index, q index.Query, print func(*index.Found) error, each func(func() error) (bool, error)) error {
	for found, err := range x.Records(ctx, q) {
		if err != nil {
			return err
		}
		goOn, err := each(func() error { return print(&found) })
		if !goOn || err != nil {
			return err
		}
	}
	return nil
}
