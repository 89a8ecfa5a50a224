package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

func TestLibraryAllowsAConformingToken(t *testing.T) {
	e, seen := engine(t, compiled(t, library()))
	verdict := judge(t, e, facts(t))
	if !verdict.Allow || len(verdict.Reasons) > 0 || verdict.Revision != e.Revision().ID() {
		t.Errorf("%+v", verdict)
	}
	if !slices.ContainsFunc(verdict.Claims, func(path []string) bool { return slices.Equal(path, []string{"sub"}) }) {
		t.Errorf("sub is not released: %v", verdict.Claims)
	}
	if seen.evaluated.Load() != 1 || seen.failed.Load() != 0 {
		t.Errorf("the observer was told of %d evaluations and %d failures", seen.evaluated.Load(), seen.failed.Load())
	}
}

func TestUnverifiedTokenIsDeniedAndNeverKept(t *testing.T) {
	e, _ := engine(t, compiled(t, library()))
	f := facts(t)
	f.Verification = &pdp.Verification{Status: pdp.StatusSignatureInvalid, Reason: pdp.NewFloorReason("signature.invalid", "it does not verify", nil)}
	if verdict := judge(t, e, f); verdict.Allow {
		t.Errorf("allowed: %+v", verdict)
	}
	if f.Token.Prepared(e.Revision().ID()) != nil {
		t.Error("something is kept with a token that was not verified")
	}
}

func TestClaimsOfAnUnverifiedTokenAreNotInTheInput(t *testing.T) {
	e, _ := engine(t, compiled(t, deciding(`decision := {"allow": count(input.token.claims) >= 0, "reasons": []}`)))
	f := facts(t)
	f.Verification = &pdp.Verification{Status: pdp.StatusSignatureInvalid}
	if got := codes(judge(t, e, f)); !slices.Equal(got, []string{"policy.undefined"}) {
		t.Errorf("the claims are seen: %v", got)
	}
}

func TestWhatIsNoVerdictIsADeny(t *testing.T) {
	const reason = `"code": "a.b", "message": "m", "severity": "low", "enforcement": "warn"`
	for _, c := range []struct{ name, rule, code string }{
		{"undefined", `decision := {"allow": true, "reasons": []} if input.token.claims.none`, "policy.undefined"},
		{"not an object", `decision := true`, "policy.undefined"},
		{"set of verdicts", `decision contains {"allow": true, "reasons": []}`, "policy.undefined"},
		{"allow is missing", `decision := {"reasons": []}`, "policy.undefined"},
		{"allow is a string", `decision := {"allow": "true", "reasons": []}`, "policy.undefined"},
		{"reasons are missing", `decision := {"allow": true}`, "policy.undefined"},
		{"unknown member", `decision := {"allow": true, "reasons": [], "claim": []}`, "policy.undefined"},
		{"unknown enforcement", `decision := {"allow": true, "reasons": [{"code": "a.b", "message": "m", "severity": "low", "enforcement": "ignore"}]}`, "policy.undefined"},
		{"unknown severity", `decision := {"allow": true, "reasons": [{"code": "a.b", "message": "m", "severity": "none", "enforcement": "warn"}]}`, "policy.undefined"},
		{"null in details", `decision := {"allow": true, "reasons": [{` + reason + `, "details": {"x": null}}]}`, "policy.undefined"},
		{"object in details", `decision := {"allow": true, "reasons": [{` + reason + `, "details": {"x": {}}}]}`, "policy.undefined"},
		{"claims are names, not paths", `decision := {"allow": true, "reasons": [], "claims": ["sub"]}`, "policy.undefined"},
		{"unknown obligation", `decision := {"allow": true, "reasons": [], "obligations": {"log": true}}`, "policy.undefined"},
		{"half a second", `decision := {"allow": true, "reasons": [], "cache_for_seconds": 0.5}`, "policy.undefined"},
		{"negative seconds", `decision := {"allow": true, "reasons": [], "cache_for_seconds": -1}`, "policy.undefined"},
		{"two values", `decision := {"allow": true, "reasons": []}

decision := {"allow": false, "reasons": []} if input.token.size > 0`, "policy.failed"},
		{"builtin fails in a deny rule", `decision := {"allow": true, "reasons": reasons}

reasons contains {"code": "a.b", "message": "m", "severity": "low", "enforcement": "deny"} if to_number(input.token.claims.sub) > 1`, "policy.failed"},
		{"builtin fails and nothing is defined", `decision := {"allow": true, "reasons": []} if to_number(input.token.claims.sub) > 1`, "policy.failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, seen := engine(t, compiled(t, deciding(c.rule)))
			verdict := judge(t, e, facts(t))
			if verdict.Allow || !slices.Equal(codes(verdict), []string{c.code}) || verdict.Reasons[0].Enforcement != pdp.Deny {
				t.Errorf("%+v, want a deny with %s", verdict, c.code)
			}
			if seen.failed.Load() != 1 {
				t.Errorf("the observer was told of %d failures", seen.failed.Load())
			}
		})
	}
}

func TestWhatWasFoundStandsBesideAFailedBuiltin(t *testing.T) {
	e, _ := engine(t, compiled(t, deciding(`decision := {"allow": true, "reasons": reasons}

reasons contains {"code": "found.one", "message": "m", "severity": "low", "enforcement": "deny"} if input.token.size > 0

reasons contains {"code": "found.two", "message": "m", "severity": "low", "enforcement": "deny"} if to_number(input.token.claims.sub) > 1`)))
	f := facts(t)
	for range 2 { // a verdict after a failure is not remembered as a good one either
		verdict := judge(t, e, f)
		if verdict.Allow || !slices.Equal(codes(verdict), []string{"policy.failed", "found.one"}) {
			t.Errorf("%+v", verdict)
		}
	}
}

const endless = `decision := {"allow": count({z | some x in numbers.range(1, 100000); some y in numbers.range(1, 100000); z := x * y}) > 0, "reasons": []}`

func TestEvaluationIsCutOffAtItsTimeout(t *testing.T) {
	seen := &counts{}
	e, err := New(Config{Revision: compiled(t, deciding(endless)), Timeout: 5 * time.Millisecond, Observer: seen})
	if err != nil {
		t.Fatal(err)
	}
	if verdict := judge(t, e, facts(t)); verdict.Allow || !slices.Equal(codes(verdict), []string{"policy.failed"}) {
		t.Errorf("%+v", verdict)
	}
	if text, _ := seen.failure.Load().(string); !strings.Contains(text, "cut off") {
		t.Errorf("the observer was told %q", text)
	}
}

func TestEvaluationEndsWithItsContext(t *testing.T) {
	e, _ := engine(t, compiled(t, deciding(endless)))
	cause := errors.New("the caller went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() {
		_, err := e.Evaluate(ctx, facts(t))
		ended <- err
	}()
	cancel(cause)
	if err := <-ended; !errors.Is(err, cause) {
		t.Errorf("%v, want the cause", err)
	}
}

func TestNewChecksItsConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no revision, no error")
	}
	if _, err := New(Config{Revision: compiled(t, library()), Timeout: -1}); err == nil {
		t.Error("a negative timeout is taken")
	}
}

// Each revision answers with its own number in every part of the verdict; under swaps no verdict may hold two.
func TestNoVerdictMixesTwoRevisions(t *testing.T) {
	revisions := make([]*Revision, 3)
	number := make(map[string]int, len(revisions))
	for i := range revisions {
		source := deciding(`decision := {
	"allow": true,
	"reasons": [{"code": sprintf("revision.r%d", [data.assay.config.number]), "message": "m", "severity": "low", "enforcement": "warn"}],
	"claims": [[sprintf("c%d", [data.assay.config.number]), input.request.audience]],
	"cache_for_seconds": data.assay.config.number,
}`)
		source.Config = fmt.Appendf(nil, `{"number": %d}`, i)
		revisions[i] = compiled(t, source)
		number[revisions[i].ID()] = i
	}
	e, seen := engine(t, revisions[0])
	shared := facts(t)
	stop := make(chan struct{})
	var swapping, judging sync.WaitGroup
	swapping.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				e.Swap(revisions[i%len(revisions)])
			}
		}
	})
	for worker := range 4 {
		judging.Go(func() {
			for i := range 500 {
				f := *shared
				f.Request = &pdp.Request{Audience: fmt.Sprint("a", (worker+i)%3)}
				f.Time = now + int64(i/100)
				verdict, err := e.Evaluate(context.Background(), &f)
				n, known := number[verdict.Revision]
				if err != nil || !known || verdict.CacheForSeconds != int64(n) || verdict.Reasons[0].Code != fmt.Sprint("revision.r", n) ||
					!slices.Equal(verdict.Claims[0], []string{fmt.Sprint("c", n), f.Request.Audience}) {
					t.Errorf("%+v, %v: mixed", verdict, err)
					return
				}
			}
		})
	}
	judging.Wait()
	close(stop)
	swapping.Wait()
	if seen.evaluated.Load()+seen.remembered.Load() != 2000 {
		t.Errorf("%d evaluated and %d remembered of 2000", seen.evaluated.Load(), seen.remembered.Load())
	}
}
