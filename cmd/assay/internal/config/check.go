package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// check finds what is wrong with values that are well-formed each for itself.
func (d *document) check(c *Config) {
	d.checkListen(c)
	d.checkLimits(c)
	seen := make(map[string]bool)
	for i := range c.Issuers {
		d.checkIssuer(c, i, seen)
	}
	d.checkVault(c)
	d.checkCallers(c)
	d.checkRevocation(&c.Revocation)
	d.checkAudit(c)
	d.checkEvents(c)
	d.file("policy.config", c.Policy.Config)
	d.checkBundles(&c.Policy)
	if c.Policy.Timeout <= 0 {
		d.at("policy.timeout", "must be longer than zero")
	}
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.LogLevel) {
		d.at("log_level", "%q: choose debug, info, warn or error", c.LogLevel)
	}
}

func (d *document) checkListen(c *Config) {
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		d.at("tls", "cert_file and key_file go together: give both or neither")
	}
	if c.TLS.ClientCAFile != "" && c.TLS.CertFile == "" {
		d.at("tls.client_ca_file", "client certificates need TLS: give cert_file and key_file too")
	}
	d.file("tls.cert_file", c.TLS.CertFile)
	d.file("tls.key_file", c.TLS.KeyFile)
	d.file("tls.client_ca_file", c.TLS.ClientCAFile)
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		d.at("listen", "%q is no host:port, such as 127.0.0.1:8080", c.Listen)
		return
	}
	if c.Callers.Required && !c.AuthenticatesCallers() {
		d.at("callers.required", "nobody could ask: give callers.audience or tls.client_ca_file, and callers.grants")
	}
	if c.Callers.Required && c.InsecureNoAuth {
		d.at("insecure_no_auth", "contradicts callers.required: true; take one of them out")
	}
	if c.Loopback() {
		return
	}
	if c.TLS.CertFile == "" && !c.InsecurePlaintext {
		d.at("listen", "%s is reachable from other machines and tokens would travel in clear: give tls.cert_file and tls.key_file, or write insecure_plaintext: true", c.Listen)
	}
	if !c.AuthenticatesCallers() && !c.InsecureNoAuth {
		d.at("listen", "%s is reachable from other machines and anybody could ask: give callers.audience or tls.client_ca_file, and callers.grants, or write insecure_no_auth: true", c.Listen)
	}
}

// Loopback tells whether only this machine can reach the listen address.
func (c *Config) Loopback() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// Open tells whether anybody who reaches the listen address may ask for decisions.
func (c *Config) Open() bool {
	return !c.Callers.Required && (c.Loopback() || c.InsecureNoAuth)
}

// AuthenticatesCallers tells whether there is a way for a caller to say who it is.
func (c *Config) AuthenticatesCallers() bool {
	return len(c.Callers.Grants) > 0 && (c.Callers.Audience != "" || c.TLS.ClientCAFile != "")
}

func (d *document) checkLimits(c *Config) {
	if l := c.Leeway.D(); l < 0 || l > 5*time.Minute || l%time.Second != 0 {
		d.at("leeway", "%s: must be whole seconds from 0s to 5m", l)
	}
	for _, limit := range []struct {
		key      string
		value    int
		from, to int
	}{
		{"token_bytes", c.Limits.TokenBytes, 256, 1 << 20},
		{"body_bytes", c.Limits.BodyBytes, 1 << 10, 64 << 20},
		{"batch_items", c.Limits.BatchItems, 1, 10_000},
		{"in_flight", c.Limits.InFlight, 1, 1 << 20},
		{"token_cache_bytes", c.Limits.TokenCacheBytes, -1, 1 << 40},
		{"decryptions", c.Limits.Decryptions, 1, 1024},
		{"caller_decryptions", c.Limits.CallerDecryptions, 1, 1 << 20},
	} {
		if limit.value < limit.from || limit.value > limit.to {
			d.at("limits."+limit.key, "%d: must be from %d to %d", limit.value, limit.from, limit.to)
		}
	}
	for key, value := range map[string]Duration{"request_timeout": c.Limits.RequestTimeout, "shutdown_timeout": c.Limits.ShutdownTimeout} {
		if value <= 0 {
			d.at("limits."+key, "must be longer than zero")
		}
	}
}

func (d *document) checkIssuer(c *Config, i int, seen map[string]bool) {
	issuer := &c.Issuers[i]
	key := fmt.Sprintf("issuers[%d]", i)
	switch {
	case issuer.Issuer == "":
		d.at(key, `issuer is missing: the exact "iss" of its tokens`)
	case strings.ContainsAny(issuer.Issuer, " \t\r\n"):
		d.at(key+".issuer", "%q holds white space; an issuer is a URL without any", issuer.Issuer)
	case seen[issuer.Issuer]:
		d.at(key+".issuer", "%s is configured twice", issuer.Issuer)
	}
	seen[issuer.Issuer] = true
	sources := 0
	for _, given := range []bool{issuer.Keys.File != "", issuer.Keys.URL != "", issuer.Keys.Discovery, len(issuer.Keys.Vault) > 0} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		d.at(key+".keys", "%d sources of keys; give exactly one of file, url, discovery: true, vault", sources)
	}
	d.file(key+".keys.file", issuer.Keys.File)
	d.file(key+".keys.ca_file", issuer.Keys.CAFile)
	if issuer.Keys.URL != "" {
		d.remote(key+".keys.url", issuer.Keys.URL)
	}
	if issuer.Keys.Discovery {
		d.remote(key+".issuer", issuer.Issuer)
	}
	d.checkVaultKeys(c, key+".keys.vault", issuer.Keys.Vault)
	d.checkEncryption(c, i)
	for _, alg := range issuer.Algorithms {
		if !slices.Contains(pdp.Algorithms(), alg) {
			d.at(key+".algorithms", "%q cannot be allowed; known: %s", alg, strings.Join(pdp.Algorithms(), " "))
		}
	}
	d.wholeSeconds(key+".hard_max_lifetime", issuer.HardMaxLifetime)
	d.wholeSeconds(key+".max_stale", issuer.MaxStale)
	d.wholeSeconds(key+".refresh", issuer.Refresh)
}

// remote demands a URL whose answer an attacker on the network cannot change.
func (d *document) remote(key, raw string) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		d.at(key, "%q is no URL", raw)
		return
	}
	if u.Scheme == "https" {
		return
	}
	address, err := netip.ParseAddr(u.Hostname())
	if u.Scheme != "http" || (u.Hostname() != "localhost" && (err != nil || !address.IsLoopback())) {
		d.at(key, "%s: must be https, or http to a loopback address: whoever can change the answer can sign tokens", raw)
	}
}

func (d *document) checkVault(c *Config) {
	for _, given := range c.Vault.Roles.Given() {
		d.checkAuth("vault.roles."+given.Name+".auth", given.Role.Auth)
	}
	d.checkCustodian(c)
	d.checkAudiences(c)
	d.file("vault.ca_file", c.Vault.CAFile)
	used := false
	for i := range c.Issuers {
		used = used || len(c.Issuers[i].Keys.Vault) > 0
	}
	if used && c.Vault.Roles.Decider == nil {
		d.at("vault.roles", "an issuer's keys are in Vault: give the role decider, which reads them")
	}
	for key, value := range map[string]Duration{"max_stale": c.Vault.MaxStale, "poll": c.Vault.Poll, "jwks_max_age": c.Vault.JWKSMaxAge, "clock_skew": c.Vault.ClockSkew} {
		d.wholeSeconds("vault."+key, value)
	}
	for name, signing := range c.Vault.Keys {
		at := "vault.keys." + name
		d.wholeSeconds(at+".rotate_every", signing.RotateEvery)
		d.wholeSeconds(at+".publish_ahead", signing.PublishAhead)
		d.wholeSeconds(at+".max_token_lifetime", signing.MaxTokenLifetime)
		d.checkKey(at, c, name)
	}
}

func (d *document) checkAuth(key string, auth Auth) {
	ways := 0
	for _, given := range []bool{auth.TokenFile != "", auth.AppRole != nil, auth.Kubernetes != nil} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		d.at(key, "%d ways to log in; give exactly one of token_file, approle, kubernetes", ways)
	}
	if a := auth.AppRole; a != nil && (a.RoleIDFile == "" || a.SecretIDFile == "") {
		d.at(key+".approle", "role_id_file and secret_id_file are needed")
	}
	if k := auth.Kubernetes; k != nil && k.Role == "" {
		d.at(key+".kubernetes", "role is needed: the name of the role in Vault's Kubernetes auth method")
	}
}

func (d *document) checkCallers(c *Config) {
	for i, g := range c.Callers.Grants {
		key := fmt.Sprintf("callers.grants[%d]", i)
		bearer := g.Issuer != "" || g.Subject != ""
		switch {
		case g.Certificate == "" && !bearer, g.Certificate != "" && bearer:
			d.at(key, "says no single identity: give certificate, or issuer and subject")
		case bearer && (g.Issuer == "" || g.Subject == ""):
			d.at(key, "a bearer token's holder is named by issuer and subject, both")
		case bearer && c.Callers.Audience == "":
			d.at("callers.audience", "is needed where a grant names a bearer token's holder: the aud that such a token must hold")
		case g.Certificate != "" && c.TLS.ClientCAFile == "":
			d.at(key+".certificate", "needs tls.client_ca_file, which says whose certificates are believed")
		}
		d.checkRevoke(key+".revoke", g.Revoke)
		for j, issue := range g.Issue {
			at := fmt.Sprintf("%s.issue[%d]", key, j)
			if issue.MaxLifetime != 0 {
				d.wholeSeconds(at+".max_lifetime", issue.MaxLifetime)
			}
			for _, kind := range issue.TokenTypes {
				if kind != string(pdp.AccessToken) && kind != string(pdp.GenericToken) && kind != "*" {
					d.at(at+".token_types", "%q cannot be issued; choose %s or %s", kind, pdp.AccessToken, pdp.GenericToken)
				}
			}
		}
	}
}

func (d *document) wholeSeconds(key string, value Duration) {
	if value.D() <= 0 || value.D()%time.Second != 0 {
		d.at(key, "%s: must be whole seconds, more than zero", value)
	}
}

// file reports a file that is named and not there, while somebody is looking.
func (d *document) file(key, path string) {
	if path == "" {
		return
	}
	if info, err := os.Stat(path); err != nil {
		d.at(key, "%v", err)
	} else if info.IsDir() {
		d.at(key, "%s is a directory; a file is needed", path)
	}
}

// resolve makes paths relative to the configuration file's folder.
func (c *Config) resolve(folder string) {
	paths := []*string{&c.TLS.CertFile, &c.TLS.KeyFile, &c.TLS.ClientCAFile, &c.Policy.Config, &c.Vault.CAFile}
	for i := range c.Issuers {
		paths = append(paths, &c.Issuers[i].Keys.File, &c.Issuers[i].Keys.CAFile)
	}
	for i := range c.Events.Transmitters {
		paths = append(paths, &c.Events.Transmitters[i].AuthorizationFile)
	}
	for _, given := range c.Vault.Roles.Given() {
		role := given.Role
		paths = append(paths, &role.Auth.TokenFile)
		if a := role.Auth.AppRole; a != nil {
			paths = append(paths, &a.RoleIDFile, &a.SecretIDFile)
		}
		if k := role.Auth.Kubernetes; k != nil {
			paths = append(paths, &k.TokenFile)
		}
	}
	paths = append(paths, c.Policy.paths()...)
	c.Policy.Verify.resolveKeys(folder)
	c.Revocation.resolve(folder)
	c.Audit.resolve(folder)
	for _, path := range paths {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(folder, *path)
		}
	}
}
