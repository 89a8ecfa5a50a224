package serve

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/masking"
)

func written(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A bundle brings masks with its rules: one in the place of the library's, and that of OPA's decision log.
func TestMaskOfABundle(t *testing.T) {
	own := "# METADATA\n# title: Mask\npackage assay.audit\n\nmask := {\"clear\": {[\"iss\"]}}\n"
	log := "package system.log\n\nmask contains \"/input/request\"\n"
	for name, c := range map[string]struct {
		files  map[string]string
		clear  int
		remove []string
	}{
		"the library's":       {files: map[string]string{".manifest": `{"roots": ["assay/rules/x"]}`}, clear: 16},
		"a mask of its own":   {files: map[string]string{".manifest": `{"roots": ["assay/audit"]}`, "assay/audit/own.rego": own}, clear: 1},
		"OPA's mask":          {files: map[string]string{".manifest": `{"roots": ["system/log"]}`, "system/log/mask.rego": log}, clear: 16, remove: []string{"/input/request"}},
		"both, without roots": {files: map[string]string{"own.rego": own, "mask.rego": log}, clear: 1, remove: []string{"/input/request"}},
	} {
		t.Run(name, func(t *testing.T) {
			revision, err := CompilePolicy(t.Context(), &config.Config{Policy: config.Policy{
				Bundle: []config.Bundle{{Name: "own", Source: written(t, c.files)}}, MaxBundleBytes: 1 << 20,
			}})
			if err != nil {
				t.Fatal(err)
			}
			m, err := masking.New(masking.Config{Revision: func() *policy.Revision { return revision }})
			if err != nil {
				t.Fatal(err)
			}
			mask, err := m.Mask(t.Context(), &pdp.Facts{Request: &pdp.Request{}, Token: &pdp.Token{}, Verification: &pdp.Verification{}}, &pdp.Decision{})
			if err != nil || len(mask.Clear) != c.clear || strings.Join(mask.Remove, " ") != strings.Join(c.remove, " ") {
				t.Errorf("%+v, %v", mask, err)
			}
		})
	}
}

func TestClassifiedClaimThatIsClearedRefusesThePolicy(t *testing.T) {
	dir := written(t, map[string]string{"org.yaml": "audit:\n  clear:\n    tenant: true\n    email: true\n"})
	var wrong *policy.ConfigError
	_, err := CompilePolicy(t.Context(), &config.Config{Policy: config.Policy{Config: filepath.Join(dir, "org.yaml")}})
	if !errors.As(err, &wrong) || len(wrong.Problems) != 1 || wrong.Problems[0].Field != "audit.clear.email" {
		t.Errorf("%v", err)
	}
}
