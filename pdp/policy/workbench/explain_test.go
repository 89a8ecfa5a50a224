package workbench_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func explain(t *testing.T, p workbench.Policy, over map[string]any, o workbench.ExplainOptions) *workbench.Explanation {
	t.Helper()
	in, err := workbench.InputOf(facts(t, over))
	if err != nil {
		t.Fatal(err)
	}
	explanation, err := prepared(t, p).Explain(t.Context(), in, o)
	if err != nil {
		t.Fatal(err)
	}
	return explanation
}

// What a rule looked at is told as precisely as its body says it, through local variables, iteration, object.get, helper
// rules, functions and rules that were evaluated before.
func TestExplainNamesWhatMadeARuleFire(t *testing.T) {
	for _, c := range []struct {
		name, body, more string
		want             []string
	}{
		{"a claim", `input.token.claims.level > 3`, "", []string{"token.claims.level"}},
		{"by a local variable", "claims := input.token.claims\n\tclaims.level > 3", "", []string{"token.claims.level"}},
		{"by iteration, those that fit", "some name, value in input.token.claims\n\tis_number(value)\n\tstartswith(name, \"lev\")", "", []string{"token.claims.level"}},
		{"by reference and variable", "some name in [\"level\", \"other\"]\n\tinput.token.claims[name] > 3", "", []string{"token.claims.level"}},
		{"object.get by name", `object.get(input.token.claims, "level", 0) > 3`, "", []string{"token.claims.level"}},
		{"object.get by path", `object.get(input, ["token", "claims", "nested", "deep"], 0) == 2`, "", []string{"token.claims.nested.deep"}},
		{"in an array", `input.token.claims.list[i] == 7; i > 0`, "", []string{"token.claims.list.1"}},
		{"in a comprehension", `count([n | some n in ["level", "nested"]; input.token.claims[n]]) == 2`, "", []string{"token.claims.level", "token.claims.nested"}},
		{"what is absent", `not input.token.claims.missing`, "", []string{"token.claims.missing"}},
		{"in a helper", `high`, "high if input.token.claims.level > 3", []string{"token.claims.level"}},
		{"in a helper that is false", `not low`, "default low := false\n\nlow if input.token.claims.level < 3", []string{"token.claims.level"}},
		{"in a function", `above(3)`, "above(n) if input.token.claims.level > n", []string{"token.claims.level"}},
		{"in a helper of the library, evaluated before", `data.assay.limits.max_lifetime_seconds > 0; input.token.claims.level > 3`, "", []string{"token.claims.level"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := with(t, map[string]string{"own.rego": rule("own", "own.rule", c.body) + "\n" + c.more})
			x := explain(t, p, map[string]any{"level": number(5), "nested": map[string]any{"deep": number(2)}, "list": []any{number(1), number(7)}}, workbench.ExplainOptions{})
			at := slices.IndexFunc(x.Fired, func(f workbench.Fired) bool { return f.Code == "own.rule" })
			if at < 0 {
				t.Fatalf("the rule did not fire: %+v", x)
			}
			var got []string
			for _, seen := range x.Fired[at].Input {
				if strings.HasPrefix(seen.Path, "token.claims") {
					got = append(got, seen.Path)
				}
			}
			for _, want := range c.want {
				if !slices.Contains(got, want) {
					t.Errorf("%s is not among %v", want, got)
				}
			}
			if c.name != "in a helper of the library, evaluated before" && len(got) != len(c.want) {
				t.Errorf("looked at %v, want %v", got, c.want)
			}
			if !x.Fired[at].Own {
				t.Error("it is not told to be one's own")
			}
		})
	}
}

// Whatever a token says in texts does not come out: not in an explanation and not in its trace, under rules that do all
// they can with it.
func TestExplainTellsNoText(t *testing.T) {
	const canary = "canary-4711"
	claims := map[string]any{
		"sub": canary, "aud": canary + "-a", "jti": canary, "client_id": canary, "scope": "read " + canary, "email": canary + "@x.example",
		"exp": number(now + 90000), "nested": map[string]any{"deep": []any{canary, map[string]any{"deeper": canary}}}, "iban": "DE89370400440532013000",
		"phone_number": json.Number("4915112345678"),
	}
	p := with(t, map[string]string{"own.rego": rule("own", "own.rule", `
	sub := input.token.claims.sub
	all := {value: {name | input.token.claims[name] == value} | some value in input.token.claims; is_string(value)}
	all[sub]
	parts := split(sub, "-")
	joined := concat("/", parts)
	trace(joined)
	{"v": sub, "w": [x | walk(input, [_, x])]}.v == upper(lower(sub)); false`) + "\n" +
		strings.SplitN(rule("own", "own.other", `known[input.token.claims.sub]; upper(input.token.claims.sub) == "CANARY-4711"`), "\n", 2)[1] + "\nknown contains x if {\n\tsome x in input.token.claims\n\tis_string(x)\n}\n"})
	p.Config = []byte(fmt.Sprintf(`{"clients": {%q: {"max_lifetime_seconds": 60}}, "scopes": {%q: {"max_lifetime_seconds": 50}}}`, canary, canary))
	x := explain(t, p, claims, workbench.ExplainOptions{Trace: true})
	if len(x.Fired) < 3 || len(x.Trace) < 100 {
		t.Fatalf("%d rules fired, %d lines of trace; nothing is tested", len(x.Fired), len(x.Trace))
	}
	for i := range x.Fired { // the reasons are the policy's own words
		for _, seen := range append(x.Fired[i].Input, x.Fired[i].Config...) {
			if told := fmt.Sprint(seen); strings.Contains(strings.ToLower(told), canary) || strings.Contains(told, "DE89") || strings.Contains(told, "49151") {
				t.Errorf("%s tells %s", x.Fired[i].Code, told)
			}
		}
	}
	for _, line := range x.Trace {
		policyText := strings.Contains(line, `"CANARY-4711"`) && strings.Contains(line, "own.rego") // the rule's own constant
		if lower := strings.ToLower(line); (strings.Contains(lower, canary) && !policyText) || strings.Contains(line, "DE89") || strings.Contains(line, "49151") {
			t.Fatalf("the trace tells %s", line)
		}
	}
}
