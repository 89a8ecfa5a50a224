package issuer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// ErrBadSignature is wrapped by the error for a signature that Vault gave and that does not verify. No token
// was released. It is a fault to look into: of Vault, of the network, or of the keyring's record.
var ErrBadSignature = errors.New("vault gave a signature that does not verify")

// errMoved: another version of the key signs now than the one that the header names.
var errMoved = errors.New("the key's signing version changes")

// errBurnt: the version that signs by our record is revoked. That says nothing about the order: in a compromise the
// revocation comes before the raised minimum versions, and both before the next reading.
var errBurnt = errors.New("the key's signing version is revoked; where nobody promotes another, rotate the key")

// OrderError says what is wrong with an order. Both strings may be shown to whoever ordered.
type OrderError struct {
	// Field is the order's member as POST /tokens names it: "token_type", "issuer", "key", "audience",
	// "subject", "client_id", "scope", "lifetime_seconds" or "claims".
	Field  string
	Detail string
}

func (e *OrderError) Error() string { return e.Field + ": " + e.Detail }

// RefusedError says that a decision about the token would be deny, and why.
type RefusedError struct {
	Reasons []pdp.Reason
	// PolicyRevision names the policy that decided, and Words are its own.
	PolicyRevision string
	Words          pdp.Words
}

// Codes are those of the reasons that deny, as records may have them.
func (e *RefusedError) Codes() []string {
	var codes []string
	for i := range e.Reasons {
		if e.Reasons[i].Enforcement.Denies() {
			codes = append(codes, pdp.RecordedCode(e.Reasons[i].Code, e.Words))
		}
	}
	return codes
}

func (e *RefusedError) Error() string {
	return "policy refuses the token: " + strings.Join(e.Codes(), ", ")
}

// UnavailableError says that nothing can be signed now: Vault is away, the key is not known, too many wait, or
// the policies cannot be asked.
type UnavailableError struct {
	// RetryAfter is when asking again may make sense; positive.
	RetryAfter time.Duration
	// Err is for the log.
	Err error
}

func (e *UnavailableError) Error() string { return fmt.Sprintf("signing is unavailable: %v", e.Err) }

// Unwrap gives the cause.
func (e *UnavailableError) Unwrap() error { return e.Err }
