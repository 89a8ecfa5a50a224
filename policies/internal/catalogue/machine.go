package main

import (
	"bytes"
	"encoding/json"

	"github.com/assaypdp/assay/policies/internal/detectors"
)

// The catalogue for programs. Everything is under one name, so that stock opa, which reads every JSON file of the
// directory as data, finds nothing twice.
type machine struct {
	Catalogue machineCatalogue `json:"catalogue"`
}

type machineCatalogue struct {
	Reasons      []machineReason      `json:"reasons"`
	Requirements []machineRequirement `json:"requirements"`
	Detectors    []machineDetector    `json:"detectors"`
}

type machineReason struct {
	Code        string          `json:"code"`
	Title       string          `json:"title"`
	Description string          `json:"description,omitempty"`
	GivenBy     string          `json:"given_by"`
	Severity    string          `json:"severity"`
	Default     string          `json:"default"`
	Controls    []string        `json:"controls"`
	Example     *machineExample `json:"example,omitempty"`
}

type machineExample struct {
	*example
	Says string `json:"says"`
}

type machineRequirement struct {
	ID    string   `json:"id"`
	Text  string   `json:"text"`
	Rules []string `json:"rules,omitempty"`
	// Titles name the rules one by one, "PACKAGE: TITLE"; Rules are their codes.
	Titles    []string `json:"rule_titles,omitempty"`
	Floor     []string `json:"floor,omitempty"`
	Otherwise string   `json:"otherwise,omitempty"`
}

type machineDetector struct {
	Shape      string  `json:"shape"`
	Positives  int     `json:"positives"`
	Recognised int     `json:"recognised"`
	Others     int     `json:"others"`
	Mistaken   int     `json:"mistaken"`
	Recall     float64 `json:"recall"`
	Precision  float64 `json:"precision"`
}

// forPrograms is the catalogue as JSON.
func (c *contents) forPrograms() ([]byte, error) {
	var out machine
	for _, e := range append(append([]entry{}, c.rules...), c.floor...) {
		r := machineReason{
			Code: e.code, Title: e.title, Description: e.description, GivenBy: e.source, Severity: e.severity,
			Default: e.mode, Controls: e.controls,
		}
		if e.example != nil {
			r.Example = &machineExample{e.example, e.says}
		}
		out.Catalogue.Reasons = append(out.Catalogue.Reasons, r)
	}
	for _, id := range sortedRequirements(c.requirements) {
		out.Catalogue.Requirements = append(out.Catalogue.Requirements, machineRequirement{
			ID: id, Text: c.requirements[id], Rules: serving(c.rules, id), Titles: titles(c.rules, id),
			Floor: serving(c.floor, id), Otherwise: sentences[id],
		})
	}
	for _, f := range c.figures {
		out.Catalogue.Detectors = append(out.Catalogue.Detectors, machineDetector{
			Shape: f.Shape, Positives: f.Positives, Recognised: f.Found, Others: f.Others, Mistaken: f.False,
			Recall: thousandths(f.Recall()), Precision: thousandths(f.Precision()),
		})
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(out)
	return text.Bytes(), err
}

func thousandths(part float64) float64 { return float64(int(part*1000+0.5)) / 1000 }

func titles(rules []entry, id string) []string {
	var found []string
	for _, e := range rules {
		for _, control := range e.controls {
			if control == id {
				found = append(found, e.source+": "+e.title)
			}
		}
	}
	return found
}

// contents are what both forms of the catalogue are written from.
type contents struct {
	rules, floor []entry
	requirements map[string]string
	figures      []detectors.Figure
	// values is how many texts the detectors were measured on.
	values int
}
