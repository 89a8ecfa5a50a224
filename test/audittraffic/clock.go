package audittraffic

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// clock is the month's; the ledger's goroutines read it.
type clock struct{ now atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.now.Store(at.UnixNano()) }

// Now is the moment of the month.
func (c *clock) Now() time.Time { return time.Unix(0, c.now.Load()).UTC() }

// load says how much comes in an hour, in relation to others: most in the afternoon, little at night, half at weekends.
func load(hour time.Time) float64 {
	weight := 1.2 - math.Cos(2*math.Pi*(float64(hour.Hour())-2.5)/24)
	if day := hour.Weekday(); day == time.Saturday || day == time.Sunday {
		weight /= 2
	}
	return weight
}

// hours gives each hour its number of decisions.
func (c *Config) hours() []int {
	weights, total := make([]float64, 24*c.Days), 0.0
	for i := range weights {
		weights[i] = load(c.From.Add(time.Duration(i) * time.Hour))
		total += weights[i]
	}
	counts, given, wanted := make([]int, len(weights)), 0, 0.0
	for i, weight := range weights {
		wanted += weight / total * float64(c.Decisions)
		counts[i] = int(math.Round(wanted)) - given
		given += counts[i]
	}
	return counts
}

// moment is when the i-th of n decisions of an hour is made.
func moment(random *rand.Rand, hour time.Time, i, n int) time.Time {
	step := time.Hour / time.Duration(n)
	return hour.Add(time.Duration(i)*step + time.Duration(random.Int64N(int64(step))))
}
