package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// shownRecord is a record with its place, as show prints it.
type shownRecord struct {
	Index    int64  `json:"index"`
	LeafHash string `json:"leaf_hash"` // RFC 6962 section 2.1, standard base64
	LogSize  int64  `json:"log_size"`
	// Checkpoint is the first one that covers the record.
	Checkpoint *shownCheckpoint `json:"checkpoint,omitempty"`
	Event      json.RawMessage  `json:"event"`
}

type shownCheckpoint struct {
	Origin string    `json:"origin"`
	Size   int64     `json:"size"`
	Time   time.Time `json:"time"`
}

func newAuditShow(e env) *cobra.Command {
	var place auditPlace
	cmd := &cobra.Command{
		Use:   "show DECISION-ID|INDEX",
		Short: "Show one record whole, with its place in the log",
		Long: `Show prints one record: by the decision id of an answer, by the index of its receipt, or by that of another command. With
it stand its leaf hash, which is what a receipt has, and the first checkpoint that covers it.

What it prints is read from the log, and the leaf hash was computed again. That the record was there when the checkpoint was
signed is for assay audit prove to say. Exit codes: 0 shown, 1 there is no such record, or retention deleted the records that
had it, 2 it could not be done, with the cause on standard error.`,
		Example: `  assay audit show 01KB1RSEHX8S0ZJ4C8Y5N2V7QW --dir ./state/audit
  assay audit show 4711 --config assay.yaml --output json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return errors.New("which record? Give the decision id of an answer, or an index")
			}
			return nil
		},
	}
	place.flags(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		reader, x, err := openAudit(&place)
		if err != nil {
			return err
		}
		found, err := findRecord(cmd.Context(), reader, x, args[0])
		if errors.Is(err, errNo) {
			deleted, err := deletedBefore(reader)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintf(e.err, "no record %s is in the log%s\n", visible(args[0]), deleted)
		}
		if err != nil {
			return err
		}
		shown, err := describeRecord(reader, &found.Record)
		if err != nil {
			return err
		}
		if *format == "json" {
			text, err := json.Marshal(shown)
			if err != nil {
				return fmt.Errorf("record %d is no JSON: run assay audit verify", shown.Index)
			}
			_, err = fmt.Fprintf(e.out, "%s\n", visibleJSON(text))
			return err
		}
		return printRecord(e.out, &place, shown, &found.Row)
	}
	return cmd
}

// findRecord finds a record by an index or a decision id; errNo if there is none.
func findRecord(ctx context.Context, reader *ledger.Reader, x *index.Index, name string) (index.Found, error) {
	if at, err := strconv.ParseInt(name, 10, 64); err == nil {
		size, err := reader.Size()
		if err != nil {
			return index.Found{}, err
		}
		if at < 0 {
			return index.Found{}, errNo
		}
		if at >= size {
			switch err := endsAt(ctx, reader, size); {
			case err != nil && at == size:
				return index.Found{}, err
			case err != nil:
				return index.Found{}, fmt.Errorf("whether there is a record %d cannot be told: %w", at, err)
			}
			return index.Found{}, errNo
		}
		found, err := x.Record(ctx, at)
		if errors.Is(err, ledger.ErrTrimmed) {
			return found, fmt.Errorf("record %d is there no more: %w", at, err)
		}
		return found, err
	}
	if _, err := ulid.ParseStrict(name); err == nil {
		name = strings.ToUpper(name) // a person may write it in lower case
	}
	for found, err := range x.Records(ctx, index.Query{DecisionID: name}) {
		return found, err
	}
	return index.Found{}, errNo
}

// endsAt says whether the log ends at a record, as its size says: that also ends at a line which is damaged.
func endsAt(ctx context.Context, reader *ledger.Reader, size int64) error {
	_, err := reader.Record(ctx, size)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err // nil: it was written just now
}

// deletedBefore says, behind that there is no such record, which ones there were before.
func deletedBefore(reader *ledger.Reader) (string, error) {
	segments, err := reader.Segments()
	if err != nil || len(segments) == 0 || segments[0].First == 0 {
		return "", err
	}
	return fmt.Sprintf("; the records before %d were deleted by retention", segments[0].First), nil
}

// describeRecord says where a record stands.
func describeRecord(reader *ledger.Reader, record *ledger.Record) (*shownRecord, error) {
	size, err := reader.Size()
	if err != nil {
		return nil, err
	}
	shown := &shownRecord{Index: record.Index, LeafHash: record.Hash.String(), LogSize: size, Event: record.Event}
	checkpoints, err := reader.Checkpoints()
	if err != nil {
		return nil, err
	}
	for _, c := range checkpoints {
		lines := strings.SplitN(c.Note, "\n", 3) // C2SP tlog-checkpoint: origin, size, root hash
		if len(lines) < 3 {
			continue
		}
		if size, err := strconv.ParseInt(lines[1], 10, 64); err == nil && size > record.Index {
			shown.Checkpoint = &shownCheckpoint{Origin: lines[0], Size: size, Time: c.Time.UTC()}
			break
		}
	}
	return shown, nil
}

func printRecord(w io.Writer, place *auditPlace, shown *shownRecord, row *index.Row) error {
	var b strings.Builder
	b.WriteString(auditLine(row, targetOf(shown.Event)) + "\n\n")
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) { _, _ = fmt.Fprintf(table, name+"\t"+format+"\n", args...) }
	line("index", "%d of %d", shown.Index, shown.LogSize)
	line("leaf hash", "%s", shown.LeafHash)
	if c := shown.Checkpoint; c != nil {
		line("checkpoint", "of %s over %d records, first to cover it, of %s", visible(c.Origin), c.Size, c.Time.Format(time.RFC3339))
		line("proof", "assay audit prove %d%s", shown.Index, place.again())
	} else {
		line("checkpoint", "none covers it yet, so nothing proves it yet")
	}
	if event, err := audit.Decode(shown.Event); err == nil && event.Result != nil && event.Result.Supersedes != "" {
		line("in place of", "assay audit show %s%s", visible(event.Result.Supersedes), place.again())
	}
	if err := table.Flush(); err != nil {
		return err
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, shown.Event, "", "  ") != nil {
		pretty.Reset()
		pretty.WriteString(strconv.Quote(string(shown.Event)))
	}
	_, err := fmt.Fprintf(w, "%s\n%s\n", b.String(), visibleJSON(pretty.Bytes()))
	return err
}
