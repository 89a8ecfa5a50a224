package httpapi_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// ledger is a Revocations in memory.
type ledger struct {
	mu      sync.Mutex
	entries map[string]httpapi.Revocation
	orders  []httpapi.RevocationOrder
	lifted  []string
	err     error
}

func (l *ledger) Revoke(_ context.Context, caller pdp.Caller, o httpapi.RevocationOrder) (httpapi.Revocation, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return httpapi.Revocation{}, false, l.err
	}
	l.orders = append(l.orders, o)
	key := strings.NewReplacer("https://", "", ".", "-").Replace(o.Kind + "_" + o.Issuer + "_" + o.Value)
	_, there := l.entries[key]
	r := httpapi.Revocation{
		Key: key, Kind: o.Kind, Issuer: o.Issuer, Value: o.Value, IssuedBefore: o.IssuedBefore,
		Ends: moment, Reason: o.Reason, Ticket: o.Ticket, Actor: caller.Name, CreatedAt: moment,
	}
	if l.entries == nil {
		l.entries = map[string]httpapi.Revocation{}
	}
	l.entries[key] = r
	return r, !there, nil
}

func (l *ledger) Lift(_ context.Context, caller pdp.Caller, r httpapi.Revocation, reason, ticket string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.entries, r.Key)
	l.lifted = append(l.lifted, caller.Name+"|"+r.Key+"|"+reason+"|"+ticket)
	return l.err
}

func (l *ledger) Find(_ context.Context, key string) (httpapi.Revocation, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.entries[key]
	return r, ok, l.err
}

func (l *ledger) List(_ context.Context, q httpapi.RevocationQuery) (httpapi.RevocationPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := 0
	if q.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(q.Cursor); err != nil {
			return httpapi.RevocationPage{}, &httpapi.OrderError{Field: "cursor", Detail: "not one of this listing"}
		}
	}
	var all []httpapi.Revocation
	for _, r := range l.entries {
		if (q.Kind == "" || q.Kind == r.Kind) && (q.Issuer == "" || q.Issuer == r.Issuer) && (q.Actor == "" || q.Actor == r.Actor) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b httpapi.Revocation) int { return cmp.Compare(a.Key, b.Key) })
	page := httpapi.RevocationPage{Revocations: all[min(from, len(all)):min(from+q.Limit, len(all))]}
	if from+q.Limit < len(all) {
		page.Next = strconv.Itoa(from + q.Limit)
	}
	return page, l.err
}

func (l *ledger) Changes(_ context.Context, q httpapi.RevocationQuery, wait time.Duration) (httpapi.RevocationChanges, error) {
	if q.Cursor == "" {
		return httpapi.RevocationChanges{Next: "7"}, nil
	}
	return httpapi.RevocationChanges{Next: "9", Changes: []httpapi.RevocationChange{
		{At: moment, Revocation: httpapi.Revocation{Key: "a", Kind: q.Kind, Issuer: q.Issuer, Ticket: wait.String()}},
		{At: moment, Lifted: true, Revocation: httpapi.Revocation{Key: "b"}},
	}}, l.err
}

// examiner knows tokens written "issuer client id", with an expiry; any other is malformed.
type examiner struct{}

func (examiner) Examine(_ context.Context, compact string) (*pdp.Token, *pdp.Verification, error) {
	parts := strings.Fields(compact)
	if compact == "slow" {
		return nil, nil, errors.New("no time left")
	}
	if compact == "new-key" {
		return &pdp.Token{}, &pdp.Verification{Status: pdp.StatusKeyUnknown}, nil
	}
	if len(parts) != 3 {
		return &pdp.Token{}, &pdp.Verification{Status: pdp.StatusMalformed}, nil
	}
	expires := pdp.UnixDate(moment.Unix() + 60)
	if parts[2] == "ancient" {
		expires = pdp.UnixDate(1)
	}
	return &pdp.Token{ID: parts[2], ClientID: parts[1], ExpiresAt: &expires},
		&pdp.Verification{Status: pdp.StatusVerified, Trust: &pdp.Trust{Issuer: pdp.Issuer{ID: parts[0]}}, Key: &pdp.Key{}}, nil
}

// scoped judges callers' bearer tokens written "subject;client_id;scope|scope", and
// refuses the action that a rule of the organisation would.
func scoped(refusedAction string) *judge {
	return &judge{fn: func(_ context.Context, r *pdp.Request) (*pdp.Decision, error) {
		if r.Audience != "assay" {
			if strings.HasPrefix(r.Token, "bad") {
				return denied("lifetime.expired"), nil
			}
			d := allowed(r)
			d.Claims = map[string]any{"sub": "alice", "scope": "read", "client_id": "web", "iss": "https://idp.example"}
			return d, nil
		}
		if r.Action != "" && r.Action == refusedAction {
			return denied("rules.four_eyes"), nil
		}
		parts := strings.Split(r.Token, ";")
		d := allowed(r)
		d.Claims = map[string]any{"sub": parts[0], "aud": "assay"}
		if len(parts) == 3 {
			d.Claims["client_id"], d.Claims["scope"] = parts[1], strings.ReplaceAll(parts[2], "|", " ")
		}
		return d, nil
	}}
}

const (
	theIssuer = "https://idp.example"
	bearerAll = "Authorization: Bearer all;web;revocations:read|revocations:write|revocations:lift"
)

func startRevoking(t *testing.T, l *ledger, change func(*httpapi.Config)) (url string, ask func(method, path, body string, fields ...string) answer) {
	t.Helper()
	server := start(t, func(c *httpapi.Config) {
		c.Decider, c.CallerAudience, c.Examiner, c.Revocations = scoped(""), "assay", examiner{}, l
		c.Now = func() time.Time { return moment }
		c.Grants = []httpapi.Grant{
			{Caller: idp + "all", Audiences: []string{"orders"}, Revoke: httpapi.RevokeGrant{Read: true, Write: []string{"*"}, Lift: []string{"*"}, Issuers: []string{"*"}}},
			{Caller: idp + "client", Revoke: httpapi.RevokeGrant{Write: []string{httpapi.OwnTokens}}},
			{Caller: idp + "one", Revoke: httpapi.RevokeGrant{Read: true, Write: []string{"token"}, Issuers: []string{theIssuer}}},
			{Caller: idp + "none"},
		}
		if change != nil {
			change(c)
		}
	})
	return server.URL, func(method, path, body string, fields ...string) answer {
		t.Helper()
		return do(t, server.Client(), method, server.URL+path, body, fields...)
	}
}

func TestRevokingIsIdempotent(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	body := `{"kind":"subject","issuer":"https://idp.example","value":"alice","issued_before":1700000000,"ends":1800000000,"reason":"left","ticket":"SEC-17"}`
	first := ask("POST", "/revocations", body, bearerAll).wantsStatus(t, 201)
	want := `{"key":"subject_idp-example_alice","kind":"subject","issuer":"https://idp.example","value":"alice","reason":"left","actor":"https://idp.example all","ticket":"SEC-17","issued_before":1700000000,"ends":1795456800,"created_at":1795456800}`
	if first.body != want || first.Header.Get("Location") != "/revocations/subject_idp-example_alice" {
		t.Errorf("%s at %s\nwant %s", first.body, first.Header.Get("Location"), want)
	}
	if again := ask("POST", "/revocations", body, bearerAll).wantsStatus(t, 200); again.body != want {
		t.Errorf("the second time %s", again.body)
	}
	if o := l.orders[0]; o.IssuedBefore.Unix() != 1700000000 || o.Ends.Unix() != 1800000000 {
		t.Errorf("ordered %+v", o)
	}
	if a := ask("GET", first.Header.Get("Location"), "", bearerAll).wantsStatus(t, 200); a.body != want {
		t.Errorf("shown as %s", a.body)
	}
	ask("DELETE", first.Header.Get("Location")+"?reason=mistake&ticket=SEC-18", "", bearerAll).wantsStatus(t, 204)
	ask("DELETE", first.Header.Get("Location"), "", bearerAll).wants(t, 404, "not-found")
	ask("GET", first.Header.Get("Location"), "", bearerAll).wants(t, 404, "not-found")
	if want := []string{"https://idp.example all|subject_idp-example_alice|mistake|SEC-18"}; !slices.Equal(l.lifted, want) {
		t.Errorf("lifted %q", l.lifted)
	}
}

func TestRevokingATokenThatIsGiven(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	ask("POST", "/revocations", `{"token":"https://idp.example web t1","reason":"leaked"}`, bearerAll).wantsStatus(t, 201)
	o := l.orders[0]
	if o.Kind != "token" || o.Issuer != theIssuer || o.Value != "t1" || o.TokenExpires.Floor() != moment.Unix()+60 || o.Reason != "leaked" {
		t.Errorf("ordered %+v", o)
	}
	if p := ask("POST", "/revocations", `{"token":"garbage"}`, bearerAll).wants(t, 400, "invalid-value"); strings.Contains(fmt.Sprint(p["detail"]), "garbage") {
		t.Error("the answer repeats the token")
	}
	ask("POST", "/revocations", `{"token":"slow"}`, bearerAll).wants(t, 503, "unavailable")
	ask("POST", "/revocations", `{"token":"new-key"}`, bearerAll).wants(t, 503, "revocations-unavailable")
}

func TestRevocationRequestsThatAreNone(t *testing.T) {
	_, ask := startRevoking(t, &ledger{}, nil)
	for _, c := range []struct{ name, body, problem, pointer string }{
		{"no kind", `{"issuer":"i","value":"v"}`, "missing-field", "#/kind"},
		{"another kind", `{"kind":"user","issuer":"i","value":"v"}`, "invalid-value", "#/kind"},
		{"no issuer", `{"kind":"token","value":"v"}`, "missing-field", "#/issuer"},
		{"no value", `{"kind":"token","issuer":"i"}`, "missing-field", "#/value"},
		{"empty value", `{"kind":"token","issuer":"i","value":""}`, "invalid-value", "#/value"},
		{"an issuer's value", `{"kind":"issuer","issuer":"i","value":"v"}`, "invalid-value", "#/value"},
		{"a key of a time", `{"kind":"key","issuer":"i","value":"v","issued_before":1}`, "invalid-value", "#/issued_before"},
		{"a key that is no thumbprint", `{"kind":"key","issuer":"i","value":"notathumb"}`, "invalid-value", "#/value"},
		{"a thumbprint that lacks a character", `{"kind":"key","issuer":"i","value":"NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9X"}`, "invalid-value", "#/value"},
		{"milliseconds", `{"kind":"issuer","issuer":"i","issued_before":1700000000000}`, "invalid-value", "#/issued_before"},
		{"a date as text", `{"kind":"issuer","issuer":"i","ends":"2026-01-01"}`, "wrong-type", "#/ends"},
		{"a token and more", `{"token":"a","issuer":"i"}`, "invalid-value", "#/token"},
		{"a member more", `{"kind":"issuer","issuer":"i","actor":"me"}`, "unknown-field", "#/actor"},
		{"twice", `{"kind":"issuer","kind":"token"}`, "duplicate-field", "#/kind"},
		{"more behind it", `{"kind":"issuer","issuer":"i"}{}`, "malformed-json", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := ask("POST", "/revocations", c.body, bearerAll).wants(t, 400, c.problem)
			if got, _ := p["pointer"].(string); got != c.pointer {
				t.Errorf("pointer %q, want %q", got, c.pointer)
			}
		})
	}
	ask("POST", "/revocations", `{}`, bearerAll, "Content-Type: text/plain").wants(t, 415, "unsupported-media-type")
	ask("POST", "/revocations", `{"token":"`+strings.Repeat("a", httpapi.DefaultMaxBody)+`"}`, bearerAll).wants(t, 413, "too-large")
	if a := ask("PUT", "/revocations", `{}`, bearerAll).wantsStatus(t, 405); a.Header.Get("Allow") != "POST, GET, HEAD" {
		t.Errorf("Allow: %s", a.Header.Get("Allow"))
	}
	if a := ask("POST", "/revocations/x", `{}`, bearerAll).wantsStatus(t, 405); a.Header.Get("Allow") != "GET, HEAD, DELETE" {
		t.Errorf("Allow: %s", a.Header.Get("Allow"))
	}
}

func TestListing(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	for i := range 5 {
		ask("POST", "/revocations", fmt.Sprintf(`{"kind":"token","issuer":"https://idp.example","value":"t%d"}`, i), bearerAll).wantsStatus(t, 201)
	}
	ask("POST", "/revocations", `{"kind":"client","issuer":"https://other.example","value":"web"}`, bearerAll).wantsStatus(t, 201)
	list := func(query string) string {
		t.Helper()
		body := ask("GET", "/revocations"+query, "", bearerAll).wantsStatus(t, 200).body
		next := body[strings.LastIndex(body, `"next":`)+7 : len(body)-1]
		return strconv.Itoa(strings.Count(body, `"key":`)) + " " + next
	}
	for query, want := range map[string]string{
		"": `6 ""`, "?limit=4": `4 "4"`, "?limit=4&cursor=4": `2 ""`, "?kind=client": `1 ""`, "?issuer=https://idp.example&limit=5": `5 ""`,
		"?actor=nobody": `0 ""`, "?actor=https://idp.example+all": `6 ""`,
	} {
		if got := list(query); got != want {
			t.Errorf("%q lists %s, want %s", query, got, want)
		}
	}
	for query, problem := range map[string]string{
		"?limit=0": "invalid-value", "?limit=1001": "invalid-value", "?kind=user": "invalid-value", "?kind=": "invalid-value",
		"?colour=red": "unknown-field", "?kind=token&kind=key": "duplicate-field", "?cursor=%zz": "invalid-value", "?cursor=x": "invalid-value",
	} {
		ask("GET", "/revocations"+query, "", bearerAll).wants(t, 400, problem)
	}
}

func TestWatching(t *testing.T) {
	_, ask := startRevoking(t, &ledger{}, nil)
	if a := ask("GET", "/revocations/changes", "", bearerAll).wantsStatus(t, 200); a.body != `{"changes":[],"next":"7"}` {
		t.Error(a.body)
	}
	want := `{"changes":[{"lifted":false,"at":1795456800,"revocation":{"key":"a","kind":"key","issuer":"https://idp.example","ticket":"1m30s"}},` +
		`{"lifted":true,"at":1795456800,"revocation":{"key":"b"}}],"next":"9"}`
	if a := ask("GET", "/revocations/changes?cursor=7&kind=key", "", "Authorization: Bearer one;one;revocations").wantsStatus(t, 200); a.body != want {
		t.Errorf("%s\nwant %s", a.body, want)
	}
	ask("GET", "/revocations/changes", "", "Authorization: Bearer client;web;revocations").wants(t, 403, "not-granted")
	ask("GET", "/revocations/changes", "").wants(t, 401, "unauthenticated")
	ask("GET", "/revocations/changes?limit=1", "", bearerAll).wants(t, 400, "unknown-field")
}

func TestWhatCannotBeStored(t *testing.T) {
	l := &ledger{}
	_, ask := startRevoking(t, l, nil)
	order := `{"kind":"issuer","issuer":"https://idp.example"}`
	location := ask("POST", "/revocations", order, bearerAll).wantsStatus(t, 201).Header.Get("Location")
	l.err = &httpapi.UnavailableError{RetryAfter: 1500 * time.Millisecond, Err: errors.New("the disk of host 7 is full")}
	for _, a := range []answer{ask("POST", "/revocations", order, bearerAll), ask("GET", "/revocations", "", bearerAll), ask("DELETE", location, "", bearerAll)} {
		p := a.wants(t, 503, "revocations-unavailable")
		if a.Header.Get("Retry-After") != "2" || strings.Contains(fmt.Sprint(p), "host 7") {
			t.Errorf("%v %s", a.Header, a.body)
		}
	}
	l.err = errors.New("a fault with internals")
	if a := ask("POST", "/revocations", order, bearerAll); strings.Contains(a.body, "internals") {
		t.Error(a.body)
	} else {
		a.wants(t, 500, "internal")
	}
	l.err = &httpapi.OrderError{Field: "issuer", Detail: "no such issuer is configured"}
	if p := ask("POST", "/revocations", order, bearerAll).wants(t, 400, "invalid-value"); p["pointer"] != "#/issuer" {
		t.Errorf("%v", p)
	}
}

func TestWithoutRevocationsThereAreNoRoutes(t *testing.T) {
	server := start(t, nil)
	for _, path := range []string{"/revocations", "/revoke", "/introspect", "/events"} {
		do(t, server.Client(), "POST", server.URL+path, "{}").wants(t, 404, "not-found")
	}
}
