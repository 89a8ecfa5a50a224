package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// unseen tells characters that a terminal acts upon or that a reader cannot see: controls, and those that format, such
// as the ones that turn the direction of a text round.
func unseen(r rune) bool {
	return r < ' ' || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Co) || r == utf8.RuneError
}

// visible is printable for texts of a log, which others chose, without what a reader cannot see.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if unseen(r) {
			return utf8.RuneError
		}
		return r
	}, printable(s))
}

// visibleJSON writes the unseen characters of a JSON text as escapes, which say the same: apart from blanks between
// tokens such characters can stand in strings only. What is not UTF-8 is no JSON and is replaced.
func visibleJSON(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		switch {
		case r < utf8.RuneSelf && r != 0x7f && (r >= ' ' || r == '\n' || r == '\t'), r >= utf8.RuneSelf && !unseen(r):
			out = append(out, text[:size]...)
		case r > 0xffff:
			high, low := 0xd800+(r-0x10000)>>10, 0xdc00+(r-0x10000)&0x3ff
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		text = text[size:]
	}
	return out
}
