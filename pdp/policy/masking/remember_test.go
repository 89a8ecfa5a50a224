package masking

import (
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

func TestMasksAreRememberedByWhatTheyDependOn(t *testing.T) {
	rules := func(condition string) string {
		return "package assay.audit\n\nmask := {\"clear\": clear}\nclear contains [\"iss\"]\nclear contains [\"sub\"] if " + condition
	}
	for name, c := range map[string]struct {
		condition, log string
		change         func(*pdp.Facts)
		again          bool // evaluated again after the change
	}{
		"nothing changed":    {condition: `input.request.path == "/"`, change: func(*pdp.Facts) {}},
		"what is not read":   {condition: `input.request.action == "x"`, change: func(f *pdp.Facts) { f.Request = &pdp.Request{Path: "/x", Action: "read"} }},
		"what is read":       {condition: `input.request.path == "/x"`, change: func(f *pdp.Facts) { f.Request = &pdp.Request{Path: "/x", Action: "read"} }, again: true},
		"time that passes":   {condition: `input.token.claims.sub`, change: func(f *pdp.Facts) { f.Time++ }},
		"time that is read":  {condition: `input.time > 0`, change: func(f *pdp.Facts) { f.Time++ }, again: true},
		"input as a whole":   {condition: `object.keys(input) != set()`, change: func(f *pdp.Facts) { f.Request = &pdp.Request{Purpose: "x"} }, again: true},
		"another token":      {condition: `input.token.claims.sub`, change: func(f *pdp.Facts) { f.Token = &pdp.Token{Claims: f.Token.Claims} }, again: true},
		"verified otherwise": {condition: `input.token.claims.sub`, change: func(f *pdp.Facts) { v := *f.Verification; f.Verification = &v }, again: true},
		"not verified":       {condition: `input.token.kind`, change: func(f *pdp.Facts) { f.Verification = &pdp.Verification{Status: pdp.StatusKeyUnknown} }, again: true},
		"a long request":     {condition: `input.request.path == "/x"`, change: func(f *pdp.Facts) { f.Request = &pdp.Request{Path: strings.Repeat("x", longestKey)} }, again: true},
		"the log mask reads": {condition: `input.token.claims.sub`, log: `mask contains "/result" if input.input.request.path == "/x"`, change: func(f *pdp.Facts) { f.Request = &pdp.Request{Path: "/x"} }, again: true},
		"by the decision":    {condition: `input.token.claims.sub`, log: `mask contains "/result" if input.result.allow`, change: func(*pdp.Facts) {}, again: true},
		"the event whole":    {condition: `input.token.claims.sub`, log: `mask contains "/result" if object.keys(input) == set()`, change: func(*pdp.Facts) {}, again: true},
	} {
		t.Run(name, func(t *testing.T) {
			modules := map[string]string{"mask.rego": rules(c.condition)}
			if c.log != "" {
				modules["log.rego"] = "package system.log\n\n" + c.log
			}
			m, seen := masker(t, compiled(t, with(modules)))
			f, d := facts(t, nil)
			mask := func() Mask {
				got, err := m.Mask(t.Context(), f, d)
				if err != nil {
					t.Fatal(err)
				}
				return got
			}
			first := mask()
			c.change(f)
			second := mask()
			if again := seen.evaluated == 2; again != c.again {
				t.Errorf("evaluated %d times, which is wrong", seen.evaluated)
			}
			fresh, _ := masker(t, m.c.Revision())
			copied := *f
			copied.Token = &pdp.Token{Size: f.Token.Size, Kind: f.Token.Kind, Header: f.Token.Header, Claims: f.Token.Claims, ID: f.Token.ID}
			want, err := fresh.Mask(t.Context(), &copied, d)
			if err != nil || !second.equal(&want) {
				t.Errorf("%+v, %v, where a fresh one is %+v", second, err, want)
			}
			if !c.again && first.Kept != second.Kept {
				t.Error("what was kept with the mask is lost")
			}
		})
	}
}

// One token has one Kept for equal masks, and another token another.
func TestKept(t *testing.T) {
	m, _ := masker(t, compiled(t, with(map[string]string{"mask.rego": "package assay.audit\n\nmask := {\"clear\": clear}\nclear contains [\"sub\"] if input.request.path == \"/x\""})))
	f, d := facts(t, nil)
	kept := func(path string) any {
		f.Request = &pdp.Request{Path: path}
		mask, err := m.Mask(t.Context(), f, d)
		if err != nil || mask.Kept == nil {
			t.Fatal(mask, err)
		}
		return mask.Kept
	}
	a, b, x := kept("/a"), kept("/b"), kept("/x")
	if a != b || a == x {
		t.Error("Kept does not follow the contents of the mask")
	}
	f, d = facts(t, nil)
	if kept("/a") == a {
		t.Error("two tokens share one Kept")
	}
	f.Verification = &pdp.Verification{Status: pdp.StatusKeyUnknown}
	if mask, err := m.Mask(t.Context(), f, d); err != nil || mask.Kept != nil {
		t.Error("something is kept for a token that was not verified", err)
	}
}

// The mask is that of the revision in force, whatever was remembered under another.
func TestMaskFollowsTheRevision(t *testing.T) {
	current := compiled(t, with(map[string]string{"mask.rego": "package assay.audit\n\nmask := {\"clear\": [[\"iss\"], [\"sub\"]]}"}))
	m, err := New(Config{Revision: func() *policy.Revision { return current }})
	if err != nil {
		t.Fatal(err)
	}
	f, d := facts(t, nil)
	before, err := m.Mask(t.Context(), f, d)
	if err != nil {
		t.Fatal(err)
	}
	current = compiled(t, with(map[string]string{"mask.rego": good}))
	after, err := m.Mask(t.Context(), f, d)
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Clear) != 2 || before.Clear[1][0] != "sub" || after.Clear[0][0] != "act" || after.Revision != current.ID() || before.Revision == after.Revision {
		t.Errorf("%+v, then %+v", before, after)
	}
	current = compiled(t, with(nil))
	if mask, err := m.Mask(t.Context(), f, d); err == nil {
		t.Errorf("a revision without a mask has %+v", mask)
	}
}
