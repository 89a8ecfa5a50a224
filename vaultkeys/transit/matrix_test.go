package transit_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// deed is one request to Vault, and who may make it. M in a path is the transit mount, A the AppRole mount, P
// the prefix of policies and roles.
type deed struct {
	title  string // in the table of README.md
	method string
	path   string
	body   map[string]any
	// may has a letter for each of Roles(), D I C N P, where it may, and a '-' where it is denied.
	may string
}

func signs(hash string) map[string]any {
	body := map[string]any{"input": "AAAA", "key_version": 1, "marshaling_algorithm": "jws"}
	if hash != "" {
		body["prehashed"], body["hash_algorithm"] = true, hash
		body["input"] = "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=" // a SHA-256, for those who look at its length
	}
	return body
}

func with(body map[string]any, name string, value any) map[string]any {
	body[name] = value
	return body
}

// deeds is every path of transit, and of those around it that lead to keys or to more power, in the form that
// would do most for a thief. What may be done comes first, in an order in which it can be.
func deeds() []deed {
	some := map[string]any{"x": "y"}
	return []deed{
		{"read the public keys for tokens", "read", "M/keys/access", nil, "D-C--"},
		{"read the public key for encryption", "read", "M/keys/jwe", nil, "D-C--"},
		{"read the public key for checkpoints", "read", "M/keys/checkpoint", nil, "---N-"},
		{"read when the key for pseudonyms was rotated", "read", "M/keys/pseudonyms", nil, "---N-"},
		{"read the public key for bundles", "read", "M/keys/bundle", nil, "----P"},
		{"list all keys", "list", "M/keys", nil, "-----"},
		{"sign a token", "write", "M/sign/access", signs("sha2-256"), "-I---"},
		{"sign tokens, several in one call", "write", "M/sign/access", with(signs("sha2-256"), "batch_input", []any{map[string]any{"input": "LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ="}}), "-I---"},
		{"sign a checkpoint", "write", "M/sign/checkpoint", signs(""), "---N-"},
		{"have a period's key for pseudonyms (HMAC)", "write", "M/hmac/pseudonyms", map[string]any{"input": "AAAA", "key_version": 1}, "---N-"},
		{"HMAC without naming a version", "write", "M/hmac/pseudonyms", map[string]any{"input": "AAAA"}, "-----"},
		{"HMAC with another hash", "write", "M/hmac/pseudonyms/sha2-512", map[string]any{"input": "AAAA", "key_version": 1}, "-----"},
		{"HMAC with a key for tokens", "write", "M/hmac/access", map[string]any{"input": "AAAA", "key_version": 1}, "-----"},
		{"have an HMAC verified", "write", "M/verify/pseudonyms", some, "-----"},
		{"encrypt with the key for pseudonyms", "write", "M/encrypt/pseudonyms", map[string]any{"plaintext": "AAAA", "key_version": 1}, "-----"},
		{"rotate the key for pseudonyms", "write", "M/keys/pseudonyms/rotate", map[string]any{}, "-----"},
		{"destroy periods (trim the key for pseudonyms)", "write", "M/keys/pseudonyms/trim", map[string]any{"min_available_version": 1}, "-----"},
		{"sign a bundle", "write", "M/sign/bundle", signs("sha2-384"), "----P"},
		{"sign with the latest version, unpublished", "write", "M/sign/access", with(signs("sha2-256"), "key_version", 0), "-I---"},
		{"sign without naming a version", "write", "M/sign/access", map[string]any{"input": "AAAA", "prehashed": true, "hash_algorithm": "sha2-256", "marshaling_algorithm": "jws"}, "-----"},
		{"sign what is not a JWS", "write", "M/sign/access", with(signs("sha2-256"), "marshaling_algorithm", "asn1"), "-----"},
		{"sign with the encryption key", "write", "M/sign/jwe", signs("sha2-256"), "-----"},
		{"have a signature verified", "write", "M/verify/access", some, "-----"},
		{"open an encrypted token", "write", "M/decrypt/jwe", map[string]any{"ciphertext": "vault:v1:AAAA"}, "D----"},
		{"open with another padding (RSA1_5)", "write", "M/decrypt/jwe", map[string]any{"ciphertext": "vault:v1:AAAA", "padding_scheme": "pkcs1v15"}, "-----"},
		{"open many in one call", "write", "M/decrypt/jwe", map[string]any{"batch_input": []any{}}, "-----"},
		{"open with a signature key", "write", "M/decrypt/legacy", map[string]any{"ciphertext": "vault:v1:AAAA"}, "-----"},
		{"encrypt", "write", "M/encrypt/jwe", map[string]any{"plaintext": "AAAA"}, "-----"},
		{"rewrap", "write", "M/rewrap/jwe", map[string]any{"ciphertext": "vault:v1:AAAA"}, "-----"},
		{"make a data key", "write", "M/datakey/plaintext/jwe", some, "-----"},
		{"rotate a token key", "write", "M/keys/access/rotate", map[string]any{}, "--C--"},
		{"rotate the encryption key", "write", "M/keys/jwe/rotate", map[string]any{}, "--C--"},
		{"rotate another's key", "write", "M/keys/bundle/rotate", map[string]any{}, "-----"},
		{"raise minimum versions", "write", "M/keys/legacy/config", map[string]any{"min_decryption_version": 1, "min_encryption_version": 1}, "--C--"},
		{"destroy old versions (trim)", "write", "M/keys/legacy/trim", map[string]any{"min_available_version": 1}, "--C--"},
		{"make a key exportable", "write", "M/keys/access/config", map[string]any{"exportable": true}, "-----"},
		{"allow a plaintext backup", "write", "M/keys/access/config", map[string]any{"allow_plaintext_backup": true}, "-----"},
		{"allow deletion", "write", "M/keys/access/config", map[string]any{"deletion_allowed": true}, "-----"},
		{"let Vault rotate by itself", "write", "M/keys/access/config", map[string]any{"auto_rotate_period": "1h"}, "-----"},
		{"delete a key", "delete", "M/keys/access", nil, "-----"},
		{"create the configured key", "write", "M/keys/access", map[string]any{"type": "ecdsa-p256"}, "--C--"},
		{"create it with another type", "write", "M/keys/access", map[string]any{"type": "aes256-gcm96"}, "-----"},
		{"create it exportable", "write", "M/keys/access", map[string]any{"type": "ecdsa-p256", "exportable": true}, "-----"},
		{"create another key", "write", "M/keys/mine", map[string]any{"type": "ecdsa-p256"}, "-----"},
		{"export a signature key", "read", "M/export/signing-key/access", nil, "-----"},
		{"export an encryption key", "read", "M/export/encryption-key/jwe", nil, "-----"},
		{"export public keys", "read", "M/export/public-key/access", nil, "-----"},
		{"export wrapped (BYOK)", "read", "M/byok-export/jwe/access", nil, "-----"},
		{"take a backup", "read", "M/backup/access", nil, "-----"},
		{"restore a backup", "write", "M/restore/mine", map[string]any{"backup": "AAAA"}, "-----"},
		{"import a key", "write", "M/keys/mine/import", map[string]any{"ciphertext": "AAAA", "type": "ecdsa-p256"}, "-----"},
		{"import a version", "write", "M/keys/access/import_version", map[string]any{"ciphertext": "AAAA"}, "-----"},
		{"read the wrapping key for imports", "read", "M/wrapping_key", nil, "-----"},
		{"set a certificate chain", "write", "M/keys/access/set-certificate", some, "-----"},
		{"make a signing request (CSR)", "write", "M/keys/access/csr", some, "-----"},
		{"change how the engine treats keys", "write", "M/config/keys", map[string]any{"disable_upsert": false}, "-----"},
		{"see its own login", "read", "auth/token/lookup-self", nil, "DICNP"},
		{"renew its own login", "write", "auth/token/renew-self", map[string]any{}, "DICNP"},
		{"create a Vault token", "write", "auth/token/create", map[string]any{"policies": []string{"root"}}, "-----"},
		{"see other logins", "list", "auth/token/accessors", nil, "-----"},
		{"read an AppRole", "read", "auth/A/role/Pcustodian", nil, "-----"},
		{"read a role id", "read", "auth/A/role/Pcustodian/role-id", nil, "-----"},
		{"make a secret id", "write", "auth/A/role/Pcustodian/secret-id", map[string]any{}, "-----"},
		{"change an AppRole", "write", "auth/A/role/Pdecider", map[string]any{"token_policies": "root"}, "-----"},
		{"read a policy", "read", "sys/policies/acl/Pdecider", nil, "-----"},
		{"write a policy", "write", "sys/policies/acl/Pdecider", map[string]any{"policy": `path "*" { capabilities = ["sudo"] }`}, "-----"},
		{"see the mounts", "read", "sys/mounts", nil, "-----"},
		{"mount or move an engine", "write", "sys/mounts/mine", map[string]any{"type": "transit"}, "-----"},
		{"unmount transit", "delete", "sys/mounts/M", nil, "-----"},
		{"tune transit", "write", "sys/mounts/M/tune", map[string]any{"description": "mine"}, "-----"},
		{"enable a way to log in", "write", "sys/auth/mine", map[string]any{"type": "approle"}, "-----"},
		{"switch off the audit log", "delete", "sys/audit/file", nil, "-----"},
		{"read Vault's storage", "list", "sys/raw/", nil, "-----"},
		{"revoke others' logins", "write", "sys/leases/revoke-prefix/auth/A", map[string]any{}, "-----"},
		{"use Vault's own identity tokens", "read", "identity/oidc/key/default", nil, "-----"},
		{"keep secrets of its own (cubbyhole)", "write", "cubbyhole/x", some, "-----"},
	}
}

// TestWhoMayDoWhat makes every request with the real login of every role, and holds the table in README.md to
// what Vault answers. ASSAY_UPDATE_README=1 writes the table.
func TestWhoMayDoWhat(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	f.desired = everything(f.desired)
	f.provision()
	roles := transit.Roles()
	logins := make([]*api.Client, len(roles))
	for i, role := range roles {
		logins[i] = f.as(role)
	}
	var table strings.Builder
	table.WriteString("| to do what | with which request | decider | issuer | custodian | notary | publisher |\n|" + strings.Repeat(" --- |", 7) + "\n")
	for _, d := range deeds() {
		path := f.placed(d.path)
		fmt.Fprintf(&table, "| %s | `%s %s` |", d.title, d.method, shown(d.path))
		for i, role := range roles {
			want := d.may[i] != '-'
			got, err := allowed(logins[i], d.method, path, d.body)
			if got != want {
				t.Errorf("%s, as %s: allowed %v, want %v (%v)", d.title, role, got, want, err)
			}
			table.WriteString(map[bool]string{true: " **yes** |", false: " – |"}[got])
		}
		table.WriteByte('\n')
	}
	compareSection(t, table.String())
}

// placed fills in the names of this test's mounts.
func (f *fixture) placed(path string) string {
	path = strings.Replace(path, "auth/A/", "auth/"+f.desired.AppRoleMount+"/", 1)
	path = strings.Replace(path, "revoke-prefix/auth/A", "revoke-prefix/auth/"+f.desired.AppRoleMount, 1)
	for _, place := range []string{"role/P", "acl/P"} {
		path = strings.Replace(path, place, strings.TrimSuffix(place, "P")+f.desired.Prefix, 1)
	}
	if rest, ok := strings.CutPrefix(path, "M/"); ok {
		return f.mount + "/" + rest
	}
	return strings.Replace(path, "sys/mounts/M", "sys/mounts/"+f.mount, 1)
}

// shown is a path with the names that setup gives.
func shown(path string) string {
	for _, pair := range [][2]string{{"auth/A", "auth/approle"}, {"role/P", "role/assay-"}, {"acl/P", "acl/assay-"}, {"sys/mounts/M", "sys/mounts/transit"}} {
		path = strings.Replace(path, pair[0], pair[1], 1)
	}
	if rest, ok := strings.CutPrefix(path, "M/"); ok {
		return "transit/" + rest
	}
	return path
}

// allowed tells whether Vault's policies let the request through. What becomes of it then does not matter: a
// ciphertext that does not decrypt is no denial.
func allowed(client *api.Client, method, path string, body map[string]any) (bool, error) {
	logical := client.Logical()
	var err error
	switch method {
	case "read":
		_, err = logical.Read(path)
	case "list":
		_, err = logical.List(path)
	case "delete":
		_, err = logical.Delete(path)
	default:
		_, err = logical.Write(path, body)
	}
	var status *api.ResponseError
	if errors.As(err, &status) {
		return status.StatusCode != 403, err
	}
	return err == nil, err
}

const (
	matrixTitle = "## Who may do what\n"
	matrixText  = matrixTitle + `
What Vault answers to each role's own login, request by request; written and checked by
` + "`go test ./vaultkeys/transit -run WhoMayDoWhat`" + ` (with ` + "`ASSAY_UPDATE_README=1`" + ` it writes). The keys of the example are
` + "`access`" + ` and ` + "`legacy`" + ` (tokens), ` + "`jwe`" + ` (encrypted tokens), ` + "`checkpoint`" + `, ` + "`pseudonyms`" + ` and ` + "`bundle`" + `. Whatever is not listed is
denied too: the policies name paths one by one.

`
)

// compareSection holds the section of the package's README against the table.
func compareSection(t *testing.T, table string) {
	t.Helper()
	const file = "../README.md"
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(content), matrixTitle)
	after := ""
	if i := strings.Index(rest, "\n## "); i >= 0 {
		after = rest[i+1:]
	}
	want := matrixText + table
	if after != "" {
		want += "\n"
	}
	if os.Getenv("ASSAY_UPDATE_README") != "" {
		if !found {
			i := strings.Index(before, "\n## Packages")
			before, after, want = before[:i+1], before[i+1:], want+"\n"
		}
		if err := os.WriteFile(file, []byte(before+want+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !found || matrixTitle+rest[:len(rest)-len(after)] != want {
		t.Errorf("%s: the section %q is not what Vault answers; ASSAY_UPDATE_README=1 writes it", file, strings.TrimSpace(matrixTitle))
	}
}
