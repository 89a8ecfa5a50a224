package report

import (
	"fmt"
	"math"
	"time"
)

// dots is a chart of durations on a logarithmic axis, one line for each name.
type dots struct {
	Width, Height, Left, Right, Base float64
	Lines                            []dotLine
	X                                []tick
}

type dotLine struct {
	Label, Value           string
	Y, LabelY, From, To    float64
	Longest, Allowed, Mark *box // centres; Mark is the limit
}

const dotsLeft = 250.0

// durations are the marks that an axis of durations may have; the fine ones only where there is room.
var durations = []struct {
	seconds float64
	label   string
	fine    bool
}{
	{0.001, "1 ms", false}, {0.01, "10 ms", false}, {0.1, "100 ms", false}, {1, "1 s", false}, {10, "10 s", false}, {60, "1 min", false}, {300, "5 min", true},
	{900, "15 min", true}, {1800, "30 min", true}, {3600, "1 h", false}, {2 * 3600, "2 h", true}, {6 * 3600, "6 h", true}, {12 * 3600, "12 h", true}, {day, "1 d", false},
	{2 * day, "2 d", true}, {7 * day, "7 d", false}, {30 * day, "30 d", false}, {365 * day, "1 y", false}, {10 * 365 * day, "10 y", false},
	{100 * 365 * day, "100 y", false}, {1000 * 365 * day, "1000 y", false},
}

// manyMarks is how many marks of an axis have room beside one another.
const manyMarks = 9

// axis answers the marks around durations from least to most, and where a duration lies between left and right.
func axis(least, most, left, right float64) (marks []tick, at func(seconds float64) float64) {
	first, last := 0, len(durations)-1
	for first < last-1 && durations[first+1].seconds <= least {
		first++
	}
	for last > first+1 && durations[last-1].seconds >= most {
		last--
	}
	low, high := math.Log(durations[first].seconds), math.Log(durations[last].seconds)
	at = func(seconds float64) float64 {
		return left + (right-left)*min(1, max(0, (math.Log(max(seconds, durations[first].seconds))-low)/(high-low)))
	}
	for _, d := range durations[first : last+1] {
		if !d.fine || last-first < manyMarks {
			marks = append(marks, tick{at(d.seconds), d.label})
		}
	}
	return marks, at
}

// lifetimeDots shows each issuer's longest lifetimes and limit; nil where no token told one.
func lifetimeDots(issuers []Issuer) *dots {
	var shown []Issuer
	least, most := math.Inf(1), 0.0
	for _, i := range issuers {
		if i.Longest == nil || len(shown) == chartLines {
			continue
		}
		shown = append(shown, i)
		for _, s := range []int64{i.Longest.Seconds, i.LimitSeconds} {
			if s > 0 {
				least, most = min(least, float64(s)), max(most, float64(s))
			}
		}
		if i.LongestAllowed != nil {
			least = min(least, float64(i.LongestAllowed.Seconds))
		}
	}
	if len(shown) == 0 {
		return nil
	}
	d := &dots{Width: chartWidth, Left: dotsLeft, Right: chartWidth - plotRight, Base: row*float64(len(shown)) + 8}
	d.Height = d.Base + plotBottom
	var at func(float64) float64
	d.X, at = axis(least, most, d.Left, d.Right)
	for n, i := range shown {
		y := row*float64(n) + 18
		line := dotLine{Label: shorten(i.Issuer, 38), Y: y, LabelY: y + 4, From: d.Left, To: at(float64(i.Longest.Seconds)), Value: seconds(float64(i.Longest.Seconds))}
		mark := func(s int64, what string) *box {
			return &box{X: at(float64(s)), Y: y, Title: fmt.Sprintf("%s: %s %s", i.Issuer, what, seconds(float64(s)))}
		}
		line.Longest = mark(i.Longest.Seconds, "longest seen")
		if i.LongestAllowed != nil {
			line.Allowed = mark(i.LongestAllowed.Seconds, "longest allowed")
		}
		if i.LimitSeconds > 0 {
			line.Mark = mark(i.LimitSeconds, "hard limit")
		}
		d.Lines = append(d.Lines, line)
	}
	return d
}

// chartLines is how many lines a chart has at most; the table beside it has all.
const chartLines = 14

// revocationDots shows how long after each revocation the first deny came, by kind; nil where none did.
func revocationDots(list []Revocation) *dots {
	byKind := map[string][]float64{}
	least, most := math.Inf(1), 0.0
	for _, r := range list {
		if r.DeniedAfterSeconds == nil {
			continue
		}
		s := max(*r.DeniedAfterSeconds, 0.001)
		byKind[r.What] = append(byKind[r.What], s)
		least, most = min(least, s), max(most, s)
	}
	if len(byKind) == 0 {
		return nil
	}
	d := &dots{Width: chartWidth, Left: 120, Right: chartWidth - plotRight}
	var at func(float64) float64
	d.X, at = axis(least, most, d.Left, d.Right)
	rows := 0.0
	for _, kind := range []string{"token", "subject", "session", "client", "key", "issuer"} {
		times := byKind[kind]
		if len(times) == 0 {
			continue
		}
		y := row*rows + 18
		d.Lines = append(d.Lines, dotLine{Label: kind, Y: y, LabelY: y + 4, From: d.Left, To: d.Right, Value: plural(int64(len(times)), "entry", "entries")})
		for _, s := range times {
			d.Lines = append(d.Lines, dotLine{Longest: &box{X: at(s), Y: y, Title: fmt.Sprintf("%s: first deny after %s", kind, seconds(s))}})
		}
		rows++
	}
	d.Base = row*rows + 8
	d.Height = d.Base + plotBottom
	return d
}

// lanes shows the rotations of planned keys along the period.
type lanes struct {
	Width, Height, Left, Right, Base float64
	Lanes                            []lane
	X                                []tick
}

type lane struct {
	Label, Verdict, Late string
	Y, LabelY            float64
	Spans                []box // between rotations
	Marks                []box // centres of rotations
}

// keyLanes is nil where nothing is planned.
func keyLanes(r *Report) *lanes {
	if len(r.Keys.Planned) == 0 {
		return nil
	}
	l := &lanes{Width: chartWidth, Left: 180, Right: chartWidth - plotRight, Base: row*float64(len(r.Keys.Planned)) + 8}
	l.Height = l.Base + plotBottom
	whole := r.To.Sub(r.From).Seconds()
	at := func(t time.Time) float64 {
		return l.Left + (l.Right-l.Left)*min(1, max(0, t.Sub(r.From).Seconds()/whole))
	}
	for n := range r.Keys.Planned {
		k := &r.Keys.Planned[n]
		y := row*float64(n) + 18
		one := lane{Label: shorten(k.Name, 24), Verdict: k.Verdict, Y: y, LabelY: y + 4}
		begin, known := r.From, k.Before != nil
		since := r.From
		if known {
			since = *k.Before
		}
		end := r.To
		if r.GeneratedAt.Before(end) {
			end = r.GeneratedAt
		}
		for _, rotation := range append(append([]time.Time{}, k.Rotations...), end) {
			class := "signs"
			if known && rotation.Sub(since) > time.Duration(k.RotateEverySeconds)*time.Second+lateAfter {
				class = "late"
			}
			if !known {
				class = "unknown"
			}
			one.Spans = append(one.Spans, box{at(begin), y - 5, max(at(rotation)-at(begin), 0), 10, class, fmt.Sprintf("%s: %s since the last rotation", k.Name, days(int64(rotation.Sub(since)/time.Second)))})
			begin, since, known = rotation, rotation, true
		}
		for _, rotation := range k.Rotations {
			one.Marks = append(one.Marks, box{X: at(rotation), Y: y, Title: fmt.Sprintf("%s rotated %s", k.Name, rotation.Format(time.RFC3339))})
		}
		l.Lanes = append(l.Lanes, one)
	}
	step := (l.Right - l.Left) / float64(len(r.Days))
	l.X = dayTicks(r.Days, l.Left, step)
	return l
}
