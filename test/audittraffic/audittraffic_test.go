package audittraffic_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/test/audittraffic"
)

func written(t testing.TB, c audittraffic.Config) (*audittraffic.Log, *ledger.Reader) {
	t.Helper()
	c.Dir = filepath.Join(t.TempDir(), "audit")
	log, err := audittraffic.Write(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := ledger.OpenReader(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	return log, reader
}

func hashes(t testing.TB, reader *ledger.Reader) []string {
	t.Helper()
	var all []string
	for record, err := range reader.Records(context.Background(), 0, -1) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, record.Hash.String())
	}
	return all
}

func TestSameSeedSameRecords(t *testing.T) {
	log, reader := written(t, audittraffic.Config{Decisions: 3000, Days: 10, Seed: 7})
	_, again := written(t, audittraffic.Config{Decisions: 3000, Days: 10, Seed: 7})
	_, other := written(t, audittraffic.Config{Decisions: 3000, Days: 10, Seed: 8})
	first := hashes(t, reader)
	if int64(len(first)) != log.Size || !slices.Equal(first, hashes(t, again)) {
		t.Errorf("%d records, want %d, the same twice", len(first), log.Size)
	}
	if slices.Equal(first, hashes(t, other)) {
		t.Error("another seed gives the same records")
	}
}

// The month tells its story, the real decoder reads every record, and no person is named.
func TestMonthHasWhatAReportTells(t *testing.T) {
	log, reader := written(t, audittraffic.Config{Decisions: 15000, Seed: 1, SegmentBytes: 4 << 20})
	kinds, codes, enforcements, statuses := map[string]int64{}, map[string]int{}, map[string]int{}, map[string]int{}
	var denied, superseded, failed int64
	for record, err := range reader.Records(t.Context(), 0, -1) {
		if err != nil {
			t.Fatal(err)
		}
		event, err := audit.Decode(record.Event)
		if err != nil {
			t.Fatal(err)
		}
		row := index.RowOf(record)
		kinds[row.Kind]++
		statuses[row.Status]++
		for _, reason := range row.Reasons {
			codes[reason.Code]++
			enforcements[reason.Enforcement]++
		}
		if row.Kind == audit.KindDecision && !row.Allow {
			denied++
		}
		if row.Superseded {
			superseded++
		}
		if row.MaskFailed {
			failed++
		}
		if event.Timestamp.Before(log.From) || event.Timestamp.After(log.To.Add(time.Minute)) {
			t.Errorf("record %d is of %v", record.Index, event.Timestamp)
		}
	}
	if kinds[audit.KindDecision] != log.Decisions || denied != log.Denied || log.Decisions < 15000 {
		t.Errorf("%v, %d denied; the log says %+v", kinds, denied, log)
	}
	if share := float64(denied) / float64(log.Decisions); share < 0.01 || share > 0.2 {
		t.Errorf("%.3f of the decisions are denied", share)
	}
	for _, kind := range []pdp.ChangeKind{
		pdp.RevocationAdded, pdp.RevocationRemoved, pdp.TokenIssued, pdp.KeyRotated, pdp.KeyRetired, pdp.KeyCompromised, pdp.BundleActivated,
		pdp.BundleRefused, pdp.AccessRefused, pdp.ConfigActivated,
	} {
		if kinds[string(kind)] == 0 {
			t.Errorf("nothing of kind %s", kind)
		}
	}
	for _, code := range []string{"revocation.token", "revocation.subject", "revocation.key", "revocation.feed_stale", "lifetime.too_long", "lifetime.expired", "signature.malformed"} {
		if codes[code] == 0 {
			t.Errorf("nothing with reason %s", code)
		}
	}
	if enforcements["waived"] == 0 || enforcements["warn"] == 0 || superseded == 0 || failed == 0 || statuses["verified"] == 0 || statuses["key_unknown"] == 0 {
		t.Errorf("enforcements %v, %d superseded, %d with a mask that failed, statuses %v", enforcements, superseded, failed, statuses)
	}
}

func TestCheckpointsAreSigned(t *testing.T) {
	log, reader := written(t, audittraffic.Config{Decisions: 500, Days: 2})
	verifier, err := note.NewVerifier(log.Verifier)
	if err != nil {
		t.Fatal(err)
	}
	checkpoints, err := reader.Checkpoints()
	if err != nil || len(checkpoints) == 0 {
		t.Fatalf("%d checkpoints, %v", len(checkpoints), err)
	}
	for _, c := range checkpoints {
		if _, err := note.Open([]byte(c.Note), note.VerifierList(verifier)); err != nil {
			t.Error(err)
		}
	}
}

func TestFolderInUseIsRefused(t *testing.T) {
	c := audittraffic.Config{Decisions: 10, Days: 1, Dir: t.TempDir()}
	if _, err := audittraffic.Write(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if _, err := audittraffic.Write(t.Context(), c); err == nil {
		t.Error("a second month is written behind the first")
	}
	if _, err := audittraffic.Write(t.Context(), audittraffic.Config{Dir: os.DevNull}); err == nil {
		t.Error("no number of decisions is no error")
	}
}
