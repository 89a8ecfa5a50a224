package pdp

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// timeLayout is RFC 3339 in UTC with milliseconds.
const timeLayout = "2006-01-02T15:04:05.000Z07:00"

// AppendJSON appends the decision in the shape that POST /decide answers and the commands print. Member
// order is fixed and object members are sorted, so that equal decisions are equal bytes.
//
// It is written by hand because it runs once per request; there is no other encoding of a decision.
func (d *Decision) AppendJSON(dst []byte) ([]byte, error) {
	dst = append(dst, `{"decision_id":`...)
	dst = appendString(dst, d.ID)
	dst = append(dst, `,"allow":`...)
	dst = strconv.AppendBool(dst, d.Allow)
	dst = append(dst, `,"reasons":`...)
	dst, err := AppendReasons(dst, d.Reasons)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,"token":`...)
	dst = d.Token.appendJSON(dst)
	dst = append(dst, `,"claims":`...)
	if d.claimsJSON != nil {
		dst = append(dst, d.claimsJSON...)
	} else if dst, err = appendValue(dst, d.Claims); err != nil {
		return dst, err
	}
	dst = append(dst, `,"obligations":{`...)
	if len(d.Obligations.OmitClaims) > 0 {
		dst = append(dst, `"omit_claims":`...)
		dst = appendStrings(dst, d.Obligations.OmitClaims)
	}
	dst = append(dst, `},"cache_for_seconds":`...)
	dst = strconv.AppendInt(dst, d.CacheForSeconds, 10)
	dst = append(dst, `,"policy":{"revision":`...)
	dst = appendString(dst, d.PolicyRevision)
	dst = append(dst, `},"evaluated_at":"`...)
	dst = d.EvaluatedAt.UTC().AppendFormat(dst, timeLayout)
	dst = append(dst, '"')
	if d.Receipt != nil {
		dst = append(dst, `,"receipt":`...)
		dst = d.Receipt.appendJSON(dst)
	}
	return append(dst, '}'), nil
}

// appendJSON appends the receipt; the hash is in standard base64, as in checkpoints.
func (r *Receipt) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"log":`...)
	dst = appendString(dst, r.Log)
	dst = append(dst, `,"index":`...)
	dst = strconv.AppendInt(dst, r.Index, 10)
	dst = append(dst, `,"leaf_hash":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, r.LeafHash[:])
	return append(dst, '"', '}')
}

// MarshalJSON is AppendJSON for encoders.
func (d *Decision) MarshalJSON() ([]byte, error) { return d.AppendJSON(nil) }

// AppendReasons appends reasons as a JSON array in the decision's shape.
func AppendReasons(dst []byte, reasons []Reason) ([]byte, error) {
	dst = append(dst, '[')
	for i := range reasons {
		if i > 0 {
			dst = append(dst, ',')
		}
		r := &reasons[i]
		dst = append(dst, `{"code":`...)
		dst = appendString(dst, r.Code)
		dst = append(dst, `,"message":`...)
		dst = appendString(dst, r.Message)
		dst = append(dst, `,"severity":`...)
		dst = appendString(dst, string(r.Severity))
		dst = append(dst, `,"enforcement":`...)
		dst = appendString(dst, string(r.Enforcement))
		dst = append(dst, `,"details":`...)
		var err error
		if dst, err = appendValue(dst, r.Details); err != nil {
			return dst, fmt.Errorf("details of %s: %w", r.Code, err)
		}
		dst = append(dst, `,"controls":`...)
		dst = appendStrings(dst, r.Controls)
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

func (s *TokenSummary) appendJSON(dst []byte) []byte {
	dst = append(dst, `{"status":`...)
	dst = appendString(dst, string(s.Status))
	for _, member := range [...]struct{ name, value string }{
		{`,"kind":`, s.Kind}, {`,"alg":`, s.Algorithm}, {`,"kid":`, s.KeyID}, {`,"typ":`, s.Type},
		{`,"issuer":`, s.Issuer}, {`,"token_id":`, s.TokenID},
	} {
		if member.value != "" {
			dst = append(dst, member.name...)
			dst = appendString(dst, member.value)
		}
	}
	if s.ExpiresAt != nil {
		dst = append(dst, `,"expires_at":`...)
		dst = append(dst, s.ExpiresAt.String()...)
	}
	return append(dst, '}')
}

// appendString quotes s; bytes that are not UTF-8 become U+FFFD, so it cannot fail.
func appendString(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendValue appends a value as strictjson decodes it, and the few Go types that details hold.
func appendValue(dst []byte, value any) ([]byte, error) {
	switch v := value.(type) {
	case nil:
		return append(dst, "null"...), nil
	case string:
		return appendString(dst, v), nil
	case json.Number:
		return append(dst, v...), nil
	case bool:
		return strconv.AppendBool(dst, v), nil
	case int64:
		return strconv.AppendInt(dst, v, 10), nil
	case int:
		return strconv.AppendInt(dst, int64(v), 10), nil
	case time.Duration:
		return strconv.AppendInt(dst, int64(v/time.Second), 10), nil
	case []string:
		return appendStrings(dst, v), nil
	case []any:
		return appendArray(dst, v)
	case map[string]any:
		return appendObject(dst, v)
	}
	return dst, fmt.Errorf("a %T has no JSON form here", value)
}

func appendArray(dst []byte, array []any) ([]byte, error) {
	dst = append(dst, '[')
	for i, value := range array {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, value); err != nil {
			return dst, err
		}
	}
	return append(dst, ']'), nil
}

func appendObject(dst []byte, object map[string]any) ([]byte, error) {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		var err error
		if dst, err = appendValue(dst, object[name]); err != nil {
			return dst, err
		}
	}
	return append(dst, '}'), nil
}
