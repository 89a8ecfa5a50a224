package ledger

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// compress seals and compresses what can be.
func (s *sealedLog) compress() {
	s.Helper()
	clock := newClock()
	l := mustOpen(s, Config{Dir: s.dir, Now: clock.Now, Signer: s.keys})
	if err := l.compressSealed(s.Context()); err != nil {
		s.Fatal(err)
	}
	mustClose(s, l)
}

// retain deletes the segments that were written before this moment and are under a checkpoint, and adds records.
func (s *sealedLog) retain() {
	s.Helper()
	clock := newClock()
	clock.move(48 * time.Hour)
	l := mustOpen(s, Config{Dir: s.dir, Now: clock.Now, Signer: s.keys, Retention: 24 * time.Hour})
	trimmed(s, l)
	fill(s, l, 30)
	s.settle(l, l.Size())
	if err := l.checkpoint(s.Context()); err != nil {
		s.Fatal(err)
	}
	mustClose(s, l)
}

func packed(first int64) string { return segmentName(first, compressedSuffix) }

func TestACompressedLogIsSoundUntilItIsAltered(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	s.compress()
	if _, err := os.Stat(s.path(packed(300))); err != nil {
		t.Fatal(err)
	}
	if r := s.verify(nil); !r.Sound() || r.Records != testRecords || r.Witnessed != 950 {
		t.Fatalf("untouched: %+v", r)
	}
	info, err := os.Stat(s.path(packed(300)))
	if err != nil {
		t.Fatal(err)
	}
	s.flip(packed(300), int(info.Size()/2))
	for _, tiles := range []bool{true, false} {
		if !tiles {
			s.removeAll(tilesDir)
		}
		r := s.verify(nil)
		found := slices.ContainsFunc(r.Findings, func(f Finding) bool {
			return f.File == filepath.ToSlash(packed(300)) && f.Index >= 300 && f.Index < 400
		})
		if !found || r.Witnessed != 950 {
			t.Errorf("tiles %v: the altered segment is not named, or those behind it were not compared: %+v", tiles, r)
		}
	}
	s.flip(packed(500), 0)
	if r := s.verify(nil); !slices.ContainsFunc(r.Findings, Finding{Kind: Unreadable, Index: 500}.isIn) {
		t.Errorf("a file that is no zstd any more: %+v", r)
	}
}

func TestALogWithRetentionIsSoundUntilItIsAltered(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	s.compress()
	outside, err := os.ReadFile(s.path(checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	s.retain()
	anchored := func(c *VerifyConfig) { c.Anchors = []Anchor{{Signed: outside}} }
	r := s.verify(anchored)
	if !r.Sound() || r.First != 900 || r.Checkpoints != 11 || r.Trimmed != 0 || r.Anchors != 1 {
		t.Fatalf("%+v", r)
	}
	untouched := t.TempDir()
	if err := os.CopyFS(untouched, os.DirFS(s.dir)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		do   func(*sealedLog)
		want Finding
	}{
		{"more is removed than retention says", func(s *sealedLog) {
			clock := newClock()
			l := mustOpen(s, Config{Dir: s.dir, Now: clock.Now, Signer: s.keys, SegmentBytes: 1})
			fill(s, l, 1)
			mustClose(s, l)
			s.removeAll(segmentLog(900))
			s.removeAll(packed(900))
		}, Finding{Kind: Removed, Index: 0}},
		{"the seal that the tree goes on from is altered", func(s *sealedLog) {
			s.edit(segmentName(800, sealSuffix), func(l [][]byte) [][]byte {
				l[0] = []byte(`{"first":800,"count":100,"bytes":1,"root":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","edges":[]}` + "\n")
				return l
			})
		}, Finding{Kind: BadSegment, Index: 0, Through: 899}},
		{"the tree over what was deleted is altered", func(s *sealedLog) {
			s.flip(filepath.Join(tilesDir, "1", "000.p", "4"), 0)
		}, Finding{Kind: Rewritten, Index: 0, Through: 349}},
		{"a record that is left is altered", func(s *sealedLog) {
			s.edit(segmentLog(900), func(l [][]byte) [][]byte { l[3] = rehash("{}"); return l })
		}, Finding{Kind: Altered, Index: 903}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &sealedLog{TB: t, dir: t.TempDir(), keys: s.keys}
			if err := os.CopyFS(s.dir, os.DirFS(untouched)); err != nil {
				t.Fatal(err)
			}
			test.do(s)
			if r := s.verify(anchored); !slices.ContainsFunc(r.Findings, test.want.isIn) {
				t.Errorf("want %s: %+v", test.want.show(), r)
			}
		})
	}
}

// Whoever can write the folder, and has no key, can remove the oldest records and add one that says retention did.
func TestARemovalIsNotExplainedByARecordThatNoCheckpointCovers(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	s.removeAll(segmentLog(0))
	record := `{"path":"assay/change","timestamp":"2026-11-24T12:00:00Z","input":{"change":{"kind":"log.trimmed","details":{"first":0,"records":100}}},` +
		`"custom":{"assay":{"kind":"log.trimmed"}}}`
	s.edit(segmentLog(900), func(l [][]byte) [][]byte { return append(l, rehash(record)) })
	s.removeAll(tilesDir)
	r := s.verify(nil)
	if len(r.Findings) != 1 || r.Findings[0].Kind != Removed || r.Findings[0].Through != 99 || r.Witnessed != 950 {
		t.Errorf("%+v", r)
	}
}

// What somebody else made must not keep Verify from telling of the rest.
func TestMadeUpNumbersAreFindings(t *testing.T) {
	for name, do := range map[string]func(*sealedLog, *VerifyConfig){
		"a receipt for a record below zero": func(_ *sealedLog, c *VerifyConfig) {
			c.Receipts = []pdp.Receipt{{Log: testOrigin, Index: -5}, {Log: testOrigin, Index: math.MinInt64}, {Log: testOrigin, Index: math.MaxInt64}}
		},
		"a checkpoint over more records than any log has": func(s *sealedLog, c *VerifyConfig) {
			note, err := s.keys.SignNote(s.Context(), checkpointText(testOrigin, math.MaxInt64, tlog.Hash{}))
			if err != nil {
				s.Fatal(err)
			}
			c.Anchors = []Anchor{{Signed: note}}
		},
		"nothing is left of the log": func(s *sealedLog, _ *VerifyConfig) {
			for _, name := range []string{checkpointsName, checkpointName, tilesDir, segmentLog(0)} {
				s.removeAll(name)
			}
			for first := int64(100); first < testRecords; first += 100 {
				s.removeAll(segmentLog(first))
				s.removeAll(segmentName(first-100, sealSuffix))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSealedLog(t, newSigning(t))
			if r := s.verify(func(c *VerifyConfig) { do(s, c) }); r.Sound() {
				t.Errorf("%+v", r)
			}
		})
	}
	s := newSealedLog(t, newSigning(t)) // a file that no log has is not of it
	put(t, s.dir, segmentLog(math.MaxInt64), append(rehash("{}"), rehash("{}")...))
	if r := s.verify(nil); !r.Sound() || r.Size != testRecords {
		t.Errorf("%+v", r)
	}
}

// A key that counts for one log does not vouch for another, whatever its checkpoints call themselves.
func TestACheckpointOfAnotherNameThanItsKeyDoesNotCount(t *testing.T) {
	keys := newSigning(t)
	for origin, good := range map[string]bool{testOrigin: true, "assay.test/other": false, testOrigin + "x": false} {
		signed, err := keys.SignNote(t.Context(), checkpointText(origin, 7, tlog.Hash{1}))
		if err != nil {
			t.Fatal(err)
		}
		if name, tree, err := OpenCheckpoint(signed, keys.known); (err == nil) != good || good && (name != origin || tree.N != 7) {
			t.Errorf("%s: %q, %d, %v", origin, name, tree.N, err)
		}
	}
}
