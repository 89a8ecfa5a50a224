package pdp

// FloorReason describes a code that Go gives by itself, from the examination of a token or from the floor.
// The catalogue lists these beside the rules of the policy library.
type FloorReason struct {
	Code, Title string
	Severity    Severity
	Controls    []string
}

// Families are those of the codes of the policy library and of Go.
func Families() []string {
	return []string{"signature", "algorithm", "key", "header", "lifetime", "claims", "minimization", "revocation", "policy"}
}

// FloorReasons lists every code that Go gives by itself, in documentation order.
func FloorReasons() []FloorReason { return floorReasons }

var floorReasons = []FloorReason{
	{"signature.malformed", "Not a well-formed compact token", High, []string{"RFC8725:3.7", "RFC8725bis:3.14", "ASVS:9.1.1"}},
	{"signature.unsupported", "A form or feature that is refused", High, []string{"RFC8725:3.2", "RFC8725:3.4", "RFC8725:3.6", "RFC8725bis:3.13", "RFC8725bis:3.15"}},
	{"signature.undecryptable", "Encrypted to a key that Assay cannot use", High, []string{"RFC8725:3.3"}},
	{"signature.issuer_untrusted", "Issuer is not configured", Critical, []string{"RFC8725:3.8", "RFC9068:4", "SOC2:CC6.6"}},
	{"signature.key_unknown", "Issuer publishes no such key", Critical, []string{"RFC8725:3.8", "RFC8725:3.10", "ASVS:9.1.3"}},
	{"signature.invalid", "Signature does not verify", Critical, []string{"RFC8725:3.3", "ASVS:9.1.1", "SOC2:CC6.1"}},
	{"algorithm.none", "Unsecured token", Critical, []string{"RFC8725:3.2", "ASVS:9.1.2"}},
	{"algorithm.not_allowed", "Algorithm is not allowed for the issuer", Critical, []string{"RFC8725:3.1", "ASVS:9.1.2", "ISO27001:A.8.24"}},
	{"algorithm.key_mismatch", "Algorithm does not fit the key", Critical, []string{"RFC8725:3.1"}},
	{"header.critical_unknown", "A critical header parameter is not understood", High, []string{"RFC8725:3.3"}},
	{"lifetime.missing_exp", "No expiry", High, []string{"ASVS:9.2.1", "GDPR:5.1.e"}},
	{"lifetime.expired", "Expired", High, []string{"RFC9068:4", "ASVS:9.2.1", "SOC2:CC6.1"}},
	{"lifetime.not_yet_valid", "Not valid yet", High, []string{"RFC7519:4.1", "ASVS:9.2.1"}},
	{"lifetime.too_long", "Lives longer than allowed", High, []string{"SOC2:CC6.1", "ISO27001:A.5.17", "GDPR:5.1.e"}},
	{"claims.wrong_type", "A registered claim has the wrong type", High, []string{"RFC7519:4.1"}},
	{"revocation.token", "Token revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.18"}},
	{"revocation.subject", "Subject revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.18"}},
	{"revocation.client", "Client revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.18"}},
	{"revocation.session", "Session revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.18"}},
	{"revocation.key", "Signing key revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.26"}},
	{"revocation.issuer", "Issuer revoked", Critical, []string{"SOC2:CC7.4", "ISO27001:A.5.26"}},
	{"policy.undefined", "Policy gave no usable verdict", Critical, []string{"SOC2:CC8.1"}},
	{"policy.failed", "Policy could not be evaluated", Critical, []string{"SOC2:CC8.1"}},
}

var floorByCode = func() map[string]FloorReason {
	byCode := make(map[string]FloorReason, len(floorReasons))
	for _, r := range floorReasons {
		byCode[r.Code] = r
	}
	return byCode
}()

// NewFloorReason makes a denying reason with one of FloorReasons' codes. An unknown code is a programming
// error that still denies, with severity critical.
func NewFloorReason(code, message string, details map[string]any) *Reason {
	r := reason(code, message, details)
	return &r
}

func reason(code, message string, details map[string]any) Reason {
	known, ok := floorByCode[code]
	if !ok {
		known.Severity = Critical
	}
	return Reason{Code: code, Message: message, Severity: known.Severity, Enforcement: Deny, Details: details, Controls: known.Controls}
}
