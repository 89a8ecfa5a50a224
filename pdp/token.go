package pdp

import (
	"sync/atomic"
	"time"
)

// Status says how far the examination of a token came.
type Status string

// The statuses, in the order in which examination can end. Only StatusVerified ever leads to an allow.
const (
	StatusMalformed        Status = "malformed"
	StatusUnsupported      Status = "unsupported"
	StatusUndecryptable    Status = "undecryptable"
	StatusIssuerUntrusted  Status = "issuer_untrusted"
	StatusAlgorithmRefused Status = "algorithm_refused"
	StatusKeyUnknown       Status = "key_unknown"
	StatusSignatureInvalid Status = "signature_invalid"
	StatusVerified         Status = "verified"
)

// Statuses lists them, in that order.
func Statuses() []Status {
	return []Status{
		StatusMalformed, StatusUnsupported, StatusUndecryptable, StatusIssuerUntrusted, StatusAlgorithmRefused, StatusKeyUnknown,
		StatusSignatureInvalid, StatusVerified,
	}
}

// Token is a decoded token. It is immutable once examined and may be shared between decisions, also by
// the verified-token cache.
type Token struct {
	// Size is the length of the compact serialization in bytes.
	Size int
	// Kind is "jws", "jwe" (an encrypted token that was not opened) or "nested" (opened: a JWS inside a
	// JWE); empty where the bytes are neither.
	Kind string
	// Header is the JOSE header that the signature covers; of an unopened JWE, its own.
	// Read strictly and bounded, believed only as far as the verification went.
	Header Header
	// Claims is the verified claims set as decoded by strictjson; nil unless the signature was verified.
	Claims map[string]any

	// ID identifies the token within its issuer: its "jti", else "sha256:" and the base64url hash of its
	// signing input. Empty unless verified.
	ID string
	// Subject, ClientID and SessionID are "sub", "client_id" (else "azp") and "sid" where they are strings.
	Subject, ClientID, SessionID string
	// ExpiresAt, NotBefore and IssuedAt are "exp", "nbf" and "iat". Nil where absent or unusable.
	ExpiresAt, NotBefore, IssuedAt *NumericDate
	// Unusable names those of "exp", "nbf" and "iat" that are present and not a NumericDate.
	Unusable []string

	prepared atomic.Pointer[prepared]
}

type prepared struct {
	revision string
	value    any
}

// Prepared gives what a policy engine kept with this token for the given policy revision, or nil.
func (t *Token) Prepared(revision string) any {
	if p := t.prepared.Load(); p != nil && p.revision == revision {
		return p.value
	}
	return nil
}

// KeepPrepared keeps one value with the token, in place of what was kept for any other revision.
// The value must be safe for concurrent use.
func (t *Token) KeepPrepared(revision string, value any) {
	t.prepared.Store(&prepared{revision: revision, value: value})
}

// Header is a JOSE header (RFC 7515 section 4, RFC 7516 section 4).
type Header struct {
	// Algorithm is "alg"; Encryption is "enc", present in a JWE only.
	Algorithm, Encryption string
	// KeyID is "kid": untrusted input that is only ever a map key (RFC 8725 section 3.10).
	KeyID string
	// HasKeyID tells an empty kid from an absent one.
	HasKeyID bool
	// Type is "typ" in lower case without a leading "application/" (RFC 7515 section 4.1.9); ContentType
	// is "cty" likewise.
	Type, ContentType string
	// KeyReferences names those of "jku", "jwk", "x5u" and "x5c" that are present, sorted. None is followed.
	KeyReferences []string
	// Parameters is the whole header as decoded by strictjson; nil if it could not be read.
	Parameters map[string]any
}

// Verification is the outcome of examining one token against the trust in force at that moment.
// The zero value is not verified.
type Verification struct {
	Status Status
	// Reason says why, for every status but StatusVerified.
	Reason *Reason
	// Trust is the snapshot that the token was verified against; nil unless the issuer is trusted.
	Trust *Trust
	// Key is the one of Trust's keys that verified the signature; nil unless verified.
	Key *Key
	// Algorithm is the "alg" under which it did.
	Algorithm string
	// Keyless tells, with StatusKeyUnknown, that no key at all of the trusted issuer is known at present: the token may be a
	// good one, which only its issuer's key set, once it is loaded, can tell.
	Keyless bool
	// Encrypted tells that the token came inside a JWE that Assay opened.
	Encrypted bool
	// EncryptionKeyID is that JWE's "kid".
	EncryptionKeyID string
}

// Verified reports whether the signature was verified with one of the issuer's keys.
func (v *Verification) Verified() bool {
	return v.Status == StatusVerified && v.Trust != nil && v.Key != nil
}

// Revocation is what the index of revocations says about a token.
type Revocation struct {
	// Revoked is what kind of entry matches: "token", "subject", "client", "session", "key" or "issuer";
	// empty where none does.
	Revoked string
	// Known tells that an index was asked; false where revocation is not configured.
	Known bool
	// AgeSeconds is how old the index's knowledge is, in whole seconds, rounded up.
	AgeSeconds int64
}

// Facts is everything that a decision may depend on. The same facts give the same verdict.
type Facts struct {
	Request      *Request
	Token        *Token
	Verification *Verification
	Revocation   Revocation
	// Time is the moment of the decision, in whole seconds since the epoch.
	Time int64
	// Began is when work on the request began, for the record's latency; zero where nothing is recorded.
	Began time.Time
}
