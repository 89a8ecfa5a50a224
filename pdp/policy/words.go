package policy

import (
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

// words are the texts that stand in a policy: all of its modules, their metadata included, and of its data those that
// have the form of a code or of a control.
type words struct {
	once  sync.Once
	texts map[string]bool
}

// says tells that a text stands in the policy. One that does not was computed.
func (r *Revision) says(text string) bool {
	r.words.once.Do(func() {
		found := make(map[string]bool)
		textsIn(r.base.documents, found)
		for text := range found {
			if !IsCode(text) && !strings.Contains(text, ":") {
				delete(found, text)
			}
		}
		for _, module := range r.compiler.Modules {
			ast.WalkTerms(module, func(t *ast.Term) bool {
				if s, ok := t.Value.(ast.String); ok {
					found[string(s)] = true
				}
				return false
			})
		}
		r.words.texts = found
	})
	return r.words.texts[text]
}

// markComputed marks what of reasons was made out of something, in place of being said.
func (r *Revision) markComputed(reasons []pdp.Reason) {
	for i := range reasons {
		reason := &reasons[i]
		reason.Computed = !r.says(reason.Code)
		for _, control := range reason.Controls {
			reason.Computed = reason.Computed || !r.says(control)
		}
		for name := range reason.Details {
			if !r.says(name) {
				reason.ComputedNames = append(reason.ComputedNames, name)
			}
		}
	}
}
