package attacks

import (
	"fmt"
	"strings"
	"time"
)

// dates play with exp, nbf and iat (RFC 7519 section 2, NumericDate); all are properly signed.
func (l *lab) dates() []attack {
	now := l.now.Unix()
	var cases []attack
	add := func(name, from string, over m, want ...string) {
		cases = append(cases, attack{name: name, from: from, token: l.token(nil, over), want: want})
	}
	add("expired", "RFC 7519 4.1.4", m{"iat": now - 700, "exp": now - 100}, "lifetime.expired")
	add("expired just past the leeway", "RFC 7519 4.1.4", m{"iat": now - 700, "exp": now - 31}, "lifetime.expired")
	add("expired by a fraction", "RFC 7519 2", m{"iat": now - 700, "exp": float64(now) - 30.5}, "lifetime.expired")
	add("exp zero", "RFC 7519 4.1.4", m{"iat": -60, "exp": 0}, "lifetime.expired")
	add("exp negative", "RFC 7519 2", m{"iat": -600, "exp": -1}, "lifetime.expired")
	add("exp minus zero", "RFC 8259 6", m{"iat": -60, "exp": raw("-0")}, "lifetime.expired")
	add("exp tiny", "RFC 8259 6", m{"iat": -60, "exp": raw("1e-300")}, "claims.wrong_type", "lifetime.expired")
	add("exp absent", "RFC 9068 2.2; ASVS 9.2.1", m{"exp": absent}, "lifetime.missing_exp")
	add("lives a day", "ASVS 9.2.1: a short life, 1 h by default", m{"exp": now + 86400 - 60}, "lifetime.too_long")
	add("lives a year", "ASVS 9.2.1", m{"exp": now + 365*86400}, "lifetime.too_long")
	add("lives a second too long", "ASVS 9.2.1: a short life, 1 h by default", m{"exp": now + 3601}, "lifetime.too_long")
	add("lives a fraction too long", "RFC 7519 2", m{"exp": raw(fmt.Sprintf("%d.0001", now+3600))}, "lifetime.too_long")
	add("exp in milliseconds", "RFC 7519 2: seconds", m{"exp": now * 1000}, "lifetime.too_long")
	add("exp 2^53", "RFC 8259 6", m{"exp": raw("9007199254740991")}, "lifetime.too_long")
	for _, c := range []struct {
		name  string
		value any
	}{
		{"a numeric string", fmt.Sprint(now + 600)},
		{"a date string", l.now.Add(time.Minute).UTC().Format(time.RFC3339)},
		{"an empty string", ""},
		{"null", nil},
		{"true", true},
		{"an array", []int64{now + 600}},
		{"an object", m{"$gt": 0}},
	} {
		add("exp "+c.name, "RFC 7519 2: a number", m{"exp": c.value}, "claims.wrong_type")
		add("nbf "+c.name, "RFC 7519 2", m{"nbf": c.value}, "claims.wrong_type")
		add("iat "+c.name, "RFC 7519 2", m{"iat": c.value}, "claims.wrong_type")
	}
	// Numbers that are no date (beyond 2^53): the floor says so, and policy says what they would mean.
	for _, number := range []raw{"9223372036854775808", "18446744073709551676", "1e18", "1e308"} {
		add("exp "+string(number), "RFC 8259 6; CWE-190", m{"exp": number}, "claims.wrong_type", "lifetime.too_long")
		add("nbf "+string(number), "RFC 8259 6; CWE-190", m{"nbf": number}, "claims.wrong_type", "claims.unexpected_value", "lifetime.not_yet_valid")
	}
	add("exp -1e308", "RFC 8259 6; CWE-191", m{"exp": raw("-1e308")}, "claims.wrong_type", "claims.unexpected_value", "lifetime.expired")
	add("nbf -1e308", "RFC 8259 6; CWE-191", m{"nbf": raw("-1e308")}, "claims.wrong_type")
	add("exp 1e1000", "RFC 8259 6", m{"exp": raw("1e1000")}, "signature.malformed")
	ahead := func(name, from string, over func(now int64) m, want ...string) {
		cases = append(cases, attack{name: name, from: from, want: want, make: func() string {
			now := time.Now()
			fresh := *l
			fresh.now = now
			return fresh.token(nil, over(now.Unix()))
		}})
	}
	ahead("nbf ahead", "RFC 7519 4.1.5", func(now int64) m { return m{"nbf": now + 300} }, "lifetime.not_yet_valid")
	ahead("nbf just past the leeway", "RFC 7519 4.1.5", func(now int64) m { return m{"nbf": now + 90} }, "lifetime.not_yet_valid")
	add("nbf in milliseconds", "RFC 7519 2", m{"nbf": now * 1000}, "lifetime.not_yet_valid", "claims.unexpected_value")
	ahead("iat ahead", "RFC 7519 4.1.6", func(now int64) m { return m{"iat": now + 300, "exp": now + 900} }, "lifetime.issued_in_future")
	add("iat absent", "RFC 9068 2.2", m{"iat": absent}, "lifetime.missing_iat")
	add("iat at the epoch", "RFC 7519 4.1.6", m{"iat": 0}, "lifetime.too_long")
	add("iat negative", "RFC 7519 4.1.6", m{"iat": -1 << 40}, "lifetime.too_long")
	add("iat ahead to live longer", "RFC 8725 3.8", m{"iat": now + 86400, "exp": now + 86400 + 3000}, "lifetime.issued_in_future", "lifetime.too_long")
	return cases
}

// raw is a number as it stands in the JSON text.
type raw string

// MarshalJSON writes the number unchanged.
func (r raw) MarshalJSON() ([]byte, error) { return []byte(r), nil }

// issuers pretend to be issuer A; where the name is A's own, somebody else signed.
func (l *lab) issuers() []attack {
	var cases []attack
	for _, c := range []struct {
		name string
		k    key
		kid  any
		want string
	}{
		{"B signs as A under B's kid", l.other, l.other.id, "signature.key_unknown"},
		{"B signs as A under A's kid", l.other, l.es256.id, "signature.invalid"},
		{"B signs as A without kid", l.other, absent, "signature.key_unknown"},
		{"C signs as A under C's kid", l.narrowES, l.narrowES.id, "signature.key_unknown"},
		{"a stranger signs as A", l.attacker, l.es256.id, "signature.invalid"},
	} {
		cases = append(cases, attack{
			name: c.name, from: "RFC 8725 3.8; ASVS 9.1.3", token: l.signed(c.k, header(c.k, m{"kid": c.kid}), l.body(nil)), want: wants(c.want),
		})
	}
	cases = append(cases, attack{
		name: "A signs as B", from: "RFC 8725 3.8", token: l.token(nil, m{"iss": issuerB}), want: wants("signature.key_unknown"),
	})
	for _, c := range []struct {
		name string
		iss  any
	}{
		{"in capitals", "HTTPS://IDP.EXAMPLE"}, {"with a capital", "https://Idp.example"}, {"with a slash", issuerA + "/"},
		{"with a dot", issuerA + "."}, {"with a port", issuerA + ":443"}, {"with a path", issuerA + "/a"}, {"with a query", issuerA + "?a"},
		{"with a fragment", issuerA + "#a"}, {"with a user", "https://a@idp.example"}, {"over http", "http://idp.example"},
		{"without scheme", "idp.example"}, {"as a prefix", issuerA + ".evil.example"}, {"as a suffix", "https://evil.example/" + issuerA},
		{"with a space before", " " + issuerA}, {"with a space behind", issuerA + " "}, {"with a newline", issuerA + "\n"},
		{"with NUL", issuerA + "\x00"}, {"with a zero-width space", "https://idp\u200b.example"}, {"with Cyrillic", "https://\u0456dp.example"},
		{"with full-width letters", "https://\uff49dp.example"}, {"percent-encoded", "https://idp%2eexample"}, {"in punycode", "https://xn--dp-jya.example"},
		{"as *", "*"}, {"as a pattern", "https://.*"}, {"of a stranger", "https://evil.example"}, {"empty", ""}, {"absent", absent}, {"null", nil},
		{"a number", 1}, {"an array", []string{issuerA}}, {"an object", m{"name": issuerA}}, {"of 4000 bytes", issuerA + strings.Repeat("/", 4000)},
	} {
		cases = append(cases, attack{
			name: c.name, from: "RFC 9068 4; RFC 7519 4.1.1: compared exactly; CVE-2024-53861", token: l.token(nil, m{"iss": c.iss}),
			want: wants("signature.issuer_untrusted"),
		})
	}
	return cases
}

// kinds present one kind of token as another (RFC 8725 sections 3.11 and 3.12).
func (l *lab) kinds() []attack {
	var cases []attack
	add := func(name, from string, over, claims m, kind string, want ...string) {
		request := `{"audience":"orders"}`
		if kind != "" {
			request = `{"audience":"orders","token_type":"` + kind + `"}`
		}
		cases = append(cases, attack{name: name, from: from, token: l.token(over, claims), request: request, want: want})
	}
	for _, typ := range []string{
		"id_token+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "oauth-authz-req+jwt", "client-authentication+jwt", "rt+jwt", "vc+sd-jwt",
		"token-introspection+jwt", "kb+jwt", "statuslist+jwt", "at", "at+jwtx", "xat+jwt", "at+jwt ", " at+jwt", "at +jwt", "text/at+jwt",
		"application/application/at+jwt", "JWE", "at+jwt;a=b", "a\u0442+jwt",
	} {
		add("typ "+typ, "RFC 8725 3.11; RFC 9068 4", m{"typ": typ}, nil, "", "header.type_mismatch")
	}
	idToken := m{"nonce": "n", "at_hash": "h", "scope": absent, "client_id": absent}
	add("an ID token as access token", "RFC 8725 3.12; RFC 9068 5", m{"typ": "JWT"}, idToken, "", "header.type_mismatch")
	add("an ID token with only a nonce", "RFC 8725 3.12", m{"typ": "JWT"}, m{"nonce": "n"}, "", "header.type_mismatch")
	add("an ID token without typ", "RFC 8725 3.12", m{"typ": absent}, idToken, "", "header.type_mismatch")
	add("an ID token with c_hash", "OIDC Core 3.3.2.11", m{"typ": "JWT"}, m{"c_hash": "h"}, "", "header.type_mismatch")
	logout := m{"events": m{"http://schemas.openid.net/event/backchannel-logout": m{}}, "scope": absent, "client_id": absent}
	add("a logout token as access token", "OIDC Back-Channel Logout 2.6", m{"typ": "logout+jwt"}, logout, "", "header.type_mismatch")
	add("a logout token without typ", "OIDC Back-Channel Logout 2.6", m{"typ": absent}, logout, "", "header.type_mismatch")
	add("an access token as ID token", "RFC 9068 4; RFC 8725 3.12", nil, nil, "id_token", "header.type_mismatch")
	add("an access token as logout token", "RFC 8725 3.12", nil, nil, "logout_token", "header.type_mismatch")
	add("an access token as JWT-SVID", "SPIFFE JWT-SVID 2.3", nil, nil, "jwt_svid", "header.type_mismatch", "claims.unexpected_value")
	add("an access token as security event", "RFC 8417 2", nil, nil, "security_event", "header.type_mismatch")
	add("a scoped token as ID token", "RFC 8725 3.12", m{"typ": "JWT"}, nil, "id_token", "header.type_mismatch")
	return cases
}

// claims lack what an access token must have, or have it in another type; all are properly signed.
func (l *lab) claims() []attack {
	var cases []attack
	add := func(name, from string, over m, want ...string) {
		cases = append(cases, attack{name: name, from: from, token: l.token(nil, over), want: want})
	}
	for _, claim := range []string{"sub", "client_id", "jti"} {
		add("without "+claim, "RFC 9068 2.2", m{claim: absent}, "claims.missing")
		add(claim+" a number", "RFC 7519 4.1", m{claim: 1}, "claims.wrong_type")
		add(claim+" an array", "RFC 7519 4.1", m{claim: []string{"admin"}}, "claims.wrong_type")
		add(claim+" null", "RFC 7519 4.1", m{claim: nil}, "claims.wrong_type")
		add(claim+" an object", "CWE-943", m{claim: m{"$ne": nil}}, "claims.wrong_type")
	}
	add("scope an array", "RFC 8693 4.2", m{"scope": []string{"admin"}}, "claims.wrong_type")
	add("a password inside", "GDPR 5.1.c; CWE-522", m{"password": "hunter2"}, "minimization.sensitive_claim")
	return cases
}

// audiences are meant for somebody else (RFC 7519 section 4.1.3).
func (l *lab) audiences() []attack {
	var cases []attack
	add := func(name string, aud any, want ...string) {
		cases = append(cases, attack{
			name: name, from: "RFC 7519 4.1.3; RFC 8725 3.9; CVE-2020-26160; CVE-2024-5798", token: l.token(nil, m{"aud": aud}), want: want,
		})
	}
	add("another", "billing", "claims.audience_mismatch")
	add("a prefix", "order", "claims.audience_mismatch")
	add("longer", "orders2", "claims.audience_mismatch")
	add("in capitals", "ORDERS", "claims.audience_mismatch")
	add("with a space", "orders ", "claims.audience_mismatch")
	add("with NUL", "orders\x00", "claims.audience_mismatch")
	add("several in one string", "billing orders", "claims.audience_mismatch")
	add("several with commas", "billing,orders", "claims.audience_mismatch")
	add("*", "*", "claims.audience_mismatch")
	add("a pattern", ".*", "claims.audience_mismatch")
	add("a URL", "https://orders", "claims.audience_mismatch")
	add("a Unicode twin", "\u043erders", "claims.audience_mismatch")
	add("empty string", "", "claims.audience_mismatch", "claims.unexpected_value")
	add("others in an array", []string{"billing", "order"}, "claims.audience_mismatch")
	add("* in an array", []string{"*"}, "claims.audience_mismatch")
	add("empty array", []string{}, "claims.audience_mismatch", "claims.unexpected_value")
	add("absent", absent, "claims.missing")
	add("null", nil, "claims.wrong_type", "claims.audience_mismatch")
	add("a number", 1, "claims.wrong_type", "claims.audience_mismatch")
	add("true", true, "claims.wrong_type", "claims.audience_mismatch")
	add("an object", m{"orders": true}, "claims.wrong_type", "claims.audience_mismatch")
	add("an array in an array", [][]string{{"orders"}}, "claims.wrong_type", "claims.audience_mismatch")
	add("an array with null", []any{"orders", nil}, "claims.wrong_type")
	add("an array with a number", []any{"orders", 1}, "claims.wrong_type")
	return cases
}
