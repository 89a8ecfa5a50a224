package httpapi_test

import (
	"context"
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
