package issuer

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of a claims set: what the strict reader takes back.
const (
	maxDepth        = 16
	maxValues       = 4096
	maxNumberLength = 64
	maxExponent     = 400
)

// writer writes one JSON object. After an error it writes nothing more; end gives the first one. Errors name
// no value: they go to whoever ordered, and may be logged.
type writer struct {
	dst    []byte
	depth  int // of the object or array being written
	values int
	err    error
}

// newWriter opens the object, which counts as a value itself.
func newWriter(dst []byte) *writer { return &writer{dst: append(dst, '{'), depth: 1, values: 1} }

func (w *writer) end() ([]byte, error) {
	if w.err != nil {
		return nil, &OrderError{"claims", w.err.Error()}
	}
	return append(w.dst, '}'), nil
}

// member writes one member of an object.
func (w *writer) member(name string, value any) {
	w.separate('{')
	w.text(name)
	w.dst = append(w.dst, ':')
	w.value(value)
}

func (w *writer) separate(open byte) {
	if w.dst[len(w.dst)-1] != open {
		w.dst = append(w.dst, ',')
	}
}

// text quotes: whatever the string holds, it stays one string.
func (w *writer) text(s string) {
	quoted, err := jsontext.AppendQuote(w.dst, s)
	if err != nil {
		w.fail(errors.New("a name or a string is not valid UTF-8"))
		return
	}
	w.dst = quoted
}

func (w *writer) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *writer) value(value any) {
	if w.values++; w.values > maxValues {
		w.fail(fmt.Errorf("more than %d values", maxValues))
	}
	if w.err != nil {
		return
	}
	switch v := value.(type) {
	case nil:
		w.dst = append(w.dst, "null"...)
	case bool:
		w.dst = strconv.AppendBool(w.dst, v)
	case string:
		w.text(v)
	case int:
		w.dst = strconv.AppendInt(w.dst, int64(v), 10)
	case int64:
		w.dst = strconv.AppendInt(w.dst, v, 10)
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			w.fail(errors.New("a number is not finite"))
			return
		}
		w.dst = strconv.AppendFloat(w.dst, v, 'g', -1, 64)
	case json.Number:
		w.number(v)
	case []string:
		array(w, v)
	case []any:
		array(w, v)
	case map[string]any:
		w.object(v)
	default:
		w.fail(fmt.Errorf("a value of type %T is not JSON", value))
	}
}

func (w *writer) number(n json.Number) {
	text := jsontext.Value(n)
	// Surrounding whitespace would be valid too, so the ends are looked at.
	if len(n) == 0 || len(n) > maxNumberLength || !text.IsValid() || n[0] != '-' && (n[0] < '0' || n[0] > '9') || n[len(n)-1] < '0' || n[len(n)-1] > '9' {
		w.fail(fmt.Errorf("a number is not a JSON number of at most %d characters", maxNumberLength))
		return
	}
	if e := strings.IndexAny(string(n), "eE"); e >= 0 {
		if exponent, err := strconv.Atoi(string(n[e+1:])); err != nil || exponent > maxExponent || exponent < -maxExponent {
			w.fail(fmt.Errorf("a number has an exponent beyond %d", maxExponent))
			return
		}
		if _, err := strconv.ParseFloat(string(n), 64); err != nil {
			w.fail(errors.New("a number is too large for a double"))
			return
		}
	}
	w.dst = append(w.dst, n...)
}

func array[T any](w *writer, items []T) {
	w.nest('[', ']', func() {
		for _, item := range items {
			w.separate('[')
			w.value(item)
		}
	})
}

func (w *writer) object(o map[string]any) {
	w.nest('{', '}', func() {
		for _, name := range sortedNames(o) {
			w.member(name, o[name])
		}
	})
}

func (w *writer) nest(open, shut byte, content func()) {
	if w.depth++; w.depth > maxDepth {
		w.fail(fmt.Errorf("nested deeper than %d levels", maxDepth))
	} else {
		w.dst = append(w.dst, open)
		content()
		w.dst = append(w.dst, shut)
	}
	w.depth--
}

func sortedNames(object map[string]any) []string { return slices.Sorted(maps.Keys(object)) }
