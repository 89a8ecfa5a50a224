package report

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html page_second.html style.css
var pageFiles embed.FS

// page is what the template sees.
type page struct {
	R                    *Report
	Policy               string
	Style                template.CSS
	Columns              *columns
	Curves               *curves
	Reasons, Algorithms  *bars
	Lifetimes, Revoked   *dots
	Lanes                *lanes
	RevocationsMore      int64
	DotsLeft, LanesRight float64
}

// WriteHTML writes the report as one page: no script, nothing fetched (its Content-Security-Policy allows the one style
// sheet, by its hash), readable without colours, on paper and by a screen reader; each chart has its table.
func WriteHTML(w io.Writer, r *Report) error {
	style, err := pageFiles.ReadFile("style.css")
	if err != nil {
		return err
	}
	hash := sha256.Sum256(style)
	p := &page{
		R: r, Style: template.CSS(style), //nolint:gosec // our own file, no part of any record
		Policy:   "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(hash[:]) + "'; base-uri 'none'; form-action 'none'",
		DotsLeft: dotsLeft, LanesRight: chartWidth - plotRight,
		Lifetimes: lifetimeDots(r.Issuers), Revoked: revocationDots(r.Revocations.Listed), Lanes: keyLanes(r),
		Reasons: reasonBars(r.Reasons), Algorithms: algorithmBars(r.Algorithms),
		RevocationsMore: r.Revocations.Added.Value - int64(len(r.Revocations.Listed)),
	}
	if r.Totals.Judged.Value > 0 {
		byColumn, byCurve := dayColumns(r.Days), dayCurves(r.Days)
		p.Columns, p.Curves = &byColumn, &byCurve
	}
	references := &references{numbers: make(map[string]int)}
	t, err := template.New("page.html").Funcs(references.functions()).ParseFS(pageFiles, "page.html", "page_second.html")
	if err != nil {
		return err
	}
	return t.Execute(w, p)
}

func reasonBars(list []Finding) *bars {
	if len(list) == 0 {
		return nil
	}
	var labels []string
	var parts [][]part
	for _, f := range list[:min(len(list), chartLines)] {
		labels = append(labels, f.Code)
		parts = append(parts, []part{{"denied", f.Denied.Value}, {"warned", f.Warned.Value}, {"waived", f.Waived.Value}})
	}
	b := horizontal(labels, parts)
	return &b
}

func algorithmBars(list []Algorithm) *bars {
	if len(list) == 0 {
		return nil
	}
	var labels []string
	var parts [][]part
	for _, a := range list[:min(len(list), chartLines)] {
		labels = append(labels, a.Algorithm)
		parts = append(parts, []part{{"allowed", a.Allowed.Value}, {"denied", a.Denied.Value}})
	}
	b := horizontal(labels, parts)
	return &b
}

// references numbers the commands in the order in which the page names them.
type references struct {
	numbers  map[string]int
	commands []string
}

// reference is a number, or another text, that leads to its command; N is zero where there is none.
type reference struct {
	N           int
	Text, Query string
	Zero        bool
}

func (r *references) link(text, query string) reference {
	if query == "" {
		return reference{Text: text}
	}
	n := r.numbers[query]
	if n == 0 {
		r.commands = append(r.commands, query)
		n = len(r.commands)
		r.numbers[query] = n
	}
	return reference{N: n, Text: text, Query: query}
}

func (r *references) functions() template.FuncMap {
	return template.FuncMap{
		"fig": func(of any) (reference, error) {
			f, ok := of.(Figure)
			if p, pointer := of.(*Figure); pointer {
				f, ok = *p, true
			}
			if !ok {
				return reference{}, fmt.Errorf("%T is not a figure", of)
			}
			shown := r.link(thousands(f.Value), f.Query)
			shown.Zero = f.Value == 0
			return shown, nil
		},
		"link": r.link, "commands": func() []string { return r.commands },
		"list": func(caption string, c Changes) changesView {
			return changesView{caption, c, c.Count.Value - int64(len(c.Listed))}
		},
		"day":     func(t time.Time) string { return t.Format("2 January 2006") },
		"lastday": func(t time.Time) string { return t.Add(-time.Nanosecond).Format("2 January 2006") },
		"moment":  func(t any) string { return moment(t) }, "thousands": func(n any) string { return thousands(integer(n)) },
		"seconds": func(s any) string { return seconds(float(s)) }, "days": days, "plural": func(n any, one string) string { return plural(integer(n), one) },
		"percent": percent, "px": func(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) },
		"less": func(a, b float64) float64 { return a - b }, "more": func(a, b float64) float64 { return a + b }, "inc": func(i int) int { return i + 1 },
		"join": strings.Join, "anchor": anchor, "control": func(id string) string { _, own, _ := strings.Cut(id, ":"); return cmp.Or(own, id) },
		"section": func(id string) string { return sectionTitles[id] }, "backticks": backticks, "details": detailList,
		"diamond": func(b box) string {
			return fmt.Sprintf("M%.1f %.1fL%.1f %.1fL%.1f %.1fL%.1f %.1fZ", b.X, b.Y-9, b.X+6, b.Y, b.X, b.Y+9, b.X-6, b.Y)
		},
	}
}

type changesView struct {
	Caption string
	Changes Changes
	More    int64
}

func moment(of any) string {
	t, ok := of.(time.Time)
	if p, pointer := of.(*time.Time); pointer {
		t, ok = *p, true
	}
	if !ok {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

func integer(n any) int64 {
	switch n := n.(type) {
	case int:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

func float(n any) float64 {
	switch n := n.(type) {
	case float64:
		return n
	case *float64:
		return *n
	}
	return float64(integer(n))
}

// percent is the share of a part, never rounded to none or all where it is not.
func percent(part, whole Figure) string {
	switch {
	case whole.Value == 0:
		return "–"
	case part.Value == 0:
		return "0 %"
	case part.Value == whole.Value:
		return "100 %"
	}
	share := 100 * float64(part.Value) / float64(whole.Value)
	switch {
	case share < 0.01:
		return "< 0.01 %"
	case share > 99.99:
		return "> 99.99 %"
	case share < 1, share > 99:
		return fmt.Sprintf("%.2f %%", share)
	}
	return fmt.Sprintf("%.1f %%", share)
}

// anchor makes an id of letters, digits and hyphens of a control's id.
func anchor(id string) string {
	var b strings.Builder
	b.WriteString("control-")
	for _, r := range id {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "-%x-", r)
		}
	}
	return b.String()
}

// backticks makes code of what stands between backticks, as sentences of the catalogue have it.
func backticks(text string) template.HTML {
	var b strings.Builder
	for i, piece := range strings.Split(text, "`") {
		if i%2 == 1 {
			b.WriteString("<code>" + template.HTMLEscapeString(piece) + "</code>")
		} else {
			b.WriteString(template.HTMLEscapeString(piece))
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every piece is escaped
}

type detail struct{ Name, Value string }

// detailList are a change's details by name.
func detailList(of map[string]any) []detail {
	list := make([]detail, 0, len(of))
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, detail{name, shown(of[name])})
	}
	return list
}

func shown(value any) string {
	if list, ok := value.([]any); ok {
		texts := make([]string, len(list))
		for i := range list {
			texts[i] = shown(list[i])
		}
		return strings.Join(texts, ", ")
	}
	return fmt.Sprint(value)
}
