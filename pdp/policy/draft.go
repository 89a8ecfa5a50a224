package policy

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp"
)

// Draft is a policy taken apart for its author's tools: everything a Revision is compiled from, and the tests beside it,
// parsed and not yet compiled. Tools compile it as production does and then run, trace or measure parts of it.
type Draft struct {
	// Modules are those of the source and the tests, parsed with their metadata.
	Modules map[string]*ast.Module
	// Compiler is as strict as that of production, and has not compiled anything yet.
	Compiler *ast.Compiler
	// Store holds the data; it is for reading only.
	Store storage.Store
	// Data is what the store holds.
	Data map[string]any
}

// NewDraft reads a source and the tests beside it. Its errors are those of Compile.
func NewDraft(ctx context.Context, s Source, tests map[string][]byte) (*Draft, error) {
	data, err := baseDocuments(ctx, &s)
	if err != nil {
		return nil, err
	}
	texts := maps.Clone(s.Modules)
	if texts == nil {
		texts = make(map[string][]byte, len(tests))
	}
	maps.Copy(texts, tests)
	capabilities := Capabilities()
	modules, err := parse(texts, capabilities)
	if err != nil {
		return nil, err
	}
	compiler, err := withInputSchema(newCompiler(capabilities), s.InputSchema)
	if err != nil {
		return nil, err
	}
	return &Draft{Modules: modules, Compiler: compiler, Store: newStore(data), Data: data}, nil
}

// Compile compiles what the draft holds; its error is a *CompileError.
func (d *Draft) Compile() error {
	if d.Compiler.Compile(d.Modules); d.Compiler.Failed() {
		return compileError(d.Compiler.Errors)
	}
	return nil
}

// Input gives the whole input document about the facts, whatever the modules read of it.
func Input(f *pdp.Facts) (ast.Value, error) {
	whole := viewOf(&reads{all: true})
	term, err := whole.input(f)
	if err != nil {
		return nil, err
	}
	return term.Value, nil
}

// DecodeVerdict reads the value of Entrypoint as strictly as an evaluation does.
func DecodeVerdict(value ast.Value) (pdp.Verdict, error) { return decode(value) }

// RefusedBy makes OPA's errors about modules readable.
func RefusedBy(found ast.Errors) *CompileError { return compileError(found) }

// Probe gives a function that evaluates a body, a query or the compiled body of a rule, as an evaluation of Entrypoint is
// evaluated: it is for measuring. The body's answers are counted, not kept.
func (r *Revision) Probe(body ast.Body) func(ctx context.Context, input *ast.Term, tracers ...topdown.QueryTracer) error {
	return func(ctx context.Context, input *ast.Term, tracers ...topdown.QueryTracer) error {
		var failures []topdown.Error
		query := topdown.NewQuery(body).WithQueryCompiler(r.queryCompiler).WithCompiler(r.compiler).WithStore(r.store).
			WithTransaction(r.txn).WithBaseCache(r.base).WithMetrics(metrics.NoOp()).WithBuiltinErrorList(&failures).
			WithCancel(topdown.NewCancel()).WithInput(input)
		for _, tracer := range tracers {
			query = query.WithQueryTracer(tracer)
		}
		return query.Iter(ctx, func(topdown.QueryResult) error { return nil })
	}
}

// Query is the compiled query for Entrypoint, for Probe.
func (r *Revision) Query() ast.Body { return r.query }

// Rules gives every compiled rule, else branches with the rule that they belong to, in the order of files and lines.
func (r *Revision) Rules() []*ast.Rule {
	var rules []*ast.Rule
	for _, module := range r.compiler.Modules {
		rules = append(rules, module.Rules...)
	}
	slices.SortFunc(rules, func(a, b *ast.Rule) int {
		return cmp.Or(cmp.Compare(a.Location.File, b.Location.File), cmp.Compare(a.Location.Row, b.Location.Row), cmp.Compare(a.Location.Col, b.Location.Col))
	})
	return rules
}
