package ledger

import (
	"fmt"
	"maps"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp"
)

// takeReceipts sorts the callers' receipts by index.
func (v *verifier) takeReceipts() {
	for _, r := range v.c.Receipts {
		if v.report.Origin != "" && r.Log != v.report.Origin {
			v.find(Finding{Kind: BadReceipt, Index: r.Index, LeafHash: tlog.Hash(r.LeafHash).String(),
				What: fmt.Sprintf("the receipt is of the log %q, this one is %q", r.Log, v.report.Origin)})
			continue
		}
		v.receipts[r.Index] = append(v.receipts[r.Index], r)
	}
}

// checkReceipts holds the receipts for a record against what stands there; nil: nothing does.
func (v *verifier) checkReceipts(index int64, stands *tlog.Hash) {
	if len(v.receipts) == 0 {
		return
	}
	for _, r := range v.receipts[index] {
		switch {
		case stands == nil:
			v.badReceipt(r, fmt.Sprintf("a caller was given a receipt for record %d, which is missing", index))
		case *stands != r.LeafHash:
			v.badReceipt(r, fmt.Sprintf("a caller was given a receipt for record %d with another leaf hash: what was answered is not what the log has", index))
		default:
			v.report.Receipts++
		}
	}
	delete(v.receipts, index)
}

func (v *verifier) badReceipt(r pdp.Receipt, what string) {
	v.find(Finding{Kind: BadReceipt, Index: r.Index, LeafHash: tlog.Hash(r.LeafHash).String(), What: what})
}

// checkMissingReceipts says what became of those whose record was not walked over.
func (v *verifier) checkMissingReceipts() {
	for _, index := range slices.Sorted(maps.Keys(v.receipts)) {
		for _, r := range v.receipts[index] {
			kept, have := v.kept.leaf(index)
			switch {
			case index >= v.report.Size || index < 0:
				v.badReceipt(r, fmt.Sprintf("a caller was given a receipt for record %d, and the log ends at %d: it was never logged here, or the end was cut off", index, v.report.Size))
			case have && kept != r.LeafHash:
				v.badReceipt(r, fmt.Sprintf("a caller was given a receipt for record %d with another leaf hash than the tree has", index))
			case index < v.report.First:
				v.report.Notes = append(v.report.Notes, fmt.Sprintf("record %d, for which there is a receipt, was deleted by retention", index))
			default:
				v.badReceipt(r, fmt.Sprintf("a caller was given a receipt for record %d, which cannot be read", index))
			}
		}
	}
}
