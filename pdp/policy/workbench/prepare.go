package workbench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// Input is an input document: what a decision is made from.
type Input struct{ value ast.Value }

// InputOf gives the input about some facts, whole.
func InputOf(f *pdp.Facts) (Input, error) {
	value, err := policy.Input(f)
	return Input{value}, err
}

// ReadInput reads a recorded input: a JSON object as Rego sees it, or {"input": …} around one.
func ReadInput(text []byte) (Input, error) {
	document, err := readObject(text)
	if err != nil {
		return Input{}, err
	}
	if inner, ok := document["input"].(map[string]any); ok && len(document) == 1 {
		document = inner
	}
	if _, isInput := document["verification"]; !isInput {
		return Input{}, errors.New(`not an input document: it has no member "verification"`)
	}
	value, err := ast.InterfaceToValue(document)
	return Input{value}, err
}

// JSON is the document's text. It holds the claims of the token, so it is to be kept as carefully; it does not hold
// the token, and nobody can use it as one.
func (i Input) JSON() ([]byte, error) {
	document, err := ast.JSON(i.value)
	if err != nil {
		return nil, err
	}
	return json.MarshalIndent(document, "", "  ")
}

// at gives what lies at a path; nil where nothing does.
func (i Input) at(path ...string) ast.Value {
	ref := make(ast.Ref, len(path))
	for n, name := range path {
		ref[n] = ast.StringTerm(name)
	}
	value, err := i.value.Find(ref)
	if err != nil {
		return nil
	}
	return value
}

// seconds is input.time.
func (i Input) seconds() int64 {
	if n, ok := i.at("time").(ast.Number); ok {
		if whole, ok := n.Int64(); ok {
			return whole
		}
	}
	return 0
}

// Prepared is a compiled policy that can be asked and watched. It is safe for concurrent use.
type Prepared struct {
	policy   Policy
	revision string
	draft    *policy.Draft
	rules    map[string]Rule // by place
	aliases  map[*ast.Rule]map[ast.Var]ast.Ref
}

// Prepare compiles a policy, without its tests. Its errors are those of policy.Compile.
func Prepare(ctx context.Context, p Policy) (*Prepared, error) {
	revision, err := policy.Compile(ctx, p.Source)
	if err != nil {
		return nil, err
	}
	draft, err := policy.NewDraft(ctx, p.Source, nil)
	if err != nil {
		return nil, err
	}
	prepared := &Prepared{policy: p, revision: revision.ID(), draft: draft, rules: make(map[string]Rule)}
	for name, module := range draft.Modules {
		rules, err := RulesOf(module)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		for _, rule := range rules {
			prepared.rules[fmt.Sprintf("%s:%d", rule.File, rule.Line)] = rule
		}
	}
	if err := draft.Compile(); err != nil {
		return nil, err
	}
	prepared.aliases = make(map[*ast.Rule]map[ast.Var]ast.Ref)
	for _, module := range draft.Compiler.Modules {
		ast.WalkRules(module, func(rule *ast.Rule) bool {
			prepared.aliases[rule] = aliasesIn(rule)
			return false
		})
	}
	return prepared, nil
}

// Revision is the id that the policy has where it is in force from the same files under the same names.
func (p *Prepared) Revision() string { return p.revision }

// ruleAt finds the metadata of a compiled rule that finds something.
func (p *Prepared) ruleAt(rule *ast.Rule) (Rule, bool) {
	found, ok := p.rules[fmt.Sprintf("%s:%d", rule.Location.File, rule.Location.Row)]
	return found, ok
}

// answer evaluates one query, watched by tracers; the answer is bound to "x" in it. A builtin that fails is the error.
func (p *Prepared) answer(ctx context.Context, query string, in Input, tracers ...topdown.QueryTracer) (ast.Value, error) {
	body, err := ast.ParseBody(query)
	if err != nil {
		return nil, err
	}
	compiler := p.draft.Compiler.QueryCompiler()
	if body, err = compiler.Compile(body); err != nil {
		return nil, err
	}
	txn, err := p.draft.Store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer p.draft.Store.Abort(ctx, txn)
	var failures []topdown.Error
	q := topdown.NewQuery(body).WithQueryCompiler(compiler).WithCompiler(p.draft.Compiler).WithStore(p.draft.Store).
		WithTransaction(txn).WithTime(time.Unix(in.seconds(), 0)).WithInput(ast.NewTerm(in.value)).WithBuiltinErrorList(&failures)
	for _, tracer := range tracers {
		q = q.WithQueryTracer(tracer)
	}
	var value ast.Value
	err = q.Iter(ctx, func(result topdown.QueryResult) error {
		if x := result["x"]; x != nil {
			value = x.Value
		}
		return nil
	})
	if err == nil && len(failures) > 0 {
		// The message may quote what the builtin was given, which comes from the token.
		at := failures[0].Location
		err = fmt.Errorf("%w at %v", errBuiltin, at)
	}
	return value, err
}

// errBuiltin says that a builtin failed, for which production denies with policy.failed.
var errBuiltin = errors.New("a builtin function failed, which denies with policy.failed")

// Evaluate implements pdp.Policy, without the bounds of production.
func (p *Prepared) Evaluate(ctx context.Context, f *pdp.Facts) (pdp.Verdict, error) {
	in, err := InputOf(f)
	if err != nil {
		return pdp.Verdict{}, err
	}
	return p.verdict(ctx, in)
}

// verdict decides as production does: what fails or is misshapen is a deny with its reason.
func (p *Prepared) verdict(ctx context.Context, in Input, tracers ...topdown.QueryTracer) (pdp.Verdict, error) {
	value, err := p.answer(ctx, "x = "+policy.Entrypoint, in, tracers...)
	if err := ctx.Err(); err != nil {
		return pdp.Verdict{}, context.Cause(ctx)
	}
	var verdict pdp.Verdict
	var shape error
	if value != nil {
		verdict, shape = policy.DecodeVerdict(value)
	}
	_, stopped := errors.AsType[*topdown.Error](err) // such as two values of one rule; its text names no value
	switch {
	case errors.Is(err, errBuiltin) || stopped:
		failed := pdp.NewFloorReason("policy.failed", err.Error(), nil)
		verdict = pdp.Verdict{Reasons: append([]pdp.Reason{*failed}, verdict.Reasons...)}
	case err != nil:
		return pdp.Verdict{}, err
	case value == nil || shape != nil:
		text := "the policy gave no usable verdict"
		if shape != nil {
			text = shape.Error()
		}
		verdict = pdp.Verdict{Reasons: []pdp.Reason{*pdp.NewFloorReason("policy.undefined", text, nil)}}
	}
	verdict.Revision = p.revision
	return verdict, nil
}
