package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/cmd/assay/internal/client"
	"github.com/assaypdp/assay/pdp"
)

const (
	// importAtOnce is how many entries of an import are on their way at a time: each waits for a disk.
	importAtOnce = 16
	// maxLine bounds a line of an import, in bytes.
	maxLine = 64 << 10
)

func newRevocations(e env) *cobra.Command {
	return group("revocations", "List, watch, lift, export and import what is revoked",
		newRevocationsList(e), newRevocationsWatch(e), newRevocationsLift(e), newRevocationsExport(e), newRevocationsImport(e))
}

func addQuery(cmd *cobra.Command) *client.Query {
	q := &client.Query{}
	cmd.Flags().StringVar(&q.Kind, "kind", "", "only token, subject, client, session, key or issuer")
	cmd.Flags().StringVar(&q.Issuer, "issuer", "", "only this issuer's")
	cmd.Flags().StringVar(&q.Actor, "actor", "", "only what this caller revoked")
	return q
}

func newRevocationsList(e env) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the entries in force",
		Long: `List shows what is revoked and when each entry ends. --output json gives one JSON object a line, as export does.
Exit codes: 0 listed, 2 not, with the cause on standard error.`,
		Example: "  assay revocations list --kind key --token-file caller.jwt",
		Args:    noArgs,
	}
	c.add(cmd.Flags())
	q := addQuery(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		server, err := c.connect(e)
		if err != nil {
			return err
		}
		if *format == "json" {
			return export(cmd.Context(), e.out, server, *q)
		}
		table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
		var once sync.Once
		head := func() { _, _ = fmt.Fprintln(table, "KIND\tVALUE\tISSUER\tENDS\tACTOR\tTICKET\tKEY") }
		err = server.Each(cmd.Context(), *q, func(r client.Revocation) error {
			once.Do(head)
			_, err := fmt.Fprintf(table, "%s\t%s\t%s\tin %s\t%s\t%s\t%s\n", r.Kind, printable(r.Value), printable(r.Issuer),
				humanDuration(time.Unix(r.Ends, 0).Sub(e.now())), printable(r.Actor), printable(r.Ticket), r.Key)
			return err
		})
		if err == nil {
			once.Do(head) // an empty list has one too; an error alone does not
		}
		return errors.Join(err, table.Flush())
	}
	return cmd
}

func newRevocationsWatch(e env) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Show every change as it happens",
		Long: `Watch shows what is revoked and lifted from now on, by whomever and at whichever replica, until Ctrl-C. It says on
standard error when it has begun. --output json gives one JSON object a line.
Exit codes: 0 ended by Ctrl-C, 2 it could not go on, with the cause on standard error.`,
		Example: "  assay revocations watch --token-file caller.jwt",
		Args:    noArgs,
	}
	c.add(cmd.Flags())
	q := addQuery(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		server, err := c.connect(e)
		if err != nil {
			return err
		}
		encoder := json.NewEncoder(e.out)
		encoder.SetEscapeHTML(false)
		err = server.Watch(cmd.Context(), *q, func() { _, _ = fmt.Fprintln(e.err, "watching") }, func(change client.Change) error {
			if *format == "json" {
				return encoder.Encode(change)
			}
			word := "revoked"
			if change.Lifted {
				word = "lifted"
			}
			_, err := fmt.Fprintf(e.out, "%s  %s: %s, by %s %s\n", stamp(change.At), word, entryName(change.Revocation), printable(change.Revocation.Actor), printable(change.Revocation.Ticket))
			return err
		})
		if cmd.Context().Err() != nil {
			return nil //nolint:nilerr // whoever watched has seen enough
		}
		return err
	}
	return cmd
}

func newRevocationsExport(e env) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the entries in force as NDJSON",
		Long: `Export writes one JSON object a line to standard output, for import. It names what is revoked: keep it as you
keep a log. Exit codes: 0 written, 2 not or not all, with the cause on standard error.`,
		Example: "  assay revocations export --token-file caller.jwt > revocations.ndjson",
		Args:    noArgs,
	}
	c.add(cmd.Flags())
	q := addQuery(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		server, err := c.connect(e)
		if err != nil {
			return err
		}
		return export(cmd.Context(), e.out, server, *q)
	}
	return cmd
}

func export(ctx context.Context, w io.Writer, server *client.Client, q client.Query) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	err := server.Each(ctx, q, func(r client.Revocation) error { return encoder.Encode(r) })
	return errors.Join(err, buffered.Flush())
}

func newRevocationsLift(e env) *cobra.Command {
	var c connection
	var reason, ticket string
	var yes bool
	cmd := &cobra.Command{
		Use:   "lift KEY",
		Short: "Remove an entry before it ends",
		Long: `Lift removes one entry; list shows the keys. The tokens concerned are good again, as far as nothing else speaks
against them. Exit codes: 0 removed, 1 there is no such entry, 2 it could not be done, with the cause on standard error.`,
		Example: "  assay revocations lift 3Yw0cXHkbmJKcHRk4rZ2XrVhE6o3Fh0mRZkIu9cJ1uA --token-file caller.jwt --reason mistake --yes",
		Args:    cobra.ExactArgs(1),
	}
	c.add(cmd.Flags())
	cmd.Flags().StringVar(&reason, "reason", "", "why; it is recorded")
	cmd.Flags().StringVar(&ticket, "ticket", "", "where it is written down; it is recorded")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := c.connect(e)
		if err != nil {
			return err
		}
		entry, err := server.Find(cmd.Context(), args[0])
		if errors.Is(err, &client.Error{Status: http.StatusNotFound}) {
			return noEntry(e)
		}
		if err == nil { // who may lift need not be one who may read
			if err := confirm(e, yes, "This lets through again, if nothing else speaks against them: "+entryName(entry)); err != nil {
				return err
			}
		} else if err := confirm(e, yes, "This lets through again what the entry "+printable(args[0])+" revokes."); err != nil {
			return err
		}
		err = server.Lift(cmd.Context(), args[0], reason, ticket)
		if errors.Is(err, &client.Error{Status: http.StatusNotFound}) {
			return noEntry(e)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(e.out, "lifted")
		return err
	}
	return cmd
}

// noEntry says that there is nothing to lift.
func noEntry(e env) error {
	_, _ = fmt.Fprintln(e.err, "no such entry is in force")
	return errNo
}

func newRevocationsImport(e env) *cobra.Command {
	var c connection
	cmd := &cobra.Command{
		Use:   "import [FILE]",
		Short: "Revoke what an export lists",
		Long: `Import reads NDJSON as export writes it, from a file or standard input, and revokes every line. It may be run
again at any time: what is in force already stays as it is or reaches further. An entry that has ended is left out.
Who imports is the actor of what is imported; reason and ticket stay.

All lines are read before the first is sent. Exit codes: 0 all of it is in force, 2 not, with the cause on standard error.`,
		Example: "  assay revocations import revocations.ndjson --token-file caller.jwt",
		Args:    fileArg(true),
	}
	c.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		server, err := c.connect(e)
		if err != nil {
			return err
		}
		in := e.in
		if len(args) > 0 && args[0] != "-" {
			file, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer file.Close() //nolint:errcheck // read only
			in = file
		}
		orders, ended, err := readExport(in, e.now())
		if err != nil {
			return err
		}
		created, err := importAll(cmd.Context(), server, orders)
		if err != nil {
			return fmt.Errorf("not all %d entries could be revoked; import again what is left: %w", len(orders), err)
		}
		_, err = fmt.Fprintf(e.out, "%d in force, %d of them new; %d had ended\n", len(orders), created, ended)
		return err
	}
	return cmd
}

// readExport reads every line strictly; what has ended is only counted.
func readExport(in io.Reader, now time.Time) (orders []client.Order, ended int, err error) {
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	number := 0
	for lines.Scan() {
		number++
		text := strings.TrimSpace(lines.Text())
		if text == "" {
			continue
		}
		var r client.Revocation
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&r); err != nil || decoder.More() {
			return nil, 0, fmt.Errorf("line %d is not an entry as export writes it", number)
		}
		if r.Kind == "" || r.Issuer == "" || r.Ends == 0 {
			return nil, 0, fmt.Errorf("line %d lacks kind, issuer or ends", number)
		}
		if r.Ends <= now.Unix() {
			ended++
			continue
		}
		if r.Kind == "key" && !pdp.ValidThumbprint(r.Value) {
			return nil, 0, fmt.Errorf("line %d revokes a key by what is %s", number, noThumbprint)
		}
		if r.IssuedBefore == 0 && r.Kind != "token" && r.Kind != "key" {
			r.IssuedBefore = r.Ends // it spares none, which an order says by a time that is far enough off
		}
		orders = append(orders, client.Order{Kind: r.Kind, Issuer: r.Issuer, Value: r.Value, IssuedBefore: r.IssuedBefore, Ends: r.Ends, Reason: r.Reason, Ticket: r.Ticket})
	}
	if err := lines.Err(); err != nil {
		return nil, 0, fmt.Errorf("after line %d: %w", number, err)
	}
	return orders, ended, nil
}

// importAll sends the orders, several at once, until one fails.
func importAll(ctx context.Context, server *client.Client, orders []client.Order) (created int, err error) {
	news := make([]bool, len(orders))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(importAtOnce)
	for i := range orders {
		if ctx.Err() != nil {
			break
		}
		group.Go(func() error {
			_, isNew, err := server.Add(ctx, orders[i])
			if err != nil {
				return fmt.Errorf("entry %d: %w", i+1, err)
			}
			news[i] = isNew
			return nil
		})
	}
	err = group.Wait()
	for _, isNew := range news {
		if isNew {
			created++
		}
	}
	return created, err
}
