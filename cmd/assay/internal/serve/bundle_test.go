package serve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// author builds and signs bundles.
type author struct {
	t      *testing.T
	signer *bundles.PEMSigner
}

func newAuthor(t *testing.T) *author {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := bundles.NewPEMSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "ES256", "author")
	if err != nil {
		t.Fatal(err)
	}
	return &author{t, signer}
}

// bundle makes a signed bundle with one package of rules; other files lie over it.
func (a *author) bundle(name string, sequence int64, files map[string]string) []byte {
	a.t.Helper()
	dir := a.t.TempDir()
	all := map[string]string{
		".manifest": fmt.Sprintf(`{"revision": "%[1]d", "roots": ["assay/rules/%[2]s", "assay/rules/%[2]s_test"]}`, sequence, name),
		"assay/rules/" + name + "/" + name + ".rego": "package assay.rules." + name + "\n\n# METADATA\n# title: Never\n# description: Never.\n" +
			"# custom:\n#   code: test.never\n#   severity: low\n#   controls: [SOC2:CC8.1]\n" +
			`findings contains {"rule": rego.metadata.rule(), "message": "never", "details": {}} if input.token.size < 0` + "\n",
	}
	for path, text := range files {
		all[path] = text
	}
	for path, text := range all {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			a.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	built, err := bundles.Build(a.t.Context(), bundles.BuildConfig{Dir: dir, Sequence: sequence})
	if err != nil {
		a.t.Fatal(err)
	}
	signed, err := bundles.Sign(a.t.Context(), built.Archive, bundles.SignConfig{Signer: a.signer})
	if err != nil {
		a.t.Fatal(err)
	}
	return signed
}

// site serves one archive, or fails.
type site struct {
	*httptest.Server
	mu      sync.Mutex
	archive []byte // nil: 503
	sent    int
}

func newSite(t *testing.T, archive []byte) *site {
	s := &site{archive: archive}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	etag := fmt.Sprintf(`"%x"`, sha256.Sum256(s.archive))
	switch {
	case s.archive == nil:
		w.WriteHeader(http.StatusServiceUnavailable)
	case r.Header.Get("If-None-Match") == etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		s.sent++
		w.Header().Set("ETag", etag)
		_, _ = w.Write(s.archive) // the test says what was received
	}
}

func (s *site) put(archive []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive = archive
}

func (s *site) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent
}

// changed is a ChangeRecorder.
type changed struct {
	mu  sync.Mutex
	all []string
}

func (c *changed) RecordChange(_ context.Context, change pdp.Change) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all = append(c.all, strings.TrimSpace(fmt.Sprint(change.Kind, " ", change.Target, " ", change.Reason)))
	return nil
}

func (c *changed) list() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.all, "; ")
}

// process is one run of a server's loader.
type process struct {
	t       *testing.T
	loader  *policyLoader
	changes *changed
	mu      sync.Mutex
	last    *policy.Revision
	stop    func()
}

// begin starts a process, as serve does: what is here, then the network, then what changes. The error is start's.
func begin(t *testing.T, c config.Policy) (*process, error) {
	t.Helper()
	p := &process{t: t, changes: &changed{}}
	metrics, err := newBundleMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	p.loader, err = newPolicyLoader(&c, "", loaderDeps{
		log: slog.New(slog.DiscardHandler), now: time.Now, metrics: metrics, changes: p.changes, stateDir: c.StateDir,
		put: func(r *policy.Revision) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.last = r
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.loader.start(t.Context()); err != nil {
		return nil, err
	}
	p.loader.fetch(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.loader.run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run ended with %v", err)
		}
	})
	t.Cleanup(p.stop)
	return p, nil
}

func mustBegin(t *testing.T, c config.Policy) *process {
	t.Helper()
	p, err := begin(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) revision() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return ""
	}
	return p.last.ID()
}

// until waits until what the process says of itself fits.
func (p *process) until(what string, holds func(causes string, none bool) bool) {
	p.t.Helper()
	var causes []string
	var none bool
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if causes, none = p.loader.causes(); holds(strings.Join(causes, "\n"), none) {
			return
		}
	}
	p.t.Fatalf("never %s; causes %q, none %t, changes %s", what, causes, none, p.changes.list())
}

func (p *process) untilSound() {
	p.t.Helper()
	p.until("sound", func(causes string, none bool) bool { return causes == "" && !none })
}

func (p *process) untilCause(part string) {
	p.t.Helper()
	p.until("told "+part, func(causes string, _ bool) bool { return strings.Contains(causes, part) })
}

// settings are those of a policy of these bundles, all signed by the author.
func (a *author) settings(t *testing.T, list ...config.Bundle) config.Policy {
	c := config.Defaults().Policy
	c.Bundle, c.StateDir = list, t.TempDir()
	for i := range c.Bundle {
		c.Bundle[i].Poll = config.Duration(time.Second)
	}
	c.Verify.Keys = map[string]config.VerifyKey{"author": {PEM: a.signer.PublicKey(), Algorithm: "ES256"}}
	return c
}

func TestStartWithoutTheNetwork(t *testing.T) {
	a := newAuthor(t)
	s := newSite(t, a.bundle("one", 5, nil))
	c := a.settings(t, config.Bundle{Name: "remote", Source: s.URL})
	p := mustBegin(t, c)
	p.untilSound()
	first := p.revision()
	p.stop()

	s.put(nil)
	p = mustBegin(t, c)
	if got := p.revision(); got != first {
		t.Errorf("with the server down the revision is %q, was %q", got, first)
	}
	p.untilCause("remote is not in force (unavailable); the last good one stays in force")
	p.stop()

	// The server is there again and need not send what is kept.
	s.put(a.bundle("one", 5, nil))
	p = mustBegin(t, c)
	p.untilSound()
	p.stop()
	if s.times() > 2 {
		t.Errorf("the bundle was sent %d times", s.times())
	}

	// Nothing kept and no server: no policy, and that is told; then the server comes.
	s.put(nil)
	c.StateDir = t.TempDir()
	p = mustBegin(t, c)
	p.until("without a policy", func(causes string, none bool) bool { return none && strings.Contains(causes, "Service Unavailable") })
	if p.revision() != "" {
		t.Error("a policy is in force without its bundle")
	}
	s.put(a.bundle("one", 5, nil))
	p.untilSound()
	if p.revision() != first {
		t.Error("the same bundle gives another revision")
	}
}

func TestKeptBundleIsVerifiedAnew(t *testing.T) {
	a := newAuthor(t)
	s := newSite(t, a.bundle("one", 5, nil))
	c := a.settings(t, config.Bundle{Name: "remote", Source: s.URL})
	mustBegin(t, c).stop()
	s.put(nil)
	path := filepath.Join(c.StateDir, "bundles", "remote.tar.gz")
	if err := os.WriteFile(path, newAuthor(t).bundle("one", 6, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := mustBegin(t, c); p.revision() != "" {
		t.Error("what somebody else put into the state directory is in force")
	}
}

func TestRefusedBundlesLeaveTheLastGoodOneInForce(t *testing.T) {
	a := newAuthor(t)
	for _, kept := range []bool{true, false} {
		t.Run(fmt.Sprintf("state directory %t", kept), func(t *testing.T) {
			s := newSite(t, a.bundle("one", 5, nil))
			c := a.settings(t, config.Bundle{Name: "remote", Source: s.URL})
			if c.RunTests = true; !kept {
				c.StateDir = ""
			}
			p := mustBegin(t, c)
			p.untilSound()
			first := p.revision()
			for _, refused := range []struct {
				reason  string
				archive []byte
			}{
				{"older", a.bundle("one", 4, map[string]string{"assay/rules/one/x.rego": "package assay.rules.one\n\nx := 1\n"})},
				{"signature", newAuthor(t).bundle("one", 6, nil)},
				{"malformed", []byte("no archive")},
				{"compile", a.bundle("one", 7, map[string]string{"assay/rules/one/x.rego": "package assay.rules.one\n\nx if nobody.there\n"})},
				{"tests", a.bundle("one", 8, map[string]string{"assay/rules/one/one_test.rego": "package assay.rules.one_test\n\ntest_no if 1 == 2\n"})},
			} {
				s.put(refused.archive)
				p.untilCause("remote is not in force (" + refused.reason + ")")
				if p.revision() != first {
					t.Fatalf("%s: another revision is in force", refused.reason)
				}
				p.until("recorded", func(string, bool) bool { // after it is told
					return strings.Contains(p.changes.list(), "bundle.refused remote "+refused.reason)
				})
			}
			s.put(a.bundle("one", 9, nil))
			p.until("two activations", func(string, bool) bool { return strings.Count(p.changes.list(), "bundle.activated remote") == 2 })
			p.untilSound()
			p.stop()
			if got := strings.Count(p.changes.list(), "bundle.activated remote"); got != 2 {
				t.Errorf("%d activations were recorded of 2: %s", got, p.changes.list())
			}
		})
	}
}

// A bundle that came into force once must not come back as an older one after a restart, even with the server of the
// attacker's choice.
func TestRollbackAfterARestart(t *testing.T) {
	a := newAuthor(t)
	s := newSite(t, a.bundle("one", 5, nil))
	c := a.settings(t, config.Bundle{Name: "remote", Source: s.URL})
	p := mustBegin(t, c)
	p.untilSound()
	first := p.revision()
	p.stop()
	if err := os.RemoveAll(filepath.Join(c.StateDir, "bundles")); err != nil {
		t.Fatal(err)
	}
	s.put(a.bundle("one", 4, nil))
	p = mustBegin(t, c)
	p.untilCause("(older)")
	if p.revision() != "" {
		t.Error("the older bundle is in force")
	}
	s.put(a.bundle("one", 5, nil))
	p.untilSound()
	if p.revision() != first {
		t.Error("the same bundle gives another revision")
	}
}

// A rule and the data that it needs may come from two bundles, in whatever order.
func TestBundlesThatNeedEachOther(t *testing.T) {
	a := newAuthor(t)
	rules, helper := newSite(t, a.bundle("one", 1, nil)), newSite(t, a.bundle("two", 1, nil))
	p := mustBegin(t, a.settings(t, config.Bundle{Name: "rules", Source: rules.URL}, config.Bundle{Name: "helper", Source: helper.URL}))
	p.untilSound()
	first := p.revision()
	rules.put(a.bundle("one", 2, map[string]string{"assay/rules/one/use.rego": "package assay.rules.one\n\nx := data.assay.rules.two.double(1)\n"}))
	p.untilCause("rules is not in force (compile)")
	helper.put(a.bundle("two", 2, map[string]string{"assay/rules/two/more.rego": "package assay.rules.two\n\ndouble(n) := n * 2\n"}))
	p.untilSound()
	if p.revision() == first {
		t.Error("nothing new is in force")
	}
	// Two that own the same are refused, whoever comes second.
	helper.put(a.bundle("one", 3, nil))
	p.untilCause("helper is not in force (roots)")
}

func TestStartRefusesABrokenPolicyThatIsHere(t *testing.T) {
	a := newAuthor(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "b.tar.gz")
	c := a.settings(t, config.Bundle{Name: "here", Source: path})
	broken := a.bundle("one", 2, map[string]string{"assay/rules/one/x.rego": "package assay.rules.one\n\nx if nobody.there\n"})
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := begin(t, c); err == nil || !strings.Contains(err.Error(), "x.rego:3") {
		t.Fatalf("it starts, or does not say where the fault is: %v", err)
	}
	// With a good one kept, it starts with that and tells.
	if err := os.WriteFile(path, a.bundle("one", 1, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	p := mustBegin(t, c)
	first := p.revision()
	p.stop()
	if err := os.WriteFile(path, broken, 0o600); err != nil {
		t.Fatal(err)
	}
	p = mustBegin(t, c)
	if p.revision() != first {
		t.Error("the kept bundle is not in force")
	}
	p.untilCause("here is not in force (compile); the last good one stays in force")
}

func TestReplacedLibrary(t *testing.T) {
	a := newAuthor(t)
	whole := a.bundle("one", 1, map[string]string{
		".manifest":           `{"roots": [""]}`,
		"assay/decision.rego": "package assay\n\n# METADATA\n# entrypoint: true\ndecision := {\"allow\": false, \"reasons\": set(), \"claims\": set(), \"obligations\": {}, \"cache_for_seconds\": 0}\n",
	})
	s := newSite(t, whole)
	c := a.settings(t, config.Bundle{Name: "own", Source: s.URL})
	mustBegin(t, c).untilCause("own is not in force (roots)")
	c.ReplaceLibrary, c.StateDir = true, t.TempDir()
	mustBegin(t, c).untilSound()
}
