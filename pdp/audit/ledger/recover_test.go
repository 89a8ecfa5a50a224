package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"golang.org/x/mod/sumdb/tlog"
)

// written makes a log of n records, with a checkpoint over the first of them, and gives its newest segment.
func written(t testing.TB, dir string, marked, n int) []byte {
	t.Helper()
	l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin, Now: newClock().Now, Signer: &stamp{}, disk: quickDisk{}})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, marked)
	if err := l.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(t, l, n-marked)
	mustClose(t, l)
	data, err := os.ReadFile(filepath.Join(dir, segmentName(0, plainSuffix)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// withTail is a folder with the checkpoints of another one and a newest segment that a crash left.
func withTail(t testing.TB, from string, segment []byte) string {
	t.Helper()
	dir := t.TempDir()
	history, err := os.ReadFile(filepath.Join(from, checkpointsName))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, checkpointsName, history)
	put(t, dir, segmentName(0, plainSuffix), segment)
	return dir
}

func TestTailCutOffAtEveryByte(t *testing.T) {
	origin := t.TempDir()
	data := written(t, origin, 5, 7)
	lines := bytes.SplitAfter(data, []byte("\n"))
	marked := len(bytes.Join(lines[:5], nil))
	for end := marked; end <= len(data); end++ {
		var told []pdp.Change
		dir := withTail(t, origin, data[:end])
		l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin, disk: quickDisk{}, Describe: func(c pdp.Change) []byte { told = append(told, c); return describe(c) }})
		if err != nil {
			t.Fatalf("cut off at byte %d: %v", end, err)
		}
		whole := bytes.Count(data[:end], []byte("\n"))
		torn := data[bytes.LastIndexByte(data[:end], '\n')+1 : end]
		all := readAll(t, mustReader(t, dir), 0, -1)
		switch {
		case len(torn) == 0 && (len(all) != whole || len(told) != 0):
			t.Errorf("cut off at byte %d, between lines: %d records, told %v", end, len(all), told)
		case len(torn) > 0 && (len(all) != whole+1 || len(told) != 1 || told[0].Kind != pdp.LogRecovered || told[0].Details["bytes"] != len(torn)):
			t.Errorf("cut off at byte %d, in a line: %d records, told %v", end, len(all), told)
		}
		for n, record := range all[:whole] {
			if string(record.Event) != string(event(newClock().now, n)) {
				t.Errorf("cut off at byte %d: record %d is %s", end, n, record.Event)
			}
		}
		if len(torn) > 0 {
			kept, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(told[0].Details["kept_as"].(string))))
			if err != nil || !bytes.Equal(kept, torn) {
				t.Errorf("cut off at byte %d: kept %q of %q, %v", end, kept, torn, err)
			}
		}
		mustClose(t, l)
	}
}

func TestTailOfGarbageIsCutOff(t *testing.T) {
	origin := t.TempDir()
	data := written(t, origin, 5, 8)
	last := bytes.LastIndexByte(data[:len(data)-1], '\n') + 1
	altered := bytes.Clone(data)
	altered[last+60] ^= 1
	for name, c := range map[string]struct {
		segment []byte
		kept    int
	}{
		"zeros":                       {append(bytes.Clone(data), make([]byte, 5000)...), 8},
		"zeros in place of a record":  {append(bytes.Clone(data[:last]), make([]byte, 100)...), 7},
		"noise":                       {append(bytes.Clone(data), "\xff\xfe\x00 \n\n  }\n"...), 8},
		"a line that is too long":     {append(bytes.Clone(data), bytes.Repeat([]byte("A"), maxLineSize+10)...), 8},
		"the last record altered":     {altered, 7},
		"a line without a hash":       {append(bytes.Clone(data), "{}\n"...), 8},
		"an empty line":               {append(bytes.Clone(data), '\n'), 8},
		"a hash that is not its own":  {append(bytes.Clone(data), strings.Repeat("A", hashText)+" {}\n"...), 8},
		"a line feed that is missing": {data[:len(data)-1], 7},
	} {
		t.Run(name, func(t *testing.T) {
			dir := withTail(t, origin, c.segment)
			l := mustOpen(t, Config{Dir: dir})
			all := readAll(t, mustReader(t, dir), 0, -1)
			if len(all) != c.kept+1 || !bytes.Contains(all[c.kept].Event, []byte("log.recovered")) {
				t.Fatalf("%d records left, the last is %s", len(all), all[len(all)-1].Event)
			}
			fill(t, l, 3)
			mustClose(t, l)
			again := mustOpen(t, Config{Dir: dir})
			if again.Size() != int64(c.kept+4) {
				t.Errorf("after another start there are %d records", again.Size())
			}
		})
	}
}

// The history of checkpoints is held against the newest one's own file before anything is appended to either.
func TestAHistoryOfCheckpointsThatWasShortened(t *testing.T) {
	origin := newSealedLog(t, newSigning(t))
	history, err := os.ReadFile(origin.path(checkpointsName))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(bytes.TrimSuffix(history, []byte("\n")), []byte("\n"))
	other, err := origin.keys.SignNote(t.Context(), checkpointText(testOrigin, 950, tlog.Hash{1}))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, data []byte) func(*testing.T, string) {
		return func(t *testing.T, dir string) { put(t, dir, name, data) }
	}
	remove := func(names ...string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			for _, name := range names {
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, c := range map[string]struct {
		do   func(t *testing.T, dir string)
		says string // empty: it is no damage
	}{
		"untouched":                        {func(*testing.T, string) {}, ""},
		"the history is removed":           {remove(checkpointsName), "is one over 950 records: it was removed or emptied"},
		"the history is emptied":           {write(checkpointsName, nil), "is one over 950 records: it was removed or emptied"},
		"the history has no line feed":     {write(checkpointsName, bytes.TrimSuffix(lines[0], []byte("\n"))), "is one over 950 records: it was removed or emptied"},
		"its last line has no line feed":   {write(checkpointsName, bytes.TrimSuffix(history, []byte("\n"))), "over 850 records, and the file checkpoint is one over 950"},
		"its last lines are removed":       {write(checkpointsName, bytes.Join(lines[:3], nil)), "over 350 records, and the file checkpoint is one over 950"},
		"the newest has another root":      {write(checkpointName, other), "another root over 950 records"},
		"the newest is older":              {write(checkpointName, []byte(checkpointText(testOrigin, 850, tlog.Hash{1})+"\n")), ""},
		"the newest was emptied":           {write(checkpointName, nil), ""},
		"the newest is gone":               {remove(checkpointName), ""},
		"both are gone":                    {remove(checkpointName, checkpointsName), ""},
		"the history is gone, it emptied":  {func(t *testing.T, dir string) { remove(checkpointsName)(t, dir); put(t, dir, checkpointName, nil) }, "it was removed or emptied"},
		"the history is one endless line":  {write(checkpointsName, make([]byte, 32<<20)), "longer than a record"},
		"the newest is no file that it is": {write(checkpointName, make([]byte, 1<<20)), "longer than the 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(origin.dir)); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			c.do(t, dir)
			l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin, Signer: origin.keys, disk: quickDisk{}})
			if err == nil {
				mustClose(t, l)
			}
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says %v", err)
			}
		})
	}
}

func TestDamageOfWhatWasDurableIsNotMended(t *testing.T) {
	origin := t.TempDir()
	data := written(t, origin, 5, 8)
	lines := bytes.SplitAfter(data, []byte("\n"))
	join := func(lines ...[]byte) []byte { return bytes.Join(lines, nil) }
	forged := appendLine(nil, tlog.RecordHash([]byte(`{"forged":true}`)), []byte(`{"forged":true}`))
	altered := bytes.Replace(data, []byte("d000002"), []byte("d000009"), 1)
	for name, c := range map[string]struct {
		segment []byte
		says    string
	}{
		"a record altered":                      {altered, "record 2 in segments/00000000000000000000.log at byte"},
		"a record altered, and its hash":        {join(lines[0], forged, join(lines[2:]...)), "the first 5 records are not those"},
		"a record removed":                      {join(lines[0], join(lines[2:]...)), "the first 5 records are not those"},
		"two records in the other order":        {join(lines[1], lines[0], join(lines[2:]...)), "the first 5 records are not those"},
		"a record inserted":                     {join(lines[0], forged, join(lines[1:]...)), "the first 5 records are not those"},
		"cut off below the checkpoint":          {join(lines[:3]...), "the last 2 are missing"},
		"cut off in a line below":               {data[:len(join(lines[:2]...))+10], "record 2 in"},
		"everything gone":                       {nil, "the last 5 are missing"},
		"a record above altered, much after it": {append(bytes.Clone(altered[:0]), append(join(lines[:6]...), append([]byte("x\n"), bytes.Repeat(lines[7], maxTorn/len(lines[7])+1)...)...)...), "more than one write that was under way"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := withTail(t, origin, c.segment)
			l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin})
			if err == nil {
				_ = l.Close()
				t.Fatal("it starts")
			}
			var damage *DamageError
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "assay audit verify") {
				t.Errorf("it says: %v", err)
			}
			if now, err := os.ReadFile(filepath.Join(dir, segmentName(0, plainSuffix))); err != nil || !bytes.Equal(now, c.segment) {
				t.Errorf("the segment was changed (%v)", err)
			}
		})
	}
}

func TestSegmentsThatAreMissing(t *testing.T) {
	for name, c := range map[string]struct {
		remove int
		says   string
	}{
		"the first": {0, "the log begins here"},
		"the third": {2, "a segment or a part of one is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			signer := &stamp{}
			l := mustOpen(t, Config{Dir: dir, SegmentBytes: 2000, Signer: signer})
			fill(t, l, 10)
			if err := l.checkpoint(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				fill(t, l, 50)
			}
			mustClose(t, l)
			segments, err := listSegments(dir)
			if err != nil || len(segments) < 5 {
				t.Fatal(segments, err)
			}
			for _, suffix := range []string{plainSuffix, sealSuffix} {
				if err := os.Remove(filepath.Join(dir, segmentName(segments[c.remove].first, suffix))); err != nil {
					t.Fatal(err)
				}
			}
			if l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin}); err == nil {
				_ = l.Close()
				t.Error("it starts")
			} else if !strings.Contains(err.Error(), c.says) {
				t.Errorf("it says: %v", err)
			}
		})
	}
}

func TestSealsAreDerived(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, Config{Dir: dir, SegmentBytes: 2000})
	for range 5 {
		fill(t, l, 50)
	}
	want := l.tree.root()
	mustClose(t, l)
	seals, err := filepath.Glob(filepath.Join(dir, segmentsDir, "*"+sealSuffix))
	if err != nil || len(seals) < 3 {
		t.Fatal(seals, err)
	}
	for i, name := range seals {
		if i == 0 {
			put(t, "", name, []byte(`{"first":0,"count":1}`))
		} else if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	again := mustOpen(t, Config{Dir: dir})
	if again.Size() != 250 || again.tree.root() != want {
		t.Errorf("without seals: %d records", again.Size())
	}
	for i, name := range seals {
		if data, err := os.ReadFile(name); err != nil || len(data) < 100 {
			t.Errorf("seal %d was not made again: %v", i, err)
		}
	}
}

func TestCheckpointHistoryThatIsTornOrOfAnotherLog(t *testing.T) {
	origin := t.TempDir()
	data := written(t, origin, 5, 8)
	history, err := os.ReadFile(filepath.Join(origin, checkpointsName))
	if err != nil {
		t.Fatal(err)
	}
	dir := withTail(t, origin, data)
	put(t, dir, checkpointsName, append(bytes.Clone(history), history[:40]...))
	l := mustOpen(t, Config{Dir: dir, Signer: &stamp{}})
	if err := l.checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := mustReader(t, dir).Checkpoints(); err != nil || len(all) != 2 {
		t.Errorf("after a torn line: %d checkpoints, %v", len(all), err)
	}
	other := withTail(t, origin, data)
	if _, err := Open(t.Context(), Config{Dir: other, Origin: "another.example/log"}); err == nil || !strings.Contains(err.Error(), testOrigin) {
		t.Errorf("another origin: %v", err)
	}
	put(t, other, checkpointsName, []byte("{\"note\":\"nonsense\"}\n"))
	var damage *DamageError
	if _, err := Open(t.Context(), Config{Dir: other, Origin: testOrigin}); !errors.As(err, &damage) || damage.File != checkpointsName {
		t.Errorf("nonsense in the history: %v", err)
	}
}

// FuzzLine: what is accepted as a line is exactly what is written for the record in it.
func FuzzLine(f *testing.F) {
	f.Add(appendLine(nil, tlog.RecordHash([]byte(`{"a":1}`)), []byte(`{"a":1}`)))
	f.Add([]byte("\n"))
	f.Add([]byte(strings.Repeat("A", hashText) + " {}\n"))
	f.Fuzz(func(t *testing.T, line []byte) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		leaf, event, err := parseLine(line)
		if err != nil {
			return
		}
		if again := appendLine(nil, leaf, event); !bytes.Equal(again, append(bytes.Clone(line), '\n')) {
			t.Errorf("accepted %q, would write %q", line, again)
		}
	})
}

// FuzzRecovery: whatever a crash put behind a prefix of the log, what is kept begins with that prefix, goes on
// only with lines that are good, and then takes records.
func FuzzRecovery(f *testing.F) {
	origin := f.TempDir()
	data := written(f, origin, 3, 6)
	marked := bytes.Index(data, event(newClock().now, 3)) - hashText - 1
	f.Add(uint16(0), []byte("garbage"))
	f.Add(uint16(40), []byte("\x00\x00\n"))
	f.Add(uint16(10_000), appendLine(nil, tlog.RecordHash([]byte(`{}`)), []byte(`{}`)))
	f.Fuzz(func(t *testing.T, cut uint16, tail []byte) {
		end := min(marked+int(cut), len(data))
		whole := bytes.Count(data[:end], []byte("\n"))
		segment := append(bytes.Clone(data[:end]), tail...)
		dir := withTail(t, origin, segment)
		l, err := Open(t.Context(), Config{Dir: dir, Origin: testOrigin, Now: newClock().Now, disk: quickDisk{}})
		if err != nil {
			t.Fatalf("it does not start: %v", err)
		}
		defer func() { _ = l.Close() }()
		var kept []byte
		for n, record := range readAll(t, mustReader(t, dir), 0, -1) {
			if n < whole && string(record.Event) != string(event(newClock().now, n)) {
				t.Errorf("record %d is %q", n, record.Event)
			}
			if !bytes.Contains(record.Event, []byte("log.recovered")) {
				kept = appendLine(kept, record.Hash, record.Event)
			}
		}
		if !bytes.HasPrefix(segment, kept) || bytes.Count(kept, []byte("\n")) < whole {
			t.Errorf("%d bytes kept are no prefix of what was there, or too few", len(kept))
		}
		if _, _, durable, err := l.Append(t.Context(), newClock().now, fmt.Appendf(nil, `{"after":%d}`, cut)); err != nil || !durable {
			t.Errorf("it takes no record: %v", err)
		}
	})
}
