package upload

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOnlyABoundedPieceIsInMemory(t *testing.T) {
	log := newMemory(0)
	for i := range 500 {
		log.add(i)
	}
	log.add(40_000) // larger than a batch: goes alone
	d := &taker{}
	s, stop := running(t, Config{Log: log, Destination: d, BatchBytes: 10_000, BatchRecords: 20})
	until(t, "all delivered", delivered(s))
	stop()
	alone := len(log.records[500].Event)
	if d.largest != alone || d.calls < 501/20 {
		t.Errorf("the largest batch had %d bytes, in %d calls", d.largest, d.calls)
	}
	d.largest = 0
	if got := d.indexes(); len(got) != 501 || !slices.IsSorted(got) {
		t.Errorf("%d records", len(got))
	}
}

// What a destination acknowledged of a batch is not sent again; what follows is.
func TestPartOfABatchIsAcknowledged(t *testing.T) {
	d := &taker{fail: func(call int, records []Record) (int, error) {
		if n := min(call, len(records)); n < len(records) {
			return n, errDown
		}
		return len(records), nil
	}}
	s, stop := running(t, Config{Log: newMemory(100), Destination: d})
	until(t, "all delivered", delivered(s))
	stop()
	got := d.indexes()
	for i, index := range got {
		if int64(i) != index {
			t.Fatalf("sent as number %d: record %d", i, index)
		}
	}
	if len(got) != 100 {
		t.Errorf("%d records", len(got))
	}
}

// An older process that ends between the acknowledgement and the cursor: the records come twice, none is lost.
func TestCursorThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "there.cursor.new")
	if err := os.Mkdir(blocked, 0o700); err != nil {
		t.Fatal(err)
	}
	d := &taker{}
	s, _ := running(t, Config{Dir: dir, Log: newMemory(10), Destination: d, BatchRecords: 4})
	until(t, "the failure in health", func() bool { return strings.Contains(s.Health().Error, "the cursor cannot be written") })
	if h := s.Health(); h.Next != 0 {
		t.Errorf("went on without a cursor: %+v", h)
	}
	if err := os.Remove(blocked); err != nil {
		t.Fatal(err)
	}
	until(t, "all delivered", delivered(s))
	got := d.indexes()
	slices.Sort(got)
	if got = slices.Compact(got); len(got) != 10 {
		t.Errorf("delivered %v", got)
	}
}

func TestRecordsThatRetentionDeleted(t *testing.T) {
	log := newMemory(10)
	log.trim(6)
	d, told := &taker{}, &losses{}
	s, stop := running(t, Config{Log: log, Destination: d, Missed: told.add})
	until(t, "the rest delivered", func() bool { return delivered(s)() && s.Health().Missed == 6 })
	stop()
	if !slices.Equal(told.list, []Loss{{"there", 0, 6}}) {
		t.Errorf("told of %v", told.list)
	}
	if got := d.indexes(); !slices.Equal(got, []int64{6, 7, 8, 9}) {
		t.Errorf("delivered %v", got)
	}
	log.trim(10) // of what was delivered
	if again, err := New(Config{Name: "there", Dir: filepath.Dir(s.files.cursor()), Log: log, Destination: d}); err != nil || again.Health().Missed != 6 || again.Next() != 10 {
		t.Errorf("after a restart: %+v, %v", again.Health(), err)
	}
}

func TestAllThatWaitedWasDeleted(t *testing.T) {
	log := newMemory(10)
	log.trim(10)
	d := &taker{}
	s, _ := running(t, Config{Log: log, Destination: d})
	if h := s.Health(); h.Lag != 10 {
		t.Errorf("%+v", h)
	}
	log.add(0)
	until(t, "the next one delivered", func() bool { return slices.Equal(d.indexes(), []int64{10}) })
	until(t, "them to be counted", func() bool { h := s.Health(); return h.Missed == 10 && h.Lag == 0 })
}

func TestLogThatWasExchanged(t *testing.T) {
	other := newMemory(0)
	for range 5 {
		other.add(1)
	}
	for name, log := range map[string]*memory{"for one with other records": other, "for a shorter one": newMemory(2)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			first, stop := running(t, Config{Dir: dir, Log: newMemory(5), Destination: &taker{}})
			until(t, "all delivered", delivered(first))
			stop()
			d := &taker{}
			s, _ := running(t, Config{Dir: dir, Log: log, Destination: d})
			until(t, "the failure in health", func() bool { return strings.Contains(s.Health().Error, "does not hold record 4") })
			if got := d.indexes(); len(got) != 0 {
				t.Errorf("delivered %v nevertheless", got)
			}
			if err := os.Remove(filepath.Join(dir, "there.cursor")); err != nil {
				t.Fatal(err)
			}
			until(t, "all of it delivered", func() bool { return delivered(s)() && s.Health().Error == "" })
			if int64(len(d.indexes())) != log.Size() {
				t.Errorf("delivered %v", d.indexes())
			}
		})
	}
}

func TestCursorsThatAreRefused(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"of another log", `{"log":"other","next":3}`, `about the log "other"`},
		{"empty", "", "damaged"},
		{"cut off", `{"log":"assay.ex`, "damaged"},
		{"negative", `{"log":"assay.example/test","next":-1}`, "damaged"},
		{"unknown member", `{"log":"assay.example/test","next":1,"x":1}`, "damaged"},
		{"twice", `{"log":"assay.example/test","next":1,"next":2}`, "damaged"},
		{"no hash", `{"log":"assay.example/test","next":1,"leaf_hash":"AAAA"}`, "damaged"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "there.cursor"), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := New(Config{Name: "there", Dir: dir, Log: newMemory(3), Destination: &taker{}}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

// A cursor that is read is one that could be written, and is written as it was read.
func FuzzCursor(f *testing.F) {
	f.Add([]byte(`{"log":"assay.example/test","next":7,"leaf_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","refused":1,"missed":2}`))
	f.Add([]byte(`{"log":"x","next":0}`))
	f.Add([]byte(`{"log":"x","next":1e3}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCursor(text)
		if err != nil {
			if c != (cursor{}) {
				t.Fatalf("%+v beside %v", c, err)
			}
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := parseCursor(bytes.TrimSpace(again)); err != nil || twice != c {
			t.Fatalf("%+v became %+v: %v", c, twice, err)
		}
	})
}

// What lies before a record that cannot be read is delivered, and what lies behind it once it can be.
func TestLogThatCannotBeRead(t *testing.T) {
	log := newMemory(10)
	log.damaged = map[int64]bool{6: true}
	d := &taker{}
	s, _ := running(t, Config{Log: log, Destination: d})
	until(t, "the failure in health", func() bool { return s.Health().Error == errDamaged.Error() })
	if h := s.Health(); h.Next != 6 || h.Lag != 4 {
		t.Errorf("%+v", h)
	}
	log.mu.Lock()
	log.damaged = nil
	log.mu.Unlock()
	until(t, "all delivered", delivered(s))
	if got := d.indexes(); len(got) != 10 || !slices.IsSorted(got) {
		t.Errorf("delivered %v", got)
	}
}

// How far behind a destination is: the age of the oldest record that waits, by the clock.
func TestBehind(t *testing.T) {
	log := newMemory(5)
	now := time.Date(2026, 11, 24, 12, 10, 0, 0, time.UTC)
	s, _ := running(t, Config{Log: log, Now: func() time.Time { return now }, Destination: &taker{fail: func(_ int, r []Record) (int, error) {
		if r[0].Index == 0 {
			return 2, errDown
		}
		return 0, errDown
	}}})
	until(t, "two delivered, and the third tried", func() bool { return s.Health().Behind == 10*time.Minute-2*time.Second })
	if h := s.Health(); h.Lag != 3 || h.Next != 2 || h.Error != "down" {
		t.Errorf("%+v", h)
	}
}

func TestRetries(t *testing.T) {
	for _, test := range []struct {
		name   string
		n      int
		random float64
		want   time.Duration
	}{
		{"the first", 1, 0, time.Second},
		{"the first, by chance earlier", 1, 0.5, 750 * time.Millisecond},
		{"the third", 3, 0, 4 * time.Second},
		{"the longest", 7, 0, time.Minute},
		{"no longer than that, however often", 1 << 20, 0, time.Minute},
		{"no earlier than half of it", 1 << 20, 0.999999, 30*time.Second + 30*time.Microsecond},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := retryAfter(time.Second, time.Minute, test.n, test.random); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{"siem": true, "a-1_b": true, "": false, "A": false, "../x": false, "-a": false, strings.Repeat("a", 65): false} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := New(Config{Name: "../x", Dir: t.TempDir(), Log: newMemory(0), Destination: &taker{}}); err == nil {
		t.Error("a name that leaves the folder is accepted")
	}
	if err := error(&TooLarge{Bytes: 3, Err: errDown}); !errors.Is(err, errDown) || !strings.Contains(err.Error(), "3 bytes") {
		t.Error(err)
	}
}
