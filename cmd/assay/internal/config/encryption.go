package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/assaypdp/assay/vaultkeys"
)

// PseudonymKeyType is the transit type of a key with use pseudonym; transit.PseudonymKeyType says why.
const PseudonymKeyType = "aes256-gcm96"

// Encrypts tells whether tokens are encrypted to the key; otherwise it signs.
func (k SigningKey) Encrypts() bool { return k.Use == "enc" }

func (k *SigningKey) fillUse() {
	if k.Use == "" {
		k.Use = "sig"
	}
	switch {
	case k.Type != "":
	case k.Encrypts():
		k.Type = "rsa-3072"
	case k.Use == "checkpoint":
		k.Type = "ed25519"
	case k.Use == "pseudonym":
		k.Type = PseudonymKeyType
	default:
		k.Type = "ecdsa-p256"
	}
}

// KeyNamesOf lists the keys of vault.keys that tokens are encrypted to, or those that sign tokens, sorted.
func (c *Config) KeyNamesOf(encrypts bool) []string {
	return slices.DeleteFunc(c.TokenKeyNames(), func(name string) bool { return c.Vault.Keys[name].Encrypts() != encrypts })
}

// TokenKeyNames lists the keys that sign tokens or that tokens are encrypted to, sorted: they live by their periods.
func (c *Config) TokenKeyNames() []string {
	return slices.DeleteFunc(c.KeyNames(), func(name string) bool { use := c.Vault.Keys[name].Use; return use != "sig" && use != "enc" })
}

// KeyNamesFor lists the keys with that use, sorted.
func (c *Config) KeyNamesFor(use string) []string {
	return slices.DeleteFunc(c.KeyNames(), func(name string) bool { return c.Vault.Keys[name].Use != use })
}

// checkUse refuses a key of a type that does not serve its use.
func (d *document) checkUse(at string, key SigningKey) {
	switch key.Use {
	case "enc":
		if !strings.HasPrefix(key.Type, "rsa-") || !slices.Contains(vaultkeys.KeyTypes(), key.Type) {
			d.at(at+".type", "%q: a key with use enc is rsa-2048, rsa-3072 or rsa-4096: of those alone Vault opens tokens safely", key.Type)
		}
		if len(key.Audiences) > 0 {
			d.at(at+".audiences", "limits what a key signs; whose tokens are encrypted to a key is said by issuers[].encrypt_to")
		}
		if key.Algorithm != "" {
			d.at(at+".algorithm", "a key with use enc has %s and no other: take the line out", vaultkeys.EncryptionAlgorithm)
		}
	case "checkpoint":
		if key.Type != "ed25519" || key.Algorithm != "" {
			d.at(at+".type", "%q: a key with use checkpoint is ed25519, with no algorithm: of signed notes that is what everybody verifies", key.Type)
		}
	case "pseudonym":
		if key.Type != PseudonymKeyType || key.Algorithm != "" {
			d.at(at+".type", "%q: a key with use pseudonym is %s, with no algorithm: it signs nothing", key.Type, PseudonymKeyType)
		}
	case "sig", "bundle":
		if _, err := vaultkeys.Algorithm(key.Type, key.Algorithm); err != nil {
			d.at(at, "%v", err)
		}
	default:
		d.at(at+".use", "%q: choose sig, enc, bundle, checkpoint or pseudonym", key.Use)
	}
}

// checkEncryption refuses an issuer that signs with a key which encrypts, or encrypts to one which signs.
func (d *document) checkEncryption(c *Config, i int) {
	issuer := &c.Issuers[i]
	at := fmt.Sprintf("issuers[%d]", i)
	for _, name := range issuer.Keys.Vault {
		if key, ok := c.Vault.Keys[name]; ok && key.Use != "sig" {
			d.at(at+".keys.vault", "the key %q has use %s: it does not sign tokens", name, key.Use)
		}
	}
	if len(issuer.EncryptTo) > 0 && len(issuer.Keys.Vault) == 0 {
		d.at(at+".encrypt_to", "only tokens that are issued here are encrypted: the issuer needs keys: {vault: …}")
	}
	for _, audience := range slices.Sorted(maps.Keys(issuer.EncryptTo)) {
		name := issuer.EncryptTo[audience]
		key, ok := c.Vault.Keys[name]
		if !ok || !key.Encrypts() {
			d.at(at+".encrypt_to", "%q: there is no key %q with use: enc under vault.keys", audience, name)
			continue
		}
		for _, signs := range issuer.Keys.Vault {
			if signing, ok := c.Vault.Keys[signs]; ok && signing.MaxTokenLifetime > key.MaxTokenLifetime {
				d.at(at+".encrypt_to", "a token for %s may live %s, and the key %s decrypts for tokens of %s at most: raise its max_token_lifetime",
					audience, signing.MaxTokenLifetime, name, key.MaxTokenLifetime)
			}
		}
	}
}
