package transit_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// everything desires one key of each use and all roles.
func everything(d transit.Desired) transit.Desired {
	d.Keys = []transit.DesiredKey{
		{Name: "access", Type: "ecdsa-p256"},
		{Name: "legacy", Type: "rsa-2048", Algorithm: "PS256"},
		{Name: "jwe", Type: "rsa-2048", Decrypts: true, Versions: 1},
		{Name: "checkpoint", Type: "ed25519", Versions: 1},
		{Name: "pseudonyms", Type: transit.PseudonymKeyType, Pseudonyms: true, Versions: 1},
		{Name: "bundle", Type: "ecdsa-p384", Versions: 1},
	}
	d.Roles = []transit.DesiredRole{
		{Role: transit.Decider, Keys: []string{"access", "legacy", "jwe"}},
		{Role: transit.Issuer, Keys: []string{"access", "legacy"}},
		{Role: transit.Custodian, Keys: []string{"access", "legacy", "jwe"}},
		{Role: transit.Notary, Keys: []string{"checkpoint", "pseudonyms"}},
		{Role: transit.Publisher, Keys: []string{"bundle"}},
	}
	return d
}

func TestProvisioningIsIdempotent(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = everything(f.desired)
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil {
		t.Fatal(err)
	}
	// 1 mount, 6 keys, 2 second versions, 5 policies, 1 auth method, 5 AppRoles.
	if len(plan.Changes) != 20 || len(plan.Findings) != 0 {
		t.Fatalf("%d changes and %d findings, want 20 and 0: %+v", len(plan.Changes), len(plan.Findings), plan)
	}
	// Planning alone has changed nothing.
	if again, err := f.root.Plan(t.Context(), f.desired); err != nil || len(again.Changes) != len(plan.Changes) {
		t.Fatalf("a second plan has %d changes, error %v", len(again.Changes), err)
	}
	var told []string
	if err := f.root.Apply(t.Context(), plan, func(c transit.Change) { told = append(told, c.Path) }); err != nil {
		t.Fatal(err)
	}
	if len(told) != len(plan.Changes) {
		t.Fatalf("told of %d changes, want %d", len(told), len(plan.Changes))
	}
	after, err := f.root.Plan(t.Context(), f.desired)
	if err != nil || len(after.Changes) != 0 || len(after.Findings) != 0 {
		t.Fatalf("after applying there is left %+v, error %v", after, err)
	}
	// The plan made before, applied once more, makes no third version.
	if err := f.root.Apply(t.Context(), transit.Plan{Changes: slices.DeleteFunc(plan.Changes, func(c transit.Change) bool {
		return c.Action != "rotate"
	})}, nil); err != nil {
		t.Fatal(err)
	}
	record, err := f.root.ReadKey(t.Context(), "access")
	if err != nil || record.Latest != 2 || len(record.Versions) != 2 {
		t.Fatalf("%+v, %v: want two versions", record, err)
	}
	if err := record.Check(); err != nil {
		t.Fatal(err)
	}
}

func TestDriftIsReportedAndLeftAlone(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.write("sys/mounts/"+f.mount, map[string]any{"type": "transit"})
	f.write(f.mount+"/keys/access", map[string]any{"type": "ecdsa-p256", "exportable": true, "auto_rotate_period": "24h"})
	f.write(f.mount+"/keys/access/config", map[string]any{"deletion_allowed": true, "allow_plaintext_backup": true})
	f.desired.Keys = []transit.DesiredKey{{Name: "access", Type: "ecdsa-p256", Versions: 1}}
	f.desired.NoAppRoles = true
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Changes) != 0 || len(plan.Findings) != 4 || len(plan.Blocked()) != 0 {
		t.Fatalf("want four findings that do not block and no change: %+v", plan)
	}
	for i, want := range []string{"exportable", "plain text", "deleted", "by Vault itself"} {
		if !strings.Contains(plan.Findings[i].Problem, want) {
			t.Errorf("finding %d is %q, want %q", i, plan.Findings[i].Problem, want)
		}
	}
	if err := f.root.Apply(t.Context(), plan, nil); err != nil {
		t.Fatal(err)
	}
	record, err := f.root.ReadKey(t.Context(), "access")
	if err != nil || !record.Exportable || !record.DeletionAllowed || !record.AllowPlaintextBackup {
		t.Fatalf("%+v, %v: the settings were touched or not read", record, err)
	}
}

func TestKeyOfAnotherTypeBlocks(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.write("sys/mounts/"+f.mount, map[string]any{"type": "transit"})
	f.desired.Keys = []transit.DesiredKey{{Name: "access", Type: "ecdsa-p256"}}
	before, err := f.root.Plan(t.Context(), f.desired)
	if err != nil {
		t.Fatal(err)
	}
	f.write(f.mount+"/keys/access", map[string]any{"type": "ed25519"})
	// The plan is from before somebody made the key: creating it succeeds at Vault, and does nothing.
	if err := f.root.Apply(t.Context(), before, nil); !errors.Is(err, transit.ErrBlocked) {
		t.Fatalf("error %v, want ErrBlocked", err)
	}
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil || len(plan.Blocked()) != 1 {
		t.Fatalf("%+v, %v: want one blocking finding", plan, err)
	}
	if err := f.root.Apply(t.Context(), plan, nil); !errors.Is(err, transit.ErrBlocked) {
		t.Fatalf("error %v, want ErrBlocked", err)
	}
}

func TestChangedPolicyAndRoleAreRepaired(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = everything(f.desired)
	f.provision()
	f.write("sys/policies/acl/"+f.desired.Prefix+"issuer", map[string]any{"policy": `path "*" { capabilities = ["sudo"] }`})
	f.write("auth/"+f.mount+"/role/"+f.desired.Prefix+"decider", map[string]any{"token_ttl": "100h", "token_max_ttl": "200h"})
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Changes) != 2 || plan.Changes[0].Action != "update" || !strings.Contains(plan.Changes[1].Summary, "token_max_ttl, token_ttl") {
		t.Fatalf("want the policy and the AppRole updated: %+v", plan.Changes)
	}
	f.provision()
	if plan, err = f.root.Plan(t.Context(), f.desired); err != nil || len(plan.Changes) != 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
}

func TestDesiredIsChecked(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	tests := []struct {
		name string
		d    transit.Desired
		want string
	}{
		{"type that cannot sign", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "aes256-gcm96"}}}, "cannot sign"},
		{"algorithm of another type", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "ed25519", Algorithm: "ES256"}}}, "cannot sign ES256"},
		{"key for pseudonyms that signs", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "ed25519", Pseudonyms: true}}}, "is of type aes256-gcm96"},
		{"key for pseudonyms that is rotated too often", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: transit.PseudonymKeyType, Pseudonyms: true, AutoRotate: time.Minute}}}, "at least an hour"},
		{"decider with the key for pseudonyms", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: transit.PseudonymKeyType, Pseudonyms: true}},
			Roles: []transit.DesiredRole{{Role: transit.Decider, Keys: []string{"a"}}}}, "the notary's"},
		{"name with a glob", transit.Desired{Keys: []transit.DesiredKey{{Name: "a*", Type: "ed25519"}}}, "use letters"},
		{"name with a slash", transit.Desired{Keys: []transit.DesiredKey{{Name: "a/b", Type: "ed25519"}}}, "use letters"},
		{"the same key twice", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "ed25519"}, {Name: "a", Type: "ed25519"}}}, "twice"},
		{"unknown role", transit.Desired{Roles: []transit.DesiredRole{{Role: "root"}}}, "must be one of"},
		{"unknown key", transit.Desired{Roles: []transit.DesiredRole{{Role: transit.Issuer, Keys: []string{"a"}}}}, "not among the keys"},
		{"issuer with a key that decrypts", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "rsa-2048", Decrypts: true}},
			Roles: []transit.DesiredRole{{Role: transit.Issuer, Keys: []string{"a"}}}}, "does not sign"},
		{"elliptic key that decrypts", transit.Desired{Keys: []transit.DesiredKey{{Name: "a", Type: "ecdsa-p256", Decrypts: true}}}, "RSA"},
		{"prefix that leaves the path", transit.Desired{Prefix: "../"}, "use letters"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := f.root.Plan(t.Context(), test.d); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("plan: error %v, want %q", err, test.want)
			}
			if _, err := test.d.Policies("transit"); err == nil {
				t.Error("policies were rendered")
			}
		})
	}
}

func TestAKeyForPseudonymsIsRotatedByVault(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = transit.Desired{NoAppRoles: true, Keys: []transit.DesiredKey{{Name: "made", Type: transit.PseudonymKeyType, Pseudonyms: true, Versions: 1}}}
	f.provision()
	record, err := f.root.ReadVersions(t.Context(), "made")
	if err != nil || record.AutoRotatePeriod != transit.DefaultPseudonymRotation || record.Exportable || len(record.Versions) != 1 {
		t.Fatalf("%+v, %v", record, err)
	}
	f.write(f.mount+"/keys/still", map[string]any{"type": transit.PseudonymKeyType})
	f.desired.Keys[0].Name = "still"
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil || len(plan.Changes) != 0 || len(plan.Findings) != 1 || !strings.Contains(plan.Findings[0].Problem, "periods share a version") {
		t.Fatalf("%+v, %v: want a finding that it is not rotated", plan, err)
	}
}
