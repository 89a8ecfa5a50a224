package workbench_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func TestReadTakesWhatOPATakesFromABundle(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"assay/rules/a/a.rego": "package assay.rules.a", "assay/rules/a/a_test.rego": "package assay.rules.a_test",
		"data.json": `{"top": 1}`, "partners/data.yaml": "names: [a, b]", "assay/config/data.json": `{"leeway_seconds": 7}`,
		"other.json": `{"not": "data"}`, ".hidden/x.rego": "package x", "README.md": "text",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := workbench.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files.Modules) != 1 || files.Modules[filepath.Join(dir, "assay/rules/a/a.rego")] == nil || len(files.Tests) != 1 {
		t.Errorf("modules %v, tests %v", files.Modules, files.Tests)
	}
	names := files.Data["partners"].(map[string]any)["names"].([]any)
	if len(files.Data) != 3 || len(names) != 2 {
		t.Errorf("data %v", files.Data)
	}
	p, err := library(t).With(files)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(p.Config); got != `{"leeway_seconds":7}` || strings.Contains(string(p.Data), "leeway") {
		t.Errorf("configuration %s, data %s", got, p.Data)
	}
}

// Files lie over the library, unless they are a whole policy: then nothing lies under them.
func TestWithLaysOverTheLibrary(t *testing.T) {
	base := library(t)
	over := with(t, map[string]string{"own.rego": rule("own", "own.rule", "true")})
	if len(over.Modules) != len(base.Modules)+1 || !over.Own["own.rego"] || over.Own["assay/decision.rego"] {
		t.Errorf("%d modules over %d; own %v", len(over.Modules), len(base.Modules), over.Own)
	}
	whole := with(t, map[string]string{"own.rego": "package assay\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": false, \"reasons\": []}"})
	if len(whole.Modules) != 1 || len(whole.Tests) != 0 {
		t.Errorf("under a whole policy lie %d modules and %d tests", len(whole.Modules)-1, len(whole.Tests))
	}
	if _, err := base.With(&workbench.Files{Modules: map[string][]byte{"assay/decision.rego": []byte("package x")}}); err == nil {
		t.Error("a file of the library is replaced without a word")
	}
}

func TestTestRaisesWhatProductionDenies(t *testing.T) {
	p := with(t, map[string]string{"own_test.rego": "package assay.rules.own_test\n\ntest_raises if not startswith(input.a, \"x\") with input as {\"a\": 1}\n\ntest_passes if true\n\ntodo_test_later if false\n"})
	report, err := workbench.Test(t.Context(), workbench.TestConfig{Policy: p})
	if err != nil {
		t.Fatal(err)
	}
	if report.OK() || report.Passed != 1 || report.Errors != 1 || report.Skipped != 1 {
		t.Errorf("%+v", report)
	}
	if _, err := workbench.Test(t.Context(), workbench.TestConfig{Policy: p, Run: "("}); err == nil {
		t.Error("a broken expression is taken")
	}
	broken := with(t, map[string]string{"own_test.rego": "package assay.rules.own_test\n\ntest_x if nothing.there(1)\n"})
	if _, err := workbench.Test(t.Context(), workbench.TestConfig{Policy: broken}); !refusedAt(err, "own_test.rego", 3) {
		t.Errorf("%v", err)
	}
}

func refusedAt(err error, file string, line int) bool {
	refused, ok := errors.AsType[*policy.CompileError](err)
	return ok && slices.ContainsFunc(refused.Problems, func(p policy.Problem) bool { return p.File == file && p.Line == line })
}

// Judge decides as the server does with the same policy: verdict and floor.
func TestJudgeHasTheFloorBeneath(t *testing.T) {
	allowing := prepared(t, with(t, map[string]string{"own.rego": "package assay\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": true, \"reasons\": []}"}))
	for _, c := range []struct {
		name   string
		claims map[string]any
		allow  bool
	}{
		{"good", nil, true},
		{"expired", map[string]any{"exp": number(now - 100), "iat": number(now - 200)}, false},
		{"too long", map[string]any{"exp": number(now + 100000)}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			decision, err := allowing.Judge(t.Context(), facts(t, c.claims), 0)
			if err != nil {
				t.Fatal(err)
			}
			if decision.Allow != c.allow {
				t.Errorf("%+v", decision)
			}
		})
	}
}

func TestDiffSaysWhatChangesAndWhy(t *testing.T) {
	before := prepared(t, library(t))
	stricter := library(t)
	stricter.Config = []byte(`{"max_lifetime_seconds": 100, "audiences": {"orders": {"max_lifetime_seconds": 100}}}`)
	after := prepared(t, stricter)
	change, err := workbench.Diff(t.Context(), before, after, workbench.Case{Name: "a", Facts: facts(t, nil)}, 0)
	if err != nil || change == nil {
		t.Fatalf("%v %v", change, err)
	}
	if !change.Before.Allow || change.After.Allow {
		t.Errorf("%+v", change)
	}
	at := slices.IndexFunc(change.Why, func(d workbench.Difference) bool { return d.What == "reason" && d.Code == "lifetime.too_long" })
	if at < 0 || change.Why[at].Before != "" || change.Why[at].After != string(pdp.Deny) || change.Why[at].Fired == nil {
		t.Errorf("%+v", change.Why)
	}
	in, err := workbench.InputOf(facts(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	text, err := in.JSON()
	if err != nil {
		t.Fatal(err)
	}
	recorded, err := workbench.ReadInput(text)
	if err != nil {
		t.Fatal(err)
	}
	if change, err = workbench.Diff(t.Context(), before, after, workbench.Case{Input: recorded}, 0); err != nil || change == nil {
		t.Errorf("of the recorded input: %v %v", change, err)
	}
	if change, err = workbench.Diff(t.Context(), after, after, workbench.Case{Input: recorded}, 0); err != nil || change != nil {
		t.Errorf("a policy differs from itself: %+v %v", change, err)
	}
}

// What fails or is misshapen in a policy under work is a deny with its reason, as in production, and never a panic.
func TestVerdictOfABrokenPolicyIsADeny(t *testing.T) {
	for name, c := range map[string]struct{ decision, code string }{
		"misshapen":  {`decision := {"allow": true}`, "policy.undefined"},
		"undefined":  {`decision := {"allow": true, "reasons": []} if input.time < 0`, "policy.undefined"},
		"builtin":    {`decision := {"allow": true, "reasons": [x | x := startswith(input.time, "a")]}`, "policy.failed"},
		"two values": {"decision := {\"allow\": true, \"reasons\": [y]} if y := two\n\ntwo := 1 if input.time > 0\n\ntwo := 2 if input.time > 1", "policy.failed"},
	} {
		t.Run(name, func(t *testing.T) {
			p := prepared(t, with(t, map[string]string{"own.rego": "package assay\n\n# METADATA\n# entrypoint: true\n" + c.decision}))
			verdict, err := p.Evaluate(t.Context(), facts(t, nil))
			if err != nil {
				t.Fatal(err)
			}
			if verdict.Allow || len(verdict.Reasons) == 0 || verdict.Reasons[0].Code != c.code {
				t.Errorf("%+v", verdict)
			}
		})
	}
}
