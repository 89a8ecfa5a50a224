package transit_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// appRole issues credentials for a role and answers how to log in with them.
func (f *fixture) appRole(role transit.Role) transit.AppRole {
	f.Helper()
	made, err := f.root.Issue(f.Context(), f.desired, role)
	if err != nil {
		f.Fatal(err)
	}
	dir := f.TempDir()
	auth := transit.AppRole{Mount: f.desired.AppRoleMount, RoleIDFile: filepath.Join(dir, "role_id"), SecretIDFile: filepath.Join(dir, "secret_id")}
	f.writeFile(auth.RoleIDFile, made.RoleID+"\n")
	f.writeFile(auth.SecretIDFile, made.SecretID+"\n")
	return auth
}

func (f *fixture) writeFile(path, content string) {
	f.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		f.Fatal(err)
	}
}

// as answers Vault's own client, logged in as a role.
func (f *fixture) as(role transit.Role) *api.Client {
	f.Helper()
	made, err := f.root.Issue(f.Context(), f.desired, role)
	if err != nil {
		f.Fatal(err)
	}
	secret := f.write("auth/"+f.mount+"/login", map[string]any{"role_id": made.RoleID, "secret_id": made.SecretID})
	client := vaulttest.Root(f.T, f.server, "")
	client.SetToken(secret.Auth.ClientToken)
	return client
}

func TestRolesDoTheirJobs(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = everything(f.desired)
	f.provision()
	input := [][]byte{[]byte("a.b")}
	batch := [][]byte{[]byte("a.b"), []byte("c.d")}
	sign := func(role transit.Role, key, alg string) func(t *testing.T) {
		return func(t *testing.T) {
			c := f.client(f.server.Address, f.appRole(role))
			for _, inputs := range [][][]byte{input, batch} {
				made, err := c.Sign(t.Context(), key, 1, alg, inputs)
				if err != nil {
					t.Fatal(err)
				}
				for i := range inputs {
					if err := verify(t, alg, f.publicKey(key, "1"), inputs[i], made[i]); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	t.Run("issuer signs ES256", sign(transit.Issuer, "access", "ES256"))
	t.Run("issuer signs PS256", sign(transit.Issuer, "legacy", "PS256"))
	t.Run("notary signs EdDSA", sign(transit.Notary, "checkpoint", "EdDSA"))
	t.Run("publisher signs ES384", sign(transit.Publisher, "bundle", "ES384"))
	t.Run("decider reads", func(t *testing.T) {
		c := f.client(f.server.Address, f.appRole(transit.Decider))
		if r, err := c.ReadKey(t.Context(), "access"); err != nil || len(r.Versions) != 2 {
			t.Fatalf("%+v, %v", r, err)
		}
		// The ciphertext is bad, but it may be tried.
		if _, err := c.Decrypt(t.Context(), "jwe", 1, make([]byte, 256)); err == nil || errors.Is(err, transit.ErrDenied) {
			t.Fatal(err)
		}
	})
	t.Run("custodian rotates", func(t *testing.T) {
		c := f.client(f.server.Address, f.appRole(transit.Custodian))
		if err := c.Rotate(t.Context(), "access", 2); err != nil {
			t.Fatal(err)
		}
		if r, err := c.ReadKey(t.Context(), "access"); err != nil || r.Latest != 3 {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	t.Run("custodian creates and retires", func(t *testing.T) {
		custodian := f.as(transit.Custodian)
		f.write(f.mount+"/keys/legacy/config", map[string]any{"deletion_allowed": true})
		if _, err := f.raw.Logical().Delete(f.mount + "/keys/legacy"); err != nil {
			t.Fatal(err)
		}
		for _, w := range []struct {
			path string
			body map[string]any
		}{
			{"/keys/legacy", map[string]any{"type": "rsa-2048"}},
			{"/keys/legacy/rotate", nil},
			{"/keys/legacy/config", map[string]any{"min_decryption_version": 2, "min_encryption_version": 2}},
			{"/keys/legacy/trim", map[string]any{"min_available_version": 2}},
		} {
			if _, err := custodian.Logical().Write(f.mount+w.path, w.body); err != nil {
				t.Errorf("%s: %v", w.path, err)
			}
		}
	})
}

// TestRolesDoNothingElse sends, as each role, what a thief of its credentials would try.
func TestRolesDoNothingElse(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = everything(f.desired)
	f.provision()
	roles := make(map[transit.Role]*api.Client)
	for _, role := range transit.Roles() {
		roles[role] = f.as(role)
	}
	es256 := func(change map[string]any) map[string]any {
		body := map[string]any{"input": "AAAA", "key_version": 1, "prehashed": true, "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws"}
		for name, value := range change {
			if value == nil {
				delete(body, name)
			} else {
				body[name] = value
			}
		}
		return body
	}
	tests := []struct {
		name string
		role transit.Role
		path string
		body map[string]any // nil: read
	}{
		{"issuer reads a key", transit.Issuer, "/keys/access", nil},
		{"issuer rotates", transit.Issuer, "/keys/access/rotate", map[string]any{}},
		{"issuer configures", transit.Issuer, "/keys/access/config", map[string]any{"exportable": true}},
		{"issuer signs without a version", transit.Issuer, "/sign/access", es256(map[string]any{"key_version": nil})},
		{"issuer signs with another hash", transit.Issuer, "/sign/access", es256(map[string]any{"hash_algorithm": "sha2-512"})},
		{"issuer signs with another hash in the path", transit.Issuer, "/sign/access/sha2-512", es256(nil)},
		{"issuer signs what is not hashed", transit.Issuer, "/sign/access", es256(map[string]any{"prehashed": false})},
		{"issuer signs in ASN.1", transit.Issuer, "/sign/access", es256(map[string]any{"marshaling_algorithm": "asn1"})},
		{"issuer signs PKCS #1 with a PSS key", transit.Issuer, "/sign/legacy", es256(map[string]any{"signature_algorithm": "pkcs1v15", "salt_length": "hash"})},
		{"issuer signs a bundle", transit.Issuer, "/sign/bundle", es256(map[string]any{"hash_algorithm": "sha2-384"})},
		{"issuer signs a checkpoint", transit.Issuer, "/sign/checkpoint", map[string]any{"input": "AAAA", "key_version": 1, "marshaling_algorithm": "jws"}},
		{"issuer lists keys", transit.Issuer, "/keys?list=true", nil},
		{"decider signs", transit.Decider, "/sign/access", es256(nil)},
		{"decider rotates", transit.Decider, "/keys/access/rotate", map[string]any{}},
		{"decider decrypts with PKCS #1", transit.Decider, "/decrypt/jwe", map[string]any{"ciphertext": "vault:v1:AAAA", "padding_scheme": "pkcs1v15"}},
		{"decider decrypts a batch", transit.Decider, "/decrypt/jwe", map[string]any{"batch_input": []any{}}},
		{"decider reads the notary's key", transit.Decider, "/keys/checkpoint", nil},
		{"custodian signs", transit.Custodian, "/sign/access", es256(nil)},
		{"custodian decrypts", transit.Custodian, "/decrypt/jwe", map[string]any{"ciphertext": "vault:v1:AAAA"}},
		{"custodian makes a key exportable", transit.Custodian, "/keys/access/config", map[string]any{"exportable": true}},
		{"custodian allows deletion", transit.Custodian, "/keys/access/config", map[string]any{"deletion_allowed": true}},
		{"custodian deletes", transit.Custodian, "/keys/access", map[string]any{"DELETE": true}},
		{"custodian creates an exportable key", transit.Custodian, "/keys/access", map[string]any{"type": "ecdsa-p256", "exportable": true}},
		{"custodian creates another type", transit.Custodian, "/keys/access", map[string]any{"type": "ed25519"}},
		{"custodian creates another key", transit.Custodian, "/keys/mine", map[string]any{"type": "ecdsa-p256"}},
		{"custodian exports", transit.Custodian, "/export/signing-key/access", nil},
		{"custodian takes a backup", transit.Custodian, "/backup/access", nil},
		{"custodian imports", transit.Custodian, "/keys/access/import_version", map[string]any{"ciphertext": "AAAA"}},
		{"notary signs a token", transit.Notary, "/sign/access", es256(nil)},
		{"publisher signs a token", transit.Publisher, "/sign/access", es256(nil)},
		{"publisher rotates its key", transit.Publisher, "/keys/bundle/rotate", map[string]any{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			logical := roles[test.role].Logical()
			var err error
			switch {
			case test.body == nil && strings.HasSuffix(test.path, "?list=true"):
				_, err = logical.List(f.mount + strings.TrimSuffix(test.path, "?list=true"))
			case test.body == nil:
				_, err = logical.Read(f.mount + test.path)
			case test.body["DELETE"] == true:
				_, err = logical.Delete(f.mount + test.path)
			default:
				_, err = logical.Write(f.mount+test.path, test.body)
			}
			var status *api.ResponseError
			if !errors.As(err, &status) || status.StatusCode != 403 {
				t.Fatalf("error %v, want 403", err)
			}
		})
	}
	t.Run("no role creates a token", func(t *testing.T) {
		for role, client := range roles {
			if _, err := client.Auth().Token().Create(&api.TokenCreateRequest{}); err == nil {
				t.Errorf("%s made a token", role)
			}
		}
	})
}
