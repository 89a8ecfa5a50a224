package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

func TestDecideAnswersTheDecision(t *testing.T) {
	j := &judge{}
	server := start(t, func(c *httpapi.Config) { c.Decider = j })
	a := do(t, server.Client(), "POST", server.URL+"/decide", `{
		"token": "a.b.c\u00e9", "purpose": "fulfilment", "context": {"n": 1.50, "deep": {"list": [true, null, "x"]}},
		"request": {"audience": "orders", "token_type": "id_token", "action": "read", "resource": "/orders/42",
		            "method": "GET", "path": "/o\\rders", "client_ip": "192.0.2.7"}}`, "X-Request-Id: abc-1").wantsStatus(t, 200)
	want := pdp.Request{
		Token: "a.b.cé", Purpose: "fulfilment", Audience: "orders", TokenType: pdp.IDToken, Action: "read",
		Resource: "/orders/42", Method: "GET", Path: `/o\rders`, ClientIP: "192.0.2.7", ID: "abc-1",
		Context: map[string]any{"n": json.Number("1.50"), "deep": map[string]any{"list": []any{true, nil, "x"}}},
	}
	if got := j.last(t); !reflect.DeepEqual(got, want) {
		t.Errorf("asked %+v\nwant  %+v", got, want)
	}
	expected, err := allowed(&want).AppendJSON(nil)
	if err != nil {
		t.Fatal(err)
	}
	if a.body != string(expected) {
		t.Errorf("answered %s\nwant     %s", a.body, expected)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "X-Request-Id": "abc-1",
		"Content-Length": fmt.Sprint(len(expected)),
	} {
		if got := a.Header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

func TestADenyIsAnswered200(t *testing.T) {
	server := start(t, func(c *httpapi.Config) {
		c.Decider = &judge{fn: func(context.Context, *pdp.Request) (*pdp.Decision, error) { return denied("lifetime.expired"), nil }}
	})
	a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":""}`).wantsStatus(t, 200)
	if !strings.Contains(a.body, `"allow":false`) || !strings.Contains(a.body, "lifetime.expired") {
		t.Error(a.body)
	}
}

// badBodies are bodies of POST /decide that are no decision request: the problem's name, its pointer, and
// a word of its detail.
var badBodies = []struct{ name, body, problem, pointer, detail string }{
	{"empty", ``, "malformed-json", "", "ends before"},
	{"only space", "  \n", "malformed-json", "", "ends before"},
	{"cut off", `{"token":"a`, "malformed-json", "", "ends before"},
	{"cut off in object", `{"token":"a"`, "malformed-json", "", "ends before"},
	{"cut off after colon", `{"token":`, "malformed-json", "", "ends before"},
	{"not JSON", `token=a`, "malformed-json", "", "byte"},
	{"two texts", `{"token":"a"}{"token":"b"}`, "malformed-json", "", "follows"},
	{"trailing bracket", `{"token":"a"}]`, "malformed-json", "", "follows"},
	{"trailing comma", `{"token":"a",}`, "malformed-json", "", "byte"},
	{"comment", `{/**/"token":"a"}`, "malformed-json", "", "byte"},
	{"single quotes", `{'token':'a'}`, "malformed-json", "", "byte"},
	{"byte order mark", "\ufeff" + `{"token":"a"}`, "malformed-json", "", "byte"},
	{"invalid UTF-8", "{\"token\":\"\xff\"}", "malformed-json", "", "byte"},
	{"invalid UTF-8 in name", "{\"tok\xc0en\":\"\"}", "malformed-json", "", "byte"},
	{"lone surrogate", `{"token":"\ud800"}`, "malformed-json", "", "byte"},
	{"control character", "{\"token\":\"a\nb\"}", "malformed-json", "", "byte"},
	{"array", `["a"]`, "wrong-type", "", "expected an object, found an array"},
	{"null", `null`, "wrong-type", "", "found null"},
	{"string", `"eyJ"`, "wrong-type", "", "found a string"},
	{"no token", `{}`, "missing-field", "#/token", "token"},
	{"token null", `{"token":null}`, "wrong-type", "#/token", "token: expected a string, found null"},
	{"token number", `{"token":1}`, "wrong-type", "#/token", "found a number"},
	{"token array", `{"token":["a"]}`, "wrong-type", "#/token", "found an array"},
	{"unknown", `{"token":"a","tokn":"b"}`, "unknown-field", "#/tokn", "tokn"},
	{"case matters", `{"Token":"a"}`, "unknown-field", "#/Token", "Token"},
	{"unknown in request", `{"token":"a","request":{"aud":"x"}}`, "unknown-field", "#/request/aud", "request.aud"},
	{"unknown escaped", `{"token":"a","request":{"a/~b":"x"}}`, "unknown-field", "#/request/a~1~0b", "request.a/~b"},
	{"unknown long", `{"token":"a","` + strings.Repeat("é", 100) + `":1}`, "unknown-field", "#/" + strings.Repeat("é", 32) + "…", "no such member"},
	{"twice", `{"token":"a","token":"b"}`, "duplicate-field", "#/token", "token"},
	{"twice in other spelling", `{"token":"a","\u0074oken":"b"}`, "duplicate-field", "#/token", "token"},
	{"twice in request", `{"token":"a","request":{"action":"r","action":"w"}}`, "duplicate-field", "#/request/action", "request.action"},
	{"twice in context", `{"token":"a","context":{"x":{"y":1,"y":2}}}`, "duplicate-field", "#/context/x/y", "context.x.y"},
	{"request string", `{"token":"a","request":"x"}`, "wrong-type", "#/request", "request: expected an object, found a string"},
	{"request null", `{"token":"a","request":null}`, "wrong-type", "#/request", "found null"},
	{"context array", `{"token":"a","context":[]}`, "wrong-type", "#/context", "expected an object, found an array"},
	{"audience array", `{"token":"a","request":{"audience":["x"]}}`, "wrong-type", "#/request/audience", "expected a string, found an array"},
	{"audience empty", `{"token":"a","request":{"audience":""}}`, "invalid-value", "#/request/audience", "empty"},
	{"purpose empty", `{"token":"a","purpose":""}`, "invalid-value", "#/purpose", "empty"},
	{"purpose boolean", `{"token":"a","purpose":true}`, "wrong-type", "#/purpose", "found a boolean"},
	{"token_type", `{"token":"a","request":{"token_type":"refresh_token"}}`, "invalid-value", "#/request/token_type", "access_token"},
	{"client_ip", `{"token":"a","request":{"client_ip":"localhost"}}`, "invalid-value", "#/request/client_ip", "IP address"},
	{"client_ip with port", `{"token":"a","request":{"client_ip":"192.0.2.7:80"}}`, "invalid-value", "#/request/client_ip", "IP address"},
	{"long resource", `{"token":"a","request":{"resource":"` + strings.Repeat("x", 8193) + `"}}`, "invalid-value", "#/request/resource", "8192"},
}

func TestWhatIsNoDecisionRequestIsRefused(t *testing.T) {
	j := &judge{}
	server := start(t, func(c *httpapi.Config) { c.Decider = j })
	for _, c := range badBodies {
		t.Run(c.name, func(t *testing.T) {
			p := do(t, server.Client(), "POST", server.URL+"/decide", c.body).wants(t, 400, c.problem)
			if pointer, _ := p["pointer"].(string); pointer != c.pointer {
				t.Errorf("pointer %q, want %q", pointer, c.pointer)
			}
			if detail, _ := p["detail"].(string); !strings.Contains(detail, c.detail) {
				t.Errorf("detail %q does not hold %q", detail, c.detail)
			}
		})
	}
	if len(j.asked) > 0 {
		t.Errorf("the Decider was asked %d times", len(j.asked))
	}
}

func TestBatch(t *testing.T) {
	j := &judge{}
	server := start(t, func(c *httpapi.Config) { c.Decider, c.MaxBatch = j, 40 })
	items := func(n int) string {
		list := make([]string, n)
		for i := range list {
			list[i] = fmt.Sprintf(`{"token":"t%d"}`, i)
		}
		return `{"items":[` + strings.Join(list, ",") + `]}`
	}
	t.Run("same order", func(t *testing.T) {
		a := do(t, server.Client(), "POST", server.URL+"/decide/batch", items(40)).wantsStatus(t, 200)
		var got struct {
			Items []struct{ Claims map[string]string }
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || len(got.Items) != 40 {
			t.Fatalf("%v, %d items", err, len(got.Items))
		}
		for i, item := range got.Items {
			if want := fmt.Sprintf("t%d", i); item.Claims["sub"] != want {
				t.Errorf("item %d answers for %s", i, item.Claims["sub"])
			}
		}
	})
	t.Run("empty", func(t *testing.T) {
		if a := do(t, server.Client(), "POST", server.URL+"/decide/batch", `{"items":[]}`).wantsStatus(t, 200); a.body != `{"items":[]}` {
			t.Error(a.body)
		}
	})
	for _, c := range []struct{ name, body, problem, pointer, detail string }{
		{"too many", items(41), "too-many-items", "#/items", "40"},
		{"no items", `{}`, "missing-field", "#/items", "items"},
		{"items object", `{"items":{}}`, "wrong-type", "#/items", "expected an array"},
		{"item without token", `{"items":[{"token":"a"},{}]}`, "missing-field", "#/items/1/token", "items[1].token"},
		{"item of another type", `{"items":[{"token":"a"},{"token":"a"},7]}`, "wrong-type", "#/items/2", "items[2]: expected an object"},
		{"first item of another type", `{"items":["a"]}`, "wrong-type", "#/items/0", "items[0]"},
		{"unknown in item", `{"items":[{"token":"a"},{"token":"b","x":1}]}`, "unknown-field", "#/items/1/x", "items[1].x"},
		{"wrong in item", `{"items":[{"token":"a","request":{"action":1}}]}`, "wrong-type", "#/items/0/request/action", "items[0].request.action"},
		{"cut off", `{"items":[{"token":"a"}`, "malformed-json", "", "ends before"},
		{"unknown beside", `{"items":[],"item":1}`, "unknown-field", "#/item", "item"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := do(t, server.Client(), "POST", server.URL+"/decide/batch", c.body).wants(t, 400, c.problem)
			if pointer, _ := p["pointer"].(string); pointer != c.pointer {
				t.Errorf("pointer %q, want %q", pointer, c.pointer)
			}
			if detail, _ := p["detail"].(string); !strings.Contains(detail, c.detail) {
				t.Errorf("detail %q does not hold %q", detail, c.detail)
			}
		})
	}
}

func TestABatchIsAnsweredAsAWholeOrNot(t *testing.T) {
	for _, c := range []struct {
		name    string
		fn      func() (*pdp.Decision, error)
		status  int
		problem string
	}{
		{"unavailable", func() (*pdp.Decision, error) { return nil, pdp.ErrUnavailable }, 503, "unavailable"},
		{"panic", func() (*pdp.Decision, error) { panic("secret") }, 500, "internal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := start(t, func(cfg *httpapi.Config) {
				cfg.Decider = &judge{fn: func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
					if r.Token == "bad" {
						return c.fn()
					}
					return allowed(r), nil
				}}
			})
			a := do(t, server.Client(), "POST", server.URL+"/decide/batch", `{"items":[{"token":"a"},{"token":"bad"},{"token":"c"}]}`)
			a.wants(t, c.status, c.problem)
			if strings.Contains(a.body, "secret") {
				t.Error("internals in the answer")
			}
		})
	}
}

func TestNoDecisionIsNeverAnAllow(t *testing.T) {
	waitForIt := func(ctx context.Context, _ *pdp.Request) (*pdp.Decision, error) {
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", pdp.ErrUnavailable, ctx.Err())
	}
	for _, c := range []struct {
		name    string
		fn      func(context.Context, *pdp.Request) (*pdp.Decision, error)
		status  int
		problem string
	}{
		{"unavailable", func(context.Context, *pdp.Request) (*pdp.Decision, error) {
			return nil, fmt.Errorf("%w: disk of host innards is full", pdp.ErrUnavailable)
		}, 503, "unavailable"},
		{"out of time", waitForIt, 503, "timed-out"},
		{"fault", func(context.Context, *pdp.Request) (*pdp.Decision, error) { return nil, errors.New("innards nil") }, 500, "internal"},
		{"panic", func(context.Context, *pdp.Request) (*pdp.Decision, error) { panic("innards") }, 500, "internal"},
		{"no JSON form", func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
			d := allowed(r)
			d.Claims["innards"] = make(chan int)
			return d, nil
		}, 500, "internal"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server := start(t, func(cfg *httpapi.Config) {
				cfg.Decider = &judge{fn: c.fn}
				if c.problem == "timed-out" {
					cfg.Timeout = 1 // a nanosecond: whoever waits for the deadline meets it at once
				}
			})
			a := do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`)
			a.wants(t, c.status, c.problem)
			if strings.Contains(a.body, "innards") || strings.Contains(a.body, "allow\"") {
				t.Errorf("internals in %s", a.body)
			}
			if c.status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
			// The server goes on.
			do(t, server.Client(), "GET", server.URL+"/livez", "").wantsStatus(t, 200)
		})
	}
}
