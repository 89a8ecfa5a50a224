package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// otherUses are what keys are for that serve no tokens, and so live by no periods and are no custodian's.
var otherUses = map[string]string{
	"checkpoint": "signs the audit log's checkpoints",
	"pseudonym":  "the audit log's pseudonyms",
	"bundle":     "signs policy bundles",
}

// otherKey is a key that serves no tokens.
type otherKey struct {
	Key string `json:"key"`
	// Use is checkpoint, pseudonym or bundle.
	Use      string         `json:"use"`
	Type     string         `json:"type"`
	Versions []otherVersion `json:"versions"`
	// AutoRotateSeconds is how often Vault itself adds a version; absent where it does not.
	AutoRotateSeconds int64 `json:"auto_rotate_seconds,omitempty"`
}

// otherVersion is one of its versions that Vault still has. Created is RFC 3339, the age whole seconds.
type otherVersion struct {
	Version    int       `json:"version"`
	Created    time.Time `json:"created"`
	AgeSeconds int64     `json:"age_seconds"`
}

func newOtherKey(name, use string, r *vaultkeys.Record, now time.Time) otherKey {
	key := otherKey{Key: name, Use: use, Type: r.Type, Versions: []otherVersion{}, AutoRotateSeconds: int64(r.AutoRotatePeriod / time.Second)}
	for _, v := range r.Versions {
		key.Versions = append(key.Versions, otherVersion{v.Number, v.Created.UTC(), int64(now.Sub(v.Created) / time.Second)})
	}
	return key
}

// otherKeyNames lists the keys of vault.keys that serve no tokens, sorted.
func otherKeyNames(c *config.Config) []string {
	var names []string
	for _, name := range c.KeyNames() {
		if _, other := otherUses[c.Vault.Keys[name].Use]; other {
			names = append(names, name)
		}
	}
	return names
}

// otherReader reads such keys, each as the role that may, else with the token of whoever runs the command. Whoever looks
// after the keys of tokens may well have no login of the notary's, so an error is about one key only.
type otherReader struct {
	e       env
	c       *config.Config
	clients map[*config.Role]*transit.Client
}

func newOtherReader(e env, c *config.Config) *otherReader {
	return &otherReader{e, c, make(map[*config.Role]*transit.Client)}
}

// read reads a key; an error that wraps transit.ErrNotFound says that there is none.
func (o *otherReader) read(ctx context.Context, name string) (vaultkeys.Record, error) {
	role := o.c.Vault.Roles.Notary
	if o.c.Vault.Keys[name].Use == "bundle" {
		role = o.c.Vault.Roles.Publisher
	}
	client := o.clients[role]
	if client == nil {
		var err error
		if client, err = clientOf(o.e, o.c, role); err != nil {
			return vaultkeys.Record{}, err
		}
		o.clients[role] = client
	}
	return client.ReadVersions(ctx, name)
}

// listOthers reads the keys that serve no tokens; what cannot be read is a warning.
func listOthers(ctx context.Context, e env, c *config.Config) ([]otherKey, []keyWarning) {
	var keys []otherKey
	var warnings []keyWarning
	reader := newOtherReader(e, c)
	for _, name := range otherKeyNames(c) {
		record, err := reader.read(ctx, name)
		switch {
		case errors.Is(err, transit.ErrNotFound):
			warnings = append(warnings, keyWarning{name, "Vault has no such key: run 'assay keys setup'"})
		case err != nil:
			warnings = append(warnings, keyWarning{name, "it could not be read: " + err.Error()})
		default:
			keys = append(keys, newOtherKey(name, c.Vault.Keys[name].Use, &record, e.now()))
		}
	}
	return keys, warnings
}

// printOthers prints a table of its own: none of this is about tokens.
func printOthers(e env, keys []otherKey) error {
	if len(keys) == 0 {
		return nil
	}
	table := tabwriter.NewWriter(e.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, "\nNOT FOR TOKENS\tUSE\tVERSION\tTYPE\tAGE\tWHAT IT IS FOR")
	for _, key := range keys {
		for _, v := range key.Versions {
			age := humanDuration(time.Duration(v.AgeSeconds) * time.Second)
			_, _ = fmt.Fprintf(table, "%s\t%s\t%d\t%s\t%s\t%s\n", key.Key, key.Use, v.Version, key.Type, age, key.purpose())
		}
	}
	return table.Flush()
}

func (k *otherKey) purpose() string {
	if k.AutoRotateSeconds == 0 {
		return otherUses[k.Use]
	}
	return fmt.Sprintf("%s; Vault adds a version every %s", otherUses[k.Use], humanDuration(time.Duration(k.AutoRotateSeconds)*time.Second))
}

// verifyOthers finds what is wrong with the keys that serve no tokens.
func verifyOthers(ctx context.Context, e env, c *config.Config) []keyFinding {
	var findings []keyFinding
	reader := newOtherReader(e, c)
	for _, name := range otherKeyNames(c) {
		add := func(problem, advice string) { findings = append(findings, keyFinding{name, problem, advice}) }
		record, err := reader.read(ctx, name)
		key := c.Vault.Keys[name]
		switch {
		case errors.Is(err, transit.ErrNotFound):
			add("Vault has no such key under "+c.Vault.Mount+"/", "run 'assay keys setup'")
			continue
		case err != nil:
			add("it could not be read: "+err.Error(), "nothing was verified of it")
			continue
		case record.Type != key.Type:
			add(fmt.Sprintf("it is of type %s, a key with use %s is %s", record.Type, key.Use, key.Type), "a key's type cannot change: move to a key of another name")
		case key.Use != "pseudonym":
			if err := record.Check(); err != nil {
				add(err.Error(), "nothing is signed with it as it is")
			}
		}
		for _, w := range weaknesses(&record) {
			add(w.problem, w.advice)
		}
		switch every := pseudonymRotation(c.Audit.Pseudonyms.Period); {
		case key.Use != "pseudonym" && record.AutoRotatePeriod > 0:
			add(fmt.Sprintf("Vault itself rotates it every %s", record.AutoRotatePeriod), "write auto_rotate_period=0 to its config")
		case key.Use == "pseudonym" && (record.AutoRotatePeriod == 0 || record.AutoRotatePeriod > every):
			add(fmt.Sprintf("Vault does not add a version every %s, so that periods of pseudonyms share one and cannot be forgotten alone", every), "run 'assay keys setup'")
		}
	}
	return findings
}
