package pdp

import (
	"context"
	"time"
)

// ChangeKind says what was changed, as "what.how".
type ChangeKind string

// The kinds of change that leave a record.
const (
	RevocationAdded   ChangeKind = "revocation.added"
	RevocationRemoved ChangeKind = "revocation.removed"
	TokenIssued       ChangeKind = "token.issued"
	TokenRefused      ChangeKind = "token.refused"
	KeyRotated        ChangeKind = "key.rotated"
	KeyRetired        ChangeKind = "key.retired"
	KeyCompromised    ChangeKind = "key.compromised"
	BundleActivated   ChangeKind = "bundle.activated"
	BundleRefused     ChangeKind = "bundle.refused"
	AccessRefused     ChangeKind = "access.refused"
	ConfigActivated   ChangeKind = "config.activated"
	LogRecovered      ChangeKind = "log.recovered"
	LogTrimmed        ChangeKind = "log.trimmed"
	LogDropped        ChangeKind = "log.dropped"
	LogUndelivered    ChangeKind = "log.undelivered"
)

// ChangeKinds lists the kinds of change.
func ChangeKinds() []ChangeKind {
	return []ChangeKind{
		RevocationAdded, RevocationRemoved, TokenIssued, TokenRefused, KeyRotated, KeyRetired, KeyCompromised, BundleActivated, BundleRefused,
		AccessRefused, ConfigActivated, LogRecovered, LogTrimmed, LogDropped, LogUndelivered,
	}
}

// Change is one thing that somebody changed, or was refused to. It holds no token, no secret and no claim
// value: identifiers stand in About, and only where the change is about them.
type Change struct {
	Kind ChangeKind
	At   time.Time
	// Actor is who did it; its Name is empty where it was this process by itself.
	Actor Caller
	// Target is what it was done to, such as a revocation's key, a transit key's name, a bundle's name.
	Target string
	// About is the identifier that the change is about, where it is about one; Target then tells it to those who know it.
	About About
	// Reason and Ticket are what the actor gave.
	Reason, Ticket string
	// Details hold numbers, booleans, names and digests.
	Details map[string]any
}

// About is an identifier of an issuer: of a token, a subject, a client, a session or a key, or the issuer itself. It may
// be personal data, so it is for a recorder that replaces it, and never for a service's log.
type About struct {
	// Kind is "token", "subject", "client", "session", "key" or "issuer"; empty where there is nothing.
	Kind          string
	Issuer, Value string
}

// ChangeRecorder writes changes down. When it returns an error, what was changed must be reported as not recorded.
type ChangeRecorder interface {
	RecordChange(ctx context.Context, c Change) error
}
