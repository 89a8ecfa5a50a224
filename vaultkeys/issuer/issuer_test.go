package issuer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

func TestTokensByteForByte(t *testing.T) {
	zeros := func(c *Config) { c.Random = bytes.NewReader(make([]byte, 16)) }
	const id = `"jti":"AAAAAAAAAAAAAAAAAAAAAA"`
	for _, c := range []struct {
		name, typ, payload string
		change             func(*Order)
	}{
		{"access token", "at+jwt", `{"iss":"https://assay.example","sub":"alice","aud":"orders","exp":1767225650,"iat":1767225620,` + id + `,"client_id":"shop"}`,
			func(*Order) {}},
		{"access token by name, with everything", "at+jwt",
			`{"iss":"https://assay.example","sub":"alice","aud":["orders","billing"],"exp":1767225625,"iat":1767225620,` + id + `,"client_id":"shop","scope":"read write",` +
				`"a":[true,null,-0.5,{"y":"é","z":1e3}],"roles":["admin","\"},{"]}`,
			func(o *Order) {
				o.TokenType, o.Scope, o.Lifetime, o.Audience = pdp.AccessToken, "read write", 5*time.Second, []string{"orders", "billing"}
				o.Claims = map[string]any{"roles": []string{"admin", `"},{`},
					"a": []any{true, nil, -0.5, map[string]any{"z": json.Number("1e3"), "y": "é"}}}
			}},
		{"generic token", "JWT", `{"iss":"https://assay.example","sub":"alice","aud":"orders","exp":1767225650,"iat":1767225620,` + id + `}`,
			func(o *Order) { o.TokenType, o.ClientID = pdp.GenericToken, "" }},
		{"names and values that would break out", "JWT",
			`{"iss":"https://assay.example","sub":"a\",\"admin\":true,\"b\":\"","aud":"orders","exp":1767225650,"iat":1767225620,` + id + `,"client_id":"shop","x\":0,\"admin":true}`,
			func(o *Order) {
				o.TokenType, o.Subject, o.Claims = pdp.GenericToken, `a","admin":true,"b":"`, map[string]any{`x":0,"admin`: true}
			}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, zeros)
			o := order()
			c.change(&o)
			issued := f.issue(o)
			header, payload, _ := decode(t, issued.Token)
			key, err := f.ring.Signer("access")
			if err != nil {
				t.Fatal(err)
			}
			if want := `{"typ":"` + c.typ + `","alg":"EdDSA","kid":"` + key.Key.Thumbprint + `"}`; string(header) != want {
				t.Errorf("header\n got %s\nwant %s", header, want)
			}
			if string(payload) != c.payload {
				t.Errorf("payload\n got %s\nwant %s", payload, c.payload)
			}
			if issued.KeyVersion != 1 {
				t.Errorf("signed by version %d", issued.KeyVersion)
			}
		})
	}
}

func TestOrdersThatAreRefused(t *testing.T) {
	long := strings.Repeat("x", 20<<10)
	for _, c := range []struct {
		name, field, detail string
		change              func(*Order)
	}{
		{"other kind", "token_type", "only access_token", func(o *Order) { o.TokenType = pdp.IDToken }},
		{"no issuer", "issuer", "required", func(o *Order) { o.Issuer = "" }},
		{"no key", "key", "required", func(o *Order) { o.KeyName = "" }},
		{"unknown key", "key", "no such signing key", func(o *Order) { o.KeyName = "nobody" }},
		{"no subject", "subject", "required", func(o *Order) { o.Subject = "" }},
		{"access token without client", "client_id", "required", func(o *Order) { o.ClientID = "" }},
		{"subject that is not UTF-8", "subject", "UTF-8", func(o *Order) { o.Subject = "\xff" }},
		{"no audience", "audience", "one to 16", func(o *Order) { o.Audience = nil }},
		{"17 audiences", "audience", "one to 16", func(o *Order) {
			for i := range 17 {
				o.Audience = append(o.Audience[:i], fmt.Sprint(i))
			}
		}},
		{"empty audience", "audience", "not empty", func(o *Order) { o.Audience = []string{"orders", ""} }},
		{"audience that is not UTF-8", "audience", "UTF-8", func(o *Order) { o.Audience = []string{"\xc0\x80"} }},
		{"audience twice", "audience", "twice", func(o *Order) { o.Audience = []string{"orders", "billing", "orders"} }},
		{"scope with two spaces", "scope", "RFC 6749", func(o *Order) { o.Scope = "read  write" }},
		{"scope that begins with a space", "scope", "RFC 6749", func(o *Order) { o.Scope = " read" }},
		{"scope with a quote", "scope", "RFC 6749", func(o *Order) { o.Scope = `re"ad` }},
		{"scope with a letter beyond ASCII", "scope", "RFC 6749", func(o *Order) { o.Scope = "lesé" }},
		{"negative lifetime", "lifetime_seconds", "not negative", func(o *Order) { o.Lifetime = -time.Second }},
		{"part of a second", "lifetime_seconds", "whole number", func(o *Order) { o.Lifetime = 1500 * time.Millisecond }},
		{"a second longer than the key allows", "lifetime_seconds", "31 s is longer than the 30 s", func(o *Order) { o.Lifetime = 31 * time.Second }},
		{"longer than the caller may", "lifetime_seconds", "11 s is longer than the 10 s", func(o *Order) { o.Lifetime, o.MaxLifetime = 11*time.Second, 10*time.Second }},
		{"less than a second allowed", "lifetime_seconds", "less than a second", func(o *Order) { o.MaxLifetime = time.Second - 1 }},
		{"claim of a Go type", "claims", "int32", func(o *Order) { o.Claims = map[string]any{"a": int32(1)} }},
		{"claim that is not UTF-8", "claims", "UTF-8", func(o *Order) { o.Claims = map[string]any{"a": []any{"\xff"}} }},
		{"claim's name that is not UTF-8", "claims", "UTF-8", func(o *Order) { o.Claims = map[string]any{"\xff": 1} }},
		{"number that is more than a number", "claims", "JSON number", func(o *Order) { o.Claims = map[string]any{"a": json.Number(`1,"admin":true`)} }},
		{"number with a space", "claims", "JSON number", func(o *Order) { o.Claims = map[string]any{"a": json.Number(" 1")} }},
		{"number with a leading zero", "claims", "JSON number", func(o *Order) { o.Claims = map[string]any{"a": json.Number("01")} }},
		{"number that is a literal", "claims", "JSON number", func(o *Order) { o.Claims = map[string]any{"a": json.Number("true")} }},
		{"empty number", "claims", "JSON number", func(o *Order) { o.Claims = map[string]any{"a": json.Number("")} }},
		{"token larger than allowed", "claims", "16384 at most", func(o *Order) { o.Claims = map[string]any{"a": long} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			o := order()
			c.change(&o)
			issued, err := f.issuer.Issue(t.Context(), o)
			wrong, ok := errors.AsType[*OrderError](err)
			if issued != nil || !ok || wrong.Field != c.field || !strings.Contains(wrong.Detail, c.detail) {
				t.Errorf("%v, %v", issued, err)
			}
			if n := len(f.vault.made()) + len(f.judge.proposals()); n != 0 {
				t.Error("it was judged or signed")
			}
		})
	}
	for _, name := range reserved {
		o := order()
		o.Claims = map[string]any{name: "x"}
		_, err := newFixture(t, nil).issuer.Issue(t.Context(), o)
		if wrong, ok := errors.AsType[*OrderError](err); !ok || wrong.Field != "claims" || !strings.Contains(wrong.Detail, name) {
			t.Errorf("claim %s: %v", name, err)
		}
	}
}

func TestLifetimes(t *testing.T) {
	for _, c := range []struct {
		name                string
		lifetime, max, want time.Duration
	}{
		{"none asked: the key's longest", 0, 0, 30 * time.Second},
		{"none asked: the caller's longest", 0, 10 * time.Second, 10 * time.Second},
		{"the caller may longer than the key", 0, time.Hour, 30 * time.Second},
		{"exactly the key's longest", 30 * time.Second, 0, 30 * time.Second},
		{"exactly the caller's longest", 10 * time.Second, 10 * time.Second, 10 * time.Second},
		{"shorter", time.Second, time.Hour, time.Second},
		{"a caller's limit within a second is cut", 0, 1900 * time.Millisecond, time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.advance(700 * time.Millisecond) // times in tokens are whole seconds
			o := order()
			o.Lifetime, o.MaxLifetime = c.lifetime, c.max
			if issued := f.issue(o); issued.ExpiresAt.Sub(issued.IssuedAt) != c.want || !issued.IssuedAt.Equal(epoch.Add(20*time.Second)) {
				t.Errorf("from %s to %s", issued.IssuedAt, issued.ExpiresAt)
			}
		})
	}
}

// The largest token that is issued is exactly as long as the limit.
func TestTokenSizeIsExact(t *testing.T) {
	size := len(newFixture(t, nil).issue(order()).Token)
	newFixture(t, func(c *Config) { c.MaxTokenSize = size }).issue(order())
	_, err := newFixture(t, func(c *Config) { c.MaxTokenSize = size - 1 }).issuer.Issue(t.Context(), order())
	if want := fmt.Sprintf("%d bytes, %d at most", size, size-1); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

func TestEveryAudienceIsAskedForAndWhatIsJudgedIsSigned(t *testing.T) {
	f := newFixture(t, nil)
	o := order()
	o.Audience = []string{"orders", "billing"}
	header, payload, _ := decode(t, f.issue(o).Token)
	key, err := f.ring.Signer("access")
	if err != nil {
		t.Fatal(err)
	}
	var want []Proposal
	for _, audience := range o.Audience {
		want = append(want, Proposal{Header: header, Payload: payload, Key: key.Key, Issuer: o.Issuer, Audience: audience, TokenType: pdp.AccessToken})
	}
	if got := f.judge.proposals(); !reflect.DeepEqual(got, want) {
		t.Errorf("judged %+v", got)
	}
}

// oneWord is all that a policy says.
type oneWord string

func (w oneWord) Says(text string) bool { return text == string(w) }
func (oneWord) SaysCode(string) bool    { return false }

func TestWhatWouldBeDeniedIsNotSigned(t *testing.T) {
	reasons := []pdp.Reason{
		{Code: "minimization.sensitive_claim", Message: "secret words", Enforcement: pdp.Warn},
		{Code: "lifetime.too_long", Enforcement: pdp.Deny}, {Code: "claims.missing", Enforcement: pdp.Deny}, {Code: "own.alice", Enforcement: pdp.Deny},
	}
	broken := errors.New("the policy was cut off")
	for name, c := range map[string]struct {
		answer func(Proposal) (*pdp.Decision, error)
		want   func(error) bool
	}{
		"denied for one audience of two": {func(p Proposal) (*pdp.Decision, error) {
			return &pdp.Decision{Allow: p.Audience == "orders", Reasons: reasons, Words: oneWord("claims.missing")}, nil
		}, func(err error) bool {
			refused, ok := errors.AsType[*RefusedError](err)
			return ok && reflect.DeepEqual(refused.Reasons, reasons) && err.Error() == "policy refuses the token: lifetime.too_long, claims.missing, computed.code"
		}},
		"the zero decision": {func(Proposal) (*pdp.Decision, error) { return &pdp.Decision{}, nil },
			func(err error) bool { _, ok := errors.AsType[*RefusedError](err); return ok }},
		"no decision": {func(Proposal) (*pdp.Decision, error) { return nil, nil },
			func(err error) bool { return strings.Contains(err.Error(), "no decision") }},
		"an error beside an allow": {func(Proposal) (*pdp.Decision, error) { return &pdp.Decision{Allow: true}, broken },
			func(err error) bool { return errors.Is(err, broken) }},
		"no decision can be made now": {func(Proposal) (*pdp.Decision, error) { return nil, fmt.Errorf("%w: overload", pdp.ErrUnavailable) },
			func(err error) bool {
				away, ok := errors.AsType[*UnavailableError](err)
				return ok && away.RetryAfter > 0 && errors.Is(err, pdp.ErrUnavailable)
			}},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, nil)
			f.judge.answer = c.answer
			o := order()
			o.Audience = []string{"orders", "billing"}
			issued, err := f.issuer.Issue(t.Context(), o)
			if issued != nil || err == nil || !c.want(err) {
				t.Errorf("%v, %v", issued, err)
			}
			if calls := f.vault.made(); len(calls) != 0 {
				t.Errorf("Vault was asked: %v", calls)
			}
		})
	}
}

// keysFunc is Keys of which a test says what they answer.
type keysFunc func() (vaultkeys.SigningKey, error)

func (k keysFunc) Signer(string) (vaultkeys.SigningKey, error) { return k() }
func (k keysFunc) Reread(ctx context.Context, _ string) error  { return ctx.Err() }

func TestKeysThatCannotSign(t *testing.T) {
	for _, cause := range []error{vaultkeys.ErrNotKnown, vaultkeys.ErrNoSigner} {
		f := newFixture(t, func(c *Config) {
			c.Keys = keysFunc(func() (vaultkeys.SigningKey, error) {
				return vaultkeys.SigningKey{}, fmt.Errorf("%w: access", cause)
			})
		})
		_, err := f.issuer.Issue(t.Context(), order())
		if away, ok := errors.AsType[*UnavailableError](err); !ok || away.RetryAfter <= 0 || !errors.Is(err, cause) {
			t.Errorf("%v", err)
		}
	}
}

func TestNoRandomnessNoToken(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Random = io.LimitReader(bytes.NewReader(make([]byte, 99)), 15) })
	if issued, err := f.issuer.Issue(t.Context(), order()); issued != nil || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("%v, %v", issued, err)
	}
}

func TestWiring(t *testing.T) {
	f := newFixture(t, nil)
	for name, change := range map[string]func(*Config){
		"no keys": func(c *Config) { c.Keys = nil }, "no signer": func(c *Config) { c.Signer = nil }, "no judge": func(c *Config) { c.Judge = nil },
		"batch too large": func(c *Config) { c.MaxBatch = mostBatch + 1 }, "negative batch": func(c *Config) { c.MaxBatch = -1 },
		"negative calls": func(c *Config) { c.MaxCalls = -1 }, "negative queue": func(c *Config) { c.MaxQueue = -1 },
		"negative time": func(c *Config) { c.SignTimeout = -1 }, "negative size": func(c *Config) { c.MaxTokenSize = -1 },
	} {
		c := Config{Keys: f.ring, Signer: f.vault, Judge: f.judge}
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	i, err := New(Config{Keys: f.ring, Signer: f.vault, Judge: f.judge})
	if err != nil {
		t.Fatal(err)
	}
	if c := i.c; c.MaxBatch != DefaultMaxBatch || c.MaxQueue != DefaultMaxQueue ||
		c.SignTimeout != DefaultSignTimeout || c.MaxTokenSize != DefaultMaxTokenSize {
		t.Errorf("defaults: %+v", c)
	}
}
