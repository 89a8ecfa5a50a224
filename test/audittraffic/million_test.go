package audittraffic_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/test/audittraffic"
)

// TestFigures measures reading a large log. It is for the figures in the documentation and runs only if asked:
//
//	ASSAY_AUDIT_FIGURES=1000000 go test -run TestFigures -v -timeout 10m ./test/audittraffic
//
// With ASSAY_AUDIT_DIR the log is written there, or read if it is there already.
func TestFigures(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("ASSAY_AUDIT_FIGURES"))
	if err != nil {
		t.Skip("ASSAY_AUDIT_FIGURES is not a number of decisions")
	}
	dir := os.Getenv("ASSAY_AUDIT_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	reader, err := ledger.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	size, err := reader.Size()
	if err != nil {
		t.Fatal(err)
	}
	took := func(what string, do func()) {
		began := time.Now()
		do()
		t.Logf("%-60s %8.3f s", what, time.Since(began).Seconds())
	}
	if size == 0 {
		took("writing the log", func() {
			if _, err := audittraffic.Write(t.Context(), audittraffic.Config{Dir: dir, Decisions: n, Seed: 1}); err != nil {
				t.Fatal(err)
			}
		})
	}
	if err := os.RemoveAll(index.Folder(dir)); err != nil {
		t.Fatal(err)
	}
	open := func() *index.Index {
		x, err := index.Open(reader, index.Folder(dir))
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	count := func(x *index.Index, q index.Query) (rows int) {
		for _, err := range x.Rows(t.Context(), q) {
			if err != nil {
				t.Fatal(err)
			}
			rows++
		}
		return rows
	}
	took("building every index", func() {
		if err := open().Build(t.Context(), 2); err != nil {
			t.Fatal(err)
		}
	})
	var rows int
	took("every row, the open segment read", func() { rows = count(open(), index.Query{}) })
	x := open()
	count(x, index.Query{})
	took("every row, the open segment in memory", func() { count(x, index.Query{}) })
	var last index.Row
	took("the rows with one reason of one client", func() {
		for row, err := range x.Rows(t.Context(), index.Query{Reason: "lifetime.too_long", Client: "reseller-42"}) {
			if err != nil {
				t.Fatal(err)
			}
			last = row
		}
	})
	took("one decision by its id, and its record", func() {
		for found, err := range open().Records(t.Context(), index.Query{DecisionID: last.DecisionID}) {
			if err != nil || found.Row.Index != last.Index {
				t.Fatal(found.Row, err)
			}
			break
		}
	})
	took("the newest 50 denies, with records", func() {
		deny, left := false, 50
		for _, err := range open().Records(t.Context(), index.Query{Allow: &deny, Newest: true}) {
			if left--; err != nil || left == 0 {
				break
			}
		}
	})
	took("one reason, without an index", func() { count(open(), index.Query{Reason: "revocation.key", Unindexed: true}) })
	t.Logf("%d records", rows)
}
