package workbench

import (
	"maps"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// watcher is a tracer that remembers of every body that succeeded what it looked at. A rule that fired looked at what
// its body did, at what the bodies evaluated for it did, and at what the rules did that it refers to and that were
// evaluated before. A body that never succeeded (under a "not", or the default of a rule) left nothing to see; there
// what the text of its rule mentions stands in.
type watcher struct {
	p      *Prepared
	frames map[uint64]*frame
	below  map[uint64][]uint64
	done   map[string][]uint64 // by the path of the rule
	fired  []firing
	modes  []branch // what mode_of and enforcement answered
	waived []ast.Value
}

// frame is one body under evaluation.
type frame struct {
	rule   *ast.Rule // of which the body is, or in which it is nested
	whole  bool      // the body is the rule's own
	exited bool      // it succeeded
	places map[string]place
	rules  map[string]ast.Ref
}

type firing struct {
	rule  Rule
	query uint64
}

// branch is one way through a function of the library that says what a finding does.
type branch struct {
	function, code, answer string
	places                 map[string]place
	says                   *ast.Rule
}

func newWatcher(p *Prepared) *watcher {
	return &watcher{p: p, frames: map[uint64]*frame{}, below: map[uint64][]uint64{}, done: map[string][]uint64{}}
}

// Enabled implements topdown.QueryTracer.
func (w *watcher) Enabled() bool { return true }

// Config implements topdown.QueryTracer: the values of variables are needed.
func (w *watcher) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// TraceEvent implements topdown.QueryTracer.
func (w *watcher) TraceEvent(e topdown.Event) {
	f := w.frames[e.QueryID]
	if f == nil {
		f = &frame{places: map[string]place{}, rules: map[string]ast.Ref{}}
		if above := w.frames[e.ParentID]; above != nil {
			f.rule = above.rule
		}
		w.frames[e.QueryID] = f
		w.below[e.ParentID] = append(w.below[e.ParentID], e.QueryID)
	}
	switch node := e.Node.(type) {
	case *ast.Rule:
		f.rule, f.whole = node, true
		if e.Op != topdown.ExitOp {
			return
		}
		f.exited = true
		w.look(f, node.Body, e.Locals)
		w.exited(e.QueryID, node, &e)
	case ast.Body:
		if e.Op == topdown.ExitOp {
			w.look(f, node, e.Locals)
		}
	}
}

func (w *watcher) look(f *frame, body ast.Body, locals *ast.ValueMap) {
	c := &collector{locals: locals, places: f.places, rules: f.rules}
	if f.rule != nil {
		c.aliases = w.p.aliases[f.rule]
	}
	c.visit(body)
}

func (w *watcher) exited(query uint64, rule *ast.Rule, e *topdown.Event) {
	path := strings.TrimPrefix(rulePath(rule), "data.")
	w.done[path] = append(w.done[path], query)
	if found, ok := w.p.ruleAt(rule); ok {
		w.fired = append(w.fired, firing{found, query})
	}
	c := &collector{locals: e.Locals}
	switch path {
	case "assay.mode_of", "assay.enforcement":
		b := branch{function: path, places: maps.Clone(w.frames[query].places), says: rule}
		if len(rule.Head.Args) > 0 {
			b.code = text(c.value(rule.Head.Args[0]))
		}
		if rule.Head.Value != nil {
			b.answer = text(c.value(rule.Head.Value))
		}
		w.modes = append(w.modes, b)
	case "assay.waived":
		for name, meta := range e.LocalMetadata {
			if meta.Name == "waiver" {
				w.waived = append(w.waived, c.value(ast.NewTerm(name)))
			}
		}
	}
}

func text(value ast.Value) string {
	s, _ := value.(ast.String)
	return string(s)
}

// rulePath is data.package.name, without what is computed in the head.
func rulePath(rule *ast.Rule) string {
	var names []string
	for _, term := range rule.Ref().GroundPrefix() {
		switch v := term.Value.(type) {
		case ast.Var:
			names = append(names, string(v))
		case ast.String:
			names = append(names, string(v))
		}
	}
	return strings.Join(names, ".")
}

// seen gathers what made one body succeed.
func (w *watcher) seen(query uint64) map[string]place {
	g := &gathering{w: w, places: map[string]place{}, queries: map[uint64]bool{}, texts: map[*ast.Rule]bool{}}
	g.query(query)
	return g.places
}

type gathering struct {
	w       *watcher
	places  map[string]place
	queries map[uint64]bool
	texts   map[*ast.Rule]bool
}

func (g *gathering) query(id uint64) {
	f := g.w.frames[id]
	if g.queries[id] || f == nil {
		return
	}
	g.queries[id] = true
	maps.Copy(g.places, f.places)
	if f.whole && f.exited && f.rule.Default { // it holds because no other did
		for _, rule := range g.w.p.draft.Compiler.GetRulesExact(f.rule.Ref()) {
			g.text(rule)
		}
	}
	fresh := make(map[string]bool)
	for _, below := range g.w.below[id] {
		g.query(below)
		if inner := g.w.frames[below]; inner.whole && inner.exited {
			fresh[strings.TrimPrefix(rulePath(inner.rule), "data.")] = true
		}
	}
	for path := range f.rules {
		g.named(path, fresh)
	}
}

// named follows a reference to a rule that was evaluated earlier, or that did not succeed.
func (g *gathering) named(path string, fresh map[string]bool) {
	for prefix := path; prefix != ""; prefix = prefix[:max(0, strings.LastIndexByte(prefix, '.'))] {
		if fresh[prefix] {
			return
		}
		if earlier := g.w.done[prefix]; len(earlier) > 0 {
			for _, id := range earlier {
				g.query(id)
			}
			return
		}
		ref, err := ast.ParseRef("data." + prefix)
		if err != nil {
			continue
		}
		if rules := g.w.p.draft.Compiler.GetRulesExact(ref); len(rules) > 0 {
			for _, rule := range rules {
				g.text(rule)
			}
			return
		}
	}
}

// text adds what a rule mentions.
func (g *gathering) text(rule *ast.Rule) {
	if g.texts[rule] {
		return
	}
	g.texts[rule] = true
	c := &collector{aliases: g.w.p.aliases[rule], places: g.places, rules: map[string]ast.Ref{}}
	c.visit(rule)
	for path := range c.rules {
		g.named(path, nil)
	}
}
