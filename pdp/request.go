package pdp

// Request is one question: may this token be used for this?
//
// Only Token is required. Every string comes from the asking service, not from the token, and is
// trusted as far as the service is.
type Request struct {
	// Token holds the compact serialization as received (RFC 7515 section 7.1, RFC 7516 section 7.1).
	Token string

	// Audience is the resource server on whose behalf the question is asked; the token's "aud" must hold it.
	Audience string
	// TokenType says which kind of token is expected. Empty means AccessToken.
	TokenType TokenType
	// Action, Resource, Method, Path and ClientIP describe what the token is to be used for.
	Action, Resource, Method, Path, ClientIP string
	// Purpose is the purpose of processing for which claims are wanted (GDPR article 5.1.b, 5.1.c).
	Purpose string
	// Context is free JSON for the organisation's own rules, as decoded by strictjson:
	// map[string]any, []any, string, json.Number, bool and nil.
	Context map[string]any

	// Caller is the authenticated service that asks; the zero value is an unauthenticated one.
	Caller Caller
	// ID names the request in logs and is echoed to the caller. It never comes from the token.
	ID string
	// TraceID and SpanID are those of the request's traceparent (W3C Trace Context), in lower-case hex; empty
	// without one.
	TraceID, SpanID string
}

// Caller is the identity of a service that talks to Assay.
type Caller struct {
	// Name is unique and stable: "spiffe://…", a certificate's DNS name, or "issuer subject" of a bearer token.
	Name string
	// Method is how it was authenticated: "mtls", "bearer" or, for an open endpoint, "".
	Method string
}

// TokenType is a kind of token. Kinds are mutually exclusive (RFC 8725 section 3.12).
type TokenType string

// The kinds that a request may ask for.
const (
	AccessToken   TokenType = "access_token"
	IDToken       TokenType = "id_token"
	LogoutToken   TokenType = "logout_token"
	JWTSVID       TokenType = "jwt_svid"
	SecurityEvent TokenType = "security_event"
	GenericToken  TokenType = "jwt"
)

// TokenTypes lists the kinds that a request may ask for, in the order in which they are documented.
func TokenTypes() []TokenType {
	return []TokenType{AccessToken, IDToken, LogoutToken, JWTSVID, SecurityEvent, GenericToken}
}
