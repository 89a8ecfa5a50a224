package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// encrypting is a world whose tokens for the audience "payroll" are encrypted.
func encrypting(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, withEncryption)
}

func withEncryption(config string) string {
	config = strings.Replace(config, "keys: {vault: assay-dev-access}", "keys: {vault: assay-dev-access}\n    encrypt_to: {payroll: assay-dev-payroll}", 1)
	return strings.Replace(config, "  keys:\n", "  keys:\n    assay-dev-payroll: {use: enc, type: rsa-2048}\n", 1)
}

func (w *world) issueFor(audiences ...string) answer {
	return w.post("/tokens", map[string]any{"subject": "alice", "client_id": "web", "audience": audiences})
}

// nested has a token issued for payroll, which is encrypted.
func (w *world) nested() string {
	w.t.Helper()
	a := w.issueFor("payroll")
	token, _ := a.body["token"].(string)
	if a.status != http.StatusCreated || strings.Count(token, ".") != 4 {
		w.t.Fatalf("issuing: %d %v", a.status, a.body)
	}
	return token
}

func (w *world) decideFor(audience, token string) answer {
	return w.post("/decide", map[string]any{"token": token, "request": map[string]any{"audience": audience}})
}

func (w *world) nestedAllowed(token string) bool {
	a := w.decideFor("payroll", token)
	kind, _ := a.body["token"].(map[string]any)
	return a.status == http.StatusOK && a.body["allow"] == true && kind["kind"] == "nested"
}

// keySet is what is published, as another library reads it.
func (w *world) keySet() jose.JSONWebKeySet {
	w.t.Helper()
	var set jose.JSONWebKeySet
	w.get("/.well-known/jwks.json", &set)
	return set
}

// sealed encrypts a text to the published key of an audience, as a stranger can.
func (w *world) sealed(key jose.JSONWebKey, inner string) string {
	w.t.Helper()
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: key.Key, KeyID: key.KeyID},
		(&jose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		w.t.Fatal(err)
	}
	encrypted, err := encrypter.Encrypt([]byte(inner))
	if err != nil {
		w.t.Fatal(err)
	}
	compact, err := encrypted.CompactSerialize()
	if err != nil {
		w.t.Fatal(err)
	}
	return compact
}

func (w *world) encryptionKey() jose.JSONWebKey {
	w.t.Helper()
	for _, key := range w.keySet().Keys {
		if key.Use == "enc" {
			return key
		}
	}
	w.t.Fatal("no encryption key is published")
	return jose.JSONWebKey{}
}

func TestEncryptedTokens(t *testing.T) {
	t.Parallel()
	w := encrypting(t)
	uses := map[string]int{}
	for _, key := range w.keySet().Keys {
		uses[key.Use+" "+key.Algorithm]++
	}
	if uses["enc RSA-OAEP-256"] != 1 || uses["sig ES256"] != 2 || len(uses) != 2 {
		t.Errorf("published: %v; want the active encryption key and two signature keys", uses)
	}
	a := w.issueFor("payroll")
	if a.body["encryption_key_id"] != w.encryptionKey().KeyID {
		t.Errorf("issued: %v", a.body)
	}
	token := a.body["token"].(string)
	for range 2 {
		if !w.nestedAllowed(token) {
			t.Error("a nested token is denied")
		}
	}
	if calls := w.metric(`assay_vault_request_seconds_count{operation="decrypt",outcome="ok"}`); calls != "1" {
		t.Errorf("Vault was asked %s times for one token", calls)
	}
	if plain := w.issueFor("orders"); strings.Count(plain.body["token"].(string), ".") != 2 || plain.body["encryption_key_id"] != nil {
		t.Errorf("a token for another audience: %v", plain.body)
	}
	if both := w.issueFor("orders", "payroll"); both.status != http.StatusBadRequest {
		t.Errorf("a token for both audiences: %d %v", both.status, both.body)
	}
	if sealedByOther := w.sealed(w.encryptionKey(), w.token()); w.decideFor("orders", sealedByOther).body["allow"] != true {
		t.Error("what another library encrypted is denied")
	}
	// The signature is what counts: anyone can encrypt.
	forged := w.decideFor("orders", w.sealed(w.encryptionKey(), "eyJhbGciOiJub25lIn0.e30."))
	if forged.status != http.StatusOK || forged.body["allow"] != false || !strings.Contains(fmt.Sprint(forged.body), "algorithm.none") {
		t.Errorf("an unsigned token inside: %v", forged.body)
	}
	// Every way in which a token cannot be opened is one answer.
	parts := strings.Split(w.sealed(w.encryptionKey(), w.token()), ".")
	other := w.encryptionKey()
	other.KeyID = "unknown"
	answers := map[string]bool{}
	for _, bad := range []string{
		strings.Join([]string{parts[0], parts[1][:len(parts[1])-4] + "AAAA", parts[2], parts[3], parts[4]}, "."),
		strings.Join([]string{parts[0], parts[1], parts[2], parts[3], "AAAA" + parts[4][4:]}, "."),
		w.sealed(other, "x"),
	} {
		a := w.decideFor("orders", bad)
		token := a.body["token"].(map[string]any)
		answers[fmt.Sprint(a.status, token["status"], a.body["reasons"])] = true
	}
	if len(answers) != 1 || !strings.Contains(fmt.Sprint(answers), "signature.undecryptable") {
		t.Errorf("%d answers: %v", len(answers), answers)
	}
}

// While Vault is away encrypted tokens that were opened before, and all signed ones, are decided as ever. Of a
// new encrypted token nothing can be said: 503 with Retry-After, and never an undecryptable, which would blame
// the token. One whose kid is not held here needs no Vault to be denied.
func TestEncryptedTokensInOutages(t *testing.T) {
	for _, outage := range outages {
		t.Run(outage.name, func(t *testing.T) {
			t.Parallel()
			w := encrypting(t)
			seen, unseen, signed := w.nested(), w.nested(), w.token()
			key := w.encryptionKey()
			if !w.nestedAllowed(seen) {
				t.Fatal("a good nested token is denied while all is well")
			}
			w.away = true
			if err := outage.begin(w); err != nil {
				t.Fatal(err)
			}
			w.eventually("503 at once for a new encrypted token", func() bool {
				a := w.decideFor("payroll", unseen)
				if a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
					t.Fatalf("%d, Retry-After %q, %v", a.status, a.retryAfter, a.body)
				}
				return w.atOnce(a)
			})
			if !w.nestedAllowed(seen) || !w.allowed(signed) {
				t.Error("a token that needs no Vault is denied")
			}
			key.KeyID = "unknown"
			if a := w.decideFor("payroll", w.sealed(key, "x")); a.status != http.StatusOK || !strings.Contains(fmt.Sprint(a.body), "signature.undecryptable") {
				t.Errorf("a key that is not held: %d %v", a.status, a.body)
			}
			if a := w.issueFor("payroll"); a.status != http.StatusServiceUnavailable || a.retryAfter == "" {
				t.Errorf("issuing an encrypted token: %d %v", a.status, a.body)
			}
			if err := outage.end(w); err != nil {
				t.Fatal(err)
			}
			w.eventually("allowed again", func() bool { return w.nestedAllowed(unseen) })
			w.eventually("issued again", func() bool { return w.issueFor("payroll").status == http.StatusCreated })
		})
	}
}
