package issuer

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/assaypdp/assay/test/oidcprovider"
)

// What is issued here a resource server opens and verifies that this project did not write: jose from npm.
func TestJoseOpensIssuedTokens(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Encryption = &audiences{} })
	f.mu.Lock()
	f.now = time.Now() // jose has no other clock
	f.mu.Unlock()
	f.load()
	set, err := f.ring.JWKSOf("access")
	if err != nil {
		t.Fatal(err)
	}
	issued, err := f.issuer.Issue(t.Context(), sealed())
	if err != nil {
		t.Fatal(err)
	}
	job := oidcprovider.Job{
		Do: "verify", Token: issued.Token, Audience: "orders", PrivateKey: jose.JSONWebKey{Key: audienceKey(), Algorithm: "RSA-OAEP-256"},
		Issuer: oidcprovider.LocalIssuer{Name: "https://assay.example", Keys: set.Body},
	}
	changed := job
	parts := strings.Split(issued.Token, ".")
	parts[3] = "AAAA" + parts[3][4:]
	changed.Token = strings.Join(parts, ".")
	results := oidcprovider.Jose(t, job, changed)
	if got := results[0]; got.Error != "" || got.Claims["sub"] != "alice" || got.Header["kid"] != issued.KeyID || got.Header["typ"] != "at+jwt" {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(results[1].Error, "ERR_JWE_DECRYPTION_FAILED") {
		t.Errorf("a changed token: %+v", results[1])
	}
}
