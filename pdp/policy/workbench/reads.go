package workbench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Seen is one thing that a rule looked at.
type Seen struct {
	// Path is dotted, below input ("token.claims.exp") or data.assay.config ("profiles.access_token.max_age_seconds").
	Path string
	// Kind is the value's: number, boolean, string, array, object, set, null, or absent.
	Kind string
	// Value is a json.Number or a bool, and a string only where the decision tells it anyway or the configuration says
	// it. Else nil.
	Value any
}

// place is a path of names from input or data downwards.
type place struct {
	config bool // below data.assay.config, else below input
	path   string
	names  []string
}

// told are the members of input that a decision repeats to whoever asked, or that they said themselves.
var told = []string{
	"request.audience", "request.token_type", "token.alg", "token.kind", "token.typ", "verification.alg", "verification.code",
	"verification.issuer", "verification.status",
}

// aliasesIn finds the local variables of a compiled rule that only stand for a reference. The compiler gives each its own
// name, so that those of nested bodies can be gathered together.
func aliasesIn(rule *ast.Rule) map[ast.Var]ast.Ref {
	aliases := make(map[ast.Var]ast.Ref)
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if e.IsEquality() && !e.Negated {
			for _, pair := range [][2]int{{0, 1}, {1, 0}} {
				name, isVar := e.Operand(pair[0]).Value.(ast.Var)
				ref, isRef := e.Operand(pair[1]).Value.(ast.Ref)
				if isVar && isRef {
					if _, known := aliases[name]; !known {
						aliases[name] = ref
					}
				}
			}
		}
		return false
	})
	return aliases
}

// collector gathers what one body looks at, given what its variables are bound to.
type collector struct {
	aliases map[ast.Var]ast.Ref
	locals  *ast.ValueMap
	places  map[string]place
	rules   map[string]ast.Ref // other references below data
}

// resolve gives the reference that a term is or stands for, from input or data on.
func (c *collector) resolve(term *ast.Term) ast.Ref {
	for range 8 { // aliases of aliases
		switch v := term.Value.(type) {
		case ast.Var:
			ref, ok := c.aliases[v]
			if !ok {
				return nil
			}
			term = ast.NewTerm(ref)
		case ast.Ref:
			head, ok := v[0].Value.(ast.Var)
			if !ok {
				return nil
			}
			if head.Equal(ast.InputRootDocument.Value) || head.Equal(ast.DefaultRootDocument.Value) {
				return v
			}
			under, ok := c.aliases[head]
			if !ok {
				return nil
			}
			term = ast.NewTerm(under.Concat(v[1:]))
		default:
			return nil
		}
	}
	return nil
}

// visit adds what is looked at anywhere in a body or an expression.
func (c *collector) visit(node any) {
	visitor := ast.NewGenericVisitor(func(x any) bool {
		switch n := x.(type) {
		case *ast.Expr:
			c.call(n)
		case *ast.Term:
			if _, isRef := n.Value.(ast.Ref); isRef {
				c.add(c.resolve(n))
			}
		}
		return false
	})
	visitor.Walk(node)
}

// call adds what a builtin picks out of its operand: object.get by a name or a path, and iteration by its key.
func (c *collector) call(e *ast.Expr) {
	if !e.IsCall() {
		return
	}
	operands := e.Operands()
	switch name := e.Operator().String(); {
	case name == ast.ObjectGet.Name && len(operands) >= 3:
		if under := c.resolve(operands[0]); under != nil {
			if path, ok := c.value(operands[1]).(*ast.Array); ok {
				path.Foreach(func(t *ast.Term) { under = under.Append(t) })
				c.add(under)
			} else {
				c.add(under.Append(operands[1]))
			}
		}
	case name == ast.MemberWithKey.Name && len(operands) >= 3:
		if under := c.resolve(operands[2]); under != nil {
			c.add(under.Append(operands[0]))
		}
	}
}

// value is what a term is bound to; the term's own value where it is not a variable.
func (c *collector) value(term *ast.Term) ast.Value {
	for range 8 {
		name, ok := term.Value.(ast.Var)
		if !ok || c.locals == nil {
			break
		}
		bound := c.locals.Get(name)
		if bound == nil {
			return nil
		}
		term = ast.NewTerm(bound)
	}
	return term.Value
}

// add notes a reference, cut where a part of it is not known.
func (c *collector) add(ref ast.Ref) {
	if len(ref) < 2 {
		return
	}
	var names []string
	for _, term := range ref[1:] {
		value := c.value(term)
		if text, ok := value.(ast.String); ok {
			names = append(names, string(text))
		} else if number, ok := value.(ast.Number); ok {
			names = append(names, string(number))
		} else {
			break
		}
	}
	if len(names) == 0 {
		return
	}
	if ref[0].Value.Compare(ast.InputRootDocument.Value) == 0 {
		c.note(place{names: names})
		return
	}
	if len(names) >= 2 && names[0] == "assay" && names[1] == "config" {
		if len(names) > 2 {
			c.note(place{config: true, names: names[2:]})
		}
		return
	}
	c.rules[strings.Join(names, ".")] = ref
}

func (c *collector) note(p place) {
	p.path = strings.Join(p.names, "\x00")
	if p.config {
		p.path = "\x01" + p.path
	}
	c.places[p.path] = p
}

// mostPrecise drops every place that another one lies below: who reads token.claims.exp by way of token.claims read exp.
func mostPrecise(places map[string]place) []place {
	paths := make([]string, 0, len(places))
	for path := range places {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	var kept []place
	for i, path := range paths {
		if i+1 < len(paths) && strings.HasPrefix(paths[i+1], path+"\x00") {
			continue
		}
		kept = append(kept, places[path])
	}
	return kept
}

// shown makes a Seen of a place. Names of scopes and clients in the configuration are the organisation's own, but that
// this token has one of them is a claim's value: it is named by its claim.
func (p place) shown(in Input, config ast.Value) Seen {
	names := slices.Clone(p.names)
	root := in.value
	if p.config {
		root = config
	}
	ref := make(ast.Ref, len(names))
	for i, name := range names {
		ref[i] = ast.StringTerm(name)
	}
	value := find(root, ref)
	if p.config && len(names) > 1 {
		switch names[0] {
		case "clients":
			names[1] = "<client_id>"
		case "scopes":
			names[1] = "<scope>"
		}
	}
	for i, name := range names {
		names[i] = quoted(name)
	}
	seen := Seen{Path: strings.Join(names, "."), Kind: "absent"}
	if value == nil {
		return seen
	}
	seen.Kind = ast.ValueName(value)
	if !p.config && classified(p.names, config) {
		return seen
	}
	switch v := value.(type) {
	case ast.Number:
		seen.Value = json.Number(v)
	case ast.Boolean:
		seen.Value = bool(v)
	case ast.String:
		if p.config || slices.Contains(told, seen.Path) {
			seen.Value = string(v)
		}
	}
	return seen
}

// classified tells that a place is in a claim that the configuration calls personal, or worse: a telephone number may
// be a number.
func classified(names []string, config ast.Value) bool {
	return len(names) > 2 && names[0] == "token" && names[1] == "claims" &&
		find(config, ast.Ref{ast.StringTerm("minimization"), ast.StringTerm("claims"), ast.StringTerm(names[2])}) != nil
}

// opened gives, of a place in the configuration that is all that is said for one issuer, audience, client, scope or
// profile, the plain settings in it; else the place itself.
func (p place) opened(config ast.Value) []place {
	if len(p.names) != 2 || !slices.Contains([]string{"issuers", "audiences", "clients", "scopes", "profiles"}, p.names[0]) {
		return []place{p}
	}
	object, ok := find(config, ast.Ref{ast.StringTerm(p.names[0]), ast.StringTerm(p.names[1])}).(ast.Object)
	if !ok {
		return []place{p}
	}
	var settings []place
	object.Foreach(func(name, value *ast.Term) {
		switch value.Value.(type) {
		case ast.Number, ast.Boolean:
			settings = append(settings, place{config: true, names: append(slices.Clone(p.names), text(name.Value))})
		}
	})
	slices.SortFunc(settings, func(a, b place) int { return slices.Compare(a.names, b.names) })
	if len(settings) == 0 {
		return []place{p}
	}
	return settings
}

// find follows a path in which array elements are named by their index.
func find(value ast.Value, path ast.Ref) ast.Value {
	for _, step := range path {
		switch v := value.(type) {
		case ast.Object:
			term := v.Get(step)
			if term == nil {
				return nil
			}
			value = term.Value
		case *ast.Array:
			index, ok := ast.Number(step.Value.(ast.String)).Int()
			if !ok || index < 0 || index >= v.Len() {
				return nil
			}
			value = v.Elem(index).Value
		default:
			return nil
		}
	}
	return value
}

// quoted keeps names that are not plain words apart from the dots of a path. A very long one is cut.
func quoted(name string) string {
	if len(name) > 80 {
		name = name[:80] + "…"
	}
	plain := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-<>", r))
	}
	if name == "" || strings.ContainsFunc(name, plain) {
		return fmt.Sprintf("%q", name)
	}
	return name
}
