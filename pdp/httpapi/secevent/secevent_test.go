package secevent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi/secevent"
	"github.com/assaypdp/assay/pdp/strictjson"
)

const (
	issuer = "https://idp.example"
	here   = "https://assay.example/events"
	caep   = "https://schemas.openid.net/secevent/caep/event-type/"
	ssf    = "https://schemas.openid.net/secevent/ssf/event-type/"
	at     = 1_795_456_800
)

var moment = time.Unix(at, 0).UTC()

// reader verifies every text that is "typ claims" in JSON, unless the text names a status.
type reader struct{}

func (reader) Examine(_ context.Context, text string) (*pdp.Token, *pdp.Verification, error) {
	typ, body, _ := strings.Cut(text, " ")
	claims, err := strictjson.DecodeObject([]byte(body), strictjson.Limits{})
	if err != nil {
		return &pdp.Token{}, &pdp.Verification{Status: pdp.Status(text)}, nil //nolint:nilerr // a text that is no JSON names a status
	}
	t := &pdp.Token{Claims: claims, Header: pdp.Header{Type: typ}}
	for name, date := range map[string]**pdp.NumericDate{"iat": &t.IssuedAt, "exp": &t.ExpiresAt, "nbf": &t.NotBefore} {
		if number, ok := claims[name].(json.Number); ok {
			if d, err := pdp.ParseNumericDate(number); err == nil {
				*date = &d
			}
		} else if claims[name] != nil && name != "iat" {
			t.Unusable = append(t.Unusable, name)
		}
	}
	iss, _ := claims["iss"].(string)
	return t, &pdp.Verification{Status: pdp.StatusVerified, Trust: &pdp.Trust{Issuer: pdp.Issuer{ID: iss}}, Key: &pdp.Key{}}, nil
}

func receiver(t testing.TB, change func(*secevent.Config)) *secevent.Receiver {
	t.Helper()
	c := secevent.Config{
		Examiner: reader{}, Audience: here, Skew: 30 * time.Second, Now: func() time.Time { return moment },
		Transmitters: []secevent.Transmitter{
			{Issuer: issuer, Issuers: []string{issuer}, Opaque: "session"},
			{Issuer: "https://hub.example", Issuers: []string{"https://a.example", "https://b.example"}, Authorization: "Bearer agreed"},
		},
	}
	if change != nil {
		change(&c)
	}
	r, err := secevent.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// set writes a SET: members are laid over a good one, null removes.
func set(t testing.TB, over string) string {
	t.Helper()
	claims := map[string]any{
		"iss": issuer, "aud": here, "jti": "set-1", "iat": at,
		"sub_id": map[string]any{"format": "iss_sub", "iss": issuer, "sub": "alice"},
		"events": map[string]any{caep + "session-revoked": map[string]any{"event_timestamp": at - 60}},
	}
	var extra map[string]any
	if err := json.Unmarshal([]byte(over), &extra); err != nil {
		t.Fatal(err)
	}
	for name, value := range extra {
		if claims[name] = value; value == nil {
			delete(claims, name)
		}
	}
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	return "secevent+jwt " + string(text)
}

// receive gives what was carried out.
func receive(t testing.TB, r *secevent.Receiver, text, authorization string) (*secevent.Event, error) {
	t.Helper()
	var done *secevent.Event
	err := r.Receive(t.Context(), text, authorization, func(_ context.Context, e *secevent.Event) error {
		done = e
		return nil
	})
	return done, err
}

func events(name, payload string) string {
	return fmt.Sprintf(`"events":{%q:%s}`, name, payload)
}

func TestWhatIsAskedFor(t *testing.T) {
	before := func(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }
	complexID := `"sub_id":{"format":"complex","user":{"format":"iss_sub","iss":"` + issuer + `","sub":"alice"},"session":{"format":"opaque","id":"s1"},"device":{"format":"opaque","id":"d"}}`
	alice := func(seconds int64) []secevent.Action {
		return []secevent.Action{{Kind: "subject", Issuer: issuer, Value: "alice", IssuedBefore: before(seconds)}}
	}
	for _, c := range []struct {
		name, over string
		types      []string
		want       []secevent.Action
	}{
		{"session-revoked of a subject", `{}`, []string{"session-revoked"}, alice(at - 59)},
		{"without a time of its own", `{` + events(caep+"session-revoked", `{}`) + `}`, []string{"session-revoked"}, alice(at + 1)},
		{"a part of a second", `{` + events(caep+"session-revoked", `{"event_timestamp":1795456700.9}`) + `}`, []string{"session-revoked"}, alice(at - 99)},
		{"of a session", `{"sub_id":{"format":"opaque","id":"s1"}}`, []string{"session-revoked"}, []secevent.Action{{Kind: "session", Issuer: issuer, Value: "s1"}}},
		{"of one session of a user", `{` + complexID + `}`, []string{"session-revoked"}, []secevent.Action{{Kind: "session", Issuer: issuer, Value: "s1"}}},
		{"of one token", `{"sub_id":{"format":"jwt_id","iss":"` + issuer + `","jti":"t1"}}`, []string{"session-revoked"}, []secevent.Action{{Kind: "token", Issuer: issuer, Value: "t1"}}},
		{"credential-change", `{` + events(caep+"credential-change", `{"credential_type":"password","change_type":"update"}`) + `}`, []string{"credential-change"}, alice(at + 1)},
		{"credential-change of a user whose session is named too", `{` + complexID + `,` + events(caep+"credential-change", `{"change_type":"revoke"}`) + `}`, []string{"credential-change"}, alice(at + 1)},
		{"a credential that was added", `{` + events(caep+"credential-change", `{"change_type":"create"}`) + `}`, []string{"credential-change"}, nil},
		{"token-claims-change", `{` + events(caep+"token-claims-change", `{"claims":{"role":"x"}}`) + `}`, []string{"token-claims-change"}, alice(at + 1)},
		{"verification", `{"sub_id":{"format":"opaque","id":"stream-1"},` + events(ssf+"verification", `{"state":"abc"}`) + `}`, []string{"verification"}, nil},
		{"an event of somebody else's", `{` + events("https://vendor.example/x", `{}`) + `}`, []string{"unknown"}, nil},
		{"two events of one moment", `{"events":{"` + caep + `session-revoked":{},"` + caep + `credential-change":{"change_type":"delete"}}}`, []string{"credential-change", "session-revoked"}, alice(at + 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := receive(t, receiver(t, nil), set(t, c.over), "")
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(e.Types, c.types) || !reflect.DeepEqual(e.Actions, c.want) || e.ID != "set-1" || e.Transmitter != issuer {
				t.Errorf("%+v\nwant %v %+v", e, c.types, c.want)
			}
		})
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, c := range []struct{ name, over, code string }{
		{"another receiver's", `{"aud":"https://other.example"}`, secevent.InvalidAudience},
		{"nobody's", `{"aud":null}`, secevent.InvalidAudience},
		{"a list without us", `{"aud":["a","b"]}`, secevent.InvalidAudience},
		{"an issuer that is no transmitter", `{"iss":"https://shop.example"}`, secevent.InvalidIssuer},
		{"a subject of another issuer", `{"sub_id":{"format":"iss_sub","iss":"https://bank.example","sub":"alice"}}`, secevent.AccessDenied},
		{"a token of another issuer", `{"sub_id":{"format":"jwt_id","iss":"https://bank.example","jti":"t"}}`, secevent.AccessDenied},
		{"a user of another issuer", `{"sub_id":{"format":"complex","user":{"format":"iss_sub","iss":"https://bank.example","sub":"a"}}}`, secevent.AccessDenied},
		{"an e-mail address, which names nothing here", `{"sub_id":{"format":"email","email":"a@example"}}`, secevent.InvalidRequest},
		{"no subject", `{"sub_id":null}`, secevent.InvalidRequest},
		{"an unknown format", `{"sub_id":{"format":"did","url":"did:x"}}`, secevent.InvalidRequest},
		{"a subject without sub", `{"sub_id":{"format":"iss_sub","iss":"` + issuer + `"}}`, secevent.InvalidRequest},
		{"a complex subject in a complex one", `{"sub_id":{"format":"complex","user":{"format":"complex"}}}`, secevent.InvalidRequest},
		{"a complex subject of a device alone", `{"sub_id":{"format":"complex","device":{"format":"opaque","id":"d"}}}`, secevent.InvalidRequest},
		{"a sub", `{"sub":"alice"}`, secevent.InvalidRequest},
		{"no jti", `{"jti":null}`, secevent.InvalidRequest},
		{"a jti that is a number", `{"jti":7}`, secevent.InvalidRequest},
		{"no iat", `{"iat":null}`, secevent.InvalidRequest},
		{"older than the window", `{"iat":1795453199}`, secevent.InvalidRequest},
		{"from the future", `{"iat":1795456831}`, secevent.InvalidRequest},
		{"expired", `{"exp":1795456770}`, secevent.InvalidRequest},
		{"an exp that is none", `{"exp":"never"}`, secevent.InvalidRequest},
		{"not valid yet", `{"nbf":1795456831}`, secevent.InvalidRequest},
		{"no events", `{"events":{}}`, secevent.InvalidRequest},
		{"events in a list", `{"events":[]}`, secevent.InvalidRequest},
		{"an event that is no object", `{` + events(caep+"session-revoked", `true`) + `}`, secevent.InvalidRequest},
		{"an event in milliseconds", `{` + events(caep+"session-revoked", `{"event_timestamp":1795456800000}`) + `}`, secevent.InvalidRequest},
		{"an event at a time in words", `{` + events(caep+"session-revoked", `{"event_timestamp":"now"}`) + `}`, secevent.InvalidRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := receive(t, receiver(t, nil), set(t, c.over), "")
			refused, ok := errors.AsType[*secevent.RefusedError](err)
			if !ok || refused.Code != c.code || e != nil {
				t.Errorf("%v, %+v; want %s", err, e, c.code)
			}
		})
	}
	for text, code := range map[string]string{
		strings.Replace(set(t, `{}`), "secevent+jwt", "at+jwt", 1): secevent.InvalidRequest,
		strings.Replace(set(t, `{}`), "secevent+jwt", "jwt", 1):    secevent.InvalidRequest,
		string(pdp.StatusIssuerUntrusted):                          secevent.InvalidIssuer,
		string(pdp.StatusAlgorithmRefused):                         secevent.InvalidKey,
		string(pdp.StatusSignatureInvalid):                         secevent.AuthenticationFailed,
		string(pdp.StatusMalformed):                                secevent.InvalidRequest,
		string(pdp.StatusUndecryptable):                            secevent.InvalidRequest,
	} {
		_, err := receive(t, receiver(t, nil), text, "")
		if refused, ok := errors.AsType[*secevent.RefusedError](err); !ok || refused.Code != code {
			t.Errorf("%.20s…: %v, want %s", text, err, code)
		}
	}
}

func TestAKeyThatIsNotKnownYet(t *testing.T) {
	if e, err := receive(t, receiver(t, nil), string(pdp.StatusKeyUnknown), ""); e != nil || !errors.Is(err, secevent.ErrBusy) {
		t.Errorf("%v, %v: refused, the event would be lost", e, err)
	}
}

func TestTheAgreedAuthorization(t *testing.T) {
	hub := set(t, `{"iss":"https://hub.example","sub_id":{"format":"iss_sub","iss":"https://b.example","sub":"bob"}}`)
	for given, want := range map[string]bool{"Bearer agreed": true, "": false, "Bearer other": false, "bearer agreed": false} {
		e, err := receive(t, receiver(t, nil), hub, given)
		if (err == nil) != want || (e != nil) != want {
			t.Errorf("%q: %v", given, err)
		}
	}
	session := set(t, `{"iss":"https://hub.example","sub_id":{"format":"complex","session":{"format":"opaque","id":"s"}}}`)
	if _, err := receive(t, receiver(t, nil), session, "Bearer agreed"); err == nil {
		t.Error("a session of who knows which issuer was accepted")
	}
}

func TestOncePerWindow(t *testing.T) {
	now := moment
	r := receiver(t, func(c *secevent.Config) { c.Now, c.Remember = func() time.Time { return now }, 2 })
	failing := errors.New("the store is away")
	fail := func(context.Context, *secevent.Event) error { return failing }
	if err := r.Receive(t.Context(), set(t, `{}`), "", fail); !errors.Is(err, failing) {
		t.Fatal(err)
	}
	if e, err := receive(t, r, set(t, `{}`), ""); err != nil || e == nil {
		t.Fatalf("what failed is not carried out when it comes again: %v", err)
	}
	if e, err := receive(t, r, set(t, `{}`), ""); err != nil || e != nil {
		t.Fatalf("a replay: %v, %+v", err, e)
	}
	err := r.Receive(t.Context(), set(t, `{"jti":"set-2"}`), "", func(ctx context.Context, _ *secevent.Event) error {
		if err := r.Receive(ctx, set(t, `{"jti":"set-2"}`), "", fail); !errors.Is(err, secevent.ErrBusy) {
			t.Errorf("the same at the same time: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := receive(t, r, set(t, `{"jti":"set-3"}`), ""); !errors.Is(err, secevent.ErrBusy) {
		t.Errorf("more than can be remembered: %v", err)
	}
	now = moment.Add(time.Hour + 31*time.Second)
	if e, err := receive(t, r, set(t, fmt.Sprintf(`{"jti":"set-3","iat":%d}`, now.Unix())), ""); err != nil || e == nil {
		t.Errorf("after the window: %v", err)
	}
	if _, err := receive(t, r, set(t, `{}`), ""); err == nil {
		t.Error("a SET outlives the window in which it is remembered")
	}
}

// What broke off was not carried out: the transmitter, which had no answer, sends it again.
func TestAnEventWhoseActionPanicsIsTakenAgain(t *testing.T) {
	r, text := receiver(t, nil), set(t, `{}`)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = r.Receive(t.Context(), text, "", func(context.Context, *secevent.Event) error { panic("a fault") })
	}()
	if done, err := receive(t, r, text, ""); err != nil || done == nil {
		t.Errorf("again: %v, %v", done, err)
	}
}

func TestConfigurations(t *testing.T) {
	for name, change := range map[string]func(*secevent.Config){
		"no audience":       func(c *secevent.Config) { c.Audience = "" },
		"no examiner":       func(c *secevent.Config) { c.Examiner = nil },
		"a negative window": func(c *secevent.Config) { c.MaxAge = -1 },
		"a transmitter twice": func(c *secevent.Config) {
			c.Transmitters = append(c.Transmitters, secevent.Transmitter{Issuer: issuer})
		},
		"an opaque of several issuers":  func(c *secevent.Config) { c.Transmitters[1].Opaque = "subject" },
		"an e-mail that names a device": func(c *secevent.Config) { c.Transmitters[0].Email = "device" },
	} {
		c := secevent.Config{Examiner: reader{}, Audience: here, Transmitters: []secevent.Transmitter{
			{Issuer: issuer, Issuers: []string{issuer}}, {Issuer: "https://hub.example", Issuers: []string{"a", "b"}},
		}}
		change(&c)
		if _, err := secevent.New(c); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

// FuzzReceive: whatever a transmitter signs, it revokes only what belongs to its issuers, no token of the future,
// and a refusal is one of the standard's.
func FuzzReceive(f *testing.F) {
	for _, over := range []string{
		`{}`, `{"sub_id":{"format":"opaque","id":"s"}}`, `{"sub_id":{"format":"complex","user":{"format":"iss_sub","iss":"x","sub":"y"}}}`,
		`{"events":{"` + ssf + `verification":{}}}`, `{"iat":1e3}`, `{"iss":"https://hub.example"}`,
	} {
		f.Add(strings.TrimPrefix(set(f, over), "secevent+jwt "))
	}
	f.Fuzz(func(t *testing.T, claims string) {
		e, err := receive(t, receiver(t, nil), "secevent+jwt "+claims, "")
		if err != nil {
			if refused, ok := errors.AsType[*secevent.RefusedError](err); !ok || refused.Code == "" {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		for _, a := range e.Actions {
			if a.Issuer != issuer || a.Value == "" {
				t.Fatalf("%s may have %+v revoked", e.Transmitter, a)
			}
			if a.Kind == "subject" && (a.IssuedBefore.IsZero() || a.IssuedBefore.After(moment.Add(31*time.Second))) {
				t.Fatalf("revoked until %s", a.IssuedBefore)
			}
		}
	})
}
