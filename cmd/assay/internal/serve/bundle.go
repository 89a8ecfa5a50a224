package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// configName is what the policy configuration's file is called where bundles have names.
const configName = "policy.config"

// Reasons beside those of bundles.Reason.
const (
	reasonUnavailable = "unavailable" // the source cannot be read
	reasonCompile     = "compile"     // together with the others it is no policy
	reasonConfig      = "config"      // the configuration does not fit its schema
)

// policyLoader keeps one policy up to date: the library, the bundles and the configuration's file.
//
// Each of these parts is offered when it changes. What is offered is put together with the other parts, compiled
// and tested aside, and then put in force by one swap; whoever decides meanwhile does so under the revision before,
// and waits for nothing. What cannot be put in force is reported, and what was in force stays. It is kept nevertheless:
// when another part changes, both are tried together, because a rule and the data that it needs may come from two
// bundles.
type policyLoader struct {
	c       *config.Policy
	what    string // "" for the policy in force; else before every name, such as "shadow/"
	log     *slog.Logger
	now     func() time.Time
	metrics *bundleMetrics
	changes pdp.ChangeRecorder
	put     func(*policy.Revision)
	parts   []*part
	kept    *keptBundles // nil without a state directory

	working  sync.Mutex // one composition is tried at a time; guards all below but what mu guards
	inForce  []*piece   // by part; nil while nothing is in force
	waiting  []*piece   // by part: newer than what is in force, and not in force
	owner    bool       // this process keeps the state directory
	revision string     // of what is in force

	mu       sync.Mutex
	loaded   bool       // guarded by mu
	problems []*problem // by part, guarded by mu
}

// part is one thing that the policy is made of: a bundle, or the configuration's file.
type part struct {
	name   string
	source bundles.Source // nil for the configuration's file
	config bundles.SourceConfig
}

// piece is the content of a part at one moment. Two pieces with one digest are the same.
type piece struct {
	digest string
	bundle *bundles.Bundle // nil for the configuration's file
	loaded bundles.Loaded  // of a bundle
	text   []byte          // of the configuration's file: JSON
	kept   bool            // it comes from the state directory
}

// problem says why the newest content of a part is not in force.
type problem struct{ reason, text string }

type loaderDeps struct {
	log      *slog.Logger
	now      func() time.Time
	metrics  *bundleMetrics
	changes  pdp.ChangeRecorder
	put      func(*policy.Revision)
	stateDir string
}

func newPolicyLoader(c *config.Policy, what string, d loaderDeps) (*policyLoader, error) {
	l := &policyLoader{c: c, what: what, log: d.log, now: d.now, metrics: d.metrics, changes: d.changes, put: d.put}
	verification, err := c.Verify.Verification()
	if err != nil {
		return nil, fmt.Errorf("policy.verify: %w", err)
	}
	var marks *bundles.Marks
	if d.stateDir != "" {
		if l.kept, err = openKept(d.stateDir); err != nil {
			return nil, err
		}
		marks = l.kept.marks
	}
	for _, b := range c.Bundle {
		p, err := newPart(c, b, verification, marks, d.now)
		if err != nil {
			return nil, fmt.Errorf("policy.bundle %s: %w", b.Name, err)
		}
		l.parts = append(l.parts, p)
	}
	if c.Config != "" {
		l.parts = append(l.parts, &part{name: configName})
	}
	l.inForce, l.waiting = make([]*piece, len(l.parts)), make([]*piece, len(l.parts))
	l.problems = make([]*problem, len(l.parts))
	return l, nil
}

func newPart(c *config.Policy, b config.Bundle, verification *bundles.Verification, marks *bundles.Marks, now func() time.Time) (*part, error) {
	transport, err := bundleTransport(b)
	if err != nil {
		return nil, err
	}
	s := bundles.SourceConfig{
		Location: b.Source, Poll: b.Poll.D(), LongPoll: b.LongPoll.D(),
		Read: bundles.ReadConfig{
			Name: b.Name, Verify: verification, MaxBytes: int64(c.MaxBundleBytes), Capabilities: policy.Capabilities(),
			AllowedRoots: bundles.RootsBesideLibrary(), Marks: marks, Now: now,
		},
		HTTP: bundles.HTTPConfig{Transport: transport},
	}
	if c.ReplaceLibrary {
		s.Read.AllowedRoots = nil
	}
	if b.TokenFile != "" {
		s.HTTP.Bearer = func() (string, error) {
			text, err := os.ReadFile(b.TokenFile)
			return string(bytes.TrimSpace(text)), err
		}
	}
	if !c.Verify.Demands(b.Source) {
		s.UnsignedToo = true
		if !bundles.IsURL(b.Source) && c.Verify.Required == nil {
			s.Read.Verify = nil // a directory is trusted as it is
		}
	}
	source, err := bundles.NewSource(s)
	return &part{name: b.Name, source: source, config: s}, err
}

// start reads what is on this machine: local sources, else what was kept. Parts that only the network has are left
// to fetch. It is an error where the policy cannot be put together and nothing from the network could mend it.
func (l *policyLoader) start(ctx context.Context) error {
	l.working.Lock()
	defer l.working.Unlock()
	missing := false
	var failures []error
	for i, p := range l.parts {
		fresh, err := l.local(ctx, p)
		if err != nil {
			l.failed(ctx, i, err)
		}
		if fresh == nil {
			fresh = l.fromKept(ctx, i)
		}
		l.waiting[i] = fresh
		switch {
		case fresh != nil:
		case p.source != nil && p.source.Remote():
			missing = true
		default:
			failures = append(failures, err)
		}
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	if missing {
		return nil
	}
	err := l.try(ctx, l.waiting)
	if err == nil {
		return nil
	}
	again := slices.Clone(l.waiting)
	for i := range again {
		if last := l.fromKept(ctx, i); last != nil {
			again[i] = last
		}
	}
	if slices.EqualFunc(again, l.waiting, same) || l.try(ctx, again) != nil {
		for i, p := range l.parts {
			if p.source != nil && p.source.Remote() { // it may mend this
				l.failed(ctx, i, err)
				missing = true
			}
		}
		if missing {
			return nil
		}
		return err
	}
	for i := range l.parts {
		if !same(again[i], l.waiting[i]) {
			l.failed(ctx, i, err)
		}
	}
	return nil
}

func same(a, b *piece) bool { return a == b || a != nil && b != nil && a.digest == b.digest }

func (l *policyLoader) local(ctx context.Context, p *part) (*piece, error) {
	if p.source == nil {
		return readPolicyConfig(l.c.Config)
	}
	if p.source.Remote() {
		return nil, nil
	}
	loaded, err := p.source.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("policy bundle %s: %w", p.name, err)
	}
	return &piece{digest: loaded.Bundle.Digest, bundle: loaded.Bundle, loaded: loaded}, nil
}

func (l *policyLoader) fromKept(ctx context.Context, i int) *piece {
	p := l.parts[i]
	if l.kept == nil || p.source == nil {
		return nil
	}
	loaded, err := l.kept.load(ctx, p)
	if err != nil {
		l.log.Warn("a kept bundle cannot be used", "bundle", l.what+p.name, "error", err.Error())
	}
	if loaded.Bundle == nil {
		return nil
	}
	if p.source.Remote() && loaded.ETag != "" { // then the server need not send it again
		p.config.ETag = loaded.ETag
		if known, err := bundles.NewSource(p.config); err == nil {
			p.source = known
		}
	}
	return &piece{digest: loaded.Bundle.Digest, bundle: loaded.Bundle, loaded: loaded, kept: true}
}

// firstFetch is how long a start waits for a server; then it goes on without.
const firstFetch = 10 * time.Second

// fetch asks the network, once, for what start could not find.
func (l *policyLoader) fetch(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, firstFetch)
	defer cancel()
	for i, p := range l.parts {
		if p.source == nil || !p.source.Remote() || l.has(i) {
			continue
		}
		loaded, err := p.source.Load(ctx)
		_ = l.offered(ctx, i, loaded, err) // it was reported
	}
}

func (l *policyLoader) has(i int) bool {
	l.working.Lock()
	defer l.working.Unlock()
	return l.inForce[i] != nil || l.waiting[i] != nil
}

// unread reports that nothing can be put in force.
func (l *policyLoader) unread(ctx context.Context, err error) {
	l.working.Lock()
	defer l.working.Unlock()
	for i := range l.parts {
		if l.inForce[i] == nil && l.problems[i] == nil {
			l.failed(ctx, i, err)
		}
	}
}

// run keeps the policy up to date until ctx ends. From here on this process owns the state directory.
func (l *policyLoader) run(ctx context.Context) error {
	l.own(ctx)
	group, ctx := errgroup.WithContext(ctx)
	for i, p := range l.parts {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := l.follow(ctx, i, p); err != nil { // a watch that cannot be had: poll
					_ = l.offered(ctx, i, bundles.Loaded{}, err)
					sleep(ctx, bundles.DefaultPoll)
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (l *policyLoader) follow(ctx context.Context, i int, p *part) error {
	if p.source != nil {
		return p.source.Run(ctx, func(loaded bundles.Loaded, err error) error { return l.offered(ctx, i, loaded, err) })
	}
	return bundles.Watch(ctx, l.c.Config, bundles.DefaultPoll, func() {
		fresh, err := readPolicyConfig(l.c.Config)
		_ = l.offer(ctx, i, fresh, err) // it was reported
	})
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// causes says what is amiss, and whether there is no policy at all.
func (l *policyLoader) causes() (causes []string, none bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.problems {
		if p == nil {
			continue
		}
		stays := "; the last good one stays in force"
		if !l.loaded {
			stays = ""
		}
		causes = append(causes, fmt.Sprintf("policy: %s%s is not in force (%s)%s: %s", l.what, l.parts[i].name, p.reason, stays, p.text))
	}
	return causes, !l.loaded
}
