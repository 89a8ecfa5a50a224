package serve

import (
	"net/url"
	"slices"
	"strings"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/vaultkeys"
)

// keySetDocument is the JWKS that is published: all signature keys in Vault, then of each encryption key the
// one to encrypt to. Without any it is an empty set, which says that no token comes from here. It is not known
// while signature keys are configured and none was read: verifiers would keep a set without them.
func (a *App) keySetDocument() *httpapi.KeySetDocument {
	if a.vault == nil {
		return a.noKeys
	}
	published := a.vault.keyring.JWKS()
	if published == nil && len(a.config.KeyNamesOf(false)) > 0 {
		return nil
	}
	if a.vault.encryption != nil {
		published = vaultkeys.Join(published, a.vault.encryption.JWKS())
	}
	if published == nil {
		return nil
	}
	if last := a.document.Load(); last != nil && last.of.ETag == published.ETag {
		return &last.document
	}
	next := &document{of: published, document: httpapi.KeySetDocument{Body: published.Body, MaxAge: published.MaxAge}}
	a.document.Store(next)
	return &next.document
}

// publishedIssuers are those whose keys are in Vault and whose URL leads to this server, by its names: for
// others somebody else speaks.
func (a *App) publishedIssuers(hosts []string) []httpapi.PublishedIssuer {
	if a.vault == nil {
		return nil
	}
	var list []httpapi.PublishedIssuer
	for i := range a.config.Issuers {
		issuer := &a.config.Issuers[i]
		if len(issuer.Keys.Vault) == 0 || !servedHere(issuer.Issuer, hosts) {
			continue
		}
		names := issuer.Keys.Vault
		list = append(list, httpapi.PublishedIssuer{
			Issuer: issuer.Issuer, Name: strings.Join(names, "+"), Algorithms: algorithmsOf(a.config, names),
			KeySet: func() *httpapi.KeySetDocument {
				set, err := a.vault.keyring.JWKSOf(names...)
				if err != nil {
					return nil
				}
				return &httpapi.KeySetDocument{Body: set.Body, MaxAge: set.MaxAge}
			},
		})
	}
	return list
}

func servedHere(issuer string, hosts []string) bool {
	u, err := url.Parse(issuer)
	return err == nil && httpapi.Publishable(issuer) &&
		slices.ContainsFunc(hosts, func(host string) bool { return host == httpapi.Any || strings.EqualFold(host, u.Hostname()) })
}

// algorithmsOf lists what the keys sign under, each once.
func algorithmsOf(c *config.Config, names []string) []string {
	var list []string
	for _, name := range names {
		key := c.Vault.Keys[name]
		if alg, err := vaultkeys.Algorithm(key.Type, key.Algorithm); err == nil && !slices.Contains(list, alg) {
			list = append(list, alg)
		}
	}
	return list
}
