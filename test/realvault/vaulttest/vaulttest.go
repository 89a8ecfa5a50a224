// Package vaulttest gives tests a real Vault in one line. Start gives a server of the test's own, Shared
// one for all tests of a program, of which each takes a mount of its own name (Mount).
package vaulttest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/test/realvault"
)

// startTimeout bounds a launch, not a build.
const startTimeout = 3 * time.Minute

// Option changes how Start launches the server.
type Option func(testing.TB, *realvault.Options)

// FileStorage keeps the data in the test's temporary directory, so that the server can be killed and
// started again.
func FileStorage(t testing.TB, o *realvault.Options) { o.Dir = t.TempDir() }

// Start launches a server that stops with the test.
func Start(t testing.TB, options ...Option) *realvault.Server {
	t.Helper()
	o := realvault.Options{Binary: binary(t)}
	for _, option := range options {
		option(t, &o)
	}
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := realvault.Launch(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// shared is the one server of this test program. It ends when the program does.
var shared = sync.OnceValues(func() (*realvault.Server, error) {
	path, err := realvault.Build(context.Background(), os.Stderr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return realvault.Launch(ctx, realvault.Options{Binary: path})
})

// Shared answers a server in memory that all tests of the program share. Do not seal or stop it.
func Shared(t testing.TB) *realvault.Server {
	t.Helper()
	s, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var mounts atomic.Int64

// Mount answers a name for a mount, a role or a policy that no other test of this program uses.
func Mount(t testing.TB) string {
	t.Helper()
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(t.Name()))
	if len(name) > 40 {
		name = name[:40]
	}
	return fmt.Sprintf("%s-%d", strings.Trim(name, "-"), mounts.Add(1))
}

// Root answers Vault's own API client with the root token of the server, in whatever address it is
// reached by (a Proxy's, say; empty: its own).
func Root(t testing.TB, s *realvault.Server, address string) *api.Client {
	t.Helper()
	if address == "" {
		address = s.Address
	}
	config := api.DefaultConfig()
	if config.Error != nil {
		t.Fatal(config.Error)
	}
	config.Address, config.MaxRetries = address, 0
	client, err := api.NewClient(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := client.SetAddress(address); err != nil { // over VAULT_ADDR
		t.Fatal(err)
	}
	client.ClearNamespace()
	client.SetToken(s.RootToken)
	return client
}

// Proxy puts a fault-injecting proxy in front of a server for the time of the test.
func Proxy(t testing.TB, s *realvault.Server) *realvault.Proxy {
	t.Helper()
	p, err := realvault.NewProxy(s.Address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func binary(t testing.TB) string {
	t.Helper()
	path, err := realvault.Build(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
