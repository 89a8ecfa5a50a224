package main

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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
)

// authority issues certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert, a.key = a.sign(template, nil, nil)
	return a
}

func (a *authority) sign(template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if parent == nil {
		parent, by = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// issue gives a certificate for a server (name) or a client (SPIFFE ID).
func (a *authority) issue(name, spiffe string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "leaf"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if name != "" {
		template.DNSNames, template.IPAddresses = []string{name}, []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if spiffe != "" {
		id, err := url.Parse(spiffe)
		if err != nil {
			a.t.Fatal(err)
		}
		template.URIs = []*url.URL{id}
	}
	cert, key := a.sign(template, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

func (a *authority) write(path, kind string, der []byte) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.t.Fatal(err)
	}
}

// Over TLS with client certificates: each caller is known by its SPIFFE ID and may ask what its grant says.
func TestCallersByClientCertificate(t *testing.T) {
	ca, folder := newAuthority(t), t.TempDir()
	server := ca.issue("localhost", "")
	key, err := x509.MarshalPKCS8PrivateKey(server.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	ca.write(filepath.Join(folder, "ca.pem"), "CERTIFICATE", ca.cert.Raw)
	ca.write(filepath.Join(folder, "server.pem"), "CERTIFICATE", server.Certificate[0])
	ca.write(filepath.Join(folder, "server.key"), "PRIVATE KEY", key)
	path := filepath.Join(folder, "assay.yaml")
	if err := os.WriteFile(path, []byte(`
tls: {cert_file: server.pem, key_file: server.key, client_ca_file: ca.pem}
callers:
  required: true
  grants:
    - certificate: spiffe://example/orders
      decide: {audiences: [orders]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	app, err := serve.New(t.Context(), c, serve.Deps{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, listener) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	known, unknown := ca.issue("", "spiffe://example/orders"), ca.issue("", "spiffe://example/other")
	stranger := newAuthority(t).issue("", "spiffe://example/orders")
	for _, call := range []struct {
		name, audience string
		certificate    *tls.Certificate
		want           string
	}{
		{"its own audience", "orders", &known, "200 "},
		{"left out where one is granted", "", &known, "200 "},
		{"another audience", "payroll", &known, "403 "},
		{"no grant", "orders", &unknown, "403 "},
		{"no certificate", "orders", nil, "401 "},
		{"of another authority", "orders", &stranger, "tls"},
	} {
		t.Run(call.name, func(t *testing.T) {
			roots := x509.NewCertPool()
			roots.AddCert(ca.cert)
			settings := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
			if call.certificate != nil {
				settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return call.certificate, nil }
			}
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: settings, DisableKeepAlives: true}}
			body := `{"token": "x", "request": {}}`
			if call.audience != "" {
				body = fmt.Sprintf(`{"token": "x", "request": {"audience": %q}}`, call.audience)
			}
			ask := func() string {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+listener.Addr().String()+"/decide", strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("Content-Type", "application/json")
				response, err := client.Do(request)
				if err != nil {
					return "tls " + err.Error()
				}
				defer response.Body.Close()
				text, _ := io.ReadAll(response.Body)
				return fmt.Sprintf("%d %s", response.StatusCode, text)
			}
			got := ask()
			// The server waits five seconds for a handshake, which a busy machine may take: then it is tried again.
			for deadline := time.Now().Add(patience); strings.HasPrefix(got, "tls") && call.want != "tls" && time.Now().Before(deadline); {
				got = ask()
			}
			if !strings.HasPrefix(got, call.want) {
				t.Errorf("got %s, want %s", got, call.want)
			}
		})
	}
}
