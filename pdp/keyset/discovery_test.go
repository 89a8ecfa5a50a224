package keyset

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// provider serves documents by path and notes what was asked for.
type provider struct {
	documents map[string]any // []byte, or a value that becomes JSON
	asked     []string       // only one request is made at a time
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked = append(p.asked, r.URL.EscapedPath())
	body, ok := p.documents[r.URL.EscapedPath()]
	if !ok {
		http.NotFound(w, r)
		return
	}
	text, isText := body.([]byte)
	if !isText {
		var err error
		if text, err = json.Marshal(body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	write(w, text)
}

func TestDiscovery(t *testing.T) {
	set := jwks(t, edMember(t, "k"))
	elsewhere := serve(t, document(jwks(t, edMember(t, "elsewhere"))))
	for name, tc := range map[string]struct {
		path      string // of the issuer
		documents func(issuer string) map[string]any
		ids, says string
		asked     []string
	}{
		"OpenID Connect": {"", func(issuer string) map[string]any {
			return map[string]any{
				"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": issuer + "/jwks", "more": []int{1}},
				"/jwks":                             set}
		}, "k", "", []string{"/.well-known/openid-configuration", "/jwks"}},
		"an issuer with a path": {"/tenant/a%2Fb", func(issuer string) map[string]any {
			return map[string]any{
				"/tenant/a%2Fb/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": issuer + "/jwks"},
				"/tenant/a%2Fb/jwks":                             set}
		}, "k", "", []string{"/tenant/a%2Fb/.well-known/openid-configuration", "/tenant/a%2Fb/jwks"}},
		"an issuer that ends in a slash": {"/", func(issuer string) map[string]any {
			return map[string]any{
				"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": issuer + "jwks"},
				"/jwks":                             set}
		}, "k", "", nil},
		"RFC 8414": {"", func(issuer string) map[string]any {
			return map[string]any{
				"/.well-known/oauth-authorization-server": map[string]any{"issuer": issuer, "jwks_uri": issuer + "/jwks"},
				"/jwks": set}
		}, "k", "", []string{"/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/jwks"}},
		"RFC 8414 with a path": {"/tenant/", func(issuer string) map[string]any {
			return map[string]any{
				"/.well-known/oauth-authorization-server/tenant": map[string]any{"issuer": issuer, "jwks_uri": issuer + "jwks"},
				"/tenant/jwks": set}
		}, "k", "", []string{"/tenant/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/tenant", "/tenant/jwks"}},
		"keys on another host": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": elsewhere}}
		}, "elsewhere", "", nil},
		"no document": {"", func(string) map[string]any { return nil }, "", "answered 404", nil},
		"another issuer": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": "https://other.example", "jwks_uri": issuer + "/jwks"}, "/jwks": set}
		}, "", `"issuer" is not exactly`, []string{"/.well-known/openid-configuration"}},
		"an issuer that differs by a slash": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer + "/", "jwks_uri": issuer + "/jwks"}, "/jwks": set}
		}, "", `"issuer" is not exactly`, nil},
		"an issuer that differs by case": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": "HTTP" + issuer[4:], "jwks_uri": issuer + "/jwks"}, "/jwks": set}
		}, "", `"issuer" is not exactly`, nil},
		"no issuer": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"jwks_uri": issuer + "/jwks"}, "/jwks": set}
		}, "", `"issuer" is not exactly`, nil},
		"no jwks_uri": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer}}
		}, "", `no "jwks_uri"`, nil},
		"a jwks_uri that is no string": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": 1}}
		}, "", `no "jwks_uri"`, nil},
		"a jwks_uri in plaintext": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": "http://192.0.2.1/jwks"}}
		}, "", "https only", nil},
		"a jwks_uri that is a file": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": "file:///etc/passwd"}}
		}, "", "not an", nil},
		"a duplicate issuer": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": []byte(`{"issuer":"https://other.example","issuer":"` + issuer + `","jwks_uri":"` + issuer + `/jwks"}`), "/jwks": set}
		}, "", "", nil},
		"garbage": {"", func(string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": []byte("<html>")}
		}, "", "openid-configuration", []string{"/.well-known/openid-configuration"}},
		"keys that are gone": {"", func(issuer string) map[string]any {
			return map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": issuer + "/jwks"}}
		}, "", "/jwks answered 404", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := &provider{}
			issuer := serve(t, p.ServeHTTP) + tc.path
			p.documents = tc.documents(issuer)
			source, err := Discovery(issuer, unhurried(HTTPConfig{}))
			if err != nil {
				t.Fatal(err)
			}
			loaded, err := source.Load(t.Context())
			if (err == nil) != (tc.ids != "") || ids(loaded) != tc.ids || err != nil && !strings.Contains(err.Error(), tc.says) {
				t.Errorf("keys %q, error %v", ids(loaded), err)
			}
			if tc.asked != nil && !slices.Equal(p.asked, tc.asked) {
				t.Errorf("asked for %q, want %q", p.asked, tc.asked)
			}
		})
	}
}

func TestDiscoveryFollowsAMovedJWKS(t *testing.T) {
	p := &provider{}
	issuer := serve(t, p.ServeHTTP)
	source, err := Discovery(issuer, unhurried(HTTPConfig{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, kid := range []string{"old", "new"} {
		p.documents = map[string]any{
			"/.well-known/openid-configuration": map[string]any{"issuer": issuer, "jwks_uri": issuer + "/" + kid},
			"/" + kid:                           jwks(t, edMember(t, kid)),
		}
		if loaded, err := source.Load(t.Context()); err != nil || ids(loaded) != kid {
			t.Errorf("%s: keys %q, error %v", kid, ids(loaded), err)
		}
	}
}

func TestDiscoveryDoesNotLeaveTLS(t *testing.T) {
	plain := serve(t, document(jwks(t, edMember(t, "k"))))
	p := &provider{}
	server := httptest.NewTLSServer(p)
	defer server.Close()
	p.documents = map[string]any{"/.well-known/openid-configuration": map[string]any{"issuer": server.URL, "jwks_uri": plain}}
	source, err := Discovery(server.URL, unhurried(HTTPConfig{Transport: server.Client().Transport}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Load(t.Context()); err == nil || !strings.Contains(err.Error(), "plaintext") {
		t.Errorf("got %v, want a refusal of plaintext", err)
	}
}

func TestIssuersWithoutDiscovery(t *testing.T) {
	for name, issuer := range map[string]string{
		"no URL":     "idp",
		"plaintext":  "http://idp.example",
		"a query":    "https://idp.example?a=b",
		"a fragment": "https://idp.example#a",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Discovery(issuer, HTTPConfig{}); err == nil {
				t.Error("accepted")
			}
		})
	}
}
