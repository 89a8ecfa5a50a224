package config

import (
	"slices"
	"strings"

	"github.com/assaypdp/assay/vaultkeys"
)

// Periods are the times by which the versions of a key of vault.keys change state.
func (c *Config) Periods(name string) vaultkeys.Periods {
	key := c.Vault.Keys[name]
	return vaultkeys.Periods{
		RotateEvery:      key.RotateEvery.D(),
		PublishAhead:     key.PublishAhead.D(),
		MaxTokenLifetime: key.MaxTokenLifetime.D(),
		Leeway:           c.Leeway.D(),
		JWKSMaxAge:       c.Vault.JWKSMaxAge.D(),
		Poll:             c.Vault.Poll.D(),
		ClockSkew:        c.Vault.ClockSkew.D(),
		Encryption:       key.Encrypts(),
	}
}

// KeyNames lists the keys of vault.keys, sorted.
func (c *Config) KeyNames() []string {
	names := make([]string, 0, len(c.Vault.Keys))
	for name := range c.Vault.Keys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// checkKey refuses a key that cannot sign what it should, or whose periods would deny good tokens.
func (d *document) checkKey(at string, c *Config, name string) {
	if name == "" || strings.ContainsAny(name, "/ ") {
		d.at(at, "%q cannot be the name of a transit key", name)
	}
	key := c.Vault.Keys[name]
	d.checkUse(at, key)
	if err := c.Periods(name).Validate(); err != nil {
		for line := range strings.Lines(err.Error()) {
			d.at(at, "%s", strings.TrimSpace(line))
		}
	}
}
