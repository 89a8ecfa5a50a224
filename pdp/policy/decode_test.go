package policy

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

func TestWellFormedVerdict(t *testing.T) {
	got, err := decode(ast.MustParseTerm(`{
		"allow": true,
		"reasons": {
			{"code": "b.warned", "message": "m", "severity": "low", "enforcement": "warn"},
			{"code": "c.denied", "message": "m", "severity": "critical", "enforcement": "deny", "controls": ["X:1"],
				"details": {"number": 1.5, "bool": true, "name": "aud", "names": {"a", "b"}}},
			{"code": "a.waived", "message": "m", "severity": "high", "enforcement": "waived", "details": {}, "controls": set()},
		},
		"claims": {["iss"], ["address", "country"]},
		"obligations": {"omit_claims": ["email"]},
		"cache_for_seconds": 60,
	}`).Value)
	want := pdp.Verdict{
		Allow: true,
		Reasons: []pdp.Reason{
			{Code: "c.denied", Message: "m", Severity: pdp.Critical, Enforcement: pdp.Deny, Controls: []string{"X:1"},
				Details: map[string]any{"number": number(1) + ".5", "bool": true, "name": "aud", "names": []string{"a", "b"}}},
			{Code: "b.warned", Message: "m", Severity: pdp.Low, Enforcement: pdp.Warn},
			{Code: "a.waived", Message: "m", Severity: pdp.High, Enforcement: pdp.Waived, Details: map[string]any{}, Controls: []string{}},
		},
		Claims:          [][]string{{"address", "country"}, {"iss"}},
		Obligations:     pdp.Obligations{OmitClaims: []string{"email"}},
		CacheForSeconds: 60,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if got, err := decode(ast.MustParseTerm(`{"allow": false, "reasons": []}`).Value); err != nil || got.Allow {
		t.Errorf("the least verdict: %+v, %v", got, err)
	}
}

func TestCodes(t *testing.T) {
	for code, good := range map[string]bool{
		"a.b": true, "family.sub.name": true, "Acme-1.too_old": true,
		"": false, "family": false, ".b": false, "a.": false, "a..b": false, "a.b c": false, "a.é": false, "a.b\n": false,
	} {
		if IsCode(code) != good {
			t.Errorf("IsCode(%q) is %v", code, !good)
		}
	}
}

// arbitrary makes values that are often nearly a verdict: it takes a well-formed one apart and puts other
// things in, as the bytes say.
func arbitrary(r *rand.Rand, depth int) *ast.Term {
	texts := []string{"", "a.b", "low", "deny", "warn", "allow", "reasons", "code", "message", "severity", "enforcement", "claims", "details"}
	if depth == 0 {
		return []*ast.Term{ast.BooleanTerm(true), ast.BooleanTerm(false), ast.NullTerm(), ast.IntNumberTerm(r.IntN(5) - 1),
			ast.NumberTerm("0.5"), ast.StringTerm(texts[r.IntN(len(texts))]), ast.VarTerm("x"), ast.ObjectTerm(), ast.ArrayTerm()}[r.IntN(9)]
	}
	switch r.IntN(4) {
	case 0:
		return ast.ArrayTerm(arbitrary(r, depth-1), arbitrary(r, depth-1))
	case 1:
		return ast.SetTerm(arbitrary(r, depth-1), arbitrary(r, depth-1))
	case 2:
		var members [][2]*ast.Term
		for range r.IntN(5) {
			name := ast.StringTerm(texts[r.IntN(len(texts))])
			if r.IntN(10) == 0 {
				name = arbitrary(r, 0)
			}
			members = append(members, [2]*ast.Term{name, arbitrary(r, depth-1)})
		}
		return ast.ObjectTerm(members...)
	}
	return arbitrary(r, 0)
}

func nearlyAVerdict(r *rand.Rand) ast.Value {
	object := func(members map[string]*ast.Term) *ast.Term {
		var list [][2]*ast.Term
		for _, name := range []string{"allow", "reasons", "claims", "obligations", "cache_for_seconds", "code", "message", "severity", "enforcement", "details"} {
			value, ok := members[name]
			switch {
			case !ok || r.IntN(24) == 0:
				continue
			case r.IntN(16) == 0:
				value = arbitrary(r, r.IntN(3))
			}
			list = append(list, [2]*ast.Term{ast.StringTerm(name), value})
		}
		if r.IntN(16) == 0 {
			list = append(list, [2]*ast.Term{arbitrary(r, r.IntN(2)), arbitrary(r, 1)})
		}
		return ast.ObjectTerm(list...)
	}
	reason := object(map[string]*ast.Term{
		"code": ast.StringTerm("a.b"), "message": ast.StringTerm("m"), "severity": ast.StringTerm("low"), "enforcement": ast.StringTerm("warn"),
		"details": ast.ObjectTerm([2]*ast.Term{ast.StringTerm("n"), ast.IntNumberTerm(1)}),
	})
	return object(map[string]*ast.Term{
		"allow": ast.BooleanTerm(true), "reasons": ast.ArrayTerm(reason), "claims": ast.SetTerm(ast.ArrayTerm(ast.StringTerm("sub"))),
		"obligations": ast.ObjectTerm([2]*ast.Term{ast.StringTerm("omit_claims"), ast.ArrayTerm()}), "cache_for_seconds": ast.IntNumberTerm(60),
	}).Value
}

// wellFormed says the same as decode, of the JSON form and by other means.
func wellFormed(value ast.Value) bool {
	schema := map[string]any{
		"type": "object", "additionalProperties": false, "required": []any{"allow", "reasons"},
		"properties": map[string]any{
			"allow": map[string]any{"type": "boolean"},
			"reasons": map[string]any{"type": "array", "items": map[string]any{
				"type": "object", "additionalProperties": false, "required": []any{"code", "message", "severity", "enforcement"},
				"properties": map[string]any{
					"code":        map[string]any{"type": "string", "pattern": `^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+$`},
					"message":     map[string]any{"type": "string", "minLength": 1},
					"severity":    map[string]any{"enum": []any{"low", "medium", "high", "critical"}},
					"enforcement": map[string]any{"enum": []any{"deny", "warn", "waived"}},
					"controls":    map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
					"details": map[string]any{"type": "object", "additionalProperties": map[string]any{"oneOf": []any{
						map[string]any{"type": "number"}, map[string]any{"type": "boolean"}, map[string]any{"type": "string"},
						map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
					}}},
				},
			}},
			"claims": map[string]any{"type": "array", "items": map[string]any{"type": "array", "minItems": 1, "items": map[string]any{"type": "string"}}},
			"obligations": map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{
				"omit_claims": map[string]any{"type": "array", "items": map[string]any{"type": "string"}},
			}},
			"cache_for_seconds": map[string]any{"type": "integer", "minimum": 0},
		},
	}
	if !jsonNames(value) {
		return false
	}
	document, err := ast.JSON(value)
	object, ok := document.(map[string]any)
	if err != nil || !ok {
		return false
	}
	problems, err := mismatches(nil, object, schema) //nolint:staticcheck // no reference, so no context is used
	return err == nil && len(problems) == 0
}

// jsonNames tells whether a value has a JSON form of its own: ast.JSON writes names that are no strings as text.
func jsonNames(value ast.Value) bool {
	good := true
	ast.WalkTerms(value, func(t *ast.Term) bool {
		switch v := t.Value.(type) {
		case ast.Object:
			v.Foreach(func(name, _ *ast.Term) {
				if _, ok := name.Value.(ast.String); !ok {
					good = false
				}
			})
		case ast.Var:
			good = false
		}
		return !good
	})
	return good
}

func FuzzDecode(f *testing.F) {
	for seed := range uint64(64) {
		f.Add(seed, seed%3 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, wild bool) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the fuzzer chooses the seed
		value := nearlyAVerdict(r)
		if wild {
			value = arbitrary(r, 4).Value
		}
		verdict, err := decode(value)
		switch {
		case err != nil && !errors.Is(err, ErrUndefined):
			t.Errorf("%v: %v", value, err)
		case err != nil && !reflect.DeepEqual(verdict, pdp.Verdict{}):
			t.Errorf("%v: an error and %+v", value, verdict)
		case (err == nil) != wellFormed(value):
			t.Errorf("%v: %v; its schema says otherwise", value, err)
		case verdict.Allow && value.(ast.Object).Get(ast.StringTerm("allow")).Value.Compare(ast.Boolean(true)) != 0:
			t.Errorf("%v is read as an allow", value)
		}
	})
}
