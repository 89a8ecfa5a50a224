package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// checkProof says whether a proof holds. It reads no log.
func (o *proveOptions) checkProof(ctx context.Context, e env, format output) error {
	made, err := os.ReadFile(o.check)
	if err != nil {
		return err
	}
	verifiers, err := verifiersOf(ctx, e, o.keys, o.place.config)
	if err != nil {
		return err
	}
	var shown map[string]any
	var said string
	if bytes.HasPrefix(made, []byte(ledger.InclusionHeader)) {
		shown, said, err = o.checkInclusion(made, verifiers)
	} else {
		shown, said, err = o.checkConsistency(made, verifiers)
	}
	if broken, ok := errors.AsType[*brokenProof](err); ok {
		return broken.print(e, format)
	}
	if err != nil {
		return err
	}
	if format == "json" {
		return json.NewEncoder(e.out).Encode(shown)
	}
	_, err = fmt.Fprintln(e.out, said)
	return err
}

func (o *proveOptions) checkInclusion(made []byte, verifiers note.Verifiers) (map[string]any, string, error) {
	var p ledger.Inclusion
	if err := p.UnmarshalText(made); err != nil {
		return nil, "", fmt.Errorf("%s: %w", o.check, err)
	}
	record := p.Record
	if o.record != "" {
		var err error
		if record, err = recordFile(o.record); err != nil {
			return nil, "", err
		}
	}
	if record == nil {
		return nil, "", errors.New("the record is not in the proof: give it with --record")
	}
	origin, tree, err := p.Check(record, verifiers)
	if err != nil {
		return nil, "", &brokenProof{err}
	}
	shown := map[string]any{"holds": true, "origin": origin, "index": p.Index, "size": tree.N}
	if json.Valid(record) {
		shown["record"] = json.RawMessage(record)
	}
	return shown, fmt.Sprintf("it holds: this is record %d of %s, under a checkpoint over %d records\n%s", p.Index, visible(origin), tree.N, visibleJSON(record)), nil
}

func (o *proveOptions) checkConsistency(made []byte, verifiers note.Verifiers) (map[string]any, string, error) {
	var p ledger.Consistency
	if err := p.UnmarshalText(made); err != nil {
		return nil, "", fmt.Errorf("%s is neither a proof that a record is in the log nor one that the log goes on: %w", o.check, err)
	}
	if o.from == "" {
		return nil, "", errors.New("the proof is that the log goes on from an older checkpoint: give that with --from")
	}
	older, err := readCheckpointFile(o.from)
	if err != nil {
		return nil, "", err
	}
	origin, tree, err := p.Check(older, verifiers)
	if err != nil {
		return nil, "", &brokenProof{err}
	}
	return map[string]any{"holds": true, "origin": origin, "from": p.OldSize, "size": tree.N},
		fmt.Sprintf("it holds: %s only grew, from %d to %d records", visible(origin), p.OldSize, tree.N), nil
}

// recordFile reads a record from a file, where an editor may have put a line feed behind it.
func recordFile(path string) ([]byte, error) {
	record, err := os.ReadFile(path)
	return bytes.TrimSuffix(record, []byte("\n")), err
}

// brokenProof is the answer no.
type brokenProof struct{ why error }

func (b *brokenProof) Error() string { return "the proof does not hold: " + b.why.Error() }

func (b *brokenProof) print(e env, format output) error {
	if format == "json" {
		return errors.Join(json.NewEncoder(e.out).Encode(map[string]any{"holds": false, "why": b.why.Error()}), errNo)
	}
	_, err := fmt.Fprintf(e.out, "it does not hold: %s\n", visibleJSON([]byte(b.why.Error())))
	return errors.Join(err, errNo)
}
