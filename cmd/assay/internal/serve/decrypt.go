package serve

import (
	"context"
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/decrypter"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// newEncryption makes the ring of the keys that tokens are encrypted to; nil where there is none.
func newEncryption(c *config.Config, reader vaultkeys.Reader, d Deps) (*vaultkeys.EncryptionRing, error) {
	names := c.KeyNamesOf(true)
	if len(names) == 0 {
		return nil, nil
	}
	ring := vaultkeys.Config{Reader: reader, MaxStale: c.Vault.MaxStale.D(), Now: d.Now}
	for _, name := range names {
		ring.Keys = append(ring.Keys, vaultkeys.KeyConfig{Name: name, Type: c.Vault.Keys[name].Type, Periods: c.Periods(name)})
	}
	return vaultkeys.NewEncryption(ring)
}

// newDecrypter opens encrypted tokens with the decider's login; nil where no key decrypts.
func newDecrypter(a *App) (token.Decrypter, error) {
	if a.vault == nil || a.vault.encryption == nil {
		return nil, nil
	}
	opened := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "assay_decryptions_total",
		Help: "Encrypted tokens that were to be opened, by how that ended. Those opened before, and still cached, are not counted.",
	}, []string{"outcome"})
	if err := a.registry.Register(opened); err != nil {
		return nil, err
	}
	for _, outcome := range []string{decrypter.Opened, decrypter.Refused, decrypter.NotHeld, decrypter.Limited, decrypter.Unavailable} {
		opened.WithLabelValues(outcome) // there from the start, for alerts
	}
	return decrypter.New(decrypter.Config{
		Keys: a.vault.encryption, Vault: a.vault.decider, Now: a.now,
		MaxCalls: a.config.Limits.Decryptions, RatePerCaller: a.config.Limits.CallerDecryptions,
		Observe: func(outcome string) { opened.WithLabelValues(outcome).Inc() },
		NoVerdict: func(err error) bool {
			if errors.Is(err, transit.ErrDenied) {
				a.log.Error("Vault does not let the role decider decrypt: run assay keys setup", "cause", err.Error())
			}
			return errors.Is(err, transit.ErrUnavailable) || errors.Is(err, transit.ErrDenied)
		},
	})
}

// loadEncryption reads the encryption keys once; what cannot be read now is read later.
func (v *vault) loadEncryption(ctx context.Context) {
	if v.encryption == nil {
		return
	}
	if err := v.encryption.Load(ctx); err != nil {
		v.log.Warn("the encryption keys could not all be read from Vault", "cause", err.Error())
	}
}

// runEncryption keeps the encryption keys fresh until ctx ends.
func (v *vault) runEncryption(ctx context.Context) error {
	if v.encryption == nil {
		return nil
	}
	return v.encryption.Run(ctx)
}

// encryptionCauses says what is amiss with the encryption keys, in words for an operator.
func (v *vault) encryptionCauses() []string {
	if v.encryption == nil {
		return nil
	}
	var causes []string
	for _, key := range v.encryption.Health() {
		if key.Err != nil {
			causes = append(causes, fmt.Sprintf("vault: encryption key %s could not be read: %v", key.Name, key.Err))
		}
		for _, warning := range key.Warnings {
			causes = append(causes, fmt.Sprintf("vault: encryption key %s: %s", key.Name, warning))
		}
	}
	return causes
}
