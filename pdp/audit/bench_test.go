package audit_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

// nowhere is a Log that costs nothing.
type nowhere struct{}

func (nowhere) Append(_ context.Context, _ time.Time, record []byte) (int64, [sha256.Size]byte, bool, error) {
	return int64(len(record)), [sha256.Size]byte{}, false, nil
}

func (n nowhere) Promise(ctx context.Context, at time.Time, record []byte, _ pdp.Witness) (int64, [sha256.Size]byte, bool, error) {
	return n.Append(ctx, at, record)
}

// What a record costs before it is handed to the log: of a decision that was made before with the same token, and of
// one that is new. The length of the record and SHA-256 over it, which the log needs anyhow, are the units to compare
// with.
func BenchmarkRecord(b *testing.B) {
	f, d := verified(b)
	kept := standard()
	kept.Kept = &audit.Kept{}
	for name, mask := range map[string]audit.Mask{"seen before": kept, "new": standard()} {
		b.Run(name, func(b *testing.B) {
			r := recorder(b, nowhere{}, masks(mask), pseudonyms(b))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Record(b.Context(), f, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	log := &records{}
	if _, err := recorder(b, log, masks(standard()), pseudonyms(b)).Record(b.Context(), f, d); err != nil {
		b.Fatal(err)
	}
	b.Run("SHA-256 of the record", func(b *testing.B) {
		b.SetBytes(int64(len(log.list[0])))
		for b.Loop() {
			sha256.Sum256(log.list[0])
		}
	})
}
