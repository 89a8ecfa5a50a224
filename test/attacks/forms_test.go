package attacks

import (
	"crypto/ecdsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// base64 spells a good token's bytes in other ways: each would be a second name for the same token.
func (l *lab) base64() []attack {
	var cases []attack
	add := func(name, from, token string) {
		cases = append(cases, attack{name: name, from: from, token: token, want: wants("signature.malformed")})
	}
	good := l.token(nil, nil)
	header, payload, signature := cut(good)
	parts := []string{"header", "payload", "signature"}
	// with puts another spelling in place of one part.
	with := func(part int, spelling string) string {
		all := []string{header, payload, signature}
		all[part] = spelling
		return strings.Join(all, ".")
	}
	for i, text := range []string{header, payload, signature} {
		for _, c := range []struct{ name, from, spelling string }{
			{"padded", "RFC 7515 2: no padding", text + strings.Repeat("=", (4-len(text)%4)%4) + strings.Repeat("=", btoi(len(text)%4 == 0))},
			{"a newline inside", "RFC 7515 2: no line breaks", text[:10] + "\n" + text[10:]},
			{"a space inside", "RFC 7515 2", text[:10] + " " + text[10:]},
			{"a NUL inside", "RFC 4648 3.3", text[:10] + "\x00" + text[10:]},
			{"a foreign character", "RFC 4648 3.3", text[:10] + "*" + text[10:]},
			{"a percent sign", "RFC 4648 3.4", "%" + fmt.Sprintf("%02x", text[0]) + text[1:]},
			{"a full-width letter", "RFC 4648 5; UTS 39", "\uff41" + text[1:]},
			{"a lone character behind", "RFC 4648 3.5", text + strings.Repeat("A", (5-len(text)%4)%4)},
		} {
			add(parts[i]+" with "+c.name, c.from, with(i, c.spelling))
		}
	}
	// 64 bytes of signature leave four bits unused in the last character.
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, signature[len(signature)-1])
	add("signature with non-zero trailing bits", "RFC 4648 3.5; RFC 8725bis 3.14", with(2, signature[:len(signature)-1]+string(alphabet[last|1])))
	for _, spaces := range []int{0, 1, 2} {
		text := string(mustJSON(m{"alg": "ES256", "kid": l.es256.id, "typ": "at+jwt"})) + strings.Repeat(" ", spaces)
		if len(text)%3 == 0 {
			continue
		}
		spelt := encode([]byte(text))
		spelt = spelt[:len(spelt)-1] + string(alphabet[strings.IndexByte(alphabet, spelt[len(spelt)-1])|1])
		add(fmt.Sprintf("header of %d bytes with non-zero trailing bits", len(text)), "RFC 4648 3.5", l.sign(l.es256, spelt+"."+payload))
	}
	// The standard alphabet, in a token that has a character in which they differ.
	question := base64.StdEncoding.EncodeToString(text(l.body(m{"x": "???>>>~~~"})))
	question = strings.TrimRight(question, "=")
	for !strings.ContainsAny(question, "+/") {
		question = strings.TrimRight(base64.StdEncoding.EncodeToString(text(l.body(m{"x": "?>~" + question[:1] + "???>>>"}))), "=")
	}
	add("the standard alphabet", "RFC 7515 2: base64url", l.sign(l.es256, header+"."+question))
	add("a space before", "RFC 7515 7.1", " "+good)
	add("a space behind", "RFC 7515 7.1", good+" ")
	add("a newline behind", "RFC 7515 7.1", good+"\n")
	add("CRLF behind", "RFC 7515 7.1", good+"\r\n")
	add("a NUL behind", "CWE-158", good+"\x00")
	add("Bearer before", "RFC 6750 2.1", "Bearer "+good)
	add("quotes around", "RFC 7515 7.1", `"`+good+`"`)
	add("dots percent-encoded", "RFC 7515 7.1", strings.ReplaceAll(good, ".", "%2E"))
	add("dots in full width", "RFC 7515 7.1; UTS 39", strings.ReplaceAll(good, ".", "\uff0e"))
	add("encoded twice", "RFC 7515 7.1", encode([]byte(good)))
	add("parts encoded twice", "RFC 7515 7.1", encode([]byte(header))+"."+encode([]byte(payload))+"."+signature)
	return cases
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// serializations are not the three parts of a compact JWS.
func (l *lab) serializations() []attack {
	var cases []attack
	add := func(name, from, token, want string) {
		cases = append(cases, attack{name: name, from: from, token: token, want: wants(want)})
	}
	good := l.token(nil, nil)
	header, payload, signature := cut(good)
	flattened := m{"protected": header, "payload": payload, "signature": signature}
	const no = "signature.unsupported"
	add("flattened JSON", "RFC 7515 7.2.2", string(mustJSON(flattened)), no)
	add("flattened JSON with claims outside", "RFC 7515 7.2.2; lestrrat-go/jwx#1078", string(mustJSON(merge(l.body(m{"sub": "admin"}), flattened))), no)
	add("flattened JSON with a header outside", "RFC 7515 7.2.2", string(mustJSON(merge(m{"header": m{"alg": "none"}}, flattened))), no)
	add("general JSON", "RFC 7515 7.2.1", string(mustJSON(m{"payload": payload, "signatures": []m{{"protected": header, "signature": signature}}})), no)
	add("general JSON with two signatures", "RFC 7515 7.2.1", string(mustJSON(m{"payload": payload, "signatures": []m{
		{"protected": encode([]byte(`{"alg":"none"}`)), "signature": ""}, {"protected": header, "signature": signature},
	}})), no)
	add("general JSON without signatures", "RFC 7515 7.2.1", string(mustJSON(m{"payload": payload, "signatures": []m{}})), no)
	add("JSON in an array", "RFC 7515 7.2", string(mustJSON([]m{flattened})), no)
	add("claims as they are", "RFC 7519 3", string(mustJSON(l.body(nil))), no)
	add("detached", "RFC 7515 appendix F", header+".."+signature, no)
	add("empty", "RFC 7515 7.1", "", "signature.malformed")
	for _, c := range []struct{ name, token string }{
		{"one part", header}, {"two parts", header + "." + payload}, {"four parts", good + "." + signature}, {"four parts, the last empty", good + "."},
		{"an empty part before", "." + good}, {"six parts", good + "." + good}, {"one dot", "."}, {"two dots", ".."}, {"three dots", "..."},
		{"four dots", "...."}, {"a header alone", header + ".."}, {"no header", "." + payload + "." + signature},
		{"commas for dots", strings.ReplaceAll(good, ".", ",")}, {"two tokens", good + "," + good}, {"an SD-JWT", good + "~"},
		{"an SD-JWT with disclosures", good + "~" + encode([]byte(`["s","sub","admin"]`)) + "~"},
		{"PASETO", "v4.public." + payload}, {"PASETO local", "v2.local." + payload}, {"a SAML assertion", "<saml:Assertion ID='a'/>"},
		{"a CWT", "\xd2\x84\x43\xa1\x01\x26"}, {"an API key", "sk_live_0123456789"}, {"a UUID", "123e4567-e89b-12d3-a456-426614174000"},
		{"100 000 dots", strings.Repeat(".", 100_000)}, {"500 000 letters", strings.Repeat("A", 500_000)},
		{"17 kB, otherwise good", l.token(nil, m{"x": strings.Repeat("x", 13_000)})},
	} {
		want := "signature.malformed"
		if c.name == "a header alone" {
			want = no // a detached payload, and no signature
		}
		add(c.name, "RFC 7515 7.1", c.token, want)
	}
	return cases
}

// encrypted are JWEs, which nobody made for this server (RFC 7516; RFC 8725 sections 3.2 and 3.4).
func (l *lab) encrypted() []attack {
	var cases []attack
	jwe := func(header any, parts ...string) string {
		token := encode(text(header))
		for i, size := range []int{256, 12, 64, 16} {
			if i < len(parts) {
				token += "." + parts[i]
			} else {
				token += "." + encode(make([]byte, size))
			}
		}
		return token
	}
	add := func(name, from, want string, header any, parts ...string) {
		cases = append(cases, attack{name: name, from: from, token: jwe(header, parts...), want: wants(want)})
	}
	base := func(over m) m {
		return merge(m{"alg": "RSA-OAEP-256", "enc": "A256GCM", "cty": "JWT", "kid": "a"}, over)
	}
	const no = "signature.unsupported"
	add("zip", "CVE-2024-28122; RFC 8725bis 3.15", no, base(m{"zip": "DEF"}))
	add("zip of another kind", "RFC 7516 4.1.3", no, base(m{"zip": "GZIP"}))
	add("dir", "RFC 7518 4.5", no, base(m{"alg": "dir"}), "")
	add("dir with the kid of a public key", "CVE-2023-51774", no, base(m{"alg": "dir", "kid": l.rsaAny.id}), "")
	add("PBES2 with 2^31 rounds", "CVE-2023-49290; CVE-2023-51775; CVE-2022-36083; RFC 8725bis 3.13", no,
		base(m{"alg": "PBES2-HS256+A128KW", "p2c": 1 << 31, "p2s": encode([]byte("salt"))}))
	add("PBES2 with one round", "RFC 7518 4.8.1.2", no, base(m{"alg": "PBES2-HS512+A256KW", "p2c": 1, "p2s": "AA"}))
	add("PBES2 with a public key as password", "CVE-2023-51774", no, base(m{"alg": "PBES2-HS256+A128KW", "p2c": 1000, "p2s": "AA"}))
	add("RSA1_5", "RFC 8725 3.2; RFC 8017 7.2: Bleichenbacher", no, base(m{"alg": "RSA1_5"}))
	add("RSA-OAEP with SHA-1", "RFC 7518 4.3", no, base(m{"alg": "RSA-OAEP"}))
	add("A128KW", "RFC 7518 4.4", no, base(m{"alg": "A128KW"}))
	add("A256GCMKW", "RFC 7518 4.7", no, base(m{"alg": "A256GCMKW", "iv": "AA", "tag": "AA"}))
	add("ECDH-ES", "RFC 7518 4.6", no, base(m{"alg": "ECDH-ES", "epk": l.attacker.jwk()}), "")
	add("ECDH-ES with a point off the curve", "CVE-2017-16007; RFC 8725 3.4", no,
		base(m{"alg": "ECDH-ES+A128KW", "epk": merge(l.attacker.jwk(), m{"y": encode([]byte{1})})}))
	add("none", "RFC 8725 3.2", "algorithm.none", base(m{"alg": "none"}))
	add("a signature algorithm", "RFC 7518 3.1, 4.1", no, base(m{"alg": "ES256"}))
	add("AES-CBC", "RFC 7518 5.2", no, base(m{"enc": "A128CBC-HS256"}))
	add("enc of no kind", "RFC 7516 4.1.2", no, base(m{"enc": "none"}))
	add("without enc", "RFC 7516 4.1.2", no, base(m{"enc": absent}))
	add("without cty", "RFC 7519 5.2; RFC 8725 3.3", no, base(m{"cty": absent}))
	add("cty plain", "RFC 7519 5.2", no, base(m{"cty": "text/plain"}))
	add("critical", "RFC 7516 4.1.13", "header.critical_unknown", base(m{"crit": []string{"x"}, "x": 1}))
	add("enc a number", "RFC 7516 4.1.2", "signature.malformed", base(m{"enc": 1}))
	add("alg twice", "RFC 7516 4", "signature.malformed", `{"alg":"RSA-OAEP-256","alg":"dir","enc":"A256GCM","cty":"JWT"}`)
	add("an initialization vector too short", "RFC 7518 5.3", "signature.malformed", base(nil), encode(make([]byte, 256)), "AA")
	add("a tag cut short", "RFC 7518 5.3: 128 bits", "signature.malformed", base(nil), encode(make([]byte, 256)), encode(make([]byte, 12)), encode(make([]byte, 64)), "AAAA")
	add("no encrypted key", "RFC 7516 7.1", "signature.malformed", base(nil), "")
	add("no ciphertext", "RFC 7516 7.1", "signature.malformed", base(nil), encode(make([]byte, 256)), encode(make([]byte, 12)), "")
	add("a padded part", "RFC 7515 2", "signature.malformed", base(nil), "AA==")
	add("to nobody here", "RFC 7516 5.2", "signature.undecryptable", base(nil))
	add("holding an unsecured token", "RFC 8725 3.3; CVE-2015-9235", "signature.undecryptable", base(m{"cty": "JWT"}), encode(make([]byte, 256)), encode(make([]byte, 12)),
		encode([]byte(encode([]byte(`{"alg":"none"}`))+"."+encode(text(l.body(nil)))+".")))
	header, payload, signature := cut(l.token(nil, nil))
	return append(cases,
		attack{name: "a JWS in five parts", from: "RFC 7516 9", token: header + "." + payload + "." + signature + "." + payload + "." + signature, want: wants(no)},
		attack{name: "a JWS with enc", from: "RFC 7516 9", token: l.token(m{"enc": "A256GCM"}, nil), want: wants("signature.malformed")},
		attack{name: "JSON", from: "RFC 7516 7.2; CVE-2024-21664", want: wants(no), token: string(mustJSON(m{
			"protected": encode([]byte(`{"enc":"A256GCM"}`)), "recipients": []m{{"header": m{"alg": "dir"}}}, "iv": "AA", "ciphertext": "AA", "tag": "AA",
		}))})
}

// controls are good tokens, also in forms that a too careful server might refuse. They must be allowed.
func (l *lab) controls(t *testing.T, s *server) {
	now := l.now.Unix()
	highS := l.token(nil, nil)
	input := highS[:strings.LastIndexByte(highS, '.')]
	signature, err := base64.RawURLEncoding.DecodeString(highS[len(input)+1:])
	if err != nil {
		t.Fatal(err)
	}
	curve := l.es256.signer.(*ecdsa.PrivateKey).Curve
	other := new(big.Int).Sub(curve.Params().N, new(big.Int).SetBytes(signature[32:]))
	twin := input + "." + encode(joined(curve, new(big.Int).SetBytes(signature[:32]), other))
	cases := []struct{ name, token, request string }{
		{"an ordinary access token", highS, ""},
		{"the second encoding of its ECDSA signature", twin, ""},
		{"exp with a fraction", l.token(nil, m{"exp": float64(now+600) + 0.25}), ""},
		{"exp with an exponent", l.token(nil, m{"exp": raw(fmt.Sprintf("%d.0e0", now+600))}), ""},
		{"iat with a fraction", l.token(nil, m{"iat": float64(now) - 0.5}), ""},
		{"nbf now", l.token(nil, m{"nbf": now}), ""},
		{"the longest life", l.token(nil, m{"iat": now, "exp": now + 3600}), ""},
		{"typ in capitals", l.token(m{"typ": "AT+JWT"}, nil), ""},
		{"typ as media type", l.token(m{"typ": "application/at+jwt"}, nil), ""},
		{"typ JWT", l.token(m{"typ": "JWT"}, nil), ""},
		{"no typ", l.token(m{"typ": absent}, nil), ""},
		{"several audiences", l.token(nil, m{"aud": []string{"billing", "orders"}}), ""},
		{"an unknown header parameter", l.token(m{"x": m{"y": 1}}, nil), ""},
		{"an unknown claim", l.token(nil, m{"tenant": []any{1, "\u00e9", nil}}), ""},
		{"a header with white space", l.signed(l.es256, "{ \"typ\" : \"at+jwt\",\n\"alg\":\"ES256\",\"kid\":\"a-es256\" }", l.body(nil)), ""},
		{"a header with escapes", l.signed(l.es256, `{"typ":"at+jwt","\u0061lg":"ES256","kid":"a-\u0065s256"}`, l.body(nil)), ""},
		{"no kid where one key fits", l.signed(l.other, header(l.other, m{"kid": absent}), l.body(m{"iss": issuerB})), ""},
		{"an issuer with one algorithm", l.signed(l.narrowES, header(l.narrowES, nil), l.body(m{"iss": issuerC})), ""},
	}
	for _, k := range []key{l.es256b, l.es384, l.es512, l.rs256, l.ps256, l.ed25519} {
		cases = append(cases, struct{ name, token, request string }{k.alg + " " + k.id, l.signed(k, header(k, nil), l.body(nil)), ""})
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		input := encode(text(header(l.rsaAny, m{"alg": alg}))) + "." + encode(text(l.body(nil)))
		cases = append(cases, struct{ name, token, request string }{alg + " with a key for all", input + "." + encode(l.rsaAny.sign(alg, input)), ""})
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if d := s.decide(t, c.token, c.request); !d.Allow || d.Token.Status != "verified" {
				t.Errorf("denied, status %s: %+v", d.Token.Status, d.Reasons)
			}
		})
	}
	t.Run("expired within the leeway", func(t *testing.T) {
		for { // until the answer comes within the 30 s of leeway
			made := time.Now()
			d := s.decide(t, l.token(nil, m{"iat": made.Unix() - 600, "exp": made.Unix() - 5}), "")
			if time.Since(made) > 20*time.Second {
				continue
			}
			if !d.Allow || d.Token.Status != "verified" {
				t.Errorf("denied, status %s: %+v", d.Token.Status, d.Reasons)
			}
			return
		}
	})
}
