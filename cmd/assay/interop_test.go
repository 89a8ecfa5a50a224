package main

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/assaypdp/assay/test/oidcprovider"
)

// interop is a world with two issuers, each with keys of its own, and an encryption key.
func interop(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(config string) string {
		base := regexp.MustCompile(`issuer: (http://\S+)`).FindStringSubmatch(config)[1]
		config = strings.Replace(config, "vault:\n", "  - issuer: "+base+"/tenants/one\n    keys: {vault: tenant-one}\n    encrypt_to: {payroll: payroll}\nvault:\n", 1)
		return strings.Replace(config, "  keys:\n", "  keys:\n    tenant-one: {type: rsa-2048, algorithm: PS256}\n    payroll: {use: enc, type: rsa-2048}\n", 1)
	})
}

func (w *world) issueAs(issuer, audience string) string {
	w.t.Helper()
	a := w.post("/tokens", map[string]any{"issuer": issuer, "subject": "alice", "client_id": "web", "audience": []string{audience}})
	token, ok := a.body["token"].(string)
	if !ok {
		w.t.Fatalf("issuing: %d %v", a.status, a.body)
	}
	return token
}

// Resource servers that never heard of Assay verify its tokens by the issuer's URL, and encrypt for it. Neither
// client is ours: jose from npm, and go-jose.
func TestOthersVerifyOurTokens(t *testing.T) {
	t.Parallel()
	w := interop(t)
	tenant := w.base + "/tenants/one"
	ours, theirs := w.issueAs(w.base, "orders"), w.issueAs(tenant, "orders")
	job := func(issuer, standard, token string) oidcprovider.Job {
		return oidcprovider.Job{Do: "verify", Issuer: issuer, Standard: standard, Audience: "orders", Token: token}
	}
	results := oidcprovider.Jose(t,
		job(w.base, "openid", ours), job(w.base, "oauth", ours), job(tenant, "openid", theirs), job(tenant, "oauth", theirs),
		job(w.base, "openid", theirs), job(tenant, "oauth", ours),
		oidcprovider.Job{Do: "seal", KeySet: w.base + "/.well-known/jwks.json", Token: ours},
	)
	for i, want := range []struct{ issuer, alg string }{{w.base, "ES256"}, {w.base, "ES256"}, {tenant, "PS256"}, {tenant, "PS256"}} {
		if got := results[i]; got.Error != "" || got.Claims["iss"] != want.issuer || got.Header["alg"] != want.alg || got.Claims["sub"] != "alice" {
			t.Errorf("job %d: %+v, want one of %s under %s", i, got, want.issuer, want.alg)
		}
	}
	for _, i := range []int{4, 5} {
		if !strings.Contains(results[i].Error, "ERR_JWKS_NO_MATCHING_KEY") {
			t.Errorf("a neighbour's token: %+v; its key must not be among the issuer's", results[i])
		}
	}
	if a := w.decideFor("orders", results[6].Token); a.body["allow"] != true {
		t.Errorf("a token that jose encrypted: %d %v", a.status, a.body)
	}
	if !w.nestedAllowed(w.issueAs(tenant, "payroll")) {
		t.Error("the tenant's encrypted token is denied")
	}

	algorithms := []jose.SignatureAlgorithm{jose.ES256, jose.PS256}
	for _, token := range []string{ours, theirs} {
		parsed, err := jose.ParseSignedCompact(token, algorithms)
		if err != nil {
			t.Fatal(err)
		}
		set := w.keySet()
		found := set.Key(parsed.Signatures[0].Header.KeyID)
		if len(found) != 1 {
			t.Fatalf("%d keys of that kid", len(found))
		}
		if _, err := parsed.Verify(found[0]); err != nil || found[0].Algorithm != parsed.Signatures[0].Header.Algorithm || found[0].Use != "sig" {
			t.Errorf("go-jose: %v; use %s, alg %s", err, found[0].Use, found[0].Algorithm)
		}
	}
}

// The published sets are the same bytes each time, in the configuration's order, and one who has them is told so.
func TestKeySetsAreStable(t *testing.T) {
	t.Parallel()
	w := interop(t)
	ask := func(path, have string) (*http.Response, string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if have != "" {
			request.Header.Set("If-None-Match", have)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	for path, want := range map[string][]string{
		"/.well-known/jwks.json":                  {"ES256", "ES256", "PS256", "PS256", "RSA-OAEP-256"},
		"/.well-known/jwks/assay-dev-access.json": {"ES256", "ES256"},
		"/.well-known/jwks/tenant-one.json":       {"PS256", "PS256"},
	} {
		first, body := ask(path, "")
		var set struct {
			Keys []struct{ Alg, Kid, Use string }
		}
		if err := json.Unmarshal([]byte(body), &set); err != nil {
			t.Fatal(err)
		}
		var algorithms, kids []string
		for _, key := range set.Keys {
			algorithms, kids = append(algorithms, key.Alg), append(kids, key.Kid)
		}
		slices.Sort(kids)
		if !slices.Equal(algorithms, want) || len(slices.Compact(kids)) != len(want) {
			t.Errorf("%s: %v, want %v: %s", path, algorithms, want, body)
		}
		if got := first.Header.Get("Cache-Control"); got != "public, max-age=300" {
			t.Errorf("%s: Cache-Control %q", path, got)
		}
		tag := first.Header.Get("ETag")
		if second, again := ask(path, ""); again != body || second.Header.Get("ETag") != tag || tag == "" {
			t.Errorf("%s: other bytes the second time, or another ETag than %q", path, tag)
		}
		if have, nothing := ask(path, tag); have.StatusCode != http.StatusNotModified || nothing != "" || have.Header.Get("ETag") != tag {
			t.Errorf("%s: %d for one who has it", path, have.StatusCode)
		}
	}
}
