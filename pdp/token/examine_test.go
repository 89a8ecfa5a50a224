package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

func TestEveryAlgorithmVerifies(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for _, alg := range pdp.Algorithms() {
		t.Run(alg, func(t *testing.T) {
			token, v, err := e.Examine(context.Background(), good(keyFor(alg), alg, nil))
			if err != nil || !v.Verified() || v.Reason != nil {
				t.Fatalf("%+v, %v", v, err)
			}
			if v.Algorithm != alg || v.Key.ID != keyFor(alg) || v.Trust.Issuer.ID != issuerAll || v.Encrypted {
				t.Errorf("verification %+v", v)
			}
			if token.Kind != "jws" || token.ID != "jti-1" || token.Subject != "subject-1" || token.ClientID != "shop" ||
				token.ExpiresAt.Floor() != 1_700_000_600 || token.IssuedAt.Floor() != 1_700_000_000 || token.NotBefore != nil {
				t.Errorf("token %+v", token)
			}
		})
	}
}

func TestOnlyAnIssuerWithoutKeysIsKeyless(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for token, want := range map[string]bool{
		good("es256", "ES256", m{"iss": issuerEmpty}):                                        true,
		signed("es256", "ES256", header("ES256", "es256", m{"kid": "another"}), claims(nil)): false,
		good("es256", "ES256", nil):                                                          false,
	} {
		_, v, err := e.Examine(context.Background(), token)
		if err != nil || v.Keyless != want {
			t.Errorf("%s: keyless %t, want %t (%v)", v.Status, v.Keyless, want, err)
		}
	}
}

// refusedCase is a token that is not verified, with the status and the code that it gets.
type refusedCase struct {
	name, token string
	status      pdp.Status
	code        string
}

func (c refusedCase) check(t *testing.T, e *Examiner) {
	t.Helper()
	token, v, err := e.Examine(context.Background(), c.token)
	if err != nil {
		t.Fatal(err)
	}
	if v.Status != c.status || v.Reason == nil || v.Reason.Code != c.code {
		t.Fatalf("status %s, reason %+v; want %s, %s", v.Status, v.Reason, c.status, c.code)
	}
	if v.Verified() || v.Key != nil || v.Trust != nil || token.Claims != nil || token.ID != "" || token.Subject != "" || token.ExpiresAt != nil {
		t.Errorf("something of an unverified token is believed: %+v, %+v", token, v)
	}
	if v.Keyless != (v.Reason.Message == "no key of its issuer is known at present") {
		t.Errorf("keyless %t, and says %s", v.Keyless, v.Reason.Message)
	}
	if v.Reason.Enforcement != pdp.Deny || v.Reason.Message == "" || strings.Contains(v.Reason.Message, "hostile") {
		t.Errorf("reason %+v", v.Reason)
	}
}

func TestRefused(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for _, group := range [][]refusedCase{malformedForms(), malformedTexts(), features(), unsecured(), issuers(), algorithms(), keyChoices(), signatures()} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) { c.check(t, e) })
		}
	}
}

func malformedForms() []refusedCase {
	token := good("es256", "ES256", nil)
	parts := strings.Split(token, ".")
	at := func(i int, part string) string {
		changed := slices.Clone(parts)
		changed[i] = part
		return strings.Join(changed, ".")
	}
	var cases []refusedCase
	for name, token := range map[string]string{
		"empty": "", "one part": parts[0], "two parts": parts[0] + "." + parts[1], "four parts": token + ".AA", "six parts": token + ".AA.AA.AA",
		"no header": at(0, ""), "dots alone": "..", "space before": " " + token, "newline behind": token + "\n", "NUL behind": token + "\x00",
		"padding": token + "==", "standard alphabet": at(1, parts[1]+"+/"), "a letter like A": at(1, "\u0410"+parts[1]), "percent": strings.ReplaceAll(token, ".", "%2E"),
		"trailing bits of the signature": token[:len(token)-1] + oddLast(token), "trailing bits of the header": at(0, encode([]byte("{}"))[:2]+"1"),
		"length of the payload": at(1, "AAAAA"), "length of the signature": at(2, "A"),
	} {
		cases = append(cases, refusedCase{"form: " + name, token, pdp.StatusMalformed, "signature.malformed"})
	}
	return cases
}

// oddLast is a last character that differs from the token's only in bits behind the last byte.
func oddLast(token string) string {
	const order = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(order[strings.IndexByte(order, token[len(token)-1])|1])
}

func malformedTexts() []refusedCase {
	var cases []refusedCase
	for name, header := range map[string]any{
		"array": "[]", "string": `"x"`, "null": "null", "white space before": " \n{\"alg\":\"ES256\"}", "white space behind": "{\"alg\":\"ES256\"} ", "cut": `{"alg":"ES256"`, "two objects": `{"alg":"ES256"}{}`, "duplicate alg": `{"alg":"none","alg":"ES256"}`,
		"duplicate by escape": `{"alg":"none","\u0061lg":"ES256"}`, "not UTF-8": "{\"alg\":\"ES256\",\"x\":\"\xff\"}", "lone surrogate": `{"alg":"ES256","x":"\ud800"}`,
		"no alg": `{"kid":"es256"}`, "empty alg": `{"alg":""}`, "alg null": `{"alg":null}`, "alg number": `{"alg":256}`, "alg array": `{"alg":["ES256"]}`, "alg boolean": `{"alg":true}`,
		"kid number": `{"alg":"ES256","kid":1}`, "kid object": `{"alg":"ES256","kid":{}}`, "kid null": `{"alg":"ES256","kid":null}`, "typ array": `{"alg":"ES256","typ":["JWT"]}`,
		"cty number": `{"alg":"ES256","cty":1}`, "enc number": `{"alg":"ES256","enc":1}`, "a JWS with enc": `{"alg":"ES256","enc":"A128GCM"}`,
		"too deep": `{"alg":"ES256","x":[[[[[]]]]]}`, "too long": header("ES256", "es256", m{"x": strings.Repeat("x", DefaultMaxHeaderBytes)}), "Alg in capitals": `{"Alg":"ES256"}`,
		"crit string": `{"alg":"ES256","crit":"exp","exp":1}`, "crit empty": `{"alg":"ES256","crit":[]}`, "crit null": `{"alg":"ES256","crit":null}`, "crit of numbers": `{"alg":"ES256","crit":[1]}`,
		"crit of a registered name": `{"alg":"ES256","crit":["alg"]}`, "crit of an absent name": `{"alg":"ES256","crit":["x"]}`, "crit twice the same": `{"alg":"ES256","crit":["x","x"],"x":1}`,
		"b64 string": `{"alg":"ES256","b64":"false"}`, "huge number": `{"alg":"ES256","x":1e999}`,
	} {
		cases = append(cases, refusedCase{"header: " + name, signed("es256", "ES256", header, claims(nil)), pdp.StatusMalformed, "signature.malformed"})
	}
	for name, payload := range map[string]any{
		"array": "[]", "string": `"x"`, "number": "1", "null": "null", "not JSON": "hello", "trailing data": `{"iss":"https://idp.example"} x`, "trailing NUL": "{}\x00",
		"duplicate iss": `{"iss":"https://evil.example","iss":"https://idp.example"}`, "duplicate deep inside": `{"iss":"https://idp.example","x":[{"a":1,"a":2}]}`,
		"not UTF-8": "{\"iss\":\"https://idp.example\xc3\"}", "byte order mark": "\ufeff{}", "UTF-16": "{\x00}\x00", "too deep": `{"x":` + strings.Repeat("[", 16) + strings.Repeat("]", 16) + "}",
		"a number of 65 digits": `{"exp":` + strings.Repeat("9", 65) + "}", "too many values": `{"x":[` + strings.Repeat("1,", 4096) + `1]}`,
	} {
		cases = append(cases, refusedCase{"claims: " + name, signed("es256", "ES256", header("ES256", "es256", nil), payload), pdp.StatusMalformed, "signature.malformed"})
	}
	return cases
}

func features() []refusedCase {
	token := good("es256", "ES256", nil)
	parts := strings.Split(token, ".")
	made := func(over m) string {
		return signed("es256", "ES256", header("ES256", "es256", over), claims(nil))
	}
	const no = "signature.unsupported"
	return []refusedCase{
		{"feature: crit", made(m{"crit": []string{"x"}, "x": 1}), pdp.StatusUnsupported, "header.critical_unknown"},
		{"feature: crit exp", made(m{"crit": []string{"exp"}, "exp": 1}), pdp.StatusUnsupported, "header.critical_unknown"},
		{"feature: crit b64", made(m{"crit": []string{"b64"}, "b64": false}), pdp.StatusUnsupported, "header.critical_unknown"},
		{"feature: b64 false without crit", made(m{"b64": false}), pdp.StatusUnsupported, no},
		{"feature: detached payload", parts[0] + ".." + parts[2], pdp.StatusUnsupported, no},
		{"feature: flattened JSON", `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`, pdp.StatusUnsupported, no},
		{"feature: general JSON", `{"payload":"` + parts[1] + `","signatures":[]}`, pdp.StatusUnsupported, no},
		{"feature: JSON array", "[]", pdp.StatusUnsupported, no},
	}
}

// The unsecured token, in spellings that readers have taken for it (RFC 8725 section 2.1).
func unsecured() []refusedCase {
	var cases []refusedCase
	for _, alg := range []string{"none", "None", "NONE", "nOnE", " none", "none ", "\tnone\n"} {
		for name, made := range map[string]string{"empty signature": "", "a signature": ".", "a payload that is no claims set": "x"} {
			token := encode(text(header(alg, "es256", nil))) + "." + encode(text(claims(m{"iss": "https://evil.example"}))) + "."
			switch made {
			case ".":
				token += encode([]byte("signature"))
			case "x":
				token = encode(text(header(alg, "es256", nil))) + ".AAAA."
			}
			cases = append(cases, refusedCase{"unsecured: " + alg + ", " + name, token, pdp.StatusAlgorithmRefused, "algorithm.none"})
		}
	}
	return cases
}

func issuers() []refusedCase {
	var cases []refusedCase
	for name, iss := range map[string]any{
		"absent": gone, "null": nil, "number": 1, "array": []string{issuerAll}, "object": m{"iss": issuerAll}, "empty": "", "unknown": "https://hostile.example",
		"case": "https://IDP.example", "slash": issuerAll + "/", "space": issuerAll + " ", "prefix": issuerAll + ".hostile.example", "http": "http://idp.example",
		"Cyrillic": "https://\u0456dp.example", "port": issuerAll + ":443", "NUL": issuerAll + "\x00", "percent": "https://%69dp.example",
	} {
		cases = append(cases, refusedCase{"issuer: " + name, good("es256", "ES256", m{"iss": iss}), pdp.StatusIssuerUntrusted, "signature.issuer_untrusted"})
	}
	return cases
}

func algorithms() []refusedCase {
	var cases []refusedCase
	for _, alg := range []string{"HS256", "HS384", "HS512", "es256", "ES256 ", "ES256K", "RSA-OAEP", "dir", "ed25519", "ED25519", "EdDSA\x00", "ES-256", "hostile", "A128KW", "Ed448", "\uff45\uff53256", "nonee"} {
		token := signed("es256", "ES256", header(alg, "es256", nil), claims(nil))
		cases = append(cases, refusedCase{"algorithm: " + alg, token, pdp.StatusAlgorithmRefused, "algorithm.not_allowed"})
	}
	narrow := signed("rsa", "RS256", header("RS256", "rsa", nil), claims(m{"iss": issuerNarrow}))
	cases = append(cases, refusedCase{"algorithm: not of this issuer", narrow, pdp.StatusAlgorithmRefused, "algorithm.not_allowed"})
	for _, c := range []struct{ name, alg, kid string }{
		{"RSA for EC", "RS256", "es256"}, {"EC for RSA", "ES256", "rsa"}, {"the other curve", "ES384", "es256"}, {"EdDSA for EC", "EdDSA", "es256"},
		{"PSS with a key for PKCS 1", "PS256", "rs256"}, {"the other hash", "RS512", "rs256"},
	} {
		token := signed(keyFor(c.alg), c.alg, header(c.alg, c.kid, nil), claims(nil))
		cases = append(cases, refusedCase{"mismatch: " + c.name, token, pdp.StatusAlgorithmRefused, "algorithm.key_mismatch"})
	}
	return cases
}

func keyChoices() []refusedCase {
	var cases []refusedCase
	for name, kid := range map[string]any{
		"unknown": "hostile", "empty": "", "case": "ES256", "path": "../../es256", "SQL": "es256' OR '1'='1", "URL": "https://hostile.example/key", "long": strings.Repeat("k", 4000),
		"absent where two fit": gone, "thumbprint instead": "thumbprint of es256",
	} {
		token := signed("es256", "ES256", header("ES256", "es256", m{"kid": kid}), claims(nil))
		cases = append(cases, refusedCase{"kid: " + name, token, pdp.StatusKeyUnknown, "signature.key_unknown"})
	}
	empty := good("es256", "ES256", m{"iss": issuerEmpty})
	given := signed("es256", "ES256", header("ES256", "", nil), claims(m{"iss": issuerOne}))
	none := signed("es384", "ES384", header("ES384", "", m{"kid": gone}), claims(m{"iss": issuerOne}))
	return append(cases, refusedCase{"kid: issuer without keys", empty, pdp.StatusKeyUnknown, "signature.key_unknown"},
		refusedCase{"kid: an empty one is given, and no key has it", given, pdp.StatusKeyUnknown, "signature.key_unknown"},
		refusedCase{"kid: absent where none fits", none, pdp.StatusKeyUnknown, "signature.key_unknown"})
}

func TestSizeIsCheckedFirst(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t), MaxBytes: 1000})
	exact := strings.Repeat(".", 1000)
	if _, v, _ := e.Examine(context.Background(), exact); v.Reason.Details != nil {
		t.Errorf("1000 of 1000 bytes: %+v", v.Reason)
	}
	token, v, err := e.Examine(context.Background(), exact+"{")
	if err != nil || v.Status != pdp.StatusMalformed || v.Reason.Code != "signature.malformed" || token.Size != 1001 || token.Kind != "" {
		t.Fatalf("%+v, %+v, %v", token, v, err)
	}
	if v.Reason.Details["size_bytes"] != int64(1001) || v.Reason.Details["limit_bytes"] != int64(1000) {
		t.Errorf("details %v", v.Reason.Details)
	}
}

func TestHeaderIsTold(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	token, v, err := e.Examine(context.Background(), signed("es256", "ES256", header("ES256", "es256", m{
		"typ": "Application/AT+JWT", "cty": "JSON", "x5u": "https://hostile.example", "jku": "https://hostile.example", "x5c": []string{"AA"}, "jwk": m{},
	}), claims(m{"client_id": gone, "azp": "app", "sid": "session-1", "nbf": 1.5})))
	if err != nil || !v.Verified() {
		t.Fatalf("%+v, %v", v, err)
	}
	h := token.Header
	if h.Type != "at+jwt" || h.ContentType != "json" || !slices.Equal(h.KeyReferences, []string{"jku", "jwk", "x5c", "x5u"}) || !h.HasKeyID || len(h.Parameters) != 8 {
		t.Errorf("header %+v", h)
	}
	if token.ClientID != "app" || token.SessionID != "session-1" || token.NotBefore.String() != "1.5" {
		t.Errorf("token %+v", token)
	}
}

func TestUnusableDates(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for name, value := range map[string]any{
		"string": "1700000600", "RFC 3339": "2030-01-01T00:00:00Z", "null": nil, "boolean": true, "array": []int{1}, "too large": "1e20", "object": m{},
	} {
		over := m{"exp": value}
		payload := text(claims(over))
		if value == "1e20" {
			payload = []byte(strings.Replace(string(payload), `"1e20"`, "1e20", 1))
		}
		token, v, err := e.Examine(context.Background(), signed("es256", "ES256", header("ES256", "es256", nil), string(payload)))
		if err != nil || !v.Verified() || token.ExpiresAt != nil || !slices.Equal(token.Unusable, []string{"exp"}) {
			t.Errorf("exp as %s: %+v, %v, %v", name, v, token.ExpiresAt, token.Unusable)
		}
	}
}

func TestIDWithoutUsableJTI(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for name, jti := range map[string]any{"absent": gone, "empty": "", "number": 5, "null": nil} {
		token, v, err := e.Examine(context.Background(), good("es256", "ES256", m{"jti": jti}))
		if err != nil || !v.Verified() || !strings.HasPrefix(token.ID, "sha256:") || len(token.ID) != 7+43 {
			t.Errorf("jti %s: id %q, %+v", name, token.ID, v)
		}
	}
}

func TestWithoutKidTheOnlyFittingKeyServes(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	for _, alg := range []string{"ES256", "RS256", "PS512"} {
		token := signed(keyFor(alg), alg, header(alg, "", m{"kid": gone}), claims(m{"iss": issuerOne}))
		if _, v, err := e.Examine(context.Background(), token); err != nil || !v.Verified() {
			t.Errorf("%s: %+v, %v", alg, v, err)
		}
	}
}

func TestUnknownKidRefreshesOnce(t *testing.T) {
	b := newBook(t)
	e := newExaminer(t, Config{Trust: b})
	b.set(t, pdp.Issuer{ID: issuerAll}, published(false, "es256"))
	token := good("es256-next", "ES256", nil)
	refusedCase{"", token, pdp.StatusKeyUnknown, "signature.key_unknown"}.check(t, e)
	if n := b.refreshes.Load(); n != 1 {
		t.Fatalf("%d refreshes", n)
	}
	b.onRefresh = func(b *book) { b.set(t, pdp.Issuer{ID: issuerAll}, published(false, "es256", "es256-next")) }
	_, v, err := e.Examine(context.Background(), token)
	if err != nil || !v.Verified() || v.Trust != b.Trust(issuerAll) || b.refreshes.Load() != 2 {
		t.Fatalf("%+v, %v, %d refreshes", v, err, b.refreshes.Load())
	}
	if _, v, _ := e.Examine(context.Background(), good("es256", "ES256", nil)); !v.Verified() || b.refreshes.Load() != 2 {
		t.Error("a known kid refreshed")
	}
}

func TestRefreshMayTakeTrustAway(t *testing.T) {
	for name, c := range map[string]struct {
		after  func(*book)
		status pdp.Status
		code   string
	}{
		"issuer": {func(b *book) { b.put(issuerAll, nil) }, pdp.StatusIssuerUntrusted, "signature.issuer_untrusted"},
		"algorithm": {func(b *book) {
			b.set(t, pdp.Issuer{ID: issuerAll, Algorithms: []string{"RS256"}}, published(false, "evil"))
		}, pdp.StatusAlgorithmRefused, "algorithm.not_allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBook(t)
			b.onRefresh = c.after
			refusedCase{name, signed("evil", "ES256", header("ES256", "evil", nil), claims(nil)), c.status, c.code}.check(t, newExaminer(t, Config{Trust: b}))
		})
	}
}

func TestEndedContextIsNoVerdict(t *testing.T) {
	b := newBook(t)
	e := newExaminer(t, Config{Trust: b})
	ctx, cancel := context.WithCancel(context.Background())
	b.onRefresh = func(*book) { cancel() }
	if token, v, err := e.Examine(ctx, signed("evil", "ES256", header("ES256", "evil", nil), claims(nil))); !errors.Is(err, context.Canceled) || token != nil || v != nil {
		t.Errorf("%+v, %+v, %v", token, v, err)
	}
}

func TestNewRefusesUnusableConfig(t *testing.T) {
	for name, c := range map[string]Config{"no trust": {}, "MaxBytes": {Trust: newBook(t), MaxBytes: -1}, "MaxHeaderBytes": {Trust: newBook(t), MaxHeaderBytes: -1}} {
		if e, err := New(c); err == nil || e != nil {
			t.Errorf("%s: %v", name, e)
		}
	}
}
