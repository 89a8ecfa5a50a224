package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/audittraffic"
)

// reportedLog writes a month of made-up traffic and gives its verifier key.
func reportedLog(t *testing.T) (dir, key string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "audit")
	log, err := audittraffic.Write(t.Context(), audittraffic.Config{Dir: dir, Decisions: 4000, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	return dir, log.Verifier
}

// assayAt runs a command of this program as at a moment.
func assayAt(t *testing.T, now time.Time, args ...string) (out, problems string, code int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = run(t.Context(), args, env{in: strings.NewReader(""), out: &stdout, err: &stderr, now: func() time.Time { return now }, getenv: func(string) string { return "" }})
	return stdout.String(), stderr.String(), code
}

var reportedAt = time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)

type reported struct {
	Attention []struct{ Level, Section, Text string }
	Integrity struct {
		State, How string
		Findings   []string
		Records    int64
		First      *struct{ Size int64 }
		Last       *struct{ Size int64 }
	}
	Totals struct{ Records, Judged struct{ Value int64 } }
	Keys   struct {
		Planned []struct {
			Name, Verdict string
			Rotations     []time.Time
		}
	}
	Waivers struct {
		Configured []struct {
			Rule, State string
			Covered     struct{ Value int64 }
		}
	}
	Revocations struct {
		Listed []struct {
			Match string   `json:"match"`
			After *float64 `json:"denied_after_seconds"`
		}
	}
}

func reportOf(t *testing.T, args ...string) (r reported, text string) {
	t.Helper()
	out, problems, code := assayAt(t, reportedAt, append([]string{"audit", "report", "--format", "json"}, args...)...)
	if code > 1 {
		t.Fatalf("exit %d: %s", code, problems)
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r, out
}

// What a figure's command lists, through a real shell and the command itself, is the figure.
func TestReportsFiguresAreWhatTheirCommandsList(t *testing.T) {
	dir, _ := reportedLog(t)
	for _, framework := range []string{"soc2", "iso27001", "gdpr"} {
		_, text := reportOf(t, "--framework", framework, "--from", "2026-10", "--dir", dir, "--no-verify")
		var all any
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
		figures := map[string]int64{}
		gatherFigures(all, figures)
		if len(figures) < 200 {
			t.Fatalf("%s: only %d figures were found", framework, len(figures))
		}
		nonzero, tried := 0, 0
		for query, want := range figures {
			if tried++; tried > 150 {
				break // of a map: others in each run
			}
			words, err := exec.Command("sh", "-c", `set -f; set -- `+query+`; for w; do printf '%s\n' "$w"; done`).Output()
			if err != nil {
				t.Fatalf("%s: %v", query, err)
			}
			args := strings.Split(strings.TrimSuffix(string(words), "\n"), "\n")[1:]
			out, problems, code := assayAt(t, reportedAt, append(args, "--count")...)
			got, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
			if err != nil || code > 1 || got != want {
				t.Errorf("%s\ncounts %q (exit %d %s), the figure is %d", query, out, code, problems, want)
			}
			if want > 0 {
				nonzero++
			}
		}
		if nonzero < 20 {
			t.Errorf("%s: only %d of the figures tried are more than zero", framework, nonzero)
		}
	}
}

// gatherFigures finds every {"value", "query"}.
func gatherFigures(in any, found map[string]int64) {
	switch in := in.(type) {
	case []any:
		for _, v := range in {
			gatherFigures(v, found)
		}
	case map[string]any:
		query, has := in["query"].(string)
		if value, ok := in["value"].(float64); has && ok && query != "" {
			found[query] = int64(value)
		}
		for _, v := range in {
			gatherFigures(v, found)
		}
	}
}

func TestReportVerifiesTheLog(t *testing.T) {
	dir, key := reportedLog(t)
	args := []string{"--framework", "soc2", "--from", "2026-10-01", "--to", "2026-10-31", "--dir", dir}
	r, _ := reportOf(t, append(args, "--key", key)...)
	if r.Integrity.State != "verified" || r.Integrity.Records != r.Totals.Records.Value || r.Totals.Judged.Value < 4000 {
		t.Errorf("%+v of %+v", r.Integrity, r.Totals)
	}
	if r.Integrity.Last == nil || r.Integrity.Last.Size != r.Totals.Records.Value || r.Integrity.First == nil {
		t.Errorf("the checkpoints around the month are %+v", r.Integrity)
	}
	if r, _ = reportOf(t, args...); r.Integrity.State != "consistent, signatures not checked" || !strings.Contains(r.Integrity.How, "no key was given") {
		t.Errorf("without a key: %+v", r.Integrity)
	}
	_, indexed := reportOf(t, append(args, "--no-verify")...)
	_, read := reportOf(t, append(args, "--no-verify", "--no-index")...)
	figures, same := map[string]int64{}, map[string]int64{}
	for text, into := range map[string]map[string]int64{indexed: figures, read: same} {
		var all any
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatal(err)
		}
		gatherFigures(all, into)
	}
	if !maps.Equal(figures, same) || !strings.Contains(indexed, "is not signed") || strings.Contains(read, "is not signed") {
		t.Error("without the index the report says something else")
	}
	if r, _ = reportOf(t, append(args, "--no-verify")...); r.Integrity.State != "not verified in this run" {
		t.Errorf("without a verification: %+v", r.Integrity)
	}

	path := filepath.Join(dir, "checkpoints")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Replace(text, []byte(`\n\n`), []byte(`\nforged\n\n`), 1)
	if bytes.Equal(forged, text) {
		t.Fatal("there is no checkpoint to forge")
	}
	if err := os.WriteFile(path, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	out, problems, code := assayAt(t, reportedAt, append([]string{"audit", "report", "--format", "json", "--key", key}, args...)...)
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || r.Integrity.State != "damaged" || len(r.Integrity.Findings) == 0 || r.Attention[0].Section != "integrity" || !strings.Contains(problems, "found faults") {
		t.Errorf("a forged checkpoint: exit %d %s, %+v, %v", code, problems, r.Integrity, err)
	}
}

func TestReportKnowsThePlanAndTheWaivers(t *testing.T) {
	dir, _ := reportedLog(t)
	folder := t.TempDir()
	for name, text := range map[string]string{
		"assay.yaml": "policy: {config: org.yaml}\nvault: {address: 'http://127.0.0.1:1', roles: {decider: {auth: {token_file: t}}}, keys: {access: {rotate_every: 168h}, other: {}}}\n" +
			"issuers: [{issuer: 'https://idp.example', keys: {url: 'https://idp.example/jwks'}}]\n",
		"org.yaml": "waivers: [{rule: lifetime.too_long, client: legacy-batch, until: 2026-10-26, ticket: RISK-1}]\n",
		"t":        "token\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r, _ := reportOf(t, "--framework", "iso27001", "--from", "2026-10", "--dir", dir, "--config", filepath.Join(folder, "assay.yaml"), "--no-verify")
	if len(r.Keys.Planned) != 2 || r.Keys.Planned[0].Verdict != "on plan" || len(r.Keys.Planned[0].Rotations) != 4 || r.Keys.Planned[1].Verdict != "not told" {
		t.Errorf("keys: %+v", r.Keys.Planned)
	}
	if w := r.Waivers.Configured; len(w) != 1 || w[0].State != "expired" || w[0].Covered.Value == 0 {
		t.Errorf("waivers: %+v", w)
	}
	measured := 0
	for _, v := range r.Revocations.Listed {
		if v.After != nil {
			measured++
		}
	}
	if measured == 0 {
		t.Errorf("no deny was found of any of %d revocations", len(r.Revocations.Listed))
	}
}

func TestPeriods(t *testing.T) {
	for _, c := range []struct{ name, from, to, begin, end, wrong string }{
		{name: "a month", from: "2026-11", begin: "2026-11-01T00:00:00Z", end: "2026-12-01T00:00:00Z"},
		{name: "a quarter", from: "2026-10", to: "2026-12", begin: "2026-10-01T00:00:00Z", end: "2027-01-01T00:00:00Z"},
		{name: "a year", from: "2026", begin: "2026-01-01T00:00:00Z", end: "2027-01-01T00:00:00Z"},
		{name: "one day", from: "2028-02-29", to: "2028-02-29", begin: "2028-02-29T00:00:00Z", end: "2028-03-01T00:00:00Z"},
		{name: "moments", from: "2026-11-01T06:00:00+01:00", to: "2026-11-01T06:00:00Z", begin: "2026-11-01T05:00:00Z", end: "2026-11-01T06:00:00Z"},
		{name: "no beginning", wrong: "which period?"},
		{name: "a moment alone", from: "2026-11-01T06:00:00Z", wrong: "give --to as well"},
		{name: "backwards", from: "2026-11", to: "2026-10", wrong: "is not after"},
		{name: "no such day", from: "2026-02-30", wrong: "a day (2026-11-30)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			begin, end, err := parsePeriod(c.from, c.to)
			if c.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), c.wrong) {
					t.Fatalf("%v, want %q", err, c.wrong)
				}
				return
			}
			if err != nil || begin.Format(time.RFC3339) != c.begin || end.Format(time.RFC3339) != c.end {
				t.Errorf("%s to %s, %v", begin, end, err)
			}
		})
	}
}
