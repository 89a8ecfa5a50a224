package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// exporting is one call of assay audit export.
type exporting struct {
	place       auditPlace
	filter      auditFilter
	first, end  int64
	format, out string
	hashes      bool
	resume      bool
}

func newAuditExport(e env) *cobra.Command {
	x := &exporting{format: "ndjson"}
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write records out, for other tools and spreadsheets",
		Long: `Export writes the records that the given flags select, the oldest first. --format ndjson gives each as it is in the log, an
event of OPA's decision log, on one line; with --with-hashes each line is {"index", "leaf_hash", "event"}, with which
whoever has a checkpoint can verify the log elsewhere (leaf_hash is the SHA-256 of a zero byte and the event's bytes, RFC 6962
section 2.1). --format csv gives a line of the most asked members for a spreadsheet; a field that a spreadsheet would
take for a formula begins with an apostrophe.

With --out the file is new and ends durable; --resume goes on behind the last whole record of a file that an interrupted
export left, or adds what the log has got since, and must be given the same flags.

Exit codes: 0 written, 2 not or not all, with the cause on standard error.`,
		Example: `  assay audit export --dir ./state/audit --from 2026-11 --with-hashes --out november.ndjson
  assay audit export --config assay.yaml --from 7d --deny --format csv > denied.csv`,
		Args: noArgs,
	}
	x.place.flags(cmd)
	x.filter.period(cmd)
	x.filter.flags(cmd)
	flags := cmd.Flags()
	flags.Int64Var(&x.first, "from-index", 0, "only from this index on")
	flags.Int64Var(&x.end, "to-index", 0, "only up to this index, which is the first that is not meant; 0 is the end")
	flags.StringVar(&x.format, "format", "ndjson", "ndjson or csv")
	flags.BoolVar(&x.hashes, "with-hashes", false, "index and leaf hash with each record (csv always has them)")
	flags.StringVar(&x.out, "out", "", "file to write (default: standard output)")
	flags.BoolVar(&x.resume, "resume", false, "go on with the file of --out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return x.run(cmd, e) }
	return cmd
}

func (x *exporting) run(cmd *cobra.Command, e env) error {
	q, err := x.filter.read(cmd, e.now())
	if err != nil {
		return err
	}
	switch {
	case x.format != "ndjson" && x.format != "csv":
		return fmt.Errorf("--format %s: choose ndjson or csv", x.format)
	case x.resume && x.out == "":
		return errors.New("--resume goes on with a file: name it with --out")
	case x.first < 0 || x.end < 0 || x.end > 0 && x.end <= x.first:
		return fmt.Errorf("--from-index %d --to-index %d: nothing lies between them", x.first, x.end)
	}
	q.First, q.End = x.first, x.end
	_, records, err := openAudit(&x.place)
	if err != nil {
		return err
	}
	if x.out == "" {
		_, err = x.write(cmd.Context(), e.out, records, q, true)
		return err
	}
	return x.toFile(cmd.Context(), e, records, q)
}

// toFile writes a new file or goes on with one, and makes it durable.
func (x *exporting) toFile(ctx context.Context, e env, records *index.Index, q index.Query) (err error) {
	flag := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if x.resume {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(x.out, flag, 0o600)
	switch {
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%s is there already: --resume goes on with it", x.out)
	case x.resume && errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no %s to go on with: leave --resume out to begin it", x.out)
	case err != nil:
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fresh := true
	if x.resume {
		next, err := x.resumeAt(ctx, f, records)
		if err != nil {
			return fmt.Errorf("%s cannot be gone on with: %w", x.out, err)
		}
		fresh, q.First = next < 0, max(q.First, next)
		if q.End > 0 && q.First >= q.End {
			_, err = fmt.Fprintf(e.err, "%s is complete already\n", x.out)
			return err
		}
	}
	n, err := x.write(ctx, f, records, q, fresh)
	if err != nil {
		return fmt.Errorf("%s holds %d records more, and not all: --resume goes on with it: %w", x.out, n, err)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.err, "%d records written to %s\n", n, x.out)
	return err
}

// write writes the records and says how many there were.
func (x *exporting) write(ctx context.Context, w io.Writer, records *index.Index, q index.Query, fresh bool) (n int64, err error) {
	out := bufio.NewWriterSize(w, 256<<10)
	defer func() { err = errors.Join(err, out.Flush()) }()
	if x.format == "csv" && fresh {
		if _, err := out.Write(csvHeader()); err != nil {
			return 0, err
		}
	}
	var line []byte
	for found, err := range records.Records(ctx, q) {
		if err != nil {
			return n, err
		}
		if _, err := out.Write(x.line(line[:0], &found)); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// line is a record in the chosen format.
func (x *exporting) line(dst []byte, found *index.Found) []byte {
	switch {
	case x.format == "csv":
		return appendCSV(dst, found)
	case x.hashes:
		dst = fmt.Appendf(dst, `{"index":%d,"leaf_hash":"%s","event":`, found.Record.Index, found.Record.Hash)
		return append(append(dst, found.Record.Event...), '}', '\n')
	}
	return append(append(dst, found.Record.Event...), '\n')
}
