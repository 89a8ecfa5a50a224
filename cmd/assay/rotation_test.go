package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// rotations is how many TestRotationUnderLoad waits for; each takes rotationPeriod.
var rotations = flag.Int("rotations", 5, "key rotations that TestRotationUnderLoad waits for")

// rotationPeriod is how long a version signs.
const rotationPeriod = 2200 * time.Millisecond

const rotationConfig = `
issuers:
  - issuer: https://tokens.example
    keys: {vault: access}
vault:
  address: %s
  custodian: {enabled: true}
  roles:
    decider: {auth: {approle: {role_id_file: decider.role_id, secret_id_file: decider.secret_id}}}
    issuer: {auth: {approle: {role_id_file: issuer.role_id, secret_id_file: issuer.secret_id}}}
    custodian: {auth: {approle: {role_id_file: custodian.role_id, secret_id_file: custodian.secret_id}}}
  keys:
    access: {type: ecdsa-p256}
`

// fleet is two replicas on one real Vault with the least privileged roles.
type fleet struct {
	t      *testing.T
	server *realvault.Server
	folder string // of the configuration file and the roles' credentials
	pace   func(*config.Config)
	config *config.Config // replaced by the test's goroutine, under mu
	ahead  time.Duration  // the least publish_ahead of its keys
	took   time.Duration  // how long the replicas took to come up
	admin  *transit.Client
	served []*served

	mu       sync.Mutex // guards what follows
	problems []string
	counts   map[string]int
	living   []httpapi.IssuedToken
	// watched is when the last reading of all records began that succeeded, blind the longest that versions could come and go
	// unseen between two.
	watched time.Time
	blind   time.Duration
	// lives is every version that Vault's record was seen to have, by kid.
	lives map[string]*life
	// firstSigned is when the first token with a kid had been issued, at the latest.
	firstSigned map[string]time.Time
	// lastAllow and firstDeny are how close to a version's end a token of it was allowed before, and denied after.
	lastAllow, firstDeny time.Duration
	vaultMayFail         bool // the test takes Vault away; not changed while anything runs
}

// served is one replica. Another program can take its place between two requests, as behind a load balancer.
type served struct {
	mu   sync.RWMutex // read-locked while somebody uses the replica
	app  *serve.App   // guarded by mu, as what follows
	base string       // its URL
	stop func()

	readMu sync.Mutex
	// read is when the oldest of the records was read that the replica decides by, at the earliest; zero while that is
	// not known. Guarded by readMu.
	read time.Time
	// wasLate is when it was last found that the records had become older than half of publish_ahead. Guarded by readMu.
	wasLate time.Time
}

// newFleet provisions a Vault for a configuration and starts the replicas. In the configuration %s is Vault's address.
func newFleet(t *testing.T, text string, options ...vaulttest.Option) *fleet {
	t.Helper()
	return newFleetAt(t, quick, text, options...)
}

// newFleetAt is newFleet with other changes to what the file says.
func newFleetAt(t *testing.T, pace func(*config.Config), text string, options ...vaulttest.Option) *fleet {
	t.Helper()
	f := &fleet{t: t, pace: pace, server: vaulttest.Start(t, options...), folder: t.TempDir(),
		counts: map[string]int{}, lives: map[string]*life{}, firstSigned: map[string]time.Time{}}
	f.config = f.configure(text)
	f.ahead = leastAhead(f.config)
	var err error
	if f.admin, err = serve.NewClientWith(f.config, transit.StaticToken(f.server.RootToken), deps(), nil); err != nil {
		t.Fatal(err)
	}
	f.provision(f.config)
	began := time.Now()
	for range 2 {
		f.served = append(f.served, &served{})
		f.replace(len(f.served)-1, f.config)
	}
	f.took = time.Since(began)
	return f
}

// deps has patience with a Vault that shares a busy machine with all the rest.
func deps() serve.Deps {
	return serve.Deps{Now: time.Now, Log: slog.New(slog.DiscardHandler), VaultTimeout: 30 * time.Second}
}

// configure reads a configuration and changes its times.
func (f *fleet) configure(text string) *config.Config {
	f.t.Helper()
	path := filepath.Join(f.folder, "assay.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, text, f.server.Address), 0o600); err != nil {
		f.t.Fatal(err)
	}
	c, err := config.Read(path)
	if err != nil {
		f.t.Fatal(err)
	}
	c.Policy.Timeout, c.Limits.RequestTimeout = config.Duration(patience), config.Duration(2*patience)
	f.pace(c)
	for name := range c.Vault.Keys {
		if err := c.Periods(name).Validate(); err != nil {
			f.t.Fatal(err)
		}
	}
	return c
}

// quick shortens all times. A file speaks of whole seconds at least; the sums are the same. Vault and the replicas share
// one clock: what is forgiven as skew is what a busy machine takes.
func quick(c *config.Config) {
	c.Leeway = config.Duration(time.Second)
	c.Vault.JWKSMaxAge, c.Vault.Poll, c.Vault.ClockSkew = config.Duration(time.Second), config.Duration(200*time.Millisecond), config.Duration(time.Second)
	c.Vault.Custodian.TrimAfter = config.Duration(time.Second)
	for name, key := range c.Vault.Keys {
		key.RotateEvery, key.PublishAhead, key.MaxTokenLifetime = config.Duration(rotationPeriod), config.Duration(rotationPeriod), config.Duration(2*time.Second)
		c.Vault.Keys[name] = key
	}
}

func (f *fleet) provision(c *config.Config) {
	f.t.Helper()
	if err := setup(f.t.Context(), io.Discard, c, f.admin, setupOptions{}, "text"); err != nil {
		f.t.Fatal(err)
	}
}

// replace starts a program with a configuration, waits until it is ready, puts it in a replica's place, and ends what
// was there before.
func (f *fleet) replace(replica int, c *config.Config) {
	f.t.Helper()
	app, err := serve.New(f.t.Context(), c, deps())
	if err != nil {
		f.t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(f.t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	stop := serving(f.t, app, listener)
	for deadline := time.Now().Add(patience); len(amiss(app)) > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("replica %d is not ready: %v", replica, app.Health().Causes)
		}
	}
	s := f.served[replica]
	s.mu.Lock()
	before := s.stop
	s.app, s.base, s.stop = app, "http://"+listener.Addr().String(), stop
	s.hasRead(time.Time{})
	s.mu.Unlock()
	if before != nil {
		before()
	}
}

// amiss is what keeps a replica from its work. That no custodian has been there for a while does not: where it comes later,
// a busy machine takes longer than a version signs to start the replicas.
func amiss(app *serve.App) []string {
	return slices.DeleteFunc(app.Health().Causes, func(cause string) bool {
		return strings.Contains(cause, "rotate_every is") || strings.Contains(cause, "no version is pending")
	})
}

func (f *fleet) count(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts[what]++
}

func (f *fleet) problem(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// notIssued counts orders that were to come back later.
const notIssued = "not issued: asked to come back"

// issue has a token issued by one replica and remembers it while it lives.
func (f *fleet) issue(ctx context.Context, replica int) (issued httpapi.IssuedToken, ok bool) {
	order := httpapi.TokenOrder{TokenType: pdp.AccessToken, Subject: "alice", ClientID: "web", Audience: []string{"orders"}, LifetimeSeconds: 2}
	s := f.served[replica]
	began := time.Now()
	s.mu.RLock()
	issued, err := s.app.Issuer.Issue(ctx, pdp.Caller{}, order)
	s.mu.RUnlock()
	var away *httpapi.UnavailableError
	var refused *httpapi.RefusedError
	switch {
	case ctx.Err() != nil:
		return issued, false
	case errors.As(err, &away):
		f.count(notIssued)
		return issued, false
	case errors.As(err, &refused) && time.Since(began) > time.Duration(order.LifetimeSeconds)*time.Second:
		f.count("not issued: it had expired when it was judged")
		return issued, false
	case errors.As(err, &refused):
		f.problem("issuing: %v: %+v", err, refused.Reasons)
		return issued, false
	case err != nil:
		f.problem("issuing: %v", err)
		return issued, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	f.living = slices.DeleteFunc(f.living, func(t httpapi.IssuedToken) bool { return !now.Before(t.ExpiresAt) })
	f.living = append(f.living, issued)
	f.counts["issued under "+algorithmOf(issued.Token)]++
	if first, known := f.firstSigned[issued.KeyID]; !known || now.Before(first) {
		f.firstSigned[issued.KeyID] = now
	}
	return issued, true
}

// pick is one of the living tokens, the nth.
func (f *fleet) pick(n int) (httpapi.IssuedToken, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.living) == 0 {
		return httpapi.IssuedToken{}, false
	}
	return f.living[n%len(f.living)], true
}

// decide asks a replica about a token.
func (f *fleet) decide(ctx context.Context, replica int, token string) (allow bool, codes []string, err error) {
	return f.decideAbout(ctx, replica, map[string]any{"token": token, "request": map[string]any{"audience": "orders"}})
}

// errNotDecided is the answer to come back later. A token that Vault has to open first may get it where Vault takes too
// long; any other is decided without Vault.
var errNotDecided = errors.New("asked to come back")

// decideAbout asks a replica over HTTP.
func (f *fleet) decideAbout(ctx context.Context, replica int, question map[string]any) (allow bool, codes []string, err error) {
	body, err := json.Marshal(question)
	if err != nil {
		return false, nil, err
	}
	s := f.served[replica]
	s.mu.RLock()
	defer s.mu.RUnlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.base+"/decide", bytes.NewReader(body))
	if err != nil {
		return false, nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false, nil, err
	}
	defer response.Body.Close() //nolint:errcheck // read below
	if response.StatusCode == http.StatusServiceUnavailable && response.Header.Get("Retry-After") != "" {
		return false, nil, errNotDecided
	}
	var answer struct {
		Allow   bool
		Reasons []struct{ Code string }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || response.StatusCode != http.StatusOK {
		return false, nil, fmt.Errorf("status %d: %w", response.StatusCode, err)
	}
	for _, r := range answer.Reasons {
		codes = append(codes, r.Code)
	}
	return answer.Allow, codes, nil
}

// judge asks about a good token.
func (f *fleet) judge(ctx context.Context, replica, n int) {
	token, ok := f.pick(n)
	if !ok || !time.Now().Before(token.ExpiresAt) {
		return
	}
	asked := time.Now()
	allow, codes, err := f.decide(ctx, replica, token.Token)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		f.problem("deciding: %v", err)
	case !allow && !time.Now().Before(token.ExpiresAt): // it was good when the question was put
	case !allow && f.late(replica, asked, 0):
		f.count("good tokens denied by a replica that was late")
	case !allow:
		f.problem("replica %d denied a good token of kid %s, which expires %s: %s", replica, token.KeyID, token.ExpiresAt.Format(time.StampMilli), strings.Join(codes, ", "))
	default:
		f.count("good tokens allowed")
	}
}
