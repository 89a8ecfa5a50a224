package bundles

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// deterministic are OPA's capabilities without what it marks as depending on more than its arguments.
func deterministic() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool { return b.Nondeterministic })
	c.AllowNet = []string{}
	return c
}

// checkCalls refuses a module that calls, or puts something in place of, a builtin of OPA's that the capabilities lack.
// A bundle is checked alone, without the library that it builds on, so it cannot be compiled here; whether
// every name is defined is for the compiler to say.
func checkCalls(file string, module *ast.Module, allowed *ast.Capabilities) error {
	may := make(map[string]bool, len(allowed.Builtins))
	for _, b := range allowed.Builtins {
		may[b.Name] = true
	}
	var bad *RefusedError
	check := func(operator ast.Value, at *ast.Location) {
		ref, ok := operator.(ast.Ref)
		if !ok || bad != nil {
			return
		}
		name := ref.String()
		if _, known := ast.BuiltinMap[name]; known && !may[name] {
			row := 0
			if at != nil {
				row = at.Row
			}
			bad = refuse(ReasonCapability, "%s:%d calls %s; policy may depend on nothing but input and data", file, row, name)
		}
	}
	ast.NewGenericVisitor(func(node any) bool {
		switch x := node.(type) {
		case *ast.Expr:
			if x.IsCall() {
				check(x.Operator(), x.Location)
			}
			for _, w := range x.With {
				check(w.Target.Value, w.Location)
				check(w.Value.Value, w.Location)
			}
		case *ast.Term:
			if call, ok := x.Value.(ast.Call); ok {
				check(call[0].Value, x.Location)
			}
		}
		return bad != nil
	}).Walk(module)
	if bad != nil {
		return bad
	}
	return nil
}
