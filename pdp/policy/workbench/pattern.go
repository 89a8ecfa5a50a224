package workbench

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

// matchOf gives a text that matches, where a configured text is a regular expression (RE2), as those that claims are held
// against are; and the text itself where it is none. It answers false for a pattern of which it finds no match.
func matchOf(text string) (string, bool) {
	if !strings.ContainsAny(text, `^$\[](){}*+?|.`) {
		return text, true
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return text, true // it can only be meant literally
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return text, true
	}
	var b strings.Builder
	example(&b, parsed)
	return b.String(), compiled.MatchString(b.String())
}

// example writes the shortest and first that a pattern allows.
func example(b *strings.Builder, r *syntax.Regexp) {
	switch r.Op {
	case syntax.OpLiteral:
		b.WriteString(string(r.Rune))
	case syntax.OpCharClass:
		if len(r.Rune) > 0 {
			b.WriteRune(printed(r.Rune))
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		b.WriteByte('a')
	case syntax.OpPlus, syntax.OpCapture:
		example(b, r.Sub[0])
	case syntax.OpRepeat:
		for range r.Min {
			example(b, r.Sub[0])
		}
	case syntax.OpConcat:
		for _, sub := range r.Sub {
			example(b, sub)
		}
	case syntax.OpAlternate:
		example(b, r.Sub[0])
	case syntax.OpNoMatch, syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText,
		syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpStar, syntax.OpQuest:
	}
}

// printed prefers letters, whose class is the least likely to mean something else.
func printed(ranges []rune) rune {
	for i := 0; i+1 < len(ranges); i += 2 {
		if low, high := ranges[i], ranges[i+1]; low <= 'a' && 'a' <= high {
			return 'a'
		}
	}
	return ranges[0]
}
