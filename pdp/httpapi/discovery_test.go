package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/httpapi"
)

// keySet is a document that does not change.
func keySet(body string) func() *httpapi.KeySetDocument {
	document := &httpapi.KeySetDocument{Body: []byte(body)}
	return func() *httpapi.KeySetDocument { return document }
}

func TestIssuersAreFoundByTheirURL(t *testing.T) {
	unread := func() *httpapi.KeySetDocument { return nil }
	server := start(t, func(c *httpapi.Config) {
		c.Hosts = []string{httpapi.Any}
		c.Issuers = []httpapi.PublishedIssuer{
			{Issuer: "https://a.example", Name: "a", Algorithms: []string{"ES256"}, KeySet: keySet(`{"keys":[{"kid":"a"}]}`)},
			{Issuer: "https://b.example:8443/", Name: "b", Algorithms: []string{"EdDSA"}, KeySet: keySet(`{"keys":[{"kid":"b"}]}`)},
			{Issuer: "https://a.example/tenants/one", Name: "one", Algorithms: []string{"ES256", "RS256"}, KeySet: keySet(`{"keys":[]}`)},
			{Issuer: "https://a.example/tenants/two/", Name: "two", KeySet: unread},
		}
	})
	for _, c := range []struct{ name, host, path, issuer, keys string }{
		{"OpenID Connect", "a.example", "/.well-known/openid-configuration", "https://a.example", "https://a.example/.well-known/jwks/a.json"},
		{"RFC 8414", "a.example", "/.well-known/oauth-authorization-server", "https://a.example", "https://a.example/.well-known/jwks/a.json"},
		{"the other host", "b.example:8443", "/.well-known/openid-configuration", "https://b.example:8443/", "https://b.example:8443/.well-known/jwks/b.json"},
		{"the other host behind a proxy", "b.example", "/.well-known/oauth-authorization-server", "https://b.example:8443/", "https://b.example:8443/.well-known/jwks/b.json"},
		{"OpenID Connect puts it behind a path", "a.example", "/tenants/one/.well-known/openid-configuration", "https://a.example/tenants/one", "https://a.example/.well-known/jwks/one.json"},
		{"RFC 8414 puts it before", "a.example", "/.well-known/oauth-authorization-server/tenants/one", "https://a.example/tenants/one", "https://a.example/.well-known/jwks/one.json"},
		{"as RFC 8414 does for OpenID Connect", "a.example", "/.well-known/openid-configuration/tenants/one", "https://a.example/tenants/one", "https://a.example/.well-known/jwks/one.json"},
		{"a slash at the end of an issuer", "a.example", "/.well-known/oauth-authorization-server/tenants/two", "https://a.example/tenants/two/", "https://a.example/.well-known/jwks/two.json"},
		{"no such issuer", "a.example", "/.well-known/oauth-authorization-server/tenants/three", "", ""},
		{"no path, and yet behind", "a.example", "/tenants/.well-known/openid-configuration", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := do(t, server.Client(), "GET", server.URL+c.path, "", "Host: "+c.host)
			if c.issuer == "" {
				got.wantsStatus(t, 404)
				return
			}
			got.wantsStatus(t, 200)
			var metadata struct {
				Issuer     string   `json:"issuer"`
				KeySet     string   `json:"jwks_uri"`
				Algorithms []string `json:"id_token_signing_alg_values_supported"`
			}
			if err := json.Unmarshal([]byte(got.body), &metadata); err != nil || metadata.Issuer != c.issuer || metadata.KeySet != c.keys {
				t.Errorf("%s, %v", got.body, err)
			}
			if got.Header.Get("Content-Type") != "application/json" || got.Header.Get("Cache-Control") != "public, max-age=300" {
				t.Errorf("header %v", got.Header)
			}
			again := do(t, server.Client(), "GET", server.URL+c.path, "", "Host: "+c.host, "If-None-Match: "+got.Header.Get("ETag")).wantsStatus(t, 304)
			if again.body != "" || again.Header.Get("ETag") != got.Header.Get("ETag") {
				t.Errorf("not modified: %q %v", again.body, again.Header)
			}
		})
	}
	// Each issuer's set has its own keys alone.
	for name, want := range map[string]string{"a": `{"keys":[{"kid":"a"}]}`, "b": `{"keys":[{"kid":"b"}]}`} {
		got := do(t, server.Client(), "GET", server.URL+"/.well-known/jwks/"+name+".json", "").wantsStatus(t, 200)
		if got.body != want || got.Header.Get("Content-Type") != "application/jwk-set+json" || got.Header.Get("ETag") == "" {
			t.Errorf("%s: %s %v", name, got.body, got.Header)
		}
	}
	do(t, server.Client(), "GET", server.URL+"/.well-known/jwks/two.json", "").wantsStatus(t, 503)
	do(t, server.Client(), "GET", server.URL+"/.well-known/jwks/three.json", "").wantsStatus(t, 404)
}

func TestWithoutIssuersThereIsNoMetadata(t *testing.T) {
	server := start(t, nil)
	for _, path := range []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/.well-known/jwks/a.json"} {
		do(t, server.Client(), "GET", server.URL+path, "").wantsStatus(t, 404)
	}
}

func TestPublishable(t *testing.T) {
	for issuer, want := range map[string]bool{
		"https://a.example": true, "http://127.0.0.1:8080": true, "https://a.example/": true, "https://a.example/tenants/one": true,
		"urn:issuer": false, "a.example": false, "https://a.example?x=1": false, "https://a.example/?": false, "https://a.example#x": false,
		"https://me@a.example": false, "https://a.example/a//b": false, "https://a.example/../b": false, "https://a.example/%41": false,
		"https://a.example/{x}": false, "ftp://a.example": false, "https:///x": false, strings.Repeat("x", 10): false,
	} {
		if got := httpapi.Publishable(issuer); got != want {
			t.Errorf("%s: %v", issuer, got)
		}
	}
}
