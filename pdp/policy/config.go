package policy

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp/strictjson"
)

// ConfigProblem is one thing that is wrong with a configuration.
type ConfigProblem struct {
	// Path leads to the value, from the outermost member inwards; array elements by their decimal index.
	// Empty means the whole.
	Path []string
	// Field is Path with dots between, for people; "(Root)" for the whole.
	Field string
	// Text says what is wrong there.
	Text string
}

// ConfigError says that a configuration does not fit its schema. A caller that knows the text from which the
// JSON was made can find the lines by Path.
type ConfigError struct{ Problems []ConfigProblem }

func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = "policy configuration: " + p.Field + ": " + p.Text
	}
	return strings.Join(lines, "\n")
}

// root is how json.match_schema names the whole document.
const root = "(Root)"

// dataLimits bound the documents that come with a policy.
var dataLimits = strictjson.Limits{MaxBytes: 256 << 20, MaxDepth: 128, MaxValues: 10_000_000}

func readObject(what string, text []byte) (map[string]any, error) {
	if len(text) == 0 {
		return nil, nil
	}
	decoded, err := strictjson.DecodeObject(text, dataLimits)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return decoded, nil
}

// Merge lays over on base: objects are merged member by member, everything else is replaced. Neither is changed.
func Merge(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	if merged == nil {
		merged = make(map[string]any, len(over))
	}
	for name, value := range over {
		was, wasObject := merged[name].(map[string]any)
		is, isObject := value.(map[string]any)
		if wasObject && isObject {
			merged[name] = Merge(was, is)
		} else {
			merged[name] = value
		}
	}
	return merged
}

// configuration decodes and merges what becomes data.assay.config, and holds both the organisation's part and
// the whole against the schema: the part first, so that its problems are told in its own terms.
func configuration(ctx context.Context, s *Source, base map[string]any) (map[string]any, error) {
	defaults, err := readObject("policy configuration: the defaults", s.Defaults)
	if err != nil {
		return nil, err
	}
	own, err := readObject("policy configuration", s.Config)
	if err != nil {
		return nil, err
	}
	merged := Merge(Merge(base, defaults), own)
	if len(s.Schema) == 0 {
		return merged, nil
	}
	schema, err := readObject("policy configuration: the schema", s.Schema)
	if err != nil {
		return nil, err
	}
	for _, document := range []map[string]any{own, merged} {
		if document == nil {
			continue
		}
		problems, err := mismatches(ctx, document, schema)
		if err != nil {
			return nil, fmt.Errorf("policy configuration: the schema: %w", err)
		}
		if len(problems) > 0 {
			return nil, &ConfigError{problems}
		}
	}
	return merged, nil
}

// mismatches asks OPA's own json.match_schema, which reaches no network under Capabilities.
func mismatches(ctx context.Context, document, schema map[string]any) ([]ConfigProblem, error) {
	operands := make([]*ast.Term, 2)
	for i, value := range []map[string]any{document, schema} {
		converted, err := ast.InterfaceToValue(value)
		if err != nil {
			return nil, err
		}
		operands[i] = ast.NewTerm(converted)
	}
	var problems []ConfigProblem
	match := topdown.GetBuiltin(ast.JSONMatchSchema.Name)
	err := match(topdown.BuiltinContext{Context: ctx, Capabilities: Capabilities()}, operands, func(answer *ast.Term) error {
		pair, ok := answer.Value.(*ast.Array)
		if !ok || pair.Len() != 2 {
			return fmt.Errorf("%s answered a %s", ast.JSONMatchSchema.Name, ast.ValueName(answer.Value))
		}
		found, ok := pair.Elem(1).Value.(*ast.Array)
		if !ok {
			return fmt.Errorf("%s answered no list", ast.JSONMatchSchema.Name)
		}
		found.Foreach(func(one *ast.Term) { problems = append(problems, problem(one, document)) })
		if valid := pair.Elem(0).Value.Compare(ast.Boolean(true)) == 0; !valid && len(problems) == 0 {
			problems = []ConfigProblem{{Field: root, Text: "does not fit its schema"}}
		}
		return nil
	})
	slices.SortStableFunc(problems, func(a, b ConfigProblem) int { return slices.Compare(a.Path, b.Path) })
	return problems, err
}

// problem reads one of json.match_schema's errors. Its field is a dotted path in which names are not quoted;
// the document itself tells where one name ends and the next begins.
func problem(found *ast.Term, document map[string]any) ConfigProblem {
	text := func(member string) string {
		if object, ok := found.Value.(ast.Object); ok {
			if value := object.Get(ast.StringTerm(member)); value != nil {
				if s, ok := value.Value.(ast.String); ok {
					return string(s)
				}
			}
		}
		return ""
	}
	p := ConfigProblem{Field: text("field"), Text: text("desc")}
	if p.Field != root {
		p.Path = resolve(document, strings.TrimPrefix(p.Field, root+"."))
	}
	// An unknown member is told of the object that it is in; its own place is more useful.
	if name, ok := strings.CutPrefix(p.Text, "Additional property "); ok {
		if name, ok = strings.CutSuffix(name, " is not allowed"); ok {
			p.Path, p.Text = append(p.Path, name), "there is no such setting"
		}
	}
	if len(p.Path) > 0 {
		p.Field = strings.Join(p.Path, ".")
	}
	return p
}

// resolve splits a dotted path along the names that the value really has; what leads nowhere stays whole.
func resolve(value any, dotted string) []string {
	step := func(name string, next any) ([]string, bool) {
		if dotted == name {
			return []string{name}, true
		}
		if rest, ok := strings.CutPrefix(dotted, name+"."); ok {
			return append([]string{name}, resolve(next, rest)...), true
		}
		return nil, false
	}
	switch v := value.(type) {
	case map[string]any:
		names := slices.Sorted(maps.Keys(v))
		slices.SortStableFunc(names, func(a, b string) int { return len(b) - len(a) }) // the longest that fits
		for _, name := range names {
			if path, ok := step(name, v[name]); ok {
				return path
			}
		}
	case []any:
		for i, element := range v {
			if path, ok := step(fmt.Sprint(i), element); ok {
				return path
			}
		}
	}
	return []string{dotted}
}
