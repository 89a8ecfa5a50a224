package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

// recorded records one decision and gives its text.
func recorded(t *testing.T, m audit.Masker, p audit.Pseudonyms, f *pdp.Facts, d *pdp.Decision) []byte {
	t.Helper()
	log := &records{durable: true}
	receipt, err := recorder(t, log, m, p).Record(t.Context(), f, d)
	if err != nil {
		t.Fatal(err)
	}
	if receipt == nil || receipt.Log != "log.example" || receipt.Index != 0 {
		t.Fatalf("receipt %+v", receipt)
	}
	if !json.Valid(log.list[0]) || bytes.ContainsAny(log.list[0], "\n\r") {
		t.Fatalf("not one line of JSON: %s", log.list[0])
	}
	return log.list[0]
}

// personal are texts of verified's facts that no mask here clears.
var personal = []string{
	"eyJ", "jane@example.org", "jane-doe-4711", "token-of-jane", "31612345678", "Oude Delft", "staff-of-jane", "inside-jane", "/users/", "192.0.2.7", "4711471147",
}

func checkNothingPersonal(t *testing.T, record []byte) {
	t.Helper()
	for _, text := range personal {
		if bytes.Contains(record, []byte(text)) {
			t.Errorf("the record has %q: %s", text, record)
		}
	}
}

var pseudonym = regexp.MustCompile(`^p:2026-11\.v3:[A-Za-z0-9_-]{22}$`)

func TestRecordOfADecision(t *testing.T) {
	f, d := verified(t)
	text := recorded(t, masks(standard()), pseudonyms(t), f, d)
	checkNothingPersonal(t, text)
	e := decoded(t, text)
	if e.DecisionID != "01JD" || e.Path != audit.DecisionPath || e.Revision() != "rev-1" || !e.Timestamp.Equal(moment) ||
		e.TraceID != f.Request.TraceID || e.SpanID != f.Request.SpanID || e.RequestedBy != "https://idp.example orders" ||
		e.Labels["app"] != "assay" || e.Labels["id"] != "replica-1" || e.Labels["version"] != "1.2.3" || e.Metrics.HandlerNS != 250_000 {
		t.Errorf("event %+v", e)
	}
	custom := e.Custom.Assay
	if custom.Kind != audit.KindDecision || custom.RequestID != "req-1" || custom.CallerMethod != "bearer" || *custom.LifetimeSeconds != 360 ||
		e.Input.Verification.Key.Thumbprint != f.Verification.Key.Thumbprint || custom.Mask != audit.MaskApplied || custom.MaskRevision != "m1" || custom.Pseudonyms != "" {
		t.Errorf("custom %+v", custom)
	}
	claims := e.Input.Token.Claims
	want := map[string]any{"iss": issuerID, "aud": []any{"orders"}, "scope": "read", "client_id": "shop",
		"exp": f.Token.Claims["exp"], "iat": f.Token.Claims["iat"], "address": map[string]any{"country": "NL"}}
	groups, _ := claims["groups"].([]any)
	sub, _ := claims["sub"].(string)
	delete(claims, "groups")
	delete(claims, "sub")
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("claims %v, want %v", claims, want)
	}
	if !pseudonym.MatchString(sub) || len(groups) != 3 || !pseudonym.MatchString(groups[0].(string)) || groups[0] == groups[1] {
		t.Errorf("pseudonyms %q and %q", sub, groups)
	}
	q := e.Input.Request
	if q.Audience != "orders" || q.TokenType != "access_token" || q.Method != "GET" || q.Action != "read" || q.Purpose != "fulfilment" ||
		q.Path != "" || q.Resource != "" || !pseudonym.MatchString(q.ClientIP) || !reflect.DeepEqual(q.Context, map[string]any{"tenant": "acme"}) {
		t.Errorf("request %+v", q)
	}
	r := e.Result
	if !r.Allow || r.CacheForSeconds != 60 || len(r.Reasons) != 1 || r.Reasons[0].Code != "lifetime.too_old" || r.Reasons[0].Details["actual_seconds"] != json.Number("60") ||
		!slices.Equal(r.Released, []string{"email", "scope"}) || !slices.Equal(r.Obligations.OmitClaims, []string{"phone_number"}) ||
		!pseudonym.MatchString(e.Input.Token.ID) || e.Input.Token.KeyID != "k1" {
		t.Errorf("result %+v", r)
	}
	for _, pointer := range []string{"/input/token/claims/email", "/input/token/claims/address/street", "/input/request/path", "/input/request/context/email"} {
		if !slices.Contains(e.Erased, pointer) {
			t.Errorf("erased %q lacks %s", e.Erased, pointer)
		}
	}
	for _, pointer := range []string{"/input/token/claims/sub", "/input/token/claims/groups/0", "/input/request/client_ip", "/input/token/id"} {
		if !slices.Contains(e.Masked, pointer) {
			t.Errorf("masked %q lacks %s", e.Masked, pointer)
		}
	}
	if custom.ErasedUnnamed != 2 { // the claim that is called by a mail address, and what lies in an object among the groups
		t.Errorf("%d erased without a name, want 2", custom.ErasedUnnamed)
	}
}

func TestAMaskThatFailsClearsNothing(t *testing.T) {
	f, d := verified(t)
	failing := maskerFunc(func(*pdp.Facts, *pdp.Decision) (audit.Mask, error) { return standard(), errMask })
	text := recorded(t, failing, pseudonyms(t), f, d)
	checkNothingPersonal(t, text)
	e := decoded(t, text)
	if e.Custom.Assay.Mask != audit.MaskFailed || len(e.Input.Token.Claims) != 0 || e.Input.Request.Action != "" || e.Input.Request.ClientIP != "" ||
		e.Input.Request.Context != nil {
		t.Errorf("event %+v of %s", e, text)
	}
	if !e.Result.Allow || e.Input.Verification.Issuer != issuerID || e.Input.Verification.Key == nil {
		t.Errorf("what needs no clearing is missing: %s", text)
	}
}

// What a caller and a token chose may not make a record that the log does not take: its decision could not be answered.
func TestARecordThatWouldBeTooLongIsMasked(t *testing.T) {
	f, d := verified(t)
	f.Request.Context = map[string]any{"note": strings.Repeat("long ", 60_000)}
	clearing := standard()
	clearing.ClearRequest = [][]string{{"context"}}
	text := recorded(t, masks(clearing), pseudonyms(t), f, d)
	e := decoded(t, text)
	if len(text) > 64<<10 || e.Custom.Assay.Mask != audit.MaskFailed || e.Input.Request.Context != nil || !e.Result.Allow {
		t.Errorf("a record of %d bytes, mask %q", len(text), e.Custom.Assay.Mask)
	}
	// Nobody brings back what the mask takes out by making the record long.
	clearing.Remove = []string{"/input/token", "/result/obligations"}
	if e := decoded(t, recorded(t, masks(clearing), pseudonyms(t), f, d)); e.Custom.Assay.Mask != audit.MaskFailed ||
		!reflect.DeepEqual(e.Input.Token, audit.Event{}.Input.Token) || !slices.Contains(e.Erased, "/input/token") || !slices.Contains(e.Erased, "/result/obligations") || e.Result.Obligations.OmitClaims != nil {
		t.Errorf("the token is back: %+v, erased %q", e.Input.Token, e.Erased)
	}
	clearing.Remove = nil
	f.Request.Context = map[string]any{"note": strings.Repeat("long ", 40_000)}
	if e := decoded(t, recorded(t, masks(clearing), pseudonyms(t), f, d)); e.Custom.Assay.Mask != audit.MaskApplied || e.Input.Request.Context == nil {
		t.Errorf("one that is not too long is masked: %q", e.Custom.Assay.Mask)
	}
}

func TestWithoutAKeyIdentifiersAreErased(t *testing.T) {
	f, d := verified(t)
	text := recorded(t, masks(standard()), nil, f, d)
	checkNothingPersonal(t, text)
	e := decoded(t, text)
	if e.Custom.Assay.Pseudonyms != audit.PseudonymsUnavailable || e.Input.Token.ID != "" || len(e.Masked) != 0 ||
		!slices.Contains(e.Erased, "/input/token/claims/sub") || bytes.Contains(text, []byte(`"p:`)) {
		t.Errorf("record %s", text)
	}
}

// What is kept with a token is the same text, and is made anew where anything of it changed.
func TestKeptPartsAreWhatWouldBeWritten(t *testing.T) {
	f, d := verified(t)
	p := pseudonyms(t)
	fresh := recorded(t, masks(standard()), p, f, d)
	mask := standard()
	mask.Kept = &audit.Kept{}
	for _, name := range []string{"first", "again"} {
		if kept := recorded(t, masks(mask), p, f, d); !bytes.Equal(kept, fresh) {
			t.Errorf("%s: %s\nwant %s", name, kept, fresh)
		}
	}
	denied := *d
	denied.Allow, denied.Claims = false, nil
	denied.Reasons = []pdp.Reason{{Code: "lifetime.expired", Enforcement: pdp.Deny}}
	if text := recorded(t, masks(mask), p, f, &denied); !bytes.Equal(text, recorded(t, masks(standard()), p, f, &denied)) {
		t.Errorf("another verdict: %s", text)
	}
	other, _ := verified(t)
	if text := recorded(t, masks(mask), p, other, d); !bytes.Equal(text, recorded(t, masks(standard()), p, other, d)) {
		t.Errorf("another token: %s", text)
	}
	if text := recorded(t, masks(mask), audit.NoPseudonyms{}, f, d); !bytes.Equal(text, recorded(t, masks(standard()), nil, f, d)) {
		t.Errorf("the key is gone: %s", text)
	}
}

// What one request has erased is written for the next one that the same verdict answers.
func TestWhatOneRequestHasErasedIsNotKept(t *testing.T) {
	f, d := verified(t)
	d.Words, d.Reasons = policyWords{"own.found"}, []pdp.Reason{{Code: "own.found", Severity: pdp.Low, Enforcement: pdp.Warn}}
	mask := standard()
	mask.Kept = &audit.Kept{}
	before := *f.Request
	before.Context = map[string]any{"x": "own.found"}
	theirs := *f
	theirs.Request = &before
	for _, c := range []struct {
		facts *pdp.Facts
		code  string
	}{{&theirs, pdp.ComputedCode}, {f, "own.found"}} {
		if code := decoded(t, recorded(t, masks(mask), pseudonyms(t), c.facts, d)).Result.Reasons[0].Code; code != c.code {
			t.Errorf("%s is written, want %s", code, c.code)
		}
	}
}

// A rule may break the rule that details hold no claim's value.
func TestDetailsShowNoClaim(t *testing.T) {
	for name, tc := range map[string]struct {
		detail any
		shown  bool
	}{
		"a count":                   {int64(900), true},
		"a name":                    {"email", true},
		"names":                     {[]string{"email", "phone_number"}, true},
		"a flag":                    {true, true},
		"a cleared value":           {"shop", true},
		"a subject":                 {"jane-doe-4711", false},
		"a subject within a text":   {"not for jane-doe-4711", false},
		"a mail address":            {"joe@example.com", false},
		"a telephone number":        {json.Number("31612345678"), false},
		"the same, as Go's":         {int64(31612345678), false},
		"a claim of an object":      {"Oude Delft 1", false},
		"a token":                   {"eyJhbGciOiJFUzI1NiJ9", false},
		"a path that was asked for": {"/users/jane@example.org", false},
		"a context's":               {json.Number("4711471147"), false},
		"of a type that is none":    {struct{}{}, false},
		"a subject in capitals":     {"JANE-DOE-4711", false},
		"a number as a text":        {"call 31612345678", false},
		"a text as a number":        {json.Number("8154711"), false},
		"the same, as an int":       {8154711, false},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := verified(t)
			f.Token.Claims["employee"] = "8154711"
			d.Reasons[0].Details = map[string]any{"what": tc.detail}
			e := decoded(t, recorded(t, masks(standard()), pseudonyms(t), f, d))
			if _, shown := e.Result.Reasons[0].Details["what"]; shown != tc.shown {
				t.Errorf("shown %v, want %v", shown, tc.shown)
			}
			if !tc.shown && !slices.Contains(e.Erased, "/result/reasons/0/details/what") {
				t.Errorf("erased %q", e.Erased)
			}
		})
	}
}

// A rule can make a code, a control or the name of a detail out of a claim, or take it from there.
func TestWhatTheReasonsOfARuleTell(t *testing.T) {
	words := policyWords{"own.found", "OWN:1", "count", "own.ward", "staff-of-jane", "DE", "1", "oncology", "lifetime.too_old", "parameters", "GDPR:25", "NL"}
	found := func(details map[string]any, controls ...string) pdp.Reason {
		return pdp.Reason{Code: "own.found", Details: details, Controls: controls}
	}
	for name, c := range map[string]struct {
		reason pdp.Reason
		want   audit.Reason
		lost   int // beside what stands among the erased pointers
	}{
		"all is said":             {found(map[string]any{"count": int64(2)}, "OWN:1"), audit.Reason{Code: "own.found", Controls: []string{"OWN:1"}, Details: map[string]any{"count": json.Number("2")}}, 0},
		"a computed code":         {pdp.Reason{Code: "own.jane-doe-4711"}, audit.Reason{Code: pdp.ComputedCode}, 0},
		"a code out of a claim":   {pdp.Reason{Code: "own.ward"}, audit.Reason{Code: pdp.ComputedCode}, 0},
		"one where a code stands": {pdp.Reason{Code: "own.certain"}, audit.Reason{Code: "own.certain"}, 0},
		"one that is Go's":        {pdp.Reason{Code: "revocation.subject", Controls: []string{"SOC2:CC7.4", "X:1"}}, audit.Reason{Code: "revocation.subject", Controls: []string{"SOC2:CC7.4"}}, 1},
		"one of the library":      {pdp.Reason{Code: "lifetime.too_old", Controls: []string{"GDPR:25"}, Details: map[string]any{"parameters": int64(1)}}, audit.Reason{Code: "lifetime.too_old", Controls: []string{"GDPR:25"}, Details: map[string]any{"parameters": json.Number("1")}}, 0},
		"computed controls":       {found(nil, "OWN:jane", "OWN:1", "OWN:x"), audit.Reason{Code: "own.found", Controls: []string{"OWN:1"}}, 2},
		"a control of a claim":    {found(nil, "staff-of-jane"), audit.Reason{Code: "own.found"}, 1},
		"a computed name":         {found(map[string]any{"of jane": int64(1)}), audit.Reason{Code: "own.found"}, 1},
		"a name of a claim":       {found(map[string]any{"staff-of-jane": true}), audit.Reason{Code: "own.found"}, 1},
		"a short one":             {found(map[string]any{"DE": true}), audit.Reason{Code: "own.found"}, 1},
		"a short text":            {found(map[string]any{"count": "DE"}), audit.Reason{Code: "own.found"}, 0},
		"digit by digit":          {found(map[string]any{"count": []string{"1", "1"}}), audit.Reason{Code: "own.found", Details: map[string]any{"count": []any{}}}, 2},
		"a part of a claim":       {found(map[string]any{"count": "jane"}), audit.Reason{Code: "own.found"}, 0},
		"a part that is said":     {found(map[string]any{"count": "oncology"}), audit.Reason{Code: "own.found"}, 0},
		"a cleared value":         {found(map[string]any{"count": []string{"orders", "NL"}}), audit.Reason{Code: "own.found", Details: map[string]any{"count": []any{"orders", "NL"}}}, 0},
		"a number out of a text":  {found(map[string]any{"count": json.Number("4155550123")}), audit.Reason{Code: "own.found"}, 0},
		"parts of claims":         {found(map[string]any{"count": []string{"jane", "email", "address.street", "address.of", "a.b.c.d", "kid", "OWN:1", "groups.deep"}}), audit.Reason{Code: "own.found", Details: map[string]any{"count": []any{"email", "address.street", "a.b.c.d", "kid", "OWN:1"}}}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := verified(t)
			f.Token.Claims["ward"], f.Token.Claims["born_in"], f.Token.Claims["tel"] = "own.ward", "DE", "+415 555 0123"
			f.Token.Claims["a.b"] = []any{map[string]any{"c": map[string]any{"d": "x"}}}
			f.Token.Claims["wards"], f.Token.Claims["codes"] = "oncology surgery", []any{"own.certain", "parameters", "GDPR:25"}
			f.Token.Claims["event"] = "lifetime.too_old" // nobody has a code of the library's erased by that
			d.Words = words
			c.reason.Severity, c.reason.Enforcement = pdp.High, pdp.Warn
			d.Reasons = []pdp.Reason{c.reason}
			e := decoded(t, recorded(t, masks(standard()), pseudonyms(t), f, d))
			got := e.Result.Reasons[0]
			if got.Code != c.want.Code || !slices.Equal(got.Controls, c.want.Controls) || len(got.Details) != len(c.want.Details) || got.Severity != "high" ||
				len(c.want.Details) > 0 && !reflect.DeepEqual(got.Details, c.want.Details) {
				t.Errorf("%+v", got)
			}
			if lost := e.Custom.Assay.ErasedUnsaid; lost != c.lost {
				t.Errorf("%d texts are told to be erased", lost)
			}
			if slices.Contains(e.Erased, "/result/reasons/0/code") != (c.want.Code == pdp.ComputedCode) {
				t.Errorf("erased %q", e.Erased)
			}
		})
	}
}

func TestWhatAPolicyHasOmittedIsNamedOnlyWhereItIsAName(t *testing.T) {
	f, d := verified(t)
	d.Obligations.OmitClaims = []string{"email", "jane-doe-4711", "address.street", "jane"}
	e := decoded(t, recorded(t, masks(standard()), pseudonyms(t), f, d))
	if got := e.Result.Obligations.OmitClaims; !slices.Equal(got, []string{"email", "address.street"}) {
		t.Errorf("%q", got)
	}
}

// Of a token that is not verified nothing is believed, and whoever made it chose every text in its header.
func TestAnUnverifiedTokensTextsAreNotWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		header pdp.Header
		plain  []string
	}{
		"known texts": {pdp.Header{Algorithm: "HS256", KeyID: "k1", Type: "at+jwt"}, []string{`"alg":"HS256"`, `"kid":"k1"`, `"typ":"at+jwt"`}},
		"mail":        {pdp.Header{Algorithm: "jane@example.org", KeyID: "jane@example.org", Type: "jane@example.org", ContentType: "jane@example.org", Encryption: "jane@example.org"}, nil},
		"a token":     {pdp.Header{Algorithm: "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", KeyID: "eyJhbGciOiJFUzI1NiJ9.e30.c2ln", Type: "eyJhbGciOiJFUzI1NiJ9"}, nil},
		"a subject":   {pdp.Header{Algorithm: "ES256", KeyID: "jane-doe-4711", Type: "jane-doe-4711"}, []string{`"alg":"ES256"`}},
		"a long one":  {pdp.Header{Algorithm: "none", KeyID: strings.Repeat("jane-doe-4711", 100)}, []string{`"alg":"none"`}},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := verified(t)
			trust := f.Verification.Trust
			f.Token = &pdp.Token{Size: 99, Kind: "jws", Header: tc.header, Claims: nil}
			reason := pdp.NewFloorReason("signature.invalid", "jane@example.org", nil)
			f.Verification = &pdp.Verification{Status: pdp.StatusSignatureInvalid, Reason: reason, Trust: trust}
			d.Allow, d.Claims, d.Reasons = false, nil, []pdp.Reason{*reason}
			text := recorded(t, masks(standard()), pseudonyms(t), f, d)
			checkNothingPersonal(t, text)
			for _, plain := range tc.plain {
				if !bytes.Contains(text, []byte(plain)) {
					t.Errorf("%s is missing in %s", plain, text)
				}
			}
			if e := decoded(t, text); e.Result.Reasons[0].Code != "signature.invalid" || e.Input.Token.Claims != nil || e.Input.Verification.Code != "signature.invalid" {
				t.Errorf("record %s", text)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	for name, tc := range map[string]struct {
		pointers []string
		gone     []string
	}{
		"a claim":                {[]string{"/input/token/claims/scope"}, []string{`"scope":"read"`}},
		"all claims":             {[]string{"/input/token/claims"}, []string{`"claims":{`, `"client_id"`}},
		"a reason's details":     {[]string{"/result/reasons/0/details"}, []string{`"actual_seconds"`}},
		"a member of a list":     {[]string{"/input/token/claims/aud/0"}, []string{`"aud":["orders"]`}},
		"the whole input":        {[]string{"/input"}, []string{`"client_id"`, `"request"`, `"kty"`}},
		"the whole result":       {[]string{"/result"}, []string{`"controls"`, `"obligations"`, `"summary"`}},
		"what is not there":      {[]string{"/input/token/claims/none", "/result/reasons/7"}, nil},
		"what a record is about": {[]string{"/result/allow", "/result/reasons/0/code", "/input/verification/status", "/input/verification/key/thumbprint"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			f, d := verified(t)
			mask := standard()
			mask.Remove = tc.pointers
			text := recorded(t, masks(mask), pseudonyms(t), f, d)
			for _, gone := range tc.gone {
				if bytes.Contains(text, []byte(gone)) {
					t.Errorf("%s is still in %s", gone, text)
				}
			}
			e := decoded(t, text)
			if !e.Result.Allow || len(e.Result.Reasons) != 1 || e.Result.Reasons[0].Code == "" || e.Result.Reasons[0].Enforcement == "" || e.Input.Verification.Status == "" ||
				e.Input.Verification.Key == nil || e.Input.Verification.Key.Thumbprint == "" {
				t.Errorf("what a record is about is gone: %s", text)
			}
			if slices.Contains(e.Erased, tc.pointers[0]) != (tc.gone != nil) {
				t.Errorf("erased %q", e.Erased)
			}
		})
	}
	f, d := verified(t)
	mask := standard()
	mask.Clear, mask.Remove = append(mask.Clear, []string{"jane@example.org"}), []string{"/input/token/claims/jane@example.org"}
	text := recorded(t, masks(mask), pseudonyms(t), f, d)
	if e := decoded(t, text); bytes.Contains(text, []byte("jane@example.org")) || e.Custom.Assay.ErasedUnnamed == 0 {
		t.Errorf("a name that may not be written is listed: %s", text)
	}
	if _, err := recorder(t, &records{}, masks(audit.Mask{Remove: []string{"/custom"}}), nil).Record(t.Context(), f, d); err == nil {
		t.Error("a pointer to elsewhere was taken")
	}
}

func TestAppendThatFailsIsAnErrorAndBufferedHasNoReceipt(t *testing.T) {
	f, d := verified(t)
	full := errors.New("no space left on device")
	r := recorder(t, &records{failure: full}, audit.Nothing{}, nil)
	if receipt, err := r.Record(t.Context(), f, d); !errors.Is(err, full) || receipt != nil {
		t.Errorf("receipt %v, error %v", receipt, err)
	}
	if err := r.RecordChange(t.Context(), pdp.Change{Kind: pdp.KeyRotated, At: time.Now()}); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	r = recorder(t, &records{durable: false}, audit.Nothing{}, nil)
	if receipt, err := r.Record(t.Context(), f, d); err != nil || receipt != nil {
		t.Errorf("receipt %v, error %v", receipt, err)
	}
}

// Who is in a group may stand in the names of members. A mask that names them, or clears them, knows what they are.
func TestNamesOfPersonsAreNotWrittenBesideTheirPseudonyms(t *testing.T) {
	f, d := verified(t)
	f.Token.Claims["act"] = map[string]any{"sub": "jane-doe-4711", "jane-doe-4711": "x", "more": []any{map[string]any{"jane-doe-4711": "x"}}}
	f.Request.Context["owner"] = map[string]any{"jane-doe-4711": map[string]any{"role": "x"}}
	mask := standard()
	mask.Pseudonymise = append(mask.Pseudonymise, []string{"act"}, []string{"act", "sub"})
	mask.PseudonymiseRequest = append(mask.PseudonymiseRequest, []string{"context", "owner"})
	text := recorded(t, masks(mask), pseudonyms(t), f, d)
	checkNothingPersonal(t, text)
	act, _ := decoded(t, text).Input.Token.Claims["act"].(map[string]any)
	if sub, _ := act["sub"].(string); len(act) != 1 || !pseudonym.MatchString(sub) {
		t.Errorf("act %v in %s", act, text)
	}
}
