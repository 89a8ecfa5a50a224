package workbench_test

import (
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

// With a clock that every look moves on by as much, everything costs as much as a verification, so that what is reported
// of what can be told, whatever the machine does.
func TestBenchReportsEveryPart(t *testing.T) {
	at := time.Unix(now, 0)
	report, err := workbench.Bench(t.Context(), workbench.BenchConfig{
		Policy: with(t, map[string]string{"own.rego": rule("own", "own.rule", `input.token.claims.tenant == "acme"`) + "\nf(x) := x\n"}),
		Rounds: 2, Now: func() time.Time { at = at.Add(time.Second); return at },
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"access token", "with a claim more", "id token"}; !slices.Equal(report.Cases, want) {
		t.Errorf("cases %v, want %v", report.Cases, want)
	}
	if report.Nothing != 1 || !slices.Equal(report.Decisions, []float64{1, 1, 1}) || report.Verify != time.Second/4 {
		t.Errorf("nothing %v, decisions %v, verify %v; want 1, 1, 250ms", report.Nothing, report.Decisions, report.Verify)
	}
	var within [3]float64
	for _, c := range report.Rules {
		for i := range within {
			within[i] += c.Within[i]
		}
	}
	for i, sum := range within {
		if sum < 0.99 || sum > 1.01 {
			t.Errorf("the rules' parts of %s make %v of it", report.Cases[i], sum)
		}
	}
	at0 := slices.IndexFunc(report.Packages, func(c workbench.Cost) bool { return c.Name == "assay.rules.own" })
	if at0 < 0 || !report.Packages[at0].Own || report.Packages[at0].Alone[0] != 0 {
		t.Errorf("one's own package is not among %+v", report.Packages)
	}
	rules := make(map[string]workbench.Cost)
	for _, c := range report.Rules {
		rules[c.Name] = c
	}
	if c := rules["assay.rules.own.findings"]; c.Code != "own.rule" || c.File != "own.rego" || c.Alone[0] != 0 {
		t.Errorf("one's own rule: %+v", c)
	}
	if c := rules["assay.rules.own.f"]; c.Alone[0] != -1 {
		t.Errorf("a function is asked alone: %+v", c)
	}
}

// Without the library's tests there is nothing to decide about unless it is given.
func TestBenchNeedsCases(t *testing.T) {
	p := library(t)
	p.Tests = nil
	if _, err := workbench.Bench(t.Context(), workbench.BenchConfig{Policy: p}); err == nil {
		t.Error("something was measured")
	}
}
