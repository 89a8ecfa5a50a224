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

// reasons writes what was found. Codes, controls and the names of details are those of the policy, and details hold
// numbers, booleans and names by contract; a rule of somebody's own may break it, so what the policy does not say, and
// what equals or holds a value that the mask did not clear, is erased.
func (e *encoder) reasons(dst []byte, f *pdp.Facts, m *Mask, d *pdp.Decision) []byte {
	dst = append(dst, '[')
	var t *telling
	for i := range d.Reasons {
		r := &d.Reasons[i]
		if i > 0 {
			dst = append(dst, ',')
		} else {
			t = &telling{f, d.Words, hiddenValues(f, m)}
		}
		e.pointer = strconv.AppendInt(append(e.pointer[:0], "/result/reasons/"...), int64(i), 10)
		code := t.code(r.Code)
		if dst = appendString(append(dst, `{"code":`...), code); code != r.Code {
			e.notes.erase(append(e.pointer, "/code"...), true)
		}
		dst = appendMember(dst, "severity", string(r.Severity))
		dst = appendString(append(dst, `,"enforcement":`...), string(r.Enforcement))
		if len(r.Details) > 0 {
			dst = e.details(append(dst, `,"details":{`...), r.Details, t)
		}
		if len(r.Controls) > 0 {
			controls := slices.DeleteFunc(slices.Clone(r.Controls), func(control string) bool { return !t.says(control) })
			e.notes.unsaid += len(r.Controls) - len(controls)
			dst = appendStrings(append(dst, `,"controls":`...), controls)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// telling tells what of a reason may be written.
type telling struct {
	f      *pdp.Facts
	words  pdp.Words
	hidden *values
}

// ours are the controls and the names of details that Go gives, whatever policy says.
var ours = func() map[string]bool {
	all := map[string]bool{"claims": true, "seconds_until_valid": true, "seconds_since_expiry": true, "actual_seconds": true, "limit_seconds": true,
		"size_bytes": true, "limit_bytes": true}
	for _, r := range pdp.FloorReasons() {
		for _, control := range r.Controls {
			all[control] = true
		}
	}
	return all
}()

// families are those of the library's codes and of Go's. Nobody can have one of these erased by bringing it as a claim.
var families = []string{"signature", "algorithm", "key", "header", "lifetime", "claims", "minimization", "revocation", "policy"}

// code is the code as it may be written. One that the policy says, and that is also a claim, may have been taken from there.
func (t *telling) code(code string) string {
	if family, _, _ := strings.Cut(code, "."); !slices.Contains(families, family) && t.hidden.are(code) {
		return pdp.ComputedCode
	}
	return pdp.RecordedCode(code, t.words)
}

// says tells that a control or a name is one that may be written.
func (t *telling) says(text string) bool {
	return ours[text] || t.words != nil && t.words.Says(text) && !t.hidden.are(text)
}

// names tells that a text is what details may hold: a name that the policy says, or one of the token's claims or header
// parameters; or else a value that the mask clears.
func (t *telling) names(text string) bool {
	return !t.hidden.shows(text) && (t.words != nil && t.words.Says(text) || t.isMember(text) || t.hidden.cleared[text])
}

func (t *telling) isMember(name string) bool {
	header := &t.f.Token.Header
	if _, parameter := header.Parameters[name]; parameter || slices.Contains(header.KeyReferences, name) {
		return true
	}
	return t.f.Verification.Verified() && hasPath(t.f.Token.Claims, name)
}

// hasPath tells that names with dots between them lead somewhere, through lists too.
func hasPath(value any, path string) bool {
	switch v := value.(type) {
	case map[string]any:
		if _, there := v[path]; there {
			return true
		}
		for name, inner := range v {
			if rest, ok := strings.CutPrefix(path, name+"."); ok && hasPath(inner, rest) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return hasPath(element, path) })
	}
	return false
}

func (e *encoder) details(dst []byte, details map[string]any, t *telling) []byte {
	base := len(e.pointer)
	first := true
	for _, name := range slices.Sorted(maps.Keys(details)) {
		e.pointer = appendReference(append(e.pointer[:base], "/details/"...), name)
		if !plain(name, longestName, longestRun) || !t.says(name) {
			e.notes.unsaid++
			continue
		}
		mark := len(dst)
		if !first {
			dst = append(dst, ',')
		}
		dst = append(appendPlain(dst, name), ':')
		wrote := false
		if dst, wrote = e.detail(dst, details[name], t); !wrote {
			dst = dst[:mark]
			e.notes.erase(e.pointer, true)
			continue
		}
		first = false
	}
	e.pointer = e.pointer[:base]
	return append(dst, '}')
}

func (e *encoder) detail(dst []byte, value any, t *telling) ([]byte, bool) {
	switch v := value.(type) {
	case []string:
		dst = append(dst, '[')
		start := len(dst)
		for _, s := range v {
			if !t.names(s) {
				e.notes.unsaid++
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
				e.notes.unsaid++
			}
		}
		return e.detail(dst, names, t)
	case string:
		if !t.names(v) {
			return dst, false
		}
		return appendPlain(dst, v), true
	}
	start := len(dst)
	dst, err := appendScalar(dst, value)
	if err != nil || t.hidden.showsNumber(string(dst[start:])) {
		return dst[:start], false
	}
	return dst, true
}

// values are those of a token that its record must not show. Texts are in lower case, since a rule may compare them so; a
// number is among both, since a rule may make one of the other. All has short texts, too; cleared are texts that may be
// shown, as they are.
type values struct {
	texts   []string
	all     map[string]bool
	numbers map[string]bool
	cleared map[string]bool
}

func hiddenValues(f *pdp.Facts, m *Mask) *values {
	v := &values{all: make(map[string]bool), numbers: make(map[string]bool), cleared: make(map[string]bool)}
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
	s = strings.ToLower(s)
	v.all[s] = true
	if len(s) >= shortestLeak {
		v.texts = append(v.texts, s)
	}
}

// are tells that a text is one of the values.
func (v *values) are(s string) bool { return v.all[strings.ToLower(s)] }

func (v *values) collect(value any, p *paths, around treatment) {
	if p.under(around) == cleared && (p == nil || len(p.below) == 0) {
		if s, ok := value.(string); ok {
			v.cleared[s] = true
		}
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
