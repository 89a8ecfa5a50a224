package httpapi

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

type noRevocations struct{}

func (noRevocations) Revoke(context.Context, pdp.Caller, RevocationOrder) (Revocation, bool, error) {
	return Revocation{}, false, nil
}
func (noRevocations) Lift(context.Context, pdp.Caller, Revocation, string, string) error { return nil }
func (noRevocations) Find(context.Context, string) (Revocation, bool, error) {
	return Revocation{}, false, nil
}
func (noRevocations) List(context.Context, RevocationQuery) (RevocationPage, error) {
	return RevocationPage{}, nil
}
func (noRevocations) Changes(context.Context, RevocationQuery, time.Duration) (RevocationChanges, error) {
	return RevocationChanges{}, nil
}

type noExaminer struct{}

func (noExaminer) Examine(context.Context, string) (*pdp.Token, *pdp.Verification, error) {
	return &pdp.Token{}, &pdp.Verification{}, nil
}

type noEvents struct{}

func (noEvents) Receive(context.Context, string, string) error { return nil }

func TestDescriptionHasTheRevocation(t *testing.T) {
	d := readDescription(t)
	at := time.Unix(1, 0)
	full := &Revocation{Key: "k", Kind: KindSubject, Issuer: "i", Value: "v", IssuedBefore: at, Ends: at, Reason: "r", Actor: "a", Ticket: "t", CreatedAt: at}
	d.holds(t, "Revocation", full.appendJSON(nil))
	order := d.Components.Schemas["RevocationOrder"]
	for _, s := range []schema{order, d.Components.Schemas["Revocation"]} {
		if !slices.Equal(s.Properties["kind"].Enum, Kinds()) {
			t.Errorf("kinds %v", s.Properties["kind"].Enum)
		}
	}
	body := map[string]any{}
	for name, property := range order.Properties {
		body[name] = d.example(name, property)
	}
	if order.Additional == nil || *order.Additional {
		t.Error("further members are described as possible")
	}
	read := func(without ...string) error {
		copied := map[string]any{"kind": "client"}
		for name, value := range body {
			if name != "kind" && !slices.Contains(without, name) {
				copied[name] = value
			}
		}
		text, err := json.Marshal(copied)
		if err != nil {
			t.Fatal(err)
		}
		var decoder decoder
		decoder.reset(text)
		_, _, err = decoder.revocation()
		return err
	}
	if err := read("token"); err != nil {
		t.Errorf("an order with every described member is refused: %v", err)
	}
	if err := read(); err == nil {
		t.Error("a token beside an issuer is read")
	}
}

func TestTheTokensMakerDoesNotWriteTheIntrospection(t *testing.T) {
	d := &pdp.Decision{Allow: true, Claims: map[string]any{
		"active": false, "token_type": "mac", "username": "root", "sub": "alice", "aud": []any{"a", "b"}, "exp": json.Number("12"), `x":1,"active`: json.Number("0"),
	}}
	got, err := appendIntrospection(nil, d, pdp.AccessToken)
	if want := `{"active":true,"token_type":"Bearer","aud":["a","b"],"exp":12,"sub":"alice","x\":1,\"active":0}`; err != nil || string(got) != want {
		t.Errorf("%s, %v\nwant %s", got, err, want)
	}
	d.Allow = false
	if got, err := appendIntrospection(nil, d, pdp.AccessToken); err != nil || string(got) != `{"active":false}` {
		t.Errorf("of a token that is not allowed it says %s, %v", got, err)
	}
}

// FuzzDecodeRevocation: what is read holds together, and what is refused is the caller's fault.
func FuzzDecodeRevocation(f *testing.F) {
	for _, seed := range []string{
		`{"kind":"token","issuer":"i","value":"v"}`, `{"token":"a.b.c","ends":4000000000}`, `{"kind":"issuer","issuer":"i","issued_before":1}`,
		`{"kind":"key","issuer":"i","value":"v","issued_before":1}`,
		`{"kind":"key","issuer":"i","value":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}`, `{"kind":"token","kind":"key"}`, `{"ends":1e3}`, `{"ends":-1}`, `[]`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var d decoder
		d.reset(body)
		o, compact, err := d.revocation()
		if err != nil {
			if p := asProblem(err); p.status != 400 {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		switch {
		case compact != "" && (o.Issuer != "" || o.Value != ""):
			t.Fatal("a token beside what it says itself")
		case compact == "" && (o.Issuer == "" || !slices.Contains(Kinds(), o.Kind) || (o.Value == "") != (o.Kind == KindIssuer)):
			t.Fatalf("accepted %+v", o)
		}
	})
}
