package masking

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// What the library's mask says of a usual token, and that it is remembered whatever path is asked about.
func TestLibrary(t *testing.T) {
	m, seen := masker(t, compiled(t, library()))
	f, d := facts(t, map[string]any{"email": "alice@example.org"})
	mask, err := m.Mask(t.Context(), f, d)
	if err != nil {
		t.Fatal(err)
	}
	clear := func(name string) bool {
		return slices.ContainsFunc(mask.Clear, func(p []string) bool { return slices.Equal(p, []string{name}) })
	}
	for _, name := range []string{"iss", "aud", "exp", "iat", "jti", "client_id", "scope"} {
		if !clear(name) {
			t.Errorf("%s is not clear", name)
		}
	}
	if clear("sub") || clear("email") {
		t.Error("sub or email is clear")
	}
	f.Time += 10
	for _, path := range []string{"/orders/1", "/orders/2"} {
		f.Request = &pdp.Request{Audience: "orders", Action: "read", Method: "GET", Path: path, Resource: path, ClientIP: "192.0.2.7"}
		if _, err := m.Mask(t.Context(), f, d); err != nil {
			t.Fatal(err)
		}
	}
	if seen.evaluated != 1 {
		t.Errorf("evaluated %d times for one token and one kind of question", seen.evaluated)
	}
	f.Verification = &pdp.Verification{Status: pdp.StatusMalformed}
	f.Token = &pdp.Token{}
	if _, err := m.Mask(t.Context(), f, d); err != nil {
		t.Errorf("a token that cannot be read: %v", err)
	}
}

func TestCheck(t *testing.T) {
	if err := Check(t.Context(), compiled(t, library())); err != nil {
		t.Errorf("the defaults: %v", err)
	}
	if err := Check(t.Context(), compiled(t, with(nil))); err != nil {
		t.Errorf("without the library: %v", err)
	}
	source := library()
	source.Config = []byte(`{"audit": {"clear": {"email": true}}, "issuers": {"https://idp.example": {"audit": {"clear": {"org": {"iban": true}}}}}}`)
	var wrong *policy.ConfigError
	if err := Check(t.Context(), compiled(t, source)); !errors.As(err, &wrong) || len(wrong.Problems) != 2 {
		t.Fatalf("classified claims that are cleared: %v", err)
	}
	for i, path := range []string{"audit clear email", "issuers https://idp.example audit clear org iban"} {
		p := wrong.Problems[i]
		if strings.Join(p.Path, " ") != path || !strings.Contains(p.Text, "pseudonymise it") {
			t.Errorf("%+v", p)
		}
	}
	for name, problems := range map[string]string{
		"no list": "problems := 1", "no object": "problems := [1]", "no path": `problems := [{"text": "x"}]`, "no text": `problems := [{"path": []}]`,
		"a number in a path": `problems := [{"text": "x", "path": [1]}]`, "conflicting": "problems := []\nproblems := [1]",
	} {
		if err := Check(t.Context(), compiled(t, with(map[string]string{"audit.rego": "package assay.audit\n\n" + problems}))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
