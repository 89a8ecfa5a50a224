package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Custodian says whether and how this process looks after the keys in Vault. 'assay keys run' does without
// serving.
type Custodian struct {
	// Enabled makes serve look after the keys, as the role vault.roles.custodian; default false. Any number of
	// replicas may.
	Enabled bool `yaml:"enabled"`
	// TrimAfter is how long versions are kept in Vault after they were retired, until they are destroyed; default
	// 720h.
	TrimAfter Duration `yaml:"trim_after"`
	// KeepRetired never destroys retired versions; default false. (A compromised one is destroyed at once.)
	KeepRetired bool `yaml:"keep_retired"`
}

// Trim is TrimAfter as the custodian has it: negative for never.
func (c *Custodian) Trim() time.Duration {
	if c.KeepRetired {
		return -1
	}
	return c.TrimAfter.D()
}

// NamedRole is a role with its name under vault.roles.
type NamedRole struct {
	Name string
	Role *Role
}

// Given lists the roles that the configuration gives, in the order of their documentation.
func (r *Roles) Given() []NamedRole {
	return slices.DeleteFunc([]NamedRole{
		{"decider", r.Decider}, {"issuer", r.Issuer}, {"custodian", r.Custodian}, {"notary", r.Notary}, {"publisher", r.Publisher},
	}, func(n NamedRole) bool { return n.Role == nil })
}

// VaultKeys names keys of vault.keys: one, or a list. The first that may signs, all verify.
type VaultKeys []string

// UnmarshalYAML takes a name or a list of names.
func (k *VaultKeys) UnmarshalYAML(decode func(any) error) error {
	var name string
	if err := decode(&name); err == nil && name != "" {
		*k = VaultKeys{name}
		return nil
	}
	var names []string
	if err := decode(&names); err != nil {
		return errors.New("keys.vault: give the name of a key of vault.keys, or a list of names")
	}
	*k = names
	return nil
}

// checkVaultKeys checks the names of an issuer's keys in Vault.
func (d *document) checkVaultKeys(c *Config, at string, names VaultKeys) {
	for i, name := range names {
		if _, ok := c.Vault.Keys[name]; !ok {
			d.at(at, "there is no key %q under vault.keys", name)
		}
		if slices.Contains(names[:i], name) {
			d.at(at, "the key %q is named twice", name)
		}
	}
}

// checkAudiences refuses audiences that no token can have.
func (d *document) checkAudiences(c *Config) {
	for name, key := range c.Vault.Keys {
		for i, audience := range key.Audiences {
			if audience == "" || strings.ContainsAny(audience, " \t\r\n") || slices.Contains(key.Audiences[:i], audience) {
				d.at(fmt.Sprintf("vault.keys.%s.audiences", name), "%q is empty, holds white space, or is there twice", audience)
			}
		}
	}
}

func (d *document) checkCustodian(c *Config) {
	if c.Vault.Custodian.TrimAfter < 0 {
		d.at("vault.custodian.trim_after", "%s: must not be negative; keep_retired: true keeps versions for ever", c.Vault.Custodian.TrimAfter)
	}
	if !c.Vault.Custodian.Enabled {
		return
	}
	if c.Vault.Roles.Custodian == nil {
		d.at("vault.custodian.enabled", "needs the role vault.roles.custodian, which rotates and retires")
	}
	if len(c.Vault.Keys) == 0 {
		d.at("vault.custodian.enabled", "there is no key under vault.keys to look after")
	}
}
