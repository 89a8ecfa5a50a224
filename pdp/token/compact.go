package token

import (
	"encoding/base64"
	"errors"
	"strings"
)

// parts of the compact serializations: JWS (RFC 7515 section 7.1) and JWE (RFC 7516 section 7.1).
const (
	jwsParts = 3
	jweParts = 5
)

// split cuts a compact serialization at its dots. Every byte of it is a dot or of the base64url alphabet.
func split(compact string) ([]string, error) {
	for i := range len(compact) {
		if c := compact[i]; !alphabet[c] && c != '.' {
			switch {
			case c == '{' && i == 0:
				return nil, errors.New("a JSON serialization; only the compact one is accepted")
			case c == '=':
				return nil, errors.New("base64url with padding; a token has none")
			case c == ' ' || c == '\n' || c == '\r' || c == '\t':
				return nil, errors.New("white space in the token")
			}
			return nil, errors.New("a character outside the base64url alphabet")
		}
	}
	switch dots := strings.Count(compact, "."); dots + 1 {
	case jwsParts, jweParts:
		return strings.Split(compact, "."), nil
	}
	return nil, errors.New("a compact token has 3 parts (signed) or 5 parts (encrypted), separated by dots")
}

// alphabet is that of base64url (RFC 4648 section 5).
var alphabet = func() (in [256]bool) {
	for _, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_" {
		in[c] = true
	}
	return in
}()

// errNotCanonical covers a length that no byte string encodes to, and bits set behind the last byte:
// two texts for the same bytes would be two names for one token.
var errNotCanonical = errors.New("base64url that is not canonical: a wrong length or non-zero trailing bits")

// decodePart reads one part whose characters split has checked.
func decodePart(part string) ([]byte, error) {
	decoded, err := strictBase64.DecodeString(part)
	if err != nil {
		return nil, errNotCanonical
	}
	return decoded, nil
}

var strictBase64 = base64.RawURLEncoding.Strict()
