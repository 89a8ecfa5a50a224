package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/httpapi"
)

const formType = "Content-Type: application/x-www-form-urlencoded"

func form(pairs ...string) string {
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	return values.Encode()
}

// wantsOAuth fails unless the answer has exactly the shape of RFC 6749 section 5.2.
func (a answer) wantsOAuth(t *testing.T, status int, code string) {
	t.Helper()
	a.wantsStatus(t, status)
	var got map[string]string
	if err := json.Unmarshal([]byte(a.body), &got); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	if got["error"] != code || got["error_description"] == "" || len(got) != 2 {
		t.Errorf("%s, want error %s", a.body, code)
	}
	if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Pragma") != "no-cache" {
		t.Errorf("%v", a.Header)
	}
	if strings.ContainsAny(got["error_description"], "\"\\") {
		t.Errorf("error_description %s", got["error_description"])
	}
}

func TestTokenRevocation(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	const client = "Authorization: Bearer client;web;revocations:write:own"
	own, another := "https://idp.example web t1", "https://idp.example shop t2"
	for _, c := range []struct {
		name, body, credential string
		status                 int
		code                   string
		stored                 string
	}{
		{"its own", form("token", own), client, 200, "", "t1"},
		{"its own, hinted as something else", form("token", own, "token_type_hint", "refresh_token", "extra", "x"), client, 200, "", "t1"},
		{"with a newline behind it", "token=https://idp.example+web+t1\n", client, 200, "", "t1"},
		{"another client's", form("token", another), client, 403, "insufficient_scope", ""},
		{"that client of another issuer", form("token", "https://other.example web t3"), client, 403, "insufficient_scope", ""},
		{"another client's by one who may", form("token", another), bearerAll, 200, "", "t2"},
		{"its own without the scope", form("token", own), "Authorization: Bearer client;web;read", 403, "insufficient_scope", ""},
		{"no token that is known", form("token", "eyJ"), client, 200, "", ""},
		{"one that is long dead", form("token", "https://idp.example web ancient"), client, 200, "", ""},
		{"no token at all", form("token_type_hint", "access_token"), client, 400, "invalid_request", ""},
		{"an empty token", form("token", ""), client, 400, "invalid_request", ""},
		{"two tokens", form("token", own, "token", another), bearerAll, 400, "invalid_request", ""},
		{"no form", "%zz", client, 400, "invalid_request", ""},
		{"nobody", form("token", own), "X-Nothing: x", 401, "invalid_client", ""},
		{"examination that did not end", form("token", "slow"), client, 503, "temporarily_unavailable", ""},
		{"one whose key is not known yet", form("token", "new-key"), client, 503, "temporarily_unavailable", ""},
		{"oversized", form("token", strings.Repeat("a", httpapi.DefaultMaxBody)), client, 413, "invalid_request", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l.orders = nil
			a := ask("POST", "/revoke", c.body, c.credential, formType)
			if c.code != "" {
				a.wantsOAuth(t, c.status, c.code)
			} else if a.wantsStatus(t, c.status); a.body != "" {
				t.Errorf("a body: %s", a.body)
			}
			stored := ""
			for _, o := range l.orders {
				stored += o.Value
			}
			if stored != c.stored {
				t.Errorf("stored %q, want %q", stored, c.stored)
			}
		})
	}
	ask("POST", "/revoke", `{"token":"x"}`, client).wantsOAuth(t, 415, "invalid_request")
	if a := ask("POST", "/revoke", form("token", own), "X-Nothing: x", formType); !strings.HasPrefix(a.Header.Get("WWW-Authenticate"), "Bearer") {
		t.Errorf("no challenge: %v", a.Header)
	}
	l.err = &httpapi.UnavailableError{Err: errors.New("x")}
	if a := ask("POST", "/revoke", form("token", own), client, formType); a.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	} else {
		a.wantsOAuth(t, 503, "temporarily_unavailable")
	}
}

func TestIntrospection(t *testing.T) {
	_, ask := startRevoking(t, &ledger{}, func(c *httpapi.Config) {
		c.Grants = append(c.Grants, httpapi.Grant{Caller: idp + "two", Audiences: []string{"orders", "billing"}})
	})
	const two = "Authorization: Bearer two"
	active := `{"active":true,"token_type":"Bearer","client_id":"web","iss":"https://idp.example","scope":"read","sub":"alice"}`
	for _, c := range []struct{ name, body, credential, want string }{
		{"active", form("token", "good"), bearerAll, active},
		{"with a hint", form("token", "good", "token_type_hint", "access_token"), bearerAll, active},
		{"as an ID token", form("token", "good", "token_type_hint", "id_token"), bearerAll, strings.Replace(active, `"token_type":"Bearer",`, "", 1)},
		{"of one audience among several", form("token", "good", "audience", "billing"), two, active},
		{"not active", form("token", "bad"), bearerAll, `{"active":false}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := ask("POST", "/introspect", c.body, c.credential, formType).wantsStatus(t, 200)
			if a.body != c.want || a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s\nwant %s\n%v", a.body, c.want, a.Header)
			}
		})
	}
	ask("POST", "/introspect", form("token", "good"), "X-Nothing: x", formType).wantsOAuth(t, 401, "invalid_client")
	ask("POST", "/introspect", form("token", "good"), two, formType).wantsOAuth(t, 403, "insufficient_scope")
	ask("POST", "/introspect", form("token", "good", "audience", "payroll"), two, formType).wantsOAuth(t, 403, "insufficient_scope")
	ask("POST", "/introspect", form("token", "good"), "Authorization: Bearer none", formType).wantsOAuth(t, 403, "insufficient_scope")
	ask("POST", "/introspect", form("a", "b"), bearerAll, formType).wantsOAuth(t, 400, "invalid_request")
	ask("GET", "/introspect?token=good", "", bearerAll).wants(t, 405, "method-not-allowed")
}

// inbox is an EventReceiver.
type inbox struct {
	set, authorization string
	err                error
}

func (i *inbox) Receive(_ context.Context, set, authorization string) error {
	i.set, i.authorization = set, authorization
	return i.err
}

func TestEventDelivery(t *testing.T) {
	in := &inbox{}
	server := start(t, func(c *httpapi.Config) { c.Events, c.Open = in, false })
	const setType = "Content-Type: application/secevent+jwt"
	push := func(body string, fields ...string) answer {
		t.Helper()
		return do(t, server.Client(), "POST", server.URL+"/events", body, fields...)
	}
	if a := push("a.b.c\n", setType, "Authorization: Bearer x").wantsStatus(t, 202); a.body != "" || in.set != "a.b.c" || in.authorization != "Bearer x" {
		t.Errorf("%q, received %+v", a.body, in)
	}
	if push("a.b.c", setType, "Authorization: a", "Authorization: b").wantsStatus(t, 202); in.authorization != "" {
		t.Errorf("of two Authorization fields it took %q", in.authorization)
	}
	refused := func(a answer, status int, code string) {
		t.Helper()
		a.wantsStatus(t, status)
		var got map[string]string
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || got["err"] != code || got["description"] == "" || len(got) != 2 {
			t.Errorf("%s (%v), want err %s", a.body, err, code)
		}
		if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Content-Language") != "en" {
			t.Errorf("%v", a.Header)
		}
	}
	in.err = &httpapi.EventError{Code: "invalid_issuer", Description: "its issuer is not known here"}
	refused(push("a.b.c", setType), 400, "invalid_issuer")
	in.err = &httpapi.UnavailableError{Err: errors.New("secret internals")}
	if a := push("a.b.c", setType); a.Header.Get("Retry-After") != "1" || strings.Contains(a.body, "internals") {
		t.Errorf("%v %s", a.Header, a.body)
	}
	refused(push("a.b.c", setType), 503, "invalid_request")
	in.err = errors.New("secret internals")
	refused(push("a.b.c", setType), 500, "invalid_request")
	in.err, in.set = nil, ""
	refused(push(`{"set":"a.b.c"}`), 415, "invalid_request")
	refused(push(strings.Repeat("a", httpapi.DefaultMaxBody+1), setType), 413, "invalid_request")
	if in.set != "" {
		t.Error("what was refused was received")
	}
}
