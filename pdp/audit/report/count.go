package report

import (
	"github.com/assaypdp/assay/pdp/audit/index"
)

// outcome counts decisions.
type outcome struct{ judged, allowed, warned, waived int64 }

func (o *outcome) add(r *index.Row, warned, waived bool) {
	o.judged++
	if r.Allow {
		o.allowed++
	}
	if warned {
		o.warned++
	}
	if waived {
		o.waived++
	}
}

// distinct counts decisions of which several findings may tell: one that was seen for this row already is not counted
// again.
type distinct struct{ count, row int64 }

func (d *distinct) add(row int64) {
	if d.row != row {
		d.count, d.row = d.count+1, row
	}
}

// effects counts the decisions with a finding, by what it did to the answer.
type effects struct{ denied, warned, waived distinct }

func (e *effects) of(enforcement string) *distinct {
	switch enforcement {
	case "warn":
		return &e.warned
	case "waived":
		return &e.waived
	}
	return &e.denied // what denies, and what is of no known kind, which is not to look harmless
}

// counters are all those that one finding adds to.
type counters struct{ each []*distinct }

func (c *counters) add(row int64) {
	for _, d := range c.each {
		d.add(row)
	}
}

// control is what is counted for one requirement.
type control struct {
	requirement CatalogueRequirement
	effects
	rules map[string]*ruleCount
}

type ruleCount struct {
	rule *Rule
	effects
}

// rule answers the counter of a code under the control, nil where there are too many. Findings tell by themselves which
// controls they serve: a rule that the catalogue does not know is shown all the same.
func (c *control) rule(code string, most int) *ruleCount {
	counted := c.rules[code]
	if counted == nil && len(c.rules) < most {
		counted = &ruleCount{rule: &Rule{Code: code, GivenBy: []string{"not in this catalogue"}, Titles: []string{}}}
		c.rules[code] = counted
	}
	return counted
}
