package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
)

// problemPrefix makes a problem's name its RFC 9457 "type". A URN, because a type is compared and not
// fetched, and must be the same whatever name the server is reached under.
const problemPrefix = "urn:assay:problem:"

// problemType is one stable kind of refusal: RFC 9457 section 3.1's "type", "title" and "status".
type problemType struct {
	name, title string
	status      int
}

// The problem types, all of them; openapi.json lists the same.
var (
	malformedJSON      = problemType{"malformed-json", "The body is not one well-formed JSON text", http.StatusBadRequest}
	unknownField       = problemType{"unknown-field", "The body has a member that this request does not have", http.StatusBadRequest}
	duplicateField     = problemType{"duplicate-field", "The body has a member twice", http.StatusBadRequest}
	wrongType          = problemType{"wrong-type", "A member has the wrong JSON type", http.StatusBadRequest}
	missingField       = problemType{"missing-field", "A required member is missing", http.StatusBadRequest}
	invalidValue       = problemType{"invalid-value", "A member has a value that it cannot have", http.StatusBadRequest}
	tooManyItems       = problemType{"too-many-items", "The batch has too many items", http.StatusBadRequest}
	badCredentials     = problemType{"malformed-credentials", "The credentials are not well-formed", http.StatusBadRequest}
	unauthenticated    = problemType{"unauthenticated", "A caller's identity is needed", http.StatusUnauthorized}
	credentialsRefused = problemType{"credentials-refused", "The caller's credentials were refused", http.StatusUnauthorized}
	notGranted         = problemType{"not-granted", "The caller may not ask for this", http.StatusForbidden}
	notFound           = problemType{"not-found", "There is nothing here", http.StatusNotFound}
	methodNotAllowed   = problemType{"method-not-allowed", "This resource does not have that method", http.StatusMethodNotAllowed}
	requestTimeout     = problemType{"request-timeout", "The body came too slowly", http.StatusRequestTimeout}
	tooLarge           = problemType{"too-large", "The body is too large", http.StatusRequestEntityTooLarge}
	unsupportedMedia   = problemType{"unsupported-media-type", "The body is of another type than this resource takes", http.StatusUnsupportedMediaType}
	misdirected        = problemType{"misdirected", "The request was meant for another host", http.StatusMisdirectedRequest}
	tokenRefused       = problemType{"token-refused", "Policy does not let this token be issued", http.StatusUnprocessableEntity}
	internal           = problemType{"internal", "The server failed", http.StatusInternalServerError}
	overloaded         = problemType{"overloaded", "Too many requests are being decided", http.StatusServiceUnavailable}
	timedOut           = problemType{"timed-out", "The decision took too long", http.StatusServiceUnavailable}
	unavailable        = problemType{"unavailable", "No decision can be made now", http.StatusServiceUnavailable}
	issuingUnavailable = problemType{"issuing-unavailable", "No token can be issued now", http.StatusServiceUnavailable}
	storeUnavailable   = problemType{"revocations-unavailable", "Revocations can neither be stored nor listed now", http.StatusServiceUnavailable}
)

// problemTypes lists them in the order of their status.
func problemTypes() []problemType {
	return []problemType{
		malformedJSON, unknownField, duplicateField, wrongType, missingField, invalidValue, tooManyItems,
		badCredentials, unauthenticated, credentialsRefused, notGranted, notFound, methodNotAllowed,
		requestTimeout, tooLarge, unsupportedMedia, misdirected, tokenRefused, internal, overloaded,
		timedOut, unavailable, issuingUnavailable, storeUnavailable,
	}
}

// problem is a refusal on its way to the caller.
type problem struct {
	problemType
	// detail tells a person what is wrong and what to do; it holds no token, claim value or internal.
	detail string
	// pointer is the JSON Pointer of the member at fault; empty where it is not one.
	pointer string
	// missing names the grants that the caller would need.
	missing []string
	// reasons are why a token was refused; only with token-refused.
	reasons []pdp.Reason
	// retryAfter is in seconds; zero for none.
	retryAfter int
	// header holds the one or two fields that go with the status (Allow, WWW-Authenticate).
	header [][2]string
	// cause is for the log only.
	cause error
}

func (p *problem) Error() string { return p.name + ": " + p.detail }

func (p *problem) Unwrap() error { return p.cause }

func problemf(t problemType, format string, args ...any) *problem {
	return &problem{problemType: t, detail: fmt.Sprintf(format, args...)}
}

func (p *problem) at(pointer jsontext.Pointer) *problem {
	p.pointer = string(pointer)
	return p
}

func (p *problem) with(name, value string) *problem {
	p.header = append(p.header, [2]string{name, value})
	return p
}

func (p *problem) retry(seconds int) *problem {
	p.retryAfter = seconds
	return p
}

// asProblem gives the problem that err is, or hides an error that is none behind a 500.
func asProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	return &problem{problemType: internal, detail: "this is a fault of the server; the request id finds it in its log", cause: err}
}

// appendJSON appends the problem details object (RFC 9457 section 3).
func (p *problem) appendJSON(dst []byte, requestID string) []byte {
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, problemPrefix+p.name)
	dst = append(dst, `,"title":`...)
	dst = appendString(dst, p.title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(p.status), 10)
	dst = append(dst, `,"detail":`...)
	dst = appendString(dst, p.detail)
	dst = append(dst, `,"request_id":`...)
	dst = appendString(dst, requestID)
	if p.pointer != "" {
		dst = append(dst, `,"pointer":`...)
		dst = appendString(dst, "#"+p.pointer)
	}
	if len(p.missing) > 0 {
		dst = append(dst, `,"missing":[`...)
		for i, what := range p.missing {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, what)
		}
		dst = append(dst, ']')
	}
	if p.status == http.StatusUnprocessableEntity {
		end := len(dst)
		dst = append(dst, `,"reasons":`...)
		var err error
		if dst, err = pdp.AppendReasons(dst, p.reasons); err != nil {
			dst = dst[:end] // a reason without JSON form: the refusal stands without it
		}
	}
	return append(dst, '}')
}

// appendString quotes s; bytes that are not UTF-8 become U+FFFD, so it cannot fail.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}
