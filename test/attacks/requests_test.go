package attacks

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// request is one hostile request, sent by net/http.
type request struct {
	name, from, method, path, body string
	fields                         []string
	status                         int
	// problem is the type's last part; empty where net/http itself answers.
	problem string
}

func (l *lab) requests() []request {
	good := l.token(nil, nil)
	ask := `{"token":"` + good + `","request":{"audience":"orders"}}`
	json := "Content-Type: application/json"
	var cases []request
	body := func(name, from, text, problem string) {
		cases = append(cases, request{name, from, "POST", "/decide", text, []string{json}, 400, problem})
	}
	body("empty body", "RFC 8259 2", "", "malformed-json")
	body("not JSON", "RFC 8259 2", "token="+good, "malformed-json")
	body("XML", "CWE-611", `<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "http://`+l.trap+`/">]><a>&x;</a>`, "malformed-json")
	body("an array", "RFC 8259 5", "["+ask+"]", "wrong-type")
	body("null", "RFC 8259 3", "null", "wrong-type")
	body("a string", "RFC 8259 7", `"`+good+`"`, "wrong-type")
	body("two requests", "CWE-436", ask+ask, "malformed-json")
	body("something behind", "CWE-436", ask+"x", "malformed-json")
	body("a NUL behind", "CWE-436", ask+"\x00", "malformed-json")
	body("a byte order mark", "RFC 8259 8.1", "\ufeff"+ask, "malformed-json")
	body("UTF-16", "RFC 8259 8.1", utf16(ask), "malformed-json")
	body("invalid UTF-8", "RFC 8259 8.1", strings.Replace(ask, "orders", "\xff", 1), "malformed-json")
	body("a lone surrogate", "RFC 8259 8.2", strings.Replace(ask, "orders", `\ud800`, 1), "malformed-json")
	body("cut off", "RFC 8259 2", ask[:len(ask)-1], "malformed-json")
	body("a trailing comma", "RFC 8259 4", ask[:len(ask)-1]+",}", "malformed-json")
	body("token twice", "RFC 8259 4; CVE-2017-12635", `{"token":"x",`+ask[1:], "duplicate-field")
	body("token twice in other spelling", "RFC 8259 8.3", `{"\u0074oken":"x",`+ask[1:], "duplicate-field")
	body("audience twice", "RFC 8259 4", `{"token":"`+good+`","request":{"audience":"orders","audience":"x"}}`, "duplicate-field")
	body("token of another case", "CWE-178", `{"Token":"`+good+`"}`, "unknown-field")
	body("a member of the caller's own", "CWE-915", ask[:len(ask)-1]+`,"caller":{"name":"admin"}}`, "unknown-field")
	body("allow asked for", "CWE-915", ask[:len(ask)-1]+`,"allow":true}`, "unknown-field")
	body("caller in the request", "CWE-915", `{"token":"x","request":{"caller":"admin"}}`, "unknown-field")
	body("a prototype", "CWE-1321", ask[:len(ask)-1]+`,"__proto__":{"allow":true}}`, "unknown-field")
	body("no token", "CWE-20", `{"request":{"audience":"orders"}}`, "missing-field")
	body("token null", "CWE-20", `{"token":null}`, "wrong-type")
	body("token an array", "CWE-20", `{"token":["`+good+`"]}`, "wrong-type")
	body("token an object", "CWE-943", `{"token":{"$ne":""}}`, "wrong-type")
	body("token true", "CWE-20", `{"token":true}`, "wrong-type")
	body("token a number", "CWE-20", `{"token":1}`, "wrong-type")
	body("audience an array", "CWE-20", `{"token":"x","request":{"audience":["orders"]}}`, "wrong-type")
	body("audience empty", "CWE-20", `{"token":"x","request":{"audience":""}}`, "invalid-value")
	body("audience null", "CWE-20", `{"token":"x","request":{"audience":null}}`, "wrong-type")
	body("token type unknown", "RFC 8725 3.12", `{"token":"x","request":{"token_type":"any"}}`, "invalid-value")
	body("token type *", "RFC 8725 3.12", `{"token":"x","request":{"token_type":"*"}}`, "invalid-value")
	body("client_ip a name", "CWE-20", `{"token":"x","request":{"client_ip":"`+l.trap+`"}}`, "invalid-value")
	body("context an array", "CWE-20", `{"token":"x","context":[]}`, "wrong-type")
	body("context 10 000 levels deep", "CVE-2020-36518; CWE-674", `{"token":"x","context":`+strings.Repeat(`{"a":`, 9990)+"1"+strings.Repeat("}", 9990)+"}", "invalid-value")
	body("context 100 000 levels deep", "CWE-674", `{"token":"x","context":`+strings.Repeat(`{"a":`, 100_000)+"1"+strings.Repeat("}", 100_000)+"}", "malformed-json")
	body("context of 100 000 values", "CWE-400", `{"token":"x","context":{"a":[`+strings.Repeat("1,", 99_999)+`1]}}`, "invalid-value")
	body("context with a number of 10 000 digits", "CVE-2020-10735", `{"token":"x","context":{"a":`+strings.Repeat("9", 10_000)+"}}", "invalid-value")
	body("context with an exponent of a million", "CWE-400", `{"token":"x","context":{"a":1e1000000}}`, "invalid-value")
	body("context with a name twice", "RFC 8259 4", `{"token":"x","context":{"a":{"b":1,"b":2}}}`, "duplicate-field")
	body("a resource of 100 kB", "CWE-400", `{"token":"x","request":{"resource":"`+strings.Repeat("/", 100_000)+`"}}`, "invalid-value")

	batch := func(name, from, text, problem string) {
		cases = append(cases, request{"batch: " + name, from, "POST", "/decide/batch", text, []string{json}, 400, problem})
	}
	batch("101 items", "CWE-770", `{"items":[`+strings.Repeat(`{"token":"x"},`, 100)+`{"token":"x"}]}`, "too-many-items")
	batch("100 000 items", "CWE-770", `{"items":[`+strings.Repeat(`{"token":""},`, 80_000)+`{"token":""}]}`, "too-many-items")
	batch("a batch inside", "CWE-674", `{"items":[{"items":[{"token":"x"}]}]}`, "unknown-field")
	batch("one bad item", "CWE-20", `{"items":[`+ask+`,{"token":1}]}`, "wrong-type")
	batch("an item null", "CWE-20", `{"items":[null]}`, "wrong-type")
	batch("items twice", "RFC 8259 4", `{"items":[],"items":[`+ask+`]}`, "duplicate-field")
	batch("a single question", "CWE-20", ask, "unknown-field")

	other := func(name, from, method, path string, status int, problem string, fields ...string) {
		text := ask
		if method == "GET" || method == "HEAD" {
			text = ""
		}
		cases = append(cases, request{name, from, method, path, text, fields, status, problem})
	}
	other("no Content-Type", "RFC 9110 15.5.16", "POST", "/decide", 415, "unsupported-media-type")
	for _, media := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "application/xml", "application/json5", "application/json, text/plain", "application/json; charset=utf-7", "application/jwt"} {
		other("Content-Type "+media, "RFC 9110 15.5.16; CWE-352", "POST", "/decide", 415, "unsupported-media-type", "Content-Type: "+media)
	}
	for _, coding := range []string{"gzip", "br", "deflate, gzip", "x"} {
		other("Content-Encoding "+coding, "CWE-409", "POST", "/decide", 415, "unsupported-media-type", json, "Content-Encoding: "+coding)
	}
	for _, host := range []string{"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "169.254.169.254", "evil.example:80", "[::ffff:7f00:1]", "0.0.0.0", "127.1"} {
		other("Host "+host, "CWE-350: DNS rebinding; RFC 9110 7.4", "POST", "/decide", 421, "misdirected", json, "Host: "+host)
	}
	for _, method := range []string{"GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "FOO"} {
		other("method "+method, "RFC 9110 15.5.6", method, "/decide", 405, "method-not-allowed", json)
	}
	other("method by header", "CWE-436", "GET", "/decide", 405, "method-not-allowed", "X-HTTP-Method-Override: POST")
	for _, path := range []string{
		"/decide/", "//decide", "/./decide", "/x/../decide", "/decide/..", "/DECIDE", "/decide;a=b", "/decide%00", "/decide%2F", "/decide/batch/1",
		"/metrics/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/debug/pprof/", "/v1/data", "/.env", "/admin",
	} {
		other("path "+path, "CWE-22; RFC 3986 6", "POST", path, 404, "not-found", json)
	}
	other("a token in the query", "RFC 6750 2.3", "GET", "/decide?token="+good, 405, "method-not-allowed")
	other("ordering a token where none are issued", "RFC 6749 5.2", "POST", "/tokens", 404, "not-found", json)
	cases = append(cases, request{
		"2 MB", "CWE-770; RFC 9110 15.5.14", "POST", "/decide", `{"token":"` + strings.Repeat("x", 2<<20) + `"}`, []string{json}, 413, "too-large",
	}, request{
		"1 MiB and a byte", "RFC 9110 15.5.14", "POST", "/decide/batch", strings.Repeat(" ", 1<<20+1), []string{json}, 413, "too-large",
	}, request{
		"a header of 100 kB", "RFC 6585 5", "GET", "/livez", "", []string{"X-A: " + strings.Repeat("a", 100_000)}, 431, "",
	})
	return cases
}

func TestHostileRequests(t *testing.T) {
	l := newLab(t)
	s := start(t, l)
	cases := l.requests()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.from == "" {
				t.Error("a case needs an origin")
			}
			a := s.send(t, c.method, c.path, []byte(c.body), c.fields...)
			if a.status != c.status {
				t.Fatalf("status %d, want %d (%s): %.300s", a.status, c.status, c.from, a.body)
			}
			if bytes.Contains(a.body, []byte("eyJ")) || bytes.Contains(a.body, []byte(`"allow":true`)) {
				t.Errorf("the refusal says too much: %.300s", a.body)
			}
			if c.problem == "" {
				return
			}
			var p struct {
				Type      string
				RequestID string `json:"request_id"`
			}
			if err := json.Unmarshal(a.body, &p); err != nil {
				t.Fatalf("not a problem: %v: %.300s", err, a.body)
			}
			if p.Type != "urn:assay:problem:"+c.problem || p.RequestID == "" {
				t.Errorf("type %s, want %s (%s): %.300s", p.Type, c.problem, c.from, a.body)
			}
		})
	}
	t.Logf("%d hostile requests", len(cases))
	t.Run("raw", func(t *testing.T) { l.rawRequests(t, s) })
	t.Run("the answer reflects nothing", func(t *testing.T) {
		a := s.send(t, http.MethodGet, "/livez", nil, "X-Request-Id: a<b>\"c")
		if id := a.header.Get("X-Request-Id"); strings.ContainsAny(id, `<>"`) {
			t.Errorf("echoed %q", id)
		}
	})
	if d := s.decide(t, l.token(nil, nil), ""); !d.Allow {
		t.Errorf("after all this a good token is denied: %+v", d.Reasons)
	}
}

// rawRequests are bytes that no HTTP client would send.
func (l *lab) rawRequests(t *testing.T, s *server) {
	ask := `{"token":"` + l.token(nil, nil) + `","request":{"audience":"orders"}}`
	const head = "POST /decide HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
	smuggled := "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
	for _, c := range []struct {
		name, from, bytes string
		status            int
	}{
		{"no Host", "RFC 9112 3.2", "POST /decide HTTP/1.1\r\nContent-Length: 0\r\n\r\n", 400},
		{"two Hosts", "RFC 9112 3.2; CWE-444", "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
		{"Host with a path", "RFC 9112 3.2", "GET /metrics HTTP/1.1\r\nHost: localhost/evil\r\n\r\n", 400},
		{"another host in the target", "RFC 9112 3.2.2", "GET http://evil.example/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 421},
		{"two lengths", "RFC 9112 6.3; CWE-444", head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400},
		{"a list of lengths", "RFC 9112 6.3; CWE-444", head + "Content-Length: 5, 6\r\n\r\nhello!", 400},
		{"a negative length", "RFC 9112 6.3", head + "Content-Length: -1\r\n\r\n", 400},
		{"a length with a sign", "CWE-444; RFC 9110 8.6", head + "Content-Length: +5\r\n\r\nhello", 400},
		{"a length beyond 64 bits", "CWE-190", head + "Content-Length: 99999999999999999999\r\n\r\n", 400},
		{"a length in hexadecimal", "CWE-444", head + "Content-Length: 0x5\r\n\r\nhello", 400},
		{"a huge length", "CWE-770", head + "Content-Length: 9223372036854775807\r\n\r\n{", 413},
		{"an unknown transfer coding", "RFC 9112 6.1; CWE-444", head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"two transfer codings", "RFC 9112 6.1; CWE-444", head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
		{"a chunk of a bad size", "RFC 9112 7.1; CWE-444", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400},
		{"a chunk of a huge size", "CWE-190", head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n", 400},
		{"a chunk ended by a bare newline", "RFC 9112 7.1; CVE-2025-22871", head + "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n", 400},
		{"a space before the colon", "RFC 9112 5.1; CWE-444", head + "Content-Length : 5\r\n\r\nhello", 400},
		{"a folded line", "RFC 9112 5.2", "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-A: a\r\n b\r\nHost : x\r\n\r\n", 400},
		{"a NUL in a field", "RFC 9110 5.5", "GET /livez HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n", 400},
		{"another protocol", "RFC 9112 2.3", "GET /livez HTTP/9.9\r\nHost: localhost\r\n\r\n", 505},
		{"no protocol", "RFC 9112 3", "GET /livez\r\n\r\n", 400},
		{"TLS", "RFC 8446 5.1", "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n", 400},
		{"CONNECT", "RFC 9110 9.3.6", "CONNECT " + l.trap + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
		{"a whole proxy request", "CWE-441", "GET http://" + l.trap + "/ HTTP/1.1\r\nHost: " + l.trap + "\r\n\r\n", 404},
		{"a body and its length in conflict", "RFC 9112 6.1; CWE-444", head + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" +
			fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(`{"token":1}`), `{"token":1}`) + smuggled, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", s.address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if err := conn.SetDeadline(time.Now().Add(3 * time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, c.bytes); err != nil {
				t.Fatal(err)
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			read, err := io.ReadAll(response.Body)
			// What net/http answers itself ends with the connection, which it resets half a second later where it has left
			// something unread.
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Fatal(err)
			}
			// 501 and 505 are the answers that RFC 9112 sections 6.1 and 2.3 give to the client's fault.
			if response.StatusCode != c.status || (c.status >= 500 && c.status != 501 && c.status != 505) {
				t.Errorf("status %d, want %d (%s): %.300s", response.StatusCode, c.status, c.from, read)
			}
			if bytes.Contains(read, []byte(`"allow":true`)) {
				t.Errorf("allowed: %s", ask)
			}
		})
	}
}
