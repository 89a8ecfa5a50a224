package audit

import (
	"context"
	"sync/atomic"

	"github.com/assaypdp/assay/pdp"
)

// Masker says what may be written of a decision. An error, and a mask that is nothing, mean the same: nothing that a
// mask could clear is written. A Masker is on the way of every decision: it is safe for concurrent use, remembers, and
// asks nobody outside the process.
type Masker interface {
	Mask(ctx context.Context, f *pdp.Facts, d *pdp.Decision) (Mask, error)
}

// Mask is the masking of one record. The zero value clears nothing. Paths are member names from the outermost inwards;
// a path that leads to nothing is no error, a path to an object stands for all below it. What is not named by Clear or
// Pseudonymise is erased; what is named by both is pseudonymised; where one path lies below another, the inner
// Pseudonymise counts within the outer Clear, and Remove counts above all.
type Mask struct {
	// Clear are paths below input.token.claims whose values may be written.
	Clear [][]string
	// Pseudonymise are paths below input.token.claims whose texts are written as pseudonyms, each with the kind that its
	// path makes with dots ("sub", "act.sub"). A list is pseudonymised element by element; what is neither text nor number
	// is erased, and so are the members of an object that no path names, since their names may be somebody's.
	Pseudonymise [][]string
	// ClearRequest and PseudonymiseRequest are the same below input.request, for "action", "resource", "path", "client_ip"
	// and what lies below "context". Other members of the request need no clearing and cannot be pseudonymised.
	ClearRequest, PseudonymiseRequest [][]string
	// Remove are JSON pointers (RFC 6901) below /input and /result, as the "remove" operations of OPA's system.log.mask.
	// Whatever they point at is not written, whoever cleared it.
	Remove []string
	// Revision names what made the mask.
	Revision string
	// Kept may be nil. A Masker that gives the same mask again for the same token and the same verification of it gives the
	// same Kept with it: what follows from these alone is then written once and copied.
	Kept *Kept
}

// Kept is where the Recorder keeps what follows from a token and a mask. It is safe for concurrent use; the zero
// value is ready.
type Kept struct {
	parts   atomic.Pointer[tokenParts]
	verdict atomic.Pointer[verdictPart]
}

// Nothing is the Masker that clears nothing: claims, and of the request what says who or what it is for, are erased.
type Nothing struct{}

// Mask implements Masker.
func (Nothing) Mask(context.Context, *pdp.Facts, *pdp.Decision) (Mask, error) {
	return Mask{Revision: "nothing"}, nil
}
