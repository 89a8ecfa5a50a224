package audit

import (
	"testing"
	"time"
)

func TestTimestamp(t *testing.T) {
	const layout = "2006-01-02T15:04:05.000000000Z07:00"
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(1796058715, 1), time.Unix(1796058715, 123456789), time.Unix(1796058715, 999999999), time.Unix(-1, 500_000_000), {},
		time.Date(2026, 12, 31, 23, 59, 59, 10, time.FixedZone("", -5*3600)), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		if got, want := string(appendTimestamp([]byte("x"), at)), "x"+at.UTC().Format(layout); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}
