package realvault_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

func TestServerKeepsItsDataThroughKillAndSeal(t *testing.T) {
	server := vaulttest.Start(t, vaulttest.FileStorage)
	root := vaulttest.Root(t, server, "")
	if _, err := root.Logical().Write("sys/mounts/transit", map[string]any{"type": "transit"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Logical().Write("transit/keys/access", map[string]any{"type": "ecdsa-p256"}); err != nil {
		t.Fatal(err)
	}
	address := server.Address
	server.Kill()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if server.Address != address {
		t.Fatalf("started again at %s, was at %s", server.Address, address)
	}
	if key, err := root.Logical().Read("transit/keys/access"); err != nil || key == nil {
		t.Fatalf("after a kill the key is %v, error %v", key, err)
	}
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Logical().Read("transit/keys/access"); err == nil {
		t.Fatal("a sealed Vault answered")
	}
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if key, err := root.Logical().Read("transit/keys/access"); err != nil || key == nil {
		t.Fatalf("after unsealing the key is %v, error %v", key, err)
	}
	server.Stop()
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestServerInMemoryDoesNotRestart(t *testing.T) {
	server := vaulttest.Start(t)
	server.Stop()
	if err := server.Restart(t.Context()); err == nil {
		t.Fatal("a server in memory started again, without its data")
	}
}

func TestProxyFaults(t *testing.T) {
	server := vaulttest.Shared(t)
	proxy := vaulttest.Proxy(t, server)
	client := http.Client{Timeout: 300 * time.Millisecond}
	health := proxy.Address + "/v1/sys/health"
	get := func() (int, error) {
		response, err := client.Get(health)
		if err != nil {
			return 0, err
		}
		return response.StatusCode, response.Body.Close()
	}
	answers := func(want int) {
		t.Helper()
		if status, err := get(); err != nil || status != want {
			t.Fatalf("status %d, error %v; want %d", status, err, want)
		}
	}
	fails := func() {
		t.Helper()
		if status, err := get(); err == nil {
			t.Fatalf("status %d, want no answer", status)
		}
	}
	answers(200)
	proxy.Set(realvault.Fault{Status: 502})
	answers(502)
	proxy.Set(realvault.Fault{Path: "transit/", Status: 502})
	answers(200)
	proxy.Set(realvault.Fault{BlackHole: true})
	fails()
	proxy.Set(realvault.Fault{Latency: time.Minute})
	fails()
	proxy.Set(realvault.Fault{})
	answers(200)
	if err := proxy.Refuse(); err != nil {
		t.Fatal(err)
	}
	fails()
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	answers(200)
	if n := proxy.Count("sys/health"); n != 7 {
		t.Fatalf("%d requests arrived, want 7: all but the one refused", n)
	}
}

// Vault's identity tokens come from an issuer that is not Assay: the server must be able to make them.
func TestServerIssuesIdentityTokens(t *testing.T) {
	server := vaulttest.Shared(t)
	root, name := vaulttest.Root(t, server, "").Logical(), vaulttest.Mount(t)
	for _, w := range []struct {
		path string
		body map[string]any
	}{
		{"sys/auth/" + name, map[string]any{"type": "userpass"}},
		{"sys/policies/acl/" + name, map[string]any{"policy": `path "identity/oidc/token/` + name + `" { capabilities = ["read"] }`}},
		{"auth/" + name + "/users/ann", map[string]any{"password": "correct horse", "token_policies": name}},
		{"identity/oidc/key/" + name, map[string]any{"algorithm": "ES384", "allowed_client_ids": "*"}},
		{"identity/oidc/role/" + name, map[string]any{"key": name, "ttl": "5m"}},
	} {
		if _, err := root.Write(w.path, w.body); err != nil {
			t.Fatalf("%s: %v", w.path, err)
		}
	}
	login, err := root.Write("auth/"+name+"/login/ann", map[string]any{"password": "correct horse"})
	if err != nil {
		t.Fatal(err)
	}
	ann := vaulttest.Root(t, server, "")
	ann.SetToken(login.Auth.ClientToken)
	issued, err := ann.Logical().Read("identity/oidc/token/" + name)
	if err != nil {
		t.Fatal(err)
	}
	token, ok := issued.Data["token"].(string)
	if !ok || strings.Count(token, ".") != 2 {
		t.Fatalf("%v is no JWS", issued.Data)
	}
	response, err := http.Get(server.Address + "/v1/identity/oidc/.well-known/keys")
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", response, err)
	}
	if err := response.Body.Close(); err != nil {
		t.Fatal(err)
	}
}
