package ledger

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	formatslog "github.com/transparency-dev/formats/log"
	formatsproof "github.com/transparency-dev/formats/proof"
	merkleproof "github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// thirdParty checks as somebody does who has nothing of ours: a verifier key, the file, and the modules of
// transparency-dev, which share no code with x/mod's tlog.
type thirdParty struct {
	testing.TB
	verifier note.Verifier
}

func newThirdParty(t testing.TB, vkey string) thirdParty {
	t.Helper()
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return thirdParty{t, verifier}
}

func (p thirdParty) checkpoint(signed []byte) *formatslog.Checkpoint {
	p.Helper()
	c, _, _, err := formatslog.ParseCheckpoint(signed, testOrigin, p.verifier)
	if err != nil {
		p.Fatal(err)
	}
	return c
}

func (p thirdParty) inclusion(text []byte) error {
	p.Helper()
	var proof formatsproof.TLogProof
	if err := proof.Unmarshal(text); err != nil {
		p.Fatal(err)
	}
	c := p.checkpoint(proof.Checkpoint)
	hashes := make([][]byte, len(proof.Hashes))
	for i := range proof.Hashes {
		hashes[i] = proof.Hashes[i][:]
	}
	return merkleproof.VerifyInclusion(rfc6962.DefaultHasher, proof.Index, c.Size, rfc6962.DefaultHasher.HashLeaf(proof.ExtraData), hashes, c.Hash)
}

func (p thirdParty) consistency(older []byte, proof *Consistency) error {
	p.Helper()
	from, to := p.checkpoint(older), p.checkpoint(proof.Checkpoint)
	hashes := make([][]byte, len(proof.Hashes))
	for i := range proof.Hashes {
		hashes[i] = proof.Hashes[i][:]
	}
	return merkleproof.VerifyConsistency(rfc6962.DefaultHasher, from.Size, to.Size, hashes, from.Hash, to.Hash)
}

func marshalled(t testing.TB, p interface{ MarshalText() ([]byte, error) }) []byte {
	t.Helper()
	text, err := p.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestAThirdPartyChecksAProofOfInclusion(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	other := newThirdParty(t, s.keys.vkey)
	for _, index := range []int64{0, 1, 255, 256, 320, 511, 900, 949} {
		p, err := ProveInclusion(t.Context(), s.dir, index, nil)
		if err != nil {
			t.Fatal(err)
		}
		text := marshalled(t, p)
		if err := other.inclusion(text); err != nil {
			t.Errorf("record %d: the third party says %v", index, err)
		}
		var read Inclusion
		if err := read.UnmarshalText(text); err != nil {
			t.Fatal(err)
		}
		origin, tree, err := read.Check(nil, s.keys.known)
		if err != nil || origin != testOrigin || tree.N != 950 {
			t.Errorf("record %d: %s, %+v, %v", index, origin, tree, err)
		}
		altered := bytes.Replace(read.Record, []byte("something"), []byte("nothing!!"), 1)
		if _, _, err := read.Check(altered, s.keys.known); err == nil {
			t.Errorf("record %d: another record passes", index)
		}
		read.Record = altered
		if other.inclusion(marshalled(t, &read)) == nil {
			t.Errorf("record %d: another record passes at the third party, so that its saying yes means nothing", index)
		}
	}
}

func TestAThirdPartyChecksAProofOfConsistency(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	other := newThirdParty(t, s.keys.vkey)
	history, err := mustReader(t, s.dir).Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	forged := &sealedLog{TB: t, dir: t.TempDir(), keys: s.keys}
	forged.write(testRecords, "else")
	for _, older := range history {
		p, err := ProveConsistency(t.Context(), s.dir, []byte(older.Note), nil)
		if err != nil {
			t.Fatal(err)
		}
		var read Consistency
		if err := read.UnmarshalText(marshalled(t, p)); err != nil {
			t.Fatal(err)
		}
		if err := other.consistency([]byte(older.Note), &read); err != nil {
			t.Errorf("from %d on: the third party says %v", p.OldSize, err)
		}
		if _, tree, err := read.Check([]byte(older.Note), s.keys.known); err != nil || tree.N != 950 {
			t.Errorf("from %d on: %+v, %v", p.OldSize, tree, err)
		}
		// The rewritten log signs with the same key, and cannot go on from what was published.
		if _, err := ProveConsistency(t.Context(), forged.dir, []byte(older.Note), nil); !errors.Is(err, errContradiction) {
			t.Errorf("from %d on, another log: %v", p.OldSize, err)
		}
	}
	newest, err := os.ReadFile(forged.path(checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	p, err := ProveConsistency(t.Context(), s.dir, []byte(history[0].Note), nil)
	if err != nil {
		t.Fatal(err)
	}
	p.Checkpoint = newest
	if _, _, err := p.Check([]byte(history[0].Note), s.keys.known); err == nil {
		t.Error("a proof passes with the checkpoint of another log")
	}
	if other.consistency([]byte(history[0].Note), p) == nil {
		t.Error("a proof passes at the third party with the checkpoint of another log")
	}
}

func TestWhatCannotBeProven(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	if _, err := ProveInclusion(t.Context(), s.dir, 960, nil); !errors.Is(err, ErrUncovered) {
		t.Errorf("a record behind the last checkpoint: %v", err)
	}
	if _, err := ProveInclusion(t.Context(), s.dir, testRecords, nil); !errors.Is(err, ErrNoRecord) || !strings.Contains(err.Error(), "it has 995, counted from 0") {
		t.Errorf("a record that there is not: %v", err)
	}
	history, err := mustReader(t, s.dir).Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ProveInclusion(t.Context(), s.dir, 300, []byte(history[0].Note)); !errors.Is(err, ErrUncovered) {
		t.Errorf("a record behind the checkpoint given: %v", err)
	}
	p, err := ProveInclusion(t.Context(), s.dir, 100, []byte(history[0].Note))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Check(nil, newSigning(t).known); err == nil || !strings.Contains(err.Error(), testOrigin) {
		t.Errorf("a key of the same name that did not sign: %v", err)
	}
	if _, err := ProveConsistency(t.Context(), s.dir, []byte(history[5].Note), []byte(history[0].Note)); !errors.Is(err, ErrUncovered) {
		t.Errorf("backwards: %v", err)
	}
	s.flip("tile/0/001", 0)
	if p, err := ProveInclusion(t.Context(), s.dir, 300, nil); err != nil {
		t.Errorf("with a bad tile and good records: %v", err)
	} else if _, _, err := p.Check(nil, s.keys.known); err != nil {
		t.Error(err)
	}
	s.removeAll(tilesDir)
	s.edit(segmentLog(900), func(l [][]byte) [][]byte { return l[:10] })
	if _, err := ProveInclusion(t.Context(), s.dir, 930, nil); !errors.Is(err, errContradiction) || !strings.Contains(err.Error(), "the log ends before it") {
		t.Errorf("a record that was cut off: %v", err)
	}
	s.edit(segmentLog(300), func(l [][]byte) [][]byte { l[3] = rehash("{}"); return l })
	if _, err := ProveInclusion(t.Context(), s.dir, 310, nil); !errors.Is(err, errContradiction) {
		t.Errorf("beside a record that was altered: %v", err)
	}
}

func TestAProofAfterRetention(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	s.compress()
	history, err := mustReader(t, s.dir).Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	s.retain()
	p, err := ProveInclusion(t.Context(), s.dir, 905, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := newThirdParty(t, s.keys.vkey).inclusion(marshalled(t, p)); err != nil {
		t.Error(err)
	}
	for _, older := range history {
		if _, err := ProveConsistency(t.Context(), s.dir, []byte(older.Note), nil); err != nil {
			t.Errorf("from a checkpoint over deleted records: %v", err)
		}
	}
	if _, err := ProveInclusion(t.Context(), s.dir, 300, nil); !errors.Is(err, ErrTrimmed) {
		t.Errorf("a record that was deleted: %v", err)
	}
}

func FuzzInclusionText(f *testing.F) {
	f.Add([]byte(InclusionHeader + "\nextra e30=\nindex 7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\na\n8\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— a AAAA\n"))
	f.Add([]byte(InclusionHeader + "\nindex 0\n\n"))
	f.Add([]byte(InclusionHeader + "\nindex 01\n\n"))
	f.Add([]byte("old 3\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Inclusion
		if p.UnmarshalText(text) != nil {
			return
		}
		if len(p.Hashes) > mostHashes || p.Index < 0 {
			t.Fatalf("%d hashes, index %d", len(p.Hashes), p.Index)
		}
		if again := marshalled(t, &p); !bytes.Equal(again, text) {
			t.Fatalf("%q was read, and is written as %q", text, again)
		}
		if _, _, err := p.CheckLeaf(tlog.Hash{}, note.VerifierList()); err == nil {
			t.Fatal("it holds with no key at all")
		}
	})
}

func FuzzConsistencyText(f *testing.F) {
	f.Add([]byte("old 7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\na\n8\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— a AAAA\n"))
	f.Add([]byte("old 0\n\n"))
	f.Add([]byte("old -1\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var p Consistency
		if p.UnmarshalText(text) != nil {
			return
		}
		if again := marshalled(t, &p); !bytes.Equal(again, text) {
			t.Fatalf("%q was read, and is written as %q", text, again)
		}
	})
}
