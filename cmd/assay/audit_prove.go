package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// proveOptions are the flags of audit prove.
type proveOptions struct {
	place                     auditPlace
	receipt, checkpoint, from string
	check, record, to         string
	without                   bool
	keys                      []string
}

func newAuditProve(e env) *cobra.Command {
	var o proveOptions
	cmd := &cobra.Command{
		Use:   "prove [DECISION-ID | INDEX]",
		Short: "Prove that one decision is in the log, or that the log only grew; or check such a proof",
		Long: `Prove writes a file that somebody else can check without this program, this machine or the log:

  of a decision     a C2SP tlog-proof: its record, the hashes that lead from it to the root, and the signed checkpoint over
                    that root. The record is in it as it is in the log, masked; --without-record leaves it out.
  with --from FILE  that the log of the newer checkpoint holds all records of an older one, in their places: the body of a
                    C2SP tlog-witness add-checkpoint request.

The newer checkpoint is the log's newest, or that of --checkpoint. A proof is checked before it is written. Records that
are newer than the newest checkpoint cannot be proven yet: there is one every audit.checkpoint.every.

With --check FILE a proof is checked, with the verifier keys of --key or Vault's: no log is needed. What is checked can be
checked with transparency-dev's modules formats and merkle too (any verifier of C2SP tlog-proof and RFC 6962), and the
signature by anything that verifies signed notes.

Exit code 0: it is proven (or the proof holds), 1: the proof does not hold, 2: it could not be done.`,
		Example: `  assay audit prove 01JDGX3KTV0000000000000000 --dir ./state/audit --to decision.tlog-proof
  assay audit prove --from outside.checkpoint --dir ./state/audit --to growth.proof
  assay audit prove --check decision.tlog-proof --key checkpoint.keys
  assay audit prove --check growth.proof --from outside.checkpoint --key checkpoint.keys`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("one decision is proven at a time; got %d", len(args))
			}
			return nil
		},
	}
	o.place.flags(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.receipt, "receipt", "", "file with the receipt, or the answer, whose record is to be proven")
	flags.StringVar(&o.checkpoint, "checkpoint", "", "file with the signed checkpoint to prove against (default the log's newest)")
	flags.StringVar(&o.from, "from", "", "file with an older signed checkpoint: prove, or check, that the log goes on from it")
	flags.StringVar(&o.to, "to", "", "file to write (default standard output)")
	flags.BoolVar(&o.without, "without-record", false, "leave the record out of the proof: who checks it must have it")
	flags.StringVar(&o.check, "check", "", "check the proof in this file")
	flags.StringVar(&o.record, "record", "", "with --check: file with the record, where it is not in the proof")
	flags.StringArrayVar(&o.keys, "key", nil, "with --check: "+verifierKeysHelp+" (default: Vault is asked, with --config)")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case o.check != "":
			if len(args) > 0 {
				return fmt.Errorf("with --check the proof says what it is of; take %s out", args[0])
			}
			return o.checkProof(cmd.Context(), e, *format)
		case len(o.keys) > 0 || o.record != "":
			return errors.New("--key and --record go with --check")
		}
		proof, err := o.prove(cmd.Context(), args)
		if err != nil {
			return err
		}
		return o.write(e, proof, *format)
	}
	return cmd
}

// text is a proof in the form that is handed on.
type text interface{ MarshalText() ([]byte, error) }

func (o *proveOptions) prove(ctx context.Context, args []string) (text, error) {
	dir, err := o.place.find()
	if err != nil {
		return nil, err
	}
	var newer []byte
	if o.checkpoint != "" {
		if newer, err = readCheckpointFile(o.checkpoint); err != nil {
			return nil, err
		}
	}
	if o.from != "" {
		if len(args) > 0 || o.receipt != "" {
			return nil, errors.New("with --from it is proven that the log goes on, not that a decision is in it: take one of the two out")
		}
		older, err := readCheckpointFile(o.from)
		if err != nil {
			return nil, err
		}
		return ledger.ProveConsistency(ctx, dir, older, newer)
	}
	at, receipt, err := o.which(ctx, dir, args)
	if err != nil {
		return nil, err
	}
	proof, err := ledger.ProveInclusion(ctx, dir, at, newer)
	switch {
	case errors.Is(err, ledger.ErrUncovered):
		return nil, fmt.Errorf("%w; where audit.checkpoint.key is configured a running server makes the next one within audit.checkpoint.every", err)
	case errors.Is(err, ledger.ErrTrimmed):
		return nil, fmt.Errorf("%w: what is gone cannot be shown; the proof is the one that was made while it was there", err)
	case err != nil:
		return nil, err
	case receipt != nil && tlog.RecordHash(proof.Record) != receipt.LeafHash:
		return nil, fmt.Errorf("record %d is not what the receipt is for: what was answered is not in the log; see assay audit verify --receipt", at)
	}
	if o.without {
		proof.Record = nil
	}
	return proof, nil
}

// which finds the record: by its index, by its decision's id, or by a receipt.
func (o *proveOptions) which(ctx context.Context, dir string, args []string) (int64, *pdp.Receipt, error) {
	if len(args) == 1 && o.receipt != "" {
		return 0, nil, errors.New("the receipt says which record it is of: take it or " + args[0] + " out")
	}
	if len(args) == 0 && o.receipt == "" {
		return 0, nil, errors.New("what is to be proven? Give a decision id, the index of a record, --receipt FILE, or --from FILE")
	}
	if o.receipt != "" {
		receipts, err := readReceipts([]string{o.receipt})
		if err != nil {
			return 0, nil, err
		}
		if len(receipts) > 1 {
			return 0, nil, fmt.Errorf("%s has %d receipts: one is proven at a time", o.receipt, len(receipts))
		}
		return receipts[0].Index, &receipts[0], nil
	}
	if at, err := strconv.ParseInt(args[0], 10, 64); err == nil && at >= 0 {
		return at, nil, nil
	}
	at, err := recordOf(ctx, dir, args[0])
	return at, nil, err
}

// recordOf finds the record of a decision through the index, which is no evidence: the record itself is proven.
func recordOf(ctx context.Context, dir, decision string) (int64, error) {
	reader, err := ledger.OpenReader(dir)
	if err != nil {
		return 0, err
	}
	x, err := index.Open(reader, index.Folder(dir))
	if err != nil {
		return 0, err
	}
	for row, err := range x.Rows(ctx, index.Query{DecisionID: decision}) {
		if err != nil {
			return 0, err
		}
		return row.Index, nil
	}
	return 0, fmt.Errorf("no record in the log is of the decision %q; where an answer had a receipt, assay audit verify --receipt shows whether it was taken out", decision)
}

func (o *proveOptions) write(e env, proof text, format output) error {
	made, err := proof.MarshalText()
	if err != nil {
		return err
	}
	if o.to == "" {
		_, err = e.out.Write(made)
		return err
	}
	if err := bundles.WriteFile(o.to, made); err != nil {
		return fmt.Errorf("writing the proof: %w", err)
	}
	shown := map[string]any{"file": o.to}
	said := "wrote " + o.to
	switch p := proof.(type) {
	case *ledger.Inclusion:
		shown["index"], shown["hashes"] = p.Index, len(p.Hashes)
		said += fmt.Sprintf(": record %d is in the log, by %d hashes", p.Index, len(p.Hashes))
	case *ledger.Consistency:
		shown["from"], shown["hashes"] = p.OldSize, len(p.Hashes)
		said += fmt.Sprintf(": the log goes on from the first %d records, by %d hashes", p.OldSize, len(p.Hashes))
	}
	if format == "json" {
		return json.NewEncoder(e.out).Encode(shown)
	}
	_, err = fmt.Fprintln(e.out, said)
	return err
}
