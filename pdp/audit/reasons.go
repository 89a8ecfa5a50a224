package audit

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// shortestLeak is the length from which a claim's value is looked for within a detail. Shorter ones are in every text.
const shortestLeak = 3

// fewestLeakDigits is the length from which a number of a detail that equals a claim's is taken for that claim's: limits
// and counts are shorter than what identifies somebody.
const fewestLeakDigits = 7

// reasons writes what was found. Details hold numbers, booleans and names by contract; a rule of somebody's own may break
// it, so what equals or holds a value that the mask did not clear is erased. So are a code and controls that a rule computed.
func (e *encoder) reasons(dst []byte, f *pdp.Facts, m *Mask, reasons []pdp.Reason) []byte {
	dst = append(dst, '[')
	var hidden *values
	for i := range reasons {
		r := &reasons[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		e.pointer = strconv.AppendInt(append(e.pointer[:0], "/result/reasons/"...), int64(i), 10)
		dst = appendString(append(dst, `{"code":`...), r.RecordedCode())
		dst = appendMember(dst, "severity", string(r.Severity))
		dst = appendString(append(dst, `,"enforcement":`...), string(r.Enforcement))
		if len(r.Details) > 0 {
			if hidden == nil {
				hidden = hiddenValues(f, m)
			}
			dst = e.details(append(dst, `,"details":{`...), r.Details, r.ComputedNames, hidden)
		}
		if r.Computed {
			e.notes.erase(append(e.pointer, "/code"...), true)
			e.notes.unnamed += len(r.Controls)
		} else if len(r.Controls) > 0 {
			dst = appendStrings(append(dst, `,"controls":`...), r.Controls)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func (e *encoder) details(dst []byte, details map[string]any, computed []string, hidden *values) []byte {
	base := len(e.pointer)
	first := true
	for _, name := range slices.Sorted(maps.Keys(details)) {
		e.pointer = appendReference(append(e.pointer[:base], "/details/"...), name)
		if !plain(name, longestName, longestRun) || slices.Contains(computed, name) {
			e.notes.erase(e.pointer, false)
			continue
		}
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(appendPlain(dst, name), ':')
		wrote := false
		if dst, wrote = e.detail(dst, details[name], hidden); !wrote {
			dst = dst[:mark]
			e.notes.erase(e.pointer, true)
			continue
		}
		first = false
	}
	e.pointer = e.pointer[:base]
	return append(dst, '}')
}

func (e *encoder) detail(dst []byte, value any, hidden *values) ([]byte, bool) {
	switch v := value.(type) {
	case []string:
		dst = append(dst, '[')
		start := len(dst)
		for _, s := range v {
			if hidden.shows(s) {
				e.notes.unnamed++
				continue
			}
			if len(dst) > start {
				dst = append(dst, ',')
			}
			dst = appendPlain(dst, s)
		}
		return append(dst, ']'), true
	case []any:
		names := make([]string, 0, len(v))
		for _, element := range v {
			if s, ok := element.(string); ok {
				names = append(names, s)
			} else {
				e.notes.unnamed++
			}
		}
		return e.detail(dst, names, hidden)
	case string:
		if hidden.shows(v) {
			return dst, false
		}
		return appendPlain(dst, v), true
	}
	start := len(dst)
	dst, err := appendScalar(dst, value)
	if err != nil || hidden.showsNumber(string(dst[start:])) {
		return dst[:start], false
	}
	return dst, true
}

// values are those of a token that its record must not show. Texts are in lower case, since a rule may compare them so; a
// number is among both, since a rule may make one of the other.
type values struct {
	texts   []string
	numbers map[string]bool
}

func hiddenValues(f *pdp.Facts, m *Mask) *values {
	v := &values{numbers: make(map[string]bool)}
	if f.Verification.Verified() {
		v.collect(f.Token.Claims, newPaths(m.Clear, m.Pseudonymise), erased)
	}
	for _, value := range f.Token.Header.Parameters {
		if text, ok := value.(string); ok && (known(knownAlgorithms, text) || known(knownEncryptions, text) || known(knownTypes, text)) {
			continue
		}
		v.collect(value, nil, erased)
	}
	v.collect(f.Request.Context, nil, erased)
	for _, s := range [...]string{f.Request.Path, f.Request.Resource, f.Request.Action, f.Request.ClientIP} {
		v.text(s)
	}
	return v
}

func (v *values) text(s string) {
	if len(s) >= shortestLeak {
		v.texts = append(v.texts, strings.ToLower(s))
	}
}

func (v *values) collect(value any, p *paths, around treatment) {
	if p.under(around) == cleared && (p == nil || len(p.below) == 0) {
		return
	}
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			v.collect(inner, p.at(name), p.under(around))
		}
	case []any:
		for _, inner := range value {
			v.collect(inner, p, around)
		}
	case string:
		v.text(value)
	case json.Number:
		if len(value) >= fewestLeakDigits {
			v.numbers[string(value)] = true
			v.text(string(value))
		}
	}
}

// shows tells that a text may not be written: it is no name, or it holds a value of the token.
func (v *values) shows(s string) bool {
	if !plain(s, longestPlain, longestRun) {
		return true
	}
	s = strings.ToLower(s)
	return slices.ContainsFunc(v.texts, func(value string) bool { return hasWord(s, value) })
}

// showsNumber tells that the JSON text of a number is that of a value of the token, which may be a text there.
func (v *values) showsNumber(s string) bool {
	return v.numbers[s] || len(s) >= fewestLeakDigits && slices.Contains(v.texts, s)
}

// hasWord finds a text in s where it is not part of longer words: "read" is in "may not read", not in "thread".
func hasWord(s, text string) bool {
	for from := 0; ; {
		i := strings.Index(s[from:], text)
		if i < 0 {
			return false
		}
		start, end := from+i, from+i+len(text)
		if (start == 0 || class[s[start-1]] != wordByte) && (end == len(s) || class[s[end]] != wordByte) {
			return true
		}
		from = start + 1
	}
}

// same tells two lists that are one and the same memory, such as the reasons of a verdict that policy gave again.
func same[T any](a, b []T) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
