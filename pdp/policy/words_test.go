package policy

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/policies"
)

func TestTheLibrarysCodesAndControlsStandInIt(t *testing.T) {
	r := compiled(t, library())
	var file struct {
		Catalogue struct {
			Reasons []struct {
				Code     string   `json:"code"`
				GivenBy  string   `json:"given_by"`
				Controls []string `json:"controls"`
			} `json:"reasons"`
		} `json:"catalogue"`
	}
	if err := json.Unmarshal(policies.Catalogue(), &file); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, c := range file.Catalogue.Reasons {
		if !strings.HasPrefix(c.GivenBy, "assay.") { // by Go
			continue
		}
		seen++
		for _, text := range append(c.Controls, c.Code) {
			if !r.says(text) {
				t.Errorf("%s: %s is taken for computed", c.Code, text)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d codes of the library were looked at", seen)
	}
}

func TestCodesAndControlsThatARuleComputesAreMarked(t *testing.T) {
	const finding = "decision := {\"allow\": true, \"claims\": set(), \"obligations\": {}, \"cache_for_seconds\": 0, \"reasons\": {{\"code\": code, \"controls\": controls, " +
		"\"message\": \"m\", \"severity\": \"low\", \"enforcement\": \"warn\", \"details\": {\"kind\": 1, sprintf(\"of %s\", [input.token.kind]): 2}}}}\n\n"
	for name, c := range map[string]struct {
		rules    string
		computed bool
	}{
		"both are said":                  {"code := \"own.said\"\n\ncontrols := [\"OWN:1\"]\n", false},
		"they stand in the data":         {"code := data.own.code\n\ncontrols := data.own.controls\n", false},
		"they are chosen":                {"code := {\"jws\": \"own.signed\", \"jwe\": \"own.encrypted\"}[input.token.kind]\n\ncontrols := [\"OWN:1\"]\n", false},
		"the code is made of a claim":    {"code := sprintf(\"own.%s\", [input.token.claims.client_id])\n\ncontrols := [\"OWN:1\"]\n", true},
		"the code is a claim":            {"code := concat(\".\", [\"own\", input.token.claims.sub])\n\ncontrols := []\n", true},
		"a control is made of a claim":   {"code := \"own.said\"\n\ncontrols := [\"OWN:1\", sprintf(\"OWN:%s\", [input.token.claims.client_id])]\n", true},
		"a code is a text of other data": {"code := sprintf(\"%s.x\", [data.own.person])\n\ncontrols := []\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := deciding(finding + c.rules)
			s.Data = []byte(`{"own": {"code": "own.of_data", "controls": ["OWN:2"], "person": "jane"}}`)
			e, _ := engine(t, compiled(t, s))
			for range 2 { // the second time it is remembered
				v, err := e.Evaluate(t.Context(), facts(t))
				if err != nil || len(v.Reasons) != 1 {
					t.Fatalf("%+v, %v", v, err)
				}
				if names := v.Reasons[0].ComputedNames; len(names) != 1 || names[0] != "of jws" {
					t.Errorf("names %q", names)
				}
				if reason := v.Reasons[0]; reason.Computed != c.computed || (reason.RecordedCode() == pdp.ComputedCode) != c.computed {
					t.Errorf("%+v", reason)
				}
			}
		})
	}
}
