package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// What a policy says of encryption holds from end to end: with a configuration that demands personal data to be
// encrypted where it is released, Assay issues no token that has it in clear, issues one that is encrypted, and decides
// about both in the same way, whoever encrypted them.
func TestPolicyDemandsEncryption(t *testing.T) {
	t.Parallel()
	org := filepath.Join(t.TempDir(), "org.yaml")
	if err := os.WriteFile(org, []byte(`
audiences:
  orders: {release: {email: true}}
  payroll: {release: {email: true}}
minimization: {classes: {personal: {released_in_clear: deny}}}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorldWith(t, func(config string) string { return withEncryption(config) + "policy: {config: " + org + "}\n" })
	order := func(audience string) answer {
		return w.post("/tokens", map[string]any{"subject": "alice", "client_id": "web", "audience": []string{audience},
			"claims": map[string]any{"email": "alice@example.org"}})
	}
	if a := order("orders"); a.status != http.StatusUnprocessableEntity || !strings.Contains(fmt.Sprint(a.body), "minimization.sensitive_claim") {
		t.Errorf("ordered for an audience without an encryption key: %d %v", a.status, a.body)
	}
	issued := order("payroll")
	token, _ := issued.body["token"].(string)
	if issued.status != http.StatusCreated || strings.Count(token, ".") != 4 {
		t.Fatalf("ordered for payroll: %d %v", issued.status, issued.body)
	}
	a := w.decideFor("payroll", token)
	if claims, _ := a.body["claims"].(map[string]any); a.body["allow"] != true || claims["email"] != "alice@example.org" {
		t.Errorf("encrypted: %v", a.body)
	}

	// The same token in clear is denied, and put into an envelope by a stranger it is good again.
	clear := w.signedPastAssay(map[string]any{"aud": "payroll", "email": "alice@example.org"})
	if a := w.decideFor("payroll", clear); a.body["allow"] != false || !strings.Contains(fmt.Sprint(a.body), "in clear") {
		t.Errorf("in clear: %v", a.body)
	}
	if a := w.decideFor("payroll", w.sealed(w.encryptionKey(), clear)); a.body["allow"] != true {
		t.Errorf("in a stranger's envelope: %v", a.body)
	}
}

// signedPastAssay is a token with these claims beside good ones, signed by Vault's root as nobody else can.
func (w *world) signedPastAssay(claims map[string]any) string {
	w.t.Helper()
	client, err := serve.NewClientWith(w.config, transit.StaticToken(w.server.RootToken), deps(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	const name = "assay-dev-access"
	record, err := client.ReadKey(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := vaultkeys.Signer(record, w.config.Periods(name), time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	kid, err := vaultkeys.Thumbprint(signer.Public)
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now().Unix()
	all := map[string]any{"iss": w.base, "sub": "alice", "client_id": "web", "iat": now, "exp": now + 600, "jti": "past-assay"}
	maps.Copy(all, claims)
	var parts [2]string
	for i, part := range []map[string]any{{"alg": "ES256", "kid": kid, "typ": "at+jwt"}, all} {
		text, err := json.Marshal(part)
		if err != nil {
			w.t.Fatal(err)
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	input := strings.Join(parts[:], ".")
	signatures, err := client.Sign(w.t.Context(), name, signer.Number, "ES256", [][]byte{[]byte(input)})
	if err != nil {
		w.t.Fatal(err)
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signatures[0])
}
