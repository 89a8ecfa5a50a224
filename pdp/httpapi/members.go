package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/strictjson"
)

// object reads an object and calls member after each name, to read the value. The name is unquoted and
// valid until the value is read.
func (d *decoder) object(member func(name []byte) error) error {
	if err := d.expect('{', "an object"); err != nil {
		return err
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	for d.json.PeekKind() != '}' {
		raw, err := d.json.ReadValue()
		if err != nil {
			return d.syntax(err)
		}
		if bytes.IndexByte(raw, '\\') < 0 {
			raw = raw[1 : len(raw)-1]
		} else if raw, err = jsontext.AppendUnquote(nil, raw); err != nil {
			return d.syntax(err)
		}
		if err := member(raw); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	return nil
}

func (d *decoder) array(element func() error) error {
	if err := d.expect('[', "an array"); err != nil {
		return err
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	for d.json.PeekKind() != ']' {
		if d.json.PeekKind() == 0 {
			_, err := d.json.ReadValue()
			return d.syntax(err)
		}
		if err := element(); err != nil {
			return err
		}
	}
	if _, err := d.json.ReadToken(); err != nil {
		return d.syntax(err)
	}
	return nil
}

// string reads a string of at most limit bytes; a negative limit is none.
func (d *decoder) string(limit int) (string, error) {
	if err := d.expect('"', "a string"); err != nil {
		return "", err
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return "", d.syntax(err)
	}
	if bytes.IndexByte(raw, '\\') < 0 {
		raw = raw[1 : len(raw)-1]
	} else if raw, err = jsontext.AppendUnquote(nil, raw); err != nil {
		return "", d.syntax(err)
	}
	if limit >= 0 && len(raw) > limit {
		return "", d.invalid("longer than " + strconv.Itoa(limit) + " bytes")
	}
	return string(raw), nil
}

// name reads a string that names something: it is not empty. An empty one is rather an unset variable of
// the caller's, and must not pass for "none asked".
func (d *decoder) name() (string, error) {
	s, err := d.string(maxString)
	if err == nil && s == "" {
		return "", d.invalid("empty; leave it out or name one")
	}
	return s, err
}

// names reads one name or an array of them, as "aud" may be written (RFC 7519 section 4.1.3).
func (d *decoder) names() ([]string, error) {
	if d.json.PeekKind() != '[' {
		if err := d.expect('"', "a string or an array of strings"); err != nil {
			return nil, err
		}
		s, err := d.name()
		return []string{s}, err
	}
	var list []string
	err := d.array(func() error {
		s, err := d.name()
		list = append(list, s)
		return err
	})
	return list, err
}

func (d *decoder) tokenType() (pdp.TokenType, error) {
	s, err := d.string(maxString)
	if err != nil {
		return "", err
	}
	for _, known := range pdp.TokenTypes() {
		if string(known) == s {
			return known, nil
		}
	}
	return "", d.invalid(fmt.Sprintf("expected one of %q", pdp.TokenTypes()))
}

// seconds reads a whole number greater than zero.
func (d *decoder) seconds() (int64, error) {
	if err := d.expect('0', "a number"); err != nil {
		return 0, err
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return 0, d.syntax(err)
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n <= 0 {
		return 0, d.invalid("expected a whole number of seconds greater than zero")
	}
	return n, nil
}

// free reads an object of the caller's own making.
func (d *decoder) free() (map[string]any, error) {
	if err := d.expect('{', "an object"); err != nil {
		return nil, err
	}
	raw, err := d.json.ReadValue()
	if err != nil {
		return nil, d.syntax(err)
	}
	if d.values <= 0 {
		return nil, d.invalid("the contexts of all items hold too many values")
	}
	object, err := strictjson.DecodeObject(raw, strictjson.Limits{MaxValues: min(d.values, maxContextValues)})
	if err != nil {
		return nil, d.invalid(err.Error())
	}
	d.values -= valuesOf(object)
	return object, nil
}

// valuesOf counts as strictjson does.
func valuesOf(value any) int {
	n := 1
	switch v := value.(type) {
	case map[string]any:
		for _, member := range v {
			n += valuesOf(member)
		}
	case []any:
		for _, element := range v {
			n += valuesOf(element)
		}
	}
	return n
}

// end refuses whatever follows the value.
func (d *decoder) end() error {
	if _, err := d.json.ReadToken(); err != io.EOF { //nolint:errorlint // jsontext answers the bare io.EOF
		return problemf(malformedJSON, "something follows the JSON text at byte %d", d.json.InputOffset())
	}
	return nil
}

// expect refuses a value of another kind than wanted.
func (d *decoder) expect(kind jsontext.Kind, wanted string) error {
	found := d.json.PeekKind()
	if found == kind {
		return nil
	}
	if found == 0 || found == '}' || found == ']' {
		_, err := d.json.ReadValue()
		return d.syntax(err)
	}
	at := d.next()
	if _, err := d.json.ReadValue(); err != nil {
		return d.syntax(err) // what only looked like another kind
	}
	return problemf(wrongType, "%sexpected %s, found %s", label(at), wanted, kindName(found)).at(at)
}

// next points at the value that is read next.
func (d *decoder) next() jsontext.Pointer {
	at := d.json.StackPointer()
	kind, read := d.json.StackIndex(d.json.StackDepth())
	if kind != '[' {
		return at
	}
	if read > 0 {
		at = at.Parent()
	}
	return at.AppendToken(strconv.FormatInt(read, 10))
}

func kindName(k jsontext.Kind) string {
	switch k {
	case 'n':
		return "null"
	case 't', 'f':
		return "a boolean"
	case '"':
		return "a string"
	case '0':
		return "a number"
	case '{':
		return "an object"
	}
	return "an array"
}

// invalid refuses the value that was read last.
func (d *decoder) invalid(why string) *problem {
	at := d.json.StackPointer()
	return problemf(invalidValue, "%s%s", label(at), why).at(at)
}

// unknown refuses the member whose name was read last.
func (d *decoder) unknown(name []byte) *problem {
	at := d.json.StackPointer()
	shown := shorten(string(name))
	return problemf(unknownField, "%s%s: no such member", path(at.Parent()), shown).at(at.Parent().AppendToken(shown))
}

// syntax says what is wrong with the JSON, and where, without showing it.
func (d *decoder) syntax(err error) *problem {
	if err == nil {
		return problemf(malformedJSON, "not well-formed JSON at byte %d", d.json.InputOffset())
	}
	syntactic, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case ok && errors.Is(err, jsontext.ErrDuplicateName):
		at := syntactic.JSONPointer
		at = at.Parent().AppendToken(shorten(at.LastToken()))
		return problemf(duplicateField, "%smust not come twice", label(at)).at(at)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return problemf(malformedJSON, "the body ends before the JSON text does")
	case ok:
		return problemf(malformedJSON, "not well-formed JSON (RFC 8259, in UTF-8) at byte %d", syntactic.ByteOffset)
	}
	return problemf(malformedJSON, "not well-formed JSON")
}

// shorten keeps a name from the caller's body short enough to repeat.
func shorten(name string) string { return shortenTo(name, 64) }

func shortenTo(name string, longest int) string {
	if len(name) <= longest {
		return name
	}
	cut := longest
	for !utf8.RuneStart(name[cut]) {
		cut--
	}
	return name[:cut] + "…"
}

// path writes a pointer as a person would, "items[3].request.", and label the same with a colon.
func path(at jsontext.Pointer) string {
	var b strings.Builder
	for token := range at.Tokens() {
		if _, err := strconv.ParseUint(token, 10, 32); err == nil && b.Len() > 0 {
			s := strings.TrimSuffix(b.String(), ".")
			b.Reset()
			b.WriteString(s + "[" + token + "].")
			continue
		}
		b.WriteString(shorten(token) + ".")
	}
	return b.String()
}

func label(at jsontext.Pointer) string {
	if p := strings.TrimSuffix(path(at), "."); p != "" {
		return p + ": "
	}
	return ""
}
