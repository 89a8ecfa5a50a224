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
func (e *encoder) reasons(dst []byte, t *telling, reasons []pdp.Reason) []byte {
	dst = append(dst, '[')
	for i := range reasons {
		r := &reasons[i]
		if i > 0 {
			dst = append(dst, ',')
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
			controls := slices.DeleteFunc(slices.Clone(r.Controls), func(control string) bool { return !t.mayServe(control) })
			e.notes.unsaid += len(r.Controls) - len(controls)
			dst = appendStrings(append(dst, `,"controls":`...), controls)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

// telling tells what of a verdict may be written. Its paths and values are made when they are asked for: most verdicts of the
// library need none.
type telling struct {
	f     *pdp.Facts
	words pdp.Words
	mask  *Mask

	claims *paths
	hidden *values
}

func (t *telling) paths() *paths {
	if t.claims == nil {
		t.claims = newPaths(t.mask.Clear, t.mask.Pseudonymise)
	}
	return t.claims
}

func (t *telling) values() *values {
	if t.hidden == nil {
		t.hidden = hiddenValues(t.f, t.mask, t.paths())
	}
	return t.hidden
}

// What follows are texts of Go's and of the library's. Nobody can have them erased by bringing them as a claim: families of
// codes, the names of details, and whose requirements the controls are.
var (
	families = pdp.Families()
	ours     = []string{
		"claims", "parameters", "seconds_until_valid", "seconds_since_expiry", "seconds_ahead", "actual_seconds", "limit_seconds", "size_bytes",
		"actual_bytes", "limit_bytes", "actual_bits", "limit_bits", "actual", "limit", "cut_off",
	}
	frameworks = []string{"ASVS", "GDPR", "ISO27001", "OIDC", "OIDC-BCL", "RFC7519", "RFC8417", "RFC8725", "RFC8725bis", "RFC9068", "SOC2", "SPIFFE"}
	floors     = func() map[string]bool { // the controls that Go gives, whatever policy says
		all := make(map[string]bool)
		for _, r := range pdp.FloorReasons() {
			for _, control := range r.Controls {
				all[control] = true
			}
		}
		return all
	}()
)

// isOf tells that a text begins with one of these and a separator.
func isOf(list []string, text, separator string) bool {
	first, _, _ := strings.Cut(text, separator)
	return slices.Contains(list, first)
}

func (t *telling) says(text string) bool {
	return t.words != nil && t.words.Says(text)
}

// code is the code as it may be written. One that the policy has elsewhere than where a code stands may have been taken
// from a claim that it is, too.
func (t *telling) code(code string) string {
	if !isOf(families, code, ".") && t.values().are(code) && (t.words == nil || !t.words.SaysCode(code)) {
		return pdp.ComputedCode
	}
	return pdp.RecordedCode(code, t.words)
}

// mayServe tells that a control may be written.
func (t *telling) mayServe(control string) bool {
	return floors[control] || t.says(control) && (isOf(frameworks, control, ":") || !t.values().are(control))
}

// mayName tells that the name of a detail may be written.
func (t *telling) mayName(name string) bool {
	return slices.Contains(ours, name) || t.says(name) && !t.values().are(name)
}

// mayHold tells that a text is what details may hold: a name of the token's; or one that the policy says, and that is
// not a value, nor a part of one; or a value that the mask clears.
func (t *telling) mayHold(text string) bool {
	if !plain(text, longestPlain, longestRun) {
		return false
	}
	return t.isMember(text) || !t.values().show(text) && (t.says(text) && len(text) >= shortestLeak && !t.values().have(text) || t.values().cleared[text])
}

// isMember tells that a text names a claim, one within another, or a parameter of the header. Of a token that was not
// verified only the parameters count that Assay knows: whoever made it chose the others.
func (t *telling) isMember(name string) bool {
	if slices.Contains(t.f.Token.Header.KeyReferences, name) {
		return true
	}
	if !t.f.Verification.Verified() {
		return false
	}
	_, parameter := t.f.Token.Header.Parameters[name]
	return parameter || hasPath(t.f.Token.Claims, t.paths(), name)
}

// hasPath tells that names with dots between them lead somewhere, through lists too. Names below what is pseudonymised may
// be somebody's.
func hasPath(value any, mask *paths, path string) bool {
	switch v := value.(type) {
	case map[string]any:
		if _, there := v[path]; there {
			return true
		}
		for i, c := range path { // a name may have dots itself
			if c != '.' {
				continue
			}
			below := mask.at(path[:i])
			if inner, there := v[path[:i]]; there && below.under(erased) != pseudonymised && hasPath(inner, below, path[i+1:]) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(element any) bool { return hasPath(element, mask, path) })
	}
	return false
}

func (e *encoder) details(dst []byte, details map[string]any, t *telling) []byte {
	base := len(e.pointer)
	first := true
	for _, name := range slices.Sorted(maps.Keys(details)) {
		e.pointer = appendReference(append(e.pointer[:base], "/details/"...), name)
		if !plain(name, longestName, longestRun) || !t.mayName(name) {
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
			if !t.mayHold(s) {
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
		if !t.mayHold(v) {
			return dst, false
		}
		return appendPlain(dst, v), true
	}
	start := len(dst)
	dst, err := appendScalar(dst, value)
	if err != nil || t.values().showsNumber(string(dst[start:])) {
		return dst[:start], false
	}
	return dst, true
}

// values are those of a token and a request that its record must not show. Texts are in lower case, since a rule may
// compare them so; a number is among both, since a rule may make one of the other, and numbers have the digits of texts.
// All has short texts too, and words the words of texts; cleared are texts that may be shown, as they are.
type values struct {
	texts   []string
	all     map[string]bool
	words   map[string]bool
	numbers map[string]bool
	cleared map[string]bool
}

func hiddenValues(f *pdp.Facts, m *Mask, claims *paths) *values {
	v := &values{all: make(map[string]bool), words: make(map[string]bool), numbers: make(map[string]bool), cleared: make(map[string]bool)}
	if f.Verification.Verified() {
		v.collect(f.Token.Claims, claims, erased)
	}
	for _, value := range f.Token.Header.Parameters {
		if text, ok := value.(string); ok && (known(knownAlgorithms, text) || known(knownEncryptions, text) || known(knownTypes, text)) {
			continue
		}
		v.collect(value, nil, erased)
	}
	q, request := f.Request, newPaths(m.ClearRequest, m.PseudonymiseRequest)
	v.collect(q.Context, request.at("context"), erased)
	for _, member := range [...]struct{ name, value string }{{"path", q.Path}, {"resource", q.Resource}, {"action", q.Action}, {"client_ip", q.ClientIP}} {
		if member.value != "" {
			v.collect(member.value, request.at(member.name), erased)
		}
	}
	return v
}

// text takes a value in, and its words: a rule that looks for one of them in it says it, too.
func (v *values) text(s string) {
	s = strings.ToLower(s)
	v.all[s] = true
	for word := range strings.FieldsFuncSeq(s, func(c rune) bool { return c > 0x7f || class[c] != wordByte }) {
		v.words[word] = true
	}
	if len(s) >= shortestLeak {
		v.texts = append(v.texts, s)
	}
	if digits := digitsOf(s); len(digits) >= fewestLeakDigits {
		v.numbers[digits] = true
	}
}

// are tells that a text is one of the values.
func (v *values) are(s string) bool { return v.all[strings.ToLower(s)] }

// have tells that a text is one of the values, or a word of one.
func (v *values) have(s string) bool { return v.are(s) || v.words[strings.ToLower(s)] }

func (v *values) collect(value any, p *paths, around treatment) {
	as := p.under(around)
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			v.collect(inner, p.at(name), as)
		}
	case []any:
		for _, inner := range value {
			v.collect(inner, p, around)
		}
	case string:
		if as != cleared {
			v.text(value)
			return
		}
		v.cleared[value] = true
		for word := range strings.FieldsSeq(value) { // of a scope
			v.cleared[word] = true
		}
	case json.Number:
		if as != cleared && len(value) >= fewestLeakDigits {
			v.numbers[string(value)] = true
			v.text(string(value))
		}
	}
}

// show tells that a text holds a value of the token.
func (v *values) show(s string) bool {
	s = strings.ToLower(s)
	return slices.ContainsFunc(v.texts, func(value string) bool { return hasWord(s, value) })
}

// showsNumber tells that the JSON text of a number is that of a value of the token, or has the digits of a text there.
func (v *values) showsNumber(s string) bool {
	return v.numbers[s] || v.numbers[digitsOf(s)]
}

// digitsOf are the digits of a text, without the zeros that it begins with.
func digitsOf(s string) string {
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, s)
	return strings.TrimLeft(digits, "0")
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
