package privacy

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// traffic sends requests with marks in every place that a person, a stranger or a service can fill.
type traffic struct {
	*server
	issuer *signer
	desk   string // the token of a service that may do everything
	vault  bool   // the server issues tokens and opens encrypted ones
	n      int    // of the round
}

func (t *traffic) claims() object {
	now := time.Now().Unix()
	return object{
		"iss": "https://idp.example", "sub": person("sub", t.n), "aud": "orders", "client_id": "web", "iat": now, "exp": now + 600,
		"jti": fmt.Sprintf("token-%d-%d", t.n, now), "scope": "read",
		"email": person("email", t.n), "name": "Alice " + mark + " name", "phone_number": "+4915123456" + mark,
		"preferred_username": name("username", t.n), "sid": name("sid", t.n), "tenant": name("tenant", t.n),
		"address":                   object{"street_address": name("street", t.n), "nested": []any{object{"deep": person("deep", t.n)}}},
		person("claim-name", t.n):   true,
		"https://claims.example/id": person("uri-claim", t.n), "act": object{"sub": person("actor", t.n), "name": name("actor-name", t.n)},
		"roles": []any{name("role", t.n), person("role-mail", t.n)}, "cnf": object{"jkt": name("jkt", t.n)},
	}
}

func (t *traffic) header() object { return object{"alg": "ES256", "kid": "k1", "typ": "at+jwt"} }

// token signs and remembers.
func (t *traffic) token(what string, header, claims object) string {
	compact := t.issuer.sign(over(t.header(), header), over(t.claims(), claims))
	t.sent.add(what, compact)
	return compact
}

// people are the places in which a claim that is usually harmless holds somebody.
func (t *traffic) tokens() map[string]string {
	unsigned := func(header, payload string) string {
		encode := base64.RawURLEncoding.EncodeToString
		return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte("a signature of "+mark))
	}
	long := strings.Repeat(mark+" ", 2000)
	all := map[string]string{
		"valid":              t.token("valid", nil, nil),
		"expired":            t.token("expired", nil, object{"exp": time.Now().Unix() - 3600, "iat": time.Now().Unix() - 7200}),
		"too long":           t.token("too long", nil, object{"exp": time.Now().Unix() + 1e6}),
		"mail in jti":        t.token("mail in jti", nil, object{"jti": person("jti", t.n)}),
		"mail in scope":      t.token("mail in scope", nil, object{"scope": "read user:" + person("scope", t.n)}),
		"mail in client_id":  t.token("mail in client_id", nil, object{"client_id": person("client", t.n)}),
		"mail in aud":        t.token("mail in aud", nil, object{"aud": []any{"orders", person("aud", t.n)}}),
		"mail in amr":        t.token("mail in amr", nil, object{"amr": []any{person("amr", t.n)}, "acr": person("acr", t.n)}),
		"subject in jti":     t.token("subject in jti", nil, object{"sub": name("own", t.n), "jti": name("own", t.n) + "-1"}),
		"object in auth":     t.token("object in auth", nil, object{"auth_time": object{person("auth", t.n): 1}, "ver": []any{[]any{person("ver", t.n)}}}),
		"mail in iss":        t.token("mail in iss", nil, object{"iss": "https://" + person("iss", t.n)}),
		"wrong types":        t.token("wrong types", nil, object{"exp": person("exp", t.n), "iat": person("iat", t.n), "nbf": name("nbf", t.n)}),
		"kid":                t.token("kid", object{"kid": person("kid", t.n)}, nil),
		"typ":                t.token("typ", object{"typ": name("typ", t.n)}, nil),
		"cty":                t.token("cty", object{"cty": person("cty", t.n)}, nil),
		"header parameters":  t.token("header parameters", object{"x-user": person("parameter", t.n), person("parameter-name", t.n): 1, "jku": "https://" + mark + ".example"}, nil),
		"crit":               t.token("crit", object{"crit": []any{name("crit", t.n)}, name("crit", t.n): 1}, nil),
		"alg":                t.token("alg", object{"alg": name("alg", t.n)}, nil),
		"not signed so":      t.token("not signed so", nil, nil) + "AA",
		"unsigned":           unsigned(`{"alg":"none","kid":"`+person("none-kid", t.n)+`"}`, `{"sub":"`+person("none-sub", t.n)+`"}`),
		"duplicate names":    unsigned(`{"alg":"ES256","kid":"a","kid":"`+person("twice", t.n)+`"}`, `{}`),
		"not JSON":           unsigned(`{"alg": `+person("broken", t.n), person("broken-payload", t.n)),
		"no token":           "not a token of " + person("no-token", t.n),
		"a JWE":              unsigned(`{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"`+person("jwe-kid", t.n)+`"}`, person("jwe", t.n)) + ".AAAA.AAAA",
		"too large":          t.token("too large", nil, object{"much": long}),
		"nothing but a name": mark,
	}
	for what, compact := range all {
		t.sent.add(what, compact)
	}
	return all
}

// round sends everything once.
func (t *traffic) round() {
	t.n++
	headers := object{"X-Request-Id": person("request-id", t.n)}
	var items []any
	tokens := t.tokens()
	for _, token := range tokens {
		ask := object{
			"token": token, "purpose": person("purpose", t.n), "context": object{"user": person("context", t.n), person("context-name", t.n): object{"a": name("context-deep", t.n)}},
			"request": object{
				"audience": "orders", "action": "delete:" + person("action", t.n), "resource": "/users/" + person("resource", t.n),
				"path": "/users/" + name("path", t.n) + "?q=" + person("query", t.n), "method": "GET", "client_ip": "192.0.2.7",
			},
		}
		items = append(items, ask)
		t.post("/decide", ask, t.desk, map[string]string{
			"X-Request-Id": headers["X-Request-Id"].(string), "User-Agent": person("user-agent", t.n), "Traceparent": "00-" + mark + "-" + person("traceparent", t.n) + "-01",
			"X-Forwarded-For": person("forwarded", t.n), "Cookie": "session=" + name("cookie", t.n), "Referer": "https://example/" + name("referer", t.n),
		})
		t.post("/decide", object{"token": token, "request": object{"audience": person("audience", t.n), "method": name("method", t.n)}}, t.desk, nil)
		t.post("/decide", object{"token": token, person("field", t.n): 1}, t.desk, nil)
		t.send(request{method: "POST", path: "/introspect", media: "application/x-www-form-urlencoded", bearer: t.desk, body: []byte(url.Values{"token": {token}, "token_type_hint": {person("hint", t.n)}}.Encode())})
	}
	t.post("/decide/batch", object{"items": items}, t.desk, nil)
	t.outside(tokens)
	t.revoke(tokens)
	t.events()
	if t.vault {
		t.issue()
	}
}

// outside are requests that reach no decision, and callers who are nobody, or somebody who may nothing.
func (t *traffic) outside(tokens map[string]string) {
	somebody := t.token("somebody", nil, object{"aud": "assay", "sub": person("stranger", t.n)})
	for _, bearer := range []string{tokens["expired"], tokens["valid"], somebody, mark, person("bearer", t.n)} {
		t.post("/decide", object{"token": tokens["valid"], "request": object{"audience": "orders"}}, bearer, nil)
		t.post("/revocations", object{"kind": "subject", "issuer": "https://idp.example", "value": person("refused-order", t.n)}, bearer, nil)
		t.send(request{method: "GET", path: "/revocations?value=" + url.QueryEscape(person("filter", t.n)), bearer: bearer})
	}
	for _, path := range []string{"/" + name("no-route", t.n), "/decide/" + tokens["valid"], "/revocations/" + name("key", t.n), "/decide?token=" + url.QueryEscape(tokens["valid"]), "/.well-known/jwks/" + name("jwks", t.n) + ".json"} {
		t.send(request{method: "GET", path: path, bearer: t.desk})
		t.send(request{method: "DELETE", path: path, bearer: t.desk})
	}
	t.send(request{method: strings.ToUpper(mark), path: "/decide", bearer: t.desk})
	t.send(request{method: "POST", path: "/decide", media: "text/" + name("media", t.n), bearer: t.desk, body: []byte(person("text", t.n))})
	t.send(request{method: "POST", path: "/decide", media: "application/json", bearer: t.desk, body: []byte(`{"token": "` + person("cut", t.n))})
	t.send(request{method: "GET", path: "/readyz", headers: map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(person("basic", t.n)))}})
}

// revoke orders revocations: what they are about must be kept to be compared, and has a mark of its own.
func (t *traffic) revoke(tokens map[string]string) {
	ordered := func(place string) string { return fmt.Sprintf("%s.%s.%d@people.example", orderedMark, place, t.n) }
	var key struct{ Key string }
	for _, kind := range []string{"subject", "session", "token", "client"} {
		_, answer := t.post("/revocations", object{"kind": kind, "issuer": "https://idp.example", "value": ordered(kind), "reason": "she left: " + ordered("reason"), "ticket": ordered("ticket")}, t.desk, nil)
		if err := json.Unmarshal(answer, &key); err == nil && key.Key != "" && kind == "session" {
			t.send(request{method: "DELETE", path: "/revocations/" + url.PathEscape(key.Key) + "?reason=back", bearer: t.desk})
		}
	}
	t.post("/revocations", object{"kind": "subject", "issuer": "https://" + person("no-issuer", t.n), "value": person("no-order", t.n)}, t.desk, nil)
	t.post("/revocations", object{"kind": name("kind", t.n), "issuer": "https://idp.example", "value": person("no-kind", t.n)}, t.desk, nil)
	t.post("/revocations", object{"token": tokens["kid"]}, t.desk, nil)
	dead := t.issuer.sign(t.header(), over(t.claims(), object{"sub": ordered("dead"), "jti": ordered("dead-jti"), "sid": nil}))
	t.sent.add("a token that is revoked", dead)
	t.send(request{method: "POST", path: "/revoke", media: "application/x-www-form-urlencoded", bearer: t.desk, body: []byte("token=" + dead)})
	t.post("/decide", object{"token": dead, "request": object{"audience": "orders"}}, t.desk, nil)
	t.send(request{method: "POST", path: "/revoke", media: "application/x-www-form-urlencoded", bearer: t.desk, body: []byte("token=" + tokens["no token"])})
}

// events are security event tokens, a good one and others.
func (t *traffic) events() {
	ordered := fmt.Sprintf("%s.event.%d@people.example", orderedMark, t.n)
	set := object{
		"sub": nil, "client_id": nil, "scope": nil, "exp": nil, "sid": nil, "aud": "https://assay.example/events", "jti": person("event-jti", t.n),
		"sub_id": object{"format": "iss_sub", "iss": "https://idp.example", "sub": ordered},
		"events": object{"https://schemas.openid.net/secevent/caep/event-type/session-revoked": object{
			"reason_admin": object{"en": person("event-reason", t.n)}, "initiating_entity": name("event-entity", t.n),
		}},
	}
	for what, change := range map[string]object{
		"good": nil, "of another": {"sub_id": object{"format": "iss_sub", "iss": "https://" + person("event-issuer", t.n), "sub": person("event-other", t.n)}},
		"by mail": {"sub_id": object{"format": "email", "email": person("event-mail", t.n)}}, "of no kind": {"events": object{name("event-kind", t.n): object{}}},
	} {
		token := t.token("event "+what, object{"typ": "secevent+jwt"}, over(set, change))
		t.send(request{method: "POST", path: "/events", media: "application/secevent+jwt", body: []byte(token)})
		t.post("/decide", object{"token": token, "request": object{"audience": "orders", "token_type": "security_event"}}, t.desk, nil)
	}
	t.send(request{method: "POST", path: "/events", media: "application/secevent+jwt", body: []byte(person("no-event", t.n))})
}

// issue has tokens signed, an encrypted one among them, and asks about them.
func (t *traffic) issue() {
	for _, audience := range []string{"orders", "payroll", person("issue-audience", t.n)} {
		_, answer := t.post("/tokens", object{
			"subject": person("issued", t.n), "client_id": "web", "audience": []string{audience}, "scope": "read",
			"claims": object{"email": person("issued-email", t.n), "tenant": name("issued-tenant", t.n)},
		}, t.desk, map[string]string{"X-Request-Id": person("issue-id", t.n)})
		var issued struct{ Token string }
		if json.Unmarshal(answer, &issued) != nil || issued.Token == "" {
			continue
		}
		t.sent.add("issued for "+audience, issued.Token)
		t.post("/decide", object{"token": issued.Token, "request": object{"audience": audience}}, t.desk, nil)
		t.post("/decide", object{"token": issued.Token + "x", "request": object{"audience": audience}}, t.desk, nil)
	}
}
