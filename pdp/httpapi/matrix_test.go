package httpapi_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/httpapi"
)

// TestMatrix asks as every caller for every operation on every kind, and holds the outcome against ACCESS.md, which
// it wrote: ASSAY_UPDATE_ACCESS=1 go test -run TestMatrix ./pdp/httpapi writes it anew.
func TestMatrix(t *testing.T) {
	callers := []struct {
		label, credential string
		grant             httpapi.RevokeGrant
	}{
		{"security desk: granted all, scopes `revocations:read` `revocations:write` `revocations:lift`", "desk;desk;revocations:read|revocations:write|revocations:lift",
			httpapi.RevokeGrant{Read: true, Write: []string{"*"}, Lift: []string{"*"}, Issuers: []string{"*"}}},
		{"the same, with a token that has no such scope", "desk;desk;read", httpapi.RevokeGrant{}},
		{"the same, with a token that has only `revocations:write:token`", "desk;desk;revocations:write:token", httpapi.RevokeGrant{}},
		{"login service: granted write session and subject of this issuer, those scopes", "login;login;revocations:write:session|revocations:write:subject",
			httpapi.RevokeGrant{Write: []string{"session", "subject"}, Issuers: []string{theIssuer}}},
		{"key custodian: granted write key, scope `revocations:write:key`", "custodian;custodian;revocations:write:key",
			httpapi.RevokeGrant{Write: []string{"key"}, Issuers: []string{"*"}}},
		{"client: granted own, scope `revocations:write:own`", "client;web;revocations:write:own", httpapi.RevokeGrant{Write: []string{httpapi.OwnTokens}}},
		{"auditor: granted read, scope `revocations:read`", "auditor;auditor;revocations:read", httpapi.RevokeGrant{Read: true, Issuers: []string{"*"}}},
		{"granted all, but of another issuer, all scopes", "foreign;foreign;revocations",
			httpapi.RevokeGrant{Read: true, Write: []string{"*"}, Lift: []string{"*"}, Issuers: []string{"https://other.example"}}},
		{"granted nothing, all scopes", "nothing;nothing;revocations", httpapi.RevokeGrant{}},
		{"no grant at all, all scopes", "stranger;stranger;revocations", httpapi.RevokeGrant{}},
		{"nobody", "", httpapi.RevokeGrant{}},
	}
	seed := &ledger{}
	_, ask := startRevoking(t, seed, func(c *httpapi.Config) {
		c.Grants = []httpapi.Grant{{Caller: idp + "seed", Revoke: httpapi.RevokeGrant{Write: []string{"*"}, Issuers: []string{"*"}}}}
		known := map[string]bool{"stranger": true, "": true}
		for _, caller := range callers {
			name, _, _ := strings.Cut(caller.credential, ";")
			if !known[name] {
				known[name] = true
				c.Grants = append(c.Grants, httpapi.Grant{Caller: idp + name, Revoke: caller.grant})
			}
		}
	})
	order := func(kind string) string {
		if kind == "issuer" {
			return `{"kind":"issuer","issuer":"https://idp.example"}`
		}
		value := "v"
		if kind == "key" {
			value = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
		}
		return fmt.Sprintf(`{"kind":%q,"issuer":"https://idp.example","value":%q}`, kind, value)
	}
	var b strings.Builder
	b.WriteString(accessText)
	fmt.Fprintf(&b, "| caller | %s | `/revoke` its own | `/revoke` another's | %s | list |\n",
		"write "+strings.Join(httpapi.Kinds(), " | write "), "lift "+strings.Join(httpapi.Kinds(), " | lift "))
	fmt.Fprintf(&b, "| --- |%s\n", strings.Repeat(" --- |", 2*len(httpapi.Kinds())+3))
	for _, caller := range callers {
		credential := "X-Nothing: x"
		if caller.credential != "" {
			credential = "Authorization: Bearer " + caller.credential
		}
		var row []string
		for _, kind := range httpapi.Kinds() {
			row = append(row, outcome(t, ask("POST", "/revocations", order(kind), credential)))
		}
		row = append(row,
			outcome(t, ask("POST", "/revoke", form("token", "https://idp.example web t1"), credential, formType)),
			outcome(t, ask("POST", "/revoke", form("token", "https://idp.example shop t2"), credential, formType)))
		for _, kind := range httpapi.Kinds() {
			made := ask("POST", "/revocations", order(kind), "Authorization: Bearer seed;seed;revocations")
			key := made.body[len(`{"key":"`):]
			row = append(row, outcome(t, ask("DELETE", "/revocations/"+key[:strings.IndexByte(key, '"')], "", credential)))
		}
		row = append(row, outcome(t, ask("GET", "/revocations?issuer="+theIssuer, "", credential)))
		fmt.Fprintf(&b, "| %s | %s |\n", caller.label, strings.Join(row, " | "))
	}
	if os.Getenv("ASSAY_UPDATE_ACCESS") != "" {
		if err := os.WriteFile("ACCESS.md", []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("ACCESS.md")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the matrix is now\n%s", b.String())
	}
}

const accessText = `# Who may revoke what

Three must agree before anything about revocations is done: the caller's grant in the configuration
(` + "`callers.grants[].revoke`" + `), the scopes of the very bearer token that it presents, and the policies in force,
which judge that token once more with the scope as ` + "`request.action`" + ` and the issuer concerned as
` + "`request.resource`" + `. A client certificate carries no scopes and is no token: its holder has the grant alone.

The scopes are ` + "`revocations:read`, `revocations:write:KIND` and `revocations:lift:KIND`" + `; a shorter one, such as
` + "`revocations:write`" + `, covers all that begin with it and a colon. ` + "`revocations:write:own`" + ` is for clients that revoke
the tokens issued to themselves by RFC 7009.

The table below is the outcome of asking as each caller for each operation (TestMatrix): yes; no (403); who (401).

`

func outcome(t *testing.T, a answer) string {
	t.Helper()
	switch {
	case slices.Contains([]int{200, 201, 204}, a.StatusCode):
		return "yes"
	case a.StatusCode == 403:
		return "no"
	case a.StatusCode == 401:
		return "who"
	}
	t.Fatalf("status %d: %s", a.StatusCode, a.body)
	return ""
}

func TestPolicyCanRefuseWhatIsGranted(t *testing.T) {
	_, ask := startRevoking(t, &ledger{}, func(c *httpapi.Config) { c.Decider = scoped("revocations:write:issuer") })
	p := ask("POST", "/revocations", `{"kind":"issuer","issuer":"https://idp.example"}`, bearerAll).wants(t, 403, "not-granted")
	if !strings.Contains(fmt.Sprint(p["detail"]), "rules.four_eyes") {
		t.Errorf("%v", p)
	}
	ask("POST", "/revocations", `{"kind":"token","issuer":"https://idp.example","value":"t"}`, bearerAll).wantsStatus(t, 201)
}

func TestPolicyIsAskedWithTheOperation(t *testing.T) {
	j := scoped("")
	_, ask := startRevoking(t, &ledger{}, func(c *httpapi.Config) { c.Decider = j })
	ask("POST", "/revocations", `{"kind":"key","issuer":"https://idp.example","value":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}`, bearerAll).wantsStatus(t, 201)
	r := j.last(t)
	if r.Action != "revocations:write:key" || r.Resource != theIssuer || r.Audience != "assay" || r.Method != "POST" || r.Path != "/revocations" || r.Caller.Name != idp+"all" {
		t.Errorf("policy was asked %+v", r)
	}
}

func TestTheOnlyIssuerOfAGrantIsTheOneListed(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	const one = "Authorization: Bearer one;one;revocations"
	ask("POST", "/revocations", `{"kind":"token","issuer":"https://other.example","value":"t"}`, bearerAll).wantsStatus(t, 201)
	ask("POST", "/revocations", `{"kind":"token","issuer":"https://idp.example","value":"t"}`, one).wantsStatus(t, 201)
	if a := ask("GET", "/revocations", "", one).wantsStatus(t, 200); strings.Contains(a.body, "other.example") || !strings.Contains(a.body, "idp.example") {
		t.Error(a.body)
	}
	ask("GET", "/revocations?issuer=https://other.example", "", one).wants(t, 403, "not-granted")
	ask("GET", "/revocations/token_other-example_t", "", one).wants(t, 403, "not-granted")
	ask("DELETE", "/revocations/token_idp-example_t", "", one).wants(t, 403, "not-granted")
}

func TestGrantsOfUnknownKinds(t *testing.T) {
	for _, g := range []httpapi.RevokeGrant{{Write: []string{"user"}}, {Lift: []string{httpapi.OwnTokens}}} {
		if _, err := httpapi.New(httpapi.Config{Decider: &judge{}, Grants: []httpapi.Grant{{Caller: "a", Revoke: g}}}); err == nil {
			t.Errorf("%+v is accepted", g)
		}
	}
}
