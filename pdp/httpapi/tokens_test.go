package httpapi_test

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
	"github.com/assaypdp/assay/pdp/httpapi"
)

// signer is a TokenIssuer that remembers what was ordered last.
type signer struct {
	origin pdp.Origin
	caller pdp.Caller
	order  httpapi.TokenOrder
	err    error
}

func (s *signer) Issue(ctx context.Context, caller pdp.Caller, o httpapi.TokenOrder) (httpapi.IssuedToken, error) {
	s.origin, s.caller, s.order = pdp.OriginOf(ctx), caller, o
	return httpapi.IssuedToken{
		Token: "h.p.s", TokenType: o.TokenType, Issuer: "https://us.example", KeyID: "k1", TokenID: "j1", ExpiresAt: moment,
	}, s.err
}

func TestIssuing(t *testing.T) {
	s := &signer{}
	server := start(t, func(c *httpapi.Config) {
		c.Decider, c.CallerAudience, c.Issuer = bearers(), "assay", s
		c.Grants = []httpapi.Grant{{Caller: idp + "none"}, {Caller: idp + "shop", Issue: []httpapi.IssueGrant{
			{
				Issuers: []string{"https://us.example"}, Keys: []string{"access"}, Audiences: []string{"orders"}, Subjects: []string{"*"},
				Clients: []string{"shop"}, Scopes: []string{"orders.read", "orders.write"}, Claims: []string{"tenant"}, MaxLifetime: 10 * time.Minute,
			},
			{Issuers: []string{"*"}, Audiences: []string{"a", "b"}, TokenTypes: []pdp.TokenType{pdp.GenericToken}},
		}}, {Caller: idp + "nowhere", Issue: []httpapi.IssueGrant{{Audiences: []string{"a"}}}},
			{Caller: idp + "elsewhere", Issue: []httpapi.IssueGrant{{Issuers: []string{"https://a.example", "https://b.example"}, Audiences: []string{"a"}}}}}
	})
	type order = httpapi.TokenOrder
	for _, c := range []struct {
		name, body string
		want       order
		missing    string
	}{
		{"completed", `{"subject":"u1"}`, order{
			TokenType: pdp.AccessToken, Issuer: "https://us.example", Key: "access", Audience: []string{"orders"}, Subject: "u1",
			ClientID: "shop", MaxLifetimeSeconds: 600,
		}, ""},
		{"in full", `{"token_type":"access_token","issuer":"https://us.example","key":"access","audience":["orders"],"subject":"u1",
			"client_id":"shop","scope":"orders.read orders.write","lifetime_seconds":600,"claims":{"tenant":{"id":7}}}`, order{
			TokenType: pdp.AccessToken, Issuer: "https://us.example", Key: "access", Audience: []string{"orders"}, Subject: "u1",
			ClientID: "shop", Scope: "orders.read orders.write", LifetimeSeconds: 600, MaxLifetimeSeconds: 600,
			Claims: map[string]any{"tenant": map[string]any{"id": json.Number("7")}},
		}, ""},
		{"by another grant", `{"token_type":"jwt","audience":"b"}`, order{TokenType: pdp.GenericToken, Audience: []string{"b"}}, ""},
		{"issuer", `{"issuer":"https://them.example"}`, order{}, "issuer https://them.example"},
		{"key", `{"key":"master"}`, order{}, "key master"},
		{"audience", `{"audience":["orders","billing"]}`, order{}, "audience billing"},
		{"client", `{"client_id":"bank"}`, order{}, "client bank"},
		{"scope", `{"scope":"orders.read admin"}`, order{}, "scope admin"},
		{"claim", `{"claims":{"tenant":1,"role":"admin"}}`, order{}, "claim role"},
		{"lifetime", `{"lifetime_seconds":601}`, order{}, "a lifetime of 601 s (at most 600 s)"},
		{"type", `{"token_type":"id_token"}`, order{}, "token type id_token"},
		{"not joined of two grants", `{"token_type":"jwt","audience":"b","scope":"orders.read"}`, order{}, "scope orders.read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, server.Client(), "POST", server.URL+"/tokens", c.body, "Authorization: Bearer shop",
				"X-Request-Id: req-7", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
			if c.missing != "" {
				if p := a.wants(t, 403, "not-granted"); !strings.Contains(fmt.Sprint(p["missing"]), c.missing) {
					t.Errorf("missing %v, want %s", p["missing"], c.missing)
				}
				return
			}
			a.wantsStatus(t, 201)
			if !reflect.DeepEqual(s.order, c.want) || s.caller.Name != idp+"shop" {
				t.Errorf("ordered %+v by %v\nwant    %+v", s.order, s.caller, c.want)
			}
			if want := fmt.Sprintf(`{"token":"h.p.s","token_type":%q,"issuer":"https://us.example","key_id":"k1","token_id":"j1","expires_at":%d}`,
				c.want.TokenType, moment.Unix()); a.body != want {
				t.Errorf("answered %s", a.body)
			}
			if want := (pdp.Origin{RequestID: "req-7", TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331"}); s.origin != want {
				t.Errorf("ordered by the request %+v", s.origin)
			}
			if a.Header.Get("Cache-Control") != "no-store" {
				t.Error("a token may be cached")
			}
		})
	}
	for _, caller := range []string{"nowhere", "elsewhere"} {
		t.Run("no issuer named nor the only one granted: "+caller, func(t *testing.T) {
			p := do(t, server.Client(), "POST", server.URL+"/tokens", `{}`, "Authorization: Bearer "+caller).wants(t, 403, "not-granted")
			if !strings.Contains(fmt.Sprint(p["missing"]), "issuer") {
				t.Errorf("missing %v", p["missing"])
			}
		})
	}
	t.Run("nothing granted", func(t *testing.T) {
		do(t, server.Client(), "POST", server.URL+"/tokens", `{}`, "Authorization: Bearer none").wants(t, 403, "not-granted")
	})
	for _, c := range []struct{ name, body, problem, pointer string }{
		{"unknown", `{"sub":"u1"}`, "unknown-field", "#/sub"},
		{"audience number", `{"audience":1}`, "wrong-type", "#/audience"},
		{"audience of numbers", `{"audience":["a",1]}`, "wrong-type", "#/audience/1"},
		{"lifetime zero", `{"lifetime_seconds":0}`, "invalid-value", "#/lifetime_seconds"},
		{"lifetime fraction", `{"lifetime_seconds":1.5}`, "invalid-value", "#/lifetime_seconds"},
		{"lifetime huge", `{"lifetime_seconds":1e400}`, "invalid-value", "#/lifetime_seconds"},
		{"lifetime string", `{"lifetime_seconds":"60"}`, "wrong-type", "#/lifetime_seconds"},
		{"scope with two spaces", `{"scope":"a  b"}`, "invalid-value", "#/scope"},
		{"scope with quote", `{"scope":"a\"b"}`, "invalid-value", "#/scope"},
		{"claims array", `{"claims":[]}`, "wrong-type", "#/claims"},
		{"trailing", `{} {}`, "malformed-json", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := do(t, server.Client(), "POST", server.URL+"/tokens", c.body, "Authorization: Bearer shop").wants(t, 400, c.problem)
			if pointer, _ := p["pointer"].(string); pointer != c.pointer {
				t.Errorf("pointer %q", pointer)
			}
		})
	}
}

func TestIssuersErrors(t *testing.T) {
	for _, c := range []struct {
		name    string
		err     error
		status  int
		problem string
		holds   string
		retry   string
	}{
		{"refused", &httpapi.RefusedError{Reasons: denied("lifetime.too_long").Reasons}, 422, "token-refused", `"reasons":[{"code":"lifetime.too_long","message":"no"`, ""},
		{"bad order", fmt.Errorf("x: %w", &httpapi.OrderError{Field: "key", Detail: "no key of that name"}), 400, "invalid-value", `"pointer":"#/key"`, ""},
		{"unavailable", &httpapi.UnavailableError{RetryAfter: 1500 * time.Millisecond, Err: errors.New("s3cret")}, 503, "issuing-unavailable", "ask again", "2"},
		{"unavailable at once", &httpapi.UnavailableError{}, 503, "issuing-unavailable", "ask again", "1"},
		{"undecided", pdp.ErrUnavailable, 503, "unavailable", "", "1"},
		{"fault", errors.New("s3cret"), 500, "internal", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := start(t, func(cfg *httpapi.Config) {
				cfg.Decider, cfg.CallerAudience, cfg.Issuer = bearers(), "assay", &signer{err: c.err}
				cfg.Grants = []httpapi.Grant{{Caller: idp + "shop", Issue: []httpapi.IssueGrant{{Issuers: []string{"*"}}}}}
			})
			a := do(t, server.Client(), "POST", server.URL+"/tokens", `{}`, "Authorization: Bearer shop")
			a.wants(t, c.status, c.problem)
			if !strings.Contains(a.body, c.holds) || strings.Contains(a.body, "s3cret") || strings.Contains(a.body, "h.p.s") {
				t.Errorf("answered %s", a.body)
			}
			if got := a.Header.Get("Retry-After"); got != c.retry {
				t.Errorf("Retry-After %q", got)
			}
		})
	}
}
