package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"golang.org/x/mod/sumdb/tlog"
)

// tidied is a log of 3000 records in several segments with a checkpoint at each of the sizes.
func tidied(t *testing.T, config Config, sizes ...int) (*Ledger, []tlog.Hash) {
	t.Helper()
	l := mustOpen(t, config)
	for _, size := range sizes {
		fill(t, l, size-int(l.Size()))
		if err := l.checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var leaves []tlog.Hash
	for _, record := range readAll(t, mustReader(t, config.Dir), 0, -1) {
		leaves = append(leaves, record.Hash)
	}
	return l, leaves
}

// trimmed lets retention delete: a record says so, a checkpoint covers it, the segments go.
func trimmed(t testing.TB, l *Ledger) {
	t.Helper()
	if err := errors.Join(l.trim(t.Context()), l.checkpoint(t.Context()), l.trim(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func TestSealedSegmentsAreCompressedAndReadTheSame(t *testing.T) {
	dir := t.TempDir()
	l, leaves := tidied(t, Config{Dir: dir, SegmentBytes: 40_000, Signer: &stamp{}}, 1200)
	waitFor(t, "only the newest segment is plain", func() bool { // the last one may be sealed a moment after its last record
		if err := l.compressSealed(t.Context()); err != nil {
			t.Fatal(err)
		}
		plain, err := filepath.Glob(filepath.Join(dir, "segments", "*.log"))
		return err == nil && len(plain) == 1
	})
	packed, err := filepath.Glob(filepath.Join(dir, "segments", "*.log.zst"))
	if err != nil || len(packed) < 3 {
		t.Fatalf("compressed segments: %v, %v", packed, err)
	}
	r := mustReader(t, dir)
	all := readAll(t, r, 0, -1)
	if len(all) != len(leaves) {
		t.Fatalf("%d records of %d", len(all), len(leaves))
	}
	for n, record := range all {
		if record.Hash != leaves[n] || record.Index != int64(n) {
			t.Fatalf("record %d is another one", n)
		}
	}
	mustClose(t, l)
	fill(t, mustOpen(t, Config{Dir: dir, Signer: &stamp{}}), 1)
}

func TestOneRecordOfACompressedSegmentIsReadFromItsFrame(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 3 << 20})
	pad := bytes.Repeat([]byte("x"), 60_000)
	for n := range 80 {
		record := append(event(newClock().now, n), ' ')
		record = append(record, pad...)
		if _, _, _, err := l.Append(t.Context(), newClock().now, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.compressSealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	s, err := readSeal(dir, 0)
	if err != nil || len(s.Frames) < 3 {
		t.Fatalf("frames %+v, %v", s, err)
	}
	for _, index := range []int64{0, s.Frames[1].Index - 1, s.Frames[1].Index, s.Frames[1].Index + 1, s.Count - 1, s.Count} {
		record, err := mustReader(t, dir).Record(t.Context(), index)
		if err != nil || record.Index != index || !bytes.HasPrefix(record.Event, event(newClock().now, int(index))) {
			t.Errorf("record %d: %d, %v", index, record.Index, err)
		}
	}
}

func TestRetentionDeletesSegmentsAndKeepsProofs(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	var told []pdp.Change
	config := Config{Dir: dir, Now: now.Now, SegmentBytes: 40_000, Retention: 24 * time.Hour, Signer: &stamp{},
		Describe: func(c pdp.Change) []byte { told = append(told, c); return describe(c) }}
	sizes := []int{100, 256, 700, 1111, 3000}
	l, leaves := tidied(t, config, sizes...)
	if err := l.compressSealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	now.move(25 * time.Hour)
	fill(t, l, 1) // newer, and in the newest segment
	r := mustReader(t, dir)
	for range 2 {
		if err := l.trim(t.Context()); err != nil {
			t.Fatal(err)
		}
		if left, err := r.Segments(); err != nil || left[0].First != 0 || l.Size() != 3002 {
			t.Fatalf("before the record of it is under a checkpoint: %d records, %+v, %v", l.Size(), left[0], err)
		}
	}
	trimmed(t, l)
	segments, err := r.Segments()
	if err != nil {
		t.Fatal(err)
	}
	first := segments[0].First
	if first < 1500 || len(told) != 1 || told[0].Kind != pdp.LogTrimmed || told[0].Details["records"] != first {
		t.Fatalf("the first segment left begins at %d; told %+v", first, told)
	}
	if _, err := r.Record(t.Context(), 5); !errors.Is(err, ErrTrimmed) {
		t.Errorf("record 5: %v", err)
	}
	tiles, err := filepath.Glob(filepath.Join(dir, "tile", "0", "0??"))
	if err != nil || len(tiles) < 3 || len(tiles) > 3000/256-3 {
		t.Errorf("tiles of leaves left: %v, %v", tiles, err)
	}
	for name, hashes := range map[string]tlog.HashReader{"with tiles": r.Hashes(t.Context())} {
		for _, size := range sizes {
			root := plainRoot(t, leaves[:size])
			if got, err := tlog.TreeHash(int64(size), hashes); err != nil || got != root {
				t.Errorf("%s: root at %d: %v, %v", name, size, got, err)
			}
			proof, err := tlog.ProveTree(3000, int64(size), hashes)
			if err == nil {
				err = tlog.CheckTree(proof, 3000, plainRoot(t, leaves[:3000]), int64(size), root)
			}
			if err != nil {
				t.Errorf("%s: consistency from %d: %v", name, size, err)
			}
		}
		for index := first; index < 3000; index += 97 {
			proof, err := tlog.ProveRecord(3000, index, hashes)
			if err == nil {
				err = tlog.CheckRecord(proof, 3000, plainRoot(t, leaves[:3000]), index, leaves[index])
			}
			if err != nil {
				t.Errorf("%s: inclusion of %d: %v", name, index, err)
			}
		}
	}
	mustClose(t, l)
	again := mustOpen(t, config)
	if again.Size() != 3002 {
		t.Errorf("size after trimming and reopening: %d", again.Size())
	}
}

func TestRetentionLeavesWhatIsNeeded(t *testing.T) {
	for name, c := range map[string]struct {
		config func(*Config)
		sizes  []int
	}{
		"above the newest checkpoint": {func(c *Config) { c.Signer = &stamp{fail: errDown} }, nil},
		"not yet uploaded":            {func(c *Config) { c.Keep = func(context.Context, Segment) (bool, error) { return true, nil } }, []int{900}},
		"not old enough":              {func(c *Config) { c.Retention = 26 * time.Hour }, []int{900}},
		"retention is not set":        {func(c *Config) { c.Retention = 0 }, []int{900}},
	} {
		t.Run(name, func(t *testing.T) {
			now := newClock()
			config := Config{Dir: t.TempDir(), Now: now.Now, SegmentBytes: 20_000, Retention: time.Hour, Signer: &stamp{}}
			c.config(&config)
			l, _ := tidied(t, config, c.sizes...)
			fill(t, l, 900-int(l.Size()))
			now.move(25 * time.Hour)
			if err := errors.Join(l.trim(t.Context()), l.trim(t.Context())); err != nil {
				t.Fatal(err)
			}
			if segments, err := mustReader(t, config.Dir).Segments(); err != nil || segments[0].First != 0 || len(segments) < 3 {
				t.Errorf("segments %v, %v", segments, err)
			}
		})
	}
}

// What is needed no longer goes though the segment behind it is needed, and a question that cannot be answered keeps all.
func TestRetentionAsksForEachSegment(t *testing.T) {
	now := newClock()
	var asked []Segment
	needed := func(Segment) (bool, error) { return false, errDown }
	config := Config{Dir: t.TempDir(), Now: now.Now, SegmentBytes: 20_000, Retention: time.Hour, Signer: &stamp{},
		Keep: func(_ context.Context, s Segment) (bool, error) { asked = append(asked, s); return needed(s) }}
	l, _ := tidied(t, config, 900)
	now.move(25 * time.Hour)
	if err := l.trim(t.Context()); !errors.Is(err, errDown) || len(asked) != 1 {
		t.Fatalf("asked %d times, %v", len(asked), err)
	}
	second := asked[0].First + asked[0].Count
	needed = func(s Segment) (bool, error) { return s.First >= second, nil }
	trimmed(t, l)
	if segments, err := mustReader(t, config.Dir).Segments(); err != nil || segments[0].First != second {
		t.Errorf("segments %v, %v; the first should begin at %d", segments, err, second)
	}
}

func TestTornTailsGoWhenTheirTimeIsOver(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	names := []string{"00000000000000000007-%d.log", "00000000000000000009-%d.log"}
	for i, name := range names {
		names[i] = filepath.Join(tornDir, fmt.Sprintf(name, now.Now().Add(time.Duration(i)*time.Hour).UnixNano()))
		put(t, dir, names[i], []byte("half a rec"))
	}
	strange := filepath.Join(tornDir, "note-to-self.log")
	put(t, dir, strange, []byte("not ours"))
	forever := mustOpen(t, Config{Dir: dir, Now: now.Now})
	now.move(26 * time.Hour)
	left := func() string {
		all, err := filepath.Glob(filepath.Join(dir, tornDir, "*"))
		for i := range all {
			all[i], err = filepath.Rel(dir, all[i])
		}
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(all, " ")
	}
	if err := forever.trimTorn(); err != nil || left() != strings.Join(append(names, strange), " ") {
		t.Errorf("without retention %s is left, %v", left(), err)
	}
	mustClose(t, forever)
	l := mustOpen(t, Config{Dir: dir, Now: now.Now, Retention: 25 * time.Hour})
	if err := l.trimTorn(); err != nil || left() != names[1]+" "+strange {
		t.Errorf("%s is left, %v", left(), err)
	}
	now.move(time.Hour)
	running(t, l)
	waitFor(t, "the other goes, too", func() bool { return left() == strange })
}

func TestMissingOrShortTilesAreMadeFromTheRecords(t *testing.T) {
	dir := t.TempDir()
	_, leaves := tidied(t, Config{Dir: dir, SegmentBytes: 40_000, Signer: &stamp{}}, 1000)
	if err := os.RemoveAll(filepath.Join(dir, "tile", "1")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tile", "0", "001"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, hashes := range map[string]tlog.HashReader{"tiles": mustReader(t, dir).Hashes(t.Context()), "records": mustReader(t, dir).HashesOfRecords(t.Context())} {
		for _, size := range []int{1, 255, 256, 257, 800, 1000} {
			if got, err := tlog.TreeHash(int64(size), hashes); err != nil || got != plainRoot(t, leaves[:size]) {
				t.Errorf("%s: root at %d: %v, %v", name, size, got, err)
			}
		}
	}
}

func mustList(t *testing.T, dir string) []segmentPath {
	t.Helper()
	segments, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	return segments
}

// A segment that this process wrote is packed as a whole, another one record by record: into the same file.
func TestPackingAsAWholeIsPackingByRecord(t *testing.T) {
	for name, length := range map[string]func(n int) int{
		"short":            func(int) int { return 300 },
		"long":             func(int) int { return 70_000 },
		"ends with frames": func(int) int { return frameBytes/8 - lineExtra },
		"longest":          func(int) int { return MaxRecordBytes },
		"longest at the end": func(n int) int {
			return []int{frameBytes/2 - lineExtra, frameBytes/2 - lineExtra - 1, MaxRecordBytes}[n%3]
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := mustOpen(t, Config{Dir: dir, SegmentBytes: 5 * frameBytes / 2})
			for n := 0; len(mustList(t, dir)) < 2; n++ {
				record := event(l.config.Now(), n)
				record = append(record[:len(record)-1], `,"x":"`...)
				record = append(append(record, bytes.Repeat([]byte{'x'}, length(n)-len(record)-2)...), `"}`...)
				if n%100 == 0 || len(record) > 10_000 {
					_, _, _, err := l.Append(t.Context(), l.config.Now(), record)
					if err != nil {
						t.Fatal(err)
					}
				} else if _, _, err := l.add(t.Context(), l.config.Now(), tlog.RecordHash(record), record, nil); err != nil {
					t.Fatal(err)
				}
			}
			pack := func(name string) (*seal, []byte) {
				t.Helper()
				s, err := readSeal(dir, 0)
				if err == nil {
					err = l.pack(t.Context(), s, filepath.Join(dir, name))
				}
				if err != nil {
					t.Fatal(err)
				}
				data, err := os.ReadFile(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				return s, data
			}
			if _, known := l.sealedSum(0); !known {
				t.Fatal("this process wrote the segment, and does not know its sum")
			}
			whole, one := pack("whole")
			l.forgetSum(0)
			lines, other := pack("lines")
			if !bytes.Equal(one, other) || !slices.Equal(whole.Frames, lines.Frames) || len(whole.Frames) < 2 {
				t.Errorf("%d bytes and %d, frames\n%v\n%v", len(one), len(other), whole.Frames, lines.Frames)
			}
		})
	}
}

// A segment in which a line is longer than any can be is left as it is, however it was altered.
func TestASegmentWithoutLinesIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 20_000})
	fill(t, l, 300)
	path := filepath.Join(dir, segmentName(0, plainSuffix))
	if err := os.WriteFile(path, make([]byte, 3*frameBytes+maxLineSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.compressSealed(t.Context()); err == nil || !strings.Contains(err.Error(), "record 0") {
		t.Errorf("compressed it: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 3*frameBytes+maxLineSize {
		t.Errorf("the evidence is gone: %v", err)
	}
}

// A log that is opened again in the middle of a segment does not know the sum of what it did not write.
func TestTheSumOfASegmentTakenOverIsNotKnown(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 20_000})
	fill(t, l, 50)
	mustClose(t, l)
	l = mustOpen(t, Config{Dir: dir, SegmentBytes: 20_000})
	fill(t, l, 500)
	segments := mustList(t, dir)
	if len(segments) < 3 {
		t.Fatalf("%d segments", len(segments))
	}
	for i, want := range []bool{false, true} {
		if _, known := l.sealedSum(segments[i].first); known != want {
			t.Errorf("segment %d: known %v", i, known)
		}
	}
	if err := l.compressSealed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(l.sums) > 0 {
		t.Errorf("sums of compressed segments are kept: %v", l.sums)
	}
	if n := len(readAll(t, mustReader(t, dir), 0, -1)); n != 550 {
		t.Errorf("%d records", n)
	}
}

func TestASegmentAlteredAfterSealingIsLeftAsItIs(t *testing.T) {
	dir := t.TempDir()
	l, _ := tidied(t, Config{Dir: dir, SegmentBytes: 20_000, Signer: &stamp{}}, 600)
	path := filepath.Join(dir, segmentName(0, plainSuffix))
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	altered := bytes.Replace(data, []byte("d000002"), []byte("d000003"), 1)
	if err := os.WriteFile(path, altered, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.compressSealed(t.Context()); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("compressed it: %v", err)
	}
	if kept, err := os.ReadFile(path); err != nil || !bytes.Equal(kept, altered) {
		t.Errorf("the evidence is gone: %v", err)
	}
}

func TestSegmentsAreSealedByAgeWithoutTraffic(t *testing.T) {
	dir, now := t.TempDir(), newClock()
	l := mustOpen(t, Config{Dir: dir, Now: now.Now, SegmentAge: time.Hour})
	old := []byte(`{"change":1,"timestamp":"2020-01-01T00:00:00Z"}`) // what a command left long ago makes no segment old
	if err := Leave(dir, now.Now(), old); err != nil {
		t.Fatal(err)
	}
	if err := l.emptyInbox(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(t, l, 3)
	if segments, err := listSegments(dir); err != nil || len(segments) != 1 {
		t.Fatalf("%v, %v", segments, err)
	}
	now.move(time.Hour)
	l.poke()
	waitFor(t, "the segment is sealed", func() bool {
		segments, err := listSegments(dir)
		return err == nil && len(segments) == 2
	})
	r := mustReader(t, dir)
	if segments, err := r.Segments(); err != nil || len(segments) != 1 || !segments[0].Sealed || segments[0].Count != 4 {
		t.Errorf("%+v, %v", segments, err)
	}
	if size, err := r.Size(); err != nil || size != 4 {
		t.Errorf("size %d, %v", size, err)
	}
}

func TestTilesThatACrashKeptFromTheDiskAreWrittenAgain(t *testing.T) {
	dir := t.TempDir()
	l, leaves := tidied(t, Config{Dir: dir, Signer: &stamp{}}, 700)
	mustClose(t, l)
	path := filepath.Join(dir, "tile", "0", "001")
	if err := os.WriteFile(path, make([]byte, 8192), 0o600); err != nil { // the right length, and nothing in it
		t.Fatal(err)
	}
	running(t, mustOpen(t, Config{Dir: dir, Signer: &stamp{}}))
	waitFor(t, "the tile is right again", func() bool {
		data, err := os.ReadFile(path)
		return err == nil && bytes.Equal(data, tile{hashes: leaves[256:512]}.data())
	})
}

func TestTheNewestCheckpointOfALongHistory(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		lines []string
		want  string
		end   int64
	}{
		"none":                       {nil, "", 0},
		"a torn one alone":           {[]string{"abc"}, "", 0},
		"one":                        {[]string{"abc\n"}, "abc\n", 4},
		"one and a torn one":         {[]string{"abc\n", "de"}, "abc\n", 4},
		"many":                       {[]string{strings.Repeat("x\n", 100_000), "last\n"}, "last\n", 200_005},
		"longer than what is read":   {[]string{"first\n", strings.Repeat("y", 100_000) + "\n"}, strings.Repeat("y", 100_000) + "\n", 100_007},
		"torn longer than what is r": {[]string{"first\n", strings.Repeat("y", 100_000)}, "first\n", 6},
	} {
		path := filepath.Join(dir, "history")
		put(t, dir, "history", []byte(strings.Join(c.lines, "")))
		if line, end, err := lastLine(path); err != nil || string(line) != c.want || end != c.end {
			t.Errorf("%s: %d bytes until %d, %v", name, len(line), end, err)
		}
	}
}

func TestPlacesInTheOpenSegmentAreRememberedAndRight(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir})
	pad := bytes.Repeat([]byte("x"), 1000)
	var b *batch
	for n := range 6000 {
		record := append(event(newClock().now, n), ' ')
		record = append(record, pad[:(n*37)%1000]...)
		var err error
		if b, _, err = l.add(t.Context(), newClock().now, tlog.RecordHash(record), record, nil); err != nil {
			t.Fatal(err)
		}
		l.poke()
	}
	<-b.done
	r := mustReader(t, dir)
	for range 2 { // the second time by what was remembered the first time
		for _, index := range []int64{5999, 0, 1023, 1024, 1025, 2047, 2048, 4000} {
			record, err := r.Record(t.Context(), index)
			if err != nil || record.Index != index || !bytes.HasPrefix(record.Event, event(newClock().now, int(index))) {
				t.Errorf("record %d: %d, %v", index, record.Index, err)
			}
		}
	}
	if len(r.marks[0]) == 0 {
		t.Error("nothing is remembered")
	}
	size := l.offset
	for _, m := range r.marks[0] {
		if m.Offset > size-maxTorn {
			t.Errorf("a place %d bytes from the end is remembered: the newest write may be cut off", size-m.Offset)
		}
	}
}
