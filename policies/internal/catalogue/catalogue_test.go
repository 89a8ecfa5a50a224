package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCatalogueIsUpToDate(t *testing.T) {
	files, err := catalogue("../..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../..", name))
		if err != nil {
			t.Error(err)
		} else if !bytes.Equal(got, want) {
			t.Errorf("policies/%s is not what the rules say: run go generate ./policies", name)
		}
	}
}

// TestExamplesAreHeld checks that an example which does not hold, is missing or is of no rule is found out.
func TestExamplesAreHeld(t *testing.T) {
	court, err := newCourt()
	if err != nil {
		t.Fatal(err)
	}
	expired := &entry{source: "assay.lifetime", title: "Expired"}
	late := change{Set: map[string]any{"/token/claims/exp": 1795459970}}
	for _, c := range []struct {
		name  string
		shown example
		want  string
	}{
		{"holds", example{Token: "access_token", change: late, Passes: &change{Set: map[string]any{"/token/claims/exp": 1795459971}}}, ""},
		{"holds, and nothing passes", example{Token: "access_token", change: late}, ""},
		{"does not deny", example{Token: "access_token"}, "finds nothing"},
		{"does not pass", example{Token: "access_token", change: late, Passes: &change{}}, "does not pass"},
		{"another token", example{Token: "refresh_token"}, "has no token"},
		{"denies without a deny", example{Token: "access_token", change: change{Drop: []string{"/token/claims/scope"}}}, "finds nothing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := court.holds(expired, &c.shown)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "examples.json"), []byte(`{"examples": {"assay.lifetime: Gone": {"token": "access_token", "passes": null}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	err = attach([]entry{*expired}, dir)
	for _, want := range []string{`nothing for "assay.lifetime: Expired"`, `"assay.lifetime: Gone", which is no rule`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not say %s", err, want)
		}
	}
}
