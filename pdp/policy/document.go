package policy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp"
)

// question is a compiled query for one document.
type question struct {
	ref           string
	query         ast.Body // ref = answer
	queryCompiler ast.QueryCompiler
}

// answerVariable is where the query binds the answer.
const answerVariable = "answer"

func ask(compiler *ast.Compiler, ref string) (question, error) {
	query, err := ast.ParseBody(ref + " = " + answerVariable)
	if err != nil {
		return question{}, fmt.Errorf("policy: %w", err)
	}
	q := question{ref: ref, queryCompiler: compiler.QueryCompiler()}
	if q.query, err = q.queryCompiler.Compile(query); err != nil {
		return question{}, fmt.Errorf("policy: %w", err)
	}
	return q, nil
}

// answer asks once. Without an error there is exactly one value; failures are those of builtins, which may have
// made a part of it undefined.
func (r *Revision) answer(ctx context.Context, cut *cutOff, q *question, second int64, input *ast.Term) (ast.Value, []topdown.Error, error) {
	var failures []topdown.Error
	query := topdown.NewQuery(q.query).
		WithQueryCompiler(q.queryCompiler).
		WithCompiler(r.compiler).
		WithStore(r.store).
		WithTransaction(r.txn).
		WithBaseCache(r.base).
		WithMetrics(metrics.NoOp()).
		WithTime(time.Unix(second, 0)).
		WithBuiltinErrorList(&failures).
		WithCancel(cut).
		WithInput(input)
	var answer *ast.Term
	answers := 0
	err := query.Iter(ctx, func(result topdown.QueryResult) error {
		answers++
		answer = result[answerVariable]
		return nil
	})
	switch {
	case topdown.IsCancel(err):
		return nil, nil, fmt.Errorf("%w: %w", ErrCutOff, err)
	case err != nil:
		return nil, nil, fmt.Errorf("evaluating %s: %w", q.ref, err)
	case answers != 1 || answer == nil:
		return nil, nil, likelier(fmt.Errorf("%w: %s has %d values where one is expected", ErrUndefined, q.ref, answers), failures)
	}
	return answer.Value, failures, nil
}

// Document is a document of a Revision beside the decision, prepared to be asked for about facts. It is safe for
// concurrent use.
type Document struct {
	question
	r      *Revision
	exists bool
	reads  reads
	below  string
	view   view
}

// Document prepares the document at ref, such as "data.assay.audit.mask". Its rules find the facts in input, or, with
// a name in below, in that member of it.
func (r *Revision) Document(ref, below string) (*Document, error) {
	path, err := ast.ParseRef(ref)
	if err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	d := &Document{r: r, below: below, reads: readsFor(r.compiler, path)}
	d.exists = len(rulesAt(r.compiler, path)) > 0 || r.base.Get(path) != nil
	facts := d.reads
	if below != "" {
		facts = facts.below(below)
	}
	d.view = viewOf(&facts)
	d.view.time = facts.any("time")
	d.question, err = ask(r.compiler, ref)
	return d, err
}

// Exists tells whether any rule or base document might give it a value.
func (d *Document) Exists() bool { return d.exists }

// Reads tells whether its rules read something at, above or below a path of input.
func (d *Document) Reads(path ...string) bool { return d.reads.any(path...) }

// AppendKey writes down what the document's rules read of the facts beside the token and its verification: for one
// token and verification, facts with the same key give the same value.
func (d *Document) AppendKey(key []byte, f *pdp.Facts) []byte {
	key = d.view.appendKey(key, f)
	if d.view.time {
		key = binary.AppendVarint(key, f.Time)
	}
	return key
}

// Evaluate asks for the document; limit bounds it by the clock now. Members of input beside the one that holds the
// facts can be given where Document was told of one. It is an error if the document has no value or several, if a
// builtin fails, and if the time is up.
func (d *Document) Evaluate(ctx context.Context, limit time.Duration, now func() time.Time, f *pdp.Facts, beside ...[2]*ast.Term) (ast.Value, error) {
	input, err := d.view.input(f)
	if err != nil {
		return nil, err
	}
	if d.below != "" {
		input = ast.ObjectTerm(append(beside, [2]*ast.Term{ast.StringTerm(d.below), input})...)
	} else if len(beside) > 0 {
		return nil, errors.New("policy: there is no place beside the facts")
	}
	value, failures, err := d.r.answer(ctx, &cutOff{ctx: ctx, now: now, deadline: now().Add(limit)}, &d.question, f.Time, input)
	if err == nil {
		err = likelier(nil, failures)
	}
	return value, err
}

// Beside is a place with a verified token, for what else than verdicts follows from it and this revision. It lives as
// long as they do, is empty for another verification of the token, and is for values of one type.
func (r *Revision) Beside(f *pdp.Facts) *atomic.Value { return &r.keptWith(f).beside }
