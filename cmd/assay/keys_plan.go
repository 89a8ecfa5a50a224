package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/cmd/assay/internal/serve"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
)

func newKeysPlan(e env) *cobra.Command {
	var path string
	var ahead time.Duration
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Show the coming rotations on a timeline",
		Long: `Plan tells what will happen to each key and when, as long as a custodian looks after it and nobody
interferes: which version begins to sign, verifies only, retires, is made, withdrawn, destroyed. Keys that serve no tokens
have no such timeline: no custodian rotates them. They are named below it. It changes nothing.`,
		Example: "  assay keys plan --config assay.yaml --for 2160h",
		Args:    noArgs,
	}
	cmd.Flags().StringVarP(&path, "config", "c", "", "configuration file")
	cmd.Flags().DurationVar(&ahead, "for", 0, "how far to look ahead (default: two rotations of the slowest key)")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := keysConfig(path)
		if err != nil {
			return err
		}
		if ahead < 0 {
			return fmt.Errorf("--for %s: look ahead, not back", ahead)
		}
		client, err := readingClient(e, c)
		if err != nil {
			return err
		}
		now, until := e.now(), ahead
		events := []keyEvent{}
		for _, name := range c.TokenKeyNames() {
			if p := c.Periods(name); ahead == 0 {
				until = max(until, 2*p.RotateEvery+p.MaxTokenLifetime+time.Hour)
			}
		}
		for _, name := range c.TokenKeyNames() {
			record, err := readRecord(cmd.Context(), c, client, name)
			if err != nil {
				return err
			}
			for _, event := range custodian.Forecast(record, serve.KeyRules(c, name), now, now.Add(until)) {
				events = append(events, newKeyEvent(name, event))
			}
		}
		slices.SortStableFunc(events, func(a, b keyEvent) int { return a.At.Compare(b.At) })
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"until": now.Add(until).UTC(), "events": events, "not_for_tokens": append([]string{}, otherKeyNames(c)...)})
		}
		if err := printTimeline(e, events, now); err != nil {
			return err
		}
		return printUnplanned(e, c)
	}
	return cmd
}

// keyEvent is one thing that will happen.
type keyEvent struct {
	At      time.Time       `json:"at"`
	Key     string          `json:"key"`
	Version int             `json:"version"`
	State   vaultkeys.State `json:"state,omitempty"`
	Step    custodian.Kind  `json:"step,omitempty"`
	What    string          `json:"what"`
}

func newKeyEvent(key string, e custodian.Event) keyEvent {
	event := keyEvent{At: e.At.UTC(), Key: key, Version: e.Version, State: e.State, Step: e.Step}
	switch {
	case e.Step == custodian.Rotate:
		event.What = "is made and published"
	case e.Step == custodian.Retire:
		event.What = "and older are withdrawn: Vault refuses them"
	case e.Step == custodian.Trim:
		event.What = "and older are destroyed in Vault"
	case e.State == vaultkeys.Active:
		event.What = "signs"
	case e.State == vaultkeys.Retiring:
		event.What = "verifies only"
	case e.State == vaultkeys.Retired:
		event.What = "retires: it is not published any more"
	}
	return event
}

func printTimeline(e env, events []keyEvent, now time.Time) error {
	table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "WHEN\tIN\tKEY\tVERSION\tWHAT HAPPENS")
	for _, event := range events {
		in := "now"
		if wait := event.At.Sub(now); wait > time.Second {
			in = humanDuration(wait)
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%s\n", event.At.Truncate(time.Second).Format(time.RFC3339), in, event.Key, event.Version, event.What)
	}
	return table.Flush()
}

// printUnplanned names the keys that are on no timeline.
func printUnplanned(e env, c *config.Config) error {
	for _, name := range otherKeyNames(c) {
		use := c.Vault.Keys[name].Use
		what := "nobody rotates it by plan"
		if use == "pseudonym" {
			what = fmt.Sprintf("Vault itself adds a version every %s, as 'assay keys setup' arranges", humanDuration(pseudonymRotation(c.Audit.Pseudonyms.Period)))
		}
		if _, err := fmt.Fprintf(e.out, "not for tokens: %s (%s): %s\n", name, otherUses[use], what); err != nil {
			return err
		}
	}
	return nil
}
