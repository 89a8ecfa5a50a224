package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/bundles"
)

// signedBundle writes a small signed bundle.
func signedBundle(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "org", "assay", "config")
	if err := os.MkdirAll(config, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(config, "data.json"), []byte(`{"leeway_seconds": 10}`), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := bundles.NewPEMSigner(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "", "")
	if err != nil {
		t.Fatal(err)
	}
	built, err := bundles.Build(t.Context(), bundles.BuildConfig{Dir: filepath.Join(dir, "org")})
	if err != nil {
		t.Fatal(err)
	}
	archive, err := bundles.Sign(t.Context(), built.Archive, bundles.SignConfig{Signer: signer})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bundle.tar.gz")
	if err := os.WriteFile(path, archive, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pushed is what a bundle server got.
type pushed struct {
	method, path, query, contentType, authorization, extra string
	body                                                   []byte
}

func bundleServer(t *testing.T, status int) (*httptest.Server, *[]pushed) {
	t.Helper()
	var got []pushed
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got = append(got, pushed{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Type"), r.Header.Get("Authorization"), r.Header.Get("X-Ms-Blob-Type"), body})
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return server, &got
}

// assayCommand runs a command in this process.
func assayCommand(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(context.WithoutCancel(t.Context()), args, env{
		in: strings.NewReader(""), out: &stdout, err: &stderr, now: time.Now, getenv: func(string) string { return "" },
	})
	return code, stdout.String(), stderr.String()
}

func authorityOf(t *testing.T, server *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPushUploadsByOnePut(t *testing.T) {
	server, got := bundleServer(t, http.StatusCreated)
	file := signedBundle(t)
	archive, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("sesame\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errs := assayCommand(t, "bundle", "push", file, server.URL+"/org/bundle.tar.gz?sig=hidden",
		"--ca-file", authorityOf(t, server), "--token-file", token, "--header", "x-ms-blob-type: BlockBlob")
	if code != 0 || len(*got) != 1 {
		t.Fatalf("exit code %d, %d requests; %s", code, len(*got), errs)
	}
	request := (*got)[0]
	if !bytes.Equal(request.body, archive) {
		t.Errorf("%d bytes arrived, not the bundle", len(request.body))
	}
	request.body = nil
	want := pushed{method: "PUT", path: "/org/bundle.tar.gz", query: "sig=hidden", contentType: "application/gzip", authorization: "Bearer sesame", extra: "BlockBlob"}
	if request.method != want.method || request.path != want.path || request.query != want.query || request.contentType != want.contentType ||
		request.authorization != want.authorization || request.extra != want.extra {
		t.Errorf("got %+v\nwant %+v", request, want)
	}
	if strings.Contains(out, "hidden") || strings.Contains(out, "sesame") || !strings.Contains(out, "/org/bundle.tar.gz") {
		t.Errorf("it says %q; want the place without what is secret", out)
	}
}

func TestPushSaysWhyNot(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		args   []string
		want   string
		asked  int
	}{
		{"forbidden", http.StatusForbidden, nil, "--token-file", 1},
		{"no PUT", http.StatusMethodNotAllowed, nil, "takes no PUT", 1},
		{"redirect, not followed", http.StatusTemporaryRedirect, nil, "redirects are not followed", 1},
		{"server's failure, not repeated", http.StatusInternalServerError, nil, "500", 1},
		{"a credential among the headers", http.StatusCreated, []string{"--header", "Authorization: Bearer sesame"}, "--token-file", 0},
		{"a header that is none", http.StatusCreated, []string{"--header", "sesame"}, "Name: value", 0},
		{"token that is not there", http.StatusCreated, []string{"--token-file", "nowhere"}, "nowhere", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, got := bundleServer(t, c.status)
			args := append([]string{"bundle", "push", signedBundle(t), server.URL + "/b?sig=hidden", "--ca-file", authorityOf(t, server)}, c.args...)
			code, out, errs := assayCommand(t, args...)
			if code != 2 || !strings.Contains(errs, c.want) || len(*got) != c.asked {
				t.Errorf("exit code %d, %d requests, %q", code, len(*got), errs)
			}
			if strings.Contains(out+errs, "hidden") || strings.Contains(errs, "Bearer sesame") {
				t.Errorf("it says what is secret: %q", out+errs)
			}
		})
	}
}

func TestPushTrustsNoUnknownServer(t *testing.T) {
	server, got := bundleServer(t, http.StatusCreated)
	code, _, errs := assayCommand(t, "bundle", "push", signedBundle(t), server.URL+"/b?sig=hidden")
	if code != 2 || len(*got) != 0 || !strings.Contains(errs, "certificate") || strings.Contains(errs, "hidden") {
		t.Errorf("exit code %d, %d requests, %q", code, len(*got), errs)
	}
}
