package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of the texts that are written, in bytes. What is longer is not cut, since half a name is another name: it is
// treated as a text that may not be written.
const (
	longestPlain = 256
	longestName  = 64
	longestFree  = 512
	// longestRun is how many letters and digits may follow one another: no signature, no key and no part of a token is as
	// short as that, and no word of a name as long. longestDigest is that of a change's own details, which hold digests.
	longestRun    = 40
	longestDigest = 128
	// fewestDigits in a row are taken for a telephone, card or citizen's number in a text that a person wrote.
	fewestDigits = 9
)

// plain tells whether a text that the asking service chose may be written as it is: a short ASCII identifier or URI in
// which there is no mail address and no piece of a token. It is also JSON text as it stands.
func plain(s string, longest, run int) bool {
	if s == "" || len(s) > longest || strings.Contains(s, "eyJ") {
		return false
	}
	length := 0
	for i := range len(s) {
		switch class[s[i]] {
		case wordByte:
			if length++; length > run {
				return false
			}
		case markByte:
			length = 0
		default:
			return false
		}
	}
	return true
}

const (
	wordByte = 1 + iota
	markByte
)

// class says which bytes an identifier may hold. "@" and "%" are missing: they make mail addresses; so are the quotes.
var class = func() (table [256]byte) {
	for _, b := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-") {
		table[b] = wordByte
	}
	for _, b := range []byte(" .:/+,;=#*|~()[]{}!$^") {
		table[b] = markByte
	}
	return table
}()

// longestMethod is the length of the longest method of HTTP's registry, UPDATEREDIRECTREF, in bytes, and one more.
const longestMethod = 18

// methodLike tells whether a text can be a method of HTTP's registry: short, and of capital letters and hyphens.
func methodLike(s string) bool {
	return len(s) <= longestMethod && !strings.ContainsFunc(s, func(c rune) bool { return c != '-' && (c < 'A' || c > 'Z') })
}

// free tells whether a text that a person wrote may be written: no mail address, no piece of a token, no long number.
func free(s string) bool {
	if s == "" || len(s) > longestFree || strings.Contains(s, "eyJ") || strings.ContainsAny(s, "@\x00\n\r") {
		return false
	}
	word, digits := 0, 0
	for i := range len(s) {
		if '0' <= s[i] && s[i] <= '9' {
			digits++
		} else if s[i] != ' ' && s[i] != '-' {
			digits = 0
		}
		if class[s[i]] == wordByte {
			word++
		} else {
			word = 0
		}
		if word > longestRun || digits >= fewestDigits {
			return false
		}
	}
	return true
}

var (
	knownAlgorithms = []string{
		"none", "HS256", "HS384", "HS512", "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448", "PS256", "PS384", "PS512",
		"RS256", "RS384", "RS512", "RSA1_5", "RSA-OAEP", "RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512", "ECDH-ES", "ECDH-ES+A128KW",
		"ECDH-ES+A192KW", "ECDH-ES+A256KW", "A128KW", "A192KW", "A256KW", "dir", "A128GCMKW", "A192GCMKW", "A256GCMKW",
		"PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW",
	}
	knownEncryptions = []string{"A128CBC-HS256", "A192CBC-HS384", "A256CBC-HS512", "A128GCM", "A192GCM", "A256GCM"}
	knownTypes       = []string{
		"jwt", "at+jwt", "id_token+jwt", "logout+jwt", "secevent+jwt", "dpop+jwt", "token-introspection+jwt", "oauth-authz-req+jwt",
		"rt+jwt", "vc+jwt", "kb+jwt", "dc+sd-jwt", "jose", "jose+json", "passport", "statuslist+jwt",
	}
)

func known(list []string, s string) bool { return slices.Contains(list, s) }

// appendString quotes s; bytes that are not UTF-8 become U+FFFD, so it cannot fail.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// appendPlain quotes what plain has passed.
func appendPlain(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendScalar appends what is neither object nor list, of the types that strictjson decodes and details hold.
func appendScalar(dst []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, v), nil
	case json.Number:
		return append(dst, v...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case uint64:
		return strconv.AppendUint(dst, v, 10), nil
	case time.Duration:
		return strconv.AppendInt(dst, int64(v/time.Second), 10), nil
	}
	return dst, fmt.Errorf("a %T has no JSON form here", value)
}

// escapePointer writes a name as a reference token of a JSON pointer (RFC 6901 section 3).
func appendReference(dst []byte, name string) []byte {
	for i := range len(name) {
		switch name[i] {
		case '~':
			dst = append(dst, "~0"...)
		case '/':
			dst = append(dst, "~1"...)
		default:
			dst = append(dst, name[i])
		}
	}
	return dst
}
