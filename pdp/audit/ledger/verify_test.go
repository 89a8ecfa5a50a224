package ledger

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// signing is a key of a test's own.
type signing struct {
	signer note.Signer
	known  note.Verifiers
	vkey   string
}

func newSigning(t testing.TB) *signing {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, testOrigin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return &signing{signer, note.VerifierList(verifier), vkey}
}

func (s *signing) SignNote(_ context.Context, text string) ([]byte, error) {
	return note.Sign(&note.Note{Text: text}, s.signer)
}

// sealedLog is a log of records d000000 to d000999 in segments of 100, the last open, with checkpoints at 150, 250, …, 950.
type sealedLog struct {
	testing.TB
	dir  string
	keys *signing
}

const testRecords = 995

func newSealedLog(t testing.TB, keys *signing) *sealedLog {
	t.Helper()
	s := &sealedLog{TB: t, dir: t.TempDir(), keys: keys}
	s.write(testRecords, "")
	return s
}

// write appends records up to n, each with something in it, and closes the log.
func (s *sealedLog) write(n int, something string) {
	s.Helper()
	clock := newClock()
	size := len(appendLine(nil, tlog.Hash{}, s.event(clock, 0, something)))
	l := mustOpen(s, Config{Dir: s.dir, Now: clock.Now, Signer: s.keys, SegmentBytes: int64(100 * size), Mode: Buffered})
	for i := range n {
		if _, _, _, err := l.Append(s.Context(), clock.Now(), s.event(clock, i, something)); err != nil {
			s.Fatal(err)
		}
		if i%100 == 99 { // the segment is full, and the next record goes into another
			s.settle(l, int64(i+1))
		}
		if i%100 == 49 && i > 100 {
			s.settle(l, int64(i+1))
			if err := l.checkpoint(s.Context()); err != nil {
				s.Fatal(err)
			}
		}
	}
	s.settle(l, int64(n))
	if err := l.writeFresh(l.tree.partial()); err != nil {
		s.Fatal(err)
	}
	mustClose(s, l)
}

// settle waits until the tree has grown.
func (s *sealedLog) settle(l *Ledger, size int64) {
	for {
		l.treeMu.Lock()
		grown := l.tree.size
		l.treeMu.Unlock()
		if grown >= size {
			return
		}
		runtime.Gosched()
	}
}

func (s *sealedLog) event(c *clock, n int, something string) []byte {
	return append(bytes.TrimSuffix(event(c.Now(), n), []byte("}")), fmt.Sprintf(`,"something":%q}`, something)...)
}

func (s *sealedLog) verify(change func(*VerifyConfig)) *Report {
	s.Helper()
	c := VerifyConfig{Dir: s.dir, Verifiers: s.keys.known}
	if change != nil {
		change(&c)
	}
	report, err := Verify(s.Context(), c)
	if err != nil {
		s.Fatal(err)
	}
	return report
}

func (s *sealedLog) path(name string) string { return filepath.Join(s.dir, name) }

func segmentLog(first int64) string { return segmentName(first, plainSuffix) }

// edit rewrites a file by its lines (with their line feeds).
func (s *sealedLog) edit(name string, change func(lines [][]byte) [][]byte) {
	s.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	lines := slices.Collect(bytes.Lines(data))
	if err := os.WriteFile(s.path(name), bytes.Join(change(lines), nil), 0o600); err != nil {
		s.Fatal(err)
	}
}

func (s *sealedLog) rename(from, to int64) {
	s.Helper()
	if err := os.Rename(s.path(segmentLog(from)), s.path(segmentLog(to))); err != nil {
		s.Fatal(err)
	}
}

// flip alters one byte of a file.
func (s *sealedLog) flip(name string, offset int) {
	s.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil {
		s.Fatal(err)
	}
	data[offset] ^= 1
	if err := os.WriteFile(s.path(name), data, 0o600); err != nil {
		s.Fatal(err)
	}
}

// rehash is a line that somebody made for another record.
func rehash(record string) []byte {
	return appendLine(nil, tlog.RecordHash([]byte(record)), []byte(record))
}

func (s *sealedLog) removeAll(name string) {
	s.Helper()
	if err := os.RemoveAll(s.path(name)); err != nil {
		s.Fatal(err)
	}
}

func TestAnUntouchedLogIsSound(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	r := s.verify(nil)
	if !r.Sound() || r.Size != testRecords || r.Records != testRecords || r.Checkpoints != 9 || r.Witnessed != 950 || r.Origin != testOrigin || !r.SignaturesChecked {
		t.Fatalf("%+v", r)
	}
	s.removeAll(tilesDir) // they are derived
	if r := s.verify(nil); !r.Sound() || r.Witnessed != 950 {
		t.Fatalf("without tiles: %+v", r)
	}
}

// tampering is one way to tamper with a log, and what must be found of it.
type tampering struct {
	name string
	do   func(*sealedLog)
	// want must each be found: kind, first record concerned, its decision id where the line has one.
	want []Finding
	// blind: the tiles were removed too, so that a range is named where the records cannot be.
	blind []Finding
}

func tamperings() []tampering {
	seg := segmentLog
	return []tampering{
		{"a byte of a record is flipped", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20][len(l[20])-4] ^= 1; return l })
		}, []Finding{{Kind: Altered, Index: 320, Line: 21, DecisionID: "d000320"}}, []Finding{{Kind: Altered, Index: 320, Line: 21, DecisionID: "d000320"}}},
		{"a byte of a leaf hash is flipped", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20][5] ^= 1; return l })
		}, []Finding{{Kind: Altered, Index: 320, Line: 21, DecisionID: "d000320"}}, []Finding{{Kind: Altered, Index: 320, Line: 21, DecisionID: "d000320"}}},
		{"a record is altered and its line made to fit", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20] = rehash(`{"decision_id":"d000320","forged":true}`); return l })
		}, []Finding{{Kind: Altered, Index: 320, Line: 21, DecisionID: "d000320"}}, []Finding{{Kind: Rewritten, Index: 250, Through: 349}}},
		{"two lines are swapped", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20], l[21] = l[21], l[20]; return l })
		}, []Finding{{Kind: Reordered, Index: 320, DecisionID: "d000321"}, {Kind: Reordered, Index: 321, DecisionID: "d000320"}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"lines of two segments are swapped", func(s *sealedLog) {
			var one []byte
			s.edit(seg(300), func(l [][]byte) [][]byte { one = l[20]; return l })
			s.edit(seg(500), func(l [][]byte) [][]byte { l[50], one = one, l[50]; return l })
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20] = one; return l })
		}, []Finding{{Kind: Reordered, Index: 320, DecisionID: "d000550"}, {Kind: Reordered, Index: 550, DecisionID: "d000320"}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"a line is moved", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte {
				one := l[20]
				return slices.Insert(slices.Delete(l, 20, 21), 60, one)
			})
		}, []Finding{{Kind: Removed, Index: 320}, {Kind: Reordered, Index: 320, DecisionID: "d000320"}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"a line is removed", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { return slices.Delete(l, 20, 21) })
		}, []Finding{{Kind: Removed, Index: 320}}, []Finding{{Kind: Rewritten, Index: 250}, {Kind: Removed, Index: 399}}},
		{"lines are removed and the segments renumbered", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { return slices.Delete(l, 20, 30) })
			for first := int64(400); first < testRecords; first += 100 {
				s.rename(first, first-10)
			}
		}, []Finding{{Kind: Removed, Index: 320, Through: 329}, {Kind: BadSegment, Index: 400}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"the last line of a segment is removed", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { return l[:99] })
		}, []Finding{{Kind: Removed, Index: 399}}, []Finding{{Kind: Removed, Index: 399}}},
		{"a segment is removed", func(s *sealedLog) { s.removeAll(seg(300)) },
			[]Finding{{Kind: Removed, Index: 300, Through: 399}}, []Finding{{Kind: Removed, Index: 300, Through: 399}}},
		{"a segment is removed and those behind it renumbered", func(s *sealedLog) {
			s.removeAll(seg(300))
			for first := int64(400); first < testRecords; first += 100 {
				s.rename(first, first-100)
			}
		}, []Finding{{Kind: Removed, Index: 300, Through: 399}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"the first segment is removed", func(s *sealedLog) { s.removeAll(seg(0)) },
			[]Finding{{Kind: Removed, Index: 0, Through: 99}}, []Finding{{Kind: Removed, Index: 0, Through: 99}}},
		{"two segments are swapped", func(s *sealedLog) {
			s.rename(300, 7)
			s.rename(500, 300)
			s.rename(7, 500)
		}, []Finding{{Kind: Reordered, Index: 300, DecisionID: "d000500"}, {Kind: Reordered, Index: 500, DecisionID: "d000300"}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"a line is inserted", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte {
				return slices.Insert(l, 20, rehash(`{"decision_id":"forged","allow":true}`))
			})
		}, []Finding{{Kind: Inserted, Index: 320, Line: 21, DecisionID: "forged"}}, []Finding{{Kind: Rewritten, Index: 250}, {Kind: BadSegment, Index: 400}}},
		{"a line is there twice", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { return slices.Insert(l, 21, l[20]) })
		}, []Finding{{Kind: Inserted, Index: 321, Line: 22, DecisionID: "d000320"}}, []Finding{{Kind: Rewritten, Index: 250}}},
		{"a line is appended", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { return append(l, rehash(`{"decision_id":"forged"}`)) })
		}, []Finding{{Kind: Altered, Index: 400, DecisionID: "forged"}}, []Finding{{Kind: BadSegment, Index: 400}}},
		{"the tail is cut off below the last checkpoint", func(s *sealedLog) {
			s.edit(seg(900), func(l [][]byte) [][]byte { return l[:20] })
		}, []Finding{{Kind: Truncated, Index: 920, Through: 994}}, []Finding{{Kind: Truncated, Index: 920, Through: 949}}},
		{"the tail is cut off behind the last checkpoint", func(s *sealedLog) {
			s.edit(seg(900), func(l [][]byte) [][]byte { return l[:92] })
		}, []Finding{{Kind: Truncated, Index: 992, Through: 994}}, nil}, // only a receipt tells
		{"a line of the tail is cut off in its middle, below the last checkpoint", func(s *sealedLog) {
			s.edit(seg(900), func(l [][]byte) [][]byte { return append(l[:20], l[20][:60]) })
		}, []Finding{{Kind: Truncated, Index: 921}}, []Finding{{Kind: Altered, Index: 920}}},
		{"a line is no record", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20] = []byte("nothing\n"); return l })
		}, []Finding{{Kind: Altered, Index: 320, Line: 21}}, []Finding{{Kind: Altered, Index: 320, Line: 21}}},
		{"a line feed is flipped", func(s *sealedLog) {
			s.edit(seg(300), func(l [][]byte) [][]byte { l[20][len(l[20])-1] = ' '; return l })
		}, []Finding{{Kind: Altered, Index: 320, DecisionID: "d000320"}, {Kind: Removed, Index: 321}}, []Finding{{Kind: Altered, Index: 320}}},
		{"a seal is altered", func(s *sealedLog) { s.flip(segmentName(300, sealSuffix), 30) },
			[]Finding{{Kind: BadSegment, Index: 300}}, []Finding{{Kind: BadSegment, Index: 300}}},
		{"a tile of level 0 is altered", func(s *sealedLog) { s.flip(filepath.Join(tilesDir, "0", "001"), 64*tlog.HashSize) },
			[]Finding{{Kind: BadTile, Index: 320}}, nil},
		{"a tile of a higher level is altered", func(s *sealedLog) { s.flip(filepath.Join(tilesDir, "1", "000.p", "3"), 2*tlog.HashSize) },
			[]Finding{{Kind: BadTile, Index: 512}}, nil},
		{"a checkpoint is altered", func(s *sealedLog) {
			s.edit(checkpointsName, func(l [][]byte) [][]byte {
				l[3] = bytes.Replace(l[3], []byte(`\n450\n`), []byte(`\n449\n`), 1)
				return l
			})
		}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 4}}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 4}}},
		{"the last checkpoints are removed from the history", func(s *sealedLog) {
			s.edit(checkpointsName, func(l [][]byte) [][]byte { return l[:5] })
		}, []Finding{{Kind: BadCheckpoint, Index: -1}}, []Finding{{Kind: BadCheckpoint, Index: -1}}},
		{"all checkpoints are removed", func(s *sealedLog) { s.removeAll(checkpointsName); s.removeAll(checkpointName) },
			[]Finding{{Kind: BadCheckpoint, Index: -1}}, []Finding{{Kind: BadCheckpoint, Index: -1}}},
		{"checkpoints are in another order", func(s *sealedLog) {
			s.edit(checkpointsName, func(l [][]byte) [][]byte { l[3], l[4] = l[4], l[3]; return l })
		}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 5}}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 5}}},
		{"a checkpoint is forged with another key", func(s *sealedLog) {
			other := newSigning(s)
			s.edit(checkpointsName, func(l [][]byte) [][]byte {
				signed, err := other.SignNote(s.Context(), checkpointText(testOrigin, 960, tlog.Hash{1}))
				if err != nil {
					s.Fatal(err)
				}
				return append(l, fmt.Appendf(nil, "{\"time\":\"2026-11-24T13:00:00Z\",\"note\":%q}\n", signed))
			})
		}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 10}}, []Finding{{Kind: BadCheckpoint, Index: -1, Line: 10}}},
		{"a checkpoint over another tree is signed with the log's key", func(s *sealedLog) {
			s.edit(checkpointsName, func(l [][]byte) [][]byte {
				signed, err := s.keys.SignNote(s.Context(), checkpointText(testOrigin, 960, tlog.Hash{1}))
				if err != nil {
					s.Fatal(err)
				}
				return append(l, fmt.Appendf(nil, "{\"time\":\"2026-11-24T13:00:00Z\",\"note\":%q}\n", signed))
			})
		}, []Finding{{Kind: Rewritten, Index: 950, Through: 959, Line: 10}}, []Finding{{Kind: Rewritten, Index: 950}}},
	}
}

func TestEveryTamperingIsFoundAndNamed(t *testing.T) {
	keys := newSigning(t)
	original := newSealedLog(t, keys)
	for _, test := range tamperings() {
		for _, tiles := range []bool{true, false} {
			if !tiles && test.blind == nil {
				continue
			}
			t.Run(strings.ReplaceAll(fmt.Sprintf("%s/tiles=%v", test.name, tiles), " ", "_"), func(t *testing.T) {
				s := &sealedLog{TB: t, dir: t.TempDir(), keys: keys}
				if err := os.CopyFS(s.dir, os.DirFS(original.dir)); err != nil && !os.IsExist(err) {
					t.Fatal(err)
				}
				test.do(s)
				want := test.want
				if !tiles {
					s.removeAll(tilesDir)
					want = test.blind
				}
				report := s.verify(nil)
				for _, w := range want {
					if !slices.ContainsFunc(report.Findings, w.isIn) {
						t.Errorf("not found: %s", w.show())
					}
				}
				if t.Failed() || testing.Verbose() {
					for _, f := range report.Findings {
						t.Logf("found: %s: %s", f.show(), f.What)
					}
				}
			})
		}
	}
}

// isIn says whether a finding is the one wanted, as far as that says anything.
func (f Finding) isIn(found Finding) bool {
	return f.Kind == found.Kind && f.Index == found.Index && (f.Through == 0 || f.Through == found.Through) &&
		(f.Line == 0 || f.Line == found.Line) && (f.DecisionID == "" || f.DecisionID == found.DecisionID)
}

func (f Finding) show() string {
	return fmt.Sprintf("%s %d-%d line %d %s (%s)", f.Kind, f.Index, f.Through, f.Line, f.DecisionID, f.File)
}

func TestAWhollyRewrittenLogIsFoundWithACheckpointKeptOutside(t *testing.T) {
	keys := newSigning(t)
	honest := newSealedLog(t, keys)
	outside, err := os.ReadFile(honest.path(checkpointName))
	if err != nil {
		t.Fatal(err)
	}
	forged := &sealedLog{TB: t, dir: t.TempDir(), keys: keys}
	forged.write(testRecords, "else")
	if r := forged.verify(nil); !r.Sound() {
		t.Fatalf("by itself the forged log is sound: %+v", r)
	}
	anchored := func(c *VerifyConfig) { c.Anchors = []Anchor{{Signed: outside}} }
	r := forged.verify(anchored)
	if len(r.Findings) != 2 || r.Findings[0].Kind != BadCheckpoint || r.Findings[1].Kind != Rewritten || r.Anchors != 0 {
		t.Fatalf("%+v", r)
	}
	if r := honest.verify(anchored); !r.Sound() || r.Anchors != 1 {
		t.Fatalf("the honest log: %+v", r)
	}
	forged.removeAll(".")
	forged.write(900, "")
	if r := forged.verify(anchored); !slices.ContainsFunc(r.Findings, Finding{Kind: Truncated, Index: 900, Through: 949}.isIn) {
		t.Fatalf("a shorter log: %+v", r)
	}
}

func TestReceiptsChallengeTheLog(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	reader := mustReader(t, s.dir)
	receipt := func(index int64) pdp.Receipt {
		record, err := reader.Record(t.Context(), index)
		if err != nil {
			t.Fatal(err)
		}
		return pdp.Receipt{Log: testOrigin, Index: index, LeafHash: record.Hash}
	}
	good := []pdp.Receipt{receipt(0), receipt(320), receipt(994)}
	with := func(receipts ...pdp.Receipt) func(*VerifyConfig) {
		return func(c *VerifyConfig) { c.Receipts = receipts }
	}
	if r := s.verify(with(good...)); !r.Sound() || r.Receipts != 3 {
		t.Fatalf("%+v", r)
	}
	never := pdp.Receipt{Log: testOrigin, Index: 320, LeafHash: tlog.RecordHash([]byte("never logged"))}
	beyond := pdp.Receipt{Log: testOrigin, Index: 995, LeafHash: never.LeafHash}
	foreign := pdp.Receipt{Log: "another/log", Index: 3, LeafHash: never.LeafHash}
	r := s.verify(with(append(good, never, beyond, foreign)...))
	for _, index := range []int64{320, 995, 3} {
		if !slices.ContainsFunc(r.Findings, Finding{Kind: BadReceipt, Index: index}.isIn) {
			t.Errorf("receipt for %d: not found in %+v", index, r.Findings)
		}
	}
	if len(r.Findings) != 3 || r.Receipts != 3 {
		t.Errorf("%+v", r)
	}
	// A tail that nothing but receipts covers.
	s.removeAll(tilesDir)
	s.edit(segmentLog(900), func(l [][]byte) [][]byte { return l[:92] })
	if r := s.verify(with(good...)); len(r.Findings) != 1 || r.Findings[0].Kind != BadReceipt || r.Findings[0].Index != 994 {
		t.Errorf("the cut tail: %+v", r)
	}
}

// Of an end that was cut off together with all that tells of it nothing is left to find: what was not proved must say so,
// however much of the rest was.
func TestAnEndCutOffWithItsCheckpointsIsNotProved(t *testing.T) {
	s := newSealedLog(t, newSigning(t))
	reader := mustReader(t, s.dir)
	history, err := reader.Checkpoints()
	if err != nil {
		t.Fatal(err)
	}
	first, err := reader.Record(t.Context(), 10)
	if err != nil {
		t.Fatal(err)
	}
	receipt := pdp.Receipt{Log: testOrigin, Index: 10, LeafHash: first.Hash}
	held := func(anchor string, receipts ...pdp.Receipt) func(*VerifyConfig) {
		return func(c *VerifyConfig) {
			c.Receipts = receipts
			if anchor != "" {
				c.Anchors = []Anchor{{Signed: []byte(anchor)}}
			}
		}
	}
	const old, kept = 2, 5 // checkpoints over 350 and over 650 records
	s.removeAll(tilesDir)
	for at := int64(700); at < testRecords; at += 100 {
		s.removeAll(segmentLog(at))
		s.removeAll(segmentName(at, sealSuffix))
	}
	s.removeAll(segmentName(600, sealSuffix))
	s.edit(segmentLog(600), func(l [][]byte) [][]byte { return l[:50] })
	s.edit(checkpointsName, func(l [][]byte) [][]byte { return l[:kept+1] })
	put(t, s.dir, checkpointName, []byte(history[kept].Note))

	for _, test := range []struct {
		name             string
		config           func(*VerifyConfig)
		anchored         int64
		outside, answers string
	}{
		{"nothing", nil, 0, "its end was not cut off together with the checkpoints over it: no checkpoint", "no receipt was compared"},
		{"an old checkpoint and a receipt", held(history[old].Note, receipt), 350,
			"proved up to record 349 by what was kept outside; behind it the end may have been cut off together with its checkpoints, or the rest written anew",
			"but for the receipt that agrees: a receipt speaks for its own record alone"},
		{"a checkpoint over all that is left", held(history[kept].Note, receipt, receipt), 650,
			"no records behind: the log is proved up to record 649 by what was kept outside; behind it the end may have been cut off", "but for the 2 receipts that agree"},
	} {
		r := s.verify(test.config)
		open := strings.Join(r.Unproven(), "\n")
		if !r.Sound() || r.Size != 650 || r.Anchored != test.anchored || !strings.Contains(open, test.outside) || !strings.Contains(open, test.answers) {
			t.Errorf("%s: %+v, not proved:\n%s", test.name, r, open)
		}
	}
	// What was kept outside and reaches further finds it.
	if r := s.verify(held(history[kept+1].Note)); !slices.ContainsFunc(r.Findings, Finding{Kind: Truncated, Index: 650, Through: 749}.isIn) || r.Anchored != 0 {
		t.Errorf("%+v", r)
	}
	s.flip(segmentLog(0), 100)
	if r := s.verify(held(history[old].Note)); r.Sound() || !strings.Contains(strings.Join(r.Unproven(), "\n"), "by what was kept outside, but for what was found; behind it") {
		t.Errorf("%+v %q", r, r.Unproven())
	}
}

// Numbers of records are of those that are there.
func TestUnwitnessedRecordsAreThoseThatAreLeft(t *testing.T) {
	for _, test := range []struct {
		report Report
		want   string
	}{
		{Report{First: 27, Size: 31}, "that the last 4 records are all there were, and as they were: no checkpoint covers them"},
		{Report{Size: 7, Witnessed: 6}, "that the last record is the last there was, and as it was: no checkpoint covers it"},
	} {
		if open := test.report.Unproven(); open[len(open)-1] != test.want {
			t.Errorf("%+v: %q", test.report, open)
		}
	}
	s := newSealedLog(t, newSigning(t))
	s.retain()
	r := s.verify(func(c *VerifyConfig) { c.Verifiers = newSigning(t).known })
	if open := r.Unproven(); r.First == 0 || r.Records == 0 || !strings.Contains(open[len(open)-1], fmt.Sprintf("the last %d records", r.Records)) {
		t.Errorf("%d records from %d on: %q", r.Records, r.First, open)
	}
}

func TestWhatCannotBeVerified(t *testing.T) {
	if _, err := Verify(t.Context(), VerifyConfig{Dir: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a folder that is not there was verified")
	}
	s := newSealedLog(t, newSigning(t))
	if r := s.verify(func(c *VerifyConfig) { c.Verifiers = nil }); !r.Sound() || r.SignaturesChecked {
		t.Errorf("without keys: %+v", r)
	}
	if r := s.verify(func(c *VerifyConfig) { c.Verifiers = newSigning(t).known }); r.Sound() || r.Witnessed != 0 {
		t.Errorf("with another key: %+v", r)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Verify(ended, VerifyConfig{Dir: s.dir}); err == nil && testRecords > 8192 {
		t.Error("it went on after it was ended")
	}
	empty := t.TempDir()
	if r, err := Verify(t.Context(), VerifyConfig{Dir: empty}); err != nil || !r.Sound() || r.Size != 0 {
		t.Errorf("an empty log: %+v, %v", r, err)
	}
}
