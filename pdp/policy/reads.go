package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// reads is what the modules of a revision read of input: a set of paths, found in the compiled modules, in
// which imports and aliases are resolved. A path that goes on with something computed is cut there, so that
// it stands for all below.
type reads struct {
	// all tells that some module takes input as a whole, or a member of it by a computed name.
	all bool
	// paths are sorted; none begins with another one.
	paths []readPath
}

type readPath []string

// any tells whether something at, above or below the path is read.
func (r *reads) any(path ...string) bool {
	return r.all || slices.ContainsFunc(r.paths, func(p readPath) bool {
		n := min(len(p), len(path))
		return slices.Equal(p[:n], path[:n])
	})
}

// readsOf analyses all compiled modules.
func readsOf(compiler *ast.Compiler) reads {
	var rules []*ast.Rule
	for _, module := range compiler.Modules {
		rules = append(rules, module.Rules...)
	}
	return readsOfRules(rules)
}

// readsFor analyses the rules at ref, of hidden packages too, and every rule that they depend on.
func readsFor(compiler *ast.Compiler, ref ast.Ref) reads {
	pending := rulesAt(compiler, ref)
	seen := make(map[*ast.Rule]bool)
	var rules []*ast.Rule
	for len(pending) > 0 {
		rule := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if rule == nil || seen[rule] {
			continue
		}
		seen[rule] = true
		rules = append(rules, rule)
		pending = append(pending, rule.Else) // which the graph knows as a rule of its own
		for dependency := range compiler.Graph.Dependencies(rule) {
			if next, ok := dependency.(*ast.Rule); ok {
				pending = append(pending, next)
			}
		}
	}
	return readsOfRules(rules)
}

// rulesAt are the rules that may make something at, above or below ref.
func rulesAt(compiler *ast.Compiler, ref ast.Ref) []*ast.Rule {
	return compiler.GetRulesDynamicWithOpts(ref, ast.RulesOptions{IncludeHiddenModules: true})
}

func readsOfRules(rules []*ast.Rule) reads {
	var r reads
	for _, rule := range rules {
		r.rule(rule)
	}
	slices.SortFunc(r.paths, func(a, b readPath) int { return slices.Compare(a, b) })
	// After sorting, what begins with a path follows it.
	r.paths = slices.CompactFunc(r.paths, func(path, kept readPath) bool {
		return len(kept) <= len(path) && slices.Equal(kept, path[:len(kept)])
	})
	return r
}

// below gives what is read of the object at one member of input, as if that object were input.
func (r *reads) below(name string) reads {
	inner := reads{all: r.all}
	for _, path := range r.paths {
		if path[0] == name {
			inner.add(path[1:])
		}
	}
	return inner
}

// members gives the names of the members of input that are read; where of such a member only some members are read, also
// their names, else nil.
func (r *reads) members() map[string]map[string]bool {
	members := make(map[string]map[string]bool)
	for _, path := range r.paths {
		only, known := members[path[0]]
		switch {
		case len(path) == 1 || known && only == nil:
			members[path[0]] = nil
		case !known:
			members[path[0]] = map[string]bool{path[1]: true}
		default:
			only[path[1]] = true
		}
	}
	return members
}

// onlyLibraryReadsTime tells that no rule depends on input.time, itself or through others, but those of the package
// assay and its families, which know each other. A rule of an organisation may depend on the time in ways they
// know nothing of, also where it takes the time from data.assay.limits.
func onlyLibraryReadsTime(compiler *ast.Compiler) bool {
	own := ast.MustParseRef("data.assay.rules")
	library := ast.MustParseRef("data.assay")
	var depend []*ast.Rule
	for _, module := range compiler.Modules {
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			var r reads
			if r.rule(rule); r.any("time") {
				depend = append(depend, rule)
			}
			return false
		})
	}
	seen := make(map[*ast.Rule]bool, len(depend))
	for len(depend) > 0 {
		rule := depend[len(depend)-1]
		depend = depend[:len(depend)-1]
		if seen[rule] {
			continue
		}
		seen[rule] = true
		if path := rule.Module.Package.Path; !path.HasPrefix(library) || path.HasPrefix(own) {
			return false
		}
		for dependent := range compiler.Graph.Dependents(rule) {
			if next, ok := dependent.(*ast.Rule); ok {
				depend = append(depend, next)
			}
		}
	}
	return true
}

// rule adds what one rule reads, with everything that is nested in it.
//
// object.get with a constant name or path is the usual way to read what may be absent, and reads nothing else;
// so its first argument counts as what it names, although the compiler moves that argument, input.request or
// input itself, out into a variable of its own.
func (r *reads) rule(rule *ast.Rule) {
	narrowed := narrowedArguments(rule)
	visitor := ast.NewGenericVisitor(nil)
	visitor = ast.NewGenericVisitor(func(node any) bool {
		switch n := node.(type) {
		case *ast.Expr:
			if member, ok := narrowed[n]; ok {
				r.add(member)
				return true
			}
		case *ast.With:
			visitor.Walk(n.Value) // its target is written, not read
			return true
		case ast.Ref:
			if !n.HasPrefix(ast.InputRootRef) {
				return false
			}
			r.add(constantPath(n))
			for _, term := range n[1:] { // names that are computed may read input themselves
				visitor.Walk(term)
			}
			return true
		case ast.Var:
			if n.Equal(ast.InputRootDocument.Value) {
				r.all = true
			}
		}
		return false
	})
	visitor.Walk(rule)
}

func (r *reads) add(path readPath) {
	if len(path) == 0 {
		r.all = true
		return
	}
	r.paths = append(r.paths, path)
}

// constantPath gives the names after input, up to the first that is not a constant string.
func constantPath(ref ast.Ref) readPath {
	var path readPath
	for _, term := range ref[1:] {
		name, ok := term.Value.(ast.String)
		if !ok {
			break
		}
		path = append(path, string(name))
	}
	return path
}

// alwaysObjects are the members of input that are objects in every input, so that object.get of one of them
// depends on nothing but the member that it names.
var alwaysObjects = []string{"request", "token", "verification", "revocation"}

// narrowedArguments finds the expressions "v = input" and "v = input.request" of a rule whose variable is used
// once more and only as the object of object.get with a constant path, and gives the path that is really read.
func narrowedArguments(rule *ast.Rule) map[*ast.Expr]readPath {
	assigned := make(map[ast.Var]*ast.Expr)
	named := make(map[ast.Var]readPath)
	uses := make(map[ast.Var]int)
	ast.WalkVars(rule, func(v ast.Var) bool { uses[v]++; return false })
	ast.WalkExprs(rule, func(e *ast.Expr) bool {
		if len(e.With) > 0 {
			return false
		}
		switch {
		case e.IsEquality():
			if variable, ok := e.Operand(0).Value.(ast.Var); ok && isAlwaysObject(e.Operand(1)) {
				assigned[variable] = e
			}
		case e.IsCall() && e.Operator().Equal(ast.ObjectGet.Ref()):
			if variable, ok := e.Operand(0).Value.(ast.Var); ok {
				named[variable] = constantArgument(e.Operand(1))
			}
		}
		return false
	})
	narrowed := make(map[*ast.Expr]readPath)
	for variable, expr := range assigned {
		if names := named[variable]; len(names) > 0 && uses[variable] == 2 {
			path := append(constantPath(expr.Operand(1).Value.(ast.Ref)), names...)
			// Below what is always there, whether an object.get finds its path depends on all members on the way.
			reach := 1
			if slices.Contains(alwaysObjects, path[0]) {
				reach = 2
			}
			narrowed[expr] = path[:min(reach, len(path))]
		}
	}
	return narrowed
}

// isAlwaysObject tells whether a term is input or one of alwaysObjects.
func isAlwaysObject(term *ast.Term) bool {
	ref, ok := term.Value.(ast.Ref)
	if !ok || !ref.HasPrefix(ast.InputRootRef) || len(ref) > 2 {
		return false
	}
	path := constantPath(ref)
	return len(path) == len(ref)-1 && (len(path) == 0 || slices.Contains(alwaysObjects, path[0]))
}

// constantArgument gives the names of object.get's second argument: a string, or an array of them.
func constantArgument(term *ast.Term) readPath {
	switch v := term.Value.(type) {
	case ast.String:
		return readPath{string(v)}
	case *ast.Array:
		var path readPath
		for i := range v.Len() {
			name, ok := v.Elem(i).Value.(ast.String)
			if !ok {
				return nil
			}
			path = append(path, string(name))
		}
		return path
	}
	return nil
}
