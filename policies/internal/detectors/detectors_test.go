package detectors

import (
	"context"
	"testing"
)

// floors are what the detectors reached on the corpus when they were last changed, rounded down. A change that falls
// below one lets data through, or calls innocent values names.
var floors = map[string]struct{ precision, recall float64 }{
	"email":        {1, 0.93},
	"phone":        {1, 0.89},
	"iban":         {1, 0.94},
	"payment_card": {0.95, 0.91},
	"secret":       {1, 0.89},
}

func TestDetectors(t *testing.T) {
	values, err := Corpus("../../corpus")
	if err != nil {
		t.Fatal(err)
	}
	figures, err := Measure(context.Background(), values)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range figures {
		t.Run(f.Shape, func(t *testing.T) {
			floor, ok := floors[f.Shape]
			if !ok {
				t.Fatal("no floor")
			}
			t.Logf("precision %.3f, recall %.3f", f.Precision(), f.Recall())
			if f.Positives < 40 || f.Others < 400 {
				t.Errorf("%d values have the shape and %d have it not: too few to say anything", f.Positives, f.Others)
			}
			if f.Precision() >= floor.precision && f.Recall() >= floor.recall {
				return
			}
			t.Errorf("precision %.3f (floor %.3f), recall %.3f (floor %.3f)", f.Precision(), floor.precision, f.Recall(), floor.recall)
			for _, v := range f.Missed {
				t.Logf("missed (%s): %s", v.Group, v.Text)
			}
			for _, v := range f.Mistaken {
				t.Logf("mistaken (%s): %s", v.Group, v.Text)
			}
		})
	}
}
