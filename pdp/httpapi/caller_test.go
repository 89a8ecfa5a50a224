package httpapi_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// bearers judges callers' tokens by their name, and everything else with an allow.
func bearers() *judge {
	return &judge{fn: func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
		if r.Audience != "assay" {
			return allowed(r), nil
		}
		switch r.Token {
		case "expired":
			return denied("lifetime.expired"), nil
		case "down":
			return nil, pdp.ErrUnavailable
		case "rotated": // its issuer's keys are known, its own is not among them
			d := denied("signature.key_unknown")
			d.Token = pdp.TokenSummary{Status: pdp.StatusKeyUnknown}
			return d, nil
		case "keyless":
			d := denied("signature.key_unknown")
			d.Token = pdp.TokenSummary{Status: pdp.StatusKeyUnknown, Keyless: true}
			return d, nil
		case "nameless":
			d := allowed(r)
			d.Claims = nil
			return d, nil
		}
		d := allowed(r)
		switch r.Token {
		case "several":
			d.Claims["aud"] = []any{"orders", "assay"}
		case "reported": // what an issuer on report_only gets for a token of another audience
			d.Claims["aud"] = "orders"
			d.Reasons = []pdp.Reason{{Code: "claims.audience_mismatch", Message: "no", Severity: pdp.Critical, Enforcement: pdp.Warn}}
		case "withheld":
			delete(d.Claims, "aud")
		}
		return d, nil
	}}
}

const idp = "https://idp.example "

func grants() []httpapi.Grant {
	return []httpapi.Grant{
		{Caller: idp + "one", Audiences: []string{"orders"}, Purposes: []string{"fulfilment"}},
		{Caller: idp + "two", Audiences: []string{"orders", "billing"}},
		{Caller: idp + "all", Audiences: []string{"*"}, Purposes: []string{"*"}},
		{Caller: idp + "none"},
	}
}

func TestBearer(t *testing.T) {
	j := bearers()
	server := start(t, func(c *httpapi.Config) {
		c.Open, c.Decider, c.CallerAudience, c.Grants = false, j, "assay", grants()
	})
	for _, c := range []struct {
		name, field     string
		status          int
		problem, expect string // expect is in WWW-Authenticate
	}{
		{"none", "X-Nothing: x", 401, "unauthenticated", `Bearer realm="assay"`},
		{"good", "Authorization: Bearer one", 200, "", ""},
		{"scheme in lower case", "Authorization: bearer one", 200, "", ""},
		{"denied", "Authorization: Bearer expired", 401, "credentials-refused", `error="invalid_token", error_description="lifetime.expired"`},
		{"without subject", "Authorization: Bearer nameless", 401, "credentials-refused", `error="invalid_token"`},
		{"for another audience, and only reported", "Authorization: Bearer reported", 401, "credentials-refused", `error_description="claims.audience_mismatch"`},
		{"for an audience that is not told", "Authorization: Bearer withheld", 401, "credentials-refused", `error_description="claims.audience_mismatch"`},
		{"for several audiences", "Authorization: Bearer several", 403, "not-granted", ""},
		{"stranger", "Authorization: Bearer stranger", 403, "not-granted", ""},
		{"by a key that its issuer does not publish", "Authorization: Bearer rotated", 401, "credentials-refused", `error_description="signature.key_unknown"`},
		{"of an issuer whose keys could not be loaded", "Authorization: Bearer keyless", 503, "unavailable", ""},
		{"undecided", "Authorization: Bearer down", 503, "unavailable", ""},
		{"basic", "Authorization: Basic b25l", 400, "malformed-credentials", `error="invalid_request"`},
		{"no token", "Authorization: Bearer", 400, "malformed-credentials", `error="invalid_request"`},
		{"two words", "Authorization: Bearer one two", 400, "malformed-credentials", `error="invalid_request"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, c.field)
			if c.status == 200 {
				a.wantsStatus(t, 200)
				if r := j.last(t); r.Caller != (pdp.Caller{Name: idp + "one", Method: "bearer"}) {
					t.Errorf("caller %+v", r.Caller)
				}
				return
			}
			a.wants(t, c.status, c.problem)
			if got := a.Header.Get("WWW-Authenticate"); !strings.Contains(got, c.expect) || (c.status == 401 || c.status == 400) == (got == "") {
				t.Errorf("WWW-Authenticate: %s", got)
			}
		})
	}
	t.Run("asked as an access token for the callers' audience", func(t *testing.T) {
		do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, "Authorization: Bearer expired", "X-Request-Id: r")
		want := pdp.Request{Token: "expired", Audience: "assay", TokenType: pdp.AccessToken, ID: "r"}
		if got := j.last(t); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v", got)
		}
	})
	t.Run("two fields", func(t *testing.T) {
		do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, "Authorization: Bearer one", "Authorization: Bearer all").
			wants(t, 400, "malformed-credentials")
	})
	t.Run("the caller is known before its body is read", func(t *testing.T) {
		do(t, server.Client(), "POST", server.URL+"/decide", `nonsense`).wants(t, 401, "unauthenticated")
	})
}

// Whatever the door, a token that cannot be verified at present is not called bad.
func TestABearerTokenOfAnIssuerWithoutKeysMayComeAgain(t *testing.T) {
	server := start(t, func(c *httpapi.Config) {
		c.Open, c.Decider, c.CallerAudience, c.Grants, c.Issuer = false, bearers(), "assay", grants(), &signer{}
		c.Revocations, c.Examiner = &ledger{}, examiner{}
	})
	for _, c := range [][2]string{
		{"POST", "/tokens"}, {"POST", "/decide"}, {"POST", "/decide/batch"}, {"GET", "/metrics"}, {"POST", "/revocations"}, {"GET", "/revocations"},
		{"GET", "/revocations/changes"}, {"GET", "/revocations/k"}, {"DELETE", "/revocations/k"},
	} {
		a := do(t, server.Client(), c[0], server.URL+c[1], `{}`, "Authorization: Bearer keyless")
		a.wants(t, 503, "unavailable")
		if a.Header.Get("Retry-After") == "" || a.Header.Get("WWW-Authenticate") != "" {
			t.Errorf("%s %s: Retry-After %q, WWW-Authenticate %q", c[0], c[1], a.Header.Get("Retry-After"), a.Header.Get("WWW-Authenticate"))
		}
	}
	for _, path := range []string{"/revoke", "/introspect"} {
		a := do(t, server.Client(), "POST", server.URL+path, form("token", "t"), "Authorization: Bearer keyless", formType)
		a.wantsOAuth(t, 503, "temporarily_unavailable")
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", path)
		}
	}
}

func TestDoors(t *testing.T) {
	for _, c := range []struct {
		method, path string
		open, shut   int // status without caller where the API is open, and where not
	}{
		{"POST", "/decide", 400, 401}, {"POST", "/decide/batch", 400, 401}, {"POST", "/tokens", 401, 401},
		{"GET", "/metrics", 200, 401}, {"GET", "/openapi.json", 200, 401},
		{"GET", "/.well-known/jwks.json", 200, 200}, {"GET", "/livez", 200, 200}, {"GET", "/readyz", 200, 200},
	} {
		for _, open := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s %s open %v", c.method, c.path, open), func(t *testing.T) {
				server := start(t, func(cfg *httpapi.Config) {
					cfg.Open, cfg.CallerAudience, cfg.Decider, cfg.Grants, cfg.Issuer = open, "assay", bearers(), grants(), &signer{}
				})
				want := c.shut
				if open {
					want = c.open
				}
				do(t, server.Client(), c.method, server.URL+c.path, "").wantsStatus(t, want)
				if want == 401 && c.method == "GET" {
					do(t, server.Client(), c.method, server.URL+c.path, "", "Authorization: Bearer none").wantsStatus(t, 200)
				}
			})
		}
	}
	t.Run("an open door does not look at Authorization", func(t *testing.T) {
		server := start(t, func(c *httpapi.Config) { c.CallerAudience, c.Decider = "assay", bearers() })
		do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`, "Authorization: Bearer expired").wantsStatus(t, 200)
	})
}

func TestGrants(t *testing.T) {
	j := bearers()
	server := start(t, func(c *httpapi.Config) {
		c.Open, c.Decider, c.CallerAudience, c.Grants = false, j, "assay", grants()
	})
	for _, c := range []struct {
		name, caller, body string
		audience           string // asked of the Decider
		missing            string // else what is missing
	}{
		{"filled in", "one", `{"token":"a"}`, "orders", ""},
		{"named", "one", `{"token":"a","request":{"audience":"orders"},"purpose":"fulfilment"}`, "orders", ""},
		{"another audience", "one", `{"token":"a","request":{"audience":"billing"}}`, "", "audience billing"},
		{"audience as prefix", "one", `{"token":"a","request":{"audience":"order"}}`, "", "audience order"},
		{"another purpose", "one", `{"token":"a","purpose":"marketing"}`, "", "purpose marketing"},
		{"purpose without grant", "two", `{"token":"a","request":{"audience":"orders"},"purpose":"fulfilment"}`, "", "purpose fulfilment"},
		{"one of two", "two", `{"token":"a","request":{"audience":"billing"}}`, "billing", ""},
		{"which of two", "two", `{"token":"a"}`, "", "request.audience"},
		{"every audience", "all", `{"token":"a","request":{"audience":"x"},"purpose":"y"}`, "x", ""},
		{"none named of all", "all", `{"token":"a"}`, "", ""},
		{"star is no name", "one", `{"token":"a","request":{"audience":"*"}}`, "", "audience *"},
		{"nothing granted", "none", `{"token":"a","request":{"audience":"orders"}}`, "", "audience orders"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, server.Client(), "POST", server.URL+"/decide", c.body, "Authorization: Bearer "+c.caller)
			batch := do(t, server.Client(), "POST", server.URL+"/decide/batch", `{"items":[`+c.body+`]}`, "Authorization: Bearer "+c.caller)
			if c.missing == "" {
				a.wantsStatus(t, 200)
				batch.wantsStatus(t, 200)
				if got := j.last(t).Audience; got != c.audience {
					t.Errorf("asked for audience %q", got)
				}
				return
			}
			p := a.wants(t, 403, "not-granted")
			if !strings.Contains(fmt.Sprint(p["missing"]), c.missing) || !strings.Contains(p["detail"].(string), c.missing) {
				t.Errorf("does not name %s: %s", c.missing, a.body)
			}
			if p := batch.wants(t, 403, "not-granted"); !strings.Contains(p["detail"].(string), "items[0]: ") {
				t.Errorf("does not name the item: %s", batch.body)
			}
		})
	}
}

// authority issues certificates for tests.
type authority struct {
	key         *ecdsa.PrivateKey
	certificate *x509.Certificate
	dir         string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	var der []byte
	a.key, der = a.sign(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "test"}})
	var err error
	if a.certificate, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.write(t, "ca.pem", "CERTIFICATE", der)
	return a
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := template, key
	if a.certificate != nil {
		parent, signer = a.certificate, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return key, der
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(a.dir, name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// files issues a server's certificate for 127.0.0.1.
func (a *authority) files(t *testing.T) *httpapi.TLSFiles {
	t.Helper()
	key, der := a.sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &httpapi.TLSFiles{
		Certificate: a.write(t, "server.pem", "CERTIFICATE", der), Key: a.write(t, "server-key.pem", "PRIVATE KEY", pkcs8),
		ClientCAs: filepath.Join(a.dir, "ca.pem"),
	}
}

// client connects with a certificate made from template, or without one where it is nil.
func (a *authority) client(t *testing.T, template *x509.Certificate) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	c := &tls.Config{RootCAs: roots}
	if template != nil {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		key, der := a.sign(t, template)
		// Given whatever the server asks for, so that a certificate of a foreign authority is sent too.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
		}
	}
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// serve runs a Server until the test ends, and gives its address. It has patience with a busy machine: net/http counts
// the TLS handshake, too, as reading the header.
func serve(t *testing.T, c httpapi.ServerConfig) string {
	t.Helper()
	const patience = 3 * time.Minute
	c.ReadHeaderTimeout, c.ReadTimeout, c.WriteTimeout, c.ShutdownTimeout = patience, patience, patience, patience
	address, stop, served := run(t, c)
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return address
}

// run runs a Server until it is stopped.
func run(t *testing.T, c httpapi.ServerConfig) (address string, stop func(), served <-chan error) {
	t.Helper()
	server, err := httpapi.NewServer(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, l) }()
	return l.Addr().String(), cancel, done
}

func TestClientCertificates(t *testing.T) {
	uri := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	ours, foreign := newAuthority(t), newAuthority(t)
	j := bearers()
	names := []string{"spiffe://prod/orders", "orders.internal", "orders"}
	address := serve(t, httpapi.ServerConfig{TLS: ours.files(t), API: build(t, func(c *httpapi.Config) {
		c.Open, c.Decider, c.CallerAudience, c.Grants = false, j, "assay", grants()
		for _, name := range names {
			c.Grants = append(c.Grants, httpapi.Grant{Caller: name, Audiences: []string{"orders"}})
		}
		c.Grants = append(c.Grants, httpapi.Grant{Caller: idp + "held", Method: "bearer", Audiences: []string{"orders"}})
	})})
	for _, c := range []struct {
		name     string
		template *x509.Certificate
		field    string
		caller   string // empty: refused with the status and problem
		status   int
		problem  string
	}{
		{"spiffe", &x509.Certificate{URIs: []*url.URL{uri(names[0])}, DNSNames: []string{"other"}}, "", names[0], 200, ""},
		{"dns", &x509.Certificate{DNSNames: []string{names[1], "other"}, Subject: pkix.Name{CommonName: "other"}}, "", names[1], 200, ""},
		{"common name", &x509.Certificate{Subject: pkix.Name{CommonName: names[2]}}, "", names[2], 200, ""},
		{"common name like a bearer token's holder", &x509.Certificate{Subject: pkix.Name{CommonName: idp + "held"}}, "", "", 401, "credentials-refused"},
		{"common name like a SPIFFE ID", &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}}, "", "", 401, "credentials-refused"},
		{"that holder", nil, "Authorization: Bearer held", idp + "held", 200, ""},
		{"two URIs", &x509.Certificate{URIs: []*url.URL{uri(names[0]), uri("https://x.example")}}, "", "", 401, "credentials-refused"},
		{"nameless", &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, "", "", 401, "credentials-refused"},
		{"stranger", &x509.Certificate{DNSNames: []string{"stranger"}}, "", "", 403, "not-granted"},
		{"none", nil, "", "", 401, "unauthenticated"},
		{"bearer", nil, "Authorization: Bearer one", idp + "one", 200, ""},
		{"bearer before certificate", &x509.Certificate{DNSNames: []string{names[1]}}, "Authorization: Bearer one", idp + "one", 200, ""},
		{"bad bearer beside certificate", &x509.Certificate{DNSNames: []string{names[1]}}, "Authorization: Bearer expired", "", 401, "credentials-refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, ours.client(t, c.template), "POST", "https://"+address+"/decide", `{"token":"a"}`, c.field)
			if c.caller == "" {
				a.wants(t, c.status, c.problem)
				return
			}
			a.wantsStatus(t, 200)
			if a.ProtoMajor != 2 {
				t.Errorf("spoken %s", a.Proto)
			}
			if r := j.last(t); r.Caller.Name != c.caller || r.Audience != "orders" {
				t.Errorf("caller %+v, audience %s", r.Caller, r.Audience)
			}
		})
	}
	t.Run("of a foreign authority", func(t *testing.T) {
		client := foreign.client(t, &x509.Certificate{DNSNames: []string{names[1]}})
		client.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(ours.certificate)
		r, err := http.NewRequestWithContext(t.Context(), "POST", "https://"+address+"/decide", strings.NewReader(`{"token":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		if response, err := client.Do(r); err == nil {
			_ = response.Body.Close()
			t.Errorf("the handshake succeeded: %s", response.Status)
		}
	})
}

func TestTLSSettings(t *testing.T) {
	a := newAuthority(t)
	api := build(t, nil)
	for _, c := range []struct {
		name   string
		change func(*httpapi.TLSFiles)
		want   string
	}{
		{"no certificate", func(f *httpapi.TLSFiles) { f.Certificate += "x" }, "certificate"},
		{"no authorities", func(f *httpapi.TLSFiles) { f.ClientCAs += "x" }, "authorities"},
		{"authorities of another kind", func(f *httpapi.TLSFiles) { f.ClientCAs = f.Key }, "PEM"},
		{"required without authorities", func(f *httpapi.TLSFiles) { f.ClientCAs, f.RequireClientCertificate = "", true }, "required"},
		{"old version", func(f *httpapi.TLSFiles) { f.MinVersion = tls.VersionTLS11 }, "1.2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := a.files(t)
			c.change(files)
			if _, err := httpapi.NewServer(httpapi.ServerConfig{API: api, TLS: files}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("versions", func(t *testing.T) {
		files := a.files(t)
		files.MinVersion = tls.VersionTLS13
		address := serve(t, httpapi.ServerConfig{API: api, TLS: files})
		client := a.client(t, nil)
		do(t, client, "GET", "https://"+address+"/livez", "").wantsStatus(t, 200)
		old := a.client(t, nil)
		old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+address+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := old.Do(r); err == nil {
			_ = response.Body.Close()
			t.Error("TLS 1.2 was spoken")
		}
	})
	t.Run("required", func(t *testing.T) {
		files := a.files(t)
		files.RequireClientCertificate = true
		address := serve(t, httpapi.ServerConfig{API: api, TLS: files})
		do(t, a.client(t, &x509.Certificate{DNSNames: []string{"x"}}), "GET", "https://"+address+"/livez", "").wantsStatus(t, 200)
		r, err := http.NewRequestWithContext(t.Context(), "GET", "https://"+address+"/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		if response, err := a.client(t, nil).Do(r); err == nil {
			_ = response.Body.Close()
			t.Error("served without certificate")
		}
	})
}
