package index

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/audit/ledger"
)

func open(t testing.TB, l Log) *Index {
	t.Helper()
	x, err := Open(l, Folder(l.Dir()))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func rowsOf(t testing.TB, x *Index, q Query) []Row {
	t.Helper()
	var rows []Row
	for row, err := range x.Rows(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// Every query gives what Query.Matches says of every record, however the rows are had.
func TestQueriesGiveWhatTheRecordsSay(t *testing.T) {
	log := newFakeLog(t, 530, 50)
	yes, no := true, false
	id := RowOf(log.records[377]).DecisionID
	queries := map[string]Query{
		"everything":           {},
		"newest first":         {Newest: true},
		"a time":               {From: begin.Add(150 * time.Second), To: begin.Add(420 * time.Second)},
		"a time, newest first": {From: begin.Add(150 * time.Second), To: begin.Add(420 * time.Second), Newest: true},
		"before everything":    {To: begin},
		"from the year 1":      {From: time.Date(1, 2, 3, 0, 0, 0, 0, time.UTC)},
		"to the year 9999":     {To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"indexes":              {First: 99, End: 301},
		"the end":              {First: 529},
		"decisions":            {Kind: KindDecision},
		"changes":              {Kind: Changes},
		"kinds that begin so":  {Kind: "revocation.*"},
		"a reason":             {Reason: "lifetime.too_long"},
		"a family":             {Reason: "lifetime.*"},
		"a reason that waived": {Reason: "claims.*", Enforcement: "waived"},
		"a control":            {Control: "GDPR:5.1.e"},
		"an issuer":            {Issuer: "https://b.example"},
		"an unknown issuer":    {Issuer: "https://c.example"},
		"a client":             {Client: "é\u2028\n"},
		"an audience":          {Audience: "orders"},
		"a caller":             {Caller: "desk \"1\"\\"},
		"a status and an alg":  {Status: "verified", Alg: "PS256"},
		"a key and a revision": {Key: "k2", Revision: "r1"},
		"superseded":           {Superseded: true},
		"mask failed":          {MaskFailed: true},
		"allows":               {Allow: &yes},
		"denies":               {Allow: &no, Newest: true},
		"changes allowed":      {Allow: &no, Kind: Changes},
		"a decision id":        {DecisionID: id},
		"no such id":           {DecisionID: "01ARZ3NDEKTSV4RRFFQ69G5FAV"},
		"not an id":            {DecisionID: "x"},
		"most of them at once": {Kind: KindDecision, Reason: "lifetime.*", Issuer: "https://idp.example", Audience: "billing", Allow: &no},
	}
	ways := map[string]func() *Index{
		"first":     func() *Index { return open(t, log) },
		"again":     func() *Index { return open(t, log) },
		"unindexed": func() *Index { return open(t, log) },
	}
	var rows []Row
	for _, r := range log.records {
		rows = append(rows, RowOf(r))
	}
	for name, q := range queries {
		var want []Row
		for _, row := range rows {
			if q.Matches(&row) {
				want = append(want, row)
			}
		}
		if q.Newest {
			slices.Reverse(want)
		}
		for way, index := range ways {
			t.Run(name+"/"+way, func(t *testing.T) {
				q := q
				q.Unindexed = way == "unindexed"
				if got := rowsOf(t, index(), q); !reflect.DeepEqual(got, want) {
					t.Fatalf("%d rows, want %d", len(got), len(want))
				}
				var records []Row
				for found, err := range index().Records(context.Background(), q) {
					if err != nil {
						t.Fatal(err)
					}
					if !reflect.DeepEqual(found.Record, log.records[found.Row.Index]) {
						t.Fatal("another record than the row's")
					}
					records = append(records, found.Row)
				}
				if !reflect.DeepEqual(records, want) {
					t.Fatalf("%d records, want %d", len(records), len(want))
				}
			})
		}
	}
}

func TestSubjectIsFoundByItsPseudonym(t *testing.T) {
	log := newFakeLog(t, 500, 100)
	const subject = "p:2026-10.v1:0000000000000000000007"
	var want []int64
	for _, r := range log.records {
		if _, hash := rowOf(r); hash == subjectHash([]byte(subject)) {
			want = append(want, r.Index)
		}
	}
	var got []int64
	for _, row := range rowsOf(t, open(t, log), Query{Subjects: []string{"nobody", subject}}) {
		got = append(got, row.Index)
	}
	if len(want) < 3 || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// What is indexed is not read again; a query reads the segments that it needs and no others.
func TestOnlyWhatIsNeededIsRead(t *testing.T) {
	log := newFakeLog(t, 1050, 100)
	x := open(t, log)
	if err := x.Build(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	if n := log.seen(); n != 1000 {
		t.Errorf("building read %d records, want those of the sealed segments, 1000", n)
	}
	if err := x.Build(context.Background(), 2); err != nil || log.seen() != 0 {
		t.Errorf("built again although everything is there: %v", err)
	}
	rowsOf(t, x, Query{})
	if n := log.seen(); n != 50 {
		t.Errorf("a query read %d records, want those of the open segment, 50", n)
	}
	log.append(t, log.records[0].Event)
	if rows := rowsOf(t, x, Query{}); len(rows) != 1051 || log.seen() != 1 {
		t.Errorf("%d rows; a record that came was not all that was read", len(rows))
	}
	for range x.Records(context.Background(), Query{First: 310, End: 312}) { //nolint:revive // counting reads
	}
	if n := log.seen(); n != 2 {
		t.Errorf("two records took reading %d", n)
	}
	for range open(t, newUnbuilt(t, log)).Rows(context.Background(), Query{DecisionID: RowOf(log.records[250]).DecisionID}) {
		break
	}
	if n := log.seen(); n > 300 { // that of the id and what is read ahead
		t.Errorf("an id took reading %d records", n)
	}
}

// newUnbuilt is the same log without an index.
func newUnbuilt(t testing.TB, log *fakeLog) *fakeLog {
	t.Helper()
	if err := os.RemoveAll(Folder(log.dir)); err != nil {
		t.Fatal(err)
	}
	return log
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	log := newFakeLog(t, 250, 100)
	blocked := filepath.Join(t.TempDir(), "file", "index") // a folder in a file cannot be made, for root neither
	if err := os.WriteFile(filepath.Dir(blocked), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	x, err := Open(log, blocked)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(rowsOf(t, x, Query{})); n != 250 {
		t.Errorf("%d rows, want 250", n)
	}
	log.seen()
	if n := len(rowsOf(t, x, Query{})); n != 250 || log.seen() != 0 {
		t.Errorf("%d rows; what was built is not kept in memory", n)
	}
	if err := x.Build(context.Background(), 2); err == nil {
		t.Error("Build does not say that it cannot write")
	}
	if _, err := Open(log, filepath.Dir(blocked)); err == nil {
		t.Error("a file is taken for a folder")
	}
}

// An index that is damaged, or that belongs to what the segment was before, is made again.
func TestDamagedAndForeignIndexesAreBuiltAgain(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, log *fakeLog, file string){
		"a bit": func(t *testing.T, _ *fakeLog, file string) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			text[len(text)/2] ^= 4
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"the end": func(t *testing.T, _ *fakeLog, file string) {
			if err := os.Truncate(file, 100); err != nil {
				t.Fatal(err)
			}
		},
		"everything": func(t *testing.T, _ *fakeLog, file string) {
			if err := os.Truncate(file, 0); err != nil {
				t.Fatal(err)
			}
		},
		"that of another segment": func(t *testing.T, _ *fakeLog, file string) {
			if err := os.Rename(filepath.Join(filepath.Dir(file), "00000000000000000200.idx"), file); err != nil {
				t.Fatal(err)
			}
		},
		"the segment's file was altered": func(t *testing.T, log *fakeLog, _ string) {
			segment := filepath.Join(log.dir, "segments", "00000000000000000100.log")
			if err := os.Chtimes(segment, time.Time{}, begin); err != nil {
				t.Fatal(err)
			}
		},
		"the segment was sealed as something else": func(t *testing.T, log *fakeLog, _ string) {
			if err := os.WriteFile(filepath.Join(log.dir, "segments", "00000000000000000100.seal"), []byte("x"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			log := newFakeLog(t, 300, 100)
			want := rowsOf(t, open(t, log), Query{})
			log.seen()
			harm(t, log, open(t, log).path(100))
			if got := rowsOf(t, open(t, log), Query{}); !reflect.DeepEqual(got, want) {
				t.Error("other rows than before")
			}
			if log.seen() == 0 {
				t.Error("nothing was read again")
			}
			if rowsOf(t, open(t, log), Query{}); log.seen() != 0 {
				t.Error("it was not mended on disk")
			}
		})
	}
}

// A forged index keeps to the form; records are compared with what it says of them.
func TestForgedRowIsNoticedAtTheRecord(t *testing.T) {
	log := newFakeLog(t, 300, 100)
	x := open(t, log)
	rowsOf(t, x, Query{})
	bound, err := x.bind(ledger.Segment{First: 100, Count: 100})
	if err != nil {
		t.Fatal(err)
	}
	forged, err := x.load(bound, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	forged.flags[42] ^= allowFlag
	if err := x.write(forged.encode(bound), 100); err != nil {
		t.Fatal(err)
	}
	for _, q := range []Query{{}, {Newest: true}, {First: 142, End: 143}} {
		var last error
		for _, err := range open(t, log).Records(context.Background(), q) {
			last = err
		}
		if !errors.Is(last, ErrDisagrees) {
			t.Errorf("%+v: %v, want %v", q, last, ErrDisagrees)
		}
	}
	if row := rowsOf(t, open(t, log), Query{First: 142, End: 143, Unindexed: true})[0]; !reflect.DeepEqual(row, RowOf(log.records[142])) {
		t.Error("Unindexed believes the index")
	}
}

// What retention deleted goes from the index too: there may be pseudonyms in it.
func TestIndexGoesWithItsSegment(t *testing.T) {
	log := newFakeLog(t, 500, 100)
	x := open(t, log)
	if err := x.Build(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(Folder(log.dir), "README")
	if err := os.WriteFile(foreign, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log.mu.Lock()
	log.first = 200
	log.mu.Unlock()
	if err := x.Build(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(Folder(log.dir), "*"))
	if err != nil || len(left) != 4 || filepath.Base(left[0]) != "00000000000000000200.idx" || left[3] != foreign {
		t.Errorf("left are %v", left)
	}
	if rows := rowsOf(t, x, Query{}); len(rows) != 300 || rows[0].Index != 200 {
		t.Errorf("%d rows", len(rows))
	}
	if _, err := x.Record(context.Background(), 7); !errors.Is(err, ledger.ErrTrimmed) {
		t.Errorf("a trimmed record: %v", err)
	}
}

func TestEndOfContextEndsIt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	x := open(t, newFakeLog(t, 300, 100))
	for _, err := range x.Rows(ctx, Query{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want that it was cancelled", err)
		}
	}
	if err := x.Build(ctx, 2); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
