package masking

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// good is a mask against which system.log.mask can be tried.
const good = "package assay.audit\n\nmask := {\"clear\": {[\"iss\"], [\"act\", \"sub\"]}}\n"

func TestMask(t *testing.T) {
	for name, c := range map[string]struct {
		mask, log string
		want      Mask
	}{
		"empty":  {mask: "mask := {}"},
		"sets":   {mask: `mask := {"clear": {["iss"]}, "pseudonymise": {["sub"]}, "remove": {"/input/time"}}`, want: Mask{Clear: [][]string{{"iss"}}, Pseudonymise: [][]string{{"sub"}}, Remove: []string{"/input/time"}}},
		"arrays": {mask: `mask := {"clear": [["act", "sub"], ["a.b"]]}`, want: Mask{Clear: [][]string{{"act", "sub"}, {"a.b"}}}},
		"request": {mask: `mask := {"clear_request": [["action"], ["context", "tenant"]], "pseudonymise_request": [["client_ip"]]}`,
			want: Mask{ClearRequest: [][]string{{"action"}, {"context", "tenant"}}, PseudonymiseRequest: [][]string{{"client_ip"}}}},
		"usual": {mask: "mask := \"usual\"\nusual := {\"clear\": [[\"iss\"]], \"remove\": [\"/input/time\"]}", log: "mask contains \"/result\"",
			want: Mask{Clear: [][]string{{"iss"}}, Remove: []string{"/input/time", "/result"}}},
		"OPA's pointers": {mask: "mask := {}", log: `mask contains "/input/token/claims/sub" if input.input.token.claims.sub
mask contains {"op": "remove", "path": "/result"}
mask contains "/nd_builtin_cache/x"
mask contains "/input/a~1b/c~0d"`,
			want: Mask{Remove: []string{"/input/a~1b/c~0d", "/input/token/claims/sub", "/result"}}},
		"an upsert puts nothing in the place": {mask: "mask := {}", log: `mask contains {"op": "upsert", "path": "/input/token/claims/sub", "value": input.input.token.claims.sub}`,
			want: Mask{Remove: []string{"/input/token/claims/sub"}}},
		"percent-encoded": {mask: "mask := {}", log: `mask contains "/input/token/claims/https:%2F%2Fx.example%2Fa"`,
			want: Mask{Remove: []string{"/input/token/claims/https:%2F%2Fx.example%2Fa", "/input/token/claims/https:~1~1x.example~1a"}}},
		"by what was decided": {mask: "mask := {}", log: `mask contains "/input/request" if input.result.allow == false
mask contains "/result/token" if { input.path == "assay/decision"; input.labels.app == "assay"; input.decision_id == "01JDXYZ"; input.requested_by == "" }`,
			want: Mask{Remove: []string{"/input/request", "/result/token"}}},
		"nothing to remove":                {mask: "mask := {}", log: `mask contains "/input" if input.input.token.kind == "none"`},
		"system.log.drop drops nothing":    {mask: "mask := {}", log: "drop := true"},
		"a rule of system.log beside mask": {mask: "mask := {}", log: `other := 1`},
	} {
		t.Run(name, func(t *testing.T) {
			modules := map[string]string{"mask.rego": "package assay.audit\n\n" + c.mask}
			if c.log != "" {
				modules["log.rego"] = "package system.log\n\n" + c.log
			}
			m, _ := masker(t, compiled(t, with(modules)))
			f, d := facts(t, nil)
			mask, err := m.Mask(t.Context(), f, d)
			if err != nil {
				t.Fatal(err)
			}
			mask.Revision, mask.Kept = "", nil
			if !reflect.DeepEqual(mask, c.want) {
				t.Errorf("%+v\nwant %+v", mask, c.want)
			}
		})
	}
}

// What is taken away is not cleared either: the record has the same value in other places, such as a token's id beside its
// jti, and clears them by the claim.
func TestWhatIsTakenAwayIsNotCleared(t *testing.T) {
	const clearing = "package assay.audit\n\nmask := {\"clear\": [[\"iss\"], [\"jti\"], [\"act\", \"sub\"], [\"act\", \"iss\"], [\"a/b\"], [\"address\"]], \"pseudonymise\": [[\"sub\"]]}\n"
	all := [][]string{{"iss"}, {"jti"}, {"act", "sub"}, {"act", "iss"}, {"a/b"}, {"address"}}
	without := func(places ...int) [][]string {
		var left [][]string
		for i, path := range all {
			if !slices.Contains(places, i) {
				left = append(left, path)
			}
		}
		return left
	}
	for name, c := range map[string]struct {
		pointer string
		want    [][]string
	}{
		"a claim":                   {"/input/token/claims/jti", without(1)},
		"a part of one":             {"/input/token/claims/act/sub", without(2)},
		"an object":                 {"/input/token/claims/act", without(2, 3)},
		"an escaped name":           {"/input/token/claims/a~1b", without(4)},
		"a percent-encoded name":    {"/input/token/claims/a%2Fb", without(4)},
		"all claims":                {"/input/token/claims", nil},
		"the token":                 {"/input/token", nil},
		"everything":                {"/input", nil},
		"a part of what is cleared": {"/input/token/claims/address/street", all},
		"a member of a list":        {"/input/token/claims/jti/0", all},
		"a longer name":             {"/input/token/claims/jti2", all},
		"another part":              {"/input/token/id", all},
		"of the request":            {"/input/request/action", all},
		"of the result":             {"/result/token", all},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := masker(t, compiled(t, with(map[string]string{"mask.rego": clearing, "log.rego": "package system.log\n\nmask contains \"" + c.pointer + "\"\n"})))
			f, d := facts(t, nil)
			for range 2 { // the second is remembered
				mask, err := m.Mask(t.Context(), f, d)
				if err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(mask.Clear, c.want) || !reflect.DeepEqual(mask.Pseudonymise, [][]string{{"sub"}}) || len(mask.Remove) == 0 {
					t.Errorf("%+v\nwant clear %q", mask, c.want)
				}
			}
		})
	}
}

// Whatever is wrong with a mask, the answer is an error and a mask that allows nothing, and the error does not quote
// what the mask was about.
func TestMaskFailsClosed(t *testing.T) {
	secret := "alice@canary.example"
	for name, c := range map[string]struct{ mask, log, want string }{
		"no mask at all":                {want: "data.assay.audit.mask is undefined"},
		"undefined":                     {mask: "mask := {} if input.token.kind == \"none\"", want: "is undefined"},
		"conflicting":                   {mask: "mask := {}\nmask := {\"clear\": [[\"sub\"]]}", want: "conflicting values (mask.rego:4)"},
		"failing":                       {mask: "mask := {\"clear\": [[\"iss\"]]} if to_number(input.token.claims.email) > 0", want: "function that failed (mask.rego:3)"},
		"partly failing":                {mask: "mask := {\"clear\": clear}\nclear contains [\"sub\"]\nclear contains [\"iss\"] if to_number(input.token.claims.email)", want: "function that failed"},
		"no object":                     {mask: "mask := [\"sub\"]", want: "it is no object"},
		"false":                         {mask: "mask := false", want: "it is no object"},
		"unknown member":                {mask: "mask := {\"cleared\": []}", want: "none of clear"},
		"a name that is text":           {mask: "mask := {\"clear\": [\"iss\"]}", want: "arrays of names"},
		"an object of names":            {mask: "mask := {\"clear\": {\"iss\": true}}", want: "neither a set nor an array"},
		"an empty path":                 {mask: "mask := {\"pseudonymise\": [[]]}", want: "arrays of names"},
		"a number in a path":            {mask: "mask := {\"pseudonymise\": [[\"aud\", 0]]}", want: "something else than names"},
		"a wrong pointer":               {mask: "mask := {\"remove\": [\"input/time\"]}", want: "no JSON pointer"},
		"a pointer no string":           {mask: "mask := {\"remove\": [1]}", want: "something else than JSON pointers"},
		"the request's caller":          {mask: "mask := {\"clear_request\": [[\"caller\"]]}", want: "something else than action"},
		"usual, of which there is none": {mask: "mask := \"usual\"", want: "data.assay.audit.usual is undefined"},
		"usual that depends on input":   {mask: "mask := \"usual\"\nusual := {\"clear\": clear}\nclear contains [\"sub\"] if input.token.claims.sub", want: "depends on input"},
		"usual that is misshapen":       {mask: "mask := \"usual\"\nusual := {\"clear\": true}", want: "data.assay.audit.usual is misshapen"},
		"usual that says usual":         {mask: "mask := \"usual\"\nusual := \"usual\"", want: "it is no object"},
		"usual that conflicts":          {mask: "mask := \"usual\"\nusual := {}\nusual := {\"clear\": []}", want: "conflicting"},
		"another text":                  {mask: "mask := \"Usual\"", want: "it is no object"},
		"running away":                  {mask: "mask := {\"clear\": [[\"iss\"]]} if { some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a * b == -1 }", want: "took too long"},

		"log mask undefined":         {log: "mask := [\"/input\"] if input.input.token.kind == \"none\"", want: "data.system.log.mask is undefined"},
		"log mask conflicting":       {log: "mask := [\"/input\"]\nmask := []", want: "conflicting"},
		"log mask failing":           {log: "mask contains \"/input\" if to_number(input.input.token.claims.email)", want: "function that failed"},
		"log mask no list":           {log: "mask := \"/input\"", want: "neither a set nor an array"},
		"log mask object":            {log: "mask := {\"op\": \"remove\"}", want: "neither a set nor an array"},
		"log mask elsewhere":         {log: "mask contains \"/labels/id\"", want: "no JSON pointer"},
		"log mask without slash":     {log: "mask contains \"input/token\"", want: "no JSON pointer"},
		"log mask empty":             {log: "mask contains \"\"", want: "no JSON pointer"},
		"log mask a tilde":           {log: "mask contains \"/input/a~2\"", want: "~0"},
		"log mask a per cent":        {log: "mask contains \"/input/a%zz\"", want: "%25"},
		"log mask of numbers":        {log: "mask contains 7", want: "something else than JSON pointers"},
		"log mask unknown op":        {log: "mask contains {\"op\": \"keep\", \"path\": \"/input\"}", want: "neither remove nor upsert"},
		"log mask without op":        {log: "mask contains {\"path\": \"/input\"}", want: "neither remove nor upsert"},
		"log mask without path":      {log: "mask contains {\"op\": \"remove\"}", want: "no path"},
		"log mask path is no string": {log: "mask contains {\"op\": \"remove\", \"path\": [\"input\"]}", want: "something else than JSON pointers"},
		"log mask unknown member":    {log: "mask contains {\"op\": \"remove\", \"path\": \"/input\", \"unless\": true}", want: "none of op"},
		"log mask leaks by a path":   {log: "mask contains input.input.token.claims.email", want: "no JSON pointer"},
	} {
		t.Run(name, func(t *testing.T) {
			modules := make(map[string]string)
			switch {
			case c.log != "":
				modules["mask.rego"], modules["log.rego"] = good, "package system.log\n\n"+c.log
			case c.mask != "":
				modules["mask.rego"] = "package assay.audit\n\n" + c.mask
			}
			r := compiled(t, with(modules))
			clock := time.Unix(0, 0)
			m, err := New(Config{Revision: func() *policy.Revision { return r }, Now: func() time.Time { clock = clock.Add(time.Millisecond); return clock }})
			if err != nil {
				t.Fatal(err)
			}
			f, d := facts(t, map[string]any{"email": secret})
			for _, verified := range []bool{true, false} {
				if !verified {
					if strings.Contains(c.mask+c.log, "claims") {
						continue // it fails by a claim, of which an unverified token has none
					}
					f.Verification = &pdp.Verification{Status: pdp.StatusMalformed}
				}
				mask, err := m.Mask(t.Context(), f, d)
				var failure *Failure
				if !errors.As(err, &failure) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), secret) {
					t.Errorf("error %v, want one with %q", err, c.want)
				}
				if !reflect.DeepEqual(mask, Mask{Revision: r.ID()}) {
					t.Errorf("a mask that failed still allows: %+v", mask)
				}
			}
		})
	}
}

func TestMaskOfARequestThatEnded(t *testing.T) {
	r := compiled(t, with(map[string]string{"mask.rego": good}))
	m, err := New(Config{Revision: func() *policy.Revision { return r }, Concurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	f, d := facts(t, nil)
	ended, end := context.WithCancel(t.Context())
	end()
	if mask, err := m.Mask(ended, f, d); !errors.Is(err, context.Canceled) || mask.Clear != nil {
		t.Errorf("%+v, %v", mask, err)
	}
	m.turns <- struct{}{} // somebody else evaluates
	if mask, err := m.Mask(ended, f, d); !errors.Is(err, context.Canceled) || mask.Clear != nil {
		t.Errorf("waiting for a turn: %+v, %v", mask, err)
	}
}
