package policy

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// beside is a ShadowObserver.
type beside struct {
	mu       sync.Mutex
	dropped  int
	compared chan ShadowResult
}

func (b *beside) ShadowCompared(r ShadowResult) { b.compared <- r }
func (b *beside) ShadowDropped() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dropped++
}

func beginShadow(t *testing.T, inForce, candidate string, share float64, queue int) (*Shadow, *beside, *counts) {
	t.Helper()
	e, seen := engine(t, compiled(t, deciding(inForce)))
	b := &beside{compared: make(chan ShadowResult, 100)}
	s, err := NewShadow(ShadowConfig{InForce: e, Share: share, Queue: queue, Observer: b, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if candidate != "" {
		s.Propose(compiled(t, deciding(candidate)))
	}
	return s, b, seen
}

// running runs the shadow until the test ends.
func running(t *testing.T, s *Shadow) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func asked(t *testing.T, s *Shadow) pdp.Verdict {
	t.Helper()
	v, err := s.Evaluate(t.Context(), facts(t))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	allowing = `decision := {"allow": true, "reasons": set(), "claims": {["sub"]}, "obligations": {}, "cache_for_seconds": 5}`
	denying  = `decision := {"allow": false, "reasons": {{"code": "x.no", "message": "no", "severity": "high", "enforcement": "deny", "details": {}, "controls": []}}, "claims": set(), "obligations": {}, "cache_for_seconds": 0}`
	warning  = `decision := {"allow": true, "reasons": {{"code": "x.no", "message": "no", "severity": "high", "enforcement": "warn", "details": {}, "controls": []}}, "claims": {["sub"], ["email"]}, "obligations": {}, "cache_for_seconds": 7}`
	broken   = `decision := {"allow": 1 / input.time} if 1 / (input.time - input.time) > 0`
)

func TestCandidateIsComparedAndChangesNothing(t *testing.T) {
	for _, c := range []struct {
		name, inForce, candidate string
		outcome                  string
		allowed, would           bool
		differences              []ShadowDifference
	}{
		{"the same", allowing, allowing, ShadowSame, true, true, nil},
		{"would deny", allowing, denying, ShadowDifferent, true, false,
			[]ShadowDifference{{DifferenceAdded, "x.no"}, {Kind: DifferenceAllow}}},
		{"would allow", denying, allowing, ShadowDifferent, false, true,
			[]ShadowDifference{{Kind: DifferenceAllow}, {DifferenceRemoved, "x.no"}}},
		{"would only warn", denying, warning, ShadowDifferent, false, true,
			[]ShadowDifference{{Kind: DifferenceAllow}, {DifferenceEnforcement, "x.no"}}},
		{"would release more", allowing, warning, ShadowDifferent, true, true,
			[]ShadowDifference{{DifferenceAdded, "x.no"}, {Kind: DifferenceCaching}, {Kind: DifferenceClaims}}},
		{"has no verdict", allowing, broken, ShadowFailed, true, false, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, seen, _ := beginShadow(t, c.inForce, c.candidate, 1, 0)
			want := judge(t, s.c.InForce.(*Engine), facts(t))
			running(t, s)
			got := asked(t, s)
			if !reflect.DeepEqual(got, want) {
				t.Errorf("the answer is %+v; the policy in force says %+v", got, want)
			}
			r := <-seen.compared
			if r.Outcome != c.outcome || r.Allowed != c.allowed || r.CandidateAllows != c.would || !reflect.DeepEqual(r.Differences, c.differences) {
				t.Errorf("compared: %+v", r)
			}
			if r.InForce != got.Revision || r.Candidate != s.Candidate().ID() || (r.Failure != nil) != (c.outcome == ShadowFailed) {
				t.Errorf("revisions %s and %s, failure %v", r.InForce, r.Candidate, r.Failure)
			}
		})
	}
}

func TestShareIsDrawnEvenly(t *testing.T) {
	for _, c := range []struct {
		share float64
		drawn int // of 100
	}{{1, 100}, {0.5, 50}, {0.1, 10}, {0.01, 1}} {
		s, seen, _ := beginShadow(t, allowing, denying, c.share, 1000)
		for range 100 {
			asked(t, s)
		}
		if got := len(s.queue); got != c.drawn || seen.dropped != 0 {
			t.Errorf("share %v: %d of 100 were drawn, %d dropped", c.share, got, seen.dropped)
		}
	}
}

// A candidate that is too slow, here one that nobody runs, holds up nobody.
func TestFullQueueDrops(t *testing.T) {
	s, seen, _ := beginShadow(t, allowing, denying, 1, 3)
	for range 10 {
		if !asked(t, s).Allow {
			t.Fatal("the candidate's verdict came out")
		}
	}
	if seen.dropped != 7 {
		t.Errorf("%d of 10 were dropped; the queue holds 3", seen.dropped)
	}
}

func TestWithoutACandidateNothingIsDrawn(t *testing.T) {
	s, seen, _ := beginShadow(t, allowing, "", 1, 1)
	asked(t, s)
	s.Propose(compiled(t, deciding(denying)))
	s.Propose(nil)
	asked(t, s)
	if len(s.queue) != 0 || seen.dropped != 0 {
		t.Error("a decision was drawn for no candidate")
	}
}

// A token has one place for verdicts that are remembered; the candidate leaves it to the policy in force.
func TestCandidateLeavesRememberedVerdicts(t *testing.T) {
	s, seen, in := beginShadow(t, allowing, denying, 1, 0)
	running(t, s)
	f := facts(t)
	for range 3 {
		if _, err := s.Evaluate(t.Context(), f); err != nil {
			t.Fatal(err)
		}
		<-seen.compared
	}
	if in.evaluated.Load() != 1 || in.remembered.Load() != 2 {
		t.Errorf("evaluated %d times, remembered %d times", in.evaluated.Load(), in.remembered.Load())
	}
}

func TestShadowSettings(t *testing.T) {
	e, _ := engine(t, compiled(t, deciding(allowing)))
	for name, c := range map[string]ShadowConfig{
		"no policy in force": {Share: 1, Observer: &beside{}},
		"no observer":        {InForce: e, Share: 1},
		"no share":           {InForce: e, Observer: &beside{}},
		"more than all":      {InForce: e, Share: 1.5, Observer: &beside{}},
		"negative queue":     {InForce: e, Share: 1, Queue: -1, Observer: &beside{}},
	} {
		if _, err := NewShadow(c); err == nil {
			t.Errorf("%s: it is taken", name)
		}
	}
}
