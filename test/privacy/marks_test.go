package privacy

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Marks stand in everything that is personal, each with the name of its place behind it. What must be kept as it is, so
// that it can be compared, the identifier in a revocation's order, has a mark of its own kind.
const (
	mark        = "zqxkvwjyfbph"
	orderedMark = "wvkzqyxjphfb"
)

// person is a text of somebody's at a place, in the form of a mail address.
func person(place string, n int) string {
	return fmt.Sprintf("%s.%s.%d@people.example", mark, place, n)
}

// name is the same in the form of a word.
func name(place string, n int) string { return fmt.Sprintf("%s-%s-%d", mark, place, n) }

// forms are what a mark can look like in a file, by the name of the encoding.
func forms(text string) map[string][]byte {
	all := map[string][]byte{
		"plain":      []byte(text),
		"upper case": []byte(strings.ToUpper(text)),
		"hex":        []byte(hex.EncodeToString([]byte(text))),
		"HEX":        []byte(strings.ToUpper(hex.EncodeToString([]byte(text)))),
	}
	reversed := []byte(text)
	slices.Reverse(reversed)
	all["reversed"] = reversed
	var escaped, percent, spaced []byte
	for i := range len(text) {
		escaped = fmt.Appendf(escaped, `\u%04x`, text[i])
		percent = fmt.Appendf(percent, "%%%02x", text[i])
		spaced = append(spaced, text[i], 0)
	}
	all["JSON escapes"], all["percent"], all["UTF-16"] = escaped, percent, spaced
	// Of base64 only what does not depend on the neighbours: at three alignments, in both alphabets and once more within
	// base64.
	for shift := range 3 {
		inner := aligned([]byte(text), shift)
		all[fmt.Sprintf("base64 at %d", shift)] = inner
		for again := range 3 {
			all[fmt.Sprintf("base64 at %d in base64 at %d", shift, again)] = aligned(inner, again)
		}
	}
	return all
}

// aligned encodes the middle of a text that stands shift bytes after a multiple of three.
func aligned(text []byte, shift int) []byte {
	padded := append(bytes.Repeat([]byte{0}, shift), text...)
	padded = padded[:len(padded)/3*3]
	encoded := []byte(base64.RawURLEncoding.EncodeToString(padded)) // of letters, both alphabets have the same
	if shift > 0 {
		encoded = encoded[4:]
	}
	return encoded
}

// tokens knows pieces of every token that was sent.
type tokens struct{ pieces map[string]string }

// pieceLength is short enough to find a part that was cut, and too long for chance.
const pieceLength = 24

func (s *tokens) add(what, compact string) {
	if s.pieces == nil {
		s.pieces = make(map[string]string)
	}
	for i, segment := range strings.Split(compact, ".") {
		if i == 0 {
			continue // the header: many tokens have the same, and what is personal in it is marked
		}
		for at := 0; at+pieceLength <= len(segment); at += pieceLength {
			s.pieces[segment[at:at+pieceLength]] = fmt.Sprintf("%s, part %d", what, i)
		}
	}
}

// find looks for the pieces wherever base64url stands, at any offset.
func (s *tokens) find(text []byte) (what string, at int) {
	run := 0
	for i, b := range text {
		switch {
		case b >= 'a' && b <= 'z', b >= 'A' && b <= 'Z', b >= '0' && b <= '9', b == '-', b == '_':
			if run++; run < pieceLength {
				continue
			}
			if what, known := s.pieces[string(text[i+1-pieceLength:i+1])]; known {
				return what, i + 1 - pieceLength
			}
		default:
			run = 0
		}
	}
	return "", -1
}

func around(text []byte, at int) string {
	return fmt.Sprintf("%q", text[max(0, at-120):min(len(text), at+160)])
}

// TestSearchFinds: a search that finds nothing proves something only if it finds what is there.
func TestSearchFinds(t *testing.T) {
	value := person("sub", 1)
	for encoding, text := range map[string]string{
		"plain":             `{"sub":"` + value + `"}`,
		"upper case":        strings.ToUpper(value),
		"hex":               hex.EncodeToString([]byte("x" + value)),
		"base64":            base64.StdEncoding.EncodeToString([]byte("a" + value)),
		"base64url":         base64.RawURLEncoding.EncodeToString([]byte("ab" + value)),
		"base64 twice":      base64.StdEncoding.EncodeToString([]byte("a" + base64.StdEncoding.EncodeToString([]byte(`{"s":"`+value+`"}`)))),
		"reversed":          "elpoep@" + string(forms(mark)["reversed"]),
		"one after another": "zqxkvwjyfbp" + value,
	} {
		found := false
		for _, form := range forms(mark) {
			found = found || bytes.Contains([]byte(text), form)
		}
		if !found {
			t.Errorf("%s is not found in %s", mark, encoding)
		}
	}
	var sent tokens
	sent.add("a token", "eyJh.abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ._-_-_-_-_-_-_-_-_-_-_-_-_-_-")
	for _, text := range []string{`"x":"uvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWX"`, "_-_-_-_-_-_-_-_-_-_-_-_-"} {
		if _, at := sent.find([]byte(text)); at < 0 {
			t.Errorf("a part of a token is not found in %s", text)
		}
	}
	if what, at := sent.find([]byte("eyJh.other")); at >= 0 {
		t.Errorf("%s is found where it is not", what)
	}
}
