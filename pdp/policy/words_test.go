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
			if !r.words.Says(text) {
				t.Errorf("%s: %s is taken for computed", c.Code, text)
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d codes of the library were looked at", seen)
	}
}

func TestTheWordsOfAPolicy(t *testing.T) {
	const policy = `decision := {"allow": true, "reasons": {r | some name in ["x"]; r := reason(name)}, "claims": set(), "obligations": {}, "cache_for_seconds": 0}

reason(name) := {"code": code, "controls": ["OWN:list"], "message": "m", "severity": "low", "enforcement": "warn", "details": {"in.details": 1}} if {
	some code, _ in modes
	name == "in.function"
} else := {"code": "in.else"}

modes["in.head"] := "warn" if input.time

modes["in.head_without_body"] := "warn"

found["in.set"] if input.time > 0

counts.in_ref := 1 if input.time

default standing := "in.default"

# METADATA
# custom:
#   code: in.metadata
#   controls: [OWN:metadata]
findings contains {"rule": rego.metadata.rule(), "names": {n | some n in ["in.comprehension"]}} if data.own["in.reference"]
`
	s := deciding(policy)
	s.Data = []byte(`{"own": {"codes": {"x": ["in.data"]}, "control": "OWN-data", "people": {"jane.doe": {"uri": "urn:person:jane"}}}, "assay": {"config": {"names": {"in_config": ["value_of_config"]}, "modes": {"own.mode": "warn"}, "waivers": [{"rule": "own.waived"}]}}}`)
	r := compiled(t, s)
	for _, text := range []string{
		"in.details", "in.function", "in.else", "in.head", "in.head_without_body", "in.set", "in_ref", "in.default", "in.metadata", "OWN:metadata", "OWN:list",
		"in.comprehension", "in.reference", "in.data", "OWN-data", "in_config", "value_of_config",
	} {
		if !r.words.Says(text) {
			t.Errorf("%s is not known", text)
		}
	}
	for _, code := range []string{"in.else", "in.metadata"} {
		if !r.words.SaysCode(code) || !r.words.Says(code) {
			t.Errorf("%s stands where a code does", code)
		}
	}
	for _, text := range []string{"in.function", "in.head", "in_config"} {
		if r.words.SaysCode(text) {
			t.Errorf("%s does not stand where a code does", text)
		}
	}
	for _, text := range []string{"", "jane.doe", "urn:person:jane", "people", "own.mode", "own.waived"} {
		if r.words.Says(text) {
			t.Errorf("%s is taken for a word of the policy", text)
		}
	}
}

const telling = "decision := {\"allow\": true, \"claims\": set(), \"obligations\": {}, \"cache_for_seconds\": 0, \"reasons\": {{\"code\": code, " +
	"\"message\": \"m\", \"severity\": \"low\", \"enforcement\": \"warn\", \"details\": {}}}}\n\n"

func TestACodeThatARuleComputesIsNotNamed(t *testing.T) {
	for name, c := range map[string]struct{ rules, recorded string }{
		"it is said":                   {"code := \"own.said\"\n", "own.said"},
		"it is chosen":                 {"code := {\"jws\": \"own.signed\"}[input.token.kind]\n", "own.signed"},
		"it is made of a claim":        {"code := sprintf(\"own.%s\", [input.token.claims.client_id])\n", pdp.ComputedCode},
		"it is Go's":                   {"code := concat(\".\", [\"signature\", \"malformed\"])\n", "signature.malformed"},
		"beside a builtin that failed": {"code := sprintf(\"own.%s\", [input.token.claims.client_id])\n\nx := to_number(input.token.claims.sub)\n\nfailing if x\n", pdp.ComputedCode},
	} {
		t.Run(name, func(t *testing.T) {
			e, _ := engine(t, compiled(t, deciding(telling+c.rules)))
			for range 2 { // the second time it is remembered
				v, err := e.Evaluate(t.Context(), facts(t))
				if err != nil || len(v.Reasons) == 0 {
					t.Fatalf("%+v, %v", v, err)
				}
				last := v.Reasons[len(v.Reasons)-1]
				if code := pdp.RecordedCode(last.Code, v.Words); code != c.recorded {
					t.Errorf("%s is recorded as %s", last.Code, code)
				}
			}
		})
	}
}

// What a candidate says differently goes to metrics and to the log.
func TestAShadowNamesNoCodeThatARuleComputes(t *testing.T) {
	s, b, _ := beginShadow(t, "decision := {\"allow\": true, \"claims\": set(), \"obligations\": {}, \"cache_for_seconds\": 0, \"reasons\": set()}\n",
		telling+"code := sprintf(\"own.%s\", [input.token.claims.client_id])\n", 1, 10)
	running(t, s)
	asked(t, s)
	compared := <-b.compared
	if len(compared.Differences) == 0 {
		t.Fatalf("%+v", compared)
	}
	for _, d := range compared.Differences {
		if d.Code != "" && d.Code != pdp.ComputedCode {
			t.Errorf("%+v", d)
		}
	}
}
