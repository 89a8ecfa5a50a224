package pdp

import (
	"crypto/sha256"
	"sync"
	"time"
)

// Decision answers a Request. The zero value is a deny.
type Decision struct {
	// ID is unique and sorts by time (a ULID).
	ID    string
	Allow bool
	// Reasons holds everything that was found, denies first; a warn or waived one stands beside an allow.
	Reasons []Reason
	// Token describes the judged token without revealing it.
	Token TokenSummary
	// Claims holds the verified claims that the asking audience may see; empty on a deny. Not to be changed:
	// decisions may share it.
	Claims map[string]any
	// Obligations tells the caller what to do with the token beyond allow or deny.
	Obligations Obligations
	// CacheForSeconds is how long the caller may reuse this answer; 0 on a deny.
	CacheForSeconds int64
	// PolicyRevision is a digest over all that the verdict depends on beside the facts.
	PolicyRevision string
	// Words are those of the policy; nil: none are known.
	Words       Words
	EvaluatedAt time.Time
	// Supersedes is the ID of an allow that was recorded and never answered, because the token was found revoked
	// once it was; empty otherwise.
	Supersedes string
	// Vetoes are the codes of the reasons that Go's floor gave against a verified token, whatever policy said. They are
	// not answered, but recorded: with them a decision can be made again under another policy.
	Vetoes []string
	// Receipt names the record of this decision in the audit log; nil unless the record is on disk for good.
	Receipt *Receipt

	claimsJSON []byte // the text of Claims where it is known already
}

// Receipt says where in the audit log a record stands, so that whoever holds it can challenge the log: a log that
// cannot prove this leaf at this index has lost or changed the record.
type Receipt struct {
	// Log is the log's name, the origin of its checkpoints.
	Log string
	// Index is the record's place, from zero.
	Index int64
	// LeafHash is the Merkle tree's hash of the record (RFC 6962 section 2.1).
	LeafHash [sha256.Size]byte
}

// TokenSummary is what may be told and recorded about any token, verified or not.
type TokenSummary struct {
	Status    Status
	Kind      string
	Algorithm string
	KeyID     string
	Type      string
	// Issuer, TokenID and ExpiresAt are set for a verified token only.
	Issuer, TokenID string
	ExpiresAt       *NumericDate
	// Keyless is Verification.Keyless. It is neither answered nor recorded.
	Keyless bool
}

// Obligations of an answer.
type Obligations struct {
	// OmitClaims names the claims that were held back and that the caller must not read from the token itself.
	OmitClaims []string
}

// Enforcement is what a reason does to the answer.
type Enforcement string

// The enforcements.
const (
	Deny   Enforcement = "deny"
	Warn   Enforcement = "warn"
	Waived Enforcement = "waived"
)

// Denies tells that a reason keeps an answer from being allow. What is no enforcement does.
func (e Enforcement) Denies() bool { return e != Warn && e != Waived }

// Severity ranks reasons for people.
type Severity string

// The severities.
const (
	Low      Severity = "low"
	Medium   Severity = "medium"
	High     Severity = "high"
	Critical Severity = "critical"
)

// Reason is one finding about a token.
type Reason struct {
	// Code is "family.name": stable, and listed in the catalogue.
	Code        string
	Message     string
	Severity    Severity
	Enforcement Enforcement
	// Details holds numbers, booleans and names of claims, never a claim's value:
	// json.Number, int64, bool, string and []string.
	Details map[string]any
	// Controls are the ids of the requirements that the finding serves, such as "RFC8725:3.1".
	Controls []string
}

// Words tells which texts stand in a policy, its configuration included. One that a verdict has and that does not was
// computed, perhaps out of what nobody is to read: it is answered, and not recorded.
type Words interface {
	Says(text string) bool
	// SaysCode tells that a text, which Says knows too, stands where a code does: it can be no claim.
	SaysCode(text string) bool
}

// ComputedCode stands in records for a code that a rule computed.
const ComputedCode = "computed.code"

// RecordedCode is a reason's code as metrics and logs may have it: one that Go gives, or that the policy says. Records
// have it too, unless it is not where a code stands and is a value of the token. words may be nil.
func RecordedCode(code string, words Words) string {
	if _, ours := floorByCode[code]; ours || words != nil && words.Says(code) {
		return code
	}
	return ComputedCode
}

// Verdict is what the policy says of some facts. The zero value denies.
type Verdict struct {
	Allow   bool
	Reasons []Reason
	// Claims holds the paths of the claims that may be released to the asking audience: member names from
	// the outermost inwards. A path that the token does not have releases nothing.
	Claims      [][]string
	Obligations Obligations
	// CacheForSeconds is the longest that policy lets a caller reuse an allow.
	CacheForSeconds int64
	// UnchangedUntil is the last second, since the epoch, at which facts that differ in nothing but their time
	// still give this verdict. Zero, and whatever lies before the facts' own time: only in that second.
	UnchangedUntil int64
	Revision       string
	// Words are those of the policy; nil: none are known.
	Words Words
	// Kept may be nil. A policy that gives one verdict again for the same token gives the same Kept with it.
	Kept *Kept
}

// Kept is where the decider keeps what follows from a verdict and its token alone, so that it is not worked
// out for every decision. It is safe for concurrent use.
type Kept struct {
	once       sync.Once
	claims     map[string]any
	claimsJSON []byte
}

// released gives the claims that the verdict releases from the token, and their JSON text.
func (v *Verdict) released(t *Token) (claims map[string]any, text []byte) {
	if v.Kept == nil {
		return release(t.Claims, v.Claims), nil
	}
	v.Kept.once.Do(func() {
		v.Kept.claims = release(t.Claims, v.Claims)
		if text, err := appendValue(nil, v.Kept.claims); err == nil {
			v.Kept.claimsJSON = text
		}
	})
	return v.Kept.claims, v.Kept.claimsJSON
}
