package main

import (
	"fmt"
	"time"
)

// parsePeriod reads --from and --to. Each names a moment, or a day, month or year that is meant as a whole, so that --from
// 2026-10 --to 2026-12 is a quarter; without --to the period is what --from names. Days begin and end in UTC.
func parsePeriod(from, to string) (begin, end time.Time, err error) {
	if from == "" {
		return begin, end, fmt.Errorf("which period? Give --from, such as 2026-11 for November, and --to where it is longer")
	}
	begin, first, err := parseSpan("from", from)
	if err != nil {
		return begin, end, err
	}
	if to == "" {
		if first.Equal(begin) {
			return begin, end, fmt.Errorf("--from %s is a moment: give --to as well", from)
		}
		return begin, first, nil
	}
	if _, end, err = parseSpan("to", to); err != nil {
		return begin, end, err
	}
	if !begin.Before(end) {
		return begin, end, fmt.Errorf("--to %s is not after --from %s", to, from)
	}
	return begin, end, nil
}

// parseSpan answers the first moment of what is named and the first after it, the same for a moment.
func parseSpan(flag, text string) (begin, end time.Time, err error) {
	for _, form := range []struct {
		layout              string
		years, months, days int
	}{{"2006", 1, 0, 0}, {"2006-01", 0, 1, 0}, {time.DateOnly, 0, 0, 1}, {time.RFC3339, 0, 0, 0}} {
		if begin, err = time.Parse(form.layout, text); err == nil {
			begin = begin.UTC()
			return begin, begin.AddDate(form.years, form.months, form.days), nil
		}
	}
	return begin, end, fmt.Errorf("--%s %s: give a day (2026-11-30), a month (2026-11), a year (2026) or a moment (2026-11-30T18:00:00Z)", flag, text)
}
