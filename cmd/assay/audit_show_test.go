package main

import (
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp/audit/index"
)

// The command that show names reads the log that show read.
func TestShowNamesACommandForTheSameLog(t *testing.T) {
	for _, c := range []struct {
		name  string
		place auditPlace
		want  string
	}{
		{"folder", auditPlace{dir: "state/audit"}, "assay audit prove 7 --dir state/audit\n"},
		{"configuration", auditPlace{config: "/etc/assay.yaml"}, "assay audit prove 7 --config /etc/assay.yaml\n"},
		{"both", auditPlace{dir: "a", config: "c.yaml"}, "assay audit prove 7 --dir a --config c.yaml\n"},
		{"a name of two words", auditPlace{dir: "it's mine"}, `assay audit prove 7 --dir 'it'\''s mine'` + "\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shown := &shownRecord{Index: 7, LogSize: 9, Checkpoint: &shownCheckpoint{Origin: "log.example", Size: 9},
				Event: []byte(`{"path":"assay/decision","decision_id":"D8","input":{},"result":{"allow":false,"reasons":[],"supersedes":"D7"},"custom":{"assay":{"kind":"decision"}}}`)}
			var out strings.Builder
			if err := printRecord(&out, &c.place, shown, &index.Row{Kind: index.KindDecision}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{c.want, strings.Replace(c.want, "prove 7", "show D7", 1)} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
		})
	}
}
