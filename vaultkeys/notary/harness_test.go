package notary_test

import (
	"context"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/notary"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// vault is a real Vault, reached as the notary, with what a test wants between.
type vault struct {
	*transit.Client
	root *transit.Client
	// made says when a version of the key for pseudonyms was made, in place of Vault's own clock.
	made map[int]time.Time
	// fail is what every request answers; nil: Vault answers.
	fail  error
	calls int
	// spoil changes a signature before anybody sees it.
	spoil func([]byte)
}

func newVault(t *testing.T) *vault {
	t.Helper()
	server, mount := vaulttest.Shared(t), vaulttest.Mount(t)
	client := func(auth transit.Auth) *transit.Client {
		c, err := transit.New(transit.Config{Address: server.Address, Mount: mount, Auth: auth, Timeout: 20 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	v := &vault{root: client(transit.StaticToken(server.RootToken))}
	desired := transit.Desired{Prefix: mount + "-", AppRoleMount: mount, Keys: []transit.DesiredKey{
		{Name: "checkpoint", Type: "ed25519", Versions: 1},
		{Name: "pseudonyms", Type: transit.PseudonymKeyType, Pseudonyms: true, Versions: 1},
	}, Roles: []transit.DesiredRole{{Role: transit.Notary, Keys: []string{"checkpoint", "pseudonyms"}}}}
	plan, err := v.root.Plan(t.Context(), desired)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.root.Apply(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	made, err := v.root.Issue(t.Context(), desired, transit.Notary)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := vaulttest.Root(t, server, "").Logical().Write("auth/"+mount+"/login", map[string]any{"role_id": made.RoleID, "secret_id": made.SecretID})
	if err != nil {
		t.Fatal(err)
	}
	v.Client = client(transit.StaticToken(secret.Auth.ClientToken))
	return v
}

func (v *vault) ReadKey(ctx context.Context, name string) (vaultkeys.Record, error) {
	v.calls++
	if v.fail != nil {
		return vaultkeys.Record{}, v.fail
	}
	return v.Client.ReadKey(ctx, name)
}

func (v *vault) ReadVersions(ctx context.Context, name string) (vaultkeys.Record, error) {
	v.calls++
	if v.fail != nil {
		return vaultkeys.Record{}, v.fail
	}
	record, err := v.Client.ReadVersions(ctx, name)
	for i := range record.Versions {
		if at, ok := v.made[record.Versions[i].Number]; ok {
			record.Versions[i].Created = at
		}
	}
	return record, err
}

func (v *vault) Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error) {
	made, err := v.Client.Sign(ctx, key, version, alg, inputs)
	if err == nil && v.spoil != nil {
		v.spoil(made[0])
	}
	return made, err
}

func (v *vault) rotate(t *testing.T, key string, from int) {
	t.Helper()
	if err := v.root.Rotate(t.Context(), key, from); err != nil {
		t.Fatal(err)
	}
}

// clock is one that a test moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

var _ notary.Vault = (*vault)(nil)
