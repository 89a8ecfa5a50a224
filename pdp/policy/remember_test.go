package policy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// tellingSource is a policy that reads a bit of everything, in every way in which modules read input, and
// tells what it read.
func tellingSource() Source {
	return Source{Modules: map[string][]byte{
		"test.rego": []byte(`package assay

import data.assay.part as helper
import input.request as asked

# METADATA
# entrypoint: true
decision := {"allow": true, "reasons": [reason], "claims": paths, "cache_for_seconds": input.time % 7}

reason := {"code": "test.told", "message": told, "severity": "low", "enforcement": "warn", "details": {
	"audience": object.get(input.request, "audience", "none"),
	"tenant": json.marshal(object.get(input.request, ["context", "tenant"], "none")),
	"purpose": helper.purpose,
	"path": [x | x := asked.path],
	"issuer": [x | x := input["verification"].issuer],
	"bits": input.verification.key.bits,
	"age": input.revocation.age_seconds,
	"mocked": [x | x := helper.purpose with input.request.purpose as "mocked"],
}}

told := sprintf("%v %v", [input.token.claims.sub, method])

default method := "no method"

method := input.request.method

paths contains [name] if {
	some name in ["sub", "aud"]
	input.token.claims[name]
}
`),
		"part.rego": []byte(`package assay.part

default purpose := "no purpose"

purpose := input.request.purpose
`),
	}}
}

func anyOf[T any](r *rand.Rand, choices ...T) T { return choices[r.IntN(len(choices))] }

func randomRequest(r *rand.Rand) *pdp.Request {
	return &pdp.Request{
		Audience: anyOf(r, "", "orders", "billing"), Method: anyOf(r, "", "GET"), Path: anyOf(r, "/a", "/b"),
		Purpose: anyOf(r, "", "x"), ClientIP: anyOf(r, "192.0.2.1", "192.0.2.2"), Context: randomContext(r),
		TokenType: anyOf(r, "", pdp.AccessToken, pdp.IDToken),
	}
}

func randomContext(r *rand.Rand) map[string]any {
	return anyOf(r, nil, map[string]any{}, map[string]any{"tenant": "a"}, map[string]any{"tenant": "b", "more": []any{nil, true}},
		map[string]any{"tenant": []any{"a", number(1)}}, map[string]any{"tenant": []any{"a1"}}, map[string]any{"tenant": nil})
}

func TestRememberedVerdictsAreTheFreshOnes(t *testing.T) {
	for name, source := range map[string]Source{"telling": tellingSource(), "library": library()} {
		t.Run(name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
			e, seen := engine(t, compiled(t, source))
			fresh, _ := engine(t, e.Revision())
			tokens := []*pdp.Facts{facts(t), facts(t), facts(t)}
			tokens[1].Token.Claims["sub"] = "other"
			tokens[2].Token.Claims["aud"] = "billing"
			second := *tokens[0].Verification
			questions := make([]*pdp.Request, 3)
			for i := range 1000 {
				if i%30 == 0 {
					for j := range questions {
						questions[j] = randomRequest(r)
					}
				}
				f := *anyOf(r, tokens...)
				f.Time += int64(i/60 + r.IntN(2))
				f.Request = anyOf(r, questions...)
				f.Revocation = anyOf(r, pdp.Revocation{Known: true, AgeSeconds: 1}, pdp.Revocation{Known: true, AgeSeconds: 1}, pdp.Revocation{Known: true, AgeSeconds: 2, Revoked: "token"})
				if f.Token == tokens[0].Token && r.IntN(20) == 0 {
					f.Verification = &second
				}
				got, want := judge(t, e, &f), judge(t, fresh, unseen(&f))
				got.Kept = nil // where the decider keeps things says nothing
				if !reflect.DeepEqual(got, want) {
					t.Fatalf("remembered %+v\nfresh %+v\nfor %+v at %d", got, want, *f.Request, f.Time)
				}
			}
			if seen.remembered.Load() < 100 {
				t.Errorf("only %d of 1000 were remembered", seen.remembered.Load())
			}
		})
	}
}

func TestWhatIsRememberedAndForHowLong(t *testing.T) {
	const reading = `decision := {"allow": input.request.audience == "orders", "reasons": []}`
	const settled = `decision := {"allow": input.request.audience == "orders", "reasons": [], "unchanged_until": input.time + 10}`
	for _, c := range []struct {
		name, rule string
		change     func(*pdp.Facts)
		remembered int64
	}{
		{"the same question", reading, func(*pdp.Facts) {}, 1},
		{"what is not read differs", reading, func(f *pdp.Facts) {
			f.Request = &pdp.Request{Audience: "orders", Path: "/other", Context: map[string]any{"x": "y"}}
			f.Revocation.AgeSeconds++
		}, 1},
		{"what is read differs", reading, func(f *pdp.Facts) { f.Request = &pdp.Request{Audience: "billing"} }, 0},
		{"the next second", reading, func(f *pdp.Facts) { f.Time++ }, 0},
		{"time is read, the same second", `decision := {"allow": input.time > 0, "reasons": []}`, func(*pdp.Facts) {}, 1},
		{"time is read, the next second", `decision := {"allow": input.time > 0, "reasons": []}`, func(f *pdp.Facts) { f.Time++ }, 0},
		{"settled until then", settled, func(f *pdp.Facts) { f.Time += 10 }, 1},
		{"settled, past then", settled, func(f *pdp.Facts) { f.Time += 11 }, 0},
		{"settled, the clock goes back", settled, func(f *pdp.Facts) { f.Time-- }, 0},
		{"settled, another question", settled, func(f *pdp.Facts) { f.Request = &pdp.Request{Audience: "billing"} }, 0},
		{"settled, newly revoked", settled, func(f *pdp.Facts) { f.Revocation.Revoked = "token" }, 0},
		{"settled before now", `decision := {"allow": input.time > 0, "reasons": [], "unchanged_until": input.time - 1}`, func(*pdp.Facts) {}, 1},
		{"newly revoked", reading, func(f *pdp.Facts) { f.Revocation.Revoked = "token" }, 0},
		{"another verification", reading, func(f *pdp.Facts) { v := *f.Verification; f.Verification = &v }, 0},
		{"input as a whole", `decision := {"allow": count(input) > 0, "reasons": []}`, func(*pdp.Facts) {}, 0},
		{"input as an argument", `decision := {"allow": is_object(input), "reasons": []}`, func(*pdp.Facts) {}, 0},
		{"input in a comprehension", `decision := {"allow": true, "reasons": [], "cache_for_seconds": count([1 | some _ in input])}`, func(*pdp.Facts) {}, 0},
		{"a computed member of input", `decision := {"allow": input[data.assay.config.name] != null, "reasons": []}`, func(*pdp.Facts) {}, 0},
		{"a computed member of the request", `decision := {"allow": "orders" in [v | v := input.request[_]], "reasons": []}`, func(f *pdp.Facts) {
			f.Request = &pdp.Request{Audience: "orders", Path: "/other"}
		}, 0},
		{"input behind a with", `decision := {"allow": part, "reasons": []} if part with input as input.request

part if input.audience == "orders"`, func(f *pdp.Facts) { f.Request = &pdp.Request{Audience: "orders", Path: "/other"} }, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := deciding(c.rule)
			source.Config = []byte(`{"name": "request"}`)
			e, seen := engine(t, compiled(t, source))
			f := facts(t)
			judge(t, e, f)
			again := *f
			c.change(&again)
			judge(t, e, &again)
			if got := seen.remembered.Load(); got != c.remembered {
				t.Errorf("%d remembered, want %d", got, c.remembered)
			}
		})
	}
}

func TestMemoryOfOneTokenIsBounded(t *testing.T) {
	e, seen := engine(t, compiled(t, deciding(`decision := {"allow": input.request.audience == "orders", "reasons": []}`)))
	f := facts(t)
	ask := func(audience string) { f.Request = &pdp.Request{Audience: audience}; judge(t, e, f) }
	for i := range 100 {
		ask(fmt.Sprint("a", i))
	}
	ask("a99")
	if seen.remembered.Load() != 1 {
		t.Error("the last question is not remembered")
	}
	ask("a0")
	if seen.remembered.Load() != 1 {
		t.Error("the first of a hundred questions is still remembered")
	}
	long := string(make([]byte, longestKey+1))
	ask(long)
	ask(long)
	if seen.remembered.Load() != 1 {
		t.Error("a question of any length is kept")
	}
}

func TestPathsThatModulesRead(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		all        bool
		want       []readPath
	}{
		{"nothing", `decision := {}`, false, nil},
		{"a member", `decision := input.a.b`, false, []readPath{{"a", "b"}}},
		{"a prefix swallows what is below", `decision := [input.a.b, input.a, input.ab]`, false, []readPath{{"a"}, {"ab"}}},
		{"cut where it is computed", `decision := [input.a[x].c | some x in ["b"]]`, false, []readPath{{"a"}}},
		{"computed from input", `decision := data.assay.config[input.a.b]`, false, []readPath{{"a", "b"}}},
		{"an index", `decision := input.a[0].b`, false, []readPath{{"a"}}},
		{"object.get with a constant name", `decision := object.get(input.request, "a", 1)`, false, []readPath{{"request", "a"}}},
		{"object.get with a path", `decision := object.get(input.request, ["a", "b"], 1)`, false, []readPath{{"request", "a"}}},
		{"object.get of input with a path", `decision := object.get(input, ["request", "a", "b"], 1)`, false, []readPath{{"request", "a"}}},
		{"object.get of input with a name", `decision := object.get(input, "request", 1)`, false, []readPath{{"request"}}},
		{"object.get of input with an unknown name", `decision := object.get(input, ["a", "b"], 1)`, false, []readPath{{"a"}}},
		{"object.get of input with an empty path", `decision := object.get(input, [], 1)`, true, nil},
		{"object.get of input with a computed path", `decision := object.get(input, ["request", input.x], 1)`, true, nil},
		{"object.get's default", `decision := object.get(input.request, "a", input.token.kid)`, false, []readPath{{"request", "a"}, {"token", "kid"}}},
		{"object.get with input replaced", `decision := x if x := object.get(input.request, "a", 1) with input as {"request": {}}`, false, []readPath{{"request"}}},
		{"object.get as a condition", `decision := 1 if object.get(input.request, "a", 1) == 1`, false, []readPath{{"request", "a"}}},
		{"object.get with a computed name", `decision := object.get(input.request, input.x, 1)`, false, []readPath{{"request"}, {"x"}}},
		{"object.get of what may be absent", `decision := object.get(input.token.claims, "a", 1)`, false, []readPath{{"token", "claims"}}},
		{"object.get of a variable that is used twice", `decision := [object.get(r, "a", 1), count(r)] if r := input.request`, false, []readPath{{"request"}}},
		{"in a function", `decision := f(1)

f(x) := x + input.a`, false, []readPath{{"a"}}},
		{"in else", `decision := 1 if false

else := input.a`, false, []readPath{{"a"}}},
		{"in a nested comprehension", `decision := {x | some x in {y | y := input.a.b[_]}}`, false, []readPath{{"a", "b"}}},
		{"in every", `decision := true if every x in input.a { x > input.b }`, false, []readPath{{"a"}, {"b"}}},
		{"under not", `decision := true if not input.a`, false, []readPath{{"a"}}},
		{"with's value and not its target", `decision := x if x := p with input.a as input.b

p := 1`, false, []readPath{{"b"}}},
		{"bare", `decision := input`, true, nil},
		{"bare in a call", `decision := json.marshal(input)`, true, nil},
		{"bare in walk", `decision := [p | walk(input, [p, _])]`, true, nil},
		{"bare in a variable", `decision := x.a if x := input`, true, nil},
		{"computed at the top", `decision := [input[x] | some x in ["a"]]`, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			modules, err := parse(deciding(c.rule).Modules, Capabilities())
			if err != nil {
				t.Fatal(err)
			}
			compiler := newCompiler(Capabilities())
			if compiler.Compile(modules); compiler.Failed() {
				t.Fatal(compiler.Errors)
			}
			got := readsOf(compiler)
			if got.all != c.all || !c.all && !slices.EqualFunc(got.paths, c.want, slices.Equal[readPath]) {
				t.Errorf("all %v, paths %v; want %v, %v", got.all, got.paths, c.all, c.want)
			}
		})
	}
}

// What the library says about the time holds for its own rules. One of an organisation may find something at
// any second, so with one that reads the time every second counts again.
func TestLibraryDoesNotSpeakForRulesThatReadTheTime(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		remembered int64
	}{
		{"no rule", `package other`, 1},
		{"a rule that does not", `package assay.rules.odd

findings contains {"rule": {"custom": {"code": "odd.subject", "severity": "low", "controls": []}}, "message": "odd", "details": {}} if input.token.claims.sub == "odd"`, 1},
		{"a rule that does", `package assay.rules.odd

findings contains {"rule": {"custom": {"code": "odd.second", "severity": "low", "controls": []}}, "message": "odd", "details": {}} if input.time % 2 == 1`, 0},
		{"a rule that takes the time from the library", `package assay.rules.odd

findings contains {"rule": {"custom": {"code": "odd.second", "severity": "low", "controls": []}}, "message": "odd", "details": {}} if data.assay.limits.latest % 2 == 1`, 0},
		{"a rule that takes it by way of another", `package assay.rules.odd

findings contains {"rule": {"custom": {"code": "odd.second", "severity": "low", "controls": []}}, "message": "odd", "details": {}} if data.helper.odd(2)`, 0},
		{"a helper of a rule that does", `package helper

odd if input.time % 2 == 1`, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := library()
			source.Modules["own.rego"] = []byte(c.rule)
			if strings.Contains(c.rule, "data.helper") {
				source.Modules["helper.rego"] = []byte("package helper\n\nodd(n) if data.assay.limits[\"earliest\"] % n == 1")
			}
			e, seen := engine(t, compiled(t, source))
			f := facts(t)
			if v := judge(t, e, f); !v.Allow || v.UnchangedUntil <= f.Time {
				t.Fatalf("the token was to be a plain one: %+v", v)
			}
			again := *f
			again.Time++
			judge(t, e, &again)
			if got := seen.remembered.Load(); got != c.remembered {
				t.Errorf("%d remembered, want %d", got, c.remembered)
			}
		})
	}
}

// Until the last second of which the library says so, a fresh verdict is the same.
func TestUnchangedUntilHolds(t *testing.T) {
	e, _ := engine(t, compiled(t, library()))
	f := facts(t)
	first := judge(t, e, unseen(f))
	if first.UnchangedUntil <= f.Time || first.UnchangedUntil >= f.Token.ExpiresAt.Floor() {
		t.Fatalf("the token was to be a plain one until shortly before it expires: %+v", first)
	}
	for _, at := range []int64{f.Time + 1, (f.Time + first.UnchangedUntil) / 2, first.UnchangedUntil - 1, first.UnchangedUntil} {
		later := unseen(f)
		later.Time = at
		if got := judge(t, e, later); !reflect.DeepEqual(got, first) {
			t.Errorf("%d s later: %+v, before %+v", at-f.Time, got, first)
		}
	}
}

// Whatever the token and the configuration, a verdict that is remembered across seconds is the one that would be
// given anew, up to the second before every limit and after it.
func TestTimePassesOverTheLibrary(t *testing.T) {
	for name, config := range map[string]string{
		"defaults": `{}`,
		"limits": `{"issuers": {"https://idp.example": {"max_lifetime_seconds": 600, "max_age_seconds": 100}},
			"profiles": {"access_token": {"max_auth_age_seconds": 200}}, "cache_for_seconds": 0}`,
		"waiver": `{"waivers": [{"rule": "lifetime.too_long", "issuer": "https://idp.example", "until": "2026-11-23T18:54:00Z", "ticket": "T-1"}],
			"profiles": {"access_token": {"max_lifetime_seconds": 100}}}`,
		"reports": `{"issuers": {"https://idp.example": {"report_only": true}}, "leeway_seconds": 7}`,
	} {
		t.Run(name, func(t *testing.T) {
			source := library()
			source.Config = []byte(config)
			e, seen := engine(t, compiled(t, source))
			fresh, _ := engine(t, e.Revision())
			r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // the same tokens whatever order the map gives the cases
			for range 8 {
				f := facts(t)
				claims := f.Token.Claims
				if r.IntN(3) == 0 {
					claims["exp"] = anyOf(r, number(now+50), number(now+300)+".5", number(now-40))
				}
				if r.IntN(3) == 0 {
					claims["iat"] = anyOf(r, number(now), number(now+40), number(now-60)+".25")
				}
				if r.IntN(3) == 0 {
					claims["nbf"] = anyOf(r, number(now+20), number(now+60)+".5")
				}
				if r.IntN(3) == 0 {
					claims["auth_time"] = number(now - 100)
				}
				offsets := make([]int64, 60)
				for i := range offsets {
					offsets[i] = int64(anyOf(r, r.IntN(400), r.IntN(60), 260+r.IntN(20), 290+r.IntN(50)))
				}
				slices.Sort(offsets)
				for _, offset := range append(offsets, 0, 1) { // at last the clock is set back
					at := *f
					at.Time = now + offset
					got, want := judge(t, e, &at), judge(t, fresh, unseen(&at))
					got.Kept = nil
					if !reflect.DeepEqual(got, want) {
						t.Fatalf("%d s later: remembered %+v\nfresh %+v\nclaims %v", at.Time-now, got, want, claims)
					}
				}
			}
			if seen.remembered.Load() < 50 { // of some 500; else nothing was compared
				t.Errorf("only %d remembered", seen.remembered.Load())
			}
		})
	}
}
