// Package detectors measures the detectors of sensitive values on the corpus of this repository: how many of the values
// that have a shape are recognised (recall), and how many of those that are recognised have it (precision). Recognised is
// what a decision would see: the look beforehand (data.assay.plain.suspicious) counts too.
//
// The corpus holds no value of anybody. Positive values carry their shapes, also those in spellings that no detector is
// made for, so that recall says what is missed; innocent ones are what tokens really hold (ids, hashes, times, tracking
// numbers, names of machines) and near misses. A text given as an array is its parts joined: what looks like a
// service's token would otherwise set off the scanners that look for leaked ones in repositories.
package detectors

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/assaypdp/assay/policies"
)

// Shapes are the detectors, in the order in which they are reported.
func Shapes() []string { return []string{"email", "phone", "iban", "payment_card", "secret"} }

// Value is one text of the corpus.
type Value struct {
	Group, Text string
	// Shapes are those that the text has; none of an innocent one.
	Shapes []string
}

// Figure is what was measured of one detector.
type Figure struct {
	Shape string
	// Positives have the shape, Found of them were recognised. False were recognised and have it not, of Others.
	Positives, Found, Others, False int
	// Missed and Mistaken are the texts that went wrong.
	Missed, Mistaken []Value
}

// Recall is the part of the positives that were recognised.
func (f Figure) Recall() float64 { return float64(f.Found) / float64(f.Positives) }

// Precision is the part of those recognised that have the shape.
func (f Figure) Precision() float64 { return float64(f.Found) / float64(f.Found+f.False) }

type group struct {
	Group  string   `json:"group"`
	Shapes []string `json:"shapes"`
	Texts  []text   `json:"texts"`
}

type text string

func (t *text) UnmarshalJSON(raw []byte) error {
	var whole string
	if json.Unmarshal(raw, &whole) == nil {
		*t = text(whole)
		return nil
	}
	var parts []string
	if err := json.Unmarshal(raw, &parts); err != nil {
		return fmt.Errorf("a text is a string or an array of strings: %w", err)
	}
	*t = text(strings.Join(parts, ""))
	return nil
}

// Corpus reads positive.json and innocent.json of a directory.
func Corpus(dir string) ([]Value, error) {
	var values []Value
	for _, part := range []string{"positive", "innocent"} {
		raw, err := os.ReadFile(filepath.Join(dir, part+".json")) //nolint:gosec // a directory of this repository
		if err != nil {
			return nil, err
		}
		var file map[string][]group
		if err := json.Unmarshal(raw, &file); err != nil {
			return nil, fmt.Errorf("%s.json: %w", part, err)
		}
		for _, g := range file[part] {
			if (len(g.Shapes) > 0) != (part == "positive") {
				return nil, fmt.Errorf("%s.json: group %q has %d shapes", part, g.Group, len(g.Shapes))
			}
			for _, t := range g.Texts {
				values = append(values, Value{g.Group, string(t), g.Shapes})
			}
		}
	}
	return values, nil
}

// Measure asks every detector about every value.
func Measure(ctx context.Context, values []Value) ([]Figure, error) {
	texts := make([]any, len(values))
	for i, v := range values {
		texts[i] = v.Text
	}
	options := []func(*rego.Rego){
		rego.Query(`found := {shape: places |
			some shape in input.shapes
			places := [place |
				some place, text in input.texts
				regex.match(data.assay.plain.suspicious, text)
				data.assay.sensitive.has_shape(shape, text)
			]
		}`),
		rego.Input(map[string]any{"shapes": Shapes(), "texts": texts}), rego.StrictBuiltinErrors(true),
	}
	for path, module := range policies.Modules() {
		options = append(options, rego.Module(path, string(module)))
	}
	results, err := rego.New(options...).Eval(ctx)
	if err != nil {
		return nil, err
	}
	if len(results) != 1 {
		return nil, fmt.Errorf("%d results", len(results))
	}
	found, _ := results[0].Bindings["found"].(map[string]any)
	figures := make([]Figure, 0, len(Shapes()))
	for _, shape := range Shapes() {
		places, _ := found[shape].([]any)
		recognised := make(map[string]bool, len(places))
		for _, place := range places {
			recognised[fmt.Sprint(place)] = true
		}
		figures = append(figures, figure(shape, values, recognised))
	}
	return figures, nil
}

func figure(shape string, values []Value, recognised map[string]bool) Figure {
	f := Figure{Shape: shape}
	for place, v := range values {
		has, seen := slices.Contains(v.Shapes, shape), recognised[fmt.Sprint(place)]
		switch {
		case has && seen:
			f.Positives++
			f.Found++
		case has:
			f.Positives++
			f.Missed = append(f.Missed, v)
		case seen:
			f.Others++
			f.False++
			f.Mistaken = append(f.Mistaken, v)
		default:
			f.Others++
		}
	}
	return f
}
