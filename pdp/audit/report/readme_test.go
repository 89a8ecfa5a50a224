package report

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// README.md names every member of a report's JSON, and nothing else as one.
func TestReadmeNamesEachMember(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(text), "| member | what it holds |\n| --- | --- |\n")
	if !found {
		t.Fatal("README.md has no table of members")
	}
	named := map[string]bool{}
	for line := range strings.Lines(table) {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(line, "|")
		for name := range strings.FieldsSeq(cells[1]) {
			named[strings.Trim(name, "`")] = true
		}
	}
	report := reflect.TypeFor[Report]()
	for i := range report.NumField() {
		member, _, _ := strings.Cut(report.Field(i).Tag.Get("json"), ",")
		if !named[member] {
			t.Errorf("README.md does not name %s", member)
		}
		delete(named, member)
	}
	for name := range named {
		t.Errorf("README.md names %s, which a report does not have", name)
	}
	if picture, err := os.Stat("report.png"); err != nil || picture.Size() > 300<<10 {
		t.Errorf("the picture: %v, %v", picture, err)
	}
}

// Each section that a control or a notice leads to is on the page: parsePage follows the links; here that none is left out.
func TestSectionsHaveTitles(t *testing.T) {
	used := map[string]bool{}
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		for _, c := range build(t, example(), framework).Controls {
			for _, s := range c.Sections {
				used[s] = true
				if sectionTitles[s] == "" {
					t.Errorf("%s leads to %q, which has no title", c.ID, s)
				}
			}
		}
	}
	for s := range sectionTitles {
		if !used[s] {
			t.Errorf("no control leads to %s", s)
		}
	}
}
