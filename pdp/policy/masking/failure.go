package masking

import (
	"context"
	"errors"
	"fmt"

	"github.com/assaypdp/assay/pdp/policy"
)

// Failure says why there is no mask. It never quotes what the mask was about.
type Failure struct {
	// Document is the one that was asked for.
	Document string
	// What went wrong, to go on with after the document's name.
	What string
	// File and Line are those of the rule at fault, where that is known.
	File string
	Line int

	ended error
}

func (f *Failure) Error() string {
	text := fmt.Sprintf("masking: %s %s", f.Document, f.What)
	if f.File != "" {
		text += fmt.Sprintf(" (%s:%d)", f.File, f.Line)
	}
	return text
}

// Unwrap gives the context's error, where that ended the evaluation.
func (f *Failure) Unwrap() error { return f.ended }

// failureOf keeps of an evaluation's error what cannot quote the facts.
func failureOf(document string, err error) error {
	told := policy.FailureOf(err)
	f := &Failure{Document: document, What: told.What, File: told.File, Line: told.Line}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			f.ended = ended
		}
	}
	return f
}

func misshapen(document, what string) error {
	return &Failure{Document: document, What: "is misshapen: " + what}
}
