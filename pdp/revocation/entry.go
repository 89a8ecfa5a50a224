package revocation

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// Kind says what an entry revokes. Its text is what pdp.Revocation.Revoked says, and follows "revocation." in
// reason codes.
type Kind string

// The kinds, narrowest first. Where several entries match a token, the first of them in this order is told.
const (
	// Token is one token: Value is its "jti", or pdp.Token.ID ("sha256:…" over the signing input) where it has none.
	Token Kind = "token"
	// Subject is all tokens of a "sub".
	Subject Kind = "subject"
	// Client is all tokens of a "client_id" (else "azp").
	Client Kind = "client"
	// Session is all tokens of a "sid".
	Session Kind = "session"
	// Key is all tokens that a key verified: Value is its RFC 7638 SHA-256 thumbprint, base64url.
	Key Kind = "key"
	// Issuer is all tokens of the issuer: Value is empty.
	Issuer Kind = "issuer"
)

// Kinds are all kinds, in the order in which they are told.
func Kinds() []Kind { return []Kind{Token, Subject, Client, Session, Key, Issuer} }

// Wide reports whether an entry of this kind may carry IssuedBefore: subjects, clients, sessions and issuers
// outlive their tokens. A token is one token, and what a burnt key signed proves nothing of when it was signed.
func (k Kind) Wide() bool { return k == Subject || k == Client || k == Session || k == Issuer }

// Entry revokes something until it ends. Issuer, Kind and Value identify it; there is one entry for each.
type Entry struct {
	Kind Kind
	// Issuer is the exact "iss" of the tokens concerned; required.
	Issuer string
	// Value is what is revoked; see the kinds. At most 1024 bytes.
	Value string
	// IssuedBefore limits a wide entry to tokens whose "iat" is before it; a token without a usable iat counts
	// as issued before. Zero: whatever iat. Whole seconds; a part of a second counts as the whole, so that
	// nothing issued before the moment given slips through.
	IssuedBefore time.Time
	// Ends is when the last token that this could concern is dead: its expiry, leeway and clock skew, or, where
	// that is not known, now and the issuer's hard_max_lifetime. Required. Whole seconds, rounded up.
	Ends time.Time
	// Reason, Actor and Ticket say why, who and under which ticket; at most 1024 bytes each.
	Reason, Actor, Ticket string
	// CreatedAt is when it was made, on its maker's clock. Publish fills it in where it is zero.
	CreatedAt time.Time
}

// maxText bounds each text of an entry, in bytes.
const maxText = 1024

// ErrInvalid is wrapped by every error about an entry that cannot be published as it is.
var ErrInvalid = errors.New("not a valid revocation")

// Check says what is wrong with an entry, wrapping ErrInvalid.
func (e *Entry) Check(now time.Time) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
	if kindNumber(e.Kind) == 0 {
		return invalid("kind %q: choose token, subject, client, session, key or issuer", e.Kind)
	}
	if e.Issuer == "" {
		return invalid("issuer is missing: the exact iss of the tokens concerned")
	}
	if (e.Value == "") != (e.Kind == Issuer) {
		if e.Kind == Issuer {
			return invalid("an issuer is revoked as a whole: leave value out")
		}
		return invalid("value is missing: which %s is revoked", e.Kind)
	}
	if !e.Kind.Wide() && !e.IssuedBefore.IsZero() {
		return invalid("issued_before makes no sense for a %s: it is revoked whatever its tokens say", e.Kind)
	}
	for name, text := range map[string]string{"issuer": e.Issuer, "value": e.Value, "reason": e.Reason, "actor": e.Actor, "ticket": e.Ticket} {
		if len(text) > maxText {
			return invalid("%s is %d bytes long; at most %d", name, len(text), maxText)
		}
	}
	if !e.Ends.After(now) {
		return invalid("it has ended already: ends must be in the future")
	}
	for name, at := range map[string]time.Time{"ends": e.Ends, "issued_before": e.IssuedBefore} {
		if s := at.Unix(); !at.IsZero() && (s < 1 || s >= maxSeconds) {
			return invalid("%s must lie between 1970 and 2106", name)
		}
	}
	return nil
}

// Key identifies the entry across replicas: base64url of a SHA-256 over kind, issuer and value, 43
// characters. It tells nothing of them to whoever cannot guess them.
func (e *Entry) Key() string {
	sum := e.sum()
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func (e *Entry) sum() [sha256.Size]byte {
	text := make([]byte, 0, 1+4+len(e.Issuer)+len(e.Value))
	text = append(text, kindNumber(e.Kind))
	text = binary.BigEndian.AppendUint32(text, uint32(len(e.Issuer))) //nolint:gosec // bounded by Check
	text = append(text, e.Issuer...)
	text = append(text, e.Value...)
	return sha256.Sum256(text)
}

// kindNumber is the kind in one byte, 1 to 6; 0 for what is no kind. Stored in the stream's keys: never renumber.
func kindNumber(k Kind) byte {
	switch k {
	case Token:
		return 1
	case Subject:
		return 2
	case Client:
		return 3
	case Session:
		return 4
	case Key:
		return 5
	case Issuer:
		return 6
	}
	return 0
}

// maxSeconds is past the last second that the index can hold.
const maxSeconds = 1<<32 - 1

// ceilSecond is the first whole second not before t, as seconds since the epoch; 0 for the zero time.
func ceilSecond(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}
