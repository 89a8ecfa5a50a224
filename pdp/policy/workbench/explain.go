package workbench

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// Explanation says what a policy found about one input, and what made it find it.
type Explanation struct {
	Verdict pdp.Verdict
	// Fired are all rules that found something, also those whose mode is off, by code and place.
	Fired []Fired
	// Waivers are those of the configuration for the rules that fired.
	Waivers []Waiver
	// Trace is OPA's trace of the evaluation, one event a line, with every text of the token masked; empty unless asked for.
	Trace []string
}

// Fired is a rule that found something.
type Fired struct {
	Rule
	// Own tells that the rule is not the library's.
	Own bool
	// Modes are what the configuration makes of it; more than one only where its findings differ.
	Modes []Mode
	// Input and Config are what it looked at.
	Input, Config []Seen
}

// Mode is what a finding does, and what says so.
type Mode struct {
	// Mode is deny, warn or off. From is the path in the configuration that says so, or "the rule", or "the default".
	Mode, From string
	// Enforcement is what became of it: deny, warn or waived; empty with mode off.
	Enforcement string
	// Because is the path in the configuration that made the enforcement another than the mode; empty otherwise.
	Because string
}

// Waiver is one of the configuration.
type Waiver struct {
	Rule, Until, Ticket string
	// For names what the waiver is for: issuer, client, audience.
	For []string
	// State is "in force", "expired" or "not for this token".
	State string
}

// ExplainOptions say how much is told.
type ExplainOptions struct {
	// Trace adds OPA's trace.
	Trace bool
}

// Explain decides and watches.
func (p *Prepared) Explain(ctx context.Context, in Input, o ExplainOptions) (*Explanation, error) {
	w := newWatcher(p)
	tracers := []topdown.QueryTracer{w}
	var events topdown.BufferTracer
	if o.Trace {
		tracers = append(tracers, &locals{&events})
	}
	verdict, err := p.verdict(ctx, in, tracers...)
	if err != nil {
		return nil, err
	}
	config, err := p.answer(ctx, "x = "+policy.ConfigDocument, in)
	if err != nil {
		return nil, err
	}
	e := &Explanation{Verdict: verdict}
	byPlace := make(map[string]*Fired)
	seen := make(map[string]map[string]place)
	for _, firing := range w.fired {
		at := placeOf(&firing.rule)
		if byPlace[at] == nil {
			byPlace[at] = &Fired{Rule: firing.rule, Own: p.policy.Own[firing.rule.File], Modes: w.modesOf(firing.rule.Code)}
			seen[at] = make(map[string]place)
		}
		maps.Copy(seen[at], w.seen(firing.query))
	}
	for _, at := range slices.Sorted(maps.Keys(byPlace)) {
		fired := byPlace[at]
		named(seen[at], fired.Code, verdict.Reasons, in)
		for _, place := range mostPrecise(seen[at]) {
			if !place.config {
				fired.Input = append(fired.Input, place.shown(in, config))
				continue
			}
			for _, place := range place.opened(config) {
				fired.Config = append(fired.Config, place.shown(in, config))
			}
		}
		e.Fired = append(e.Fired, *fired)
	}
	slices.SortStableFunc(e.Fired, func(a, b Fired) int { return strings.Compare(a.Code, b.Code) })
	e.Waivers = w.waiversFor(e.Fired, config, in.seconds())
	if o.Trace {
		e.Trace = masked(events, publicOf(in, config))
	}
	return e, nil
}

// named adds the claims that a finding names in its details: a rule that looks through all claims says which it means.
func named(places map[string]place, code string, reasons []pdp.Reason, in Input) {
	c := &collector{places: places}
	for _, r := range reasons {
		if r.Code != code {
			continue
		}
		for _, detail := range r.Details {
			names, _ := detail.([]string)
			for _, name := range names {
				if path := []string{"token", "claims", name}; in.at(path...) != nil {
					c.note(place{names: path})
				}
			}
		}
	}
}

func placeOf(r *Rule) string { return fmt.Sprintf("%s:%09d", r.File, r.Line) }

// modesOf tells what the library's functions answered about a code.
func (w *watcher) modesOf(code string) []Mode {
	var modes []Mode
	for _, b := range w.modes {
		if b.code != code || b.function != "assay.mode_of" {
			continue
		}
		mode := Mode{Mode: b.answer, From: b.source()}
		for _, enforced := range w.modes {
			if enforced.function != "assay.enforcement" || enforced.code != code || mode.Mode == "off" {
				continue
			}
			mode.Enforcement = enforced.answer
			if enforced.answer == "warn" && mode.Mode == "deny" {
				mode.Because = enforced.source()
			}
		}
		if !slices.Contains(modes, mode) {
			modes = append(modes, mode)
		}
	}
	return modes
}

// source names what the branch answered from.
func (b *branch) source() string {
	for _, place := range mostPrecise(b.places) {
		if !place.config {
			continue
		}
		names := make([]string, len(place.names))
		for i, name := range place.names {
			names[i] = quoted(name)
		}
		return strings.Join(names, ".")
	}
	said := false
	ast.WalkRefs(b.says.Body, func(ref ast.Ref) bool {
		said = said || len(ref) > 1 && ref[len(ref)-1].Value.Compare(ast.String("mode")) == 0
		return false
	})
	if said {
		return "the rule"
	}
	return "the default"
}

func (w *watcher) waiversFor(fired []Fired, config ast.Value, now int64) []Waiver {
	all, ok := find(config, ast.Ref{ast.StringTerm("waivers")}).(*ast.Array)
	if !ok {
		return nil
	}
	var waivers []Waiver
	all.Foreach(func(term *ast.Term) {
		member := func(name string) string { return text(find(term.Value, ast.Ref{ast.StringTerm(name)})) }
		one := Waiver{Rule: member("rule"), Until: member("until"), Ticket: member("ticket"), State: "not for this token"}
		if !slices.ContainsFunc(fired, func(f Fired) bool { return f.Code == one.Rule }) {
			return
		}
		for _, name := range []string{"issuer", "client", "audience"} {
			if member(name) != "" {
				one.For = append(one.For, name)
			}
		}
		switch {
		case slices.ContainsFunc(w.waived, func(v ast.Value) bool { return v != nil && v.Compare(term.Value) == 0 }):
			one.State = "in force"
		case lastSecond(one.Until) < time.Unix(now, 0).UTC().Format(time.RFC3339):
			one.State = "expired"
		}
		waivers = append(waivers, one)
	})
	slices.SortStableFunc(waivers, func(a, b Waiver) int {
		return cmp.Or(strings.Compare(a.Rule, b.Rule), strings.Compare(a.Until, b.Until))
	})
	return waivers
}

// lastSecond is the end of a day where only a day is said.
func lastSecond(until string) string {
	if len(until) == len(time.DateOnly) {
		return until + "T23:59:59Z"
	}
	return until
}
