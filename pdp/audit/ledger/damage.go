package ledger

import (
	"fmt"
	"strings"
)

// DamageError is something durable that is altered or missing.
type DamageError struct {
	// Index is the first record concerned, -1 if that cannot be said.
	Index int64
	// File is relative to the ledger's folder; Offset is in bytes of what was written (before compression).
	File   string
	Offset int64
	// What is wrong.
	What string
	// Advice is what to do; empty where it depends on who found it.
	Advice string
}

// verifyAdvice is for those who only read: one damaged place ends their reading, and there may be more.
const verifyAdvice = "run `assay audit verify` to see all that is damaged"

func (e *DamageError) Error() string {
	var b strings.Builder
	b.WriteString("audit log: ")
	if e.Index >= 0 {
		fmt.Fprintf(&b, "record %d ", e.Index)
	}
	fmt.Fprintf(&b, "in %s at byte %d: %s", e.File, e.Offset, e.What)
	if e.Advice != "" {
		b.WriteString("; " + e.Advice)
	}
	return b.String()
}
