package bundles

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// What README.md says in words and figures is what the code has.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	readme := string(text)
	for _, reason := range append(allReasons, ReasonTests) {
		if !strings.Contains(readme, fmt.Sprintf("\n| `%s` | ", reason)) {
			t.Errorf("README.md does not explain the reason %s", reason)
		}
	}
	for _, sentence := range []string{
		"Algorithms: " + strings.Join(Algorithms(), ", ") + ".",
		fmt.Sprintf("Limits: an archive of %d bytes, %d times that unpacked, %d entries.", DefaultMaxBytes, UnpackedRatio, DefaultMaxFiles),
		fmt.Sprintf("`%s` and `%s` unless it says otherwise", RulesRoot, ConfigRoot),
	} {
		if !strings.Contains(readme, sentence) {
			t.Errorf("README.md does not say %q", sentence)
		}
	}
}
