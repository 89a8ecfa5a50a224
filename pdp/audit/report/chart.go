package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// The size of a chart in its own units, and the room around the plot. The page scales it to its column.
const (
	chartWidth                                    = 920.0
	plotLeft, plotRight, plotTop, plotBottom, row = 64.0, 110.0, 14.0, 28.0, 26.0
)

// tick is a mark on an axis.
type tick struct {
	At    float64
	Label string
}

// box is a rectangle with what it says when pointed at.
type box struct {
	X, Y, W, H   float64
	Class, Title string
}

// columns is a chart with a column for each day, of parts one on another.
type columns struct {
	Width, Height, Left, Right, Base float64
	Boxes                            []box
	X, Y                             []tick
}

const columnsHeight = 230.0

func dayColumns(days []Day) columns {
	c := columns{Width: chartWidth, Height: columnsHeight, Left: plotLeft, Right: chartWidth - plotRight, Base: columnsHeight - plotBottom}
	var most int64
	for i := range days {
		most = max(most, days[i].Judged.Value)
	}
	top, ticks := scale(most)
	high := c.Base - plotTop
	for _, t := range ticks {
		c.Y = append(c.Y, tick{c.Base - high*float64(t)/float64(top), thousands(t)})
	}
	step := (c.Right - c.Left) / float64(len(days))
	for i := range days {
		d := &days[i]
		x, w := c.Left+step*float64(i)+step*0.12, math.Max(step*0.76, 0.6)
		allowed, denied := high*float64(d.Allowed.Value)/float64(top), high*float64(d.Denied.Value)/float64(top)
		title := fmt.Sprintf("%s: %s allowed, %s denied", d.Date, thousands(d.Allowed.Value), thousands(d.Denied.Value))
		if d.Allowed.Value > 0 {
			c.Boxes = append(c.Boxes, box{x, c.Base - allowed, w, allowed, "allowed", title})
		}
		if d.Denied.Value > 0 {
			denied = math.Max(denied, 1)
			c.Boxes = append(c.Boxes, box{x, c.Base - allowed - denied, w, denied, "denied", title})
		}
	}
	c.X = dayTicks(days, c.Left, step)
	return c
}

// dayTicks labels as many days as fit.
func dayTicks(days []Day, left, step float64) []tick {
	every := int(math.Ceil(52 / step))
	var ticks []tick
	for i := 0; i < len(days); i += every {
		at, err := time.Parse(time.DateOnly, days[i].Date)
		if err != nil {
			continue
		}
		ticks = append(ticks, tick{left + step*(float64(i)+0.5), at.Format("2 Jan")})
	}
	return ticks
}

// curve is one line of a chart.
type curve struct {
	Name, Class, Points string
	Marks               []box // centres
	LabelX, LabelY      float64
}

// curves is a chart of lines over days.
type curves struct {
	Width, Height, Left, Right, Base float64
	Curves                           []curve
	X, Y                             []tick
}

func dayCurves(days []Day) curves {
	c := curves{Width: chartWidth, Height: columnsHeight, Left: plotLeft, Right: chartWidth - plotRight, Base: columnsHeight - plotBottom}
	series := []struct {
		name string
		of   func(d *Day) int64
	}{
		{"denied", func(d *Day) int64 { return d.Denied.Value }},
		{"warned", func(d *Day) int64 { return d.Warned.Value }},
		{"waived", func(d *Day) int64 { return d.Waived.Value }},
	}
	var most int64
	for i := range days {
		for _, s := range series {
			most = max(most, s.of(&days[i]))
		}
	}
	top, ticks := scale(most)
	high, step := c.Base-plotTop, (c.Right-c.Left)/float64(len(days))
	for _, t := range ticks {
		c.Y = append(c.Y, tick{c.Base - high*float64(t)/float64(top), thousands(t)})
	}
	for _, s := range series {
		line := curve{Name: s.name, Class: s.name}
		var points strings.Builder
		for i := range days {
			value := s.of(&days[i])
			x, y := c.Left+step*(float64(i)+0.5), c.Base-high*float64(value)/float64(top)
			fmt.Fprintf(&points, "%.1f,%.1f ", x, y)
			if len(days) <= 62 {
				line.Marks = append(line.Marks, box{X: x, Y: y, Title: fmt.Sprintf("%s: %s %s", days[i].Date, thousands(value), s.name)})
			}
			line.LabelX, line.LabelY = c.Right+10, y+2
		}
		line.Points = strings.TrimSpace(points.String())
		c.Curves = append(c.Curves, line)
	}
	spread(c.Curves)
	c.X = dayTicks(days, c.Left, step)
	return c
}

// spread moves labels that would lie upon one another apart.
func spread(curves []curve) {
	const least = 15.0
	for range curves { // as many times as there are labels is enough
		for i := range curves {
			for k := range curves {
				if gap := curves[k].LabelY - curves[i].LabelY; i != k && gap >= 0 && gap < least && (gap > 0 || k > i) {
					curves[i].LabelY -= least - gap // upwards: below are the days
				}
			}
		}
	}
}

// scale gives a round upper end for counts up to most, and at most six marks from zero to it.
func scale(most int64) (top int64, ticks []int64) {
	for power := int64(1); ; power *= 10 {
		for _, digit := range []int64{1, 2, 5} {
			step := digit * power
			if steps := max((most+step-1)/step, 1); steps <= 5 {
				for i := range steps + 1 {
					ticks = append(ticks, i*step)
				}
				return steps * step, ticks
			}
		}
	}
}

// bar is one line of a chart of horizontal bars.
type bar struct {
	Label, Total string
	Y, LabelY    float64
	TotalX       float64
	Boxes        []box
}

type bars struct {
	Width, Height, Left float64
	Bars                []bar
}

// part is one part of a bar.
type part struct {
	class string
	value int64
}

// horizontal makes a bar of each label's parts.
func horizontal(labels []string, parts [][]part) bars {
	const left = 250.0
	b := bars{Width: chartWidth, Height: row*float64(len(labels)) + 6, Left: left}
	var most int64 = 1
	for _, p := range parts {
		most = max(most, sum(p))
	}
	room := chartWidth - left - 90
	for i, label := range labels {
		y := row*float64(i) + 4
		line := bar{Label: shorten(label, 38), Y: y, LabelY: y + 15, Total: thousands(sum(parts[i]))}
		x := left
		for _, p := range parts[i] {
			if p.value == 0 {
				continue
			}
			w := math.Max(room*float64(p.value)/float64(most), 1.5)
			line.Boxes = append(line.Boxes, box{x, y, w, row - 8, p.class, fmt.Sprintf("%s: %s %s", label, thousands(p.value), p.class)})
			x += w
		}
		line.TotalX = x + 6
		b.Bars = append(b.Bars, line)
	}
	return b
}

func sum(parts []part) (total int64) {
	for _, p := range parts {
		total += p.value
	}
	return total
}

// shorten keeps the beginning and the end of a text.
func shorten(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most/2-1]) + "…" + string(runes[len(runes)-most/2:])
}
