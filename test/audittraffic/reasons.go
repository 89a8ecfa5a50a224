package audittraffic

import (
	"encoding/json"
	"fmt"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/policies"
)

// catalogue has severity and controls of every reason code, as the policy library's own catalogue gives them.
type catalogue map[string]pdp.Reason

func readCatalogue() (catalogue, error) {
	var file struct {
		Catalogue struct {
			Reasons []struct {
				Code     string
				Severity pdp.Severity
				Controls []string
			}
		}
	}
	if err := json.Unmarshal(policies.Catalogue(), &file); err != nil {
		return nil, err
	}
	c := make(catalogue)
	for _, r := range file.Catalogue.Reasons {
		if _, known := c[r.Code]; !known {
			c[r.Code] = pdp.Reason{Code: r.Code, Severity: r.Severity, Controls: r.Controls}
		}
	}
	for _, code := range used {
		if _, known := c[code]; !known {
			return nil, fmt.Errorf("audittraffic: the catalogue has no reason %s", code)
		}
	}
	return c, nil
}

// used are the codes that occur.
var used = []string{
	"signature.malformed", "signature.invalid", "signature.key_unknown", "signature.issuer_untrusted", "signature.undecryptable", "signature.unsupported",
	"algorithm.none", "algorithm.not_allowed", "header.type_mismatch", "lifetime.too_long", "lifetime.expired", "lifetime.missing_iat",
	"claims.audience_mismatch", "claims.missing", "minimization.claim_not_allowed", "minimization.sensitive_claim", "minimization.purpose_not_allowed",
	"revocation.token", "revocation.subject", "revocation.client", "revocation.session", "revocation.key", "revocation.feed_stale",
}

func (c catalogue) reason(code string, e pdp.Enforcement, details map[string]any) pdp.Reason {
	r := c[code]
	r.Enforcement, r.Details = e, details
	if r.Details == nil {
		r.Details = map[string]any{}
	}
	return r
}

// Says implements pdp.Words: nothing here is computed out of a claim.
func (catalogue) Says(string) bool { return true }

// SaysCode implements pdp.Words.
func (catalogue) SaysCode(string) bool { return true }

// junk is a token that was not verified, and how often that is, out of ten thousand decisions.
type junk struct {
	often  int
	status pdp.Status
	code   string
	kind   string
	alg    string
}

var junks = [...]junk{
	{12, pdp.StatusMalformed, "signature.malformed", "", ""},
	{9, pdp.StatusSignatureInvalid, "signature.invalid", "jws", "ES256"},
	{14, pdp.StatusKeyUnknown, "signature.key_unknown", "jws", "ES256"},
	{7, pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", "jws", "RS256"},
	{3, pdp.StatusAlgorithmRefused, "algorithm.none", "jws", "none"},
	{4, pdp.StatusAlgorithmRefused, "algorithm.not_allowed", "jws", "HS256"},
	{2, pdp.StatusUndecryptable, "signature.undecryptable", "jwe", ""},
	{1, pdp.StatusUnsupported, "signature.unsupported", "jws", "ES256"},
}
