package transit_test

import (
	"os"
	"strings"
	"testing"

	"github.com/assaypdp/assay/vaultkeys/transit"
)

// The policies that ../README.md prints are those that setup writes.
func TestREADMEPolicies(t *testing.T) {
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	policies, err := transit.Desired{
		Keys:  []transit.DesiredKey{{Name: "access", Type: "ecdsa-p256"}},
		Roles: []transit.DesiredRole{{Role: transit.Issuer, Keys: []string{"access"}}, {Role: transit.Custodian, Keys: []string{"access"}}},
	}.Policies("transit")
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, p := range policies {
		all.WriteString(p.HCL)
	}
	blocks := strings.Split(string(content), "```hcl\n")[1:]
	if len(blocks) != 2 {
		t.Fatalf("README.md has %d policies, not 2", len(blocks))
	}
	for _, block := range blocks {
		block, _, _ = strings.Cut(block, "```")
		if !strings.Contains(all.String(), strings.TrimSpace(block)) {
			t.Errorf("README.md prints a policy that is not written:\n%s", block)
		}
	}
}
