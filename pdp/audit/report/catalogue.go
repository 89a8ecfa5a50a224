package report

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Catalogue is what the rules' metadata says of reasons and requirements.
type Catalogue struct {
	Reasons      []CatalogueReason      `json:"reasons"`
	Requirements []CatalogueRequirement `json:"requirements"`
}

// CatalogueReason is one way in which a code is given.
type CatalogueReason struct {
	Code     string   `json:"code"`
	Title    string   `json:"title"`
	GivenBy  string   `json:"given_by"`
	Controls []string `json:"controls"`
}

// CatalogueRequirement is one requirement; Otherwise is the sentence that answers one which asks nothing of a token.
type CatalogueRequirement struct {
	ID        string `json:"id"`
	Text      string `json:"text"`
	Otherwise string `json:"otherwise"`
}

// ParseCatalogue reads {"catalogue": {"reasons": […], "requirements": […]}}, the form of policies/CATALOGUE.json and of
// assay policy catalogue --output json. The titles of controls come from its requirements and from nowhere else.
func ParseCatalogue(data []byte) (*Catalogue, error) {
	var whole struct {
		Catalogue *Catalogue `json:"catalogue"`
	}
	if err := json.Unmarshal(data, &whole); err != nil {
		return nil, fmt.Errorf("the catalogue of rules: %w", err)
	}
	if whole.Catalogue == nil || len(whole.Catalogue.Requirements) == 0 {
		return nil, fmt.Errorf("the catalogue of rules has no requirements: it is made by assay policy catalogue --output json")
	}
	return whole.Catalogue, nil
}

// requirements are the framework's, in the catalogue's order.
func (c *Catalogue) requirements(prefix string) []CatalogueRequirement {
	var own []CatalogueRequirement
	for _, r := range c.Requirements {
		if strings.HasPrefix(r.ID, prefix) {
			own = append(own, r)
		}
	}
	return own
}

// serving are the reasons whose rules name the control, by code.
func (c *Catalogue) serving(control string) map[string]*Rule {
	rules := make(map[string]*Rule)
	for _, r := range c.Reasons {
		if !slices.Contains(r.Controls, control) {
			continue
		}
		rule := rules[r.Code]
		if rule == nil {
			rule = &Rule{Code: r.Code}
			rules[r.Code] = rule
		}
		rule.GivenBy = addOnce(rule.GivenBy, r.GivenBy)
		rule.Titles = addOnce(rule.Titles, r.Title)
	}
	return rules
}

// titleOf is the code's title where it has one, as the reasons of a family with several rules do not.
func (c *Catalogue) titleOf(code string) string {
	var titles []string
	for _, r := range c.Reasons {
		if r.Code == code {
			titles = addOnce(titles, r.Title)
		}
	}
	if len(titles) > 2 {
		return fmt.Sprintf("%s, and %d others", titles[0], len(titles)-1)
	}
	return strings.Join(titles, "; ")
}

func addOnce(to []string, s string) []string {
	if slices.Contains(to, s) {
		return to
	}
	return append(to, s)
}
