package report

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

func build(t testing.TB, m *month, framework string) *Report {
	t.Helper()
	r, err := Build(t.Context(), m.config(t, framework), m.all(), proven())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func pageOf(t testing.TB, r *Report) []byte {
	t.Helper()
	var page bytes.Buffer
	if err := WriteHTML(&page, r); err != nil {
		t.Fatal(err)
	}
	return page.Bytes()
}

// The example's report is compared with the files beside it, in testdata; ASSAY_GOLDEN=write makes them anew.
func TestExampleReportIsAsWritten(t *testing.T) {
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		t.Run(framework, func(t *testing.T) {
			r := build(t, example(), framework)
			data, err := json.MarshalIndent(r, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			golden(t, framework+".json", append(data, '\n'))
			if framework == "soc2" {
				golden(t, framework+".html", pageOf(t, r))
			}
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("ASSAY_GOLDEN") == "write" {
		if err := os.WriteFile(path, got, 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Errorf("%s is not as written from byte %d on:\n got %q\nwant %q\nASSAY_GOLDEN=write go test ./pdp/audit/report makes it anew", name, at, cut(got, at), cut(want, at))
	}
}

func cut(text []byte, at int) []byte { return text[max(0, at-80):min(len(text), at+120)] }
