package policy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// DefaultShadowQueue is how many decisions wait for the candidate.
const DefaultShadowQueue = 256

// How the candidate's verdict compares.
const (
	ShadowSame      = "same"
	ShadowDifferent = "different"
	ShadowFailed    = "failed" // the candidate gave no verdict
)

// What a difference is about.
const (
	DifferenceAdded       = "added"       // the candidate gives a reason that the policy in force does not give
	DifferenceRemoved     = "removed"     // the other way round
	DifferenceEnforcement = "enforcement" // both give it, and it does something else to the answer
	DifferenceAllow       = "allow"       // one allows and the other denies
	DifferenceClaims      = "claims"      // both allow, and release different claims
	DifferenceObligations = "obligations" // both allow, with different obligations
	DifferenceCaching     = "caching"     // both allow, and a caller may reuse the answer for different times
)

// ShadowDifference is one thing in which two verdicts differ.
type ShadowDifference struct {
	Kind string
	// Code is the reason's, for the kinds that are about one.
	Code string
}

// ShadowResult compares two verdicts on the same facts. It holds no value of a claim.
type ShadowResult struct {
	Outcome            string // ShadowSame, ShadowDifferent or ShadowFailed
	InForce, Candidate string // revisions
	// Allowed tells whether the policy in force allows, CandidateAllows whether the candidate would.
	Allowed, CandidateAllows bool
	Differences              []ShadowDifference // sorted
	Failure                  error              // of ShadowFailed
	// Issuer is the token's, where it was verified.
	Issuer string
	Took   time.Duration
}

// ShadowObserver is told what became of decisions that were drawn. It must not block.
type ShadowObserver interface {
	ShadowCompared(ShadowResult)
	// ShadowDropped tells that the queue was full.
	ShadowDropped()
}

// ShadowConfig of a Shadow.
type ShadowConfig struct {
	// InForce gives the answers; required.
	InForce pdp.Policy
	// Share of the decisions that the candidate judges too, more than 0 up to 1; required.
	Share float64
	// Queue is how many decisions may wait; default DefaultShadowQueue. What comes past it is dropped and counted.
	Queue int
	// Timeout bounds one evaluation of the candidate; default DefaultTimeout.
	Timeout time.Duration
	// Observer is required.
	Observer ShadowObserver
	// Now is the clock by which evaluations are timed; default time.Now.
	Now func() time.Time
}

// Shadow puts a candidate beside the policy in force. It implements pdp.Policy and answers what the policy in force
// answers, as soon as that does; a share of the decisions is then judged by the candidate, one at a time, by the
// goroutine of Run. Nothing that the candidate does reaches an answer: not its verdict, not its failure, and where it
// is too slow, decisions are dropped instead of waited for.
type Shadow struct {
	c         ShadowConfig
	candidate atomic.Pointer[Revision]
	drawn     atomic.Uint64
	queue     chan shadowed
}

// shadowed is a decision that was answered. Facts are copied: the decider goes on with its own.
type shadowed struct {
	facts   pdp.Facts
	verdict pdp.Verdict
}

// NewShadow makes a Shadow without a candidate.
func NewShadow(c ShadowConfig) (*Shadow, error) {
	if c.InForce == nil || c.Observer == nil {
		return nil, errors.New("policy: a shadow needs the policy in force and an observer")
	}
	if !(c.Share > 0 && c.Share <= 1) || c.Queue < 0 || c.Timeout < 0 {
		return nil, fmt.Errorf("policy: shadow of a share of %v, queue %d, timeout %s: the share must be more than 0 and 1 at most, the others not negative", c.Share, c.Queue, c.Timeout)
	}
	c.Queue, c.Timeout = cmp.Or(c.Queue, DefaultShadowQueue), cmp.Or(c.Timeout, DefaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Shadow{c: c, queue: make(chan shadowed, c.Queue)}, nil
}

// Propose makes a revision the candidate; nil takes the candidate away.
func (s *Shadow) Propose(r *Revision) { s.candidate.Store(r) }

// Candidate is the revision that is evaluated beside; nil where there is none.
func (s *Shadow) Candidate() *Revision { return s.candidate.Load() }

// Evaluate implements pdp.Policy.
func (s *Shadow) Evaluate(ctx context.Context, f *pdp.Facts) (pdp.Verdict, error) {
	verdict, err := s.c.InForce.Evaluate(ctx, f)
	if err != nil || s.candidate.Load() == nil || !s.draw() {
		return verdict, err
	}
	select {
	case s.queue <- shadowed{*f, verdict}:
	default:
		s.c.Observer.ShadowDropped()
	}
	return verdict, nil
}

// draw is true for Share of its calls, as evenly as can be: no chance, so that a share of 0.1 is every tenth.
func (s *Shadow) draw() bool {
	n := float64(s.drawn.Add(1))
	return math.Floor(n*s.c.Share) > math.Floor((n-1)*s.c.Share)
}

// Run judges what was drawn until ctx ends.
func (s *Shadow) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case one := <-s.queue:
			if candidate := s.candidate.Load(); candidate != nil {
				s.c.Observer.ShadowCompared(s.judge(ctx, candidate, &one))
			}
		}
	}
}

// judge goes past the memory of verdicts, of which a token has one place: the candidate must not take it from the
// policy in force.
func (s *Shadow) judge(ctx context.Context, candidate *Revision, one *shadowed) ShadowResult {
	result := ShadowResult{InForce: one.verdict.Revision, Candidate: candidate.id, Allowed: allows(&one.verdict)}
	if one.facts.Verification.Verified() {
		result.Issuer = one.facts.Verification.Trust.Issuer.ID
	}
	began := s.c.Now()
	verdict, err := candidate.evaluate(ctx, &cutOff{ctx: ctx, now: s.c.Now, deadline: began.Add(s.c.Timeout)}, &one.facts)
	result.Took = s.c.Now().Sub(began)
	if err != nil {
		result.Outcome, result.Failure = ShadowFailed, err
		return result
	}
	result.CandidateAllows = allows(&verdict)
	if result.Differences = differences(&one.verdict, &verdict); len(result.Differences) > 0 {
		result.Outcome = ShadowDifferent
	} else {
		result.Outcome = ShadowSame
	}
	return result
}

func allows(v *pdp.Verdict) bool {
	return v.Allow && !slices.ContainsFunc(v.Reasons, func(r pdp.Reason) bool {
		return r.Enforcement.Denies()
	})
}

// differences names codes as metrics and the log may have them.
func differences(was, is *pdp.Verdict) []ShadowDifference {
	var found []ShadowDifference
	before, after := enforcements(was), enforcements(is)
	for _, code := range slices.Sorted(maps.Keys(before)) {
		if now, there := after[code]; !there {
			found = append(found, ShadowDifference{DifferenceRemoved, pdp.RecordedCode(code, was.Words)})
		} else if now != before[code] {
			found = append(found, ShadowDifference{DifferenceEnforcement, pdp.RecordedCode(code, was.Words)})
		}
	}
	for _, code := range slices.Sorted(maps.Keys(after)) {
		if _, there := before[code]; !there {
			found = append(found, ShadowDifference{DifferenceAdded, pdp.RecordedCode(code, is.Words)})
		}
	}
	switch {
	case allows(was) != allows(is):
		found = append(found, ShadowDifference{Kind: DifferenceAllow})
	case !allows(was): // what comes with an allow does not matter
	default:
		if !slices.EqualFunc(paths(was.Claims), paths(is.Claims), slices.Equal[[]string]) {
			found = append(found, ShadowDifference{Kind: DifferenceClaims})
		}
		if !reflect.DeepEqual(was.Obligations, is.Obligations) {
			found = append(found, ShadowDifference{Kind: DifferenceObligations})
		}
		if was.CacheForSeconds != is.CacheForSeconds {
			found = append(found, ShadowDifference{Kind: DifferenceCaching})
		}
	}
	slices.SortFunc(found, func(a, b ShadowDifference) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Code, b.Code))
	})
	return slices.Compact(found) // codes that are not named are one
}

// paths sorts, without changing what verdicts share.
func paths(claims [][]string) [][]string {
	sorted := slices.Clone(claims)
	slices.SortFunc(sorted, slices.Compare)
	return sorted
}

// enforcements gives what each code does; of one that is there more than once, the strictest.
func enforcements(v *pdp.Verdict) map[string]pdp.Enforcement {
	strictness := map[pdp.Enforcement]int{pdp.Waived: 1, pdp.Warn: 2}
	of := make(map[string]pdp.Enforcement, len(v.Reasons))
	for i := range v.Reasons {
		r := &v.Reasons[i]
		last, there := of[r.Code]
		if !there || strictness[last] != 0 && (strictness[r.Enforcement] == 0 || strictness[r.Enforcement] > strictness[last]) {
			of[r.Code] = r.Enforcement
		}
	}
	return of
}
