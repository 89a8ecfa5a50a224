package pdp

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// Every kind that is declared is listed: who filters by a kind that is not is told that there is none.
func TestChangeKindsAreAll(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "change.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	listed := make(map[ChangeKind]bool)
	for _, kind := range ChangeKinds() {
		listed[kind] = true
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "ChangeKind" {
			return true
		}
		for i, value := range spec.Values {
			text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			declared++
			if !listed[ChangeKind(text)] {
				t.Errorf("%s is not listed", spec.Names[i].Name)
			}
		}
		return true
	})
	if declared != len(listed) {
		t.Errorf("%d are declared, %d listed", declared, len(listed))
	}
}
