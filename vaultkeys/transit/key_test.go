package transit_test

import (
	"errors"
	"testing"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

func TestReadKeyOfEveryType(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	types := []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048"}
	for _, kind := range types {
		f.desired.Keys = append(f.desired.Keys, transit.DesiredKey{Name: "key-" + kind, Type: kind})
	}
	f.provision()
	for _, kind := range types {
		t.Run(kind, func(t *testing.T) {
			r, err := f.root.ReadKey(t.Context(), "key-"+kind)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Check(); err != nil {
				t.Fatal(err)
			}
			if r.Type != kind || r.Latest != 2 || r.MinDecryptionVersion != 1 || r.MinEncryptionVersion != 0 || r.Exportable || r.DeletionAllowed || r.AllowPlaintextBackup {
				t.Fatalf("%+v", r)
			}
			if len(r.Versions) != 2 || r.Versions[0].Number != 1 || r.Versions[1].Created.Before(r.Versions[0].Created) {
				t.Fatalf("%+v", r.Versions)
			}
		})
	}
}

func TestReadKeyFollowsTheMinimumVersions(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired.Keys = []transit.DesiredKey{{Name: "access", Type: "ed25519", Versions: 12}}
	f.provision()
	f.write(f.mount+"/keys/access/config", map[string]any{"min_decryption_version": 9, "min_encryption_version": 11})
	r, err := f.root.ReadKey(t.Context(), "access")
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for _, v := range r.Versions {
		numbers = append(numbers, v.Number)
	}
	if len(numbers) != 4 || numbers[0] != 9 || numbers[3] != 12 || r.MinDecryptionVersion != 9 || r.MinEncryptionVersion != 11 {
		t.Fatalf("versions %v of %+v; want 9 to 12, by number and not by text", numbers, r)
	}
	// What is usable counts for the next plan, not what ever was.
	plan, err := f.root.Plan(t.Context(), f.desired)
	if err != nil || len(plan.Changes) != 8 {
		t.Fatalf("%d changes, error %v; want 8 rotations for 12 usable versions", len(plan.Changes), err)
	}
}

func TestReadKeyRefuses(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.provisionMount()
	f.write(f.mount+"/keys/aes", map[string]any{"type": "aes256-gcm96"})
	f.write(f.mount+"/keys/derived", map[string]any{"type": "ed25519", "derived": true})
	if _, err := f.root.ReadKey(t.Context(), "absent"); !errors.Is(err, transit.ErrNotFound) {
		t.Errorf("absent: error %v, want ErrNotFound", err)
	}
	for _, name := range []string{"aes", "derived", "../mounts", ""} {
		if r, err := f.root.ReadKey(t.Context(), name); err == nil {
			t.Errorf("%q was read as %+v", name, r)
		}
	}
}

// provisionMount mounts the engine and nothing else.
func (f *fixture) provisionMount() {
	f.Helper()
	f.write("sys/mounts/"+f.mount, map[string]any{"type": "transit"})
}
