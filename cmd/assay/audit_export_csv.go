package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// csvColumn is one column of an export: its name, and what it says of a record. Text is written quoted and so that no
// spreadsheet runs it.
type csvColumn struct {
	name   string
	number func(*index.Found) string
	text   func(*index.Found) string
}

func csvColumns() []csvColumn {
	flag := func(set bool) string { return strconv.FormatBool(set) }
	return []csvColumn{
		{name: "index", number: func(f *index.Found) string { return strconv.FormatInt(f.Record.Index, 10) }},
		{name: "leaf_hash", text: func(f *index.Found) string { return f.Record.Hash.String() }},
		{name: "time", number: func(f *index.Found) string {
			if f.Row.Time.IsZero() {
				return ""
			}
			return f.Row.Time.Format(time.RFC3339Nano)
		}},
		{name: "kind", text: func(f *index.Found) string { return f.Row.Kind }},
		{name: "decision_id", text: func(f *index.Found) string { return f.Row.DecisionID }},
		{name: "allow", number: func(f *index.Found) string {
			if f.Row.Kind != index.KindDecision {
				return ""
			}
			return flag(f.Row.Allow)
		}},
		{name: "status", text: func(f *index.Found) string { return f.Row.Status }},
		{name: "issuer", text: func(f *index.Found) string { return f.Row.Issuer }},
		{name: "client", text: func(f *index.Found) string { return f.Row.Client }},
		{name: "audience", text: func(f *index.Found) string { return f.Row.Audience }},
		{name: "token_type", text: func(f *index.Found) string { return f.Row.TokenType }},
		{name: "caller", text: func(f *index.Found) string { return f.Row.Caller }},
		{name: "alg", text: func(f *index.Found) string { return f.Row.Alg }},
		{name: "key", text: func(f *index.Found) string { return f.Row.Key }},
		{name: "revision", text: func(f *index.Found) string { return f.Row.Revision }},
		{name: "lifetime_seconds", number: func(f *index.Found) string { return strconv.FormatInt(f.Row.Lifetime, 10) }},
		{name: "latency_ns", number: func(f *index.Found) string { return strconv.FormatInt(int64(f.Row.Latency), 10) }},
		{name: "reasons", text: func(f *index.Found) string {
			var list []string
			for _, reason := range f.Row.Reasons {
				list = append(list, reason.Code+":"+reason.Enforcement)
			}
			return strings.Join(list, " ")
		}},
		{name: "superseding", number: func(f *index.Found) string { return flag(f.Row.Superseded) }},
		{name: "mask_failed", number: func(f *index.Found) string { return flag(f.Row.MaskFailed) }},
	}
}

func csvHeader() []byte {
	var names []string
	for _, c := range csvColumns() {
		names = append(names, c.name)
	}
	return []byte(strings.Join(names, ",") + "\n")
}

// appendCSV writes a line (RFC 4180). Numbers and what Assay makes itself stand bare; every other field is quoted, also
// because some spreadsheets part fields at a semicolon.
func appendCSV(dst []byte, found *index.Found) []byte {
	for i, c := range csvColumns() {
		if i > 0 {
			dst = append(dst, ',')
		}
		if c.number != nil {
			dst = append(dst, c.number(found)...)
			continue
		}
		dst = append(dst, '"')
		dst = append(dst, strings.ReplaceAll(harmless(c.text(found)), `"`, `""`)...)
		dst = append(dst, '"')
	}
	return append(dst, '\n')
}

// harmless makes a text one that stays on its line and that no spreadsheet takes for a formula: those begin with one
// of a few characters, in some programs in their wide forms too, or behind blanks.
func harmless(text string) string {
	text = strings.Map(func(r rune) rune {
		if unseen(r) {
			return ' '
		}
		return r
	}, text)
	if begin := strings.TrimSpace(text); begin != "" && strings.ContainsRune("=+-@|%＝＋－＠", []rune(begin)[0]) {
		return "'" + text
	}
	return text
}
