package transit_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// fixture is a mount and an AppRole method of a test's own on a Vault.
type fixture struct {
	*testing.T
	server  *realvault.Server
	raw     *api.Client     // root
	root    *transit.Client // root
	mount   string
	desired transit.Desired
}

func newFixture(t *testing.T, server *realvault.Server) *fixture {
	t.Helper()
	name := vaulttest.Mount(t)
	f := &fixture{T: t, server: server, raw: vaulttest.Root(t, server, ""), mount: name}
	f.desired = transit.Desired{Prefix: name + "-", AppRoleMount: name}
	f.root = f.client(server.Address, transit.StaticToken(server.RootToken))
	return f
}

// client makes a client; its mount and its short pauses are the fixture's.
func (f *fixture) client(address string, auth transit.Auth, options ...func(*transit.Config)) *transit.Client {
	f.Helper()
	config := transit.Config{
		Address: address, Mount: f.mount, Auth: auth, Timeout: 20 * time.Second,
		LoginBackoff: 10 * time.Millisecond, MaxLoginBackoff: 50 * time.Millisecond, BreakerOpen: 50 * time.Millisecond,
	}
	for _, option := range options {
		option(&config)
	}
	client, err := transit.New(config)
	if err != nil {
		f.Fatal(err)
	}
	return client
}

// provision makes Vault hold what is desired.
func (f *fixture) provision() {
	f.Helper()
	plan, err := f.root.Plan(f.Context(), f.desired)
	if err != nil {
		f.Fatal(err)
	}
	if err := f.root.Apply(f.Context(), plan, nil); err != nil {
		f.Fatal(err)
	}
}

// write writes as root, beside the client.
func (f *fixture) write(path string, body map[string]any) *api.Secret {
	f.Helper()
	secret, err := f.raw.Logical().Write(path, body)
	if err != nil {
		f.Fatal(err)
	}
	return secret
}
