package main

import (
	"bytes"
	"os"
	"path/filepath"
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

// Behind a damaged line records cannot be counted: what is asked for may be there. Everybody who reads up to it names it, and
// the command that tells more.
func TestADamagedLineIsNotTheEndOfTheLog(t *testing.T) {
	s := newSignedLog(t)
	s.write(6)
	has(t, s.assay(1, "audit", "show", "6", "--dir", s.dir), "no record 6 is in the log\n")
	segment := filepath.Join(s.dir, "segments", "00000000000000000000.log")
	text, err := os.ReadFile(segment)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(segment, bytes.Replace(text, []byte("decision-3"), []byte("decision-x"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	has(t, s.assay(0, "audit", "show", "2", "--dir", s.dir), "decision-2")
	for _, index := range []string{"4", "5", "99"} {
		has(t, s.assay(2, "audit", "show", index, "--dir", s.dir), "whether there is a record "+index+" cannot be told: audit log: record 3 in segments/", "run `assay audit verify`")
	}
	report := filepath.Join(s.folder, "report.html")
	for _, args := range [][]string{
		{"show", "3"}, {"show", "decision-5"}, {"query"}, {"query", "-o", "json"}, {"export"}, {"tail", "--no-follow"},
		{"report", "--framework", "soc2", "--from", "2026", "--out", report},
	} {
		has(t, s.assay(2, append(append([]string{"audit"}, args...), "--dir", s.dir)...), "audit log: record 3 in segments/", "run `assay audit verify`")
	}
	if _, err := os.Stat(report); err == nil {
		t.Error("a report that leaves out records was written")
	}
}

func TestShowTellsOfDeletedRecords(t *testing.T) {
	s := newSignedLog(t)
	s.write(4)
	has(t, s.assay(1, "audit", "show", "decision-9", "--dir", s.dir), "no record decision-9 is in the log\n")
	segments := filepath.Join(s.dir, "segments")
	if err := os.Rename(filepath.Join(segments, "00000000000000000000.log"), filepath.Join(segments, "00000000000000000027.log")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"decision-9", "31"} {
		has(t, s.assay(1, "audit", "show", name, "--dir", s.dir), "no record "+name+" is in the log; the records before 27 were deleted by retention\n")
	}
	has(t, s.assay(0, "audit", "show", "30", "--dir", s.dir), "decision-3")
	has(t, s.assay(2, "audit", "show", "26", "--dir", s.dir), "record 26 is there no more")
}
