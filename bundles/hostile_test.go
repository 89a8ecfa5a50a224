package bundles

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// Files that are small and become large, or deep, when they are understood. A refusal is right, and so is taking what
// OPA takes; using up the machine is not.
func TestSmallFilesDoNotBecomeLarge(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	const deep = 100_000
	for _, c := range []struct{ name, file, text string }{
		{"YAML aliases that multiply", "assay/config/data.yaml", bomb.String()},
		{"deep YAML", "assay/config/data.yaml", "a: " + strings.Repeat("[", deep) + strings.Repeat("]", deep)},
		{"deep JSON", "assay/config/data.json", `{"a":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}"},
		{"deep Rego", "assay/rules/x.rego", "package assay.rules.x\n\ny := " + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "\n"},
		{"deep manifest", manifestFile, `{"roots":["assay"],"metadata":{"a":` + strings.Repeat("[", deep) + strings.Repeat("]", deep) + "}}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			entries := []entry{{name: c.file, text: c.text}}
			if c.file != manifestFile {
				entries = append(entries, entry{name: manifestFile, text: manifest})
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := read(archiveOf(t, entries...), ReadConfig{})
			runtime.ReadMemStats(&after)
			wantRefused(t, err, ReasonMalformed)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 512<<20 {
				t.Errorf("it took %d MiB for a file of %d KiB", grown>>20, len(c.text)>>10)
			}
			if text := err.Error(); len(text) > 4<<10 {
				t.Errorf("the refusal is %d bytes long", len(text))
			}
		})
	}
}
