package replay

import (
	"testing"

	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/test/audittraffic"
)

// BenchmarkReplay judges a generated month again, read from its log, by the library with a shorter lifetime. The month's
// revision is not that of the baseline, so that masked values that matter make decisions undecidable.
func BenchmarkReplay(b *testing.B) {
	log, err := audittraffic.Write(b.Context(), audittraffic.Config{Dir: b.TempDir() + "/audit", Decisions: 4000})
	if err != nil {
		b.Fatal(err)
	}
	reader, err := ledger.OpenReader(log.Dir)
	if err != nil {
		b.Fatal(err)
	}
	x, err := index.Open(reader, index.Folder(log.Dir))
	if err != nil {
		b.Fatal(err)
	}
	candidate, baseline := compiled(b, `{"max_lifetime_seconds": 500}`, nil), compiled(b, "", nil)
	for b.Loop() {
		sum, err := Run(b.Context(), Config{Judge: newJudge(b, candidate, baseline)}, x.Records(b.Context(), index.Query{Kind: index.KindDecision}))
		if err != nil {
			b.Fatal(err)
		}
		if sum.Decisions != log.Decisions {
			b.Fatalf("%d of %d decisions", sum.Decisions, log.Decisions)
		}
		b.ReportMetric(float64(sum.Undecidable)/float64(sum.Decisions), "undecidable/decision")
	}
	b.ReportMetric(float64(log.Decisions)*float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
}
