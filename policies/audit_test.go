package policies_test

import (
	"testing"

	"github.com/assaypdp/assay/policies/internal/detectors"
)

// TestNothingEscapesTheLookBeforehand: whatever a detector of personal data recognises is never written into the audit
// log as it is, although a mask usually has one look at all claims and not five at each.
func TestNothingEscapesTheLookBeforehand(t *testing.T) {
	values, err := detectors.Corpus("corpus")
	if err != nil {
		t.Fatal(err)
	}
	ask := prepare(t, nil).answer(t, `d := {
		"clear": {path | some path in object.get({"usual": data.assay.audit.usual}, data.assay.audit.mask, data.assay.audit.mask).clear; path == ["scope"]} != set(),
		"shows": {shape | some shape in ["email", "phone", "iban", "payment_card", "secret"]; data.assay.sensitive.has_shape(shape, input.token.claims.scope)} != set(),
	}`)
	hidden := map[bool]int{}
	for _, value := range values {
		in := accessToken()
		in["token"].(map[string]any)["claims"].(map[string]any)["scope"] = value.Text
		answer := ask(in).(map[string]any)
		if answer["clear"] == answer["shows"] {
			t.Errorf("%s: clear %v: %q", value.Group, answer["clear"], value.Text)
		}
		if answer["shows"] == true {
			hidden[len(value.Shapes) > 0]++
		}
	}
	if hidden[true] == 0 {
		t.Error("no value of the corpus was recognised")
	}
	t.Logf("of %d values %d that have a shape and %d that have none are hidden", len(values), hidden[true], hidden[false])
}
