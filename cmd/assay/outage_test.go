package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// world is Assay, whole, on a real Vault with a fault injector between them.
type world struct {
	t      *testing.T
	server *realvault.Server
	proxy  *realvault.Proxy
	root   *api.Client // past the proxy
	config *config.Config
	change func(string) string // of the configuration file
	app    *serve.App
	base   string       // of Assay's HTTP API
	ahead  atomic.Int64 // how far Assay's clock is ahead, in nanoseconds
	caller string       // a bearer token of a caller that may have tokens issued
	away   bool         // the test keeps Vault from answering: to be asked to come back is an answer, then
}

// newWorld starts everything. The JWKS poll is short, so that changes are soon seen.
func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(config string) string { return config })
}

// newWorldWith is newWorld with another configuration file.
func newWorldWith(t *testing.T, change func(config string) string) *world {
	t.Helper()
	w := &world{t: t, change: change, server: vaulttest.Start(t, vaulttest.FileStorage)}
	w.proxy = vaulttest.Proxy(t, w.server)
	w.root = vaulttest.Root(t, w.server, "")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.base = "http://" + listener.Addr().String()
	w.config = w.configure(listener.Addr().String())
	w.app = w.start(listener)
	order := httpapi.TokenOrder{Issuer: w.base, TokenType: pdp.AccessToken, Subject: "tester", ClientID: "tester", Audience: []string{w.base}, LifetimeSeconds: 3600}
	w.eventually("issuing", func() bool {
		issued, err := w.app.Issuer.Issue(t.Context(), pdp.Caller{}, order)
		if _, away := errors.AsType[*httpapi.UnavailableError](err); err != nil && !away {
			t.Fatal(err)
		}
		w.caller = issued.Token
		return err == nil
	})
	return w
}

func (w *world) configure(listen string) *config.Config {
	text := strings.Replace(fmt.Sprintf(devTemplate, listen, w.proxy.Address), "subject: developer", "subject: tester", 1)
	text = strings.Replace(text, "vault:\n", "vault:\n  poll: 1s\n  max_stale: 1h\n", 1)
	text = strings.Replace(text, "\nrevocation:\n", "\nrevocation:\n  max_age: 1h\n", 1) // which a busy machine's heartbeats keep
	path := filepath.Join(w.t.TempDir(), "assay.yaml")
	if err := os.WriteFile(path, []byte(w.change(text)), 0o600); err != nil {
		w.t.Fatal(err)
	}
	c, err := config.Read(path)
	if err != nil {
		w.t.Fatal(err)
	}
	// One evaluation that takes longer than the default's second is a deny, policy.failed, and on a busy machine no news
	// about Vault or tokens. So is a request that takes longer than the default's five.
	c.Policy.Timeout, c.Limits.RequestTimeout = config.Duration(20*time.Second), config.Duration(time.Minute)
	client, err := serve.NewClientWith(c, transit.StaticToken(w.server.RootToken), serve.Deps{Now: time.Now, Log: slog.New(slog.DiscardHandler)}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := setup(w.t.Context(), io.Discard, c, client, setupOptions{}, "text"); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) start(listener net.Listener) *serve.App {
	log := slog.New(slog.NewTextHandler(newTestLog(w.t), &slog.HandlerOptions{Level: slog.LevelWarn}))
	app, err := serve.New(w.t.Context(), w.config, serve.Deps{
		Now: func() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }, Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	serving(w.t, app, listener)
	w.eventually("ready", func() bool { status, _ := w.ready(); return status == http.StatusOK })
	return app
}

// serving has an App serve until the test ends, or until it is told to stop, which waits until it has.
func serving(t *testing.T, app *serve.App, listener net.Listener) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, listener) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// testLog sends log lines to the test's own log, which a cleanup may still use, and drops what comes later.
type testLog struct {
	mu sync.Mutex
	t  *testing.T // guarded by mu; nil after the test
}

func newTestLog(t *testing.T) *testLog {
	l := &testLog{t: t}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.t = nil
	})
	return l
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.t != nil {
		l.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// answer is what an HTTP request brought.
type answer struct {
	status     int
	retryAfter string
	body       map[string]any
	took       time.Duration
}

// post asks; while Vault is well, again where it takes Vault too long.
func (w *world) post(path string, body any) answer {
	w.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		if a := w.postOnce(path, body); a.status != http.StatusServiceUnavailable || w.away || time.Now().After(deadline) {
			return a
		}
	}
}

func (w *world) postOnce(path string, body any) answer {
	w.t.Helper()
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.base+path, bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if path == "/tokens" {
		request.Header.Set("Authorization", "Bearer "+w.caller)
	}
	return w.do(request)
}

func (w *world) do(request *http.Request) answer {
	w.t.Helper()
	began := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	a := answer{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After"), took: time.Since(began)}
	if err := json.NewDecoder(response.Body).Decode(&a.body); err != nil {
		w.t.Fatalf("%s: %v", request.URL.Path, err)
	}
	return a
}

func (w *world) ready() (int, string) {
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+"/readyz", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	a := w.do(request)
	return a.status, fmt.Sprint(a.body["status"], a.body["causes"])
}

var orders = map[string]any{"subject": "alice", "client_id": "web", "audience": []string{"orders"}, "scope": "read"}

func (w *world) issue() answer { return w.post("/tokens", orders) }

// token has a token issued and gives it.
func (w *world) token() string {
	w.t.Helper()
	a := w.issue()
	token, ok := a.body["token"].(string)
	if !ok {
		w.t.Fatalf("issuing: %d %v", a.status, a.body)
	}
	return token
}

func (w *world) decide(token string) answer {
	return w.post("/decide", map[string]any{"token": token, "request": map[string]any{"audience": "orders"}})
}

func (w *world) allowed(token string) bool {
	a := w.decide(token)
	if a.status != http.StatusOK {
		w.t.Fatalf("/decide: %d %v", a.status, a.body)
	}
	return a.body["allow"] == true
}

// eventually waits for a condition, and says which one did not come.
func (w *world) eventually(what string, condition func() bool) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			w.t.Fatalf("after %s: not %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond) // between looks at a condition
	}
}

// atOnce tells whether an answer did not wait for Vault, whose time-outs are seconds. A busy machine answers what waits for
// nothing late, too.
func (w *world) atOnce(a answer) bool {
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.base+"/.well-known/jwks.json", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	return a.took < 500*time.Millisecond+10*w.do(request).took
}

// outages are the ways in which Vault is away.
var outages = []struct {
	name       string
	begin, end func(*world) error
}{
	{
		"sealed",
		func(w *world) error { return w.server.Seal(w.t.Context()) },
		func(w *world) error { return w.server.Unseal(w.t.Context()) },
	},
	{
		"killed and restarted",
		func(w *world) error { w.server.Kill(); return nil },
		func(w *world) error { return w.server.Restart(w.t.Context()) },
	},
	{
		"silent",
		func(w *world) error { w.proxy.Set(realvault.Fault{BlackHole: true}); return nil },
		func(w *world) error { w.proxy.Set(realvault.Fault{}); return nil },
	},
	{
		"slow",
		func(w *world) error { w.proxy.Set(realvault.Fault{Latency: time.Minute}); return nil },
		func(w *world) error { w.proxy.Set(realvault.Fault{}); return nil },
	},
	{
		"answering 500",
		func(w *world) error { w.proxy.Set(realvault.Fault{Status: 503}); return nil },
		func(w *world) error { w.proxy.Set(realvault.Fault{}); return nil },
	},
}

// The row of the failure table about Vault, whatever is wrong with it: decisions go on with the public keys
// last read, for tokens seen before and new ones; issuing answers 503 with Retry-After, at once after the
// first few; readiness is 200, degraded, with the cause; and when Vault is back nothing needs a restart.
func TestVaultOutages(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			seen, unseen := w.token(), w.token()
			if !w.allowed(seen) {
				t.Fatal("a good token is denied while all is well")
			}
			w.away = true
			if err := outage.begin(w); err != nil {
				t.Fatal(err)
			}
			w.eventually("degraded", func() bool { _, text := w.ready(); return strings.HasPrefix(text, "degraded") })
			if status, text := w.ready(); status != http.StatusOK || !strings.Contains(text, "vault") {
				t.Errorf("readiness: %d %s; want 200, degraded, naming vault", status, text)
			}
			if !w.allowed(seen) || !w.allowed(unseen) {
				t.Error("a good token is denied while Vault is away")
			}
			w.eventually("refusing to issue at once", func() bool {
				a := w.issue()
				if a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
					t.Fatalf("issuing while Vault is away: %d, Retry-After %q, %v", a.status, a.retryAfter, a.body)
				}
				return w.atOnce(a)
			})
			if err := outage.end(w); err != nil {
				t.Fatal(err)
			}
			w.eventually("issuing again", func() bool { return w.issue().status < 300 })
			w.eventually("ready again", func() bool { _, text := w.ready(); return strings.HasPrefix(text, "ok") })
			w.away = false
			if !w.allowed(w.token()) {
				t.Error("a token issued after the outage is denied")
			}
		})
	}
}

// Vault's admin revokes every login that Assay has; it logs in anew without a restart.
func TestVaultLoginsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if _, err := w.root.Logical().WriteWithContext(t.Context(), "sys/leases/revoke-prefix/auth/approle", nil); err != nil {
		t.Fatal(err)
	}
	w.eventually("issuing with a new login", func() bool { return w.issue().status < 300 })
	w.eventually("ready", func() bool { _, text := w.ready(); return strings.HasPrefix(text, "ok") })
}

// Past max_stale the keys last read are no longer believed: tokens are denied key_unknown, and Assay says
// that it cannot decide, since these were the only keys it had.
func TestVaultKeysAreNotBelievedForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token()
	if err := w.proxy.Refuse(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(10 * time.Minute))
	if !w.allowed(token) {
		t.Fatal("a good token is denied before max_stale")
	}
	w.ahead.Store(int64(61 * time.Minute)) // max_stale is 1 h
	w.eventually("denied for want of keys", func() bool {
		a := w.decide(token)
		return strings.Contains(fmt.Sprint(a.body["reasons"]), "signature.key_unknown")
	})
	w.eventually("not ready", func() bool { status, _ := w.ready(); return status == http.StatusServiceUnavailable })
	w.ahead.Store(0)
	if err := w.proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	w.eventually("allowed again", func() bool { return w.allowed(token) })
}
