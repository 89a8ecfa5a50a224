package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/keyset"
)

// newKeySet makes the key sets of all issuers.
func newKeySet(c *config.Config, v *vault, m *metrics, d Deps) (*keyset.Set, error) {
	set := keyset.Config{Now: d.Now, OnLoad: func(e keyset.LoadEvent) {
		m.keySetLoaded(e)
		switch {
		case e.Err != nil:
			d.Log.Warn("the keys of an issuer could not be read", "issuer", e.Issuer, "trigger", string(e.Trigger), "cause", e.Err.Error())
		case e.Changed:
			d.Log.Info("the keys of an issuer are now others", "issuer", e.Issuer, "trigger", string(e.Trigger), "keys", e.Keys, "skipped", e.Skipped)
		}
	}}
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		source, err := newSource(issuer, v)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", issuer.Issuer, err)
		}
		maxStale := issuer.MaxStale.D()
		if len(issuer.Keys.Vault) > 0 {
			maxStale = c.Vault.MaxStale.D()
		}
		set.Issuers = append(set.Issuers, keyset.IssuerConfig{
			Issuer: pdp.Issuer{ID: issuer.Issuer, Algorithms: issuer.Algorithms, HardMaxLifetime: issuer.HardMaxLifetime.D()},
			Source: source, MaxStale: maxStale,
		})
	}
	return keyset.New(set)
}

func newSource(issuer *config.Issuer, v *vault) (keyset.Source, error) {
	switch {
	case issuer.Keys.File != "":
		return keyset.File(issuer.Keys.File, 0)
	case len(issuer.Keys.Vault) > 0:
		names := issuer.Keys.Vault
		return keyset.Func("Vault key "+strings.Join(names, ", "), func(context.Context) (keyset.Loaded, error) {
			return v.verificationKeys(names)
		}, time.Second, v.keyring.Subscribe()) // one each: news is taken by whoever comes first
	}
	remote := keyset.HTTPConfig{
		Refresh: issuer.Refresh.D(), MinRefresh: min(issuer.Refresh.D(), time.Minute), MaxRefresh: max(issuer.Refresh.D(), time.Hour),
	}
	if issuer.Keys.CAFile != "" {
		transport, err := privateTransport(issuer.Keys.CAFile)
		if err != nil {
			return nil, err
		}
		remote.Transport = transport
	}
	if issuer.Keys.URL != "" {
		return keyset.URL(issuer.Keys.URL, remote)
	}
	return keyset.Discovery(issuer.Issuer, remote)
}

// privateTransport trusts the authorities of one file, and no others.
func privateTransport(path string) (http.RoundTripper, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate in PEM", path)
	}
	return &http.Transport{
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ResponseHeaderTimeout:  5 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        time.Minute,
		ForceAttemptHTTP2:      true,
	}, nil
}
