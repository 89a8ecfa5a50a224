package workbench

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// hiddenValue is a place in an input whose value was not written.
type hiddenValue struct {
	path []string
	name string
	// text: it was a text or a number, of which there is a pseudonym.
	text bool
}

// standIn is a value in the place of a hidden one.
type standIn struct {
	at    int // among the hidden ones
	value any // nil: none
}

// ordinary stands in for every hidden value unless something else is tried.
const ordinary = "text"

// telling are texts that look like what no token should hold, one for each shape that the library tells apart, and texts
// of the forms that a subject can be asked to have.
var telling = []string{
	"a@example.org", "+49 171 2345678", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "AKIAIOSFODNN7EXAMPLE",
	"spiffe://example.org/workload", "system:serviceaccount:namespace:name",
}

// tried are all values that are tried in the place of a hidden one.
func (r *Replay) tried(h *hiddenValue, input map[string]any) []any {
	values := []any{"", json.Number("12345678901234")}
	for _, text := range telling {
		values = append(values, text)
	}
	for _, text := range slices.Concat(r.constants, ownTexts(input)) {
		values = append(values, text)
	}
	if h.text {
		return values
	}
	return append(values, true, []any{}, []any{ordinary}, []any{telling[0]}, map[string]any{}, map[string]any{"x": ordinary}, map[string]any{"x": telling[0]})
}

// ownTexts are those of the record that rules of the library compare others with.
func ownTexts(input map[string]any) []string {
	var texts []string
	token, _ := input["token"].(map[string]any)
	claims, _ := token["claims"].(map[string]any)
	request, _ := input["request"].(map[string]any)
	for _, value := range []any{claims["iss"], claims["sub"], claims["client_id"], claims["azp"], request["audience"]} {
		if text, ok := value.(string); ok && !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return texts
}

// filled gives the input with stand-ins in all hidden places: ordinary ones, but for those given, of which later ones count.
func filled(input map[string]any, hidden []hiddenValue, by ...standIn) map[string]any {
	var whole any = input
	for i := range hidden {
		var value any = ordinary
		for _, s := range by {
			if s.at == i && s.value != nil {
				value = s.value
			}
		}
		whole = with(whole, hidden[i].path, value, hidden[i].text)
	}
	return whole.(map[string]any) // as it was: a path is never empty
}

// with gives a copy of a document that has value at path. In lists, from which what was erased is missing, it is put at its
// place again; what is there as a pseudonym is replaced.
func with(document any, path []string, value any, replace bool) any {
	if len(path) == 0 {
		return value
	}
	if list, isList := document.([]any); isList {
		i, err := strconv.Atoi(path[0])
		if err != nil || i < 0 {
			return document
		}
		switch {
		case i < len(list) && (replace || len(path) > 1):
			list = slices.Clone(list)
			list[i] = with(list[i], path[1:], value, replace)
		default:
			list = slices.Insert(slices.Clone(list), min(i, len(list)), with(nil, path[1:], value, replace))
		}
		return list
	}
	object, _ := document.(map[string]any)
	if object = maps.Clone(object); object == nil {
		object = make(map[string]any, 1)
	}
	object[path[0]] = with(object[path[0]], path[1:], value, replace)
	return object
}

// comparePaths orders paths so that elements of a list come in their order.
func comparePaths(a, b []string) int {
	return slices.CompareFunc(a, b, func(x, y string) int {
		i, noX := strconv.Atoi(x)
		j, noY := strconv.Atoi(y)
		if noX == nil && noY == nil {
			return i - j
		}
		return strings.Compare(x, y)
	})
}

// insight is what stand-ins showed of one kind of record.
type insight struct {
	undecidable []string
	by          standIn // which answers for the hidden values; none: all ordinary
}

// insight finds out whether hidden values matter. That is found once for all records that differ only in times,
// identifiers and sizes and have the same answers.
func (r *Replay) insight(ctx context.Context, record *Record, input map[string]any, hidden []hiddenValue, plain Answer) (*insight, error) {
	return r.known.of(r.kindOf(record, input, hidden, plain), func() (*insight, error) {
		return r.tryOut(ctx, record, input, hidden, plain)
	})
}

// trial is one record that stand-ins are tried on.
type trial struct {
	r      *Replay
	record *Record
	input  map[string]any
	hidden []hiddenValue
	tried  [][]any // by hidden place
}

func (r *Replay) tryOut(ctx context.Context, record *Record, input map[string]any, hidden []hiddenValue, plain Answer) (*insight, error) {
	t := &trial{r: r, record: record, input: input, hidden: hidden}
	for i := range hidden {
		t.tried = append(t.tried, append([]any{ordinary}, r.tried(&hidden[i], input)...))
	}
	explanations, err := t.explanations(ctx)
	if err != nil {
		return nil, err
	}
	if len(explanations) == 0 { // with nothing that was tried it would have been decided as it was
		return &insight{undecidable: t.names(func(int) bool { return true })}, nil
	}
	found := &insight{by: explanations[0]}
	answer := plain
	if found.by.value != nil {
		if answer, err = r.answer(ctx, r.candidate, record, filled(input, hidden, found.by)); err != nil {
			return nil, err
		}
	}
	matters := make([]bool, len(hidden))
	for _, base := range explanations {
		if err := t.vary(ctx, base, answer, matters); err != nil {
			return nil, err
		}
	}
	found.undecidable = t.names(func(i int) bool { return matters[i] })
	return found, nil
}

func (t *trial) names(of func(int) bool) []string {
	var names []string
	for i := range t.hidden {
		if of(i) {
			names = append(names, t.hidden[i].name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// explanations are the stand-ins with which the policy of then would have decided as is recorded: none, which is all
// ordinary ones; where that is not among them, for each hidden place the first that alone explains the record.
func (t *trial) explanations(ctx context.Context) ([]standIn, error) {
	if ok, err := t.possible(ctx); ok || err != nil {
		return []standIn{{}}, err
	}
	var found []standIn
	for i := range t.hidden {
		for _, value := range t.tried[i] {
			by := standIn{i, value}
			ok, err := t.possible(ctx, by)
			if err != nil {
				return nil, err
			}
			if ok {
				found = append(found, by)
				break
			}
		}
	}
	return found, nil
}

// possible tells whether the policy of then could have decided so; without that policy anything is.
func (t *trial) possible(ctx context.Context, by ...standIn) (bool, error) {
	if !t.r.decidedBy(t.record) {
		return true, nil
	}
	was, err := t.r.answer(ctx, t.r.baseline, t.record, filled(t.input, t.hidden, by...))
	return was.Equal(t.record.Was), err
}

// decidedBy tells whether the baseline decided.
func (r *Replay) decidedBy(record *Record) bool {
	return r.baseline != nil && r.baseline.ID() == record.Revision
}

// vary puts everything in each hidden place in turn, around one explanation, and notes the places where something that is
// possible gives another answer.
func (t *trial) vary(ctx context.Context, base standIn, answer Answer, matters []bool) error {
	for i := range t.hidden {
		for _, value := range t.tried[i] {
			if matters[i] {
				break
			}
			by := standIn{i, value}
			is, err := t.r.answer(ctx, t.r.candidate, t.record, filled(t.input, t.hidden, base, by))
			if err != nil {
				return err
			}
			if is.Equal(answer) {
				continue
			}
			if matters[i], err = t.possible(ctx, base, by); err != nil {
				return err
			}
		}
	}
	return nil
}

// kindOf is the same for records that differ only in times, identifiers, sizes, and what no policy looks at.
func (r *Replay) kindOf(record *Record, input map[string]any, hidden []hiddenValue, plain Answer) digest {
	kind := maps.Clone(input)
	delete(kind, "time")
	for member, unlike := range map[string][]string{"token": {"id", "kid", "size"}, "revocation": {"age_seconds"}, "verification": nil} {
		object, ok := kind[member].(map[string]any)
		if !ok {
			continue
		}
		object = maps.Clone(object)
		for _, name := range unlike {
			delete(object, name)
		}
		if signed, ok := object["key"].(map[string]any); ok {
			signed = maps.Clone(signed)
			for _, name := range []string{"thumbprint", "kid", "created"} {
				delete(signed, name)
			}
			object["key"] = signed
		}
		if claims, ok := object["claims"].(map[string]any); ok {
			claims = maps.Clone(claims)
			for _, name := range []string{"exp", "nbf", "iat", "jti", "auth_time"} {
				if _, there := claims[name]; there {
					claims[name] = nil
				}
			}
			object["claims"] = claims
		}
		kind[member] = object
	}
	kind = filled(kind, hidden) // what is hidden is the same, whoever it stands for
	var key []byte
	for _, h := range hidden {
		key = fmt.Appendf(key, "%q %t\n", h.name, h.text)
	}
	key = fmt.Appendf(key, "%q %q %v\n", ownTexts(kind), vetoes(record, input), plain)
	key = r.candidate.AppendKey(key, kind)
	if r.decidedBy(record) { // else what was decided then says nothing
		key = fmt.Appendf(key, "\n%v\n", record.Was)
		key = r.baseline.AppendKey(key, kind)
	}
	return sha256.Sum256(key)
}
