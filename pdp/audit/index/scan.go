package index

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// scanner walks over the members of a record that the index wants and steps over the rest without looking closely:
// whether a record is sound JSON is for the ledger and for audit.Decode to say. It never panics; what it does not
// understand sets bad, and then the record is decoded in full.
type scanner struct {
	text []byte
	at   int
	bad  bool
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// next is the first byte of the next token, 0 at the end.
func (s *scanner) next() byte {
	s.space()
	if s.bad || s.at >= len(s.text) {
		s.bad = true
		return 0
	}
	return s.text[s.at]
}

// take steps over one byte that must come now.
func (s *scanner) take(c byte) {
	if s.next() != c {
		s.bad = true
		return
	}
	s.at++
}

// object calls member for each member, with its name, at its value; member steps over the value. null, which stands
// for what is absent, has no members.
func (s *scanner) object(member func(name []byte)) {
	if s.null() {
		return
	}
	s.take('{')
	if s.next() == '}' {
		s.at++
		return
	}
	for !s.bad {
		name := s.string()
		s.take(':')
		if s.bad {
			return
		}
		member(name)
		if s.more('}') {
			continue
		}
		return
	}
}

// array calls element at each element; element steps over it.
func (s *scanner) array(element func()) {
	if s.null() {
		return
	}
	s.take('[')
	if s.next() == ']' {
		s.at++
		return
	}
	for !s.bad {
		element()
		if s.more(']') {
			continue
		}
		return
	}
}

// more steps over a comma, or over the end.
func (s *scanner) more(end byte) bool {
	switch s.next() {
	case ',':
		s.at++
		return true
	case end:
		s.at++
	default:
		s.bad = true
	}
	return false
}

func (s *scanner) null() bool {
	if s.next() == 'n' && bytes.HasPrefix(s.text[s.at:], []byte("null")) {
		s.at += len("null")
		return true
	}
	return false
}

// raw steps over a string and gives it with its quotes.
func (s *scanner) raw() (quoted []byte, escaped bool) {
	s.take('"')
	if s.bad {
		return nil, false
	}
	from, end := s.at-1, -1 // end is the next quote, which is looked for again only once it turned out to be escaped
	for {
		if end < s.at {
			next := bytes.IndexByte(s.text[s.at:], '"')
			if next < 0 {
				s.bad = true
				return nil, false
			}
			end = s.at + next
		}
		backslash := bytes.IndexByte(s.text[s.at:end], '\\')
		if backslash < 0 {
			s.at = end + 1
			return s.text[from:s.at], escaped
		}
		escaped = true
		s.at += min(backslash+2, len(s.text)-s.at) // the next byte is escaped, a quote too
	}
}

// string steps over a string and gives what it says, a part of the text where nothing in it is escaped.
func (s *scanner) string() []byte {
	quoted, escaped := s.raw()
	if s.bad {
		return nil
	}
	if !escaped {
		return quoted[1 : len(quoted)-1]
	}
	plain, err := jsontext.AppendUnquote(nil, quoted)
	if err != nil {
		s.bad = true
	}
	return plain
}

// stringOrNothing steps over a value and gives what it says if it is a string, else nothing.
func (s *scanner) stringOrNothing() []byte {
	if s.next() == '"' {
		return s.string()
	}
	s.skip()
	return nil
}

// boolean steps over true, false or null.
func (s *scanner) boolean() bool {
	if s.null() {
		return false
	}
	for _, literal := range [...]string{"true", "false"} {
		if bytes.HasPrefix(s.text[s.at:], []byte(literal)) {
			s.at += len(literal)
			return literal == "true"
		}
	}
	s.bad = true
	return false
}

// integer steps over a whole number of at most 18 digits, or null.
func (s *scanner) integer() int64 {
	if s.null() {
		return 0
	}
	from := s.at
	negative := s.next() == '-'
	if negative {
		s.at++
	}
	digits := s.at
	var n int64
	for s.at < len(s.text) && s.text[s.at] >= '0' && s.text[s.at] <= '9' {
		if s.at-digits == 18 {
			s.bad = true // audit.Decode says what it is
			return 0
		}
		n = n*10 + int64(s.text[s.at]-'0')
		s.at++
	}
	if s.at == digits || s.at < len(s.text) && bytes.IndexByte([]byte(".eE"), s.text[s.at]) >= 0 {
		s.at, s.bad = from, true
		return 0
	}
	if negative {
		return -n
	}
	return n
}

// skip steps over any value.
func (s *scanner) skip() {
	switch s.next() {
	case '"':
		s.raw()
	case '{', '[':
		s.skipNested()
	default:
		for s.at < len(s.text) {
			switch s.text[s.at] {
			case ',', '}', ']', ' ', '\t', '\r', '\n':
				return
			}
			s.at++
		}
	}
}

func (s *scanner) skipNested() {
	depth := 0
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case '"':
			if s.raw(); s.bad {
				return
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				s.at++
				return
			}
		}
		s.at++
	}
	s.bad = true
}
