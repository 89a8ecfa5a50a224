package serve

import (
	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
)

// api makes the HTTP API of what New put together.
func (a *App) api() (*httpapi.API, error) {
	c := a.config
	hosts := httpapi.DefaultHosts(c.Listen, c.PublicNames...)
	if !c.Loopback() && len(c.PublicNames) == 0 && c.TLS.CertFile != "" {
		// Behind TLS the certificate already says whom a client means to talk to.
		hosts = []string{httpapi.Any}
	}
	wired := httpapi.Config{
		Decider: a.Decider,
		KeySet:  a.keySetDocument,
		Issuers: a.publishedIssuers(hosts),
		Health:  a.Health,

		Hosts:          hosts,
		Open:           c.Open(),
		CallerAudience: c.Callers.Audience,
		Grants:         grants(c.Callers.Grants),

		MaxBody:     int64(c.Limits.BodyBytes),
		MaxBatch:    c.Limits.BatchItems,
		MaxInFlight: c.Limits.InFlight,
		Timeout:     c.Limits.RequestTimeout.D(),

		Registry: a.registry,
		Log:      a.log, AccessLog: a.log,
		Now: a.now,
	}
	if a.refusals != nil {
		wired.Refused, wired.CallerDecider = a.refusals.refused, a.callers
	}
	if a.Issuer != nil {
		wired.Issuer = a.Issuer
	}
	if a.revocations != nil {
		if err := revocationRoutes(&wired, c, a.revocations.stream, a.examiner, a.changes, a.now); err != nil {
			return nil, err
		}
	}
	return httpapi.New(wired)
}

func grants(configured []config.Grant) []httpapi.Grant {
	list := make([]httpapi.Grant, 0, len(configured))
	for _, g := range configured {
		grant := httpapi.Grant{
			Caller: g.Certificate, Method: "mtls", Audiences: g.Decide.Audiences, Purposes: g.Decide.Purposes,
			Revoke: httpapi.RevokeGrant{Read: g.Revoke.Read, Write: g.Revoke.Write, Lift: g.Revoke.Lift, Issuers: g.Revoke.Issuers},
		}
		if g.Certificate == "" {
			grant.Caller, grant.Method = g.Issuer+" "+g.Subject, "bearer"
		}
		for _, issue := range g.Issue {
			kinds := make([]pdp.TokenType, 0, len(issue.TokenTypes))
			for _, kind := range issue.TokenTypes {
				kinds = append(kinds, pdp.TokenType(kind))
			}
			grant.Issue = append(grant.Issue, httpapi.IssueGrant{
				TokenTypes: kinds, Issuers: issue.Issuers, Audiences: issue.Audiences, Subjects: issue.Subjects,
				Clients: issue.Clients, Scopes: issue.Scopes, Claims: issue.Claims, MaxLifetime: issue.MaxLifetime.D(),
				Keys: []string{httpapi.Any},
			})
		}
		list = append(list, grant)
	}
	return list
}

// server makes the server of the API, with the TLS files of the configuration.
func (a *App) server(api *httpapi.API) (*httpapi.Server, error) {
	c := a.config
	s := httpapi.ServerConfig{API: api, ShutdownTimeout: c.Limits.ShutdownTimeout.D(), Log: a.log}
	if c.TLS.CertFile != "" {
		s.TLS = &httpapi.TLSFiles{Certificate: c.TLS.CertFile, Key: c.TLS.KeyFile, ClientCAs: c.TLS.ClientCAFile}
	}
	return httpapi.NewServer(s)
}
