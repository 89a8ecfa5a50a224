package httpapi_test

import (
	"context"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// Percent-encoding can spell what JSON bodies are refused for. It must not get into policy's input, the log or an entry,
// where readers take such bytes each in their own way.
func TestTextsOfFormsAndQueriesAreUTF8(t *testing.T) {
	l := &ledger{entries: map[string]httpapi.Revocation{"k": {Key: "k", Kind: "token", Issuer: theIssuer}}}
	j := scoped("")
	_, ask := startRevoking(t, l, func(c *httpapi.Config) { c.Decider = j })
	for _, c := range []struct{ path, body string }{
		{"/introspect", "token=a&audience=%ff"}, {"/introspect", "token=%c3%28"}, {"/introspect", "token=a&token_type_hint=%c0%af"},
		{"/revoke", "token=%ed%a0%80"}, {"/revoke", "token=a&token_type_hint=%fe"},
	} {
		t.Run(c.path+" "+c.body, func(t *testing.T) {
			ask("POST", c.path, c.body, bearerAll, formType).wantsOAuth(t, 400, "invalid_request")
		})
	}
	for _, query := range []string{"reason=%ff", "reason=ok&ticket=%c0%af", "%ff=x"} {
		t.Run(query, func(t *testing.T) {
			a := ask("DELETE", "/revocations/k?"+query, "", bearerAll)
			if a.wantsStatus(t, 400); !utf8.ValidString(a.body) {
				t.Errorf("answered %q", a.body)
			}
		})
	}
	ask("GET", "/revocations?actor=%ff", "", bearerAll).wants(t, 400, "invalid-value")
	for _, asked := range j.asked {
		if !utf8.ValidString(asked.Token + asked.Audience) {
			t.Errorf("the Decider was asked %q", asked)
		}
	}
	if len(l.lifted) > 0 {
		t.Errorf("lifted %q", l.lifted)
	}
}

// There are readers of JSON that do not look at the case of names: to them too, no claim is the answer's own member.
func TestNoClaimWritesTheAnswerOfAnIntrospection(t *testing.T) {
	j := scoped("")
	_, ask := startRevoking(t, &ledger{}, func(c *httpapi.Config) {
		c.Decider = &judge{fn: func(ctx context.Context, r *pdp.Request) (*pdp.Decision, error) {
			d, err := j.Decide(ctx, r)
			if r.Audience != "assay" {
				d.Claims = map[string]any{"sub": "alice", "ACTIVE": false, "Token_Type": "mac", "UserName": "root", "actively": true}
			}
			return d, err
		}}
	})
	a := ask("POST", "/introspect", form("token", "good"), bearerAll, formType).wantsStatus(t, 200)
	if want := `{"active":true,"token_type":"Bearer","actively":true,"sub":"alice"}`; a.body != want {
		t.Errorf("%s\nwant %s", a.body, want)
	}
}

// Many small values make a body that is a hundred times as large in memory, and a second of evaluation.
func TestABatchHoldsNoMoreValuesThanTwoContextsMay(t *testing.T) {
	server := start(t, nil)
	item := func(values int) string { // the context, its list and what is in that
		return `{"token":"a","context":{"a":[` + strings.TrimSuffix(strings.Repeat("{},", values-2), ",") + `]}}`
	}
	batch := func(items ...string) answer {
		return do(t, server.Client(), "POST", server.URL+"/decide/batch", `{"items":[`+strings.Join(items, ",")+`]}`)
	}
	do(t, server.Client(), "POST", server.URL+"/decide", item(10_000)).wantsStatus(t, 200)
	do(t, server.Client(), "POST", server.URL+"/decide", item(10_001)).wants(t, 400, "invalid-value")
	batch(item(10_000), item(10_000), `{"token":"a"}`).wantsStatus(t, 200)
	batch(item(10_001)).wants(t, 400, "invalid-value")
	batch(item(10_000), item(9_999), item(2)).wants(t, 400, "invalid-value")
	batch(item(10_000), item(10_000), item(2)).wants(t, 400, "invalid-value")
}

// A parser of addresses takes any text for a zone: mail addresses, tokens, line feeds.
func TestAZoneIsAnInterfacesName(t *testing.T) {
	server := start(t, nil)
	for _, c := range []struct {
		address string
		status  int
	}{
		{"2001:db8::7", 200}, {"fe80::1%eth0", 200}, {"fe80::1%br-1a2b3c.4_5", 200}, {"192.0.2.7", 200},
		{"fe80::1%jane@example.org", 400}, {"fe80::1%a b", 400}, {`fe80::1%\n`, 400}, {"fe80::1%0123456789abcdef", 400}, {"fe80::1%", 400},
	} {
		t.Run(c.address, func(t *testing.T) {
			a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a","request":{"client_ip":"`+c.address+`"}}`)
			a.wantsStatus(t, c.status)
		})
	}
}

// What lies below one entry of revocations is nothing, and not another method's.
func TestBelowAnEntryThereIsNothing(t *testing.T) {
	_, ask := startRevoking(t, &ledger{}, nil)
	for _, path := range []string{"/revocations/a%2fb", "/revocations/a/b", "/revocations/", "/revocations/../tokens"} {
		ask("GET", path, "", bearerAll).wants(t, 404, "not-found")
	}
	ask("PUT", "/revocations/a", "", bearerAll).wants(t, 405, "method-not-allowed")
}
