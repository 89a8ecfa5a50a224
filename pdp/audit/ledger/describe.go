package ledger

import (
	"encoding/json"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// describe is how the ledger writes down its own changes where nobody told it better: the members of a decision-log
// event that a reader needs to see what it is.
func describe(c pdp.Change) []byte {
	record, err := json.Marshal(map[string]any{
		"labels":    map[string]string{"app": "assay"},
		"path":      "assay/change",
		"timestamp": c.At.UTC().Format(time.RFC3339Nano),
		"input":     map[string]any{"target": c.Target, "reason": c.Reason, "details": c.Details},
		"custom":    map[string]any{"assay": map[string]any{"kind": c.Kind}},
	})
	if err != nil { // Details of the ledger's own changes are numbers and strings, which always encode.
		panic(err)
	}
	return record
}
