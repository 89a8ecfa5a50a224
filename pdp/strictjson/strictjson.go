// Package strictjson reads JSON that an attacker may have written.
//
// Two readers that understand one text differently are a hole: the one that checks sees another value
// than the one that uses. So everything on which parsers are known to differ is refused instead of
// resolved: duplicate member names, invalid UTF-8, lone surrogates, data after the value, and numbers so
// long or so large that they come out differently or cost much to compute with (RFC 8259 sections 4, 6 and
// 8.1; RFC 8725 section 3.7). What is left has one meaning.
//
// Values are map[string]any, []any, string, json.Number, bool and nil. Numbers stay the text that they were.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Limits bound what is read. A zero member means its default.
type Limits struct {
	// MaxBytes is the longest text, in bytes; default 1 MiB.
	MaxBytes int
	// MaxDepth is how deep arrays and objects may be nested; default 32. A scalar has depth 0.
	MaxDepth int
	// MaxValues is how many values a text may hold, members and elements counted each; default 10 000.
	MaxValues int
}

// The defaults of Limits, and the bounds of a number's text.
const (
	DefaultMaxBytes  = 1 << 20
	DefaultMaxDepth  = 32
	DefaultMaxValues = 10_000

	maxNumberBytes = 64
	maxExponent    = 400
)

// Error says what is wrong with a text and where. Its message never repeats the text.
type Error struct {
	// Offset is where, in bytes from the start; the value around it may begin earlier.
	Offset int64
	// Problem is what, such as "a member name stands twice".
	Problem string
}

func (e *Error) Error() string { return fmt.Sprintf("%s (at byte %d)", e.Problem, e.Offset) }

// reader is the state of one Decode.
type reader struct {
	decoder *jsontext.Decoder
	limits  Limits
	values  int
}

// readers keeps decoders, whose buffers are worth keeping: one is needed for each new token.
var readers = sync.Pool{New: func() any { return jsontext.NewDecoder(bytes.NewReader(nil)) }}

// nothing is never written to, and reading it changes nothing: it is empty.
var nothing = new(bytes.Buffer)

// Decode reads exactly one JSON value. Its error is an *Error.
func Decode(data []byte, limits Limits) (any, error) {
	if limits.MaxBytes == 0 {
		limits.MaxBytes = DefaultMaxBytes
	}
	if limits.MaxDepth == 0 {
		limits.MaxDepth = DefaultMaxDepth
	}
	if limits.MaxValues == 0 {
		limits.MaxValues = DefaultMaxValues
	}
	if len(data) > limits.MaxBytes {
		return nil, &Error{Offset: int64(limits.MaxBytes), Problem: fmt.Sprintf("longer than %d bytes", limits.MaxBytes)}
	}
	decoder := readers.Get().(*jsontext.Decoder)
	defer func() {
		decoder.Reset(nothing) // what was read may be personal: the pool keeps none of it
		readers.Put(decoder)
	}()
	// A bytes.Buffer lets the decoder read the bytes in place; it only reads them.
	decoder.Reset(bytes.NewBuffer(data))
	r := &reader{decoder: decoder, limits: limits}
	value, err := r.value(0)
	if err != nil {
		return nil, r.problem(err)
	}
	if _, err := decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, &Error{Offset: decoder.InputOffset(), Problem: "something stands after the value"}
	}
	return value, nil
}

// DecodeObject is Decode for a text that must be an object.
func DecodeObject(data []byte, limits Limits) (map[string]any, error) {
	value, err := Decode(data, limits)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, &Error{Problem: "a JSON object is expected"}
	}
	return object, nil
}

func (r *reader) value(depth int) (any, error) {
	if r.values++; r.values > r.limits.MaxValues {
		return nil, &Error{Problem: fmt.Sprintf("more than %d values", r.limits.MaxValues)}
	}
	token, err := r.decoder.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String())
	case '{':
		return r.object(depth + 1)
	case '[':
		return r.array(depth + 1)
	}
	return nil, &Error{Problem: "a value is expected"}
}

func (r *reader) object(depth int) (any, error) {
	if depth > r.limits.MaxDepth {
		return nil, &Error{Problem: fmt.Sprintf("nested deeper than %d", r.limits.MaxDepth)}
	}
	object := make(map[string]any)
	for r.decoder.PeekKind() != '}' {
		name, err := r.decoder.ReadToken()
		if err != nil {
			return nil, err
		}
		key := name.String()
		if object[key], err = r.value(depth); err != nil {
			return nil, err
		}
	}
	_, err := r.decoder.ReadToken()
	return object, err
}

func (r *reader) array(depth int) (any, error) {
	if depth > r.limits.MaxDepth {
		return nil, &Error{Problem: fmt.Sprintf("nested deeper than %d", r.limits.MaxDepth)}
	}
	array := []any{}
	for r.decoder.PeekKind() != ']' {
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	_, err := r.decoder.ReadToken()
	return array, err
}

// number keeps the text of a number that every reader computes with alike and cheaply: where one keeps all
// digits, another has a double, which must at least be finite (RFC 8259 section 6).
func number(text string) (json.Number, error) {
	if len(text) > maxNumberBytes {
		return "", &Error{Problem: fmt.Sprintf("a number of more than %d characters", maxNumberBytes)}
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(strings.TrimPrefix(text[i+1:], "+"))
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return "", &Error{Problem: fmt.Sprintf("a number with an exponent beyond %d", maxExponent)}
		}
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return "", &Error{Problem: "a number that is too large for a double"}
		}
	}
	return json.Number(text), nil
}

// problem gives any error of reading as an *Error with its place.
func (r *reader) problem(err error) *Error {
	if own, ok := errors.AsType[*Error](err); ok {
		return &Error{Offset: r.decoder.InputOffset(), Problem: own.Problem}
	}
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	if !ok {
		return &Error{Offset: r.decoder.InputOffset(), Problem: "it ends in the middle"}
	}
	e := &Error{Offset: syntactic.ByteOffset, Problem: "not JSON"}
	switch {
	case errors.Is(syntactic.Err, jsontext.ErrDuplicateName):
		e.Problem = "a member name stands twice"
	case errors.Is(syntactic.Err, io.ErrUnexpectedEOF), errors.Is(syntactic.Err, io.EOF):
		e.Problem = "it ends in the middle"
	case strings.Contains(syntactic.Err.Error(), "UTF-8"), strings.Contains(syntactic.Err.Error(), "surrogate"):
		e.Problem = "not UTF-8"
	}
	return e
}
