package masking

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// The members of an event as system.log.mask sees it: the facts in one, and what the decision says in others.
const factsMember = "input"

var ofTheDecision = []string{"result", "decision_id", "requested_by", "timestamp", "bundles"}

// evaluate asks both documents. What panics in them is a mask that fails, like any other.
func (m *Masker) evaluate(ctx context.Context, docs *documents, f *pdp.Facts, d *pdp.Decision) (mask Mask, err error) {
	defer func() {
		if recover() != nil {
			// What was recovered may quote the facts.
			mask, err = Mask{}, errors.New("masking: the evaluation broke off by a fault of the evaluator")
		}
	}()
	value, err := docs.mask.Evaluate(ctx, m.c.Timeout, m.c.Now, f)
	if err != nil {
		return Mask{}, failureOf(Entrypoint, err)
	}
	if value.Compare(ast.String("usual")) == 0 {
		mask, err = docs.usual, docs.usualErr
	} else {
		mask, err = decode(Entrypoint, value)
	}
	if err != nil {
		return Mask{}, err
	}
	if docs.log == nil {
		mask.Clear = notTakenAway(mask.Clear, mask.Remove)
		return mask, nil
	}
	beside, err := event(docs, f, d)
	if err != nil {
		return Mask{}, err
	}
	if value, err = docs.log.Evaluate(ctx, m.c.Timeout, m.c.Now, f, beside...); err != nil {
		return Mask{}, failureOf(LogMask, err)
	}
	removals, err := decodeLogMask(value)
	if err != nil {
		return Mask{}, err
	}
	mask.Remove = append(slices.Clip(mask.Remove), removals...)
	mask.Clear = notTakenAway(mask.Clear, mask.Remove)
	return mask, nil
}

// usualMask asks for Usual, which may depend on nothing.
func usualMask(d *policy.Document) (Mask, error) {
	if d.Reads() {
		return Mask{}, misshapen(Usual, "it depends on input, and is asked for once")
	}
	nothing := &pdp.Facts{Request: &pdp.Request{}, Token: &pdp.Token{}, Verification: &pdp.Verification{}}
	value, err := d.Evaluate(context.Background(), 10*policy.DefaultTimeout, time.Now, nothing)
	if err != nil {
		return Mask{}, failureOf(Usual, err)
	}
	return decode(Usual, value)
}

// event is what of OPA's event stands beside the facts, as far as the rules read it. The claims that the answer
// releases are in it as in any event of OPA's.
func event(docs *documents, f *pdp.Facts, d *pdp.Decision) ([][2]*ast.Term, error) {
	members := [][2]*ast.Term{
		{ast.StringTerm("path"), ast.StringTerm("assay/decision")},
		{ast.StringTerm("labels"), ast.ObjectTerm([2]*ast.Term{ast.StringTerm("app"), ast.StringTerm("assay")})},
		{ast.StringTerm("decision_id"), ast.StringTerm(d.ID)},
		{ast.StringTerm("requested_by"), ast.StringTerm(f.Request.Caller.Name)},
		{ast.StringTerm("timestamp"), ast.StringTerm(d.EvaluatedAt.UTC().Format(time.RFC3339Nano))},
		{ast.StringTerm("bundles"), ast.ObjectTerm([2]*ast.Term{ast.StringTerm("assay"),
			ast.ObjectTerm([2]*ast.Term{ast.StringTerm("revision"), ast.StringTerm(d.PolicyRevision)})})},
	}
	if !docs.log.Reads("result") {
		return members, nil
	}
	text, err := d.AppendJSON(nil)
	if err != nil {
		return nil, errors.New("masking: the decision has no JSON form")
	}
	var result any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&result); err != nil {
		return nil, errors.New("masking: the decision's JSON form cannot be read")
	}
	value, err := ast.InterfaceToValue(result)
	if err != nil {
		return nil, errors.New("masking: the decision is no value of policy's")
	}
	return append(members, [2]*ast.Term{ast.StringTerm("result"), ast.NewTerm(value)}), nil
}
