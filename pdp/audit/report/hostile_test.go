package report

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// A mask may take issuer, algorithm and key out of records ("/input/token", "/input/verification"), and whoever forges a
// record may write what he likes. No figure then comes with a command that lists something else.
func TestFiguresOfWhatCannotBeAskedForHaveNoCommand(t *testing.T) {
	m := example()
	nameless := index.Row{Kind: index.KindDecision, Status: "verified", Lifetime: 60, Allow: true}
	odd := []index.ReasonRef{finding("", "deny", "SOC2:CC6.1"), finding("lifetime.*", "deny", "SOC2:CC6.1"), finding("a.nul\x00", "waived", "SOC2:CC6.1 SOC2:x\x00y")}
	for _, change := range []func(*index.Row){
		func(*index.Row) {},
		func(r *index.Row) { r.Issuer = workforce },
		func(r *index.Row) { r.Issuer, r.Key = workforce, thumbOld },
		func(r *index.Row) { r.Alg, r.Key = "ES256", thumbOld },
		func(r *index.Row) { r.Allow, r.Reasons = false, odd },
		func(r *index.Row) { r.Issuer, r.Alg, r.Key, r.Revision = "a\x00b", "c\x00d", "e\x00f", "g\x00h" },
	} {
		row := nameless
		change(&row)
		m.add(row)
	}
	m.rows[len(m.rows)-1].DecisionID = ""
	m.rows[len(m.rows)-1].Lifetime = math.MaxInt64
	r := build(t, m, "soc2")
	for _, f := range figuresOf(reflect.ValueOf(*r), nil) {
		if f.Query == "" {
			continue
		}
		q, count := parseCommand(t, f.Query), int64(0)
		for i := range m.rows {
			if q.Matches(&m.rows[i]) {
				count++
			}
		}
		if count != f.Value {
			t.Errorf("%q lists %d, the figure is %d", f.Query, count, f.Value)
		}
		if strings.Contains(f.Query, `\000`) {
			t.Errorf("%q: no word of a command holds a zero byte", f.Query)
		}
	}
	for _, issuer := range r.Issuers {
		if issuer.Longest != nil && issuer.Longest.DecisionID == "" && issuer.Longest.Query != "" {
			t.Errorf("%q leads to a decision without an id", issuer.Longest.Query)
		}
	}
	parsePage(t, pageOf(t, r))
}

// What a record says was lost is added up, however much it says, and never taken away.
func TestLostRecordsAddUp(t *testing.T) {
	for name, c := range map[string]struct {
		lost []string
		want int64
	}{
		"honest":   {[]string{"3", "4"}, 7},
		"negative": {[]string{"10", "-4", "-9223372036854775808"}, 10},
		"too many": {[]string{"9223372036854775807", "9223372036854775807", "2"}, math.MaxInt64},
		"no count": {[]string{"1e300", "x", "2"}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			m := &month{events: map[int64]*audit.Event{}, at: november.Add(time.Hour)}
			for _, lost := range c.lost {
				m.change(pdp.LogDropped, "", audit.Change{Details: map[string]any{"records": json.Number(lost)}})
				m.change(pdp.LogUndelivered, "", audit.Change{Details: map[string]any{"records": json.Number(lost)}})
			}
			if e := build(t, m, "soc2").Evidence; e.LostRecords != c.want || e.Lost.Count.Value != int64(len(c.lost)) {
				t.Errorf("%d lost in %d records, want %d", e.LostRecords, e.Lost.Count.Value, c.want)
			}
			if e := build(t, m, "soc2").Evidence; e.UndeliveredRecords != c.want || e.Undelivered.Count.Value != int64(len(c.lost)) {
				t.Errorf("%d undelivered in %d records, want %d", e.UndeliveredRecords, e.Undelivered.Count.Value, c.want)
			}
		})
	}
}

// The clock of who revoked may be ahead of the one that decided.
func TestADenyThatIsOlderThanItsRevocation(t *testing.T) {
	m := example()
	m.revoked("client", partner, "early", -90*time.Second, index.Row{Client: "early", Alg: "RS256", Key: thumbPartner})
	r := build(t, m, "soc2")
	text := parsePage(t, pageOf(t, r))
	if !strings.Contains(text, "−1 min 30 s") {
		t.Error("the page does not tell that the deny is the older by its own timestamp")
	}
	if !strings.Contains(r.Revocations.Measured, "clock") {
		t.Error("what a time below zero means is not told")
	}
}

// POSIX leaves open how many hexadecimal digits a shell takes after \x in $'…'; it takes three octal ones.
func TestEscapesEndWhereTheyShould(t *testing.T) {
	if got, want := Quote("line\nfeed 0\x1b41"), `$'line\012feed 0\03341'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
