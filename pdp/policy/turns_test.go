package policy_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// While all turns are taken, an evaluation waits outside its own timeout, and leaves when its context ends.
func TestEvaluationsWaitForTheirTurn(t *testing.T) {
	revision, err := policy.Compile(t.Context(), policy.Source{Modules: map[string][]byte{"slow.rego": []byte(`package assay

# METADATA
# entrypoint: true
decision := {"allow": false, "reasons": []} if count(numbers.range(1, 100000000)) > 0
`)}})
	if err != nil {
		t.Fatal(err)
	}
	engine, err := policy.New(policy.Config{Revision: revision, Concurrency: 1, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	facts := func() *pdp.Facts {
		return &pdp.Facts{Request: &pdp.Request{}, Token: &pdp.Token{}, Verification: &pdp.Verification{Status: pdp.StatusMalformed}}
	}
	first, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := engine.Evaluate(first, facts())
		ended <- err
	}()
	waiting, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer leave()
	for waiting.Err() == nil { // until the first has its turn, this one may have had it
		if _, err := engine.Evaluate(waiting, facts()); err == nil {
			t.Fatal("an endless evaluation ended")
		} else if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the first evaluation: %v", err)
	}
}
