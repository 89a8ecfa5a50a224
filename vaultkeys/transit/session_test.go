package transit_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// eventually waits for a condition; what follows after that long counts as never.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatal("never: ", what)
		case <-tick.C:
		}
	}
}

// issuerOf provisions one key and answers how its issuer logs in.
func issuerOf(f *fixture) transit.AppRole {
	f.Helper()
	f.desired.Keys = []transit.DesiredKey{{Name: "access", Type: "ecdsa-p256"}}
	if len(f.desired.Roles) == 0 {
		f.desired.Roles = []transit.DesiredRole{{Role: transit.Issuer, Keys: []string{"access"}}}
	}
	f.provision()
	return f.appRole(transit.Issuer)
}

func sign(ctx context.Context, c *transit.Client) error {
	_, err := c.Sign(ctx, "access", 1, "ES256", [][]byte{[]byte("a.b")})
	return err
}

// run keeps a client logged in for the time of the test.
func run(t *testing.T, c *transit.Client) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

func (f *fixture) copyFile(from, to string) {
	f.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		f.Fatal(err)
	}
	f.writeFile(to, string(data))
}

// accessors counts the tokens that Vault knows of the fixture's AppRole method.
func (f *fixture) accessors() int {
	f.Helper()
	list, err := f.raw.Logical().List("sys/leases/lookup/auth/" + f.mount + "/login")
	if err != nil {
		f.Fatal(err)
	}
	if list == nil {
		return 0
	}
	return len(list.Data["keys"].([]any))
}

// revokeAll revokes every token of the fixture's AppRole method, as an operator would.
func (f *fixture) revokeAll() {
	f.Helper()
	f.write("sys/leases/revoke-prefix/auth/"+f.mount+"/login", nil)
}

func TestOneLoginServesAllWhoMeetARevokedToken(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth)
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	f.revokeAll()
	var wait sync.WaitGroup
	for range 20 {
		wait.Go(func() {
			if err := sign(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if n := proxy.Count("auth/" + f.mount + "/login"); n != 2 {
		t.Fatalf("%d logins, want 2: one at first and one for all after the revocation", n)
	}
	f.revokeAll()
	eventually(t, "signs after a second revocation", func() bool { return sign(t.Context(), c) == nil })
}

// A token is renewed, and replaced by another, before it is dead. A busy machine may be late by more than is left of a short
// life; a client that is late by itself is so at every length.
func TestRenewedThenLoggedInAnew(t *testing.T) {
	for ttl := 2 * time.Second; ; ttl *= 2 {
		dead, err := livesThrough(t, ttl)
		switch {
		case dead == 0 && err == nil:
			return
		case ttl > 10*time.Second:
			t.Fatalf("a dead token was used %d times: it was not replaced in time; %v", dead, err)
		}
		t.Logf("with tokens that live %s a dead one was used %d times; %v", ttl, dead, err)
	}
}

// livesThrough asks for signatures all the time, across renewals and the ends of two tokens' lives. It answers how often a
// dead token was used, and the first error of a signature.
func livesThrough(t *testing.T, ttl time.Duration) (dead int, failed error) {
	t.Helper()
	f := newFixture(t, vaulttest.Shared(t))
	f.desired.Roles = []transit.DesiredRole{{Role: transit.Issuer, Keys: []string{"access"}, TokenTTL: ttl, TokenMaxTTL: 2 * ttl}}
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth)
	run(t, c)
	eventually(t, "has renewed and logged in three times", func() bool {
		if err := sign(t.Context(), c); err != nil && failed == nil {
			failed = err
		}
		return proxy.Count("auth/"+f.mount+"/login") >= 3 && proxy.Count("auth/token/renew-self") >= 3
	})
	return proxy.Count("auth/token/lookup-self"), failed
}

func TestDeniedIsNotLoggedOut(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth)
	for range 5 {
		if _, err := c.ReadKey(t.Context(), "access"); !errors.Is(err, transit.ErrDenied) || errors.Is(err, transit.ErrUnavailable) {
			t.Fatalf("error %v, want ErrDenied", err)
		}
	}
	if n := proxy.Count("auth/" + f.mount + "/login"); n != 1 {
		t.Fatalf("%d logins, want 1: another would not help", n)
	}
}

func TestLoginThatFailsIsNotHammered(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	good := f.appRole(transit.Issuer)
	f.writeFile(auth.SecretIDFile, "8a5e8b7c-0000-0000-0000-000000000000")
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth, func(c *transit.Config) { c.LoginBackoff, c.MaxLoginBackoff = time.Hour, time.Hour })
	for range 20 {
		err := sign(t.Context(), c)
		var unavailable *transit.UnavailableError
		if !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 || unavailable.RetryAfter > time.Hour {
			t.Fatalf("error %v, want an UnavailableError that says when", err)
		}
	}
	if n := proxy.Count("auth/" + f.mount + "/login"); n != 1 {
		t.Fatalf("%d logins, want 1", n)
	}
	if status := c.Status(); status.LoggedIn || !status.Reachable || status.Cause == "" {
		t.Fatalf("%+v", status)
	}
	// With credentials that are put right, a client that may try again does so without a restart.
	c = f.client(proxy.Address, auth)
	if err := sign(t.Context(), c); !errors.Is(err, transit.ErrUnavailable) {
		t.Fatal(err)
	}
	f.copyFile(good.SecretIDFile, auth.SecretIDFile)
	eventually(t, "signs", func() bool { return sign(t.Context(), c) == nil })
}

func TestOutages(t *testing.T) {
	server := vaulttest.Start(t, vaulttest.FileStorage)
	f := newFixture(t, server)
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, server)
	c := f.client(proxy.Address, auth, func(c *transit.Config) { c.Timeout = 500 * time.Millisecond })
	run(t, c)
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	fault := func(fault realvault.Fault) func() { return func() { proxy.Set(fault) } }
	tests := []struct {
		name        string
		begin, lift func()
	}{
		{"killed and started again", server.Kill, func() { do(server.Restart(t.Context())) }},
		{"sealed and unsealed", func() { do(server.Seal(t.Context())) }, func() { do(server.Unseal(t.Context())) }},
		{"refuses connections", func() { do(proxy.Refuse()) }, func() { do(proxy.Accept()) }},
		{"never answers", fault(realvault.Fault{BlackHole: true}), fault(realvault.Fault{})},
		{"answers too late", fault(realvault.Fault{Latency: time.Minute}), fault(realvault.Fault{})},
		{"answers 503", fault(realvault.Fault{Status: 503}), fault(realvault.Fault{})},
		{"has too many requests", fault(realvault.Fault{Status: 429}), fault(realvault.Fault{})},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			eventually(t, "signs before", func() bool { return sign(t.Context(), c) == nil })
			test.begin()
			for range transit.DefaultBreakerFailures {
				err := sign(t.Context(), c)
				var unavailable *transit.UnavailableError
				if !errors.As(err, &unavailable) || unavailable.RetryAfter <= 0 {
					t.Fatalf("error %v, want an UnavailableError that says when", err)
				}
			}
			eventually(t, "the status says so", func() bool { _ = sign(t.Context(), c); return !c.Status().Reachable })
			test.lift()
			eventually(t, "is found well with nobody asking", func() bool { return c.Status().Reachable })
			eventually(t, "signs after", func() bool { return sign(t.Context(), c) == nil })
			eventually(t, "nothing is wrong", func() bool {
				status := c.Status()
				return status.LoggedIn && status.Reachable && status.Cause == ""
			})
		})
	}
}

func TestDeadVaultFailsAtOnce(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth, func(c *transit.Config) { c.Timeout, c.BreakerOpen = 3*time.Second, time.Hour }) // longer than a busy machine takes, thrice in a row
	eventually(t, "signs", func() bool { return sign(t.Context(), c) == nil })
	proxy.Set(realvault.Fault{BlackHole: true})
	before := proxy.Count("")
	for range 100 {
		if err := sign(t.Context(), c); !errors.Is(err, transit.ErrUnavailable) {
			t.Fatal(err)
		}
	}
	if n := proxy.Count("") - before; n != transit.DefaultBreakerFailures {
		t.Fatalf("%d requests reached a dead Vault, want %d", n, transit.DefaultBreakerFailures)
	}
}

func TestNothingIsRetried(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth)
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for i, status := range []int{500, 503} {
		proxy.Set(realvault.Fault{Status: status})
		if err := sign(t.Context(), c); err == nil {
			t.Fatalf("status %d was taken for success", status)
		}
		if n := proxy.Count(f.mount + "/sign/"); n != i+2 {
			t.Fatalf("%d requests to sign, want %d", n, i+2)
		}
	}
}

func TestCallersOwnEndIsNoOutage(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, auth)
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	proxy.Set(realvault.Fault{BlackHole: true})
	for i := range 2 * transit.DefaultBreakerFailures {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- sign(ctx, c) }()
		eventually(t, "the request is under way", func() bool { return proxy.Count(f.mount+"/sign/") == i+2 })
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, transit.ErrUnavailable) {
			t.Fatalf("error %v, want that of the context", err)
		}
	}
	proxy.Set(realvault.Fault{})
	if err := sign(t.Context(), c); err != nil {
		t.Fatalf("callers that left closed Vault to others: %v", err)
	}
}

func TestTokenFile(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	issuerOf(f)
	path := filepath.Join(t.TempDir(), "token")
	token := func() string { return f.as(transit.Issuer).Token() }
	first := token()
	f.writeFile(path, first+"\n")
	proxy := vaulttest.Proxy(t, f.server)
	c := f.client(proxy.Address, transit.TokenFile{Path: path}, func(c *transit.Config) { c.TokenFilePoll = 5 * time.Millisecond })
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	// Revoked, and nothing new in the file: an outage that says what to do, not a storm.
	f.revokeAll()
	if err := sign(t.Context(), c); !errors.Is(err, transit.ErrUnavailable) || errors.Is(err, transit.ErrDenied) {
		t.Fatalf("error %v, want ErrUnavailable alone", err)
	}
	f.writeFile(path, token())
	eventually(t, "takes the new token", func() bool { return sign(t.Context(), c) == nil })
	// While Run runs, a change is enough: nothing needs to fail first.
	run(t, c)
	looked := proxy.Count("auth/token/lookup-self")
	f.writeFile(path, token())
	eventually(t, "looks at the new token", func() bool { return proxy.Count("auth/token/lookup-self") > looked })
	f.writeFile(path, "")
	if err := sign(t.Context(), c); err != nil {
		t.Fatalf("an emptied file ended a session that works: %v", err)
	}
}

func TestATokenForOneCommandThatVaultRefusesIsNoOutage(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	issuerOf(f)
	c := f.client(f.server.Address, transit.StaticToken("hvs.of-another-vault"))
	for range 3 {
		err := sign(t.Context(), c)
		if !errors.Is(err, transit.ErrDenied) || errors.Is(err, transit.ErrUnavailable) {
			t.Fatalf("error %v, want that Vault refuses the token", err)
		}
	}
}

func TestCredentialThatCannotBeReadIsNotVaultsFault(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	secret := auth.SecretIDFile
	auth.SecretIDFile = filepath.Join(t.TempDir(), "later")
	c := f.client(f.server.Address, auth)
	for range 2 * transit.DefaultBreakerFailures {
		eventually(t, "names the file", func() bool {
			err := sign(t.Context(), c)
			return errors.Is(err, transit.ErrUnavailable) && errors.Is(err, os.ErrNotExist)
		})
	}
	if !c.Status().Reachable {
		t.Fatal("the breaker opened")
	}
	f.copyFile(secret, auth.SecretIDFile)
	eventually(t, "logs in", func() bool { return sign(t.Context(), c) == nil })
}

func TestCloseRevokesTheToken(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	c := f.client(f.server.Address, auth)
	if err := sign(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	before := f.accessors()
	if err := c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := f.accessors(); after != before-1 {
		t.Fatalf("%d tokens before, %d after", before, after)
	}
}

func TestEnvironmentIsNotRead(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	proxy := vaulttest.Proxy(t, f.server)
	for name, value := range map[string]string{
		"VAULT_ADDR": "http://192.0.2.1:1", "VAULT_AGENT_ADDR": "http://192.0.2.1:1", "VAULT_PROXY_ADDR": "http://192.0.2.1:1",
		"VAULT_HTTP_PROXY": "http://192.0.2.1:1", "HTTP_PROXY": "http://192.0.2.1:1", "VAULT_TOKEN": "hvs.wrong",
		"VAULT_NAMESPACE": "elsewhere", "VAULT_MAX_RETRIES": "9", "VAULT_HEADERS": `{"X-Other":"1"}`, "VAULT_RATE_LIMIT": "0.001:1",
		"VAULT_CLIENT_TIMEOUT": "1ms", "VAULT_WRAP_TTL": "60",
	} {
		t.Setenv(name, value)
	}
	c := f.client(proxy.Address, auth)
	for range 3 {
		if err := sign(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	if n := proxy.Count(f.mount + "/sign/"); n != 3 {
		t.Fatalf("%d requests came, want 3", n)
	}
}
