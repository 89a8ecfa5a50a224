package report

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

func empty() *month { return &month{events: map[int64]*audit.Event{}, at: november} }

func TestRotationsAgainstThePlan(t *testing.T) {
	const every = 10 * 24 * time.Hour
	for _, c := range []struct {
		name    string
		before  int // days before the period; 0: none known
		hours   []int
		now     time.Time
		verdict string
		longest time.Duration
	}{
		{name: "in time", before: 5, hours: []int{5 * 24, 15 * 24, 25 * 24}, verdict: OnPlan, longest: every},
		{name: "an hour is forgiven", before: 5, hours: []int{5*24 + 1, 15 * 24, 25 * 24}, verdict: OnPlan, longest: every + time.Hour},
		{name: "two hours are not", before: 5, hours: []int{5*24 + 2, 15 * 24, 25 * 24}, verdict: Late, longest: every + 2*time.Hour},
		{name: "the last is too long ago", before: 5, hours: []int{5 * 24, 15 * 24}, verdict: Late, longest: 15 * 24 * time.Hour},
		{name: "the period has not ended", before: 5, hours: []int{5 * 24, 15 * 24}, now: november.AddDate(0, 0, 20), verdict: OnPlan, longest: every},
		{name: "none before is known", hours: []int{5 * 24, 15 * 24, 25 * 24}, verdict: OnPlan, longest: every},
		{name: "none at all", verdict: NotTold, longest: -time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := empty()
			for _, h := range c.hours {
				m.at = november.Add(time.Duration(h) * time.Hour)
				m.change(pdp.KeyRotated, "", audit.Change{Target: "k"})
				m.change(pdp.KeyRotated, "", audit.Change{Target: "another"})
			}
			config := m.config(t, "soc2")
			config.Keys, config.RotatedBefore = []KeyPlan{{"k", every}}, nil
			if c.before > 0 {
				config.RotatedBefore = map[string]time.Time{"k": november.AddDate(0, 0, -c.before)}
			}
			if !c.now.IsZero() {
				config.Now = c.now
			}
			r, err := Build(t.Context(), config, m.all(), proven())
			if err != nil {
				t.Fatal(err)
			}
			k := r.Keys.Planned[0]
			if k.Verdict != c.verdict || k.LongestSeconds != int64(c.longest/time.Second) || int(k.Rotated) != len(c.hours) {
				t.Errorf("%+v, want %s, %s", k, c.verdict, c.longest)
			}
		})
	}
}

func TestRevocationsAreMatchedWithTheirDenies(t *testing.T) {
	m := empty()
	decide := func(after time.Duration, row index.Row, code string, token *audit.Token) {
		m.at = november.Add(after)
		row.Kind, row.Status = index.KindDecision, "verified"
		if row.Allow = code == ""; !row.Allow {
			row.Reasons = []index.ReasonRef{finding(code, "deny", "SOC2:CC7.4")}
		}
		m.events[m.add(row).Index] = &audit.Event{Input: audit.Input{Token: token}}
	}
	revoke := func(after time.Duration, kind, issuer, value string) {
		m.at = november.Add(after)
		m.change(pdp.RevocationAdded, "soc", audit.Change{Target: kind + value, About: &audit.About{Kind: kind, Issuer: issuer, Value: value}})
	}
	decide(0, index.Row{Issuer: workforce, Client: "shop"}, "revocation.client", nil) // of an entry from before the period
	revoke(1*time.Second, "client", workforce, "shop")
	revoke(2*time.Second, "key", workforce, thumbOld)
	revoke(3*time.Second, "subject", workforce, "p:alice")
	revoke(4*time.Second, "subject", workforce, "p:bob")
	revoke(5*time.Second, "token", workforce, "")
	decide(6*time.Second, index.Row{Issuer: partner, Client: "shop"}, "revocation.client", nil) // another issuer's client
	decide(7*time.Second, index.Row{Issuer: workforce, Client: "shop"}, "revocation.client", nil)
	decide(8*time.Second, index.Row{Issuer: workforce, Client: "shop"}, "revocation.client", nil) // not the first
	decide(9*time.Second, index.Row{Issuer: workforce, Key: thumbOld}, "", nil)
	decide(10*time.Second, index.Row{Issuer: workforce, Key: thumbNew}, "", nil)
	decide(11*time.Second, index.Row{Issuer: workforce, Key: thumbOld}, "revocation.key", nil)
	decide(12*time.Second, index.Row{Issuer: workforce}, "revocation.subject", &audit.Token{Claims: map[string]any{"sub": "p:carol"}})
	decide(13*time.Second, index.Row{Issuer: workforce}, "revocation.subject", &audit.Token{Claims: map[string]any{"sub": "p:bob"}})
	r := build(t, m, "soc2")
	after := map[string]string{}
	for _, v := range r.Revocations.Listed {
		what := v.Match
		if v.DeniedAfterSeconds != nil {
			what += fmt.Sprint(" after ", *v.DeniedAfterSeconds)
		}
		if v.AllowedAfter != nil {
			what += fmt.Sprint(", allowed ", v.AllowedAfter.Value, " the last after ", *v.LastAllowedAfterSeconds)
		}
		after[v.Target] = what
	}
	for target, want := range map[string]string{
		"clientshop": "exact after 6", "key" + thumbOld: "exact after 9, allowed 1 the last after 7", "subjectp:alice": "same text in the record",
		"subjectp:bob": "same text in the record after 9", "token": "not told",
	} {
		if after[target] != want {
			t.Errorf("%s: %q, want %q", target, after[target], want)
		}
	}
	if r.Revocations.Effective != 3 {
		t.Errorf("a deny was found of %d", r.Revocations.Effective)
	}
	if !slices.ContainsFunc(r.Attention, func(a Attention) bool {
		return a.Level == Problem && a.Section == "revocations" && strings.Contains(a.Text, "after its revocation was recorded")
	}) {
		t.Errorf("nobody is told of the allow after the key's revocation: %v", r.Attention)
	}
}

func TestWaiversEnd(t *testing.T) {
	now := time.Date(2026, 12, 2, 9, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		until, state string
		left         int64
	}{
		{"2026-12-02", "open", 0}, {"2026-12-03", "open", 1}, {"2026-12-01", "expired", 0}, {"2026-12-02T09:00:00Z", "open", 0}, {"2026-12-02T08:59:59Z", "expired", 0},
		{"2026-12-32", "unreadable date", 0}, {"next year", "unreadable date", 0},
	} {
		if state, left := stateOf(c.until, now); state != c.state || left != c.left {
			t.Errorf("%s is %s with %d days left, want %s, %d", c.until, state, left, c.state, c.left)
		}
	}
}

func TestGapsAreTold(t *testing.T) {
	m := empty()
	m.malformedAt(0)
	m.malformedAt(time.Hour) // just not longer
	m.malformedAt(2*time.Hour + time.Second)
	m.at = november.Add(5 * time.Hour)
	m.change(pdp.ConfigActivated, "", audit.Change{})
	m.change(pdp.LogDropped, "", audit.Change{Details: map[string]any{"records": int64(40)}})
	m.rows[len(m.rows)-1].Index += 3 // a place without a row
	m.events[m.rows[len(m.rows)-1].Index] = m.events[m.rows[len(m.rows)-1].Index-3]
	e := build(t, m, "gdpr").Evidence
	if len(e.Silent) != 2 || e.Silent[0].Seconds < e.Silent[1].Seconds || !strings.Contains(e.Silent[0].Says, "as at a start") {
		t.Errorf("silences: %+v", e.Silent)
	}
	if e.Missing != 3 || e.LostRecords != 40 {
		t.Errorf("%d missing, %d lost", e.Missing, e.LostRecords)
	}
}

func (m *month) malformedAt(after time.Duration) {
	m.at = november.Add(after)
	m.add(index.Row{Kind: index.KindDecision, Status: "malformed"})
}

// Records whose timestamps are not in the log's order, at the ends of the period, are not missing.
func TestRecordsOfOtherTimesAreNotMissing(t *testing.T) {
	m := empty()
	for _, after := range []time.Duration{time.Millisecond, -time.Millisecond, 2 * time.Millisecond, 3 * time.Millisecond} {
		m.malformedAt(after)
	}
	if r := build(t, m, "soc2"); r.Evidence.Missing != 0 || r.Totals.Judged.Value != 3 {
		t.Errorf("%d missing of %d", r.Evidence.Missing, r.Totals.Judged.Value)
	}
}

// Whoever makes up names makes the report no larger than its bounds, and the totals no smaller.
func TestNamesAreBounded(t *testing.T) {
	m := empty()
	c := m.config(t, "soc2")
	c.Names = 10
	b, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 20_000
	for i := range int64(rows) {
		name := fmt.Sprint("name", i)
		row := index.Row{Index: i, Time: november.Add(time.Duration(i) * time.Second), Kind: index.KindDecision, Status: "verified", Issuer: name, Alg: name, Key: name, Revision: name,
			Reasons: []index.ReasonRef{finding(name, "deny", "SOC2:"+name+" SOC2:CC6.1")}}
		if err := b.Add(t.Context(), &row); err != nil {
			t.Fatal(err)
		}
	}
	r := b.Report(proven())
	if len(r.Issuers) > 10 || len(r.Algorithms) > 10 || len(r.Keys.Used) > 10 || len(r.Reasons) > 10 || len(r.Policy.Revisions) > 10 || len(r.Controls) > 10 || len(b.resolved) > 100 {
		t.Errorf("%d issuers, %d algorithms, %d keys, %d reasons, %d revisions, %d controls, %d findings are kept", len(r.Issuers), len(r.Algorithms), len(r.Keys.Used), len(r.Reasons),
			len(r.Policy.Revisions), len(r.Controls), len(b.resolved))
	}
	if r.Totals.Denied.Value != rows || r.Controls[0].Denied.Value != rows {
		t.Errorf("%d denied in total, %d of CC6.1", r.Totals.Denied.Value, r.Controls[0].Denied.Value)
	}
	if told := strings.Join(r.Limits, "\n"); !strings.Contains(told, "more than 10 issuers") || !strings.Contains(told, "more than 10 controls") {
		t.Errorf("nobody is told: %s", told)
	}
}

// A decision with several findings of one control counts once, each rule for itself.
func TestDecisionsCountOnceInAControl(t *testing.T) {
	m := empty()
	m.add(index.Row{Kind: index.KindDecision, Status: "verified", Reasons: []index.ReasonRef{
		finding("lifetime.expired", "deny", "SOC2:CC6.1"), finding("lifetime.too_long", "deny", "SOC2:CC6.1"), finding("lifetime.too_long", "deny", "SOC2:CC6.1 SOC2:CC6.3"),
		finding("lifetime.too_old", "warn", "SOC2:CC6.1"),
	}})
	r := build(t, m, "soc2")
	c := r.Controls[0]
	if c.ID != "SOC2:CC6.1" || c.Denied.Value != 1 || c.Warned.Value != 1 || c.Waived.Value != 0 || r.Controls[1].Denied.Value != 1 {
		t.Fatalf("%+v", c)
	}
	for _, rule := range c.Rules {
		if want := map[string]int64{"lifetime.expired": 1, "lifetime.too_long": 1}[rule.Code]; rule.Denied.Value != want {
			t.Errorf("%s denied %d", rule.Code, rule.Denied.Value)
		}
	}
}

func TestUnservedControlIsAProblem(t *testing.T) {
	m := empty()
	c := m.config(t, "soc2")
	c.Catalogue.Requirements = append(c.Catalogue.Requirements, CatalogueRequirement{ID: "SOC2:CC9.9", Text: "something new"})
	r, err := Build(t.Context(), c, m.all(), proven())
	if err != nil {
		t.Fatal(err)
	}
	last := r.Controls[len(r.Controls)-1]
	if last.Served != "no" || r.Attention[0].Level != Problem {
		t.Errorf("%+v, %v", last, r.Attention[0])
	}
	text := parsePage(t, pageOf(t, r))
	if !strings.Contains(text, "Nothing serves SOC2:CC9.9") || !strings.Contains(text, "there is no evidence for it here") {
		t.Error("the page does not say so")
	}
}

func TestPeriodsThatCannotBeReportedOn(t *testing.T) {
	for name, change := range map[string]func(c *Config){
		"backwards": func(c *Config) { c.To = c.From }, "too long": func(c *Config) { c.To = c.From.AddDate(3, 0, 0) }, "no catalogue": func(c *Config) { c.Catalogue = nil },
		"no records": func(c *Config) { c.Event = nil }, "no time": func(c *Config) { c.Now = time.Time{} }, "no framework": func(c *Config) { c.Framework = Framework{} },
	} {
		c := empty().config(t, "soc2")
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestEndOfContextEndsTheReport(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m := example()
	if _, err := Build(ctx, m.config(t, "soc2"), m.all(), proven()); err == nil {
		t.Error("no error")
	}
}
