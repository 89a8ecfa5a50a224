package workbench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/assaypdp/assay/pdp/policy"
)

// TestConfig says which tests to run.
type TestConfig struct {
	// Policy is what to test.
	Policy Policy
	// Library runs the library's tests too; default only the author's own.
	Library bool
	// Run is a regular expression for package.name; default every test.
	Run string
	// Timeout bounds one test; default 10 s.
	Timeout time.Duration
}

// TestResult is what one test did.
type TestResult struct {
	// Package is without "data.". Name is the rule's; File and Line are where it stands.
	Package, Name, File string
	Line                int
	Took                time.Duration
	// Outcome is "pass", "fail", "skip" (named todo_…) or "error".
	Outcome string
	// Message says why it failed: the expression that did not hold, or the error.
	Message string
	// Cases are the names of those cases of a test with many that failed.
	Cases []string
	// Output is what print statements wrote.
	Output string
}

// TestReport is a whole run.
type TestReport struct {
	// Results are in the order of package and name.
	Results                         []TestResult
	Passed, Failed, Skipped, Errors int
	// Coverage is how many per cent of the lines of the author's own modules (with Library: of all) were evaluated.
	Coverage float64
	// Missed are the lines that were not.
	Missed []Lines
}

// Lines are a part of a file, first and last line included.
type Lines struct {
	File        string
	First, Last int
}

// OK tells that nothing failed.
func (r *TestReport) OK() bool { return r.Failed+r.Errors == 0 }

// Test compiles as production does, then runs the tests by OPA's own tester. A builtin that fails is an error here, not an
// undefined value: in production it denies with policy.failed. What does not compile is a *policy.CompileError.
func Test(ctx context.Context, c TestConfig) (*TestReport, error) {
	if _, err := policy.Compile(ctx, c.Policy.Source); err != nil {
		return nil, err
	}
	draft, err := policy.NewDraft(ctx, c.Policy.Source, c.Policy.Tests)
	if err != nil {
		return nil, err
	}
	filter, err := wanted(&c, draft)
	if err != nil || filter == "" {
		return &TestReport{}, err
	}
	txn, err := draft.Store.NewTransaction(ctx)
	if err != nil {
		return nil, err
	}
	defer draft.Store.Abort(ctx, txn)
	coverage := cover.New()
	runner := tester.NewRunner().SetCompiler(draft.Compiler.WithEnablePrintStatements(true)).SetStore(draft.Store).
		SetModules(draft.Modules).SetCoverageQueryTracer(coverage).CapturePrintOutput(true).RaiseBuiltinErrors(true).
		SetTimeout(cmp.Or(c.Timeout, 10*time.Second)).Filter(filter)
	results, err := runner.RunTests(ctx, txn)
	if err != nil {
		if found, ok := errors.AsType[ast.Errors](err); ok {
			return nil, policy.RefusedBy(found)
		}
		return nil, err
	}
	report := &TestReport{}
	only, err := regexp.Compile(cmp.Or(c.Run, "."))
	if err != nil {
		return nil, fmt.Errorf("run: %w", err)
	}
	for result := range results {
		if one := testResult(result); only.MatchString(one.Package + "." + one.Name) {
			report.count(one)
		}
	}
	slices.SortFunc(report.Results, func(a, b TestResult) int {
		return cmp.Or(cmp.Compare(a.Package, b.Package), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Line, b.Line))
	})
	report.cover(&c, coverage.Report(draft.Modules))
	return report, ctx.Err()
}

// wanted makes the tester's filter: the packages of the tests that are to run. Empty where there are none.
func wanted(c *TestConfig, draft *policy.Draft) (string, error) {
	if _, err := regexp.Compile(c.Run); err != nil {
		return "", fmt.Errorf("which tests to run: %w", err)
	}
	packages := make(map[string]bool)
	for name := range c.Policy.Tests {
		if module := draft.Modules[name]; module != nil && (c.Library || c.Policy.Own[name]) {
			packages[regexp.QuoteMeta(module.Package.Path.String())] = true
		}
	}
	if len(packages) == 0 {
		return "", nil
	}
	return `^(` + strings.Join(slices.Sorted(maps.Keys(packages)), "|") + `)\.[^.]+$`, nil
}

func testResult(r *tester.Result) TestResult {
	one := TestResult{Package: strings.TrimPrefix(r.Package, "data."), Name: r.Name, Took: r.Duration, Output: string(r.Output)}
	if r.Location != nil {
		one.File, one.Line = r.Location.File, r.Location.Row
	}
	for path, sub := range r.SubResults.Iter {
		if sub.Fail {
			one.Cases = append(one.Cases, strings.Join(path, "/"))
		}
	}
	slices.Sort(one.Cases)
	switch {
	case r.Error != nil:
		one.Outcome, one.Message = "error", r.Error.Error()
	case r.Skip:
		one.Outcome = "skip"
	case r.Fail || len(one.Cases) > 0:
		one.Outcome = "fail"
		if r.FailedAt != nil && r.FailedAt.Location != nil {
			one.Message = fmt.Sprintf("%s:%d: does not hold: %s", r.FailedAt.Location.File, r.FailedAt.Location.Row, r.FailedAt.Location.Text)
		}
	default:
		one.Outcome = "pass"
	}
	return one
}

func (r *TestReport) count(one TestResult) {
	r.Results = append(r.Results, one)
	switch one.Outcome {
	case "pass":
		r.Passed++
	case "fail":
		r.Failed++
	case "skip":
		r.Skipped++
	case "error":
		r.Errors++
	}
}

// cover counts the lines of the author's modules, tests apart. Without any, everything there is was evaluated.
func (r *TestReport) cover(c *TestConfig, report cover.Report) {
	covered, missed := 0, 0
	for _, name := range slices.Sorted(maps.Keys(report.Files)) {
		if _, isModule := c.Policy.Modules[name]; !isModule || !c.Library && !c.Policy.Own[name] {
			continue
		}
		file := report.Files[name]
		covered, missed = covered+file.CoveredLines, missed+file.NotCoveredLines
		for _, lines := range file.NotCovered {
			if last := len(r.Missed) - 1; last >= 0 && r.Missed[last].File == name && r.Missed[last].Last+1 >= lines.Start.Row {
				r.Missed[last].Last = max(r.Missed[last].Last, lines.End.Row)
				continue
			}
			r.Missed = append(r.Missed, Lines{name, lines.Start.Row, lines.End.Row})
		}
	}
	r.Coverage = 100
	if covered+missed > 0 {
		r.Coverage = 100 * float64(covered) / float64(covered+missed)
	}
}
