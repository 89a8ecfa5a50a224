package pdp_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

func TestNewRefusesAnIncompleteWiring(t *testing.T) {
	whole := goodFacts(t).config(t, says(allowing()))
	for name, spoil := range map[string]func(*pdp.Config){
		"no examiner":                 func(c *pdp.Config) { c.Examiner = nil },
		"no policy":                   func(c *pdp.Config) { c.Policy = nil },
		"no ids":                      func(c *pdp.Config) { c.NewID = nil },
		"a negative leeway":           func(c *pdp.Config) { c.Leeway = -time.Second },
		"a leeway with a fraction":    func(c *pdp.Config) { c.Leeway = 1500 * time.Millisecond },
		"a leeway below one second":   func(c *pdp.Config) { c.Leeway = time.Nanosecond },
		"a leeway a bit over seconds": func(c *pdp.Config) { c.Leeway = 30*time.Second + 1 },
	} {
		t.Run(name, func(t *testing.T) {
			c := whole
			spoil(&c)
			if d, err := pdp.New(c); err == nil || d != nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := pdp.New(whole); err != nil {
		t.Error(err)
	}
}

func TestAllow(t *testing.T) {
	f := goodFacts(t)
	f.token.ExpiresAt = fraction(t, "1795460030.5")
	verdict := allowing(pdp.Reason{Code: "lifetime.too_old", Enforcement: pdp.Warn}, pdp.Reason{Code: "claims.missing", Enforcement: pdp.Waived})
	verdict.Claims = [][]string{{"sub"}, {"address", "country"}, {"missing"}}
	verdict.Obligations.OmitClaims = []string{"email"}
	d := decide(t, f.config(t, says(verdict)))
	if !d.Allow || d.ID != "01JD" || d.PolicyRevision != "r1" || d.EvaluatedAt.Unix() != now {
		t.Errorf("decision %+v", d)
	}
	if len(d.Reasons) != 2 || d.Reasons[0].Enforcement != pdp.Warn || d.Reasons[1].Enforcement != pdp.Waived {
		t.Errorf("reasons %+v; a warning and a waived reason stand beside an allow", d.Reasons)
	}
	if want := (map[string]any{"sub": "alice", "address": map[string]any{"country": "NL"}}); !reflect.DeepEqual(d.Claims, want) {
		t.Errorf("claims %v, want %v", d.Claims, want)
	}
	if d.CacheForSeconds != 30 || !slices.Equal(d.Obligations.OmitClaims, []string{"email"}) {
		t.Errorf("cache %d, want 30, the whole seconds until exp; obligations %v", d.CacheForSeconds, d.Obligations)
	}
	want := pdp.TokenSummary{Status: pdp.StatusVerified, Kind: "jws", Algorithm: "ES256", KeyID: "k1", Type: "at+jwt",
		Issuer: issuerID, TokenID: "token-1", ExpiresAt: f.token.ExpiresAt}
	if d.Token != want {
		t.Errorf("token %+v, want %+v", d.Token, want)
	}
}

func TestCacheForSeconds(t *testing.T) {
	for name, tc := range map[string]struct {
		policy, exp, want int64
	}{
		"policy's, before exp":         {60, now + 300, 60},
		"policy's, at exp":             {300, now + 300, 300},
		"exp's":                        {301, now + 300, 300},
		"none after exp within leeway": {60, now - 10, 0},
		"none at exp":                  {60, now, 0},
		"none where policy gives none": {0, now + 300, 0},
		"none where policy errs":       {-5, now + 300, 0},
		"exp's, of a huge one":         {1 << 62, now + 300, 300},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodFacts(t)
			f.token.ExpiresAt = date(tc.exp)
			verdict := allowing()
			verdict.CacheForSeconds = tc.policy
			if d := decide(t, f.config(t, says(verdict))); !d.Allow || d.CacheForSeconds != tc.want {
				t.Errorf("allow %v, %d s, want %d", d.Allow, d.CacheForSeconds, tc.want)
			}
		})
	}
}

func TestMaxReuse(t *testing.T) {
	for name, tc := range map[string]struct {
		limit             time.Duration
		policy, exp, want int64
	}{
		"no limit":                  {0, 60, now + 300, 60},
		"shorter than policy's":     {10 * time.Second, 60, now + 300, 10},
		"longer than policy's":      {10 * time.Second, 5, now + 300, 5},
		"longer than until exp":     {10 * time.Second, 60, now + 7, 7},
		"a part of a second is cut": {1500 * time.Millisecond, 60, now + 300, 1},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodFacts(t)
			f.token.ExpiresAt = date(tc.exp)
			verdict := allowing()
			verdict.CacheForSeconds = tc.policy
			c := f.config(t, says(verdict))
			c.MaxReuse = tc.limit
			if d := decide(t, c); !d.Allow || d.CacheForSeconds != tc.want {
				t.Errorf("allow %v, %d s, want %d", d.Allow, d.CacheForSeconds, tc.want)
			}
		})
	}
}

func TestPolicyDenies(t *testing.T) {
	deny := pdp.Reason{Code: "claims.audience_mismatch", Enforcement: pdp.Deny}
	warn := pdp.Reason{Code: "lifetime.too_old", Enforcement: pdp.Warn}
	for name, tc := range map[string]struct {
		verdict pdp.Verdict
		codes   []string
	}{
		"the zero verdict":                   {pdp.Verdict{}, []string{"policy.undefined"}},
		"a deny with a reason":               {pdp.Verdict{Reasons: []pdp.Reason{deny}}, []string{deny.Code}},
		"a deny with a warning alone":        {pdp.Verdict{Reasons: []pdp.Reason{warn}}, []string{"policy.undefined"}},
		"an allow with a reason that denies": {allowing(deny), []string{deny.Code}},
		"an allow with a warning and a deny": {allowing(warn, deny), []string{deny.Code}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.verdict.Obligations.OmitClaims = []string{"email"}
			tc.verdict.Claims, tc.verdict.CacheForSeconds = [][]string{{"sub"}}, 60
			checkDenied(t, decide(t, goodFacts(t).config(t, says(tc.verdict))), tc.codes...)
		})
	}
	for _, enforcement := range []pdp.Enforcement{"", "DENY", "warning", "off"} {
		t.Run("an enforcement that nobody knows: "+string(enforcement), func(t *testing.T) {
			d := decide(t, goodFacts(t).config(t, says(allowing(pdp.Reason{Code: "x.y", Enforcement: enforcement}))))
			if d.Allow || d.Claims != nil {
				t.Error("allowed")
			}
		})
	}
}

// What policy only warns of, waives or denies itself, and the floor denies, stands once, with policy's
// fuller words, and denies.
func TestFloorMergesWithPolicysReasons(t *testing.T) {
	for _, enforcement := range []pdp.Enforcement{pdp.Warn, pdp.Waived, pdp.Deny} {
		t.Run(string(enforcement), func(t *testing.T) {
			f := goodFacts(t)
			f.token.ExpiresAt = date(now - 100)
			expired := pdp.Reason{Code: "lifetime.expired", Message: "fuller", Severity: pdp.Low, Enforcement: enforcement,
				Details: map[string]any{"more": int64(1)}, Controls: []string{"X"}}
			other := pdp.Reason{Code: "claims.missing", Message: "m", Enforcement: pdp.Warn}
			verdict := allowing(other, expired)
			d := decide(t, f.config(t, says(verdict)))
			checkDenied(t, d, "lifetime.expired")
			expired.Enforcement = pdp.Deny
			if want := []pdp.Reason{expired, other}; !reflect.DeepEqual(d.Reasons, want) {
				t.Errorf("reasons %+v\nwant    %+v", d.Reasons, want)
			}
			if verdict.Reasons[1].Enforcement != enforcement {
				t.Error("the policy's own verdict, which it may remember, was changed")
			}
		})
	}
}

func TestReasonsOfARememberedVerdictAreNotChanged(t *testing.T) {
	reasons := make([]pdp.Reason, 1, 4)
	reasons[0] = pdp.Reason{Code: "lifetime.too_old", Enforcement: pdp.Warn}
	verdict := pdp.Verdict{Reasons: reasons}
	c := goodFacts(t).config(t, says(verdict))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { checkDenied(t, decide(t, c), "policy.undefined") })
	}
	all.Wait()
	if spare := reasons[:2][1]; spare.Code != "" {
		t.Errorf("%s was written behind the verdict's reasons", spare.Code)
	}
}

func TestRelease(t *testing.T) {
	address := map[string]any{"country": "NL", "city": "Delft"}
	for name, tc := range map[string]struct {
		paths [][]string
		want  map[string]any
	}{
		"nothing":                           {nil, map[string]any{}},
		"a path without names":              {[][]string{{}}, map[string]any{}},
		"a claim":                           {[][]string{{"sub"}}, map[string]any{"sub": "alice"}},
		"a claim that is absent":            {[][]string{{"email"}}, map[string]any{}},
		"a member of an object":             {[][]string{{"address", "country"}}, map[string]any{"address": map[string]any{"country": "NL"}}},
		"two members of an object":          {[][]string{{"address", "country"}, {"address", "city"}}, map[string]any{"address": address}},
		"a member that is absent":           {[][]string{{"address", "street"}}, map[string]any{}},
		"a member of a string":              {[][]string{{"sub", "x"}}, map[string]any{}},
		"a deep member and its neighbour":   {[][]string{{"address", "geo", "lat"}, {"address", "country"}}, map[string]any{"address": map[string]any{"country": "NL", "geo": map[string]any{"lat": goodFacts(t).token.Claims["address"].(map[string]any)["geo"].(map[string]any)["lat"]}}}},
		"a whole object after a member":     {[][]string{{"address", "country"}, {"address"}}, map[string]any{"address": goodFacts(t).token.Claims["address"]}},
		"a member after the whole object":   {[][]string{{"address"}, {"address", "country"}}, map[string]any{"address": goodFacts(t).token.Claims["address"]}},
		"an absent one after the object":    {[][]string{{"address"}, {"address", "street"}}, map[string]any{"address": goodFacts(t).token.Claims["address"]}},
		"a name with dots is one name":      {[][]string{{"address.country"}}, map[string]any{}},
		"a deep one after an object inside": {[][]string{{"address", "geo"}, {"address", "geo", "lat"}}, map[string]any{"address": map[string]any{"geo": goodFacts(t).token.Claims["address"].(map[string]any)["geo"]}}},
	} {
		t.Run(name, func(t *testing.T) {
			f := goodFacts(t)
			verdict := allowing()
			verdict.Claims = tc.paths
			d := decide(t, f.config(t, says(verdict)))
			if !d.Allow || !reflect.DeepEqual(d.Claims, tc.want) {
				t.Errorf("claims %v, want %v", d.Claims, tc.want)
			}
			if !reflect.DeepEqual(f.token.Claims, goodFacts(t).token.Claims) {
				t.Error("the token's own claims were changed")
			}
		})
	}
}

// A cached token is shared by decisions that run at the same time: releasing its claims only reads it.
// (The race detector, and the runtime's check of maps, fail this test where it does not.)
func TestReleaseOnlyReadsTheSharedToken(t *testing.T) {
	f := goodFacts(t)
	verdict := allowing()
	verdict.Claims = [][]string{{"address"}, {"address", "country"}, {"address", "geo", "lat"}, {"address", "city"}}
	c := f.config(t, says(verdict))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				decide(t, c)
			}
		})
	}
	all.Wait()
}

func TestRevocationIsAskedForVerifiedTokensOnly(t *testing.T) {
	f := goodFacts(t)
	f.revocation = pdp.Revocation{Known: true, AgeSeconds: 2}
	index := &revocations{answer: f.revocation}
	var seen pdp.Facts
	c := f.config(t, policyFunc(func(facts *pdp.Facts) (pdp.Verdict, error) { seen = *facts; return allowing(), nil }))
	c.Revocations = index
	decide(t, c)
	if index.asked.Load() != 1 || seen.Revocation != f.revocation || seen.Time != now || seen.Token != f.token || seen.Request.Token != "compact" {
		t.Errorf("asked %d times, facts %+v", index.asked.Load(), seen)
	}
	f.verification.Status = pdp.StatusKeyUnknown
	decide(t, c)
	if index.asked.Load() != 1 || seen.Revocation.Known {
		t.Error("the index was asked about a token that nobody vouches for")
	}
	c.Revocations = nil
	f.verification.Status = pdp.StatusVerified
	if d := decide(t, c); !d.Allow || seen.Revocation.Known {
		t.Error("without an index policy is to hear that nothing is known")
	}
}

func TestFailuresGiveNoDecision(t *testing.T) {
	broken := errors.New("broken")
	recorded := 0
	for name, spoil := range map[string]func(*pdp.Config){
		"examination": func(c *pdp.Config) {
			c.Examiner = examinerFunc(func(string) (*pdp.Token, *pdp.Verification, error) { return nil, nil, broken })
		},
		"policy": func(c *pdp.Config) {
			c.Policy = policyFunc(func(*pdp.Facts) (pdp.Verdict, error) { return allowing(), broken })
		},
		"record": func(c *pdp.Config) {
			c.Recorder = recorderFunc(func(*pdp.Facts, *pdp.Decision) error { return broken })
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := goodFacts(t).config(t, says(allowing()))
			c.Recorder = recorderFunc(func(*pdp.Facts, *pdp.Decision) error { recorded++; return nil })
			spoil(&c)
			d, err := pdp.New(c)
			if err != nil {
				t.Fatal(err)
			}
			decision, err := d.Decide(t.Context(), &pdp.Request{})
			if decision != nil || !errors.Is(err, pdp.ErrUnavailable) || !errors.Is(err, broken) {
				t.Errorf("decision %v, error %v; want ErrUnavailable alone", decision, err)
			}
		})
	}
	if recorded != 0 {
		t.Errorf("%d records of decisions that were not made", recorded)
	}
}

func TestEveryDecisionIsRecordedAsAnswered(t *testing.T) {
	f := goodFacts(t)
	var recorded []*pdp.Decision
	c := f.config(t, says(allowing()))
	c.Recorder = recorderFunc(func(facts *pdp.Facts, d *pdp.Decision) error {
		if facts.Token != f.token || facts.Verification != f.verification {
			t.Error("other facts are recorded")
		}
		recorded = append(recorded, d)
		return nil
	})
	allow := decide(t, c)
	c.Policy = says(pdp.Verdict{})
	deny := decide(t, c)
	if len(recorded) != 2 || recorded[0] != allow || recorded[1] != deny {
		t.Errorf("%d records, not of what was answered", len(recorded))
	}
	text, err := allow.AppendJSON(nil)
	if want := `,"receipt":{"log":"log.example","index":7,"leaf_hash":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}}`; err != nil || !strings.HasSuffix(string(text), want) {
		t.Errorf("%s, %v: it ends in no receipt", text, err)
	}
}

func TestJudgeRecordsNothing(t *testing.T) {
	f := goodFacts(t)
	c := f.config(t, says(allowing()))
	c.Examiner = examinerFunc(func(string) (*pdp.Token, *pdp.Verification, error) { return nil, nil, errors.New("not to be asked") })
	c.Recorder = recorderFunc(func(*pdp.Facts, *pdp.Decision) error { return errors.New("not to be asked") })
	d, err := pdp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if decision, err := d.Judge(t.Context(), &pdp.Request{}, f.token, f.verification); err != nil || !decision.Allow {
		t.Errorf("%+v, %v", decision, err)
	}
	f.token.ExpiresAt = nil
	decision, err := d.Judge(t.Context(), &pdp.Request{}, f.token, f.verification)
	if err != nil {
		t.Fatal(err)
	}
	checkDenied(t, decision, "lifetime.missing_exp")
}

func TestAnUnverifiedTokenIsOnlyDescribedByItsHeader(t *testing.T) {
	f := goodFacts(t)
	f.config(t, nil)
	f.verification.Status, f.verification.Reason = pdp.StatusSignatureInvalid, pdp.NewFloorReason("signature.invalid", "m", nil)
	d := decide(t, f.config(t, says(allowing())))
	want := pdp.TokenSummary{Status: pdp.StatusSignatureInvalid, Kind: "jws", Algorithm: "ES256", KeyID: "k1", Type: "at+jwt"}
	if d.Token != want {
		t.Errorf("token %+v, want %+v", d.Token, want)
	}
}

type oneWord string

func (w oneWord) Says(text string) bool   { return text == string(w) || w.SaysCode(text) }
func (oneWord) SaysCode(text string) bool { return text == "own.finding" }

func TestRecordedCode(t *testing.T) {
	for code, want := range map[string]string{"own.said": "own.said", "own.finding": "own.finding", "own.jane": pdp.ComputedCode, "revocation.subject": "revocation.subject"} {
		if got := pdp.RecordedCode(code, oneWord("own.said")); got != want {
			t.Errorf("%s is recorded as %s", code, got)
		}
	}
	if got := pdp.RecordedCode("own.said", nil); got != pdp.ComputedCode {
		t.Errorf("without words it is recorded as %s", got)
	}
}
