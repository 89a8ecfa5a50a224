package report

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// Every figure of every framework is the number of rows that its command's query selects.
func TestEachFigureIsWhatItsCommandLists(t *testing.T) {
	m := example()
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		t.Run(framework, func(t *testing.T) {
			figures := figuresOf(reflect.ValueOf(*build(t, m, framework)), nil)
			if len(figures) < 200 {
				t.Fatalf("only %d figures were found", len(figures))
			}
			counted := map[string]int64{}
			for _, f := range figures {
				count, ok := counted[f.Query]
				if !ok {
					q := parseCommand(t, f.Query)
					for i := range m.rows {
						if q.Matches(&m.rows[i]) {
							count++
						}
					}
					counted[f.Query] = count
				}
				if count != f.Value {
					t.Errorf("%s lists %d, the figure is %d", f.Query, count, f.Value)
				}
			}
		})
	}
}

// What a destination was not given, and tokens that policy refused, are told: under attention, by a figure that lists them, and
// on the page.
func TestUndeliveredRecordsAndRefusedTokensAreTold(t *testing.T) {
	m := example()
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		r := build(t, m, framework)
		page := string(pageOf(t, r))
		for _, c := range []struct {
			kind                  string
			changes               Changes
			level, section, words string
		}{
			{"log.undelivered", r.Evidence.Undelivered, Problem, "evidence", "1\u202f200 records were not delivered to a destination of the log"},
			{"token.refused", r.TokensRefused, Notice, "access", "Policy refused to let 1 token be issued."},
		} {
			q := parseCommand(t, c.changes.Count.Query)
			var listed []int64
			for i := range m.rows {
				if q.Matches(&m.rows[i]) {
					listed = append(listed, m.rows[i].Index)
				}
			}
			if q.Kind != c.kind || c.changes.Count.Value != 1 || len(listed) != 1 || len(c.changes.Listed) != 1 || c.changes.Listed[0].Index != listed[0] {
				t.Errorf("%s: %s lists %v, the report has %+v", c.kind, c.changes.Count.Query, listed, c.changes)
			}
			if !slices.ContainsFunc(r.Attention, func(a Attention) bool {
				return a.Level == c.level && a.Section == c.section && strings.HasPrefix(a.Text, c.words)
			}) {
				t.Errorf("%s is not under attention: %+v", c.kind, r.Attention)
			}
			if !strings.Contains(page, "<code>"+c.kind+"</code>") {
				t.Errorf("%s is not on the page", c.kind)
			}
		}
	}
}

// The command of a single decision lists that one.
func TestLongestLifetimeLeadsToItsDecision(t *testing.T) {
	m := example()
	r := build(t, m, "gdpr")
	for _, issuer := range r.Issuers {
		q := parseCommand(t, issuer.Longest.Query)
		found := 0
		for i := range m.rows {
			if q.Matches(&m.rows[i]) {
				if found++; m.rows[i].Lifetime != issuer.Longest.Seconds || m.rows[i].Issuer != issuer.Issuer {
					t.Errorf("%s leads to a token of %s that lives %d s", issuer.Longest.Query, m.rows[i].Issuer, m.rows[i].Lifetime)
				}
			}
		}
		if found != 1 {
			t.Errorf("%s lists %d records", issuer.Longest.Query, found)
		}
	}
}

// figuresOf are all in a value, however deep.
func figuresOf(v reflect.Value, found []Figure) []Figure {
	switch v.Kind() {
	case reflect.Struct:
		if f, ok := v.Interface().(Figure); ok {
			return append(found, f)
		}
		if _, ok := v.Interface().(time.Time); ok {
			return found
		}
		for i := range v.NumField() {
			found = figuresOf(v.Field(i), found)
		}
	case reflect.Slice:
		for i := range v.Len() {
			found = figuresOf(v.Index(i), found)
		}
	case reflect.Pointer:
		if !v.IsNil() {
			found = figuresOf(v.Elem(), found)
		}
	}
	return found
}

// parseCommand reads a command back: the flags of assay audit query.
func parseCommand(t *testing.T, command string) *index.Query {
	t.Helper()
	words := shellWords(t, command)
	if len(words) < 3 || strings.Join(words[:3], " ") != "assay audit query" {
		t.Fatalf("not a query: %s", command)
	}
	q := &index.Query{}
	texts := map[string]*string{
		"kind": &q.Kind, "reason": &q.Reason, "control": &q.Control, "enforcement": &q.Enforcement, "status": &q.Status, "issuer": &q.Issuer,
		"client": &q.Client, "audience": &q.Audience, "caller": &q.Caller, "alg": &q.Alg, "key": &q.Key, "revision": &q.Revision, "decision-id": &q.DecisionID,
	}
	moments := map[string]*time.Time{"from": &q.From, "to": &q.To}
	for _, word := range words[3:] {
		name, value, _ := strings.Cut(strings.TrimPrefix(word, "--"), "=")
		switch {
		case name == "superseding":
			q.Superseded = true
		case name == "mask-failed":
			q.MaskFailed = true
		case name == "allow":
			allow := value == "true"
			q.Allow = &allow
		case texts[name] != nil:
			*texts[name] = value
		case moments[name] != nil:
			at, err := time.Parse(time.RFC3339Nano, value)
			if err != nil {
				t.Fatal(err)
			}
			*moments[name] = at
		default:
			t.Fatalf("%s: no such flag: %s", command, word)
		}
	}
	return q
}

// shellWords parts a command as a shell does: plain text, '…', \' and $'…'.
func shellWords(t *testing.T, command string) (words []string) {
	t.Helper()
	var word []byte
	for i := 0; i < len(command); i++ {
		switch c := command[i]; {
		case c == ' ':
			words, word = append(words, string(word)), nil
		case c == '\'':
			end := strings.IndexByte(command[i+1:], '\'')
			if end < 0 {
				t.Fatalf("a quote that is not closed: %s", command)
			}
			word = append(word, command[i+1:i+1+end]...)
			i += end + 1
		case c == '$':
			for i += 2; command[i] != '\''; i++ {
				if command[i] != '\\' {
					word = append(word, command[i])
					continue
				}
				if i++; command[i] >= '0' && command[i] <= '3' {
					octal, err := strconv.ParseUint(command[i:i+3], 8, 8)
					if err != nil {
						t.Fatalf("%v in %s", err, command)
					}
					word = append(word, byte(octal))
					i += 2
				} else {
					word = append(word, command[i])
				}
			}
		case c == '\\':
			i++
			word = append(word, command[i])
		case strings.IndexByte("&|;<>()`\"*?[#~!{}\n\t", c) >= 0:
			t.Fatalf("%q is not quoted: %s", c, command)
		default:
			word = append(word, c)
		}
	}
	return append(words, string(word))
}

func FuzzQuotedNamesAreOneWord(f *testing.F) {
	for _, text := range hostile {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		command := commandLine([]string{"assay", "audit", "query"}, index.Query{Issuer: text, Client: text, Kind: "decision"})
		for _, r := range command {
			if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == '\u202e' || r == '\u2028' {
				t.Fatalf("%q has a character that acts on a terminal", command)
			}
		}
		if q := parseCommand(t, command); q.Issuer != text || q.Client != text || q.Kind != "decision" {
			t.Fatalf("%q was read back as %q from %s", text, q.Issuer, command)
		}
	})
}

// A kind of change that the report has no list for would be told by nothing but the count of all changes.
func TestEveryKindOfChangeHasAList(t *testing.T) {
	for _, kind := range pdp.ChangeKinds() {
		if pattern := string(kind); !slices.Contains(kinds, pattern) && !strings.HasPrefix(pattern, strings.TrimSuffix(keyChanges, "*")) {
			t.Errorf("%s has none", kind)
		}
	}
}
