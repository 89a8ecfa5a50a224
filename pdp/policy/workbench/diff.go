package workbench

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Case is one question that two policies are compared by.
type Case struct {
	// Name is where it comes from, such as a file.
	Name string
	// Facts are those of a token that was examined. Where they are nil, Input is a recorded input, which only policies
	// judge: Go's floor needs the token.
	Facts *pdp.Facts
	Input Input
}

// Outcome is what one policy answers to a case.
type Outcome struct {
	Allow   bool
	Reasons []pdp.Reason
	// Claims are the paths of what is released, dotted and sorted.
	Claims []string
	// OmitClaims is the obligation, sorted.
	OmitClaims      []string
	CacheForSeconds int64
}

// Change is a case that two policies answer differently.
type Change struct {
	Name          string
	Before, After Outcome
	// Why tells each difference.
	Why []Difference
}

// Difference is one thing that is different, and what made it so.
type Difference struct {
	// What is "allow", "reason", "claim", "obligation" or "cache". Code is a reason's, Path a claim's.
	What, Code, Path string
	// Before and After are what was and is: "allow" and "deny", an enforcement, "released", "withheld", seconds; empty
	// where there is nothing.
	Before, After string
	// Message is a reason's.
	Message string
	// Fired is the rule that gave the reason, on the side where it did; nil for a reason of Go's floor.
	Fired *Fired
}

// Diff asks both policies about a case; nil where they answer the same. Leeway is that of the floor. Messages count only
// where a reason is new: two policies may word one finding differently.
func Diff(ctx context.Context, before, after *Prepared, c Case, leeway time.Duration) (*Change, error) {
	was, err := before.outcome(ctx, &c, leeway)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	is, err := after.outcome(ctx, &c, leeway)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Name, err)
	}
	change := &Change{Name: c.Name, Before: was, After: is, Why: differences(&was, &is)}
	if len(change.Why) == 0 {
		return nil, nil
	}
	in := c.Input
	if c.Facts != nil {
		if in, err = InputOf(c.Facts); err != nil {
			return nil, fmt.Errorf("%s: %w", c.Name, err)
		}
	}
	explained := make(map[*Prepared]*Explanation, 2)
	for i := range change.Why {
		d := &change.Why[i]
		side := after
		if d.After == "" {
			side = before
		}
		if d.What != "reason" {
			continue
		}
		if explained[side] == nil {
			if explained[side], err = side.Explain(ctx, in, ExplainOptions{}); err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		for n := range explained[side].Fired {
			if fired := &explained[side].Fired[n]; fired.Code == d.Code {
				d.Fired = fired
				break
			}
		}
	}
	return change, nil
}

func (p *Prepared) outcome(ctx context.Context, c *Case, leeway time.Duration) (Outcome, error) {
	var o Outcome
	if c.Facts == nil {
		v, err := p.verdict(ctx, c.Input)
		if err != nil {
			return o, err
		}
		o = Outcome{Allow: v.Allow, Reasons: v.Reasons, OmitClaims: v.Obligations.OmitClaims, CacheForSeconds: v.CacheForSeconds}
		for _, path := range v.Claims {
			o.Claims = append(o.Claims, strings.Join(path, "."))
		}
	} else {
		d, err := p.Judge(ctx, c.Facts, leeway)
		if err != nil {
			return o, err
		}
		o = Outcome{Allow: d.Allow, Reasons: d.Reasons, Claims: leaves("", d.Claims), OmitClaims: d.Obligations.OmitClaims, CacheForSeconds: d.CacheForSeconds}
	}
	o.OmitClaims = slices.Clone(o.OmitClaims)
	slices.Sort(o.Claims)
	slices.Sort(o.OmitClaims)
	return o, nil
}

func leaves(below string, claims map[string]any) []string {
	var paths []string
	for name, value := range claims {
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
			paths = append(paths, leaves(below+name+".", inner)...)
		} else {
			paths = append(paths, below+name)
		}
	}
	return paths
}

func word(allow bool) string {
	if allow {
		return "allow"
	}
	return "deny"
}

func differences(was, is *Outcome) []Difference {
	var found []Difference
	if was.Allow != is.Allow {
		found = append(found, Difference{What: "allow", Before: word(was.Allow), After: word(is.Allow)})
	}
	found = append(found, reasonDifferences(was.Reasons, is.Reasons)...)
	found = append(found, setDifferences("claim", "released", "withheld", was.Claims, is.Claims)...)
	found = append(found, setDifferences("obligation", "omit", "", was.OmitClaims, is.OmitClaims)...)
	if was.CacheForSeconds != is.CacheForSeconds {
		found = append(found, Difference{What: "cache", Before: fmt.Sprint(was.CacheForSeconds), After: fmt.Sprint(is.CacheForSeconds)})
	}
	return found
}

// reasonDifferences compares by code: how often each enforcement stands there.
func reasonDifferences(was, is []pdp.Reason) []Difference {
	type side struct{ before, after []string }
	byCode := make(map[string]*side)
	messages := make(map[string]string)
	for i, reasons := range [][]pdp.Reason{was, is} {
		for _, r := range reasons {
			s := byCode[r.Code]
			if s == nil {
				s = &side{}
				byCode[r.Code] = s
			}
			if i == 0 {
				s.before = append(s.before, string(r.Enforcement))
			} else {
				s.after = append(s.after, string(r.Enforcement))
			}
			messages[r.Code] = r.Message // the later policy's where it has one
		}
	}
	var found []Difference
	for _, code := range slices.Sorted(maps.Keys(byCode)) {
		s := byCode[code]
		slices.Sort(s.before)
		slices.Sort(s.after)
		if !slices.Equal(s.before, s.after) {
			found = append(found, Difference{What: "reason", Code: code, Before: strings.Join(s.before, ", "),
				After: strings.Join(s.after, ", "), Message: messages[code]})
		}
	}
	return found
}

func setDifferences(what, present, absent string, was, is []string) []Difference {
	var found []Difference
	for _, path := range was {
		if !slices.Contains(is, path) {
			found = append(found, Difference{What: what, Path: path, Before: present, After: absent})
		}
	}
	for _, path := range is {
		if !slices.Contains(was, path) {
			found = append(found, Difference{What: what, Path: path, Before: absent, After: present})
		}
	}
	slices.SortFunc(found, func(a, b Difference) int { return cmp.Compare(a.Path, b.Path) })
	return found
}
