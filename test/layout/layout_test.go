// Package layout holds the dependency direction of the design: which package may import which, and in
// which few places the types of a large library may be seen. A rule that is broken names the import.
package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/assaypdp/assay"

type listed struct {
	ImportPath                         string
	Imports, TestImports, XTestImports []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", module+"/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var all []listed
	decoder := json.NewDecoder(strings.NewReader(string(out)))
	for {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		p.ImportPath = strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("go list knows %d packages of this module; that cannot be all", len(all))
	}
	return all
}

func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

// ours lists what each package of the module may import of the module itself.
func mayImport(from, to string) bool {
	switch {
	case within(from, "cmd"):
		return !within(to, "test")
	case from == "pdp":
		return false
	case from == "pdp/strictjson":
		return false
	case within(from, "pdp"):
		own := strings.Join(strings.SplitN(from, "/", 3)[:2], "/")
		return to == "pdp" || to == "pdp/strictjson" || within(to, own)
	case from == "vaultkeys":
		return to == "pdp"
	case within(from, "vaultkeys/transit"):
		return to == "vaultkeys"
	case within(from, "vaultkeys/issuer"), within(from, "vaultkeys/custodian"), within(from, "vaultkeys/decrypter"), within(from, "vaultkeys/notary"):
		return to == "vaultkeys" || to == "pdp"
	case from == "policies":
		return false
	case within(from, "policies/internal"):
		return to == "policies" || to == "pdp" || within(to, "policies/internal")
	case within(from, "bundles"):
		return within(to, "bundles")
	case within(from, "test"):
		return !within(to, "cmd")
	}
	return false
}

func TestPackagesImportInTheDesignsDirection(t *testing.T) {
	for _, p := range packages(t) {
		for _, imported := range p.Imports {
			to, ours := strings.CutPrefix(imported, module+"/")
			if ours && !mayImport(p.ImportPath, to) {
				t.Errorf("%s imports %s", p.ImportPath, to)
			}
		}
	}
}

func TestLargeLibrariesStayWhereTheyBelong(t *testing.T) {
	for _, library := range []struct {
		prefix string
		only   []string
	}{
		{"github.com/open-policy-agent/opa", []string{"pdp/policy", "bundles", "policies/internal"}},
		{"github.com/lestrrat-go/jwx", []string{"pdp/token", "pdp/keyset", "vaultkeys"}},
		{"github.com/hashicorp/vault", []string{"vaultkeys/transit"}},
		{"github.com/gorilla/mux", []string{"pdp/httpapi"}},
		{"github.com/nats-io", []string{"pdp/revocation", "pdp/audit/upload"}},
		{"github.com/goccy/go-yaml", []string{"cmd/assay"}},
		{"github.com/spf13/cobra", []string{"cmd/assay"}},
	} {
		for _, p := range packages(t) {
			if within(p.ImportPath, "test") || slices.ContainsFunc(library.only, func(at string) bool { return within(p.ImportPath, at) }) {
				continue
			}
			for _, imported := range p.Imports {
				if within(imported, library.prefix) {
					t.Errorf("%s imports %s; only %s may", p.ImportPath, imported, strings.Join(library.only, ", "))
				}
			}
		}
	}
}

// The decision path holds no code that can sign or rotate: nothing that it links, however far down, is
// the client of Vault.
func TestDecisionPathCannotSign(t *testing.T) {
	for _, root := range []string{"pdp/token", "pdp/keyset", "pdp/policy", "pdp/httpapi"} {
		out, err := exec.Command("go", "list", "-deps", module+"/"+root).Output()
		if err != nil {
			t.Fatalf("go list -deps %s: %v", root, err)
		}
		for dependency := range strings.Lines(string(out)) {
			dependency = strings.TrimSpace(dependency)
			if within(dependency, module+"/vaultkeys") || within(dependency, "github.com/hashicorp/vault") {
				t.Errorf("%s links %s", root, dependency)
			}
		}
	}
}

func TestTopLevelIsTheGivenOne(t *testing.T) {
	allowed := []string{"LICENSE", "Makefile", "README.md", "bundles", "cmd", "go.mod", "go.sum", "pdp", "policies", "test", "vaultkeys"}
	tracked, err := exec.Command("git", "-C", filepath.Join("..", ".."), "ls-tree", "--name-only", "HEAD").Output()
	if err != nil {
		if _, statErr := os.Stat(filepath.Join("..", "..", ".git")); statErr != nil {
			t.Skip("not a git checkout: the tracked top level cannot be listed")
		}
		t.Fatalf("git ls-tree: %v", err)
	}
	for name := range strings.Lines(string(tracked)) {
		name = strings.TrimSpace(name)
		if !strings.HasPrefix(name, ".") && !slices.Contains(allowed, name) {
			t.Errorf("%s does not belong at the top level", name)
		}
	}
}
