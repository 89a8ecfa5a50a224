package workbench_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/assaypdp/assay/pdp/policy/workbench"
)

// What is written compiles, passes every check and its own tests with full coverage, whatever it is called.
func TestScaffoldIsReadyToRun(t *testing.T) {
	for _, c := range []struct {
		name string
		rule workbench.NewRule
	}{
		{"defaults", workbench.NewRule{Name: "acme_partners"}},
		{"everything said", workbench.NewRule{Name: "acme", Code: "acme.office-hours", Title: "Partners, at night", Severity: "critical", Mode: "off", Controls: []string{"SOC2:CC6.3", "ISO27001:A.5.17"}}},
		{"short", workbench.NewRule{Name: "x", Mode: "deny"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			files, err := workbench.Scaffold(c.rule)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			for name, text := range files {
				path := filepath.Join(dir, filepath.FromSlash(name))
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			read, err := workbench.Read(dir)
			if err != nil {
				t.Fatal(err)
			}
			p, err := library(t).With(read)
			if err != nil {
				t.Fatal(err)
			}
			if problems, err := workbench.Check(t.Context(), p); err != nil || len(problems) > 0 {
				t.Errorf("check: %v %v", problems, err)
			}
			report, err := workbench.Test(t.Context(), workbench.TestConfig{Policy: p})
			if err != nil {
				t.Fatal(err)
			}
			if !report.OK() || report.Passed != 5 || report.Coverage != 100 {
				t.Errorf("%+v", report)
			}
		})
	}
}

func TestScaffoldRefuses(t *testing.T) {
	for name, rule := range map[string]workbench.NewRule{
		"no name": {}, "two names": {Name: "a.b"}, "a test": {Name: "a_test"}, "upper case": {Name: "Acme"}, "a path": {Name: "../x"},
		"a keyword":              {Name: "import"},
		"code without a family":  {Name: "a", Code: "found"},
		"title of two lines":     {Name: "a", Title: "a\n# custom"},
		"title that YAML breaks": {Name: "a", Title: "a: b"},
		"severity":               {Name: "a", Severity: "awful"},
		"mode":                   {Name: "a", Mode: "maybe"},
		"control":                {Name: "a", Controls: []string{"a, b"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := workbench.Scaffold(rule); err == nil {
				t.Error("it is written")
			}
		})
	}
}
