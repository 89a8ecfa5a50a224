package report

import "time"

// Schema names the form of Report's JSON. Members may be added under the same name, never change their meaning.
const Schema = "assay.audit.report/v1"

// Report answers an auditor for one framework and one period. Times are RFC 3339 in UTC, durations whole seconds
// (members that end in _seconds), days calendar days in UTC.
type Report struct {
	Schema    string    `json:"schema"`
	Framework Framework `json:"framework"`
	// From is the first moment of the period, To the first after it.
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
	// GeneratedAt is when the report was made, GeneratedBy the program and its version.
	GeneratedAt time.Time `json:"generated_at"`
	GeneratedBy string    `json:"generated_by"`

	Totals Totals `json:"totals"`
	// Attention lists what a reader should look into, computed from the rest.
	Attention  []Attention `json:"attention"`
	Controls   []Control   `json:"controls"`
	Days       []Day       `json:"days"`
	Reasons    []Finding   `json:"reasons"`
	Issuers    []Issuer    `json:"issuers"`
	Algorithms []Algorithm `json:"algorithms"`
	Keys       Keys        `json:"keys"`
	// Revocations tells how fast each took effect, as far as records can.
	Revocations Revocations `json:"revocations"`
	Policy      Policy      `json:"policy"`
	// Configuration lists the configurations that came into force.
	Configuration Changes `json:"configuration"`
	// Access lists what the API refused to callers.
	Access Changes `json:"access_refused"`
	// TokensRefused lists the tokens that policy did not let be issued.
	TokensRefused Changes   `json:"tokens_refused"`
	Integrity     Integrity `json:"integrity"`
	Waivers       Waivers   `json:"waivers"`
	Evidence      Evidence  `json:"evidence"`
	// Limits are sentences on what the records cannot tell.
	Limits []string `json:"limits"`
}

// Figure is a number of records, with the command that lists exactly those; the command is empty for records that lack
// what others are told apart by, as a policy revision, since nothing can be asked by what is not there.
type Figure struct {
	Value int64  `json:"value"`
	Query string `json:"query"`
}

// Outcome counts decisions. Denied and Allowed add up to Judged; a decision with several findings counts once in
// each of Warned and Waived.
type Outcome struct {
	Judged  Figure `json:"judged"`
	Allowed Figure `json:"allowed"`
	Denied  Figure `json:"denied"`
	// Warned and Waived count decisions with at least one finding that was only reported, or that a waiver covered.
	Warned Figure `json:"warned"`
	Waived Figure `json:"waived"`
}

// Totals counts the period's records.
type Totals struct {
	Records Figure `json:"records"`
	Outcome
	// Verified counts decisions on tokens whose signature was verified: only of those the claims were judged.
	Verified Figure `json:"verified"`
	// Statuses tells how far the examination of tokens came, "verified" first.
	Statuses []Status `json:"statuses"`
	// Superseding counts denies that took the place of an allow which was recorded and never answered, because the
	// token was found revoked meanwhile: those tokens have two records.
	Superseding Figure `json:"superseding"`
	Changes     Figure `json:"changes"`
}

// Status counts the decisions on tokens whose examination ended so.
type Status struct {
	Status string `json:"status"`
	Judged Figure `json:"judged"`
}

// Attention is one thing to look into.
type Attention struct {
	// Level is "problem" (the evidence or a control is impaired) or "notice" (a person should know).
	Level string `json:"level"`
	// Section is the id of the part of the page that has the details.
	Section string `json:"section"`
	Text    string `json:"text"`
}

// Control is one requirement of the framework.
type Control struct {
	ID string `json:"id"`
	// Text is what it asks of tokens, from the requirements that the rules are written against.
	Text string `json:"text"`
	// Served is "rules" where rules of the policy or the floor judge tokens for it, "process" where it asks nothing of a
	// token and Statement says what answers it, and "no" where nothing does.
	Served    string `json:"served"`
	Statement string `json:"statement,omitempty"`
	// Judged counts the decisions in which the control's rules applied; the others those with a finding that names
	// the control. All are zero unless Served is "rules".
	Judged Figure `json:"judged"`
	Denied Figure `json:"denied"`
	Warned Figure `json:"warned"`
	Waived Figure `json:"waived"`
	Rules  []Rule `json:"rules"`
	// Sections are the parts of the report that show more of what the control asks, by their ids in the page, which are
	// those of Attention.
	Sections []string `json:"sections"`
}

// Rule is one reason code as it served one control.
type Rule struct {
	Code string `json:"code"`
	// GivenBy are the packages of the rules, "floor" for Go's own veto.
	GivenBy []string `json:"given_by"`
	Titles  []string `json:"titles"`
	// Denied, Warned and Waived count decisions with this code under this control.
	Denied Figure `json:"denied"`
	Warned Figure `json:"warned"`
	Waived Figure `json:"waived"`
}

// Day is one calendar day in UTC, or the part of it that lies in the period.
type Day struct {
	Date string `json:"date"`
	Outcome
}

// Finding counts one reason code over all controls.
type Finding struct {
	Code   string `json:"code"`
	Title  string `json:"title"`
	Denied Figure `json:"denied"`
	Warned Figure `json:"warned"`
	Waived Figure `json:"waived"`
}

// Issuer is one issuer of verified tokens.
type Issuer struct {
	Issuer string `json:"issuer"`
	Outcome
	// Longest is the longest lifetime (exp - iat) of any verified token of the issuer, LongestAllowed that of an allowed
	// one; absent where no token told it.
	Longest        *Lifetime `json:"longest,omitempty"`
	LongestAllowed *Lifetime `json:"longest_allowed,omitempty"`
	// LimitSeconds is the issuer's hard limit in the configuration given; 0 where none was.
	LimitSeconds int64 `json:"limit_seconds,omitempty"`
}

// Lifetime is how long one token lived, and which decision saw it first.
type Lifetime struct {
	Seconds    int64  `json:"seconds"`
	DecisionID string `json:"decision_id"`
	Query      string `json:"query"`
}

// Algorithm counts the decisions on tokens that were verified under an algorithm.
type Algorithm struct {
	Algorithm string `json:"algorithm"`
	Outcome
}
