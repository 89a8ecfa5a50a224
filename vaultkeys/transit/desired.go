package transit

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Role is one of Assay's logins at Vault. Each may do one job.
type Role string

// The roles.
const (
	Decider   Role = "decider"   // reads public keys, decrypts JWE
	Issuer    Role = "issuer"    // signs tokens
	Custodian Role = "custodian" // creates, rotates and retires keys
	Notary    Role = "notary"    // signs log checkpoints, asks for the keys of pseudonyms
	Publisher Role = "publisher" // signs bundles
)

// Roles lists them all.
func Roles() []Role { return []Role{Decider, Issuer, Custodian, Notary, Publisher} }

// Defaults of Desired.
const (
	DefaultAppRoleMount = "approle"
	DefaultPrefix       = "assay-"
	DefaultVersions     = 2 // one active, one pending
	// DefaultPseudonymRotation is less than half of the shortest month, so that each month has a version of its own.
	DefaultPseudonymRotation = 13 * 24 * time.Hour
	DefaultTokenTTL          = time.Hour
	DefaultTokenMaxTTL       = 24 * time.Hour
)

// Desired is what Vault should hold for Assay.
type Desired struct {
	// Keys are the transit keys.
	Keys []DesiredKey
	// Roles are the logins; each gets a policy, and an AppRole unless NoAppRoles.
	Roles []DesiredRole
	// Prefix starts the names of policies and AppRoles; default DefaultPrefix.
	Prefix string
	// AppRoleMount is the path of the AppRole method below auth/; default DefaultAppRoleMount.
	AppRoleMount string
	// NoAppRoles leaves logins to another auth method, which then names the policies.
	NoAppRoles bool
}

// DesiredKey is one transit key.
type DesiredKey struct {
	// Name of the key.
	Name string
	// Type of the key, one of vaultkeys.KeyTypes.
	Type string
	// Algorithm is the JWS "alg" that it signs, one of vaultkeys.Algorithms; default: the type's.
	Algorithm string
	// Pseudonyms makes it the key that pseudonyms come from, of PseudonymKeyType, which signs nothing. Vault itself
	// adds a version every AutoRotate, a whole number of seconds, at least an hour; default DefaultPseudonymRotation.
	Pseudonyms bool
	AutoRotate time.Duration
	// Decrypts makes it a key for JWE (RSA only), which signs nothing.
	Decrypts bool
	// Versions is the least number of usable versions; default DefaultVersions.
	Versions int
}

// DesiredRole is one login.
type DesiredRole struct {
	Role Role
	// Keys that the role does its job with, by name. The decider reads all of them and decrypts with those
	// that decrypt.
	Keys []string
	// TokenTTL is how long a token lives between renewals, TokenMaxTTL how long at most; defaults as above.
	TokenTTL, TokenMaxTTL time.Duration
	// SecretIDTTL is how long a secret id may be used; 0: until it is destroyed.
	SecretIDTTL time.Duration
	// BoundCIDRs limits where logins and tokens may be used from; empty: anywhere.
	BoundCIDRs []string
}

// namePattern is what transit takes as a key's name, and we as any name.
var namePattern = regexp.MustCompile(`^\w([\w.-]*\w)?$`)

func checkName(kind, name string) error {
	if !namePattern.MatchString(name) || len(name) > 128 {
		return fmt.Errorf("vault: %s %q: use letters, digits, '_', '-' and '.' inside, at most 128", kind, name)
	}
	return nil
}

// checkMount keeps globs and slashes at the ends out of paths and policies.
func checkMount(mount string) error {
	for part := range strings.SplitSeq(mount, "/") {
		if checkName("mount", part) != nil {
			return fmt.Errorf("vault: mount %q: use names joined by single slashes, none at the ends", mount)
		}
	}
	return nil
}

// complete checks what is desired, with all problems together, and fills in the defaults of a copy.
func (d Desired) complete() (Desired, error) {
	def(&d.Prefix, DefaultPrefix)
	def(&d.AppRoleMount, DefaultAppRoleMount)
	var problems []error
	problems = append(problems, checkName("prefix", d.Prefix+"x"), checkMount(d.AppRoleMount))
	d.Keys = slices.Clone(d.Keys)
	names := make(map[string]bool)
	for i := range d.Keys {
		k := &d.Keys[i]
		problems = append(problems, k.complete())
		if names[k.Name] {
			problems = append(problems, fmt.Errorf("vault: key %q is there twice", k.Name))
		}
		names[k.Name] = true
	}
	d.Roles = slices.Clone(d.Roles)
	roles := make(map[Role]bool)
	for i := range d.Roles {
		r := &d.Roles[i]
		problems = append(problems, d.completeRole(r))
		if roles[r.Role] {
			problems = append(problems, fmt.Errorf("vault: role %q is there twice", r.Role))
		}
		roles[r.Role] = true
	}
	return d, errors.Join(problems...)
}

func (k *DesiredKey) complete() error {
	if err := checkName("key", k.Name); err != nil {
		return err
	}
	def(&k.Versions, DefaultVersions)
	if k.Versions < 1 {
		return fmt.Errorf("vault: key %q: %d versions: there must be at least one", k.Name, k.Versions)
	}
	if k.Decrypts {
		if !slices.Contains(vaultkeys.KeyTypes(), k.Type) || !strings.HasPrefix(k.Type, "rsa-") || k.Algorithm != "" {
			return fmt.Errorf("vault: key %q: a key that decrypts is of an RSA type and has no signature algorithm", k.Name)
		}
		return nil
	}
	if k.Pseudonyms {
		return k.completePseudonyms()
	}
	alg, err := vaultkeys.Algorithm(k.Type, k.Algorithm)
	if err != nil {
		return fmt.Errorf("vault: key %q: %w", k.Name, err)
	}
	k.Algorithm = alg
	return nil
}

func (k *DesiredKey) completePseudonyms() error {
	def(&k.AutoRotate, DefaultPseudonymRotation)
	switch {
	case k.Type != PseudonymKeyType || k.Algorithm != "":
		return fmt.Errorf("vault: key %q: a key for pseudonyms is of type %s and has no signature algorithm", k.Name, PseudonymKeyType)
	case k.AutoRotate < time.Hour || k.AutoRotate%time.Second != 0: // Vault's own limit
		return fmt.Errorf("vault: key %q: rotation every %s: at least an hour, in whole seconds", k.Name, k.AutoRotate)
	}
	return nil
}

func (d *Desired) completeRole(r *DesiredRole) error {
	if !slices.Contains(Roles(), r.Role) {
		return fmt.Errorf("vault: role %q: it must be one of %v", r.Role, Roles())
	}
	def(&r.TokenTTL, DefaultTokenTTL)
	def(&r.TokenMaxTTL, max(DefaultTokenMaxTTL, r.TokenTTL))
	if r.TokenTTL < time.Second || r.TokenMaxTTL < r.TokenTTL || r.SecretIDTTL < 0 {
		return fmt.Errorf("vault: role %s: token TTL %s and maximum %s: the first is at least 1s, the second not less", r.Role, r.TokenTTL, r.TokenMaxTTL)
	}
	var problems []error
	for _, name := range r.Keys {
		key := d.key(name)
		switch {
		case key == nil:
			problems = append(problems, fmt.Errorf("vault: role %s: key %q is not among the keys", r.Role, name))
		case key.Decrypts && r.signs():
			problems = append(problems, fmt.Errorf("vault: role %s: key %q decrypts, it does not sign", r.Role, name))
		case key.Pseudonyms && r.Role != Notary:
			problems = append(problems, fmt.Errorf("vault: role %s: key %q is for pseudonyms, which are the notary's", r.Role, name))
		}
	}
	return errors.Join(problems...)
}

func (r *DesiredRole) signs() bool {
	return r.Role == Issuer || r.Role == Notary || r.Role == Publisher
}

func (d *Desired) key(name string) *DesiredKey {
	for i := range d.Keys {
		if d.Keys[i].Name == name {
			return &d.Keys[i]
		}
	}
	return nil
}
