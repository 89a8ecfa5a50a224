package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/keyset"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// vault is what this process has of Vault: a login for each role that the configuration gives it, and the
// keyring that the decider's login reads.
type vault struct {
	decider *transit.Client
	issuer  *transit.Client // nil where the role is not given
	keyring *vaultkeys.Keyring
	// encryption holds the keys that tokens are encrypted to; nil where there is none.
	encryption *vaultkeys.EncryptionRing
	log        *slog.Logger
}

// newVault makes the logins and the keyring; nil where the configuration has no key in Vault.
func newVault(c *config.Config, d Deps, m *metrics) (*vault, error) {
	if c.Vault.Roles.Decider == nil || len(c.Vault.Keys) == 0 {
		return nil, nil
	}
	v := &vault{log: d.Log}
	var err error
	if v.decider, err = NewClient(c, c.Vault.Roles.Decider, d, m.vaultCalled); err != nil {
		return nil, err
	}
	if c.Vault.Roles.Issuer != nil {
		if v.issuer, err = NewClient(c, c.Vault.Roles.Issuer, d, m.vaultCalled); err != nil {
			return nil, err
		}
	}
	ring := vaultkeys.Config{Reader: v.decider, MaxStale: c.Vault.MaxStale.D(), Now: d.Now}
	for _, name := range c.KeyNamesOf(false) {
		key := c.Vault.Keys[name]
		ring.Keys = append(ring.Keys, vaultkeys.KeyConfig{Name: name, Type: key.Type, Algorithm: key.Algorithm, Periods: c.Periods(name)})
	}
	if v.keyring, err = vaultkeys.New(ring); err != nil {
		return nil, err
	}
	if v.encryption, err = newEncryption(c, v.decider, d); err != nil {
		return nil, err
	}
	return v, nil
}

// NewClient makes the login of one role. Address, namespace and CA come from the configuration, else from
// Vault's own environment variables.
func NewClient(c *config.Config, role *config.Role, d Deps, observe func(string, time.Duration, error)) (*transit.Client, error) {
	auth, err := authOf(role.Auth)
	if err != nil {
		return nil, err
	}
	return NewClientWith(c, auth, d, observe)
}

// NewClientWith is NewClient for a way to log in that is not in the configuration.
func NewClientWith(c *config.Config, auth transit.Auth, d Deps, observe func(string, time.Duration, error)) (*transit.Client, error) {
	or := func(value, variable string) string {
		if value == "" && d.Getenv != nil {
			return d.Getenv(variable)
		}
		return value
	}
	address := or(c.Vault.Address, "VAULT_ADDR")
	if address == "" {
		return nil, errors.New("where is Vault? Give vault.address in the configuration, or set VAULT_ADDR")
	}
	if !slices.ContainsFunc([]string{"https://", "http://", "unix://"}, func(scheme string) bool { return strings.HasPrefix(address, scheme) }) {
		return nil, fmt.Errorf("vault's address %q is no URL, such as https://vault.example:8200: mend vault.address in the configuration, or VAULT_ADDR", address)
	}
	return transit.New(transit.Config{
		Address: address, Namespace: or(c.Vault.Namespace, "VAULT_NAMESPACE"), CACert: or(c.Vault.CAFile, "VAULT_CACERT"),
		Mount: c.Vault.Mount, Auth: auth, Logger: d.Log, Observe: observe, Now: d.Now, Timeout: d.VaultTimeout,
	})
}

func authOf(a config.Auth) (transit.Auth, error) {
	switch {
	case a.TokenFile != "":
		return transit.TokenFile{Path: a.TokenFile}, nil
	case a.AppRole != nil:
		return transit.AppRole{Mount: a.AppRole.Mount, RoleIDFile: a.AppRole.RoleIDFile, SecretIDFile: a.AppRole.SecretIDFile}, nil
	case a.Kubernetes != nil:
		return transit.Kubernetes{Mount: a.Kubernetes.Mount, Role: a.Kubernetes.Role, TokenFile: a.Kubernetes.TokenFile}, nil
	}
	return nil, errors.New("a Vault role has no way to log in")
}

// load reads all keys once. What cannot be read now is read later, by run.
func (v *vault) load(ctx context.Context) {
	if err := v.keyring.Load(ctx); err != nil {
		v.log.Warn("the signing keys could not all be read from Vault", "cause", err.Error())
	}
	v.loadEncryption(ctx)
}

// run keeps logins and keyring fresh until ctx ends.
func (v *vault) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return v.decider.Run(ctx) })
	if v.issuer != nil {
		group.Go(func() error { return v.issuer.Run(ctx) })
	}
	group.Go(func() error { return v.keyring.Run(ctx) })
	group.Go(func() error { return v.runEncryption(ctx) })
	return group.Wait()
}

// close gives the logins back, so that Vault does not hold them until they expire.
func (v *vault) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	for _, client := range []*transit.Client{v.decider, v.issuer} {
		if client == nil {
			continue
		}
		if err := client.Close(ctx); err != nil {
			v.log.Debug("a Vault login could not be given back; it expires by itself", "cause", err.Error())
		}
	}
}

// verificationKeys is what a key set whose source is Vault has at this moment: states change by time alone.
// Of several keys those that are known count: a key that could not be read does not take the others with it.
func (v *vault) verificationKeys(names []string) (keyset.Loaded, error) {
	loaded := keyset.Loaded{Next: time.Second, Ends: map[string]time.Time{}}
	var failed []error
	for _, name := range names {
		published, err := v.keyring.Verification(name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		loaded.Keys = append(loaded.Keys, published.Keys...)
		maps.Copy(loaded.Ends, published.Ends)
		if loaded.AsOf.IsZero() || published.AsOf.Before(loaded.AsOf) {
			loaded.AsOf = published.AsOf
		}
	}
	if len(failed) == len(names) {
		return keyset.Loaded{}, errors.Join(failed...)
	}
	return loaded, nil
}

// withoutDecider says what it means for decisions that Vault does not answer.
func withoutDecider(keys []vaultkeys.KeyHealth) string {
	switch {
	case len(keys) == 0: // decisions need none of Vault's
		return ""
	case slices.ContainsFunc(keys, func(k vaultkeys.KeyHealth) bool { return k.Believed }):
		return "; decisions go on with the keys last read"
	}
	return "; no keys are known from before, so tokens signed with Vault's are denied"
}

// causes says what is amiss with Vault, in words for an operator.
func (v *vault) causes() []string {
	var causes []string
	keys := v.keyring.Health()
	for _, login := range []struct {
		role   string
		client *transit.Client
		means  string
	}{{"decider", v.decider, withoutDecider(keys)}, {"issuer", v.issuer, "; no tokens can be issued"}} {
		if login.client == nil {
			continue
		}
		switch s := login.client.Status(); {
		case !s.Reachable:
			causes = append(causes, fmt.Sprintf("vault: requests of the role %s fail%s", login.role, login.means))
		case s.Cause != "":
			causes = append(causes, fmt.Sprintf("vault: the role %s cannot log in: %s", login.role, s.Cause))
		}
	}
	for _, key := range keys {
		if key.Err != nil {
			causes = append(causes, fmt.Sprintf("vault: key %s could not be read: %v", key.Name, key.Err))
		}
		for _, warning := range key.Warnings {
			causes = append(causes, fmt.Sprintf("vault: key %s: %s", key.Name, warning))
		}
	}
	return append(causes, v.encryptionCauses()...)
}
