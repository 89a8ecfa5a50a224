package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ErrUncovered means that no checkpoint covers what is to be proven: it is too new, or the checkpoint too old.
var ErrUncovered = errors.New("no checkpoint covers it")

// ErrNoRecord means that the log does not have what is to be proven.
var ErrNoRecord = errors.New("the log has no such record")

// errContradiction is what stops a proof that would not hold.
var errContradiction = errors.New("the log's records and tiles are not what its checkpoint covers: see `assay audit verify`")

// Inclusion proves that a record stands in the tree that a checkpoint is over (RFC 6962 section 2.1.1). Its text form is
// a C2SP tlog-proof, which needs nothing but the log's verifier key to be checked.
type Inclusion struct {
	Index  int64
	Hashes tlog.RecordProof // from the leaf's sibling up
	// Checkpoint is the signed note.
	Checkpoint []byte
	// Record is the record itself, the "extra" data of the text form; nil: whoever checks has it. It proves itself: its
	// leaf hash is what the proof is about.
	Record []byte
}

// ProveInclusion proves a record against a signed checkpoint over it, nil: the newest of the log's history. The proof
// holds: it was checked, but for the checkpoint's signature. ErrTrimmed: retention deleted the record. ErrNoRecord: there is
// none yet. ErrUncovered: it is newer than the checkpoint.
func ProveInclusion(ctx context.Context, dir string, index int64, checkpoint []byte) (*Inclusion, error) {
	reader, err := OpenReader(dir)
	if err != nil {
		return nil, err
	}
	c, err := reader.coveringCheckpoint(checkpoint, index+1)
	if errors.Is(err, ErrUncovered) {
		if size, failed := reader.Size(); failed == nil && index >= size {
			err = fmt.Errorf("%w: it has %d, counted from 0", ErrNoRecord, size)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", index, err)
	}
	record, err := reader.Record(ctx, index)
	if errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("record %d: the checkpoint covers it, and the log ends before it: %w", index, errContradiction)
	}
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", index, err)
	}
	for _, hashes := range []tlog.HashReader{reader.Hashes(ctx), reader.HashesOfRecords(ctx)} {
		var proof tlog.RecordProof
		if proof, err = tlog.ProveRecord(c.size, index, hashes); err != nil {
			continue
		}
		if err = tlog.CheckRecord(proof, c.size, c.root, index, record.Hash); err == nil {
			return &Inclusion{Index: index, Hashes: proof, Checkpoint: []byte(c.note), Record: record.Event}, nil
		}
	}
	return nil, fmt.Errorf("record %d: %w (%w)", index, errContradiction, err)
}

// coveringCheckpoint reads the checkpoint given or the newest of the history, which must cover that many records.
func (r *Reader) coveringCheckpoint(given []byte, records int64) (*checkpoint, error) {
	if given == nil {
		history, err := r.Checkpoints()
		if err != nil {
			return nil, err
		}
		if len(history) == 0 {
			return nil, fmt.Errorf("%w: the log has no checkpoints", ErrUncovered)
		}
		given = []byte(history[len(history)-1].Note)
	}
	c, err := readCheckpoint(string(given))
	if err != nil {
		return nil, fmt.Errorf("the checkpoint: %w", err)
	}
	if c.size < records {
		return nil, fmt.Errorf("%w: the checkpoint covers %d records", ErrUncovered, c.size)
	}
	return c, nil
}

// Check says whether the proof holds for the record and the checkpoint is signed with one of the verifiers' keys.
// record nil: the one that is in the proof. It answers the checkpoint's origin and tree.
func (p *Inclusion) Check(record []byte, verifiers note.Verifiers) (string, tlog.Tree, error) {
	if record == nil {
		record = p.Record
	}
	if record == nil {
		return "", tlog.Tree{}, errors.New("the proof does not hold the record: give it")
	}
	return p.CheckLeaf(tlog.RecordHash(record), verifiers)
}

// CheckLeaf is Check for who has no record but its leaf hash, as a receipt has it.
func (p *Inclusion) CheckLeaf(leaf tlog.Hash, verifiers note.Verifiers) (string, tlog.Tree, error) {
	origin, tree, err := OpenCheckpoint(p.Checkpoint, verifiers)
	if err != nil {
		return "", tlog.Tree{}, fmt.Errorf("the checkpoint: %w", err)
	}
	if p.Index < 0 || p.Index >= tree.N {
		return "", tlog.Tree{}, fmt.Errorf("the checkpoint covers %d records, the proof is for record %d", tree.N, p.Index)
	}
	if err := tlog.CheckRecord(p.Hashes, tree.N, tree.Hash, p.Index, leaf); err != nil {
		return "", tlog.Tree{}, fmt.Errorf("the record is not record %d of the tree that the checkpoint is over: %w", p.Index, err)
	}
	return origin, tree, nil
}

// Consistency proves that the tree of a newer checkpoint has all the records of an older one, in their places (RFC 6962
// section 2.1.2). Its text form is the body of a C2SP tlog-witness add-checkpoint request.
type Consistency struct {
	OldSize int64
	Hashes  tlog.TreeProof
	// Checkpoint is the newer one, the signed note.
	Checkpoint []byte
}

// ProveConsistency proves that the newer checkpoint's tree goes on from the older one's. newer nil: the newest of the
// log's history. The proof holds, but for the signatures, which are not checked.
func ProveConsistency(ctx context.Context, dir string, older, newer []byte) (*Consistency, error) {
	reader, err := OpenReader(dir)
	if err != nil {
		return nil, err
	}
	from, err := readCheckpoint(string(older))
	if err != nil {
		return nil, fmt.Errorf("the older checkpoint: %w", err)
	}
	to, err := reader.coveringCheckpoint(newer, from.size)
	if err != nil {
		return nil, fmt.Errorf("from a checkpoint over %d records: %w", from.size, err)
	}
	if from.origin != to.origin {
		return nil, fmt.Errorf("the checkpoints are of two logs, %q and %q", from.origin, to.origin)
	}
	p := &Consistency{OldSize: from.size, Checkpoint: []byte(to.note)}
	if from.size == 0 { // everything goes on from nothing
		return p, nil
	}
	for _, hashes := range []tlog.HashReader{reader.Hashes(ctx), reader.HashesOfRecords(ctx)} {
		if p.Hashes, err = tlog.ProveTree(to.size, from.size, hashes); err != nil {
			continue
		}
		if err = tlog.CheckTree(p.Hashes, to.size, to.root, from.size, from.root); err == nil {
			return p, nil
		}
	}
	return nil, fmt.Errorf("from %d to %d records: %w (%w)", from.size, to.size, errContradiction, err)
}

// Check says whether the proof holds between the older checkpoint and the newer one in it, and both are signed with one
// of the verifiers' keys. It answers the log's origin and the newer tree.
func (p *Consistency) Check(older []byte, verifiers note.Verifiers) (string, tlog.Tree, error) {
	oldOrigin, from, err := OpenCheckpoint(older, verifiers)
	if err != nil {
		return "", tlog.Tree{}, fmt.Errorf("the older checkpoint: %w", err)
	}
	origin, to, err := OpenCheckpoint(p.Checkpoint, verifiers)
	switch {
	case err != nil:
		return "", tlog.Tree{}, fmt.Errorf("the newer checkpoint: %w", err)
	case origin != oldOrigin:
		return "", tlog.Tree{}, fmt.Errorf("the checkpoints are of two logs, %q and %q", oldOrigin, origin)
	case from.N != p.OldSize || from.N > to.N:
		return "", tlog.Tree{}, fmt.Errorf("the proof is from %d records on to %d; the older checkpoint is over %d", p.OldSize, to.N, from.N)
	case from.N == 0:
		return origin, to, nil
	}
	if err := tlog.CheckTree(p.Hashes, to.N, to.Hash, from.N, from.Hash); err != nil {
		return "", tlog.Tree{}, fmt.Errorf("the log of %d records is no continuation of that of %d: it was rewritten: %w", to.N, from.N, err)
	}
	return origin, to, nil
}
