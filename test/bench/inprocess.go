package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/policies"
)

// step is a part of a decision, measured inside this process.
type step struct {
	Name string `json:"step"`
	// Time is the median of the rounds in microseconds, for orientation.
	Time float64 `json:"us"`
	// Verifies is the time in units of one bare P-256 ecdsa.Verify in the same round: median, least and largest.
	Verifies float64 `json:"verifies"`
	Least    float64 `json:"least"`
	Largest  float64 `json:"largest"`
}

// The steps that the budget is about: the whole is bounded by the sum of the other two and 15 %.
const (
	bareVerify   = "bare ecdsa.Verify (P-256)"
	newDecision  = "decision, token never seen"
	newEvaluated = "of it: policy evaluation"
	overBudget   = "decision / (ecdsa.Verify + evaluation)"
)

// pinned is a token.Trust of one issuer whose keys never change.
type pinned struct{ trust *pdp.Trust }

func (p pinned) Trust(issuer string) *pdp.Trust {
	if issuer != p.trust.Issuer.ID {
		return nil
	}
	return p.trust
}

func (p pinned) Refresh(_ context.Context, issuer, _ string) *pdp.Trust { return p.Trust(issuer) }

// path is the way of a decision as assay serve wires it, without HTTP, and with a second examiner to measure
// examination by itself.
type path struct {
	decider *pdp.Decider
	apart   *token.Examiner
	engine  *policy.Engine
	now     time.Time
}

func newPath(ctx context.Context, m *maker) (*path, error) {
	trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerName, Algorithms: []string{"ES256"}},
		[]pdp.Key{{ID: "k1", Thumbprint: "t1", Algorithm: "ES256", Public: &m.key.PublicKey}})
	if err != nil {
		return nil, err
	}
	examiner, err := token.New(token.Config{Trust: pinned{trust}})
	if err != nil {
		return nil, err
	}
	p := &path{now: time.Now()}
	if p.apart, err = token.New(token.Config{Trust: pinned{trust}}); err != nil {
		return nil, err
	}
	revision, err := policy.Compile(ctx, policy.Source{Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema()})
	if err != nil {
		return nil, err
	}
	if p.engine, err = policy.New(policy.Config{Revision: revision}); err != nil {
		return nil, err
	}
	p.decider, err = pdp.New(pdp.Config{
		Examiner: examiner, Policy: p.engine, Now: func() time.Time { return p.now },
		NewID: func(at time.Time) string { return ulid.MustNewDefault(at).String() },
	})
	return p, err
}

// round is a set of tokens that nobody has seen, with what the steps make of each.
type round struct {
	path      *path
	key       *ecdsa.PublicKey
	requests  []*pdp.Request
	signed    []signed
	facts     []*pdp.Facts
	decisions []*pdp.Decision
	buffer    []byte
}

// signed is what a bare verification needs of a token.
type signed struct {
	digest [sha256.Size]byte
	r, s   *big.Int
}

func newRound(p *path, m *maker, tokens int) (*round, error) {
	r := &round{path: p, key: &m.key.PublicKey, facts: make([]*pdp.Facts, tokens), decisions: make([]*pdp.Decision, tokens)}
	for _, compact := range m.tokens(tokens) {
		end := strings.LastIndexByte(compact, '.')
		signature, err := base64.RawURLEncoding.DecodeString(compact[end+1:])
		if err != nil || len(signature) != 64 {
			return nil, errors.New("a token of the benchmark has no ES256 signature")
		}
		r.requests = append(r.requests, &pdp.Request{Token: compact, Audience: audience})
		r.signed = append(r.signed, signed{
			sha256.Sum256([]byte(compact[:end])), new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]),
		})
	}
	return r, nil
}

// steps are taken in this order: what comes later uses what earlier ones left.
var steps = []struct {
	name string
	run  func(ctx context.Context, r *round, i int) error
}{
	{bareVerify, func(_ context.Context, r *round, i int) error {
		if s := &r.signed[i]; !ecdsa.Verify(r.key, s.digest[:], s.r, s.s) {
			return errors.New("a good signature does not verify")
		}
		return nil
	}},
	{newDecision, decide},
	{"of it: examination with verification", func(ctx context.Context, r *round, i int) error {
		t, v, err := r.path.apart.Examine(ctx, r.requests[i].Token)
		r.facts[i] = &pdp.Facts{Request: r.requests[i], Token: t, Verification: v, Time: r.path.now.Unix()}
		return err
	}},
	{newEvaluated, func(ctx context.Context, r *round, i int) error {
		verdict, err := r.path.engine.Evaluate(ctx, r.facts[i])
		if err == nil && !verdict.Allow {
			err = fmt.Errorf("a good token is denied: %v", verdict.Reasons)
		}
		return err
	}},
	{"decision, asked again", decide},
	{"decision, asked again a second later", func(ctx context.Context, r *round, i int) error {
		if i%turn == 0 {
			r.path.now = r.path.now.Add(time.Second)
		}
		return decide(ctx, r, i)
	}},
	{"encoding the answer", func(_ context.Context, r *round, i int) (err error) {
		r.buffer, err = r.decisions[i].AppendJSON(r.buffer[:0])
		return err
	}},
}

func decide(ctx context.Context, r *round, i int) (err error) {
	r.decisions[i], err = r.path.decider.Decide(ctx, r.requests[i])
	if err == nil && !r.decisions[i].Allow {
		err = fmt.Errorf("a good token is denied: %v", r.decisions[i].Reasons)
	}
	return err
}

// turn is how many tokens a step takes before the next step has its turn: few, so that whatever else the machine
// does strikes all steps alike.
const turn = 20

// inProcess measures decisions without HTTP, part by part. The steps take turns over the same new tokens.
func inProcess(ctx context.Context, m *maker, rounds, tokens int) ([]step, error) {
	p, err := newPath(ctx, m)
	if err != nil {
		return nil, err
	}
	took := make(map[string][]float64, len(steps))
	for range rounds + 1 {
		r, err := newRound(p, m, tokens)
		if err != nil {
			return nil, err
		}
		spent := make(map[string]time.Duration, len(steps))
		for first := 0; first < tokens; first += turn {
			for _, s := range steps {
				began := time.Now()
				for i := first; i < min(first+turn, tokens); i++ {
					if err := s.run(ctx, r, i); err != nil {
						return nil, fmt.Errorf("%s: %w", s.name, err)
					}
				}
				spent[s.name] += time.Since(began)
			}
		}
		for name, duration := range spent {
			took[name] = append(took[name], float64(duration.Nanoseconds())/1000/float64(tokens))
		}
	}
	var results []step
	unit := took[bareVerify][1:] // the first round warms up
	for _, s := range steps {
		results = append(results, summarize(s.name, took[s.name][1:], unit))
	}
	sum := make([]float64, rounds)
	for i := range sum {
		sum[i] = unit[i] + took[newEvaluated][1+i]
	}
	return append(results, summarize(overBudget, took[newDecision][1:], sum)), nil
}

func summarize(name string, took, unit []float64) step {
	ratios := make([]float64, len(took))
	for i := range took {
		ratios[i] = took[i] / unit[i]
	}
	return step{Name: name, Time: median(took), Verifies: median(ratios), Least: slices.Min(ratios), Largest: slices.Max(ratios)}
}

func printSteps(measured []step) error {
	fmt.Println("\nin process, one core; a unit is one bare ecdsa.Verify, and the last line is a ratio")
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "step\tµs\tunits\tspread")
	for _, s := range measured {
		fmt.Fprintf(table, "%s\t%.1f\t%.2f\t%.2f–%.2f\n", s.Name, s.Time, s.Verifies, s.Least, s.Largest)
	}
	return table.Flush()
}
