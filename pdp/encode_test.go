package pdp_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp"
)

// answer is the decision's shape as the design writes it, for encoding/json to read.
type answer struct {
	DecisionID string `json:"decision_id"`
	Allow      bool   `json:"allow"`
	Reasons    []struct {
		Code        string         `json:"code"`
		Message     string         `json:"message"`
		Severity    string         `json:"severity"`
		Enforcement string         `json:"enforcement"`
		Details     map[string]any `json:"details"`
		Controls    []string       `json:"controls"`
	} `json:"reasons"`
	Token           map[string]any `json:"token"`
	Claims          map[string]any `json:"claims"`
	Obligations     map[string]any `json:"obligations"`
	CacheForSeconds int64          `json:"cache_for_seconds"`
	Policy          map[string]any `json:"policy"`
	EvaluatedAt     time.Time      `json:"evaluated_at"`
}

func read(t *testing.T, d *pdp.Decision) (answer, []byte) {
	t.Helper()
	text, err := d.AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	decoder.UseNumber()
	var a answer
	if err := decoder.Decode(&a); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return a, text
}

func TestDecisionJSON(t *testing.T) {
	expires := fraction(t, "1795460300.5")
	d := &pdp.Decision{
		ID: "01JD", Allow: true,
		Reasons: []pdp.Reason{{Code: "lifetime.too_long", Message: "lives \"86400\" s\n", Severity: pdp.High, Enforcement: pdp.Warn,
			Details:  map[string]any{"z": int64(-1), "a": json.Number("1.50"), "list": []string{"x", "y"}, "flag": true, "n": 7, "d": 90 * time.Second},
			Controls: []string{"GDPR:5.1.e"}}},
		Token: pdp.TokenSummary{Status: pdp.StatusVerified, Kind: "jws", Algorithm: "ES256", KeyID: "k", Type: "at+jwt",
			Issuer: issuerID, TokenID: "t", ExpiresAt: expires},
		Claims:          map[string]any{"sub": "alice", "n": json.Number("12345678901234567890"), "roles": []any{"a", nil, false, map[string]any{"x": json.Number("1e3")}}, "nothing": nil},
		Obligations:     pdp.Obligations{OmitClaims: []string{"email"}},
		CacheForSeconds: 42, PolicyRevision: "r1",
		EvaluatedAt: time.Date(2026, 11, 23, 19, 0, 0, 1_999_999, time.FixedZone("", 3600)),
	}
	const want = `{"decision_id":"01JD","allow":true,"reasons":[{"code":"lifetime.too_long","message":"lives \"86400\" s\n",` +
		`"severity":"high","enforcement":"warn","details":{"a":1.50,"d":90,"flag":true,"list":["x","y"],"n":7,"z":-1},"controls":["GDPR:5.1.e"]}],` +
		`"token":{"status":"verified","kind":"jws","alg":"ES256","kid":"k","typ":"at+jwt","issuer":"https://idp.example","token_id":"t","expires_at":1795460300.5},` +
		`"claims":{"n":12345678901234567890,"nothing":null,"roles":["a",null,false,{"x":1e3}],"sub":"alice"},"obligations":{"omit_claims":["email"]},` +
		`"cache_for_seconds":42,"policy":{"revision":"r1"},"evaluated_at":"2026-11-23T18:00:00.001Z"}`
	a, text := read(t, d)
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !reflect.DeepEqual(a.Claims, d.Claims) {
		t.Errorf("encoding/json reads the claims as %v", a.Claims)
	}
	if marshalled, err := json.Marshal(d); err != nil || !sameJSON(t, marshalled, text) {
		t.Errorf("json.Marshal gives %s, %v", marshalled, err)
	}
	if appended, err := d.AppendJSON([]byte("x")); err != nil || string(appended) != "x"+want {
		t.Error("it does not append")
	}
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		t.Fatal("not JSON")
	}
	return reflect.DeepEqual(x, y)
}

// The zero decision is a deny in full shape: no member is missing and none is null.
func TestZeroDecisionJSON(t *testing.T) {
	a, text := read(t, &pdp.Decision{})
	if a.Allow || a.Reasons == nil || a.Claims == nil || a.Obligations == nil || len(a.Obligations) != 0 || a.CacheForSeconds != 0 {
		t.Errorf("%s", text)
	}
	if bytes.Contains(text, []byte("null")) || !reflect.DeepEqual(a.Token, map[string]any{"status": ""}) {
		t.Errorf("%s", text)
	}
}

func TestReasonWithoutDetailsJSON(t *testing.T) {
	text, err := pdp.AppendReasons(nil, []pdp.Reason{{Code: "a.b"}, {Code: "c.d"}})
	const want = `[{"code":"a.b","message":"","severity":"","enforcement":"","details":{},"controls":[]},` +
		`{"code":"c.d","message":"","severity":"","enforcement":"","details":{},"controls":[]}]`
	if err != nil || string(text) != want {
		t.Errorf("got %s, %v", text, err)
	}
}

func TestWhatHasNoJSONForm(t *testing.T) {
	for name, value := range map[string]any{"a struct": struct{}{}, "a float": 1.5, "bytes": []byte("x"), "a channel": make(chan int), "deep inside": []any{map[string]any{"x": struct{}{}}}} {
		t.Run(name, func(t *testing.T) {
			if _, err := (&pdp.Decision{Reasons: []pdp.Reason{{Code: "a.b", Details: map[string]any{"x": value}}}}).AppendJSON(nil); err == nil || !strings.Contains(err.Error(), "a.b") {
				t.Errorf("details: %v, want an error that names the reason", err)
			}
			if _, err := (&pdp.Decision{Claims: map[string]any{"x": value}}).AppendJSON(nil); err == nil {
				t.Error("claims: no error")
			}
		})
	}
}

// Whatever stands in a token's header or claims, the answer is JSON that reads back to it.
func FuzzDecisionJSON(f *testing.F) {
	f.Add("kid", "name", "value")
	f.Add("\x00\"\\/\u2028", "</script>", "\xff\xfe")
	f.Add(`","allow":true,"x":"`, `x":0,"admin`, "\ud7ff\U0010ffff")
	f.Fuzz(func(t *testing.T, kid, name, value string) {
		d := &pdp.Decision{
			Token:       pdp.TokenSummary{KeyID: kid},
			Claims:      map[string]any{name: value, "list": []any{value}},
			Reasons:     []pdp.Reason{{Code: kid, Message: value, Details: map[string]any{name: value}, Controls: []string{value}}},
			Obligations: pdp.Obligations{OmitClaims: []string{name}},
		}
		text, err := d.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		if !utf8.Valid(text) || !json.Valid(text) || bytes.ContainsAny(text, "\n\r\x00") {
			t.Fatalf("not JSON on one line: %q", text)
		}
		if !utf8.ValidString(kid) || !utf8.ValidString(name) || !utf8.ValidString(value) || name == "list" {
			return // strictjson lets no such text in
		}
		a, _ := read(t, d)
		if a.Allow || a.Claims[name] != value || len(a.Claims) != 2 || a.Reasons[0].Code != kid || a.Reasons[0].Message != value ||
			a.Reasons[0].Details[name] != value || len(a.Reasons[0].Details) != 1 || kid != "" && a.Token["kid"] != kid {
			t.Fatalf("read back otherwise: %s", text)
		}
	})
}

// A policy that remembers its verdict has the claims and their text worked out once; the answer is the same.
func TestKeptClaimsGiveTheSameAnswer(t *testing.T) {
	f := goodFacts(t)
	verdict := allowing()
	verdict.Claims = [][]string{{"sub"}, {"address", "country"}}
	answerOf := func(d *pdp.Decision) string {
		text, err := d.AppendJSON(nil)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := answerOf(decide(t, f.config(t, says(verdict))))
	verdict.Kept = &pdp.Kept{}
	c := f.config(t, says(verdict))
	for _, name := range []string{"first", "again"} {
		if got := answerOf(decide(t, c)); got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
	}
	f.token.ExpiresAt = date(now - 100)
	denied := decide(t, c)
	checkDenied(t, denied, "lifetime.expired")
	if text := answerOf(denied); !strings.Contains(text, `"claims":{}`) {
		t.Errorf("a deny tells kept claims: %s", text)
	}
}
