package replay

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

// stance is a policy that a test decides or judges by.
type stance struct {
	name, config string
	rules        map[string]string
}

var stances = []stance{
	{name: "library"},
	{name: "shorter lives", config: `{"max_lifetime_seconds": 500}`},
	{name: "personal claims deny", config: `{"minimization": {"classes": {"personal": {"in_clear": "deny"}}}}`},
	{name: "mail addresses deny", config: `{"minimization": {"shapes": {"email": "deny"}}}`},
	{name: "mail addresses do not matter", config: `{"minimization": {"shapes": {"email": "off"}}}`},
	{name: "types and values only warn", config: `{"modes": {"claims.wrong_type": "warn", "claims.unexpected_value": "warn"}}`},
	{name: "tenant has a pattern", config: `{"profiles": {"access_token": {"claim_patterns": {"tenant": "^acme-[0-9]+$"}}}}`},
	{name: "tenant has a pattern, which only warns", config: `{"profiles": {"access_token": {"claim_patterns": {"tenant": "^acme-[0-9]+$"}}}, "modes": {"claims.unexpected_value": "warn"}}`},
	{name: "tenant is one of two", config: `{"profiles": {"access_token": {"expected_claims": {"tenant": ["acme", "zed"]}}}}`},
	{name: "subjects are workloads", config: `{"issuers": {"https://idp.example": {"modes": {"claims.missing": "warn"}}}, "profiles": {"access_token": {"subject_form": "spiffe_id"}}}`},
	{name: "a waiver for a client", config: `{"max_lifetime_seconds": 500, "waivers": [{"rule": "lifetime.too_long", "client": "web", "until": "2030-01-01", "ticket": "T-1"}]}`},
	{name: "tenant is required", config: `{"profiles": {"access_token": {"required_claims": {"tenant": true}}}}`},
	{name: "claims that are not needed deny", config: `{"modes": {"minimization.claim_not_allowed": "deny"}}`},
	{name: "tenant may be read", config: `{"audit": {"clear": {"tenant": true}}}`},
	{name: "own rule about the subject", rules: map[string]string{"own.rego": rule("subject", `input.token.claims.sub == "spiffe://a.example/b"`)}},
	{name: "own rule about the scope", rules: map[string]string{"own.rego": rule("scope", `not contains(input.token.claims.scope, "orders:write")`)}},
	{name: "own rule about the request", rules: map[string]string{"own.rego": rule("address", `not startswith(input.request.client_ip, "192.0.2.")`)}},
	{name: "own rule about all claims", rules: map[string]string{"own.rego": rule("all", "some value in input.token.claims\n\tvalue == \"acme\"")}},
	{name: "own rule by way of the library", rules: map[string]string{"own.rego": rule("way", `data.assay.minimization.extra.tenant == "acme"`)}},
	{name: "own rule that computes its code", rules: map[string]string{"own.rego": telling}},
	{name: "own rule about the header", rules: map[string]string{"own.rego": rule("header", `input.token.header.alg == "ES256"`)}},
}

// telling makes its code of a claim.
const telling = `package assay.rules.telling

findings contains {"rule": {"custom": {"code": sprintf("own.%s", [input.token.claims.tenant]), "severity": "low"}}, "message": "found", "details": {}} if {
	is_string(input.token.claims.tenant)
}
`

// someFacts draws a token and a question.
func someFacts(random *rand.Rand, trust *pdp.Trust) *pdp.Facts {
	pick := func(values ...any) any { return values[random.IntN(len(values))] }
	over := map[string]any{}
	for _, claim := range []struct {
		name   string
		values []any
	}{
		{"sub", []any{"user-17", "user-17", "alice@example.org", "spiffe://a.example/b", "web", "+49 171 2345678", number(17), ""}},
		{"tenant", []any{nil, nil, nil, nil, "acme", "acme-12", "zed", number(5), "a@b.example", []any{"acme"}, map[string]any{"x": "acme"}}},
		{"email", []any{nil, nil, nil, nil, nil, nil, nil, nil, "alice@example.org", "nobody"}},
		{"note", []any{nil, nil, nil, nil, nil, nil, nil, nil, nil, "4111 1111 1111 1111", "fine", []any{"x@y.example", "ok"}}},
		{"act", []any{nil, nil, nil, nil, nil, nil, nil, map[string]any{"sub": "robot"}, map[string]any{"sub": "bob@example.org"}}},
		{"groups", []any{nil, nil, nil, nil, nil, []any{"staff", "admin"}}},
		{"sid", []any{nil, nil, nil, "s-1"}},
		{"scope", []any{"orders:read orders:write", "orders:read"}},
		{"exp", []any{number(now + 100), number(now + 600), number(now + 6000), number(now - 100), nil, "soon"}},
		{"iat", []any{number(now - 60), number(now - 60), nil}},
		{"client_id", []any{"web", "batch"}},
	} {
		over[claim.name] = pick(claim.values...)
	}
	f := verified(trust, over)
	if random.IntN(8) == 0 {
		f.Request.ClientIP = "198.51.100.9"
	}
	switch random.IntN(12) {
	case 0:
		f.Revocation.Revoked = "subject"
	case 1:
		f.Revocation.AgeSeconds = 600
	case 2:
		f.Token.Claims, f.Token.ID, f.Token.Subject = nil, "", ""
		f.Verification = &pdp.Verification{Status: pdp.StatusSignatureInvalid, Reason: pdp.NewFloorReason("signature.invalid", "no", nil)}
	case 3:
		f.Token.Header.KeyReferences = []string{"jku"}
	}
	return f
}

func newJudge(t testing.TB, candidate, baseline *policy.Revision) *workbench.Replay {
	t.Helper()
	judge, err := workbench.NewReplay(workbench.ReplayConfig{Candidate: candidate, Baseline: baseline, Library: policies.Modules(), Defaults: policies.Defaults()})
	if err != nil {
		t.Fatal(err)
	}
	return judge
}

// draws is how many decisions each policy makes.
const draws = 3

// Whatever is recorded by the real recorder under one policy, and however it is masked, is judged under another as that
// decides about the facts themselves, or it is said that it cannot be told.
func TestNothingIsGuessed(t *testing.T) {
	trust := trusted(t)
	revisions := make([]*policy.Revision, len(stances))
	for i, s := range stances {
		revisions[i] = compiled(t, s.config, s.rules)
	}
	random := rand.New(rand.NewPCG(7, 11))
	told, undecidable := 0, 0
	for i, was := range stances {
		desk := newDesk(t, revisions[i], false)
		var all []*pdp.Facts
		var records [][]byte
		for range draws {
			f := someFacts(random, trust)
			_, record := desk.decide(t, f)
			all, records = append(all, f), append(records, record)
		}
		// Beside itself a few others each, all of them in turn.
		for _, j := range []int{i, (3*i + 5) % len(stances), (7*i + 2) % len(stances)} {
			is := stances[j]
			truth := newDesk(t, revisions[j], true)
			judge := newJudge(t, revisions[j], revisions[i])
			for n, text := range records {
				record, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				got, err := judge.Judge(t.Context(), record)
				if err != nil {
					t.Fatal(err)
				}
				if len(got.Undecidable) > 0 {
					undecidable++
					continue
				}
				told++
				if want, _ := truth.decide(t, all[n]); !got.Answer.Equal(want) {
					t.Errorf("recorded under %q, judged under %q: %s\n got %v\nwant %v\n was %v\nrecord %s", was.name, is.name, fmt.Sprint(all[n].Token.Claims), got.Answer, want, record.Was, text)
				}
			}
		}
	}
	t.Logf("%d told, %d undecidable", told, undecidable)
	if told < undecidable { // among these policies are six that look at what no record holds
		t.Errorf("%d told, %d undecidable: too few are told for it to be of use", told, undecidable)
	}
}

// A record that tells nothing of what was decided upon is counted as one that cannot be judged, and ends nothing.
func TestARecordWithoutInputIsUndecidable(t *testing.T) {
	revision := compiled(t, stances[0].config, stances[0].rules)
	desk := newDesk(t, revision, true)
	_, good := desk.decide(t, verified(trusted(t), nil))
	records := func(yield func(index.Found, error) bool) {
		for i, text := range [][]byte{[]byte(`{"decision_id":"D1","result":{"allow":true}}`), good} {
			found := index.Found{Record: ledger.Record{Index: int64(i), Event: text}, Row: index.Row{Kind: index.KindDecision}}
			if !yield(found, nil) {
				return
			}
		}
	}
	s, err := Run(t.Context(), Config{Judge: newJudge(t, revision, revision)}, records)
	if err != nil {
		t.Fatal(err)
	}
	if s.Decisions != 2 || s.Undecidable != 1 || s.Changed() != 0 || s.ByMissing[withoutInput] != 1 {
		t.Errorf("%+v, missing %v", s.Tally, s.ByMissing)
	}
}

// Where nothing was masked, every decision is told: by the very policy exactly as it was, by others as they decide.
func TestNothingMaskedNothingUndecidable(t *testing.T) {
	trust := trusted(t)
	random := rand.New(rand.NewPCG(3, 5))
	for i, s := range stances[:len(stances)-1] { // the last looks at the header, which is never recorded
		t.Run(s.name, func(t *testing.T) {
			own := compiled(t, s.config, s.rules)
			other := stances[(i+1)%(len(stances)-1)]
			candidate := compiled(t, other.config, other.rules)
			desk, truth := newDesk(t, own, true), newDesk(t, candidate, true)
			self, judge := newJudge(t, own, nil), newJudge(t, candidate, own)
			for range 25 {
				f := someFacts(random, trust)
				was, text := desk.decide(t, f)
				record, err := read(text)
				if err != nil {
					t.Fatal(err)
				}
				if got, err := self.Judge(t.Context(), record); err != nil || !got.Answer.Equal(was) || len(got.Undecidable) > 0 {
					t.Errorf("again: %+v, want %v: %v\n%s", got, was, err, text)
				}
				want, _ := truth.decide(t, f)
				if got, err := judge.Judge(t.Context(), record); err != nil || !got.Answer.Equal(want) || len(got.Undecidable) > 0 {
					t.Errorf("under %q: %+v, want %v: %v\n%s", other.name, got, want, err, text)
				}
			}
		})
	}
}

// One judge, who remembers, says the same of tokens that come again later as one who sees each for the first time.
func TestMemoryChangesNothing(t *testing.T) {
	trust := trusted(t)
	for _, s := range []stance{stances[0], stances[1], stances[9], stances[10], stances[14]} {
		t.Run(s.name, func(t *testing.T) {
			own, candidate := compiled(t, "", nil), compiled(t, s.config, s.rules)
			desk, judge := newDesk(t, own, true), newJudge(t, candidate, own)
			random := rand.New(rand.NewPCG(13, 17))
			for _, f := range []*pdp.Facts{verified(trust, nil), someFacts(random, trust), someFacts(random, trust)} {
				f.Token.Claims["exp"], f.Token.Claims["iat"] = number(now+600), number(now-60)
				for _, later := range []int64{0, 0, 1, 300, 200, 590, 595, 599, 600, 601, 630, 631} {
					again := *f
					again.Time = now + later
					_, text := desk.decide(t, &again)
					record, err := read(text)
					if err != nil {
						t.Fatal(err)
					}
					record.Input["time"] = number(now + later) // the desk's clock stands still
					got, err := judge.Judge(t.Context(), record)
					if err != nil {
						t.Fatal(err)
					}
					want, err := newJudge(t, candidate, own).Judge(t.Context(), record)
					if err != nil {
						t.Fatal(err)
					}
					if !got.Answer.Equal(want.Answer) {
						t.Errorf("%d s later: %v, want %v\n%s", later, got, want, text)
					}
				}
			}
		})
	}
}
