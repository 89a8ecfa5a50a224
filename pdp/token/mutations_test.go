package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	crand "crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// sample is a good token in its parts, from which mutations make worse ones.
type sample struct {
	alg, kid       string
	header, claims []byte
	parts          []string
}

func samples() []sample {
	var made []sample
	for _, alg := range pdp.Algorithms() {
		kid := keyFor(alg)
		for _, over := range []m{{}, {"aud": []string{"orders", "billing"}, "name": "Zoë \u2028 \"x\"", "address": m{"country": "NL", "geo": []any{1.5, -2e3, nil, true}}}} {
			s := sample{alg: alg, kid: kid, header: text(header(alg, kid, nil)), claims: text(claims(over))}
			s.parts = strings.Split(s.signed(s.header, s.claims), ".")
			made = append(made, s)
		}
	}
	return made
}

func (s sample) token() string { return strings.Join(s.parts, ".") }

// signed is the sample with other texts, and a signature that fits them.
func (s sample) signed(header, claims []byte) string {
	return signed(s.kid, s.alg, string(header), string(claims))
}

// at is the sample with another part.
func (s sample) at(i int, part string) string {
	changed := slices.Clone(s.parts)
	changed[i] = part
	return strings.Join(changed, ".")
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// mutation makes a token of a sample. Some are harmless, so that what is accepted is compared as well.
type mutation struct {
	name string
	make func(*rand.Rand, sample) string
}

func mutations() []mutation {
	return []mutation{
		{"as it is", func(_ *rand.Rand, s sample) string { return s.token() }},
		{"bits of a part", func(r *rand.Rand, s sample) string { return bitOfPart(r, s) }},
		{"characters", func(r *rand.Rand, s sample) string { return characters(r, s.token()) }},
		{"header edited, signed", func(r *rand.Rand, s sample) string { return s.signed(editHeader(r, s.header), s.claims) }},
		{"header edited, not signed", func(r *rand.Rand, s sample) string { return s.at(0, encode(editHeader(r, s.header))) }},
		{"claims edited, signed", func(r *rand.Rand, s sample) string { return s.signed(s.header, editClaims(r, s.claims)) }},
		{"claims edited, not signed", func(r *rand.Rand, s sample) string { return s.at(1, encode(editClaims(r, s.claims))) }},
		{"header text broken, signed", func(r *rand.Rand, s sample) string { return s.signed(breakText(r, s.header), s.claims) }},
		{"claims text broken, signed", func(r *rand.Rand, s sample) string { return s.signed(s.header, breakText(r, s.claims)) }},
		{"spelling of JSON, signed", spelling},
		{"spelling of base64", func(r *rand.Rand, s sample) string { return spellBase64(r, s) }},
		{"JSON serialization", serialization},
		{"segments", segments},
		{"signature", signatureGames},
		{"algorithms and keys swapped", swapped},
	}
}

func bitOfPart(r *rand.Rand, s sample) string {
	i := r.IntN(3)
	raw, err := decodePart(s.parts[i])
	if err != nil {
		panic(err)
	}
	for range 1 + r.IntN(2) {
		raw[r.IntN(len(raw))] ^= 1 << r.IntN(8)
	}
	return s.at(i, encode(raw))
}

func characters(r *rand.Rand, token string) string {
	c := pick(r, "A", "-", "_", "+", "/", "=", ".", " ", "\n", "\x00", "\u00e9", "%", string(token[r.IntN(len(token))]))
	i := r.IntN(len(token))
	switch r.IntN(4) {
	case 0:
		return token[:i] + c + token[i:]
	case 1:
		return token[:i] + token[i+1:]
	case 2:
		return pick(r, token+c, c+token)
	}
	return token[:i] + c + token[i+1:]
}

// member puts a member into the text of an object, at its front or its end; the text is not parsed, so that
// it may then stand twice.
func member(r *rand.Rand, object []byte, name, value string) []byte {
	inner := bytes.TrimSpace(object)
	inner = inner[1 : len(inner)-1]
	if r.IntN(2) == 0 {
		return fmt.Appendf(nil, `{%s:%s,%s}`, name, value, inner)
	}
	return fmt.Appendf(nil, `{%s,%s:%s}`, inner, name, value)
}

func editHeader(r *rand.Rand, header []byte) []byte {
	name := pick(r, `"alg"`, `"kid"`, `"typ"`, `"cty"`, `"crit"`, `"b64"`, `"zip"`, `"enc"`, `"jwk"`, `"jku"`, `"x5c"`, `"x5u"`, `"x"`, `"ALG"`, `""`)
	value := pick(r, `"none"`, `"ES256"`, `"RS256"`, `"HS256"`, `"Ed25519"`, `"es256"`, `"rsa"`, `"JWT"`, `""`, `null`, `1`, `true`, `false`, `[]`, `{}`,
		`["b64"]`, `["exp"]`, `["x"]`, `"https://hostile.example"`, `{"kty":"oct","k":"AA"}`, `[[[[]]]]`, `1e999`, `"\ud800"`, `"DEF"`, `"A128GCM"`)
	if r.IntN(3) == 0 { // in place of what is there
		object := map[string]any{"alg": "ES256", "kid": "es256", strings.Trim(name, `"`): "x"}
		delete(object, pick(r, "alg", "kid", "typ"))
		return text(object)
	}
	return member(r, header, name, value)
}

func editClaims(r *rand.Rand, claims []byte) []byte {
	return member(r, claims, pick(r, `"iss"`, `"sub"`, `"exp"`, `"x"`, `"\u0069ss"`, `"Iss"`, `""`, `"\u0000"`, `"constructor"`, `"nested"`, `"é"`, `"\ud83d\ude00"`),
		pick(r, `"https://idp.example"`, `"https://hostile.example"`, `null`, `0`, `-0`, `1e400`, `1e401`, `1E+2`, `1.0`, `01`, `"1700000600"`, `9007199254740993`,
			`0.1e-399`, `[1,[2,{"a":null}]]`, `{"a":{"b":{"c":[]}}}`, `"\ud800"`, `"\u2028\/"`, `"\udc00\ud800"`, `[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]`, `+1`, `.5`, `NaN`, `"a`+"\t"+`b"`, strings.Repeat("7", 70)))
}

// breakText changes bytes of JSON text, which the signature will then cover.
func breakText(r *rand.Rand, data []byte) []byte {
	made := slices.Clone(data)
	for range 1 + r.IntN(2) {
		i := r.IntN(len(made))
		switch r.IntN(4) {
		case 0:
			made[i] ^= 1 << r.IntN(8)
		case 1:
			made = slices.Delete(made, i, i+1)
		case 2:
			made = slices.Insert(made, i, pick(r, []byte(" \n\t\r\f\x00\",:{}[]\\u0'/#\xff\xc0")...))
		default:
			made[i] = byte(r.IntN(256))
		}
	}
	return made
}

// spelling writes the same values otherwise, or what only some readers take for JSON.
func spelling(r *rand.Rand, s sample) string {
	header, claims := slices.Clone(s.header), slices.Clone(s.claims)
	change := pick(r,
		func(b []byte) []byte { return slices.Concat([]byte(" \t\r\n"), b, []byte("\n ")) },
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`:`), []byte(" :\n")) },
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"iss"`), []byte(`"\u0069\u0073s"`)) },
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"alg"`), []byte(`"\u0061lg"`)) },
		func(b []byte) []byte { return slices.Concat([]byte("\xef\xbb\xbf"), b) },
		func(b []byte) []byte {
			return append(b, pick(r, "{}", "x", "\x00", ",", "}", "//", `{"iss":1}`, "null")...)
		},
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`"`), []byte(`'`)) },
		func(b []byte) []byte {
			return bytes.Replace(b, []byte(`,`), []byte(pick(r, ",,", ",/**/", ";", "")), 1)
		},
		func(b []byte) []byte { return bytes.Replace(b, []byte(`}`), []byte(`,}`), 1) },
		func(b []byte) []byte { return slices.Concat([]byte("["), b, []byte("]")) },
		func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(`s`), []byte("\xc5\xbf")) }, // a long s, which folds to s
		func(b []byte) []byte { return bytes.ToUpper(b) },
		func(b []byte) []byte { return b[:len(b)-1] },
	)
	if r.IntN(2) == 0 {
		header = change(header)
	} else {
		claims = change(claims)
	}
	return s.signed(header, claims)
}

func spellBase64(r *rand.Rand, s sample) string {
	i := r.IntN(3)
	part := s.parts[i]
	switch r.IntN(6) {
	case 0:
		part += pick(r, "=", "==", "A", "AA", "AAAA")
	case 1:
		raw, err := decodePart(part)
		if err != nil {
			panic(err)
		}
		part = pick(r, base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding).EncodeToString(raw)
	case 2:
		part = part[:len(part)-1] + oddLast(part)
	case 3:
		j := r.IntN(len(part))
		part = part[:j] + pick(r, " ", "\n", "\r\n", "\t", "\x0b") + part[j:]
	case 4:
		part = part[:len(part)-1-r.IntN(3)]
	default:
		part = encode([]byte(part))
	}
	return s.at(i, part)
}

func serialization(r *rand.Rand, s sample) string {
	h, p, sig := s.parts[0], s.parts[1], s.parts[2]
	return pick(r,
		fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, h, p, sig),
		fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q,"iss":%q,"sub":"admin","exp":9999999999}`, h, p, sig, issuerAll),
		fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":%q}]}`, p, h, sig),
		fmt.Sprintf(`{"payload":%q,"signatures":[{"protected":%q,"signature":"AAAA"},{"protected":%q,"signature":%q}]}`, p, h, h, sig),
		fmt.Sprintf(` {"payload":%q,"header":%s,"signature":%q}`, p, s.header, sig),
		fmt.Sprintf(`[%q]`, s.token()), fmt.Sprintf("%q", s.token()))
}

func segments(r *rand.Rand, s sample) string {
	p := slices.Clone(s.parts)
	switch r.IntN(5) {
	case 0:
		r.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	case 1:
		p[r.IntN(3)] = ""
	case 2:
		p = slices.Delete(p, r.IntN(2), r.IntN(2)+2)
	case 3:
		p = slices.Insert(p, r.IntN(4), pick(r, "", "AA", p[0], p[1]))
	default:
		return s.token() + pick(r, ".", "..", "...", "."+s.token(), "\n"+s.token(), ","+s.token())
	}
	return strings.Join(p, ".")
}

func signatureGames(r *rand.Rand, s sample) string {
	raw, err := decodePart(s.parts[2])
	if err != nil {
		panic(err)
	}
	half := len(raw) / 2
	switch r.IntN(7) {
	case 0: // cut, or longer
		raw = pick(r, raw[:len(raw)-1], raw[1:], raw[:half], append(raw, 0), append([]byte{0}, raw...), append(raw, raw...))
	case 1:
		raw = make([]byte, len(raw))
	case 2: // halves swapped
		raw = slices.Concat(raw[half:], raw[:half])
	case 3: // the halves a byte longer each
		raw = slices.Concat([]byte{0}, raw[:half], []byte{0}, raw[half:])
	case 4, 5:
		key, isEC := keys()[s.kid].signer.(*ecdsa.PrivateKey)
		if !isEC {
			raw = foreignRSA(r, s)
			break
		}
		a, b := new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])
		if r.IntN(3) == 0 {
			raw, err = asn1.Marshal(struct{ R, S *big.Int }{a, b})
			if err != nil {
				panic(err)
			}
			break
		}
		if r.IntN(4) > 0 { // the other encoding; else an s beyond the order where it has room
			b.Sub(key.Params().N, b)
		} else if b.Add(b, key.Params().N).BitLen() > half*8 {
			b = key.Params().N
		}
		raw = append(slices.Clone(raw[:half]), b.FillBytes(make([]byte, half))...)
	default:
		raw = nil
	}
	return s.at(2, encode(raw))
}

// foreignRSA signs with another RSA key, or with the right one and a PSS salt of another length
// (RFC 7518 section 3.5).
func foreignRSA(r *rand.Rand, s sample) []byte {
	input := strings.Join(s.parts[:2], ".")
	key, isRSA := keys()[s.kid].signer.(*rsa.PrivateKey)
	hash := map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512}[s.alg]
	if !isRSA || hash == 0 {
		return signature(keys()["rs256"].signer, pick(r, "RS256", "PS256"), input)
	}
	salt := pick(r, rsa.PSSSaltLengthAuto, 1, hash.Size()-1, hash.Size()+1)
	raw, err := rsa.SignPSS(crand.Reader, key, hash, digestBy(hash, input), &rsa.PSSOptions{SaltLength: salt})
	if err != nil {
		panic(err)
	}
	return raw
}

// swapped signs with one key under one algorithm and says another algorithm and kid.
func swapped(r *rand.Rand, s sample) string {
	alg := pick(r, append(pdp.Algorithms(), "none", "HS256", "HS512", "ES256K", "es256", s.alg, s.alg)...)
	kid := pick[any](r, gone, "", "es256", "es256-next", "es384", "es512", "ed", "rsa", "rs256", "evil", "unknown", s.kid, s.kid)
	head := text(header(alg, "", m{"kid": kid}))
	if strings.HasPrefix(alg, "HS") { // the public key as a shared secret
		secret, err := x509.MarshalPKIXPublicKey(keys()[s.kid].Public)
		if err != nil {
			panic(err)
		}
		input := encode(head) + "." + s.parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(input))
		return input + "." + encode(mac.Sum(nil))
	}
	return s.signed(head, s.claims)
}
