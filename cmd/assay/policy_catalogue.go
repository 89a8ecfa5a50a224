package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy/workbench"
	"github.com/assaypdp/assay/policies"
)

// catalogue is the form of policies/CATALOGUE.json, to which an organisation's own rules are added.
type catalogue struct {
	Reasons      []catalogueReason      `json:"reasons"`
	Requirements []catalogueRequirement `json:"requirements"`
}

type catalogueReason struct {
	Code        string `json:"code"`
	Title       string `json:"title"`
	Description string `json:"description,omitempty"`
	GivenBy     string `json:"given_by"`
	Severity    string `json:"severity"`
	Default     string `json:"default"`
	// Configured is the mode that the configuration says for everyone.
	Configured string          `json:"configured,omitempty"`
	Controls   []string        `json:"controls"`
	Own        bool            `json:"own,omitempty"`
	Example    json.RawMessage `json:"example,omitempty"`
}

type catalogueRequirement struct {
	ID        string   `json:"id"`
	Text      string   `json:"text,omitempty"`
	Rules     []string `json:"rules,omitempty"`
	Own       []string `json:"own_rules,omitempty"`
	Floor     []string `json:"floor,omitempty"`
	Otherwise string   `json:"otherwise,omitempty"`
}

func newPolicyCatalogue(e env) *cobra.Command {
	var source policySource
	cmd := &cobra.Command{
		Use:   "catalogue [PATH…]",
		Short: "Print every reason that a policy can give, and what answers each requirement",
		Long: `Catalogue lists the rules of the library and of one's own, from their metadata, with the reasons that Assay gives
by itself: what each finds, how severe that is, what it does by default and by the configuration, which
requirements it serves; then every requirement with what answers it. Text is Markdown.

` + pathsHelp,
		Example: `  assay policy catalogue > catalogue.md
  assay policy catalogue --policy-config org.yaml --output json my-rules`,
	}
	source.addFlags(cmd)
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, paths []string) error {
		p, err := source.read(cmd.Context(), paths)
		if err != nil {
			return err
		}
		entries, err := workbench.Catalogue(cmd.Context(), p)
		if err != nil {
			return source.refused(e, err, *format)
		}
		c, err := wholeCatalogue(entries)
		if err != nil {
			return err
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"catalogue": c})
		}
		_, err = io.WriteString(e.out, c.markdown())
		return err
	}
	return cmd
}

// wholeCatalogue puts the rules in force beside what the library's catalogue knows of its own. Where files take the
// library's place, only the floor is left of that.
func wholeCatalogue(entries []workbench.Entry) (*catalogue, error) {
	var known struct {
		Catalogue catalogue `json:"catalogue"`
	}
	if err := json.Unmarshal(policies.Catalogue(), &known); err != nil {
		return nil, fmt.Errorf("the catalogue of the library: %w", err)
	}
	c := &catalogue{}
	for _, entry := range entries {
		reason := catalogueReason{
			Code: entry.Code, Title: entry.Title, Description: entry.Description, GivenBy: entry.Package, Severity: entry.Severity,
			Default: entry.Mode, Configured: entry.Configured, Controls: append([]string{}, entry.Controls...), Own: entry.Own,
		}
		at := slices.IndexFunc(known.Catalogue.Reasons, func(r catalogueReason) bool {
			return !entry.Own && r.GivenBy == entry.Package && r.Title == entry.Title && r.Code == entry.Code
		})
		switch {
		case at >= 0: // which tells where the default lies in the configuration
			reason.Default, reason.Example = known.Catalogue.Reasons[at].Default, known.Catalogue.Reasons[at].Example
		case reason.Default == "":
			reason.Default = string(pdp.Deny)
		}
		c.Reasons = append(c.Reasons, reason)
	}
	for _, r := range known.Catalogue.Reasons {
		if r.GivenBy == "floor" {
			c.Reasons = append(c.Reasons, r)
		}
	}
	slices.SortStableFunc(c.Reasons, func(a, b catalogueReason) int { return strings.Compare(a.Code, b.Code) })
	c.Requirements = requirementsOf(known.Catalogue.Requirements, c.Reasons)
	return c, nil
}

// requirementsOf tells what answers each requirement, those that only one's own rules name at the end.
func requirementsOf(known []catalogueRequirement, reasons []catalogueReason) []catalogueRequirement {
	serving := func(id string, which func(r *catalogueReason) bool) []string {
		var codes []string
		for i := range reasons {
			if which(&reasons[i]) && slices.Contains(reasons[i].Controls, id) {
				codes = append(codes, reasons[i].Code)
			}
		}
		return slices.Compact(codes) // the reasons are sorted by code
	}
	var listed []catalogueRequirement
	add := func(r catalogueRequirement) {
		r.Rules = serving(r.ID, func(r *catalogueReason) bool { return !r.Own && r.GivenBy != "floor" })
		r.Own = serving(r.ID, func(r *catalogueReason) bool { return r.Own })
		r.Floor = serving(r.ID, func(r *catalogueReason) bool { return r.GivenBy == "floor" })
		listed = append(listed, r)
	}
	for _, r := range known {
		add(r)
	}
	var others []string
	for i := range reasons {
		for _, id := range reasons[i].Controls {
			if !slices.ContainsFunc(known, func(r catalogueRequirement) bool { return r.ID == id }) {
				others = append(others, id)
			}
		}
	}
	slices.Sort(others)
	for _, id := range slices.Compact(others) {
		add(catalogueRequirement{ID: id})
	}
	return listed
}

func (c *catalogue) markdown() string {
	var b strings.Builder
	b.WriteString("# Catalogue of reasons\n")
	family := ""
	for _, r := range c.Reasons {
		if of, _, _ := strings.Cut(r.Code, "."); of != family {
			family = of
			fmt.Fprintf(&b, "\n## %s\n\n| code | what it says | given by | severity | default | configured | controls |\n| --- | --- | --- | --- | --- | --- | --- |\n", family)
		}
		what := "**" + r.Title + ".** " + r.Description
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s | %s |\n", r.Code, cell(what), r.GivenBy, r.Severity, cell(r.Default), r.Configured, cell(strings.Join(r.Controls, ", ")))
	}
	b.WriteString("\n## What answers each requirement\n\n| requirement | what it asks | rules | own rules | floor | otherwise |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range c.Requirements {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(r.ID), cell(r.Text), codeList(r.Rules), codeList(r.Own), codeList(r.Floor), cell(r.Otherwise))
	}
	return b.String()
}

// cell is a text on one line that does not end its cell of a Markdown table.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", `\|`)
}

func codeList(codes []string) string {
	if len(codes) == 0 {
		return ""
	}
	return "`" + strings.Join(codes, "` `") + "`"
}
