package workbench

import (
	"bytes"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// locals has a buffer's events hold the values of variables.
type locals struct{ *topdown.BufferTracer }

func (locals) Config() topdown.TraceConfig { return topdown.TraceConfig{PlugLocalVars: true} }

// public is what may be told of an input in a trace.
type public struct {
	names  map[ast.String]bool // member names of input and configuration: names of claims and settings
	hidden map[ast.Number]bool // numbers that stand in classified claims
}

func publicOf(in Input, config ast.Value) public {
	p := public{make(map[ast.String]bool), make(map[ast.Number]bool)}
	var walk func(value ast.Value, at []string)
	walk = func(value ast.Value, at []string) {
		switch v := value.(type) {
		case ast.Number:
			if classified(at, config) {
				p.hidden[v] = true
			}
		case ast.Object:
			// What an organisation configured for a client or scope is its own; that the token has it is a claim's value.
			owned := len(at) == 2 && at[0] == "config" && slices.Contains([]string{"issuers", "audiences", "clients", "scopes"}, at[1])
			v.Foreach(func(name, member *ast.Term) {
				if s, ok := name.Value.(ast.String); ok && !owned {
					p.names[s] = true
				}
				walk(member.Value, append(at[:len(at):len(at)], text(name.Value)))
			})
		case *ast.Array:
			v.Foreach(func(element *ast.Term) { walk(element.Value, at) })
		}
	}
	walk(in.value, nil)
	walk(config, []string{"config"})
	return p
}

// masked prints events as OPA does, with the values of variables. Of these numbers and booleans are left, and member names;
// every other text may come from the token or be made of it. Notes (what a policy says by trace) and unifications hold
// values in their own text and are left out.
func masked(events topdown.BufferTracer, told public) []string {
	kept := make([]*topdown.Event, 0, len(events))
	for _, event := range events {
		if event.Op == topdown.NoteOp || event.Op == topdown.UnifyOp {
			continue
		}
		copied := *event
		copied.Ref = nil // may hold a value where a rule is picked by one; the expression stands in its place
		if event.Locals != nil {
			copied.Locals = ast.NewValueMap()
			event.Locals.Iter(func(name, value ast.Value) bool {
				variable, _ := name.(ast.Var)
				if meta, ok := event.LocalMetadata[variable]; ok && meta.Name != "" && !meta.Name.IsGenerated() {
					copied.Locals.Put(meta.Name, told.mask(value))
				}
				return false
			})
		}
		kept = append(kept, &copied)
	}
	var out bytes.Buffer
	topdown.PrettyTraceWithOpts(&out, kept, topdown.PrettyTraceOptions{LocalVariables: true, Locations: true})
	lines := strings.Split(strings.TrimRight(out.String(), "\n"), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// maskText stands for every text.
const maskText = ast.String("…")

func (p public) mask(value ast.Value) ast.Value {
	switch v := value.(type) {
	case ast.Null, ast.Boolean, ast.Var, ast.Ref:
		return value
	case ast.Number:
		if !p.hidden[v] {
			return value
		}
	case *ast.Array:
		elements := make([]*ast.Term, 0, v.Len())
		v.Foreach(func(element *ast.Term) { elements = append(elements, ast.NewTerm(p.mask(element.Value))) })
		return ast.NewArray(elements...)
	case ast.Set:
		set := ast.NewSet()
		v.Foreach(func(element *ast.Term) { set.Add(ast.NewTerm(p.mask(element.Value))) })
		return set
	case ast.Object:
		object := ast.NewObject()
		v.Foreach(func(name, member *ast.Term) {
			shown := name.Value
			if s, ok := shown.(ast.String); !ok || !p.names[s] {
				shown = p.mask(shown)
			}
			object.Insert(ast.NewTerm(shown), ast.NewTerm(p.mask(member.Value)))
		})
		return object
	}
	return maskText
}
