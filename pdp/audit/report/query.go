package report

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// commandLine writes the command that lists what the query selects, one record a line, for a POSIX shell with $'…'
// strings. Names in records are chosen by others: each is quoted so that no shell takes it for anything but a word.
func commandLine(command []string, q index.Query) string {
	words := make([]string, 0, len(command)+12)
	for _, word := range command {
		words = append(words, Quote(word))
	}
	add := func(flag, value string) {
		if value != "" {
			words = append(words, "--"+flag+"="+Quote(value))
		}
	}
	moment := func(flag string, at time.Time) {
		if !at.IsZero() {
			add(flag, at.UTC().Format(time.RFC3339Nano))
		}
	}
	moment("from", q.From)
	moment("to", q.To)
	add("kind", q.Kind)
	if q.Allow != nil {
		add("allow", map[bool]string{true: "true", false: "false"}[*q.Allow])
	}
	add("reason", q.Reason)
	add("control", q.Control)
	add("enforcement", q.Enforcement)
	add("status", q.Status)
	add("issuer", q.Issuer)
	add("client", q.Client)
	add("audience", q.Audience)
	add("caller", q.Caller)
	add("alg", q.Alg)
	add("key", q.Key)
	add("revision", q.Revision)
	add("decision-id", q.DecisionID)
	if q.Superseded {
		words = append(words, "--superseding")
	}
	if q.MaskFailed {
		words = append(words, "--mask-failed")
	}
	return strings.Join(words, " ")
}

// Quote makes one word of the text: plain where nothing in it is special, in '…' where it is printable, and in $'…'
// with escapes where it has characters that a terminal acts upon or that a reader cannot see.
func Quote(text string) string {
	plain, visible := text != "", utf8.ValidString(text)
	for _, r := range text {
		if !strings.ContainsRune("-_./:=@%+,", r) && (r >= utf8.RuneSelf || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			plain = false
		}
		if r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Zs, r) && r != ' ' {
			visible = false
		}
	}
	switch {
	case plain:
		return text
	case visible:
		return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	}
	var b strings.Builder
	b.WriteString("$'")
	// Byte by byte, since the text need not be UTF-8, and in octal: POSIX leaves open how many digits a shell takes after \x.
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\'' || c == '\\':
			b.WriteString(`\` + string(rune(c)))
		case c >= ' ' && c < 0x7f:
			b.WriteByte(c)
		default:
			b.WriteString(`\` + string('0'+c>>6) + string('0'+c>>3&7) + string('0'+c&7))
		}
	}
	b.WriteByte('\'')
	return b.String()
}
