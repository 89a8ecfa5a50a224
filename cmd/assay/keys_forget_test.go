package main

import (
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/notary"
)

func TestForgettingEndsWhereAPeriodOfPseudonymsDoes(t *testing.T) {
	for _, test := range []struct {
		each    audit.Period
		through string
		instead string // empty: it is right
	}{
		{audit.Month, "2026-10", ""},
		{audit.Month, "2026-Q3", ""},
		{audit.Month, "2025", ""},
		{audit.Month, "2026-10-31", ""},
		{audit.Month, "2026-11-16", "2026-10"},
		{audit.Month, "2026-W46", "2026-10"},
		{audit.Day, "2026-11-16", ""},
		{audit.Week, "2026-W46", ""},
		{audit.Week, "2026-10", "2026-W43"},
		{audit.Quarter, "2026-10", "2026-Q3"},
		{audit.Year, "2026-Q3", "2025"},
	} {
		err := wholePeriods(test.each, test.through)
		if (err == nil) != (test.instead == "") || err != nil && !strings.HasSuffix(err.Error(), " --through "+test.instead) {
			t.Errorf("each %s, through %s: %v", test.each, test.through, err)
		}
	}
}

// Why: what a day of the month that lasts would have destroyed is what that month's key is made from.
func TestADayOfTheMonthThatLastsWouldTakeTheMonthWithIt(t *testing.T) {
	at := func(month time.Month, day int) time.Time { return time.Date(2026, month, day, 8, 0, 0, 0, time.UTC) }
	record := vaultkeys.Record{Name: "pseudonyms", Versions: []vaultkeys.Version{
		{Number: 1, Created: at(10, 20)}, {Number: 2, Created: at(11, 3)}, {Number: 3, Created: at(11, 16)}}}
	start, end, err := notary.Period("2026-11")
	if err != nil {
		t.Fatal(err)
	}
	lasts, err := notary.VersionOf(record, start, end)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := notary.PlanForgetting(record, "2026-11-16", at(11, 24))
	if err != nil || plan.Keep <= lasts {
		t.Fatalf("keep %d, the month has %d, %v: the check has no purpose any more", plan.Keep, lasts, err)
	}
}
