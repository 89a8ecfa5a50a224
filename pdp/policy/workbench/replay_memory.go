package workbench

import (
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/assaypdp/assay/pdp"
)

// judged is what of a policy's verdict goes into an Answer.
type judged struct {
	allow    bool
	findings []Finding // not to be changed
}

func judgedOf(v *pdp.Verdict) judged {
	j := judged{allow: v.Allow, findings: make([]Finding, len(v.Reasons))}
	for i := range v.Reasons {
		j.findings[i] = Finding{pdp.RecordedCode(v.Reasons[i].Code, v.Words), string(v.Reasons[i].Enforcement)}
	}
	return j
}

// digest stands for a key, which may be long.
type digest = [sha256.Size]byte

// verdicts remembers what a policy said of inputs that it cannot tell apart but by their time: a token is brought many
// times, and so are tokens that differ only in what the policy does not look at. It keeps the younger half of what it was
// told, at most twice mostYoung. It is safe for concurrent use.
type verdicts struct {
	mu         sync.Mutex // guards both
	young, old map[digest]verdict
}

// verdict holds for the seconds from and until, both included, and those between.
type verdict struct {
	judged
	from, until int64
}

// mostYoung is how many verdicts are remembered before the older ones are forgotten: some 100 bytes each.
const mostYoung = 50_000

func newVerdicts() *verdicts { return &verdicts{young: make(map[digest]verdict)} }

func (v *verdicts) recall(key digest, second int64) (judged, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	found, young := v.young[key]
	if !young {
		var there bool
		if found, there = v.old[key]; !there {
			return judged{}, false
		}
	}
	if second < found.from || second > found.until {
		return judged{}, false
	}
	if !young {
		v.put(key, found)
	}
	return found.judged, true
}

func (v *verdicts) remember(key digest, j judged, from, until int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.put(key, verdict{j, from, max(from, until)})
}

// put has the lock.
func (v *verdicts) put(key digest, is verdict) {
	if len(v.young) >= mostYoung {
		v.old, v.young = v.young, make(map[digest]verdict, mostYoung)
	}
	v.young[key] = is
}

// insights remembers what stand-ins showed of each kind of record. It is safe for concurrent use.
type insights struct {
	mu    sync.Mutex // guards known
	known map[digest]*lookedInto
}

// lookedInto is an insight, or will be.
type lookedInto struct {
	mu    sync.Mutex // held while it is found, so that nobody else looks for the same
	found *insight   // nil: not yet
}

// mostInsights are remembered; past them each is found anew.
const mostInsights = 50_000

// of gives the insight of a kind, and finds it where it is not known.
func (i *insights) of(kind digest, find func() (*insight, error)) (*insight, error) {
	i.mu.Lock()
	l := i.known[kind]
	if l == nil {
		l = &lookedInto{}
		if len(i.known) < mostInsights {
			i.known[kind] = l
		}
	}
	i.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.found != nil {
		return l.found, nil
	}
	found, err := find()
	if err == nil {
		l.found = found
	}
	return found, err
}

// answerOf joins a verdict and the floor's vetoes, as pdp.Decider does.
func answerOf(j judged, vetoes []string) Answer {
	findings := slices.Grow(slices.Clone(j.findings), len(vetoes))
	for i := range findings {
		if slices.Contains(vetoes, findings[i].Code) {
			findings[i].Enforcement = string(pdp.Deny)
		}
	}
	for _, code := range vetoes {
		if !slices.ContainsFunc(findings, func(f Finding) bool { return f.Code == code }) {
			findings = append(findings, Finding{code, string(pdp.Deny)})
		}
	}
	denies := slices.ContainsFunc(findings, func(f Finding) bool {
		return f.Enforcement != string(pdp.Warn) && f.Enforcement != string(pdp.Waived)
	})
	allow := j.allow && !denies
	if !allow && !denies {
		findings = append(findings, Finding{"policy.undefined", string(pdp.Deny)})
	}
	SortFindings(findings)
	return Answer{allow, findings}
}
