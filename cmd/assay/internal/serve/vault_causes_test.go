package serve

import (
	"testing"

	"github.com/assaypdp/assay/vaultkeys"
)

// Nobody is told of keys last read where there are none.
func TestWithoutVaultTheKeysThereAreCount(t *testing.T) {
	for _, c := range []struct {
		name string
		keys []vaultkeys.KeyHealth
		want string
	}{
		{"no keys for tokens", nil, ""},
		{"never read", []vaultkeys.KeyHealth{{Name: "a"}, {Name: "b"}}, "; no keys are known from before, so tokens signed with Vault's are denied"},
		{"one is believed", []vaultkeys.KeyHealth{{Name: "a"}, {Name: "b", Believed: true}}, "; decisions go on with the keys last read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := withoutDecider(c.keys); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
