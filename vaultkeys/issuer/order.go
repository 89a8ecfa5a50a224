package issuer

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// Order says what token is wanted. Who may order what is not decided here.
type Order struct {
	// Issuer is the "iss"; required.
	Issuer string
	// KeyName is the signing key's; required.
	KeyName string
	// TokenType is pdp.AccessToken (RFC 9068), which is also what an empty one means, or pdp.GenericToken.
	TokenType pdp.TokenType
	// Subject is the "sub"; required.
	Subject string
	// ClientID is the "client_id"; required for an access token.
	ClientID string
	// Audience is the "aud"; at least one, at most 16, none twice.
	Audience []string
	// Scope is a list separated by single spaces (RFC 6749 section 3.3); empty: no "scope".
	Scope string
	// Lifetime in whole seconds. Zero: the key's longest, or MaxLifetime where that is less.
	Lifetime time.Duration
	// MaxLifetime limits Lifetime beside the key's own limit; zero: no other limit.
	MaxLifetime time.Duration
	// EncryptTo names the encryption key of the audience; empty: the token is only signed.
	EncryptTo string
	// Claims are further claims: string, bool, nil, json.Number, int, int64, float64, []string, []any and
	// map[string]any. They cannot be any that this package sets.
	Claims map[string]any
}

const maxAudiences = 16

// reserved are the claims that an order has members for or that the issuer sets itself; and azp, which stands for
// client_id where there is none, so that it would name a client past the grant of clients.
var reserved = [...]string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "azp", "scope"}

// check finds what is wrong with the order itself, and completes it.
func (o *Order) check() error {
	if o.TokenType == "" {
		o.TokenType = pdp.AccessToken
	}
	if o.TokenType != pdp.AccessToken && o.TokenType != pdp.GenericToken {
		return &OrderError{"token_type", fmt.Sprintf("only %s and %s are issued", pdp.AccessToken, pdp.GenericToken)}
	}
	for _, member := range []struct {
		field, value string
		required     bool
	}{
		{"issuer", o.Issuer, true}, {"key", o.KeyName, true}, {"subject", o.Subject, true},
		{"client_id", o.ClientID, o.TokenType == pdp.AccessToken}, {"scope", o.Scope, false},
	} {
		if member.required && member.value == "" {
			return &OrderError{member.field, "it is required"}
		}
		if !utf8.ValidString(member.value) {
			return &OrderError{member.field, "it is not valid UTF-8"}
		}
	}
	if err := o.checkAudience(); err != nil {
		return err
	}
	if o.Scope != "" && !validScope(o.Scope) {
		return &OrderError{"scope", "it must be scope tokens separated by single spaces (RFC 6749 section 3.3)"}
	}
	if o.Lifetime < 0 || o.Lifetime%time.Second != 0 || o.MaxLifetime < 0 {
		return &OrderError{"lifetime_seconds", "it must be a whole number of seconds, not negative"}
	}
	for _, name := range reserved {
		if _, taken := o.Claims[name]; taken {
			return &OrderError{"claims", name + " cannot be set here"}
		}
	}
	return nil
}

func (o *Order) checkAudience() error {
	if n := len(o.Audience); n == 0 || n > maxAudiences {
		return &OrderError{"audience", fmt.Sprintf("there must be one to %d", maxAudiences)}
	}
	for i, audience := range o.Audience {
		if audience == "" || !utf8.ValidString(audience) {
			return &OrderError{"audience", "each must be a string of valid UTF-8 that is not empty"}
		}
		if slices.Contains(o.Audience[:i], audience) {
			return &OrderError{"audience", "one is named twice"}
		}
	}
	return nil
}

func validScope(scope string) bool {
	for token := range strings.SplitSeq(scope, " ") {
		if token == "" {
			return false
		}
		for i := range len(token) {
			if c := token[i]; c < 0x21 || c > 0x7e || c == '"' || c == '\\' {
				return false
			}
		}
	}
	return true
}

// lifetime is how long the token will live: never longer than its key is published.
func (o *Order) lifetime(key vaultkeys.SigningKey) (time.Duration, error) {
	limit := key.MaxTokenLifetime
	if o.MaxLifetime > 0 {
		limit = min(limit, o.MaxLifetime.Truncate(time.Second))
	}
	switch {
	case limit < time.Second:
		return 0, &OrderError{"lifetime_seconds", "the longest allowed lifetime is less than a second"}
	case o.Lifetime == 0:
		return limit, nil
	case o.Lifetime > limit:
		return 0, &OrderError{"lifetime_seconds", fmt.Sprintf("%d s is longer than the %d s that a token signed with this key may live",
			int64(o.Lifetime/time.Second), int64(limit/time.Second))}
	}
	return o.Lifetime, nil
}

// draft is a token before it is signed.
type draft struct {
	name            string // of the transit key
	key             vaultkeys.SigningKey
	header, payload []byte
	input           []byte // base64url(header).base64url(payload), RFC 7515 section 5.1
	tokenID         string
	issued, expires int64 // seconds since the epoch
}

// draft writes header and claims for the key that signs now. sealing is the envelope around it, or nil.
func (i *Issuer) draft(o *Order, key vaultkeys.SigningKey, sealing *envelope) (*draft, error) {
	lifetime, err := o.lifetime(key)
	if err != nil {
		return nil, err
	}
	d := &draft{name: o.KeyName, key: key, issued: i.c.Now().Unix()}
	d.expires = d.issued + int64(lifetime/time.Second)
	if d.tokenID, err = i.newTokenID(); err != nil {
		return nil, err
	}
	if d.header, err = d.appendHeader(nil, o); err != nil {
		return nil, err
	}
	if d.payload, err = d.appendClaims(make([]byte, 0, 512), o); err != nil {
		return nil, err
	}
	b64 := base64.RawURLEncoding
	size := b64.EncodedLen(len(d.header)) + 1 + b64.EncodedLen(len(d.payload))
	whole := size + 1 + b64.EncodedLen(signatureBytes(&key.Key))
	if sealing != nil {
		whole = sealing.size(whole)
	}
	if whole > i.c.MaxTokenSize {
		return nil, &OrderError{"claims", fmt.Sprintf("the token would have %d bytes, %d at most", whole, i.c.MaxTokenSize)}
	}
	d.input = make([]byte, 0, size)
	d.input = b64.AppendEncode(d.input, d.header)
	d.input = append(d.input, '.')
	d.input = b64.AppendEncode(d.input, d.payload)
	return d, nil
}

// signatureBytes is how long a signature with the key is.
func signatureBytes(key *pdp.Key) int {
	bytes := (key.Bits() + 7) / 8
	if key.Type() != "RSA" {
		bytes *= 2
	}
	return bytes
}

func (d *draft) appendHeader(dst []byte, o *Order) ([]byte, error) {
	typ := "JWT"
	if o.TokenType == pdp.AccessToken {
		typ = "at+jwt" // RFC 9068 section 2.1
	}
	w := newWriter(dst)
	w.member("typ", typ)
	w.member("alg", d.key.Key.Algorithm)
	w.member("kid", d.key.Key.ID)
	return w.end()
}

// appendClaims writes the claims of RFC 9068 section 2.2, the registered ones first, the further ones sorted.
func (d *draft) appendClaims(dst []byte, o *Order) ([]byte, error) {
	w := newWriter(dst)
	w.member("iss", o.Issuer)
	w.member("sub", o.Subject)
	if len(o.Audience) == 1 {
		w.member("aud", o.Audience[0])
	} else {
		w.member("aud", o.Audience)
	}
	w.member("exp", d.expires)
	w.member("iat", d.issued)
	w.member("jti", d.tokenID)
	if o.ClientID != "" {
		w.member("client_id", o.ClientID)
	}
	if o.Scope != "" {
		w.member("scope", o.Scope)
	}
	for _, name := range sortedNames(o.Claims) {
		w.member(name, o.Claims[name])
	}
	return w.end()
}

func (d *draft) issuedToken(signature []byte) string {
	token := append(slices.Clip(d.input), '.')
	return string(base64.RawURLEncoding.AppendEncode(token, signature))
}

func (d *draft) result(o *Order, signature []byte) *Issued {
	return &Issued{
		Token: d.issuedToken(signature), TokenType: o.TokenType, Issuer: o.Issuer,
		KeyID: d.key.Key.ID, KeyVersion: d.key.Version, Algorithm: d.key.Key.Algorithm,
		TokenID: d.tokenID, IssuedAt: time.Unix(d.issued, 0), ExpiresAt: time.Unix(d.expires, 0),
	}
}
