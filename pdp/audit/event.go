package audit

import "time"

// The paths of events, in the place where OPA writes which rule was asked.
const (
	DecisionPath = "assay/decision"
	ChangePath   = "assay/change"
)

// KindDecision is the kind of a decision's record; a change's is its pdp.ChangeKind.
const KindDecision = "decision"

// The outcomes of masking, in Details.Mask.
const (
	MaskApplied = "applied"
	// MaskFailed: the mask was undefined, conflicting, malformed or failed, so everything that a mask may clear is erased.
	MaskFailed = "failed"
)

// PseudonymsUnavailable is what Details.Pseudonyms says where the period's key was not there: what would have been
// pseudonymised is erased.
const PseudonymsUnavailable = "unavailable"

// Event is one record of the log, as it is read back: one JSON object on one line, in the shape of OPA's decision-log
// events (EventV1), so that what reads those reads these. Members that are not known are ignored, and of those here
// any may be absent in a record of another version.
//
// Texts that begin with "p:" stand for an identifier: see Pseudonyms.
type Event struct {
	// Labels name the program: "app" is "assay", "id" the instance, "version" its version.
	Labels map[string]string `json:"labels"`
	// DecisionID is the decision's, or an id of the same form that a change's record gets.
	DecisionID string `json:"decision_id"`
	// TraceID and SpanID are those of the asking request's traceparent.
	TraceID string `json:"trace_id,omitempty"`
	SpanID  string `json:"span_id,omitempty"`
	// Bundles holds, under "assay", the revision of everything that the verdict depended on.
	Bundles map[string]Bundle `json:"bundles,omitempty"`
	// Path is DecisionPath or ChangePath.
	Path   string  `json:"path"`
	Input  Input   `json:"input"`
	Result *Result `json:"result,omitempty"` // of a decision
	// Erased are JSON pointers (RFC 6901) from "/input" or "/result" to what was there and is not written. The names in
	// them are only those that may be written; Details.ErasedUnnamed counts the others.
	Erased []string `json:"erased,omitempty"`
	// Masked are JSON pointers to what is written as a pseudonym.
	Masked []string `json:"masked,omitempty"`
	// RequestedBy is the caller's name (pdp.Caller.Name): an identity of a service, never pseudonymised.
	RequestedBy string    `json:"requested_by,omitempty"`
	Timestamp   time.Time `json:"timestamp"`
	Metrics     Metrics   `json:"metrics"`
	Custom      Custom    `json:"custom"`
}

// Revision is the policy's.
func (e *Event) Revision() string { return e.Bundles["assay"].Revision }

// Bundle is what OPA says of a bundle.
type Bundle struct {
	Revision string `json:"revision"`
}

// Metrics of a decision.
type Metrics struct {
	// HandlerNS is how long it took from the start of examination until the record was made, in nanoseconds.
	HandlerNS int64 `json:"timer_server_handler_ns,omitempty"`
}

// Input is policy's input of a decision, masked; member names are those of input in Rego. Of a change it holds Change
// alone.
type Input struct {
	Token        *Token        `json:"token,omitempty"`
	Verification *Verification `json:"verification,omitempty"`
	Revocation   *Revocation   `json:"revocation,omitempty"`
	Request      *Request      `json:"request,omitempty"`
	// Time is the moment of the decision in whole seconds since the epoch.
	Time   int64   `json:"time,omitempty"`
	Change *Change `json:"change,omitempty"`
}

// Token is what is written of a token: never its text, its signature, or a claim that the mask did not clear.
type Token struct {
	Size int    `json:"size"` // bytes of the compact serialization
	Kind string `json:"kind,omitempty"`
	// Algorithm, Encryption, KeyID, Type and ContentType are texts that whoever made the token chose: they are written
	// where Assay knows them (a registered algorithm, a known media type, the kid of one of the issuer's keys) and as a
	// pseudonym otherwise.
	Algorithm   string `json:"alg,omitempty"`
	Encryption  string `json:"enc,omitempty"`
	KeyID       string `json:"kid,omitempty"`
	Type        string `json:"typ,omitempty"`
	ContentType string `json:"cty,omitempty"`
	// KeyReferences names those of jku, jwk, x5u and x5c that the header has.
	KeyReferences []string `json:"key_references,omitempty"`
	// ID is the token's "jti" where the mask clears that, else its pseudonym; of a verified token.
	ID        string `json:"id,omitempty"`
	Encrypted bool   `json:"encrypted,omitempty"`
	// Claims are those of a verified token that the mask cleared, and those that it pseudonymised, under their paths.
	// Numbers are json.Number.
	Claims map[string]any `json:"claims,omitempty"`
}

// UnmarshalJSON keeps the claims' numbers as they are written.
func (t *Token) UnmarshalJSON(data []byte) error {
	type plain Token
	return decodeNumbers(data, (*plain)(t))
}

// Verification is how the examination ended.
type Verification struct {
	Status string `json:"status"`
	// Code is the reason's code, unless verified.
	Code string `json:"code,omitempty"`
	// Issuer is the identifier of the configured issuer, if verified.
	Issuer    string `json:"issuer,omitempty"`
	Algorithm string `json:"alg,omitempty"`
	Key       *Key   `json:"key,omitempty"`
}

// Key is the public key that verified the token.
type Key struct {
	Thumbprint string `json:"thumbprint"` // RFC 7638
	ID         string `json:"kid,omitempty"`
	Type       string `json:"kty,omitempty"`
	Curve      string `json:"crv,omitempty"`
	Bits       int    `json:"bits,omitempty"`
	Created    int64  `json:"created,omitempty"` // seconds since the epoch
	Algorithm  string `json:"alg,omitempty"`
}

// Revocation is what was known of revocations.
type Revocation struct {
	Known      bool   `json:"known"`
	Revoked    string `json:"revoked,omitempty"`
	AgeSeconds int64  `json:"age_seconds,omitempty"`
}

// Request is what the asking service said. Audience, TokenType, Purpose and Method are always written, as texts in which
// no mail address and no token fits; the rest only where the mask clears or pseudonymises it.
type Request struct {
	Audience     string         `json:"audience,omitempty"`
	TokenType    string         `json:"token_type,omitempty"`
	Purpose      string         `json:"purpose,omitempty"`
	Method       string         `json:"method,omitempty"`
	Action       string         `json:"action,omitempty"`
	Resource     string         `json:"resource,omitempty"`
	Path         string         `json:"path,omitempty"`
	ClientIP     string         `json:"client_ip,omitempty"`
	Context      map[string]any `json:"context,omitempty"` // numbers are json.Number
	Caller       string         `json:"caller,omitempty"`
	CallerMethod string         `json:"caller_method,omitempty"`
}

// UnmarshalJSON keeps the context's numbers as they are written.
func (r *Request) UnmarshalJSON(data []byte) error {
	type plain Request
	return decodeNumbers(data, (*plain)(r))
}

// Result is the decision as it was answered, without the claims that it released (input.token.claims has those that may
// be written), without messages, in which a rule's author could quote a claim (the code and the details say the same), and
// without the token's summary, which is of Input's Token and Verification.
type Result struct {
	Allow           bool        `json:"allow"`
	Reasons         []Reason    `json:"reasons"`
	Obligations     Obligations `json:"obligations"`
	CacheForSeconds int64       `json:"cache_for_seconds"`
	// Released are the paths, with dots, of claims that the caller was given.
	Released []string `json:"released,omitempty"`
	// Supersedes is the id of a recorded allow that was not answered, since the token was found revoked meanwhile.
	Supersedes string `json:"supersedes,omitempty"`
}

// Obligations of the answer.
type Obligations struct {
	OmitClaims []string `json:"omit_claims,omitempty"`
}

// Reason is one finding.
type Reason struct {
	Code        string `json:"code"`
	Severity    string `json:"severity,omitempty"`
	Enforcement string `json:"enforcement"`
	// Details are numbers (json.Number), booleans and names of claims.
	Details  map[string]any `json:"details,omitempty"`
	Controls []string       `json:"controls,omitempty"`
}

// UnmarshalJSON keeps the details' numbers as they are written.
func (r *Reason) UnmarshalJSON(data []byte) error {
	type plain Reason
	return decodeNumbers(data, (*plain)(r))
}

// Change is what somebody changed or was refused.
type Change struct {
	Kind string `json:"kind"`
	// Target is what it was done to; a pseudonym where that identifies a person.
	Target string `json:"target,omitempty"`
	// About is what a revocation is about; Value is written plain for clients, keys and issuers and is a pseudonym
	// otherwise, the same as that of the claim in decisions.
	About   *About         `json:"about,omitempty"`
	Reason  string         `json:"reason,omitempty"`
	Ticket  string         `json:"ticket,omitempty"`
	Details map[string]any `json:"details,omitempty"`
}

// UnmarshalJSON keeps the details' numbers as they are written.
func (c *Change) UnmarshalJSON(data []byte) error {
	type plain Change
	return decodeNumbers(data, (*plain)(c))
}

// About is an identifier of an issuer.
type About struct {
	Kind   string `json:"kind"` // token, subject, client, session, key, issuer
	Issuer string `json:"issuer,omitempty"`
	Value  string `json:"value,omitempty"`
}

// Custom is where OPA's events hold what is not OPA's.
type Custom struct {
	Assay Details `json:"assay"`
}

// Details are what Assay adds to OPA's event.
type Details struct {
	// Kind is KindDecision or a pdp.ChangeKind.
	Kind         string `json:"kind"`
	RequestID    string `json:"request_id,omitempty"`
	CallerMethod string `json:"caller_method,omitempty"`
	// LifetimeSeconds is exp - iat of a verified token that has both.
	LifetimeSeconds *int64 `json:"lifetime_seconds,omitempty"`
	// Floor are the codes of the reasons that Go's floor gave against a verified token, which no policy lifts.
	Floor []string `json:"floor,omitempty"`
	// Mask is MaskApplied or MaskFailed; MaskRevision says which mask was applied, unless it is that of the bundles' revision.
	Mask         string `json:"mask,omitempty"`
	MaskRevision string `json:"mask_revision,omitempty"`
	// Pseudonyms is PseudonymsUnavailable or empty.
	Pseudonyms string `json:"pseudonyms,omitempty"`
	// ErasedUnnamed counts what was erased and whose name may not be written either, or past the number that is listed.
	ErasedUnnamed int `json:"erased_unnamed,omitempty"`
	// ErasedUnsaid counts the controls, and the names and texts in lists of details and obligations, that are not written:
	// the policy does not say them, or they are values of the token.
	ErasedUnsaid int `json:"erased_unsaid,omitempty"`
}
