package bundles

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/compile"
	"github.com/open-policy-agent/opa/v1/loader"
	"github.com/open-policy-agent/opa/v1/rego"
)

// stockBuild is `opa build --bundle DIR --signing-key … `: the code that the command calls.
func stockBuild(t *testing.T, dir string, key []byte, alg, kid string) []byte {
	t.Helper()
	var out bytes.Buffer
	c := compile.New().WithAsBundle(true).WithPaths(dir).WithOutput(&out).WithRegoVersion(ast.RegoV1).
		WithRevision("stock").WithRoots("assay/rules", "assay/config")
	if key != nil {
		c = c.WithBundleSigningConfig(bundle.NewSigningConfig(string(key), alg, "")).WithBundleVerificationKeyID(kid)
	}
	if err := c.Build(context.Background()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestBundlesOfStockOPALoadHere(t *testing.T) {
	dir := writeFiles(t, t.TempDir(), partner)
	for _, alg := range []string{"ES256", "ES384", "ES512", "RS256", "PS256", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			key := privatePEM(t, alg)
			signer, err := NewPEMSigner(key, alg, "release")
			if err != nil {
				t.Fatal(err)
			}
			b, err := read(stockBuild(t, dir, key, alg, "release"), ReadConfig{Name: "org", Verify: trust(signer), AllowedRoots: OrganisationRoots()})
			if err != nil {
				t.Fatal(err)
			}
			if !b.Signed || b.KeyID != "release" || b.Revision != "stock" || b.RollbackProtected() {
				t.Errorf("got %+v; want it signed by release, revision stock, without roll-back protection", b)
			}
			if len(b.Modules) != 1 || len(b.Tests) != 1 {
				t.Errorf("%d modules and %d tests; want one of each", len(b.Modules), len(b.Tests))
			}
		})
	}
}

// What opa sign makes where no key id is given.
func TestSignatureWithoutKeyIDIsHeldAgainstTheOnlyKey(t *testing.T) {
	key := privatePEM(t, "ES256")
	archive := stockBuild(t, writeFiles(t, t.TempDir(), partner), key, "ES256", "")
	signer, err := NewPEMSigner(key, "", "")
	if err != nil {
		t.Fatal(err)
	}
	only := trust(signer)
	if _, err := read(archive, ReadConfig{Verify: only}); err != nil {
		t.Errorf("with one key: %v", err)
	}
	other := newSigner(t, "ES256")
	only.Keys[other.KeyID()] = Key{PEM: other.PublicKey(), Algorithm: "ES256"}
	_, err = read(archive, ReadConfig{Verify: only})
	wantRefused(t, err, ReasonSignature)
}

func TestOurBundlesLoadAndVerifyInStockOPA(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			signer := newSigner(t, alg)
			archive := signed(t, build(t, BuildConfig{Revision: "r1", Sequence: 7, NotAfter: noon.Add(time.Hour)}).Archive, signer)
			key := &bundle.KeyConfig{Key: signer.PublicKey(), Algorithm: alg}
			verification := bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{signer.KeyID(): key}, "", "", nil)
			loaded, err := bundle.NewReader(bytes.NewReader(archive)).WithBundleVerificationConfig(verification).Read()
			if err != nil {
				t.Fatalf("stock OPA: %v", err)
			}
			if loaded.Manifest.Revision != "r1" || len(loaded.Modules) != 2 {
				t.Errorf("stock OPA has revision %q and %d modules", loaded.Manifest.Revision, len(loaded.Modules))
			}
			other := newSigner(t, alg)
			key.Key = other.PublicKey()
			if _, err := bundle.NewReader(bytes.NewReader(archive)).WithBundleVerificationConfig(verification).Read(); err == nil {
				t.Error("stock OPA took another key's signature")
			}
		})
	}
}

func TestStockOPAEvaluatesOurBundle(t *testing.T) {
	signer := newSigner(t, "ES256")
	path := filepath.Join(t.TempDir(), "bundle.tar.gz")
	if err := os.WriteFile(path, signed(t, build(t, BuildConfig{}).Archive, signer), 0o600); err != nil {
		t.Fatal(err)
	}
	key := &bundle.KeyConfig{Key: signer.PublicKey(), Algorithm: "ES256"}
	loaded, err := loader.NewFileLoader().WithBundleVerificationConfig(
		bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{signer.KeyID(): key}, "", "", nil)).AsBundle(path)
	if err != nil {
		t.Fatal(err)
	}
	results, err := rego.New(rego.Query("data.assay.rules.partner.deny"), rego.ParsedBundle("org", loaded),
		rego.Input(map[string]any{"token": map[string]any{"claims": map[string]any{"client_id": "evil"}}})).Eval(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 1 || len(results[0].Expressions[0].Value.([]any)) != 1 {
		t.Errorf("stock OPA says %v; want the one deny of the bundle's rule and configuration", results)
	}
}
