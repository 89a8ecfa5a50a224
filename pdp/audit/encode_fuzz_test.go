package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

// choices makes trees and masks of the bytes that the fuzzer chose: every input is one, and a small change of it a small
// change of them.
type choices struct{ rest []byte }

func (c *choices) below(n int) int {
	if len(c.rest) == 0 {
		return 0
	}
	b := c.rest[0]
	c.rest = c.rest[1:]
	return int(b) % n
}

// members are names that claims have, and such as break a writer of JSON or of JSON pointers, or that may not be written.
var members = []string{
	"sub", "groups", "address", "country", "act", "a/b", "a~1b", "~", "", "jane@example.org", "\"quoted\\", "line\nfeed", "\u2028", "naïve", "<b>", "nul\x00",
	"eyJhbGci", strings.Repeat("n", 65), strings.Repeat("run", 14), "0", "iss", "sid",
}

// leaf is a value that stands somewhere once: mark is in its text and in no other's.
type leaf struct {
	path  []string // names from the root; places in lists are not among them
	value any
	mark  string
}

// grower makes a tree and lists its leaves.
type grower struct {
	choices
	free   string // what the fuzzer appends to texts
	extra  string // a name of the fuzzer's own
	leaves []leaf
	paths  [][]string // of every member
}

func (g *grower) object(path []string, depth int) map[string]any {
	object := make(map[string]any)
	for range g.below(6) {
		name := g.extra
		if n := g.below(len(members) + 1); n < len(members) {
			name = members[n]
		}
		if _, there := object[name]; there {
			continue
		}
		at := append(slices.Clip(path), name)
		g.paths = append(g.paths, at)
		object[name] = g.value(at, depth)
	}
	return object
}

func (g *grower) value(path []string, depth int) any {
	kind := g.below(8)
	if depth == 0 {
		kind %= 5
	}
	switch kind {
	case 0, 1:
		mark := fmt.Sprintf("zqMARK%04dqz", len(g.leaves))
		return g.leaf(path, mark+g.free, mark)
	case 2:
		mark := fmt.Sprintf("73%08d", len(g.leaves))
		return g.leaf(path, json.Number(mark), mark)
	case 3:
		return true
	case 4:
		return nil
	case 5:
		list := []any{}
		for range g.below(4) {
			list = append(list, g.value(path, depth-1))
		}
		return list
	}
	return g.object(path, depth-1)
}

func (g *grower) leaf(path []string, value any, mark string) any {
	g.leaves = append(g.leaves, leaf{path, value, mark})
	return value
}

// masking is a mask as its documentation says it, by comparing paths.
type masking struct{ clear, pseudonymise [][]string }

func begins(path, with []string) bool {
	return len(with) <= len(path) && slices.Equal(path[:len(with)], with)
}

func covers(list [][]string, path []string) bool {
	return slices.ContainsFunc(list, func(named []string) bool { return begins(path, named) })
}

// leadsThrough tells whether the mask names this path or one below it.
func (m *masking) leadsThrough(path []string) bool {
	through := func(named []string) bool { return begins(named, path) }
	return slices.ContainsFunc(m.clear, through) || slices.ContainsFunc(m.pseudonymise, through)
}

func (m *masking) cleared(path []string) bool {
	return covers(m.clear, path) && !covers(m.pseudonymise, path)
}

// namable is the form of a name that may be written, as the package's documentation says it: short, no mail address, no
// piece of a token.
func namable(name string) bool {
	if name == "" || len(name) > 64 || strings.Contains(name, "eyJ") {
		return false
	}
	run := 0
	for _, c := range name {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
			run++
		case strings.ContainsRune(" .:/+,;=#*|~()[]{}!$^", c):
			run = 0
		default:
			return false
		}
		if run > 40 {
			return false
		}
	}
	return true
}

// expecting gives what a reader of the record must find of a tree: present tells whether anything.
type expecting struct {
	masking
	pseudonym func(kind, text string) string
	kind      string // before the dots
}

func (x *expecting) value(value any, path []string) (seen any, present bool) {
	inside := slices.ContainsFunc(slices.Concat(x.clear, x.pseudonymise), func(named []string) bool { return len(named) > len(path) && begins(named, path) })
	covered := covers(x.clear, path) || covers(x.pseudonymise, path)
	switch v := value.(type) {
	case map[string]any:
		if !covered && !inside {
			return nil, false
		}
		return x.object(v, path), true
	case []any:
		if !covered && !inside {
			return nil, false
		}
		list := []any{}
		for _, element := range v {
			if seen, present := x.value(element, path); present {
				list = append(list, seen)
			}
		}
		return list, true
	}
	switch {
	case covers(x.pseudonymise, path):
		kind := strings.TrimPrefix(x.kind+"."+strings.Join(path, "."), ".")
		switch v := value.(type) {
		case string:
			return x.pseudonym(kind, v), true
		case json.Number:
			return x.pseudonym(kind, string(v)), true
		}
		return nil, false
	case covered:
		return value, true
	}
	return nil, false
}

func (x *expecting) object(object map[string]any, path []string) map[string]any {
	seen := make(map[string]any)
	for name, value := range object {
		at := append(slices.Clip(path), name)
		nested := len(path) > 0 || x.kind != ""
		if covers(x.pseudonymise, at) && (slices.ContainsFunc(at, func(name string) bool { return !namable(name) }) || nested && !x.leadsThrough(at)) {
			continue // its name may be somebody's
		}
		if value, present := x.value(value, at); present {
			seen[name] = value
		}
	}
	return seen
}

// some picks paths of a tree, or such as lead nowhere.
func (g *grower) some(paths [][]string) [][]string {
	var picked [][]string
	for range g.below(5) {
		if n := g.below(len(paths) + 1); n < len(paths) {
			picked = append(picked, paths[n])
		} else {
			picked = append(picked, []string{"act", "nowhere"})
		}
	}
	return picked
}

// under puts a name before paths, as those below input.request have it.
func under(name string, paths [][]string) [][]string {
	list := make([][]string, len(paths))
	for i, path := range paths {
		list[i] = append([]string{name}, path...)
	}
	return list
}

// wellFormed fails unless the record is one line and one JSON text for the strictest reader, duplicate names and UTF-8
// among what it looks at.
func wellFormed(t *testing.T, record []byte) {
	t.Helper()
	if bytes.ContainsAny(record, "\n\r") {
		t.Fatalf("more than one line: %q", record)
	}
	decoder := jsontext.NewDecoder(bytes.NewReader(record))
	if _, err := decoder.ReadValue(); err != nil {
		t.Fatalf("%v in %q", err, record)
	}
	if !json.Valid(record) {
		t.Fatalf("encoding/json does not read %q", record)
	}
}

// sample is a decision and a mask that the fuzzer chose.
type sample struct {
	facts    pdp.Facts
	decision pdp.Decision
	mask     audit.Mask
	// claims and context are what of the mask is about either, and marks what stands in it: all, those of the claims, and
	// those that the mask does not clear.
	claims, context        masking
	marks, ofToken, hidden []string
	pick                   *grower
	paths                  [][]string // of the claims
}

// sampled makes a sample of the fuzzer's bytes and texts, on the pattern of another.
func sampled(f *pdp.Facts, d *pdp.Decision, shape []byte, free, extra, said string) *sample {
	claims := &grower{choices: choices{shape}, free: free, extra: extra}
	s := &sample{facts: *f, decision: *d}
	q := *f.Request
	s.facts.Request = &q
	s.facts.Token = &pdp.Token{
		Size: 700, Kind: "jws", ID: "zqJTIqz" + free, Claims: claims.object(nil, 3),
		Header: pdp.Header{KeyID: "zqKIDqz" + free, Type: "zqTYPqz" + free, Algorithm: "zqALGqz" + free},
	}
	context := &grower{choices: claims.choices, free: free, extra: extra, leaves: claims.leaves}
	q.Context = context.object(nil, 3)
	q.Action, q.Resource, q.Path, q.Audience, q.Purpose = "zqACTIONqz"+free, "zqRESOURCEqz"+said, "zqPATHqz"+said, said, said

	s.paths, s.pick = claims.paths, &grower{choices: context.choices}
	s.claims = masking{s.pick.some(claims.paths), s.pick.some(claims.paths)}
	s.context = masking{s.pick.some(context.paths), s.pick.some(context.paths)}
	s.mask = audit.Mask{
		Clear: s.claims.clear, Pseudonymise: s.claims.pseudonymise, ClearRequest: append(under("context", s.context.clear), []string{"action"}),
		PseudonymiseRequest: append(under("context", s.context.pseudonymise), []string{"resource"}), Revision: "m1",
	}
	details := map[string]any{"count": int64(3), "names": []string{"email"}}
	if leaves := context.leaves; len(leaves) > 0 {
		one := leaves[s.pick.below(len(leaves))].value
		details["value"], details["list"], details["text"] = one, []any{one, "email"}, fmt.Sprint("may not be ", one, " here")
	}
	s.decision.Reasons = []pdp.Reason{{Code: "lifetime.too_old", Severity: pdp.Low, Enforcement: pdp.Warn, Details: details}}
	if told, ok := details["value"]; ok {
		details[fmt.Sprint(told)], details["part"] = int64(1), fmt.Sprint("part-", told)
		s.decision.Words = append(s.decision.Words.(policyWords), "part", fmt.Sprint(told)) // which a rule may compare with
		s.decision.Reasons = append(s.decision.Reasons,
			pdp.Reason{Code: fmt.Sprint("own.", told), Controls: []string{fmt.Sprint("OWN:", told)}, Severity: pdp.Low, Enforcement: pdp.Warn},
			pdp.Reason{Code: fmt.Sprint(told), Controls: []string{fmt.Sprint(told)}, Severity: pdp.Low, Enforcement: pdp.Warn})
	}
	s.mark(claims.leaves, context.leaves[len(claims.leaves):])
	return s
}

// mark sorts what is to be looked for.
func (s *sample) mark(claims, context []leaf) {
	s.ofToken = []string{"zqJTIqz", "zqKIDqz", "zqTYPqz", "zqALGqz"}
	s.hidden = []string{"zqRESOURCEqz", "zqPATHqz", "zqKIDqz", "zqTYPqz", "zqALGqz"}
	if !s.claims.cleared([]string{"jti"}) {
		s.hidden = append(s.hidden, "zqJTIqz")
	}
	for _, one := range claims {
		s.ofToken = append(s.ofToken, one.mark)
		if !s.claims.cleared(one.path) {
			s.hidden = append(s.hidden, one.mark)
		}
	}
	s.marks = append(slices.Clone(s.ofToken), "zqACTIONqz", "zqRESOURCEqz", "zqPATHqz")
	for _, one := range context {
		s.marks = append(s.marks, one.mark)
		if !s.context.cleared(one.path) {
			s.hidden = append(s.hidden, one.mark)
		}
	}
}

// hides fails unless a record is well-formed and has none of the marks.
func hides(t *testing.T, record []byte, marks []string) {
	t.Helper()
	wellFormed(t, record)
	for _, mark := range marks {
		if bytes.Contains(record, []byte(mark)) {
			t.Fatalf("%s was not cleared and is in %s", mark, record)
		}
	}
}

// FuzzRecord holds the writer of records against a second description of what may be in them, whatever is in token,
// request and mask: a record is one line of JSON that every reader takes alike, what is read back is what the mask says,
// and a value that it did not clear is nowhere, be it in a reason's details, be it that the mask failed.
func FuzzRecord(f *testing.F) {
	facts, decision := verified(f)
	keyed := pseudonyms(f)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 120 {
		shape := make([]byte, 3*i)
		for n := range shape {
			shape[n] = byte(random.Uint32())
		}
		f.Add(shape, []string{"", "\"\\\n\x00\u2028</script>", " plain text", "é\U0001f600", "@mail", "~/"}[i%6], "x y", []string{"orders", "\xff\xfe\r"}[i%2], uint8(i))
	}
	f.Fuzz(func(t *testing.T, shape []byte, free, extra, said string, form uint8) {
		free, extra = strings.ToValidUTF8(free, "?"), strings.ToValidUTF8(extra, "?")
		if len(shape) > 512 || len(free)+len(extra)+len(said) > 512 {
			return // longer ones are not other ones
		}
		if texts := free + extra + said; strings.Contains(texts, "zq") || strings.Contains(texts, "73") {
			return // a mark must stand once
		}
		s := sampled(facts, decision, shape, free, extra, said)
		switch form % 5 {
		case 0: // the mask fails
			failing := maskerFunc(func(*pdp.Facts, *pdp.Decision) (audit.Mask, error) { return s.mask, errMask })
			hides(t, recorded(t, failing, keyed, &s.facts, &s.decision), s.marks)
		case 1: // nothing is believed of a token that is not verified
			s.facts.Verification = &pdp.Verification{
				Status: pdp.StatusSignatureInvalid, Reason: pdp.NewFloorReason("signature.invalid", "no", nil), Trust: facts.Verification.Trust,
			}
			s.decision.Reasons = nil
			hides(t, recorded(t, masks(s.mask), keyed, &s.facts, &s.decision), append(s.hidden, s.ofToken...))
		case 2: // what is taken out is out
			for _, path := range s.pick.some(s.paths) {
				s.mask.Remove = append(s.mask.Remove, "/input/token/claims"+pointer(path))
			}
			s.check(t, keyed)
		case 3: // there is no key
			s.check(t, audit.NoPseudonyms{})
		default:
			s.check(t, keyed)
		}
	})
}

// check records the sample, reads it back, and records it again as a token that is met again.
func (s *sample) check(t *testing.T, p audit.Pseudonyms) {
	t.Helper()
	record := recorded(t, masks(s.mask), p, &s.facts, &s.decision)
	hides(t, record, s.hidden)
	e := decoded(t, record)
	claims, q := s.facts.Token.Claims, s.facts.Request
	if s.mask.Remove == nil {
		pseudonym := func(issuer string) func(kind, text string) string {
			return func(kind, text string) string { return p.Pseudonym(moment, kind, issuer, text) }
		}
		agrees(t, record, e.Input.Token.Claims, &expecting{s.claims, pseudonym(issuerID), ""}, claims)
		agrees(t, record, e.Input.Request.Context, &expecting{s.context, pseudonym(""), "request.context"}, q.Context)
	}
	for _, path := range s.mask.Remove {
		if value, _ := at(e.Input.Token.Claims, strings.TrimPrefix(path, "/input/token/claims")); value != nil {
			t.Fatalf("%s is still %v in %s", path, value, record)
		}
	}
	for _, path := range append(slices.Clone(e.Erased), e.Masked...) {
		inside, ofClaims := strings.CutPrefix(path, "/input/token/claims")
		if _, there := at(claims, inside); ofClaims && !there {
			t.Fatalf("%s is listed and leads to nothing in %v", path, claims)
		}
	}
	if e.Result.Reasons[0].Code != "lifetime.too_old" || e.DecisionID != s.decision.ID || e.Input.Request.Action != q.Action {
		t.Fatalf("what is always written is missing in %s", record)
	}
	s.mask.Kept = &audit.Kept{}
	for range 2 {
		if kept := recorded(t, masks(s.mask), p, &s.facts, &s.decision); !bytes.Equal(kept, record) {
			t.Fatalf("kept with its token it is %s\nand not %s", kept, record)
		}
	}
}

// agrees compares what was read back with what the mask leaves of a tree. Without a key there are no pseudonyms.
func agrees(t *testing.T, record []byte, read map[string]any, x *expecting, tree map[string]any) {
	t.Helper()
	want := withoutEmpty(x.object(tree, nil))
	if len(read)+len(want) > 0 && !reflect.DeepEqual(any(read), any(want)) {
		t.Fatalf("read %v\nwant %v\nof %v\nin %s", read, want, tree, record)
	}
}

// withoutEmpty takes out the places of pseudonyms that could not be made.
func withoutEmpty(object map[string]any) map[string]any {
	for name, value := range object {
		if object[name] = emptied(value); object[name] == any(gone{}) {
			delete(object, name)
		}
	}
	return object
}

type gone struct{}

func emptied(value any) any {
	switch v := value.(type) {
	case string:
		if v == "" {
			return gone{}
		}
	case map[string]any:
		return withoutEmpty(v)
	case []any:
		list := []any{}
		for _, element := range v {
			if element = emptied(element); element != any(gone{}) {
				list = append(list, element)
			}
		}
		return list
	}
	return value
}

func pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name))
	}
	return b.String()
}

// at follows a JSON pointer (RFC 6901).
func at(value any, pointer string) (found any, there bool) {
	if pointer == "" {
		return value, true
	}
	for _, name := range strings.Split(pointer, "/")[1:] {
		switch v := value.(type) {
		case map[string]any:
			if value, there = v[strings.NewReplacer("~1", "/", "~0", "~").Replace(name)]; !there {
				return nil, false
			}
		case []any:
			place, err := strconv.Atoi(name)
			if err != nil || place >= len(v) {
				return nil, false
			}
			value = v[place]
		default:
			return nil, false
		}
	}
	return value, true
}
