// Package serve is the composition root: the one place that knows every package and puts them together,
// from the configuration file to the listening server. Commands that need a decision or a signature
// without a server use the same App.
//
// The way down is: configuration, then what reads keys (Vault keyring, key sets), then examiner and policy,
// then the decider above both, then issuing, then HTTP. Nothing below knows what is above it. Long-running
// work is started and joined by Run alone.
package serve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/keyset"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/vaultkeys"
)

// Deps is what an App has of the world around it.
type Deps struct {
	Log    *slog.Logger             // required
	Now    func() time.Time         // default time.Now
	Getenv func(name string) string // default: no environment
	// VaultTimeout bounds one request to Vault; default transit.DefaultTimeout.
	VaultTimeout time.Duration
	// AuditFlush is how long destinations of the audit log are waited for at the end; default upload.DefaultFlush.
	AuditFlush time.Duration
	// Version is the program's, for the records of the audit log.
	Version string
}

// App is Assay put together.
type App struct {
	Decider *pdp.Decider
	// Issuer signs tokens; nil where the configuration gives no Vault role for it.
	Issuer *Issuer

	config   *config.Config
	log      *slog.Logger
	now      func() time.Time
	registry *prometheus.Registry
	engine   *policy.Engine
	examiner pdp.Examiner
	policies *policyLoader
	shadow   *shadow // nil without a candidate
	bundles  *bundleMetrics
	changes  pdp.ChangeRecorder
	audit    *auditTrail // nil where nothing is recorded
	refusals *refusals   // nil likewise
	// callers judges callers' own tokens, and records nothing; nil where nothing is recorded.
	callers *pdp.Decider
	keys    *keyset.Set
	vault   *vault // nil where no key is in Vault
	// revocations is nil where none are configured.
	revocations *revocationFeed
	// custodian looks after the keys in Vault; nil where the configuration does not want it here.
	custodian *Custodian

	document atomic.Pointer[document] // the key set last published
	noKeys   *httpapi.KeySetDocument
}

// document is a published key set beside what it was made from.
type document struct {
	of       *vaultkeys.JWKS
	document httpapi.KeySetDocument
}

// New puts an App together. It compiles the policy and checks all files; it does not listen, and talks to
// no other server yet.
func New(ctx context.Context, c *config.Config, d Deps) (*App, error) {
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.Getenv == nil {
		d.Getenv = func(string) string { return "" }
	}
	a := &App{config: c, log: d.Log, now: d.Now, registry: prometheus.NewRegistry(),
		changes: changeLog{d.Log}, noKeys: &httpapi.KeySetDocument{Body: []byte(`{"keys":[]}`)}}
	m, err := newMetrics(a.registry)
	if err != nil {
		return nil, err
	}
	if err := a.keepAudit(d, m); err != nil {
		return nil, err
	}
	if a.vault, err = newVault(c, d, m); err != nil {
		return nil, err
	}
	if err := a.lookAfterKeys(d, m); err != nil {
		return nil, err
	}
	if a.keys, err = newKeySet(c, a.vault, m, d); err != nil {
		return nil, err
	}
	if err := a.newPolicy(ctx, m); err != nil {
		return nil, err
	}
	opens, err := newDecrypter(a)
	if err != nil {
		return nil, err
	}
	examiner, err := token.New(token.Config{
		Trust: a.keys, Decrypter: opens, MaxBytes: c.Limits.TokenBytes, CacheBytes: c.Limits.TokenCacheBytes, Observer: m, Work: m, Now: d.Now,
	})
	if err != nil {
		return nil, err
	}
	a.examiner = examiner
	if err := watchCache(a.registry, examiner); err != nil {
		return nil, err
	}
	var judge pdp.Policy = a.engine
	if a.shadow != nil {
		judge = a.shadow.policy
	}
	if a.revocations, err = newRevocationFeed(c, d, a.registry); err != nil {
		return nil, err
	}
	wired := pdp.Config{Examiner: examiner, Policy: judge, Leeway: c.Leeway.D(), Now: d.Now, NewID: newID}
	if a.revocations != nil {
		wired.Revocations = a.revocations
		wired.MaxReuse = c.Revocation.MaxAge.D()
	}
	if a.audit != nil {
		if a.callers, err = pdp.New(wired); err != nil {
			return nil, err
		}
		wired.Recorder = a.audit.recorder
	}
	a.Decider, err = pdp.New(wired)
	if err != nil {
		return nil, err
	}
	a.Issuer, err = newIssuer(a)
	return a, err
}

// newID is a decision's id: a ULID (sorts by time), whose randomness is the process's own generator.
func newID(at time.Time) string {
	return ulid.MustNewDefault(at).String()
}

// Load reads everything once that decisions depend on: Vault's keys, then the issuers' key sets, some of
// which are Vault's. A remote source that is down is no error: its issuer's tokens are denied until it is
// back, and Health tells.
func (a *App) Load(ctx context.Context) error {
	if a.vault != nil {
		a.vault.load(ctx)
	}
	a.loadPolicy(ctx)
	if a.revocations != nil {
		if err := a.revocations.load(); err != nil {
			return err
		}
	}
	return a.keys.Load(ctx)
}

// Run serves on the listener until ctx ends and everything is down. It loads first.
func (a *App) Run(ctx context.Context, listener net.Listener) error {
	api, err := a.api()
	if err != nil {
		return err
	}
	server, err := a.server(api)
	if err != nil {
		return err
	}
	if err := a.StartAudit(ctx); err != nil {
		return errors.Join(err, a.closeRevocations())
	}
	if err := a.Load(ctx); err != nil {
		return errors.Join(err, a.closeRevocations(), a.audit.close())
	}
	// What serves requests outlives the server: keys are kept fresh until the last request is answered.
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	group, background := errgroup.WithContext(background)
	group.Go(func() error { return a.keys.Run(background) })
	group.Go(func() error { return a.policies.run(background) })
	if a.shadow != nil {
		group.Go(func() error { return a.shadow.run(background) })
	}
	if a.vault != nil {
		group.Go(func() error { return a.vault.run(background) })
	}
	if a.custodian != nil {
		group.Go(func() error { return a.custodian.Run(background) })
	}
	if a.refusals != nil {
		group.Go(func() error { return a.refusals.run(background) })
	}
	serving, cancel := context.WithCancel(ctx)
	defer cancel()
	stopServing := context.AfterFunc(background, cancel) // a background failure ends serving too
	defer stopServing()
	a.log.Info("listening", "address", listener.Addr().String(), "tls", a.config.TLS.CertFile != "", "policy_revision", a.engine.Revision().ID())
	err = server.Serve(serving, listener)
	stop()
	if background := group.Wait(); background != nil && !errors.Is(background, context.Canceled) {
		err = errors.Join(background, err)
	}
	if a.vault != nil {
		a.vault.close()
	}
	// Last of all: everything above may have changed something that is recorded.
	return errors.Join(err, a.closeRevocations(), a.audit.close())
}

// Once runs one piece of work without a server: everything is loaded first.
func Once[T any](ctx context.Context, a *App, work func(context.Context) (T, error)) (done T, err error) {
	var none T
	defer func() { err = errors.Join(err, a.closeRevocations(), a.audit.close()) }()
	a.auditForCommand(ctx)
	if err := a.consultRevocations(ctx); err != nil {
		return none, err
	}
	if err := a.Load(ctx); err != nil {
		return none, err
	}
	if a.vault != nil {
		defer a.vault.close()
	}
	if _, denyAll := a.policies.causes(); denyAll {
		return none, errNotLoaded
	}
	return work(ctx)
}
