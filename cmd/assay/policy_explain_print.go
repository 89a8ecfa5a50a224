package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy/workbench"
)

func printExplanation(e env, x *workbench.Explanation, allow bool, reasons []pdp.Reason, revision string) error {
	var b strings.Builder
	if allow {
		b.WriteString("allow\n")
	} else {
		b.WriteString("deny\n")
	}
	if len(x.Fired) == 0 {
		b.WriteString("no rule found anything\n")
	}
	for i := range x.Fired {
		printFired(&b, &x.Fired[i], reasons)
	}
	for _, r := range unfired(x, reasons) {
		fmt.Fprintf(&b, "\n%s (%s), by Assay itself; no mode or waiver lifts it\n  %s: %s\n", r.Code, r.Severity, r.Enforcement, printable(r.Message))
	}
	for _, w := range x.Waivers {
		ticket := ""
		if w.Ticket != "" {
			ticket = ", " + w.Ticket
		}
		fmt.Fprintf(&b, "\nwaiver of %s by %s until %s%s: %s\n", w.Rule, strings.Join(w.For, ", "), w.Until, ticket, w.State)
	}
	fmt.Fprintf(&b, "\npolicy: %s\n", revision)
	for _, line := range x.Trace {
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(e.out, b.String())
	return err
}

func printFired(b *strings.Builder, f *workbench.Fired, reasons []pdp.Reason) {
	whose := "library"
	if f.Own {
		whose = "own"
	}
	fmt.Fprintf(b, "\n%s (%s): %s\n  rule: %s:%d (%s, %s)\n", f.Code, f.Severity, f.Title, f.File, f.Line, f.Package, whose)
	for _, m := range f.Modes {
		fmt.Fprintf(b, "  mode: %s, says %s", m.Mode, m.From)
		if m.Enforcement != "" && m.Enforcement != m.Mode {
			fmt.Fprintf(b, "; in effect: %s", m.Enforcement)
			if m.Because != "" {
				fmt.Fprintf(b, ", because of %s", m.Because)
			}
		}
		b.WriteString("\n")
	}
	for _, r := range reasons {
		if r.Code == f.Code {
			fmt.Fprintf(b, "  %s: %s\n", r.Enforcement, printable(r.Message))
		}
	}
	printSeen(b, "looked at", f.Input)
	printSeen(b, "configured", f.Config)
}

func printSeen(b *strings.Builder, what string, all []workbench.Seen) {
	for _, s := range all {
		value := s.Kind
		if s.Value != nil {
			value = "= " + printable(fmt.Sprint(s.Value))
		}
		fmt.Fprintf(b, "  %s: %s %s\n", what, printable(s.Path), value)
	}
}

type seenJSON struct {
	Path  string `json:"path"`
	Kind  string `json:"kind"`
	Value any    `json:"value,omitempty"`
}

type modeJSON struct {
	Mode        string `json:"mode"`
	From        string `json:"from"`
	Enforcement string `json:"enforcement,omitempty"`
	Because     string `json:"because,omitempty"`
}

type firedJSON struct {
	Code     string     `json:"code"`
	Title    string     `json:"title"`
	Severity string     `json:"severity"`
	Package  string     `json:"package"`
	File     string     `json:"file"`
	Line     int        `json:"line"`
	Own      bool       `json:"own"`
	Controls []string   `json:"controls"`
	Modes    []modeJSON `json:"modes"`
	Input    []seenJSON `json:"input"`
	Config   []seenJSON `json:"config"`
}

func asFiredJSON(f *workbench.Fired) firedJSON {
	j := firedJSON{f.Code, f.Title, f.Severity, f.Package, f.File, f.Line, f.Own, append([]string{}, f.Controls...), []modeJSON{}, []seenJSON{}, []seenJSON{}}
	for _, m := range f.Modes {
		j.Modes = append(j.Modes, modeJSON(m))
	}
	for _, s := range f.Input {
		j.Input = append(j.Input, seenJSON(s))
	}
	for _, s := range f.Config {
		j.Config = append(j.Config, seenJSON(s))
	}
	return j
}

type reasonJSON struct {
	Code        string          `json:"code"`
	Message     string          `json:"message"`
	Severity    pdp.Severity    `json:"severity"`
	Enforcement pdp.Enforcement `json:"enforcement"`
	Details     map[string]any  `json:"details,omitempty"`
}

func reasonsJSON(reasons []pdp.Reason) []reasonJSON {
	listed := []reasonJSON{}
	for _, r := range reasons {
		listed = append(listed, reasonJSON{r.Code, r.Message, r.Severity, r.Enforcement, r.Details})
	}
	return listed
}

func explanationJSON(x *workbench.Explanation, allow bool, reasons []pdp.Reason, revision string) any {
	type waiver struct {
		Rule   string   `json:"rule"`
		For    []string `json:"for"`
		Until  string   `json:"until"`
		Ticket string   `json:"ticket,omitempty"`
		State  string   `json:"state"`
	}
	fired, waivers := []firedJSON{}, []waiver{}
	for i := range x.Fired {
		fired = append(fired, asFiredJSON(&x.Fired[i]))
	}
	for _, w := range x.Waivers {
		waivers = append(waivers, waiver{w.Rule, append([]string{}, w.For...), w.Until, w.Ticket, w.State})
	}
	document := map[string]any{
		"allow": allow, "reasons": reasonsJSON(reasons), "fired": fired, "waivers": waivers, "policy": map[string]any{"revision": revision},
	}
	if x.Trace != nil {
		document["trace"] = x.Trace
	}
	return document
}
