package report

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// bash itself takes hostile names for words, and runs nothing of them.
func TestBashReadsNamesAsWords(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("no bash; FuzzQuotedNamesAreOneWord reads the commands by rules of its own")
	}
	for _, text := range append(slices.Clone(hostile), "/tmp/a b/audit", "café", "~root", "*", "!!", "a\\b") {
		command := commandLine([]string{"assay", "audit", "query", "--dir=" + text}, index.Query{Client: text})
		out, err := exec.Command(bash, "--norc", "-c", `cd / && printf '%s\0' `+command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
		want := []string{"assay", "audit", "query", "--dir=" + text, "--client=" + text, ""}
		if text == "" {
			want = slices.Delete(want, 4, 5) // nothing is not asked for
		}
		if got := strings.Split(string(out), "\x00"); !slices.Equal(got, want) {
			t.Errorf("%s is read as %q, want %q", command, got, want)
		}
	}
}
