package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/tlog"
)

// walk reads all segments, and what the tiles have behind them.
func (v *verifier) walk(ctx context.Context) error {
	segments, before, err := v.list()
	if err != nil {
		return err
	}
	v.segments = segments
	if len(v.segments) > 0 {
		v.begin(ctx, v.segments[0].first, before)
	}
	for at := range v.segments {
		if err := v.walkSegment(ctx, at); err != nil {
			return err
		}
	}
	v.walkTail()
	v.checkTrimmed()
	return nil
}

// checkTrimmed looks for the record that explains why the log does not begin at the first record. One that no checkpoint
// covers explains nothing, but for what was deleted while this was read.
func (v *verifier) checkTrimmed() {
	first := v.report.First
	f := Finding{Kind: Removed, Index: 0, Through: first - 1, File: segmentsDir}
	switch {
	case first == 0:
		return
	case v.toldTo < first:
		f.What = fmt.Sprintf("the log begins at record %d, and no record says that retention deleted those before it", first)
	case len(v.marks) > 0 && v.trimmedTo < min(first, v.began):
		f.What = fmt.Sprintf("the log begins at record %d, and no checkpoint that agrees covers the record which says that retention deleted those before it: "+
			"anyone who can write the folder could have added it", first)
	default:
		return
	}
	v.find(f)
}

// list lists the segments, with the seal that the first of them goes on from. Where there is none, retention has deleted
// that segment too since it was listed, which another look shows; or it is a finding.
func (v *verifier) list() (segments []segmentPath, before *seal, err error) {
	for first := int64(-1); ; first = segments[0].first {
		segments, err = listSegments(v.c.Dir)
		if err != nil || len(segments) == 0 || segments[0].first == 0 || segments[0].first == first {
			return segments, nil, err
		}
		if before, err := sealEndingAt(v.c.Dir, segments[0].first); err == nil {
			return segments, before, nil
		}
	}
}

// begin starts the trees at the first record that there is.
func (v *verifier) begin(ctx context.Context, first int64, before *seal) {
	v.report.First = first
	if first == 0 {
		return
	}
	if before == nil {
		v.find(Finding{Kind: BadSegment, Index: 0, Through: first - 1, File: segmentsDir,
			What: fmt.Sprintf("the log begins at record %d, and the tree of those before it is not kept (no seal ends there): no checkpoint can be compared", first)})
		v.lost = true
		v.records, v.spine = tree{size: first}, tree{size: first}
	} else {
		t := before.tree()
		v.records, v.spine = t.clone(), t.clone()
	}
	v.judgeTrimmed(ctx, first)
	v.agreed = first
	v.judge()
}

// judgeTrimmed compares the tree that retention left in the tiles with the checkpoints over deleted records, and with the
// tree that the first record left goes on from.
func (v *verifier) judgeTrimmed(ctx context.Context, first int64) {
	hashes := v.kept.reader.Hashes(ctx)
	compare := func(size int64, root tlog.Hash) (differs, known bool) {
		kept, err := tlog.TreeHash(size, hashes)
		if err != nil {
			v.report.Trimmed++
		}
		return err == nil && kept != root, err == nil
	}
	for ; v.mark < len(v.marks) && v.marks[v.mark].size < first; v.mark++ {
		m := &v.marks[v.mark]
		differs, known := false, false
		if m.size > 0 {
			differs, known = compare(m.size, m.root)
		}
		switch {
		case differs:
			v.find(Finding{Kind: Rewritten, Index: 0, Through: m.size - 1, File: m.file, Line: m.line,
				What: fmt.Sprintf("the tree over the records that retention deleted is not what the checkpoint over %d of them covers", m.size)})
		case !m.anchor:
			v.report.Checkpoints++
		default:
			v.report.Anchors++
			if known {
				v.report.Anchored = m.size
			}
		}
	}
	if v.lost {
		return
	}
	if differs, _ := compare(first, v.spine.root()); differs {
		v.find(Finding{Kind: BadTile, Index: 0, Through: first - 1, File: tilesDir,
			What: "the tree over the records that retention deleted is not the one that the first record left goes on from"})
	}
}

func (v *verifier) walkSegment(ctx context.Context, at int) error {
	s := v.segments[at]
	last := at == len(v.segments)-1
	in, err := openSegment(v.c.Dir, s.first)
	if errors.Is(err, fs.ErrNotExist) {
		if deleted, err := v.isDeleted(ctx, s); deleted || err != nil {
			return err
		}
	}
	r := &lineReader{err: err}
	if err == nil {
		defer func() { _ = in.Close() }() // only read
		r = newLineReader(in)
	}
	v.enter(s, r)
	if v.isElsewhere(s, r) {
		return v.skipTo(ctx, at, r)
	}
	for {
		l, ok := r.next()
		if !ok {
			break
		}
		if last && s.plain && r.torn && len(r.queue) == 0 && v.isTorn(l) {
			break
		}
		v.take(s, r, l)
		if v.report.Records++; v.report.Records%8192 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if v.c.Progress != nil {
				v.c.Progress(v.report.Records)
			}
		}
	}
	return v.leave(at, r)
}

// isDeleted goes on behind what retention has deleted since the segments were listed.
func (v *verifier) isDeleted(ctx context.Context, s segmentPath) (bool, error) {
	now, before, err := v.list()
	if err != nil || len(now) == 0 || now[0].first <= s.first {
		return false, err
	}
	if v.spine.size < now[0].first {
		v.report.Notes = append(v.report.Notes, fmt.Sprintf("retention deleted the records before %d meanwhile", now[0].first))
		v.begin(ctx, now[0].first, before)
	}
	return true, nil
}

func (v *verifier) fileOf(s segmentPath) string {
	if s.plain {
		return filepath.ToSlash(segmentName(s.first, plainSuffix))
	}
	return filepath.ToSlash(segmentName(s.first, compressedSuffix))
}

// isTorn tells the last line without a line feed, which a crash left and the next start cuts off, from one that a
// checkpoint covers.
func (v *verifier) isTorn(l line) bool {
	if v.spine.size < v.covered() {
		return false
	}
	v.report.Notes = append(v.report.Notes, fmt.Sprintf("line %d of the newest segment is cut off: it is being written, or was when a process was killed; nobody was answered with it", l.number))
	return true
}

// covered is how many records the checkpoints cover.
func (v *verifier) covered() int64 {
	if len(v.marks) == 0 {
		return 0
	}
	return v.marks[len(v.marks)-1].size
}

// enter compares a segment's name with what was read before it.
func (v *verifier) enter(s segmentPath, r *lineReader) {
	if s.first == v.spine.size {
		return
	}
	if l, ok := r.peek(); ok {
		if kept, have := v.kept.leaf(v.spine.size); have && kept == l.leaf {
			v.find(Finding{Kind: BadSegment, Index: v.spine.size, File: v.fileOf(s), Line: 1,
				What: fmt.Sprintf("its name says that it begins at record %d, and its first one is record %d: it was renamed", s.first, v.spine.size)})
			return
		}
	}
	if s.first > v.spine.size {
		v.missing(Removed, s.first, v.fileOf(s), "no segment has them: the one before ends too early, or one was removed")
		return
	}
	v.find(Finding{Kind: BadSegment, Index: s.first, Through: v.spine.size - 1, File: v.fileOf(s),
		What: fmt.Sprintf("its name says that it begins at record %d, and those before it have %d records already", s.first, v.spine.size)})
}

// missing goes on to record end, whose predecessors are in no segment, by the tiles or else by a seal.
func (v *verifier) missing(kind FindingKind, end int64, file, what string) {
	first := v.spine.size
	f := Finding{Kind: kind, Index: first, Through: end - 1, File: file, What: what}
	for v.spine.size < end {
		kept, ok := v.kept.leaf(v.spine.size)
		if !ok {
			break
		}
		if v.spine.size == first && end == first+1 {
			f.LeafHash = kept.String()
		}
		v.checkReceipts(v.spine.size, nil)
		v.suspectMissing(&f)
		v.growSpine(kept)
	}
	if v.spine.size < end {
		v.suspectMissing(&f)
		v.jump(end)
	}
}

// suspectMissing keeps the finding of missing records before the first mark that they are needed for is compared.
func (v *verifier) suspectMissing(f *Finding) {
	if f.What == "" {
		return
	}
	v.suspect(*f, true)
	f.What = ""
}

// jump goes on at a record whose predecessors cannot be known one by one.
func (v *verifier) jump(to int64) {
	v.confirm()
	for v.mark < len(v.marks) && v.marks[v.mark].size < to {
		v.mark++
		v.disagreed++
	}
	if s, err := sealEndingAt(v.c.Dir, to); err == nil {
		t := s.tree()
		v.records, v.spine = t.clone(), t.clone()
		v.judge() // a seal is no evidence; the checkpoints behind it say whether it is right
		return
	}
	v.lost = true
	v.records, v.spine = tree{size: to}, tree{size: to}
}

// isElsewhere finds a segment whose file has the records of another one.
func (v *verifier) isElsewhere(s segmentPath, r *lineReader) bool {
	l, ok := r.peek()
	kept, have := v.kept.leaf(v.spine.size)
	if !ok || !have || l.leaf == kept {
		return false
	}
	at, found := v.kept.search(l.leaf, v.spine.size)
	if !found {
		at, found = v.displaced[l.leaf]
	}
	if !found {
		return false
	}
	for _, other := range v.segments {
		if other.first == at && other.first != s.first && v.isFirstSomewhere(kept) {
			v.suspect(Finding{Kind: Reordered, Index: v.spine.size, File: v.fileOf(s), Line: 1, DecisionID: l.id,
				What: fmt.Sprintf("the file has the records of %s, which begin at record %d", segmentName(other.first, plainSuffix), at)}, true)
			v.displaced[kept] = v.spine.size
			return true
		}
	}
	return false
}

// isFirstSomewhere says whether a segment begins with that record. Where none does, the segment that did was removed,
// and those behind it were renamed; that is told record by record.
func (v *verifier) isFirstSomewhere(leaf tlog.Hash) bool {
	for _, s := range v.segments {
		in, err := openSegment(v.c.Dir, s.first)
		if err != nil {
			continue
		}
		l, ok := newLineReader(in).next()
		_ = in.Close() // only read
		if ok && l.leaf == leaf {
			return true
		}
	}
	return false
}

// skipTo leaves out a file that has another segment's records, and goes on behind it by what the tiles have.
func (v *verifier) skipTo(ctx context.Context, at int, r *lineReader) error {
	for {
		if _, ok := r.next(); !ok {
			break
		}
		v.report.Records++
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	end := v.covered()
	if at < len(v.segments)-1 {
		end = v.segments[at+1].first
	}
	for v.spine.size < end {
		kept, ok := v.kept.leaf(v.spine.size)
		if !ok {
			v.jump(end)
			break
		}
		v.checkReceipts(v.spine.size, nil)
		v.growSpine(kept)
	}
	return nil
}

// leave ends a segment: what could not be read, and what its seal says.
func (v *verifier) leave(at int, r *lineReader) error {
	s := v.segments[at]
	if r.err != nil && !errors.Is(r.err, io.EOF) {
		f := Finding{Kind: Unreadable, Index: v.spine.size, File: v.fileOf(s), Line: r.count + 1, What: "it cannot be read any further: " + r.err.Error()}
		if at < len(v.segments)-1 {
			f.Through = v.segments[at+1].first - 1
			v.missing(f.Kind, f.Through+1, f.File, f.What)
			return nil
		}
		v.suspect(f, false)
		return nil
	}
	v.checkSeal(s, r.bytes)
	return nil
}

// grewSince tells whether a segment that was the newest has been written on since it was read. Of a seal that was read
// afterwards this is asked then, since what it is of was written before.
func (v *verifier) grewSince(s segmentPath, length int64) bool {
	if s.first != v.segments[len(v.segments)-1].first {
		return false
	}
	if info, err := os.Stat(filepath.Join(v.c.Dir, segmentName(s.first, plainSuffix))); err == nil && info.Size() > length {
		return true
	}
	segments, err := listSegments(v.c.Dir)
	return err == nil && len(segments) > 0 && segments[len(segments)-1].first > s.first
}

// checkSeal compares a segment's seal with the tree, where both are there.
func (v *verifier) checkSeal(s segmentPath, length int64) {
	kept, err := readSeal(v.c.Dir, s.first)
	if errors.Is(err, fs.ErrNotExist) || v.lost {
		return
	}
	name := filepath.ToSlash(segmentName(s.first, sealSuffix))
	switch {
	case err != nil:
		v.suspect(Finding{Kind: BadSegment, Index: s.first, File: name, What: err.Error()}, false)
	case kept.First+kept.Count != v.spine.size || kept.Root != v.spine.root() || kept.Bytes != length:
		if kept.Bytes > length && v.grewSince(s, length) {
			return
		}
		v.suspect(Finding{Kind: BadSegment, Index: s.first, Through: v.spine.size - 1, File: name,
			What: "it has another count, length or root than the records give: it was altered, or they were"}, false)
	}
}

// walkTail goes on behind the last segment with what tiles and checkpoints say that there was.
func (v *verifier) walkTail() {
	v.report.Size = v.spine.size
	end := v.spine.size
	for {
		if _, ok := v.kept.leaf(end); !ok {
			break
		}
		end++
	}
	if end > v.spine.size && v.grewTo(end) {
		end = v.spine.size
	}
	covered := max(end, v.covered())
	if covered > v.spine.size {
		file := segmentsDir
		if n := len(v.segments); n > 0 {
			file = v.fileOf(v.segments[n-1])
		}
		v.missing(Truncated, covered, file, fmt.Sprintf("the log ends at record %d, and there were %d: its end was cut off", v.spine.size, covered))
		for ; v.mark < len(v.marks); v.mark++ {
			v.disagreed++
		}
	}
}

// grewTo says whether the log has by now the records that tiles know of and that were not there when they were read:
// a server is writing it.
func (v *verifier) grewTo(end int64) bool {
	reader, err := OpenReader(v.c.Dir)
	if err != nil {
		return false
	}
	size, err := reader.Size()
	return err == nil && size >= end
}

// take compares one line with what the tree has in its place.
func (v *verifier) take(s segmentPath, r *lineReader, l line) {
	kept, have := v.kept.leaf(v.spine.size)
	switch {
	case l.bad == nil && (!have || kept == l.leaf):
		v.toldTo = max(v.toldTo, l.trimmed)
		v.grow(l.leaf, l.leaf)
	case l.bad == nil:
		v.misplaced(s, r, l, kept)
	case !have:
		v.suspect(v.at(Altered, s, l, v.spine.size, l.bad.Error()), false)
		v.grow(l.leaf, l.claimed)
	case kept == l.leaf:
		v.suspect(v.at(Altered, s, l, v.spine.size, "the leaf hash at the beginning of the line was altered; the record is the one that the tree has"), false)
		v.grow(l.leaf, kept)
	case kept == l.claimed:
		v.suspect(v.at(Altered, s, l, v.spine.size, "the record was altered; the line still has the leaf hash of what stood there"), true)
		v.grow(l.leaf, kept)
	default:
		v.misplaced(s, r, l, kept)
	}
}

func (v *verifier) at(kind FindingKind, s segmentPath, l line, index int64, what string) Finding {
	if l.id == "" && l.event != nil {
		l.id = decisionID(l.event)
	}
	return Finding{Kind: kind, Index: index, File: v.fileOf(s), Line: l.number, DecisionID: l.id, What: what}
}

// misplaced says of a line that is not what the tree has there whether records before it were removed, it was
// inserted, another's place is taken, or it was altered.
func (v *verifier) misplaced(s segmentPath, r *lineReader, l line, kept tlog.Hash) {
	index := v.spine.size
	if l.id == "" && l.event != nil {
		l.id = decisionID(l.event)
	}
	l.event = nil // reading ahead takes its space
	ahead, isAhead := v.kept.search(l.leaf, index)
	lines, comes := r.search(kept) // 0: the next line is what should stand here
	removed := ahead - index
	switch from, was := v.displaced[l.leaf]; {
	case was && !isAhead && comes:
		f := v.at(Reordered, s, l, from, fmt.Sprintf("record %d stands before record %d", from, index))
		v.suspect(f, true)
		delete(v.displaced, l.leaf)
		v.records.add(l.leaf, func(tile) {})
	case was && !isAhead:
		v.suspect(v.at(Reordered, s, l, index, fmt.Sprintf("in the place of record %d stands record %d", index, from)), true)
		delete(v.displaced, l.leaf)
		v.displaced[kept] = index
		v.grow(l.leaf, kept)
	case isAhead && v.goesOn(r, ahead) && (!comes || removed <= lines+1):
		v.removed(s, l, ahead)
		v.grow(l.leaf, l.leaf)
	case comes && (!isAhead || lines+1 < removed):
		v.suspect(v.at(Inserted, s, l, index, fmt.Sprintf("the line is not in the tree: it was inserted before record %d", index)), true)
		v.records.add(l.leaf, func(tile) {})
	case isAhead:
		v.suspect(v.at(Reordered, s, l, index, fmt.Sprintf("in the place of record %d stands record %d", index, ahead)), true)
		v.displaced[kept] = index
		v.grow(l.leaf, kept)
	default:
		v.altered(s, l, kept)
	}
}

func (v *verifier) altered(s segmentPath, l line, kept tlog.Hash) {
	what := "the record was replaced or altered, and its line given a leaf hash that fits; the tree has another"
	if l.bad != nil {
		what = l.bad.Error()
	}
	f := v.at(Altered, s, l, v.spine.size, what)
	f.LeafHash = kept.String()
	v.suspect(f, true)
	v.grow(l.leaf, kept)
}

// goesOn says whether the line behind is what the tree has behind index.
func (v *verifier) goesOn(r *lineReader, index int64) bool {
	next, ok := r.peek()
	if !ok {
		return true
	}
	held, hashes := v.kept.number, v.kept.hashes
	kept, have := v.kept.leaf(index + 1)
	v.kept.number, v.kept.hashes = held, hashes
	return !have || kept == next.leaf
}

// removed goes on to record end, those before which stand in no line.
func (v *verifier) removed(s segmentPath, l line, end int64) {
	f := Finding{Kind: Removed, Index: v.spine.size, Through: end - 1, File: v.fileOf(s), Line: l.number, What: fmt.Sprintf("it is missing before line %d", l.number)}
	if end > v.spine.size+1 {
		f.What = fmt.Sprintf("%d records are missing before line %d", end-v.spine.size, l.number)
	}
	if kept, ok := v.kept.leaf(v.spine.size); ok && end == v.spine.size+1 {
		f.LeafHash, f.Through = kept.String(), 0
	}
	v.suspect(f, true)
	for v.spine.size < end {
		kept, _ := v.kept.leaf(v.spine.size) // search has found what stands behind it
		v.displaced[kept] = v.spine.size
		v.checkReceipts(v.spine.size, nil)
		v.growSpine(kept)
	}
}
