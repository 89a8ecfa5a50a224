package notary

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Period reads the label of a period, in UTC: a year "2026", a quarter "2026-Q4", a month "2026-11", a week of
// ISO 8601 "2026-W48" or a day "2026-11-24". The period is start <= t < end.
func Period(label string) (start, end time.Time, err error) {
	year, quarter, isQuarter := strings.Cut(label, "-Q")
	if isQuarter && len(quarter) == 1 && quarter[0] >= '1' && quarter[0] <= '4' {
		if start, err = time.Parse("2006", year); err == nil {
			n, _ := strconv.Atoi(quarter) // a digit
			start = start.AddDate(0, 3*(n-1), 0)
			return start, start.AddDate(0, 3, 0), nil
		}
	}
	if year, week, isWeek := strings.Cut(label, "-W"); isWeek {
		if start, ok := isoWeek(year, week); ok {
			return start, start.AddDate(0, 0, 7), nil
		}
	}
	for _, form := range []struct {
		layout              string
		years, months, days int
	}{{"2006", 1, 0, 0}, {"2006-01", 0, 1, 0}, {"2006-01-02", 0, 0, 1}} {
		if start, err = time.Parse(form.layout, label); err == nil && start.Format(form.layout) == label {
			return start, start.AddDate(form.years, form.months, form.days), nil
		}
	}
	return time.Time{}, time.Time{}, fmt.Errorf("notary: period %q: write a year 2026, a quarter 2026-Q4, a month 2026-11, a week 2026-W48 or a day 2026-11-24", label)
}

// isoWeek is the Monday that a week of ISO 8601 begins with.
func isoWeek(year, week string) (time.Time, bool) {
	first, err := time.Parse("2006", year)
	number, ok := strconv.Atoi(week)
	if err != nil || ok != nil || len(week) != 2 || number < 1 {
		return time.Time{}, false
	}
	fourth := first.AddDate(0, 0, 3) // the 4th of January is always in the first week
	start := fourth.AddDate(0, 0, -(int(fourth.Weekday())+6)%7+7*(number-1))
	y, w := start.ISOWeek()
	return start, y == first.Year() && w == number
}
