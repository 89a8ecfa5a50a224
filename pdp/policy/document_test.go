package policy

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/assaypdp/assay/pdp"
)

func TestDocumentBesideTheDecision(t *testing.T) {
	source := deciding("decision := {\"allow\": false, \"reasons\": set()}")
	source.Data = []byte(`{"given": {"by": "data"}}`)
	source.Modules["beside.rego"] = []byte(`package beside

claims := object.keys(input.token.claims)
wrapped := [input.facts.token.kind, input.result]
undefined if input.token.kind == "none"
conflict := 1 if input.token.kind
conflict := 2 if input.token.kind
failing := to_number(input.token.kind)
timely := input.time
`)
	source.Modules["hidden.rego"] = []byte("package system.log\n\nmask contains \"/input\" if input.facts.token.kind")
	r := compiled(t, source)
	f := facts(t)
	for name, c := range map[string]struct {
		ref, below string
		beside     [][2]*ast.Term
		want       string // the value; or nothing, where it is an error
		missing    bool
	}{
		"facts":           {ref: "data.beside.claims", want: `{"aud", "client_id", "exp", "iat", "iss", "jti", "scope", "sub"}`},
		"facts in a part": {ref: "data.beside.wrapped", below: "facts", beside: [][2]*ast.Term{{ast.StringTerm("result"), ast.IntNumberTerm(7)}}, want: `["jws", 7]`},
		"hidden package":  {ref: "data.system.log.mask", below: "facts", want: `{"/input"}`},
		"base document":   {ref: "data.given", want: `{"by": "data"}`},
		"undefined":       {ref: "data.beside.undefined"},
		"conflict":        {ref: "data.beside.conflict"},
		"failing builtin": {ref: "data.beside.failing"},
		"nothing there":   {ref: "data.beside.nothing", missing: true},
		"no place beside": {ref: "data.beside.claims", beside: [][2]*ast.Term{{ast.StringTerm("result"), ast.IntNumberTerm(7)}}},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := r.Document(c.ref, c.below)
			if err != nil {
				t.Fatal(err)
			}
			if d.Exists() == c.missing {
				t.Errorf("Exists: %v", d.Exists())
			}
			value, err := d.Evaluate(t.Context(), time.Minute, time.Now, f, c.beside...)
			if (err == nil) != (c.want != "") || err == nil && value.String() != c.want {
				t.Errorf("%v, %v; want %s", value, err, c.want)
			}
		})
	}
	past, err := r.Document("data.beside.claims", "")
	if err != nil {
		t.Fatal(err)
	}
	steps := time.Unix(0, 0)
	if _, err := past.Evaluate(t.Context(), time.Nanosecond, func() time.Time { steps = steps.Add(time.Second); return steps }, f); !errors.Is(err, ErrCutOff) {
		t.Errorf("past its time: %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := past.Evaluate(ended, time.Minute, time.Now, f); !errors.Is(err, ErrCutOff) {
		t.Errorf("context ended: %v", err)
	}
}

func TestDocumentKnowsWhatItDependsOn(t *testing.T) {
	source := deciding("decision := {\"allow\": false, \"reasons\": set()}")
	source.Modules["beside.rego"] = []byte("package beside\n\na := data.further.b\nt := input.time\n")
	source.Modules["further.rego"] = []byte("package further\n\nb := input.request.path\n")
	r := compiled(t, source)
	a, err := r.Document("data.beside.a", "")
	if err != nil {
		t.Fatal(err)
	}
	if !a.Reads("request", "path") || a.Reads("request", "action") || a.Reads("time") {
		t.Error("what a depends on through another rule is not what it reads")
	}
	f, other, later := facts(t), facts(t), facts(t)
	other.Request = &pdp.Request{Path: "/elsewhere"}
	later.Time++
	key := func(d *Document, f *pdp.Facts) string { return string(d.AppendKey(nil, f)) }
	if key(a, f) == key(a, other) || key(a, f) != key(a, later) {
		t.Error("a's key does not follow request.path alone")
	}
	timely, err := r.Document("data.beside.t", "")
	if err != nil {
		t.Fatal(err)
	}
	if key(timely, f) != key(timely, other) || key(timely, f) == key(timely, later) {
		t.Error("t's key does not follow the time alone")
	}
}

func TestPlaceBesideVerdicts(t *testing.T) {
	r := compiled(t, library())
	f := facts(t)
	r.Beside(f).Store("kept")
	if r.Beside(f).Load() != "kept" {
		t.Error("what was kept with a token is gone")
	}
	other := *f
	again := *f.Verification
	other.Verification = &again
	if r.Beside(&other).Load() != nil {
		t.Error("what was kept for one verification is there for another")
	}
}
