package config

import (
	"fmt"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp/httpapi"
)

// RevokeGrant lists what a caller may do about revocations; "*" stands for any. A bearer token must also carry the
// scope of what it does: revocations:read, revocations:write:KIND or revocations:lift:KIND.
type RevokeGrant struct {
	// Read lets it list the entries of its issuers.
	Read bool `yaml:"read"`
	// Write are the kinds that it may revoke: token, subject, client, session, key, issuer; and own, for tokens
	// that were issued to itself.
	Write []string `yaml:"write"`
	// Lift are the kinds whose entries it may remove before they end.
	Lift []string `yaml:"lift"`
	// Issuers are those whose tokens are concerned.
	Issuers []string `yaml:"issuers"`
}

// Events says whose security event tokens are received at POST /events (OpenID Shared Signals).
type Events struct {
	// Audience is the "aud" that they must hold: what this receiver is called in the stream's configuration.
	Audience string `yaml:"audience"`
	// MaxAge is how long ago one may have been issued; whole seconds, default 1h.
	MaxAge Duration `yaml:"max_age"`
	// Transmitters are those who are believed; default none, and then there is no POST /events.
	Transmitters []Transmitter `yaml:"transmitters"`
}

// Transmitter is who sends security event tokens.
type Transmitter struct {
	// Issuer is their "iss". It is one of issuers, which says where its keys are.
	Issuer string `yaml:"issuer"`
	// SpeaksFor are the token issuers, of issuers, for whose subjects it speaks; default: itself.
	SpeaksFor []string `yaml:"speaks_for"`
	// AuthorizationFile holds the value of the Authorization field that its deliveries must bring, such as
	// "Bearer …"; default: none is needed, the signature speaks for itself.
	AuthorizationFile string `yaml:"authorization_file"`
	// Opaque and Email say what a subject identifier of that format names: subject (the sub) or session (the
	// sid). Default: such a token is refused. They name no issuer, so speaks_for must then be one.
	Opaque string `yaml:"opaque"`
	Email  string `yaml:"email"`
}

func (d *document) checkRevoke(key string, g RevokeGrant) {
	kinds := append(httpapi.Kinds(), httpapi.Any)
	for _, kind := range g.Lift {
		if !slices.Contains(kinds, kind) {
			d.at(key+".lift", "%q is no kind of revocation; choose from %s", kind, strings.Join(kinds, ", "))
		}
	}
	kinds = append(kinds, httpapi.OwnTokens)
	for _, kind := range g.Write {
		if !slices.Contains(kinds, kind) {
			d.at(key+".write", "%q is no kind of revocation; choose from %s", kind, strings.Join(kinds, ", "))
		}
	}
	onlyOwn := !g.Read && len(g.Lift) == 0 && !slices.ContainsFunc(g.Write, func(kind string) bool { return kind != httpapi.OwnTokens })
	if len(g.Issuers) == 0 && !onlyOwn {
		d.at(key, `issuers is missing: whose tokens are concerned; "*" for all`)
	}
}

func (d *document) checkEvents(c *Config) {
	e := &c.Events
	d.wholeSeconds("events.max_age", e.MaxAge)
	if len(e.Transmitters) > 0 && e.Audience == "" {
		d.at("events", `audience is missing: the "aud" of the security event tokens that are meant for this server`)
	}
	if len(e.Transmitters) > 0 && !c.Revocation.Configured() {
		d.at("events", "there is nowhere to keep what they ask for: give revocation.jetstream too")
	}
	known := make(map[string]bool, len(c.Issuers))
	for i := range c.Issuers {
		known[c.Issuers[i].Issuer] = true
	}
	seen := make(map[string]bool, len(e.Transmitters))
	for i, t := range e.Transmitters {
		key := fmt.Sprintf("events.transmitters[%d]", i)
		switch {
		case !known[t.Issuer]:
			d.at(key+".issuer", "%q is not one of issuers, which say where the keys of its signatures are", t.Issuer)
		case seen[t.Issuer]:
			d.at(key+".issuer", "%s is configured twice", t.Issuer)
		}
		seen[t.Issuer] = true
		for _, issuer := range t.SpeaksFor {
			if !known[issuer] {
				d.at(key+".speaks_for", "%q is not one of issuers; there are no tokens of it to revoke", issuer)
			}
		}
		d.file(key+".authorization_file", t.AuthorizationFile)
		for name, names := range map[string]string{"opaque": t.Opaque, "email": t.Email} {
			if names != "" && names != httpapi.KindSubject && names != httpapi.KindSession {
				d.at(key+"."+name, "%q: an identifier of this format can name a subject or a session", names)
			}
			if names != "" && len(t.SpeaksFor) != 1 {
				d.at(key+"."+name, "names no issuer, and the transmitter speaks for %d: give speaks_for exactly one", len(t.SpeaksFor))
			}
		}
	}
}

// fillEvents sets the defaults of transmitters.
func (c *Config) fillEvents() {
	for i := range c.Events.Transmitters {
		if t := &c.Events.Transmitters[i]; len(t.SpeaksFor) == 0 {
			t.SpeaksFor = []string{t.Issuer}
		}
	}
}
