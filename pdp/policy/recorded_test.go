package policy

import (
	"encoding/json"
	"testing"
)

// recordedInput is an input as a record holds it, with a claim and a time.
func recordedInput(sub, size, second string) map[string]any {
	return map[string]any{
		"time":  json.Number(second),
		"token": map[string]any{"claims": map[string]any{"sub": sub}, "size": json.Number(size), "kid": "k1"},
		"other": "text",
	}
}

// The key is that of what is read, whatever else there is, and of no time.
func TestRecordedKeyIsOfWhatIsRead(t *testing.T) {
	for _, c := range []struct {
		name, text                 string
		sub, size, second, request bool // whether the key tells them apart
	}{
		{"claims", `decision := {"allow": input.token.claims.sub == "a", "reasons": []}`, true, false, false, false},
		{"a part of a member", `decision := {"allow": input.token.size + input.time > 0, "reasons": []}`, false, true, false, false},
		{"a whole member", `decision := {"allow": count(input.token) > input.time, "reasons": []}`, true, true, false, false},
		{"all", "decision := {\"allow\": count(object.keys(input)) > 0, \"reasons\": []}", true, true, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := compiled(t, deciding(c.text)).Recorded(nil)
			key := func(input map[string]any) string { return string(f.AppendKey(nil, input)) }
			was := key(recordedInput("a", "1", "100"))
			if again := key(recordedInput("a", "1", "100")); again != was {
				t.Error("the same input has another key")
			}
			with := recordedInput("a", "1", "100")
			with["request"] = map[string]any{"path": "/"}
			for _, other := range []struct {
				what   string
				input  map[string]any
				unlike bool
			}{
				{"sub", recordedInput("b", "1", "100"), c.sub}, {"size", recordedInput("a", "2", "100"), c.size},
				{"time", recordedInput("a", "1", "101"), c.second}, {"request", with, c.request},
			} {
				if unlike := key(other.input) != was; unlike != other.unlike {
					t.Errorf("another %s: another key %t, want %t", other.what, unlike, other.unlike)
				}
			}
		})
	}
}

// Only the library knows how long time does not matter: an organisation's rule may read the time too.
func TestRecordedBelievesTheLibraryOnly(t *testing.T) {
	const says = `decision := {"allow": count(data.assay.rules[_].findings) == 0, "reasons": [], "unchanged_until": input.time + 10}`
	for _, c := range []struct {
		name, own string
		until     int64
	}{
		{"own rules without time", "package assay.rules.own\n\nfindings contains 1 if input.token.size > 10", 110},
		{"own rules with time", "package assay.rules.own\n\nfindings contains 1 if input.time > 105", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := deciding(says)
			s.Modules["own.rego"] = []byte(c.own)
			v, err := compiled(t, s).Recorded(nil).Evaluate(t.Context(), recordedInput("a", "1", "100"), 100)
			if err != nil || !v.Allow || v.UnchangedUntil != c.until {
				t.Errorf("%+v, %v; want an allow until %d", v, err, c.until)
			}
		})
	}
}
