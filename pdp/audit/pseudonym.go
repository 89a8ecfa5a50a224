package audit

import (
	"context"
	"time"
)

// Pseudonyms replaces identifiers by keyed hashes, so that within a period records about one person can be told to
// be that, and nobody without the period's key can tell whose they are. When the key is destroyed nobody can.
//
// It is on the way of every decision: it waits for nobody and is safe for concurrent use.
type Pseudonyms interface {
	// Pseudonym gives "p:<period>.v<key version>:<22 characters of base64url>": the first 16 bytes of the HMAC-SHA-256,
	// under the key of the period in which at lies, of kind, issuer and value. kind says what value is: the path of a
	// claim with dots ("sub"), or "request.client_ip". Empty: there is no key for that period; the caller erases.
	Pseudonym(at time.Time, kind, issuer, value string) string
	// Epoch names what pseudonyms of that moment depend on beside their arguments, the period and the version of its
	// key. Two moments of one epoch have the same pseudonyms. Empty: there is no key.
	Epoch(at time.Time) string
}

// PeriodKeys is where the keys of periods come from; it asks Vault and is not on the way of decisions.
type PeriodKeys interface {
	// PeriodKey gives the key of a period, at least 32 bytes, and the version of the key in Vault that it was made
	// with. The same period and version give the same key always, until that version is destroyed.
	PeriodKey(ctx context.Context, period string) (key []byte, version int, err error)
}
