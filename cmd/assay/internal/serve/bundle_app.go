package serve

import (
	"context"
	"errors"

	"github.com/assaypdp/assay/pdp/policy"
)

// notLoaded denies everything. It is in force where the policy has to come over the network, did not come yet, and was
// not kept: the library alone would allow what the organisation's own rules deny.
const notLoaded = `package assay

# METADATA
# entrypoint: true
decision := {
	"allow": false,
	"reasons": {{
		"code": "policy.undefined",
		"message": "the configured policy could not be loaded yet",
		"severity": "critical",
		"enforcement": "deny",
		"details": {},
		"controls": [],
	}},
	"claims": set(),
	"obligations": {},
	"cache_for_seconds": 0,
}
`

var errNotLoaded = errors.New("the policy could not be loaded: its bundles cannot be fetched, and none are kept")

// newPolicy loads what is on this machine and makes the engine, with the candidate before it where there is one.
func (a *App) newPolicy(ctx context.Context, m *metrics) error {
	var err error
	if a.bundles, err = newBundleMetrics(a.registry); err != nil {
		return err
	}
	var first *policy.Revision
	a.policies, err = newPolicyLoader(&a.config.Policy, "", loaderDeps{
		log: a.log, now: a.now, metrics: a.bundles, changes: a.changes, stateDir: a.config.Policy.StateDir,
		put: func(r *policy.Revision) {
			if first = r; a.engine != nil {
				a.engine.Swap(r)
			}
		},
	})
	if err != nil {
		return err
	}
	if err := a.policies.start(ctx); err != nil {
		return err
	}
	if first == nil {
		if first, err = policy.Compile(ctx, policy.Source{Modules: map[string][]byte{"assay/not_loaded.rego": []byte(notLoaded)}}); err != nil {
			return err
		}
	}
	if a.engine, err = policy.New(policy.Config{Revision: first, Timeout: a.config.Policy.Timeout.D(), Observer: m}); err != nil {
		return err
	}
	a.shadow, err = a.newShadow()
	return err
}

// loadPolicy fetches what start could not find on this machine.
func (a *App) loadPolicy(ctx context.Context) { a.policies.fetch(ctx) }

// policyCauses says what is amiss with the policy, and whether there is none.
func (a *App) policyCauses() (causes []string, none bool) {
	causes, none = a.policies.causes()
	if none && len(causes) == 0 {
		causes = []string{"policy: it was not loaded yet"}
	}
	if a.shadow != nil {
		others, _ := a.shadow.loader.causes()
		causes = append(causes, others...)
	}
	return causes, none
}
