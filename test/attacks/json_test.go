package attacks

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// badJSON are texts that two JSON parsers might read differently or that are none, with %s where the
// members stand that the token needs.
func badJSON() []struct{ name, from, text string } {
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	return []struct{ name, from, text string }{
		{"a byte order mark", "RFC 8259 8.1", "\ufeff{%s}"},
		{"invalid UTF-8 in a value", "RFC 8259 8.1; RFC 8725 3.7", "{%s,\"x\":\"\xff\"}"},
		{"invalid UTF-8 in a name", "RFC 8725 3.7", "{%s,\"\xc3\x28\":1}"},
		{"an overlong slash", "RFC 3629 3; CWE-176", "{%s,\"x\":\"\xc0\xaf\"}"},
		{"a surrogate in UTF-8", "RFC 3629 3", "{%s,\"x\":\"\xed\xa0\x80\"}"},
		{"a lone high surrogate", "RFC 8259 8.2; RFC 7493 2.1", `{%s,"x":"\ud800"}`},
		{"a lone low surrogate", "RFC 8259 8.2", `{%s,"x":"\udc00x"}`},
		{"surrogates in the wrong order", "RFC 8259 8.2", `{%s,"x":"\ude00\ud83d"}`},
		{"a bad escape", "RFC 8259 7", `{%s,"x":"\x41"}`},
		{"a control character", "RFC 8259 7", "{%s,\"x\":\"a\x01b\"}"},
		{"a newline in a string", "RFC 8259 7", "{%s,\"x\":\"a\nb\"}"},
		{"something behind", "RFC 8259 2; RFC 7519 7.2", `{%s} {"admin":true}`},
		{"a NUL behind", "RFC 8259 2", "{%s}\x00"},
		{"a letter behind", "RFC 8259 2", `{%s}x`},
		{"a trailing comma", "RFC 8259 4", `{%s,}`},
		{"two commas", "RFC 8259 4", `{%s,,"x":1}`},
		{"a comment", "RFC 8259 2", `{%s/**/}`},
		{"a line comment", "RFC 8259 2", "{%s//\n}"},
		{"single quotes", "RFC 8259 7", `{%s,'x':1}`},
		{"a bare name", "RFC 8259 4", `{%s,x:1}`},
		{"NaN", "RFC 8259 6", `{%s,"x":NaN}`},
		{"Infinity", "RFC 8259 6", `{%s,"x":-Infinity}`},
		{"a leading zero", "RFC 8259 6", `{%s,"x":01}`},
		{"a plus sign", "RFC 8259 6", `{%s,"x":+1}`},
		{"a hexadecimal number", "RFC 8259 6", `{%s,"x":0x1F}`},
		{"a bare fraction", "RFC 8259 6", `{%s,"x":.5}`},
		{"a capital literal", "RFC 8259 3", `{%s,"x":True}`},
		{"cut off", "RFC 8259 2", `{%s`},
		{"300 levels deep", "CVE-2020-36518; CWE-674", `{%s,"x":` + deep + `}`},
		{"an exponent of a million", "RFC 8259 6; CWE-400", `{%s,"x":1e1000000}`},
		{"an exponent of minus a million", "RFC 8259 6", `{%s,"x":1e-1000000}`},
		{"a number of 1000 digits", "CVE-2020-10735", `{%s,"x":1` + strings.Repeat("0", 1000) + `}`},
		{"a name twice", "RFC 8725bis 3.14; RFC 7519 4", `{%s,"x":1,"x":2}`},
		{"a name twice in other spelling", "RFC 8259 4, 8.3", `{%s,"x":1,"\u0078":2}`},
		{"a name twice further in", "RFC 8259 4", `{%s,"x":{"y":[{"z":1,"z":2}]}}`},
	}
}

// members writes a JSON object without its braces.
func members(object m) string {
	parts := make([]string, 0, len(object))
	for _, name := range slices.Sorted(maps.Keys(object)) {
		parts = append(parts, fmt.Sprintf("%q:%s", name, mustJSON(object[name])))
	}
	return strings.Join(parts, ",")
}

// notObjects are JSON texts, and nothings, where an object is needed.
func notObjects() map[string]string {
	return map[string]string{
		"an array": "[]", "a string": `"x"`, "a number": "1", "null": "null", "true": "true", "only space": " ", "two objects": "{}{}",
		"an array of the object": `[{"alg":"ES256","iss":"https://idp.example"}]`,
	}
}

// headerJSON has headers that are no well-formed JSON object; all are properly signed.
func (l *lab) headerJSON() []attack {
	var cases []attack
	add := func(name, from, text string) {
		cases = append(cases, attack{name: name, from: from, token: l.signed(l.es256, text, l.body(nil)), want: wants("signature.malformed")})
	}
	good := members(header(l.es256, nil))
	for _, bad := range badJSON() {
		add(bad.name, bad.from, fmt.Sprintf(bad.text, good))
	}
	for name, text := range notObjects() {
		add(name, "RFC 7515 4", text)
	}
	add("empty object", "RFC 7515 4.1.1: alg is required", "{}")
	for name, twice := range map[string]string{
		"alg twice, none last": `"alg":"none"`, "alg twice, the same": `"alg":"ES256"`, "alg twice, escaped": `"\u0061lg":"none"`,
		"kid twice": `"kid":"evil"`, "typ twice": `"typ":"JWT"`,
	} {
		add(name, "RFC 7515 4: names must be unique", "{"+good+","+twice+"}")
	}
	add("alg twice, none first", "RFC 7515 4", `{"alg":"none",`+good+"}")
	add("typ is a number", "RFC 7515 4.1.9", string(mustJSON(header(l.es256, m{"typ": 1}))))
	add("typ is an array", "RFC 7515 4.1.9", string(mustJSON(header(l.es256, m{"typ": []string{"at+jwt"}}))))
	add("cty is an object", "RFC 7515 4.1.10", string(mustJSON(header(l.es256, m{"cty": m{}}))))
	add("9000 bytes", "CWE-400", string(mustJSON(header(l.es256, m{"x": strings.Repeat("x", 9000)}))))
	add("1000 members", "CWE-400", "{"+good+","+many(1000)+"}")
	add("UTF-16", "RFC 8259 8.1: UTF-8", utf16("{"+good+"}"))
	return cases
}

func many(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"m%d":1`, i)
	}
	return strings.Join(list, ",")
}

func utf16(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteByte(c)
		b.WriteByte(0)
	}
	return b.String()
}

// claimsJSON has payloads that are no well-formed JSON object; all are properly signed.
func (l *lab) claimsJSON() []attack {
	var cases []attack
	add := func(name, from, text string) {
		cases = append(cases, attack{
			name: name, from: from, token: l.signed(l.es256, header(l.es256, nil), text), want: wants("signature.malformed"),
		})
	}
	for _, bad := range badJSON() {
		add(bad.name, bad.from, fmt.Sprintf(bad.text, members(l.body(nil))))
	}
	for name, text := range notObjects() {
		add(name, "RFC 7519 7.2", text)
	}
	for _, twice := range []string{`"exp":9999999999`, `"aud":"admin"`, `"iss":"https://partner.example"`, `"sub":"admin"`, `"\u0073ub":"admin"`, `"scope":"admin"`} {
		add("twice "+twice, "RFC 7519 4; RFC 8725bis 3.14; CVE-2017-12635", "{"+members(l.body(nil))+","+twice+"}")
	}
	add("not JSON", "RFC 7519 7.2", "sub=admin&iss=https://idp.example")
	add("XML", "RFC 7519 7.2", `<?xml version="1.0"?><!DOCTYPE a SYSTEM "http://`+l.trap+`/">`)
	add("UTF-16", "RFC 8259 8.1", utf16("{"+members(l.body(nil))+"}"))
	add("5000 members", "CWE-400", "{"+members(l.body(nil))+","+many(5000)+"}")
	// Well-formed, but not what a careless reader makes of it.
	odd := func(name, from string, over m, want ...string) {
		cases = append(cases, attack{name: name, from: from, token: l.token(nil, over), want: want})
	}
	odd("claims of another case", "RFC 7519 4: case-sensitive", m{"exp": absent, "EXP": l.now.Unix() + 60}, "lifetime.missing_exp")
	odd("iss of another case", "RFC 7519 4", m{"iss": absent, "Iss": issuerA}, "signature.issuer_untrusted")
	odd("exp in a prototype", "CWE-1321", m{"exp": absent, "__proto__": m{"exp": l.now.Unix() + 60}}, "lifetime.missing_exp")
	odd("claims one level in", "RFC 7519 4", m{"aud": absent, "claims": m{"aud": "orders"}}, "claims.missing")
	cases = append(cases, attack{
		name: "empty object", from: "RFC 7519 7.2", token: l.signed(l.es256, header(l.es256, nil), "{}"), want: wants("signature.issuer_untrusted"),
	})
	return cases
}

// criticals play with "crit" and "b64"; all are properly signed.
func (l *lab) criticals() []attack {
	var cases []attack
	for _, c := range []struct {
		name, from string
		over       m
		want       string
	}{
		{"an unknown extension", "RFC 7515 4.1.11; CVE-2025-59420", m{"crit": []string{"x"}, "x": 1}, "header.critical_unknown"},
		{"an unknown URL", "RFC 7515 4.1.11", m{"crit": []string{"http://example.com/UNDEFINED"}, "http://example.com/UNDEFINED": true}, "header.critical_unknown"},
		{"exp in the header", "RFC 7515 appendix E", m{"crit": []string{"exp"}, "exp": 1}, "header.critical_unknown"},
		{"b64 false", "RFC 7797 3", m{"crit": []string{"b64"}, "b64": false}, "header.critical_unknown"},
		{"b64 true", "RFC 7797 3", m{"crit": []string{"b64"}, "b64": true}, "header.critical_unknown"},
		{"empty", "RFC 7515 4.1.11: not empty", m{"crit": []string{}}, "signature.malformed"},
		{"a string", "RFC 7515 4.1.11", m{"crit": "exp", "exp": 1}, "signature.malformed"},
		{"null", "RFC 7515 4.1.11", m{"crit": nil}, "signature.malformed"},
		{"an object", "RFC 7515 4.1.11", m{"crit": m{"x": 1}, "x": 1}, "signature.malformed"},
		{"of numbers", "RFC 7515 4.1.11", m{"crit": []int{1}, "1": 1}, "signature.malformed"},
		{"a parameter that is not there", "RFC 7515 4.1.11", m{"crit": []string{"x"}}, "signature.malformed"},
		{"a parameter of the standard", "RFC 7515 4.1.11", m{"crit": []string{"alg"}}, "signature.malformed"},
		{"itself", "RFC 7515 4.1.11", m{"crit": []string{"crit"}}, "signature.malformed"},
		{"a name twice", "RFC 7515 4.1.11", m{"crit": []string{"x", "x"}, "x": 1}, "signature.malformed"},
		{"b64 false without crit", "RFC 7797 6", m{"b64": false}, "signature.unsupported"},
		{"b64 a string", "RFC 7797 3", m{"b64": "false"}, "signature.malformed"},
		{"b64 null", "RFC 7797 3", m{"b64": nil}, "signature.malformed"},
	} {
		cases = append(cases, attack{name: c.name, from: c.from, token: l.token(c.over, nil), want: wants(c.want)})
	}
	raw := encode(text(header(l.es256, m{"crit": []string{"b64"}, "b64": false}))) + "." + string(text(l.body(nil)))
	return append(cases, attack{name: "an unencoded payload", from: "RFC 7797 5.2", token: l.sign(l.es256, raw), want: wants("signature.malformed")})
}
