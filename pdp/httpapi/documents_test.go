package httpapi_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

func TestKeySet(t *testing.T) {
	document := &httpapi.KeySetDocument{Body: []byte(`{"keys":[{"kty":"OKP"}]}`), MaxAge: 90 * time.Second}
	server := start(t, func(c *httpapi.Config) { c.KeySet = func() *httpapi.KeySetDocument { return document } })
	url := server.URL + "/.well-known/jwks.json"
	first := do(t, server.Client(), "GET", url, "").wantsStatus(t, 200)
	tag := first.Header.Get("ETag")
	if first.body != string(document.Body) || tag == "" || first.Header.Get("Content-Type") != "application/jwk-set+json" ||
		first.Header.Get("Cache-Control") != "public, max-age=90" {
		t.Errorf("%v %s", first.Header, first.body)
	}
	for _, given := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
		if a := do(t, server.Client(), "GET", url, "", "If-None-Match: "+given).wantsStatus(t, 304); a.body != "" || a.Header.Get("ETag") != tag {
			t.Errorf("304 for %s with %q and %v", given, a.body, a.Header)
		}
	}
	do(t, server.Client(), "GET", url, "", `If-None-Match: "x"`).wantsStatus(t, 200)
	if a := do(t, server.Client(), "HEAD", url, "").wantsStatus(t, 200); a.body != "" || a.Header.Get("ETag") != tag {
		t.Errorf("HEAD: %q %v", a.body, a.Header)
	}
	document = &httpapi.KeySetDocument{Body: []byte(`{"keys":[]}`)}
	second := do(t, server.Client(), "GET", url, "", "If-None-Match: "+tag).wantsStatus(t, 200)
	if second.Header.Get("ETag") == tag || second.Header.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("%v", second.Header)
	}
	document = nil
	do(t, server.Client(), "GET", url, "").wants(t, 503, "unavailable")
}

func TestWithoutKeysTheSetIsEmpty(t *testing.T) {
	server := start(t, nil)
	if a := do(t, server.Client(), "GET", server.URL+"/.well-known/jwks.json", "").wantsStatus(t, 200); a.body != `{"keys":[]}` {
		t.Error(a.body)
	}
}

func TestReadiness(t *testing.T) {
	var health httpapi.Health
	api := build(t, func(c *httpapi.Config) { c.Health = func() httpapi.Health { return health } })
	server := startAPI(t, api)
	for _, c := range []struct {
		name   string
		health httpapi.Health
		status int
		body   string
	}{
		{"ok", httpapi.Health{}, 200, `{"status":"ok","causes":[]}`},
		{"degraded", httpapi.Health{Causes: []string{"Vault is sealed", "x"}}, 200, `{"status":"degraded","causes":["Vault is sealed","x"]}`},
		{"failing", httpapi.Health{Failing: true, Causes: []string{"no policy"}}, 503, `{"status":"failing","causes":["no policy"]}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			health = c.health
			if a := do(t, server.Client(), "GET", server.URL+"/readyz", "").wantsStatus(t, c.status); a.body != c.body {
				t.Error(a.body)
			}
		})
	}
	t.Run("shutting down", func(t *testing.T) {
		health = httpapi.Health{}
		api.Drain()
		a := do(t, server.Client(), "GET", server.URL+"/readyz", "").wantsStatus(t, 503)
		if a.body != `{"status":"shutting down","causes":[]}` || !a.Close {
			t.Errorf("%s, close %v", a.body, a.Close)
		}
		do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"a"}`).wantsStatus(t, 200)
		do(t, server.Client(), "GET", server.URL+"/livez", "").wantsStatus(t, 200)
	})
}

func TestMetrics(t *testing.T) {
	server := start(t, func(c *httpapi.Config) {
		c.Decider = &judge{fn: func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
			if r.Token == "good" {
				return allowed(r), nil
			}
			d := denied("lifetime.expired")
			d.Reasons = append(d.Reasons, pdp.Reason{Code: "acme.house_rule", Enforcement: pdp.Warn})
			return d, nil
		}}
	})
	for _, token := range []string{"good", "bad", "bad"} {
		do(t, server.Client(), "POST", server.URL+"/decide", `{"token":"`+token+`"}`).wantsStatus(t, 200)
	}
	do(t, server.Client(), "POST", server.URL+"/decide/batch", `{"items":[{"token":"good"},{"token":"good"}]}`).wantsStatus(t, 200)
	do(t, server.Client(), "POST", server.URL+"/decide", `{}`).wantsStatus(t, 400)
	do(t, server.Client(), "GET", server.URL+"/random-9d2", "").wantsStatus(t, 404)
	a := do(t, server.Client(), "GET", server.URL+"/metrics", "", "Accept: application/openmetrics-text; version=1.0.0").wantsStatus(t, 200)
	if got := a.Header.Get("Content-Type"); !strings.HasPrefix(got, "application/openmetrics-text") {
		t.Errorf("Content-Type %q", got)
	}
	for _, line := range []string{
		`assay_http_requests_total{code="2xx",route="/decide"} 3.0`,
		`assay_http_requests_total{code="4xx",route="/decide"} 1.0`,
		`assay_http_requests_total{code="4xx",route="none"} 1.0`,
		`assay_http_request_duration_seconds_count{route="/decide"} 4`,
		`assay_decisions_total{allow="true"} 3.0`,
		`assay_decisions_total{allow="false"} 2.0`,
		`assay_decision_reasons_total{enforcement="deny",family="lifetime"} 2.0`,
		`assay_decision_reasons_total{enforcement="warn",family="other"} 2.0`,
		`assay_http_in_flight 0.0`,
		`assay_http_shed_total 0.0`,
		`# EOF`,
	} {
		if !strings.Contains(a.body, line+"\n") {
			t.Errorf("no line %s", line)
		}
	}
	if strings.Contains(a.body, "random-9d2") {
		t.Error("a label holds what the caller chose")
	}
	plain := do(t, server.Client(), "GET", server.URL+"/metrics", "").wantsStatus(t, 200)
	if got := plain.Header.Get("Content-Type"); !strings.HasPrefix(got, "text/plain") {
		t.Errorf("Content-Type %q", got)
	}
}
