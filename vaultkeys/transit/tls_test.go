package transit_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

func TestTLSNamespaceAndObserver(t *testing.T) {
	f := newFixture(t, vaulttest.Shared(t))
	auth := issuerOf(f)
	target, err := url.Parse(f.server.Address)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards the two below
	namespaces, observed := make(map[string]int), make(map[string]int)
	proxy := httptest.NewTLSServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		mu.Lock()
		namespaces[r.In.Header.Get("X-Vault-Namespace")]++
		mu.Unlock()
		r.SetURL(target)
	}})
	t.Cleanup(proxy.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	f.writeFile(authority, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: proxy.Certificate().Raw})))

	trusting := f.client(proxy.URL, auth, func(c *transit.Config) {
		c.CACert, c.Namespace = authority, "team"
		c.Observe = func(operation string, _ time.Duration, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				operation += " failed"
			}
			observed[operation]++
		}
	})
	if err := sign(t.Context(), trusting); err != nil {
		t.Fatal(err)
	}
	if namespaces["team"] != 2 || len(namespaces) != 1 { // Vault without namespaces ignores the header
		t.Errorf("namespaces asked for: %v", namespaces)
	}
	if observed["login"] != 1 || observed["sign"] != 1 || len(observed) != 2 {
		t.Errorf("observed %v", observed)
	}
	if err := sign(t.Context(), f.client(proxy.URL, auth)); !errors.Is(err, transit.ErrUnavailable) {
		t.Errorf("a certificate of an unknown authority: %v", err)
	}
	if _, err := transit.New(transit.Config{Address: proxy.URL, Auth: auth, CACert: authority + ".absent"}); err == nil {
		t.Error("a CA file that is not there was taken")
	}
}

func TestConfigIsChecked(t *testing.T) {
	good := transit.Config{Address: "http://127.0.0.1:1", Auth: transit.StaticToken("x")}
	tests := []struct {
		name   string
		change func(*transit.Config)
	}{
		{"no address", func(c *transit.Config) { c.Address = "" }},
		{"address that is none", func(c *transit.Config) { c.Address = "http://a b" }},
		{"no auth", func(c *transit.Config) { c.Auth = nil }},
		{"mount with a slash at the end", func(c *transit.Config) { c.Mount = "transit/" }},
		{"mount with a glob", func(c *transit.Config) { c.Mount = "tr*" }},
		{"mount that leaves", func(c *transit.Config) { c.Mount = "a/../sys" }},
		{"empty token", func(c *transit.Config) { c.Auth = transit.StaticToken("") }},
		{"AppRole without files", func(c *transit.Config) { c.Auth = transit.AppRole{} }},
		{"Kubernetes without a role", func(c *transit.Config) { c.Auth = transit.Kubernetes{} }},
		{"token file without a path", func(c *transit.Config) { c.Auth = transit.TokenFile{} }},
		{"client certificate without a key", func(c *transit.Config) { c.ClientCert = "x" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := good
			test.change(&c)
			if _, err := transit.New(c); err == nil {
				t.Fatal("taken")
			}
		})
	}
	if _, err := transit.New(good); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	config := transit.Config{Auth: transit.StaticToken("hvs.secret")}
	made := transit.Credentials{RoleID: "role", SecretID: "hvs.secret"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		if text := fmt.Sprintf(verb+" "+verb, config, made); strings.Contains(text, "hvs.secret") {
			t.Errorf("%s prints it", verb)
		}
	}
}
