package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// words are the texts that stand in a policy: all of its modules, their metadata and what their rules are called
// included, all of its configuration, and of its other data what stands under a name that says so.
type words struct{ texts map[string]bool }

// Says implements pdp.Words.
func (w *words) Says(text string) bool { return w.texts[text] }

// saying are the members of data below which codes and controls stand. Other data may be lists of people.
var saying = []string{"code", "codes", "control", "controls"}

func wordsOf(compiler *ast.Compiler, documents ast.Object) *words {
	w := &words{make(map[string]bool)}
	collect := func(t *ast.Term) bool {
		if s, ok := t.Value.(ast.String); ok {
			w.texts[string(s)] = true
		}
		return false
	}
	for _, module := range compiler.Modules {
		ast.WalkTerms(module, collect)
		ast.WalkRules(module, func(r *ast.Rule) bool {
			ast.WalkTerms(r.Head.Ref(), collect) // which a walk over a module leaves out
			return false
		})
	}
	if config, err := documents.Find(ast.MustParseRef(ConfigDocument)[1:]); err == nil {
		textsIn(config, w.texts)
	}
	w.said(documents)
	return w
}

func (w *words) said(value ast.Value) {
	switch v := value.(type) {
	case *ast.Array:
		v.Foreach(func(element *ast.Term) { w.said(element.Value) })
	case ast.Object:
		v.Foreach(func(name, member *ast.Term) {
			if s, ok := name.Value.(ast.String); ok && slices.Contains(saying, string(s)) {
				textsIn(member.Value, w.texts)
				return
			}
			w.said(member.Value)
		})
	}
}
