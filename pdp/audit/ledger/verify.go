package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// DefaultMaxFindings is how many findings a report lists; the others are counted.
const DefaultMaxFindings = 1000

// VerifyConfig says what Verify holds a log against.
type VerifyConfig struct {
	// Dir is the log's folder; required.
	Dir string
	// Verifiers are the keys whose signatures count. nil: no signature is checked, and checkpoints count for what
	// whoever wrote the folder says.
	Verifiers note.Verifiers
	// Anchors are signed checkpoints that were kept outside the folder. A log that was wholly written anew, signed
	// with its own key, disagrees with nothing else.
	Anchors []Anchor
	// Receipts are what callers were answered with: what the log must hold, and where.
	Receipts []pdp.Receipt
	// MaxFindings bounds Report.Findings; default DefaultMaxFindings.
	MaxFindings int
	// Progress is told now and then how many records were read; nil: nobody is.
	Progress func(records int64)
}

// Anchor is a signed checkpoint that was kept outside a log's folder.
type Anchor struct {
	// Name is what findings call it, such as its file; optional.
	Name string
	// Signed is the checkpoint, a signed note.
	Signed []byte
}

// FindingKind says what is wrong.
type FindingKind string

// The kinds of findings.
const (
	// Altered: the record is not the one that the tree has in its place.
	Altered FindingKind = "altered"
	// Removed: the tree has records that are in no segment.
	Removed FindingKind = "removed"
	// Inserted: a record that the tree does not have.
	Inserted FindingKind = "inserted"
	// Reordered: a record of the tree, in another's place.
	Reordered FindingKind = "reordered"
	// Truncated: the log ends before what a checkpoint, or a tile, covers.
	Truncated FindingKind = "truncated"
	// Rewritten: what is there agrees with itself and not with a checkpoint.
	Rewritten FindingKind = "rewritten"
	// Unreadable: a file or line that cannot be read.
	Unreadable FindingKind = "unreadable"
	// BadSegment: a segment's file name or seal does not fit its records.
	BadSegment FindingKind = "segment"
	// BadTile: a tile is not what the records make it.
	BadTile FindingKind = "tile"
	// BadCheckpoint: a checkpoint is malformed, missing, out of order or not signed by a known key.
	BadCheckpoint FindingKind = "checkpoint"
	// BadReceipt: a caller holds a receipt for a record that is not there.
	BadReceipt FindingKind = "receipt"
)

// Finding is one thing that is wrong, named as exactly as can be told.
type Finding struct {
	Kind FindingKind `json:"kind"`
	// Index is the first record concerned, as the tree counts; -1 where it is no record.
	Index int64 `json:"index"`
	// Through is the last record concerned, where there are several.
	Through int64 `json:"through,omitempty"`
	// File is relative to the log's folder, Line counts from 1; ThroughLine is the last one of which the same holds, where
	// there are several.
	File        string `json:"file,omitempty"`
	Line        int64  `json:"line,omitempty"`
	ThroughLine int64  `json:"through_line,omitempty"`
	// DecisionID is that of the record as it stands there, where it can be read.
	DecisionID string `json:"decision_id,omitempty"`
	// LeafHash is what the tree has in that place, in base64, where it has one record.
	LeafHash string `json:"leaf_hash,omitempty"`
	// What is wrong, for a person.
	What string `json:"what"`
}

// Report is what Verify found.
type Report struct {
	Findings []Finding `json:"findings"`
	// Omitted counts findings past MaxFindings.
	Omitted int `json:"omitted,omitempty"`
	// Origin of the log, as its newest checkpoint has it.
	Origin string `json:"origin,omitempty"`
	// First and Size are the first record that retention left, and the number behind the last.
	First int64 `json:"first"`
	Size  int64 `json:"size"`
	// Records were read.
	Records int64 `json:"records"`
	// Checkpoints that were good and agreed with the records, or with the tree that retention left of deleted ones.
	Checkpoints int `json:"checkpoints"`
	// Trimmed counts those of them, over deleted records, whose tree is not kept: only their signatures, sizes and order
	// could be checked.
	Trimmed int `json:"checkpoints_unproven,omitempty"`
	// Witnessed is how many records the largest checkpoint covers that agreed. Those behind it are vouched for by
	// their receipts alone.
	Witnessed int64 `json:"witnessed"`
	// Anchors and Receipts that agreed.
	Anchors  int `json:"anchors"`
	Receipts int `json:"receipts"`
	// Anchored is how many records the largest of those anchors covers whose tree could be compared. Receipts reach no
	// further than their own records.
	Anchored int64 `json:"anchored"`
	// SignaturesChecked is false where no keys were given.
	SignaturesChecked bool `json:"signatures_checked"`
	// Notes are no findings, but worth knowing.
	Notes []string `json:"notes,omitempty"`
}

// Sound says that nothing was found. What that leaves open Unproven says.
func (r *Report) Sound() bool { return len(r.Findings) == 0 }

// Unproven says, for a person, what could be wrong with a log in which nothing was found, for want of what it was held
// against. It is never empty: an end that was cut off together with its checkpoints leaves nothing behind, and only
// something kept outside that reaches further would tell.
func (r *Report) Unproven() []string {
	open := []string{}
	if !r.SignaturesChecked {
		open = append(open, "that the log is as its keeper signed it: no signature was checked, and whoever can write the folder could have made all of it")
	}
	proved := fmt.Sprintf("the log is proved up to record %d by what was kept outside", r.Anchored-1)
	if !r.Sound() {
		proved += ", but for what was found"
	}
	switch {
	case r.Anchored == 0:
		open = append(open, "that the log was not written anew as a whole, and that its end was not cut off together with the checkpoints over it: "+
			"no checkpoint that was kept outside and covers any of it was compared")
	case r.Anchored < r.Size:
		open = append(open, "that the records behind are as they were, and all there were: "+proved+
			"; behind it the end may have been cut off together with its checkpoints, or the rest written anew")
	default:
		open = append(open, "that there were no records behind: "+proved+"; behind it the end may have been cut off together with its checkpoints")
	}
	if r.Receipts == 0 {
		open = append(open, "that what was answered was recorded: no receipt was compared")
	} else {
		open = append(open, fmt.Sprintf("that what was answered was recorded, but for %s: a receipt speaks for its own record alone",
			number(int64(r.Receipts), "the receipt that agrees", "the %d receipts that agree")))
	}
	if behind := r.unwitnessed(); behind > 0 {
		open = append(open, fmt.Sprintf("that %s: no checkpoint covers %s",
			number(behind, "the last record is the last there was, and as it was", "the last %d records are all there were, and as they were"), number(behind, "it", "them")))
	}
	return open
}

// unwitnessed is how many of the records that are left no checkpoint that agrees covers.
func (r *Report) unwitnessed() int64 { return r.Size - max(r.First, r.Witnessed) }

// number chooses the words for n of something; those for many may have a %d for it.
func number(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return strings.ReplaceAll(many, "%d", strconv.FormatInt(n, 10))
}

// verifier is one run of Verify.
//
// It counts along two trees. records has the leaves as the segments' lines give them, spine those that the tiles have,
// where there are any. A difference between the two is a finding that waits (pending) until the next checkpoint says
// which of them is right: then records were altered, or tiles were. Both go on from the one that was right.
type verifier struct {
	c      VerifyConfig
	report *Report

	marks []mark // checkpoints to compare with, by size; those before mark are done
	mark  int
	kept  *keptLeaves

	records, spine tree
	pending        []suspicion
	agreed         int64 // size of the last mark that agreed
	lost           bool  // a mark disagreed, or leaves are missing: what follows cannot agree
	disagreed      int   // marks after the first that disagreed

	displaced map[tlog.Hash]int64 // leaves that were not in their place, and which that is
	receipts  map[int64][]pdp.Receipt
	// trimmedTo is up to which record a log.trimmed record that a checkpoint covers says that retention deleted, and toldTo
	// up to which any does.
	trimmedTo, toldTo int64
	began             int64 // the first record that was left before the checkpoints were read
	segments          []segmentPath
}

// suspicion is a finding that waits. byTile: the record differs from what a tile has, and perhaps the tile is wrong.
type suspicion struct {
	Finding
	byTile bool
}

// Verify reads the whole log and says what is wrong with it. It needs no lock: what a server adds meanwhile is left
// out. Memory is bounded, whatever the size of the log. The error says that the log could not be read, not that it is
// bad.
func Verify(ctx context.Context, c VerifyConfig) (*Report, error) {
	if c.Dir == "" {
		return nil, errors.New("verifying the audit log: Dir is required")
	}
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("verifying the audit log: %s is no folder that can be read: %w", c.Dir, errors.Join(err, fs.ErrInvalid))
	}
	if c.MaxFindings <= 0 {
		c.MaxFindings = DefaultMaxFindings
	}
	v := &verifier{c: c, report: &Report{Findings: []Finding{}, SignaturesChecked: c.Verifiers != nil},
		kept: newKeptLeaves(c.Dir), displaced: make(map[tlog.Hash]int64), receipts: make(map[int64][]pdp.Receipt)}
	// What retention has deleted was under a checkpoint before; so it is looked at first.
	if segments, err := listSegments(c.Dir); err == nil && len(segments) > 0 { // walk tells of errors
		v.began = segments[0].first
	}
	if err := v.readMarks(); err != nil {
		return nil, err
	}
	v.takeReceipts()
	if err := v.walk(ctx); err != nil {
		return nil, fmt.Errorf("verifying the audit log: %w", err)
	}
	v.finish()
	return v.report, nil
}

// find reports at once.
func (v *verifier) find(f Finding) {
	if len(v.report.Findings) >= v.c.MaxFindings {
		v.report.Omitted++
		return
	}
	v.report.Findings = append(v.report.Findings, f)
}

// suspect keeps a finding until a checkpoint says whether the record or the tile is wrong. More than can be reported
// are not kept.
func (v *verifier) suspect(f Finding, byTile bool) {
	if len(v.pending) >= v.c.MaxFindings {
		v.report.Omitted++
		return
	}
	v.pending = append(v.pending, suspicion{f, byTile})
}

func (v *verifier) confirm() {
	for _, s := range v.pending {
		v.find(s.Finding)
	}
	v.pending = nil
}

// grow goes on by one record: record is what the line has, kept what the tree has to go on with.
func (v *verifier) grow(record, kept tlog.Hash) {
	v.records.add(record, func(tile) {})
	v.checkReceipts(v.spine.size, &record)
	v.growSpine(kept)
}

func (v *verifier) growSpine(kept tlog.Hash) {
	v.spine.add(kept, v.checkTile)
	v.judge()
}

// judge compares with the marks of this size.
func (v *verifier) judge() {
	for v.mark < len(v.marks) && v.marks[v.mark].size <= v.spine.size {
		m := &v.marks[v.mark]
		v.mark++
		if m.size == v.spine.size {
			v.compare(m)
		}
	}
}

func (v *verifier) compare(m *mark) {
	switch {
	case v.spine.root() == m.root:
		v.confirm()
		v.records = v.spine.clone()
		v.lost = false
	case v.records.size == m.size && v.records.root() == m.root:
		v.blameTiles()
		v.spine = v.records.clone()
		v.lost = false
	default:
		v.disagree(m)
		return
	}
	v.agreed, v.trimmedTo = m.size, v.toldTo
	v.report.Witnessed = m.size
	if m.anchor {
		v.report.Anchors++
		v.report.Anchored = m.size
	} else {
		v.report.Checkpoints++
	}
}

// blameTiles turns what waits into findings about tiles: the checkpoint vouches for the records.
func (v *verifier) blameTiles() {
	blamed := make(map[string]bool)
	for _, f := range v.pending {
		t := tile{level: 0, number: f.Index / tileWidth, hashes: make([]tlog.Hash, tileWidth)}
		if !f.byTile {
			v.find(f.Finding)
			continue
		}
		if blamed[t.path()] {
			continue
		}
		blamed[t.path()] = true
		v.find(Finding{Kind: BadTile, Index: f.Index, File: t.path(),
			What: "the tile's leaf hash is not that of the record, and the next checkpoint vouches for the record: the tile was altered"})
	}
	v.pending = nil
}

func (v *verifier) disagree(m *mark) {
	waiting := len(v.pending) > 0
	v.confirm()
	if v.lost {
		v.disagreed++
		return
	}
	v.lost = !m.anchor || v.lost
	f := Finding{Kind: Rewritten, Index: v.agreed, Through: m.size - 1, File: m.file, Line: m.line}
	switch {
	case m.anchor:
		f.What = fmt.Sprintf("the first %d records are not those that the checkpoint kept outside covers: the log was written anew, at or behind record %d", m.size, v.agreed)
	case waiting:
		f.What = fmt.Sprintf("neither the records nor the tiles are what the checkpoint over %d records covers", m.size)
	default:
		f.What = fmt.Sprintf("records and tiles agree with each other and not with the checkpoint over %d records: one or more records from %d on were altered, "+
			"removed or added and the tiles made anew, or the checkpoint is of another log", m.size, v.agreed)
	}
	v.find(f)
}

// finish says what could not be decided, and what lies behind the last checkpoint.
func (v *verifier) finish() {
	v.confirm()
	v.report.Size = v.spine.size
	if v.disagreed > 0 {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("%d later checkpoints disagree too, as they must", v.disagreed))
	}
	v.checkEdge()
	v.checkMissingReceipts()
	switch {
	case len(v.marks) == 0 && v.c.Verifiers != nil: // nor for that there were none
		v.find(Finding{Kind: BadCheckpoint, Index: -1, File: checkpointsName, What: "no checkpoint vouches for any record: there is none that is signed with one of the keys given"})
	case len(v.marks) == 0:
		v.report.Notes = append(v.report.Notes, "there are no checkpoints: only the records' own leaf hashes were checked, which anyone can make anew")
	case v.report.unwitnessed() > 0:
		behind := v.report.unwitnessed()
		v.report.Notes = append(v.report.Notes, number(behind, "the last record is behind the last checkpoint that agrees: a receipt alone speaks for it",
			"the last %d records are behind the last checkpoint that agrees: receipts alone speak for them"))
	}
}

// decisionID reads a record's decision id, also where the JSON around it is damaged.
func decisionID(event []byte) string {
	var e struct {
		DecisionID string `json:"decision_id"`
	}
	if json.Unmarshal(event, &e) == nil {
		return e.DecisionID
	}
	if found := decisionIDPattern.FindSubmatch(event); found != nil {
		return string(found[1])
	}
	return ""
}
