package policy

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// Entrypoint is the document that policy is asked for.
const Entrypoint = "data.assay.decision"

// ConfigDocument is where policy finds the configuration.
const ConfigDocument = "data.assay.config"

// Source is what a Revision is compiled from.
type Source struct {
	// Modules are Rego v1 texts by file name; one of them defines Entrypoint and marks it as an entrypoint.
	Modules map[string][]byte
	// Data is a JSON object of further base documents; what it holds at assay.config lies below Defaults. May be empty.
	Data []byte
	// Defaults and Config are JSON objects: data.assay.config is Config laid over Defaults, where objects are
	// merged and everything else is replaced. Both may be empty.
	Defaults, Config []byte
	// Schema is the JSON Schema of Config and of the merged whole. Empty: nothing is checked.
	Schema []byte
	// InputSchema is the JSON Schema of input, by which modules that name schema.input in their annotations are
	// type-checked, so that a misspelt member is an error. Empty: they are not.
	InputSchema []byte
}

// Problem is one thing that is wrong with a module.
type Problem struct {
	File string
	// Line counts from 1; 0 where the problem has no place in the file.
	Line    int
	Message string
}

// CompileError says why modules are refused.
type CompileError struct{ Problems []Problem }

func (e *CompileError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		switch {
		case p.File == "":
			lines[i] = p.Message
		case p.Line == 0:
			lines[i] = p.File + ": " + p.Message
		default:
			lines[i] = fmt.Sprintf("%s:%d: %s", p.File, p.Line, p.Message)
		}
	}
	return "the policy is refused:\n  " + strings.Join(lines, "\n  ")
}

// Compile builds a Revision. What is wrong with modules is a *CompileError, with configuration a *ConfigError.
func Compile(ctx context.Context, s Source) (*Revision, error) {
	data, err := baseDocuments(ctx, &s)
	if err != nil {
		return nil, err
	}
	capabilities := Capabilities()
	modules, err := parse(s.Modules, capabilities)
	if err != nil {
		return nil, err
	}
	if problems := misplaced(modules); len(problems) > 0 {
		return nil, &CompileError{problems}
	}
	store := newStore(data)
	// The one read transaction of all evaluations. Nothing ever writes to this store, so it is never ended.
	txn, err := store.NewTransaction(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	compiler, err := withInputSchema(newCompiler(capabilities), s.InputSchema)
	if err != nil {
		return nil, err
	}
	compiler = compiler.WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn))
	if compiler.Compile(modules); compiler.Failed() {
		return nil, compileError(compiler.Errors)
	}
	if rules := compiler.GetRulesWithPrefix(ast.MustParseRef(ConfigDocument)); len(rules) > 0 {
		return nil, &CompileError{[]Problem{{File: rules[0].Location.File, Line: rules[0].Location.Row,
			Message: ConfigDocument + " comes from the configuration alone; a module may not define anything in it"}}}
	}
	if err := checkEntrypoint(compiler); err != nil {
		return nil, err
	}
	id, err := digest(s.Modules, data, capabilities)
	if err != nil {
		return nil, err
	}
	r, err := newRevision(ctx, id, compiler, store, txn)
	if err != nil {
		return nil, err
	}
	r.texts = make(map[string][sha256.Size]byte, len(s.Modules))
	for name, text := range s.Modules {
		r.texts[name] = sha256.Sum256(text)
	}
	return r, nil
}

func newStore(data map[string]any) storage.Store {
	return inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
}

// withInputSchema has the compiler hold modules that ask for it against the schema of input.
func withInputSchema(compiler *ast.Compiler, text []byte) (*ast.Compiler, error) {
	if len(text) == 0 {
		return compiler, nil
	}
	schema, err := readObject("policy: the schema of input", text)
	if err != nil {
		return nil, err
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.MustParseRef("schema.input"), schema)
	return compiler.WithSchemas(schemas).WithUseTypeCheckAnnotations(true), nil
}

func newCompiler(capabilities *ast.Capabilities) *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities).WithStrict(true).WithDefaultRegoVersion(ast.RegoV1)
}

// baseDocuments are all documents below data that no module makes.
func baseDocuments(ctx context.Context, s *Source) (map[string]any, error) {
	data, err := readObject("policy: the data", s.Data)
	if err != nil {
		return nil, err
	}
	assay, _ := data["assay"].(map[string]any)
	base, _ := assay["config"].(map[string]any)
	config, err := configuration(ctx, s, base)
	if err != nil {
		return nil, err
	}
	return Merge(data, map[string]any{"assay": map[string]any{"config": config}}), nil
}

// parse reads all modules, in the order of their names, and reports what is wrong with all of them.
func parse(texts map[string][]byte, capabilities *ast.Capabilities) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(texts))
	var found ast.Errors
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		module, err := ast.ParseModuleWithOpts(name, string(texts[name]), ast.ParserOptions{
			Capabilities:      capabilities,
			ProcessAnnotation: true,
			RegoVersion:       ast.RegoV1,
		})
		var errs ast.Errors
		switch {
		case errors.As(err, &errs):
			found = append(found, errs...)
		case err != nil:
			found = append(found, &ast.Error{Code: ast.ParseErr, Message: err.Error(), Location: &ast.Location{File: name}})
		case module == nil:
			// An empty file is no module, which stock OPA passes over too.
		default:
			modules[name] = module
		}
	}
	if len(found) > 0 {
		return nil, compileError(found)
	}
	return modules, nil
}

// compileError makes OPA's errors readable: in the order of the files, and with what to do where the reason
// is one of Assay's own rules.
func compileError(found ast.Errors) *CompileError {
	problems := make([]Problem, 0, len(found))
	for _, f := range found {
		p := Problem{Message: f.Message}
		if f.Location != nil {
			p.File, p.Line = f.Location.File, f.Location.Row
		}
		if name, ok := strings.CutPrefix(f.Message, "undefined function "); ok {
			if _, known := ast.BuiltinMap[name]; known {
				p.Message = name + " is not available here: policy may depend on nothing but input and data; " +
					"take the time from input.time and the outcome of verification from input.verification"
			}
		}
		if f.Details != nil {
			if details := f.Details.Lines(); len(details) > 0 {
				p.Message += " (" + strings.Join(details, "; ") + ")"
			}
		}
		problems = append(problems, p)
	}
	slices.SortStableFunc(problems, func(a, b Problem) int {
		if c := strings.Compare(a.File, b.File); c != 0 {
			return c
		}
		return a.Line - b.Line
	})
	return &CompileError{problems}
}

// checkEntrypoint demands that some rule defines Entrypoint and is marked, so that a bundle which is about
// something else is not taken for a policy that denies everything.
func checkEntrypoint(compiler *ast.Compiler) error {
	path := ast.MustParseRef(Entrypoint)
	rules := compiler.GetRulesExact(path)
	if len(rules) == 0 {
		return &CompileError{[]Problem{{Message: "no module defines " + Entrypoint +
			`; add a rule "decision" to "package assay", or load the library beside these modules`}}}
	}
	for _, annotated := range compiler.GetAnnotationSet().Flatten() {
		if annotated.Annotations.Entrypoint && annotated.Path.Equal(path) {
			return nil
		}
	}
	at := rules[0].Location
	return &CompileError{[]Problem{{File: at.File, Line: at.Row,
		Message: Entrypoint + ` is not marked as an entrypoint; write "# METADATA" and "# entrypoint: true" above it`}}}
}
