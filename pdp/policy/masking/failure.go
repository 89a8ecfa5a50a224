package masking

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/topdown"

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

// failureOf keeps of an evaluation's error what cannot quote the facts, as messages of builtins do.
func failureOf(document string, err error) error {
	f := &Failure{Document: document, What: "cannot be evaluated"}
	var at *topdown.Error
	if errors.As(err, &at) && at.Location != nil {
		f.File, f.Line = at.Location.File, at.Location.Row
	}
	switch {
	case errors.Is(err, context.Canceled):
		f.What, f.ended = "was not evaluated, since the request ended", context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		f.What, f.ended = "was not evaluated, since the request's time was up", context.DeadlineExceeded
	case errors.Is(err, policy.ErrCutOff):
		f.What = "took too long"
	case errors.Is(err, policy.ErrUndefined):
		f.What = "is undefined"
	case errors.Is(err, policy.ErrBuiltin):
		f.What = "calls a function that failed"
	case at != nil && at.Code == topdown.ConflictErr:
		f.What = "has conflicting values"
	}
	return f
}

func misshapen(document, what string) error {
	return &Failure{Document: document, What: "is misshapen: " + what}
}
