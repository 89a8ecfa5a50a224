package serve

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/pdp/policy"
)

// shadow is the candidate of policy.shadow: a second policy, loaded as the one in force is, that judges a share of
// the decisions beside it and changes none.
type shadow struct {
	policy *policy.Shadow
	loader *policyLoader
}

// newShadow wires the candidate; nil where none is configured. It is read by run: what is wrong with a candidate
// never keeps a server from starting.
func (a *App) newShadow() (*shadow, error) {
	c := a.config.Policy
	if len(c.Shadow.Bundle) == 0 {
		return nil, nil
	}
	observer, err := newShadowObserver(a.registry, a.log, a.now)
	if err != nil {
		return nil, err
	}
	s := new(shadow)
	s.policy, err = policy.NewShadow(policy.ShadowConfig{
		InForce: a.engine, Share: c.Shadow.Share, Timeout: c.Timeout.D(), Observer: observer, Now: a.now,
	})
	if err != nil {
		return nil, err
	}
	c.Bundle = c.Shadow.Bundle
	s.loader, err = newPolicyLoader(&c, "shadow/", loaderDeps{
		log: a.log, now: a.now, metrics: a.bundles, changes: a.changes, put: s.policy.Propose,
	})
	return s, err
}

func (s *shadow) run(ctx context.Context) error {
	if err := s.loader.start(ctx); err != nil {
		s.loader.unread(ctx, err)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.policy.Run(ctx) })
	group.Go(func() error { return s.loader.run(ctx) })
	return group.Wait()
}

// shadowObserver counts differences by reason code and writes each kind of them down once in a while.
type shadowObserver struct {
	log *slog.Logger
	now func() time.Time

	compared    *prometheus.CounterVec
	differences *prometheus.CounterVec
	dropped     prometheus.Counter

	mu   sync.Mutex
	told map[policy.ShadowDifference]time.Time // guarded by mu; at most maxShadowCodes and one for failures
}

// maxShadowCodes bounds the codes that are told apart in metrics and log: they come from the candidate's rules.
const maxShadowCodes = 500

// shadowLogEvery is how often one kind of difference is written down.
const shadowLogEvery = time.Minute

func newShadowObserver(registry *prometheus.Registry, log *slog.Logger, now func() time.Time) (*shadowObserver, error) {
	o := &shadowObserver{
		log: log, now: now, told: make(map[policy.ShadowDifference]time.Time),
		compared: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_shadow_decisions_total", Help: "Decisions that the candidate policy judged too, by how its verdict compares.",
		}, []string{"outcome"}),
		differences: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "assay_shadow_differences_total", Help: "Differences of the candidate's verdicts by kind and reason code.",
		}, []string{"kind", "code"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "assay_shadow_dropped_total", Help: "Decisions that were drawn for the candidate and dropped because it is too slow.",
		}),
	}
	return o, errors.Join(registry.Register(o.compared), registry.Register(o.differences), registry.Register(o.dropped))
}

// ShadowDropped implements policy.ShadowObserver.
func (o *shadowObserver) ShadowDropped() { o.dropped.Inc() }

// ShadowCompared implements policy.ShadowObserver.
func (o *shadowObserver) ShadowCompared(r policy.ShadowResult) {
	o.compared.WithLabelValues(r.Outcome).Inc()
	if r.Outcome == policy.ShadowFailed && o.due(policy.ShadowDifference{Kind: policy.ShadowFailed}) {
		o.log.Warn("the candidate policy gave no verdict", "candidate_revision", r.Candidate, "cause", policy.FailureOf(r.Failure).String())
	}
	for _, d := range r.Differences {
		if !o.known(d) {
			d.Code = "other"
		}
		o.differences.WithLabelValues(d.Kind, d.Code).Inc()
		if o.due(d) {
			o.log.Info("the candidate policy judges differently", "kind", d.Kind, "code", d.Code, "allow", r.Allowed,
				"candidate_allows", r.CandidateAllows, "policy_revision", r.InForce, "candidate_revision", r.Candidate, "issuer", r.Issuer)
		}
	}
}

// known tells whether a difference has its own place, or there is still one.
func (o *shadowObserver) known(d policy.ShadowDifference) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, there := o.told[d]
	return there || len(o.told) < maxShadowCodes
}

// due tells whether a kind of difference is to be written down.
func (o *shadowObserver) due(d policy.ShadowDifference) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	if last, there := o.told[d]; there && now.Sub(last) < shadowLogEvery {
		return false
	}
	o.told[d] = now
	return true
}
