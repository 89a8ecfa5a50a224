package workbench

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/profiler"

	"github.com/assaypdp/assay/pdp/policy"
)

// BenchConfig says what to measure.
type BenchConfig struct {
	Policy Policy
	// Cases are the inputs to decide about. Default: the tokens of data.assay.fixture_test, where the policy's tests have it.
	Cases []BenchCase
	// Rounds is how often each part is timed, four evaluations at a time; the shortest round counts. Default 20.
	Rounds int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// BenchCase is one input with a name.
type BenchCase struct {
	Name  string
	Input Input
}

// BenchReport is what decisions and their parts cost, in units of one P-256 ecdsa.Verify, timed in turns with them.
type BenchReport struct {
	// Verify is how long the shortest one took.
	Verify time.Duration
	// Nothing is the fixed cost of an evaluation, which is taken off those of packages and rules.
	Nothing float64
	// Cases are the names of the columns, and Decisions the whole decision of each.
	Cases     []string
	Decisions []float64
	// Packages and Rules are the dearest first.
	Packages, Rules []Cost
}

// Cost of a package or a rule. Both measures have one value a case.
type Cost struct {
	// Name is "package" or "package.rule"; File and Line are where a rule stands. Code is that of a rule that finds something.
	Name, File, Code string
	Line             int
	Own              bool
	// Alone is what it costs to ask it and nothing else: of a package all its findings, of a rule its body, with every
	// look-up that a decision would share. -1 where it cannot be asked alone (functions, packages without findings).
	Alone []float64
	// Within is its part of the whole decision, by OPA's profiler: what its own lines took of the decision's cost. The
	// profiler weighs short expressions too heavily.
	Within []float64
}

const perRound = 4

// Bench measures, for some seconds. What does not compile is as with policy.Compile.
func Bench(ctx context.Context, c BenchConfig) (*BenchReport, error) {
	c.Rounds = cmp.Or(c.Rounds, 20)
	if c.Now == nil {
		c.Now = time.Now
	}
	revision, err := policy.Compile(ctx, c.Policy.Source)
	if err != nil {
		return nil, err
	}
	if len(c.Cases) == 0 {
		if c.Cases, err = fixtures(ctx, c.Policy); err != nil {
			return nil, err
		}
	}
	prepared, err := Prepare(ctx, c.Policy)
	if err != nil {
		return nil, err
	}
	b := &bench{c: c, revision: revision, prepared: prepared}
	if b.verify, err = verification(); err != nil {
		return nil, err
	}
	return b.report(ctx)
}

type bench struct {
	c        BenchConfig
	revision *policy.Revision
	prepared *Prepared
	verify   func()
	shortest time.Duration // of verify
}

func (b *bench) report(ctx context.Context) (*BenchReport, error) {
	r := &BenchReport{}
	empty, err := ast.ParseBody("true")
	if err != nil {
		return nil, err
	}
	if r.Nothing, err = b.measure(ctx, empty, b.c.Cases[0].Input); err != nil {
		return nil, err
	}
	packages, rules := map[string]*Cost{}, map[string]*Cost{}
	columns := len(b.c.Cases)
	cost := func(in map[string]*Cost, key string, made Cost) *Cost {
		if in[key] == nil {
			made.Alone, made.Within = slices.Repeat([]float64{-1}, columns), make([]float64, columns)
			in[key] = &made
		}
		return in[key]
	}
	compiled := b.revision.Rules()
	for column, one := range b.c.Cases {
		r.Cases = append(r.Cases, one.Name)
		whole, err := b.measure(ctx, b.revision.Query(), one.Input)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", one.Name, err)
		}
		r.Decisions = append(r.Decisions, whole)
		shares, err := b.profile(ctx, compiled, one.Input)
		if err != nil {
			return nil, err
		}
		for i, rule := range compiled {
			where := strings.TrimPrefix(rule.Module.Package.Path.String(), "data.")
			found, _ := b.prepared.ruleAt(rule)
			own := b.c.Policy.Own[rule.Location.File]
			of := cost(rules, fmt.Sprintf("%s:%d:%d", rule.Location.File, rule.Location.Row, rule.Location.Col), Cost{
				Name: strings.TrimPrefix(rulePath(rule), "data."), File: rule.Location.File, Line: rule.Location.Row, Code: found.Code, Own: own})
			of.Within[column] = shares[i] * whole
			family := cost(packages, where, Cost{Name: where, Own: own})
			family.Within[column] += shares[i] * whole
			if len(rule.Head.Args) == 0 && !rule.Default {
				if of.Alone[column], err = b.alone(ctx, rule.Body, one.Input, r.Nothing); err != nil {
					return nil, fmt.Errorf("%s: %w", of.Name, err)
				}
			}
			if found.Code != "" && family.Alone[column] < 0 {
				query := ast.NewBody(ast.NewExpr(ast.NewTerm(rule.Module.Package.Path.Append(ast.StringTerm(policy.Findings)))))
				if family.Alone[column], err = b.alone(ctx, query, one.Input, r.Nothing); err != nil {
					return nil, fmt.Errorf("%s: %w", where, err)
				}
			}
		}
	}
	r.Packages, r.Rules, r.Verify = dearest(packages), dearest(rules), b.shortest
	return r, nil
}

func dearest(costs map[string]*Cost) []Cost {
	var sorted []Cost
	for _, key := range slices.Sorted(maps.Keys(costs)) {
		sorted = append(sorted, *costs[key])
	}
	slices.SortStableFunc(sorted, func(a, b Cost) int {
		return cmp.Or(cmp.Compare(slices.Max(b.Within), slices.Max(a.Within)), cmp.Compare(slices.Max(b.Alone), slices.Max(a.Alone)))
	})
	return sorted
}

// alone is a measure without the fixed cost of an evaluation.
func (b *bench) alone(ctx context.Context, body ast.Body, in Input, nothing float64) (float64, error) {
	took, err := b.measure(ctx, body, in)
	return max(0, took-nothing), err
}

// measure times a body in turns with verifications: rounds of both lie close together, and the shortest of each counts, so
// that a busy machine changes the ratio little.
func (b *bench) measure(ctx context.Context, body ast.Body, in Input) (float64, error) {
	run := b.revision.Probe(body)
	input := ast.NewTerm(in.value)
	var took, verified time.Duration
	for range b.c.Rounds {
		began := b.c.Now()
		for range perRound {
			if err := run(ctx, input); err != nil {
				return 0, err
			}
		}
		between := b.c.Now()
		for range perRound {
			b.verify()
		}
		ended := b.c.Now()
		took, verified = shorter(took, between.Sub(began)/perRound), shorter(verified, ended.Sub(between)/perRound)
	}
	b.shortest = shorter(b.shortest, verified)
	if verified <= 0 {
		return 0, errors.New("the clock does not move")
	}
	return float64(took) / float64(verified), ctx.Err()
}

func shorter(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// profile gives what part of the time of a decision the lines of each rule take. Of several runs the shortest time of each
// rule counts: whatever else the machine did was in one of them.
func (b *bench) profile(ctx context.Context, rules []*ast.Rule, in Input) ([]float64, error) {
	run := b.revision.Probe(b.revision.Query())
	shortest := make([]float64, len(rules))
	for round := range b.c.Rounds {
		profile := profiler.New()
		if err := run(ctx, ast.NewTerm(in.value), profile); err != nil {
			return nil, err
		}
		took := make([]float64, len(rules))
		for file, report := range profile.ReportByFile().Files {
			for _, stats := range report.Result {
				if at := beginsBefore(rules, file, stats.Location.Row); at >= 0 {
					took[at] += float64(stats.ExprTimeNs)
				}
			}
		}
		for i := range shortest {
			if round == 0 || took[i] < shortest[i] {
				shortest[i] = took[i]
			}
		}
	}
	var sum float64
	for _, took := range shortest {
		sum += took
	}
	if sum > 0 {
		for i := range shortest {
			shortest[i] /= sum
		}
	}
	return shortest, nil
}

// beginsBefore finds the rule that a line belongs to: of those of its file, which are in order, the last that begins at or
// before it. -1 where none does.
func beginsBefore(rules []*ast.Rule, file string, line int) int {
	found := -1
	for i, rule := range rules {
		if rule.Location.File == file && rule.Location.Row <= line {
			found = i
		}
	}
	return found
}

// verification is one ecdsa.Verify with P-256 over a hash.
func verification() (func(), error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("a signing input"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		return nil, err
	}
	return func() { ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) }, nil
}

// fixtures are the conforming tokens of the library's tests, and an access token with a claim that is not the protocol's,
// which the short cut for plain tokens does not answer.
func fixtures(ctx context.Context, p Policy) ([]BenchCase, error) {
	draft, err := policy.NewDraft(ctx, p.Source, p.Tests)
	if err != nil {
		return nil, err
	}
	if err := draft.Compile(); err != nil {
		return nil, err
	}
	tested := &Prepared{policy: p, draft: draft}
	var cases []BenchCase
	for _, token := range []string{"access_token", "id_token"} {
		value, err := tested.answer(ctx, "x = data.assay.fixture_test."+token, Input{ast.NewObject()})
		if err != nil {
			return nil, err
		}
		object, ok := value.(ast.Object)
		if !ok {
			return nil, errors.New("the policy has no data.assay.fixture_test." + token + "; give recorded inputs")
		}
		cases = append(cases, BenchCase{strings.ReplaceAll(token, "_", " "), Input{object}})
		if token == "access_token" {
			more := ast.MustInterfaceToValue(map[string]any{"token": map[string]any{"claims": map[string]any{"tenant": "acme"}}}).(ast.Object)
			merged, ok := mergeObjects(object, more)
			if !ok {
				return nil, errors.New("data.assay.fixture_test.access_token is not an input document")
			}
			cases = append(cases, BenchCase{"with a claim more", Input{merged}})
		}
	}
	return cases, nil
}

func mergeObjects(a, b ast.Object) (ast.Object, bool) {
	return a.MergeWith(b, func(x, y *ast.Term) (*ast.Term, bool) {
		inner, ok := x.Value.(ast.Object)
		over, both := y.Value.(ast.Object)
		if !ok || !both {
			return y, false
		}
		merged, ok := mergeObjects(inner, over)
		return ast.NewTerm(merged), !ok
	})
}
