package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/test/audittraffic"
)

// asked is what a command answered.
type asked struct {
	code        int
	out, errors string
}

func askAudit(ctx context.Context, terminal bool, args ...string) asked {
	var out, errs bytes.Buffer
	code := run(ctx, args, env{
		in: strings.NewReader(""), out: &out, err: &errs, terminal: terminal,
		now:    func() time.Time { return time.Date(2026, 10, 3, 12, 0, 0, 0, time.UTC) },
		getenv: func(string) string { return "" },
	})
	return asked{code, out.String(), errs.String()}
}

// traffic is the log of two days and a bit.
func traffic(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	if _, err := audittraffic.Write(t.Context(), audittraffic.Config{Dir: dir, Decisions: 2500, Days: 3, SegmentBytes: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func linesOf(text string) []string { return slices.Collect(strings.Lines(text)) }

func TestAuditQuery(t *testing.T) {
	dir := traffic(t)
	query := func(terminal bool, args ...string) asked {
		return askAudit(t.Context(), terminal, append([]string{"audit", "query", "--dir", dir}, args...)...)
	}
	all := query(false)
	total := len(linesOf(all.out))
	if all.code != 0 || total < 2500 {
		t.Fatalf("%d lines, %+v", total, all.errors)
	}
	for name, c := range map[string]struct {
		args []string
		line string // every line matches
		some bool   // and there are some, though not all
	}{
		"denies":       {[]string{"--deny"}, ` deny\*? `, true},
		"also denies":  {[]string{"--allow=false"}, ` deny\*? `, true},
		"allows":       {[]string{"--allow"}, ` allow `, true},
		"a day":        {[]string{"--from", "2026-10-02", "--to", "2026-10-02"}, ` 2026-10-02T`, true},
		"ago":          {[]string{"--from", "12h"}, ` 2026-10-03T`, true},
		"days ago":     {[]string{"--from", "2d", "--to", "1d"}, ` 2026-10-0[12]T`, true},
		"a family":     {[]string{"--reason", "lifetime.*"}, `lifetime\.`, true},
		"a finding":    {[]string{"--reason", "lifetime.*", "--enforcement", "warn"}, `lifetime\.too_long \(warn\)`, true},
		"a client":     {[]string{"--client", "mobile"}, `client mobile `, true},
		"an audience":  {[]string{"--audience", "billing"}, `for billing `, true},
		"an issuer":    {[]string{"--issuer", "https://ci.example"}, `https://ci\.example`, true},
		"changes":      {[]string{"--kind", "change"}, `(token|revocation|bundle|config|access)\.`, true},
		"revocations":  {[]string{"--kind", "revocation.*"}, `revocation\.(added|removed)`, true},
		"unindexed":    {[]string{"--no-index", "--deny"}, ` deny\*? `, true},
		"not verified": {[]string{"--status", "malformed"}, `  malformed  signature\.malformed`, true},
	} {
		t.Run(name, func(t *testing.T) {
			got := query(false, c.args...)
			if found := len(linesOf(got.out)); got.code != 0 || c.some && (found == 0 || found >= total) {
				t.Fatalf("exit %d, %d of %d lines, %s", got.code, found, total, got.errors)
			}
			for _, line := range linesOf(got.out) {
				if !regexp.MustCompile(c.line).MatchString(line) {
					t.Errorf("%q does not match %s", line, c.line)
				}
			}
			if count := query(false, append(c.args, "--count")...); count.out != fmt.Sprintln(len(linesOf(got.out))) {
				t.Errorf("--count says %q of %d", count.out, len(linesOf(got.out)))
			}
			whole := query(false, append(c.args, "-o", "json")...)
			if len(linesOf(whole.out)) != len(linesOf(got.out)) {
				t.Errorf("%d records for %d lines", len(linesOf(whole.out)), len(linesOf(got.out)))
			}
		})
	}
	t.Run("newest first", func(t *testing.T) {
		got := linesOf(query(false, "--newest").out)
		slices.Reverse(got)
		if strings.Join(got, "") != all.out {
			t.Error("not the reverse")
		}
	})
	t.Run("a person gets the first ones", func(t *testing.T) {
		if got := query(true); len(linesOf(got.out)) != defaultLimit || !strings.Contains(got.errors, "there are more than 50") {
			t.Errorf("%d lines, %s", len(linesOf(got.out)), got.errors)
		}
		if got := query(true, "--limit", "0"); got.out != all.out {
			t.Error("--limit 0 is not all")
		}
	})
	t.Run("none is exit code 1", func(t *testing.T) {
		if got := query(false, "--issuer", "https://nobody.example"); got.code != 1 || got.out != "" || got.errors != "no record matches\n" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAuditReadersRefuseBadInput(t *testing.T) {
	dir := traffic(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("not an export\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"query", "--from", "yesterday"}, "--from yesterday: give a day"},
		{[]string{"query", "--from", "-24h"}, "without a sign"},
		{[]string{"query", "--from", "2026-10-02", "--to", "2026-10-01"}, "nothing lies from"},
		{[]string{"query", "--allow", "--deny"}, "exclude each other"},
		{[]string{"query", "--kind", "key.rotated", "--deny"}, "are of decisions"},
		{[]string{"query", "--enforcement", "maybe"}, "choose deny, warn or waived"},
		{[]string{"query", "--limit", "-1"}, "--limit -1"},
		{[]string{"query", "extra"}, "takes no arguments"},
		{[]string{"show"}, "which record?"},
		{[]string{"tail", "-n", "-1"}, "give a number of records"},
		{[]string{"export", "--format", "xml"}, "choose ndjson or csv"},
		{[]string{"export", "--resume"}, "name it with --out"},
		{[]string{"export", "--from-index", "5", "--to-index", "5"}, "nothing lies between"},
		{[]string{"export", "--out", file}, "is there already"},
		{[]string{"export", "--out", file, "--resume"}, "its last line is not one of --format ndjson"},
		{[]string{"export", "--out", filepath.Join(dir, "none"), "--resume"}, "leave --resume out"},
	} {
		got := askAudit(t.Context(), false, append(append([]string{"audit"}, c.args...), "--dir", dir)...)
		if got.code != 2 || !strings.Contains(got.errors, c.says) {
			t.Errorf("%v: exit %d, %s; want %q", c.args, got.code, got.errors, c.says)
		}
	}
	for _, args := range [][]string{{"query"}, {"query", "--dir", filepath.Join(dir, "none")}, {"show", "1", "--dir", file}} {
		if got := askAudit(t.Context(), false, append([]string{"audit"}, args...)...); got.code != 2 || !strings.Contains(got.errors, "audit log") {
			t.Errorf("%v: exit %d, %s", args, got.code, got.errors)
		}
	}
}

func TestAuditShow(t *testing.T) {
	dir := traffic(t)
	first := askAudit(t.Context(), false, "audit", "query", "--dir", dir, "--kind", "decision", "-o", "json", "--limit", "1").out
	var event struct {
		DecisionID string `json:"decision_id"`
	}
	if err := json.Unmarshal([]byte(first), &event); err != nil {
		t.Fatal(err)
	}
	byID := askAudit(t.Context(), false, "audit", "show", event.DecisionID, "--dir", dir, "-o", "json")
	var shown shownRecord
	if err := json.Unmarshal([]byte(byID.out), &shown); err != nil || byID.code != 0 {
		t.Fatalf("%+v %v", byID, err)
	}
	if string(shown.Event)+"\n" != first || shown.LeafHash != tlog.RecordHash(shown.Event).String() || shown.Checkpoint == nil || shown.Checkpoint.Size <= shown.Index {
		t.Errorf("%+v", shown)
	}
	if byIndex := askAudit(t.Context(), false, "audit", "show", fmt.Sprint(shown.Index), "--dir", dir, "-o", "json"); byIndex != byID {
		t.Errorf("by index: %+v", byIndex)
	}
	text := askAudit(t.Context(), true, "audit", "show", strings.ToLower(event.DecisionID), "--dir", dir)
	for _, part := range []string{shown.LeafHash, "assay audit prove", `"decision_id": "` + event.DecisionID + `"`, audittraffic.Origin} {
		if !strings.Contains(text.out, part) {
			t.Errorf("no %s in %s", part, text.out)
		}
	}
	for _, name := range []string{"01ARZ3NDEKTSV4RRFFQ69G5FAV", "999999999", "-3", "\x1b[31m"} {
		if got := askAudit(t.Context(), true, "audit", "show", "--dir", dir, "--", name); got.code != 1 || strings.Contains(got.errors, "\x1b") {
			t.Errorf("%q: %+v", name, got)
		}
	}
}

// hostile is a log whose records say things that terminals and spreadsheets would act upon.
func hostile(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "audit")
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, Origin: "test/log"})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	for _, name := range []string{`=HYPERLINK(1)`, ` +1`, `-2`, `@SUM(1)`, "＝1", "a\u001b[31mb", "a\u009b31mb", "evil\u202etxt", "q\"x;=1", "two\u2028lines\r\nhere", "\U000e0001tag"} {
		caller, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		// Encoders escape some of these; whoever writes the file need not.
		caller = bytes.ReplaceAll(caller, []byte(`\u2028`), []byte("\u2028"))
		record := fmt.Appendf(nil, `{"decision_id":"id","path":"assay/change","timestamp":%q,"requested_by":%s,"input":{"change":{"kind":"key.rotated"}},"metrics":{},"custom":{"assay":{"kind":"key.rotated"}}}`,
			at.Format(time.RFC3339), caller)
		if _, _, _, err := l.Append(t.Context(), at, record); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestRecordedTextSteersNoTerminal(t *testing.T) {
	dir := hostile(t)
	for _, args := range [][]string{
		{"query"}, {"query", "-o", "json"}, {"tail", "--no-follow", "-n", "100"}, {"tail", "--no-follow", "-n", "100", "-o", "json"},
		{"show", "5"}, {"show", "6"}, {"show", "7"}, {"show", "9"}, {"show", "10"}, {"show", "10", "-o", "json"},
	} {
		got := askAudit(t.Context(), true, append(append([]string{"audit"}, args...), "--dir", dir)...)
		if got.code != 0 {
			t.Fatalf("%v: %s", args, got.errors)
		}
		for _, r := range got.out {
			if unseen(r) && r != '\n' && r != '\uFFFD' {
				t.Errorf("%v: %U reaches the terminal", args, r)
			}
		}
	}
	whole := linesOf(askAudit(t.Context(), true, "audit", "query", "-o", "json", "--dir", dir).out)
	raw := linesOf(askAudit(t.Context(), false, "audit", "query", "-o", "json", "--dir", dir).out)
	for i := range whole {
		var shown, recorded any
		if json.Unmarshal([]byte(whole[i]), &shown) != nil || json.Unmarshal([]byte(raw[i]), &recorded) != nil || fmt.Sprint(shown) != fmt.Sprint(recorded) {
			t.Errorf("escaping changes what record %d says", i)
		}
	}
}

func TestExportedTextIsNoFormula(t *testing.T) {
	got := askAudit(t.Context(), false, "audit", "export", "--format", "csv", "--dir", hostile(t))
	all := linesOf(got.out)
	if got.code != 0 || len(all) != 12 {
		t.Fatalf("%d lines: %+v", len(all), got)
	}
	for i, want := range []string{`"'=HYPERLINK(1)"`, `"' +1"`, `"'-2"`, `"'@SUM(1)"`, `"'＝1"`, `"a [31mb"`, `"a 31mb"`, `"evil txt"`, `"q""x;=1"`, `"two lines  here"`, `" tag"`} {
		if !strings.Contains(all[i+1], ","+want+",") {
			t.Errorf("line %d has no %s: %s", i+1, want, all[i+1])
		}
	}
}
