package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// words are the texts that stand in a policy: all of its modules, their metadata and what their rules are called
// included, its configuration, and of its other data what stands under a name that says so.
type words struct{ texts, codes map[string]bool }

// Says implements pdp.Words.
func (w *words) Says(text string) bool { return w.texts[text] }

// SaysCode implements pdp.Words.
func (w *words) SaysCode(text string) bool { return w.codes[text] }

var (
	// saying are the members of data below which codes and controls stand. Other data may be lists of people.
	saying = []string{"code", "codes", "control", "controls"}
	// about are the members of the configuration that are about codes: a code that only they have was computed.
	about = []string{"modes", "waivers"}
)

func wordsOf(compiler *ast.Compiler, documents ast.Object) *words {
	w := &words{make(map[string]bool), make(map[string]bool)}
	collect := func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.String:
			w.texts[string(v)] = true
		case ast.Object:
			w.code(v)
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
		w.configured(config)
	}
	w.said(documents)
	return w
}

// code takes in the code of an object that has one, as findings and metadata do.
func (w *words) code(o ast.Object) {
	if code := o.Get(ast.StringTerm("code")); code != nil {
		if s, ok := code.Value.(ast.String); ok {
			w.codes[string(s)] = true
		}
	}
}

// configured takes in all texts, but below about.
func (w *words) configured(value ast.Value) {
	each(value, func(name string, member ast.Value) {
		if slices.Contains(about, name) {
			return
		}
		if name != "" {
			w.texts[name] = true
		}
		if s, ok := member.(ast.String); ok {
			w.texts[string(s)] = true
		}
		w.configured(member)
	})
}

// said takes in what stands below saying.
func (w *words) said(value ast.Value) {
	each(value, func(name string, member ast.Value) {
		if slices.Contains(saying, name) {
			textsIn(member, w.texts)
			return
		}
		w.said(member)
	})
	if o, ok := value.(ast.Object); ok {
		w.code(o)
	}
}

// each gives the members of an object, or the elements of an array, which have no name.
func each(value ast.Value, take func(name string, member ast.Value)) {
	switch v := value.(type) {
	case *ast.Array:
		v.Foreach(func(element *ast.Term) { take("", element.Value) })
	case ast.Object:
		v.Foreach(func(name, member *ast.Term) {
			s, _ := name.Value.(ast.String)
			take(string(s), member.Value)
		})
	}
}
