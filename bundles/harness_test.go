package bundles

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The one moment of all tests that do not say otherwise.
var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// partner is an organisation's bundle: a rule, its test and configuration.
var partner = map[string]string{
	"assay/rules/partner/partner.rego": `package assay.rules.partner

deny contains {"code": "partner.client"} if input.token.claims.client_id == data.assay.config.partner.blocked
`,
	"assay/rules/partner/partner_test.rego": `package assay.rules.partner_test

import data.assay.rules.partner

test_blocked if partner.deny == {{"code": "partner.client"}} with input.token.claims.client_id as "evil"
	with data.assay.config.partner.blocked as "evil"
`,
	"assay/config/data.json":         `{"leeway_seconds": 10}`,
	"assay/config/partner/data.yaml": "blocked: evil\nlimit: 1.50\n",
}

func writeFiles(t testing.TB, dir string, texts map[string]string) string {
	t.Helper()
	for name, text := range texts {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func privatePEM(t testing.TB, alg string) []byte {
	t.Helper()
	var key any
	var err error
	switch alg {
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(rand.Reader)
	default:
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func newSigner(t *testing.T, alg string) *PEMSigner {
	t.Helper()
	s, err := NewPEMSigner(privatePEM(t, alg), alg, "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func trust(s Signer) *Verification {
	return &Verification{Keys: map[string]Key{s.KeyID(): {PEM: s.PublicKey(), Algorithm: s.Algorithm()}}}
}

func build(t *testing.T, c BuildConfig) *Built {
	t.Helper()
	if c.Dir == "" {
		c.Dir = writeFiles(t, t.TempDir(), partner)
	}
	built, err := Build(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func signed(t *testing.T, archive []byte, s Signer) []byte {
	t.Helper()
	made, err := Sign(context.Background(), archive, SignConfig{Signer: s})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func read(archive []byte, c ReadConfig) (*Bundle, error) {
	if c.Now == nil {
		c.Now = at(noon)
	}
	return Read(context.Background(), bytes.NewReader(archive), c)
}

// wantRefused demands a refusal for one reason.
func wantRefused(t *testing.T, err error, want Reason) {
	t.Helper()
	var refused *RefusedError
	switch {
	case err == nil:
		t.Fatalf("it was taken; want refused as %s", want)
	case !errors.As(err, &refused):
		t.Fatalf("%v (%T); want refused as %s", err, err, want)
	case refused.Reason != want:
		t.Fatalf("%v; want refused as %s", err, want)
	}
}

// entry is one of a hand-made archive.
type entry struct {
	name, text string
	kind       byte // 0: a plain file
	link       string
}

func archiveOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	w := tar.NewWriter(z)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: e.kind, Linkname: e.link, Mode: 0o600}
		if e.kind == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(e.text))
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(e.text)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
