package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/strictjson"
)

// headerLimits bound the shape of a JOSE header; how long it may be is configured.
var headerLimits = strictjson.Limits{MaxDepth: 4, MaxValues: 200}

// registered names the header parameters that "crit" must not list (RFC 7515 section 4.1.11).
var registered = []string{
	"alg", "jku", "jwk", "kid", "x5u", "x5c", "x5t", "x5t#S256", "typ", "cty", "crit",
	"enc", "zip", "epk", "apu", "apv", "iv", "tag", "p2s", "p2c",
}

// readHeader reads the decoded JOSE header. A refusal names its code: a header that is misshapen is
// malformed, one that asks for a feature which is refused is unsupported.
func readHeader(text []byte, maxBytes int) (pdp.Header, *refusal) {
	limits := headerLimits
	limits.MaxBytes = maxBytes
	parameters, err := strictjson.DecodeObject(text, limits)
	if err != nil {
		return pdp.Header{}, malformed("the header: %v", err)
	}
	if text[0] != '{' || text[len(text)-1] != '}' { // legal JSON, but not every library verifies it, and no issuer makes it
		return pdp.Header{}, malformed("white space around the header's object")
	}
	h := pdp.Header{Parameters: parameters}
	for _, field := range [...]struct {
		name string
		to   *string
	}{{"alg", &h.Algorithm}, {"enc", &h.Encryption}, {"kid", &h.KeyID}, {"typ", &h.Type}, {"cty", &h.ContentType}} {
		value, present := parameters[field.name]
		if !present {
			continue
		}
		text, ok := value.(string)
		if !ok {
			return pdp.Header{Parameters: parameters}, malformed("header parameter %s is not a string", field.name)
		}
		*field.to = text
	}
	_, h.HasKeyID = parameters["kid"]
	h.Type, h.ContentType = mediaType(h.Type), mediaType(h.ContentType)
	for _, name := range [...]string{"jku", "jwk", "x5c", "x5u"} {
		if _, present := parameters[name]; present {
			h.KeyReferences = append(h.KeyReferences, name)
		}
	}
	if h.Algorithm == "" {
		return h, malformed("the header has no alg")
	}
	return h, readFeatures(parameters)
}

// mediaType is a "typ" or "cty" as it is compared: without regard to case, and with or without
// "application/" (RFC 7515 section 4.1.9).
func mediaType(s string) string {
	return strings.TrimPrefix(strings.ToLower(s), "application/")
}

// readFeatures refuses extensions: none is understood here.
func readFeatures(parameters map[string]any) *refusal {
	if value, present := parameters["crit"]; present {
		names, err := critical(value, parameters)
		if err != nil {
			return malformed("crit: %v", err)
		}
		return refuse(pdp.StatusUnsupported, "header.critical_unknown",
			"the header marks %d parameters as critical, and none is understood here", len(names))
	}
	if value, present := parameters["b64"]; present {
		switch encoded, isBool := value.(bool); {
		case !isBool:
			return malformed("header parameter b64 is not a boolean")
		case !encoded:
			return unsupported("an unencoded payload (b64: false, RFC 7797)")
		}
	}
	return nil
}

// critical checks the shape of "crit" (RFC 7515 section 4.1.11).
func critical(value any, parameters map[string]any) ([]string, error) {
	list, ok := value.([]any)
	if !ok || len(list) == 0 {
		return nil, errors.New("it must be an array with at least one name")
	}
	names := make([]string, 0, len(list))
	for _, element := range list {
		name, ok := element.(string)
		switch {
		case !ok:
			return nil, errors.New("its elements must be strings")
		case slices.Contains(names, name):
			return nil, errors.New("it names a parameter twice")
		case slices.Contains(registered, name):
			return nil, errors.New("it names a parameter that the standard itself defines")
		}
		if _, present := parameters[name]; !present {
			return nil, errors.New("it names a parameter that the header does not have")
		}
		names = append(names, name)
	}
	return names, nil
}

// claimsLimits bound a claims set; the token's own size limit comes before.
var claimsLimits = strictjson.Limits{MaxDepth: 16, MaxValues: 4096}

// readClaims reads the decoded payload: a JSON object (RFC 7519 section 7.2).
func readClaims(text []byte) (map[string]any, *refusal) {
	claims, err := strictjson.DecodeObject(text, claimsLimits)
	if err != nil {
		return nil, malformed("the claims: %v", err)
	}
	return claims, nil
}

// adopt makes verified claims the token's own.
func adopt(t *pdp.Token, claims map[string]any, signingInput string) {
	t.Claims = claims
	text := func(name string) string {
		s, _ := claims[name].(string)
		return s
	}
	t.Subject, t.SessionID = text("sub"), text("sid")
	if t.ClientID = text("client_id"); t.ClientID == "" {
		t.ClientID = text("azp")
	}
	if t.ID = text("jti"); t.ID == "" {
		t.ID = hashID(signingInput)
	}
	for _, date := range [...]struct {
		name string
		to   **pdp.NumericDate
	}{{"exp", &t.ExpiresAt}, {"nbf", &t.NotBefore}, {"iat", &t.IssuedAt}} {
		value, present := claims[date.name]
		if !present {
			continue
		}
		number, ok := value.(json.Number)
		if ok {
			parsed, err := pdp.ParseNumericDate(number)
			if err == nil {
				*date.to = &parsed
				continue
			}
		}
		t.Unusable = append(t.Unusable, date.name)
	}
}

// refusal is why examination stopped.
type refusal struct {
	status pdp.Status
	reason *pdp.Reason
	// keyless is pdp.Verification.Keyless.
	keyless bool
}

func refuse(status pdp.Status, code, format string, args ...any) *refusal {
	return &refusal{status: status, reason: pdp.NewFloorReason(code, fmt.Sprintf(format, args...), nil)}
}

func malformed(format string, args ...any) *refusal {
	return refuse(pdp.StatusMalformed, "signature.malformed", format, args...)
}

func unsupported(what string) *refusal {
	return refuse(pdp.StatusUnsupported, "signature.unsupported", "%s is refused", what)
}
