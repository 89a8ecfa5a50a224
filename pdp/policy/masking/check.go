package masking

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// Check says what is wrong with the configuration of a revision's mask, as far as the library can tell: a *policy.ConfigError
// for claims that are classified and would be written as they are. A revision without the library has nothing to say.
func Check(ctx context.Context, r *policy.Revision) error {
	d, err := r.Document(Problems, "")
	if err != nil {
		return err
	}
	if !d.Exists() {
		return nil
	}
	nothing := &pdp.Facts{Request: &pdp.Request{}, Token: &pdp.Token{}, Verification: &pdp.Verification{}}
	value, err := d.Evaluate(ctx, 10*policy.DefaultTimeout, time.Now, nothing)
	if err != nil {
		return fmt.Errorf("masking: %s: %w", Problems, err)
	}
	var found policy.ConfigError
	err = elements(Problems, "it", value, func(element ast.Value) error {
		p, err := problemOf(element)
		found.Problems = append(found.Problems, p)
		return err
	})
	if err != nil {
		return err
	}
	if len(found.Problems) > 0 {
		return &found
	}
	return nil
}

func problemOf(value ast.Value) (p policy.ConfigProblem, err error) {
	object, ok := value.(ast.Object)
	if !ok {
		return p, misshapen(Problems, "a problem is no object")
	}
	if text := object.Get(ast.StringTerm("text")); text != nil {
		if s, ok := text.Value.(ast.String); ok {
			p.Text = string(s)
		}
	}
	path := object.Get(ast.StringTerm("path"))
	if path == nil || p.Text == "" {
		return p, misshapen(Problems, "a problem has no path or no text")
	}
	err = elements(Problems, "path", path.Value, func(name ast.Value) error {
		s, ok := name.(ast.String)
		if !ok {
			return misshapen(Problems, "a path holds something else than names")
		}
		p.Path = append(p.Path, string(s))
		return nil
	})
	p.Field = strings.Join(p.Path, ".")
	return p, err
}
