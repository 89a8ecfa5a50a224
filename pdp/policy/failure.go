package policy

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/topdown"
)

// Failure is what of an evaluation's error can be told to anybody: messages of builtins may quote a token's claims.
type Failure struct {
	// What happened: "cannot be evaluated", "took too long", …
	What string
	// File and Line of the rule, where they are known.
	File string
	Line int
}

func (f Failure) String() string {
	if f.File == "" {
		return f.What
	}
	return fmt.Sprintf("%s (%s:%d)", f.What, f.File, f.Line)
}

// FailureOf tells what an error of an evaluation was.
func FailureOf(err error) Failure {
	f := Failure{What: "cannot be evaluated"}
	var at *topdown.Error
	if errors.As(err, &at) && at.Location != nil {
		f.File, f.Line = at.Location.File, at.Location.Row
	}
	switch {
	case errors.Is(err, context.Canceled):
		f.What = "was not evaluated, since the request ended"
	case errors.Is(err, context.DeadlineExceeded):
		f.What = "was not evaluated, since the request's time was up"
	case errors.Is(err, ErrCutOff):
		f.What = "took too long"
	case errors.Is(err, ErrUndefined):
		f.What = "is undefined"
	case errors.Is(err, ErrBuiltin):
		f.What = "calls a function that failed"
	case at != nil && at.Code == topdown.ConflictErr:
		f.What = "has conflicting values"
	}
	return f
}
