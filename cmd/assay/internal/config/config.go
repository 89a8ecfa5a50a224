// Package config reads the one configuration file.
//
// Every key is optional, every unknown key is an error, and all problems of a file are reported
// together, each with its line: somebody who mends a file wants to see everything that is wrong with it.
// Reading has three passes over one parsed document: unknown keys (by the shape of Config), decoding,
// and the rules that tie values to each other. Relative paths in the file are relative to the file, so
// that it means the same from wherever it is started.
//
// A secret is never a value in this file, only the path of a file that holds it.
package config

import "time"

// Config is the configuration file. The zero value of each field means its default, which Defaults states.
type Config struct {
	// Listen is the address to serve on, host:port; default 127.0.0.1:8080. Beyond loopback TLS and the
	// authentication of callers are demanded.
	Listen string `yaml:"listen"`
	// PublicNames are the host names, without port, under which callers reach Assay, beside the listen
	// address and localhost. A request for another Host is refused.
	PublicNames []string `yaml:"public_names"`
	// TLS, where given, serves HTTPS.
	TLS TLS `yaml:"tls"`
	// InsecurePlaintext allows to listen beyond loopback without TLS.
	InsecurePlaintext bool `yaml:"insecure_plaintext"`
	// InsecureNoAuth allows to listen beyond loopback without authenticating who asks /decide.
	InsecureNoAuth bool `yaml:"insecure_no_auth"`
	// Leeway is the clock skew forgiven at exp and nbf; whole seconds, default 30s, at most 5m.
	Leeway Duration `yaml:"leeway"`
	// Issuers are the token issuers that are trusted; default none, so that every token is denied.
	Issuers []Issuer `yaml:"issuers"`
	Policy  Policy   `yaml:"policy"`
	Vault   Vault    `yaml:"vault"`
	Callers Callers  `yaml:"callers"`
	// Revocation says where what is revoked is kept; default nowhere.
	Revocation Revocation `yaml:"revocation"`
	// Audit says where decisions and changes are written down; default nowhere.
	Audit  Audit  `yaml:"audit"`
	Events Events `yaml:"events"`
	Limits Limits `yaml:"limits"`
	// LogLevel is debug, info, warn or error; default info.
	LogLevel string `yaml:"log_level"`

	// Path is the file that this was read from; empty for the built-in defaults.
	Path string `yaml:"-"`
}

// TLS names the files of the server's certificate. They are read again when they change.
type TLS struct {
	// CertFile and KeyFile are PEM files; both or neither.
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
	// ClientCAFile is a PEM file of the authorities whose client certificates identify callers (mTLS).
	ClientCAFile string `yaml:"client_ca_file"`
}

// Issuer is one trusted token issuer.
type Issuer struct {
	// Issuer is compared with "iss" exactly.
	Issuer string `yaml:"issuer"`
	// Keys says where its public keys are read from; exactly one member.
	Keys Keys `yaml:"keys"`
	// Algorithms allowed; default: what the policy configuration allows.
	Algorithms []string `yaml:"algorithms"`
	// HardMaxLifetime is the floor's own limit, whole seconds; default 24h.
	HardMaxLifetime Duration `yaml:"hard_max_lifetime"`
	// MaxStale is how long its keys are believed after they were last read; default 24h. Not for files.
	MaxStale Duration `yaml:"max_stale"`
	// Refresh is how often a remote key set is read again where its answer does not say; default 10m.
	Refresh Duration `yaml:"refresh"`
	// EncryptTo names, by audience, the key of vault.keys with use enc to which this issuer's tokens for that
	// audience are encrypted; default: none, they are only signed. Only where its own keys are in Vault.
	EncryptTo map[string]string `yaml:"encrypt_to"`
}

// Keys is the source of an issuer's public keys.
type Keys struct {
	// File is a JWKS file; it is read again when it changes.
	File string `yaml:"file"`
	// URL is a JWKS URL: https, or http to a loopback address.
	URL string `yaml:"url"`
	// Discovery finds the JWKS URL by OpenID Connect discovery from the issuer's own URL.
	Discovery bool `yaml:"discovery"`
	// Vault names keys of vault.keys: one, or a list. All verify. A token is signed with the first that signs for
	// its audience and was made publish_ahead ago; so that an issuer moves to another key or algorithm by naming
	// the new one before the old.
	Vault VaultKeys `yaml:"vault"`
	// CAFile is a PEM file of authorities for the URL's server; default: the system's.
	CAFile string `yaml:"ca_file"`
}

// Policy says which policy is in force.
type Policy struct {
	// Bundle is where the organisation's own rules come from: a directory, an archive (.tar.gz) or a URL, or a
	// list of such with names; default none: the embedded library alone.
	Bundle Bundles `yaml:"bundle"`
	// Verify says who may sign bundles.
	Verify Verify `yaml:"verify"`
	// ReplaceLibrary lets the bundles take the place of the embedded library; they must define
	// data.assay.decision. Without it they may add rules (assay.rules) and configuration (assay.config) only.
	ReplaceLibrary bool `yaml:"replace_library"`
	// RunTests has a bundle's own tests pass before it is put in force.
	RunTests bool `yaml:"run_tests"`
	// StateDir keeps the last good bundles, for a start without their sources, and the highest sequence that was
	// ever in force, below which a bundle is refused. One server owns it. Default none.
	StateDir string `yaml:"state_dir"`
	// MaxBundleBytes is the largest archive, packed; default 16777216.
	MaxBundleBytes int `yaml:"max_bundle_bytes"`
	// Shadow is a candidate that is evaluated beside the policy in force.
	Shadow Shadow `yaml:"shadow"`
	// Config is a YAML or JSON file that becomes data.assay.config, laid over the defaults.
	Config string `yaml:"config"`
	// Timeout is how long one evaluation may take before it is a deny; default 1s.
	Timeout Duration `yaml:"timeout"`
}

// Vault says where the signing keys live.
type Vault struct {
	// Address is Vault's URL; default VAULT_ADDR.
	Address string `yaml:"address"`
	// Namespace, for Vault Enterprise and OpenBao; default VAULT_NAMESPACE.
	Namespace string `yaml:"namespace"`
	// CAFile is a PEM file of authorities for Vault's certificate; default VAULT_CACERT, else the system's.
	CAFile string `yaml:"ca_file"`
	// Mount is the path of the transit engine; default transit.
	Mount string `yaml:"mount"`
	// MaxStale is how long keys are believed after Vault was last reached; default 24h.
	MaxStale Duration `yaml:"max_stale"`
	// Poll is how often keys are read; default 10s.
	Poll Duration `yaml:"poll"`
	// Roles are the logins that this process has.
	Roles Roles `yaml:"roles"`
	// Keys are the signing keys by their transit name.
	Keys map[string]SigningKey `yaml:"keys"`
	// Custodian looks after the keys.
	Custodian Custodian `yaml:"custodian"`
	// JWKSMaxAge is how long a verifier may cache the published keys; default 5m.
	JWKSMaxAge Duration `yaml:"jwks_max_age"`
	// ClockSkew is the most that any two clocks differ: Vault, replicas, verifiers; default 30s.
	ClockSkew Duration `yaml:"clock_skew"`
}

// Roles are the Vault logins of a process; a role that is not given cannot be used.
type Roles struct {
	// Decider reads public keys.
	Decider *Role `yaml:"decider"`
	// Issuer signs tokens.
	Issuer *Role `yaml:"issuer"`
	// Custodian creates, rotates, retires and destroys key versions.
	Custodian *Role `yaml:"custodian"`
	// Notary signs the checkpoints of the audit log.
	Notary *Role `yaml:"notary"`
	// Publisher signs policy bundles.
	Publisher *Role `yaml:"publisher"`
}

// Role is one Vault login.
type Role struct {
	Auth Auth `yaml:"auth"`
}

// Auth is a way to log in to Vault; exactly one member.
type Auth struct {
	// TokenFile holds a Vault token that somebody else renews or replaces.
	TokenFile  string          `yaml:"token_file"`
	AppRole    *AppRole        `yaml:"approle"`
	Kubernetes *KubernetesAuth `yaml:"kubernetes"`
}

// AppRole logs in with a role id and a secret id, each read from a file.
type AppRole struct {
	RoleIDFile   string `yaml:"role_id_file"`
	SecretIDFile string `yaml:"secret_id_file"`
	// Mount is where the auth method is; default approle.
	Mount string `yaml:"mount"`
}

// KubernetesAuth logs in with the pod's service account token.
type KubernetesAuth struct {
	Role string `yaml:"role"`
	// TokenFile is the projected token; default /var/run/secrets/kubernetes.io/serviceaccount/token.
	TokenFile string `yaml:"token_file"`
	// Mount is where the auth method is; default kubernetes.
	Mount string `yaml:"mount"`
}

// SigningKey is a transit key and its periods.
type SigningKey struct {
	// Use is sig, the key signs tokens; enc, tokens are encrypted to it and decrypted with it; bundle, the role
	// publisher signs policy bundles with it; checkpoint, the role notary signs those of the audit log; or pseudonym,
	// the role notary has the keys of the audit log's pseudonyms from it. Default sig. A key has one use; those of the
	// last three are not published, not rotated by the custodian, and have no periods of this section.
	Use string `yaml:"use"`
	// Type is ecdsa-p256, ecdsa-p384, ecdsa-p521, ed25519, rsa-2048, rsa-3072 or rsa-4096; default ecdsa-p256.
	// With use enc it is of an RSA type; default rsa-3072. With use checkpoint it is ed25519, with use pseudonym
	// aes256-gcm96, which Vault itself rotates.
	Type string `yaml:"type"`
	// Algorithm is the JWS "alg" to sign with; default: the one that the type has, RS256 for RSA.
	Algorithm string `yaml:"algorithm"`
	// RotateEvery is how long a version signs; default 720h.
	RotateEvery Duration `yaml:"rotate_every"`
	// PublishAhead is how long a version is published before it signs; default 1h.
	PublishAhead Duration `yaml:"publish_ahead"`
	// MaxTokenLifetime is the longest that a token signed with it, or encrypted to it, may live; default 1h.
	MaxTokenLifetime Duration `yaml:"max_token_lifetime"`
	// Audiences limits what the key signs to tokens for these audiences alone; default: any.
	Audiences []string `yaml:"audiences"`
}

// Callers says how services that call Assay are identified and what each may ask for.
type Callers struct {
	// Audience is the "aud" that a caller's bearer token must hold; without it bearer tokens are refused.
	Audience string `yaml:"audience"`
	// Required demands an identity of who asks for decisions on a loopback address too. Beyond loopback it is
	// demanded anyway.
	Required bool `yaml:"required"`
	// Grants, by identity. A caller without a grant may do nothing.
	Grants []Grant `yaml:"grants"`
}

// Grant is what one caller may ask for.
type Grant struct {
	// Certificate is the identity in a client certificate: the SPIFFE ID, else DNS name, else common name.
	Certificate string `yaml:"certificate"`
	// Issuer and Subject identify the holder of a bearer token; both, or Certificate.
	Issuer  string `yaml:"issuer"`
	Subject string `yaml:"subject"`

	// Decide is what it may ask decisions about.
	Decide DecideGrant `yaml:"decide"`
	// Issue lists what tokens it may have issued; an order must be covered by one of them alone.
	Issue []IssueGrant `yaml:"issue"`
	// Revoke is what it may revoke, lift and list.
	Revoke RevokeGrant `yaml:"revoke"`
}

// DecideGrant lists what a caller may ask /decide about; "*" stands for any. A caller with exactly one
// audience may leave it out of its requests.
type DecideGrant struct {
	Audiences []string `yaml:"audiences"`
	Purposes  []string `yaml:"purposes"`
}

// IssueGrant lists what tokens a caller may have issued; "*" stands for any, an empty list for none. What
// an order leaves out is filled in where exactly one value is granted.
type IssueGrant struct {
	// TokenTypes are access_token (the default) and jwt.
	TokenTypes []string `yaml:"token_types"`
	Issuers    []string `yaml:"issuers"`
	Audiences  []string `yaml:"audiences"`
	Subjects   []string `yaml:"subjects"`
	Clients    []string `yaml:"clients"`
	Scopes     []string `yaml:"scopes"`
	// Claims names further claims that the token may carry.
	Claims []string `yaml:"claims"`
	// MaxLifetime, whole seconds; default: what the key and the policy allow.
	MaxLifetime Duration `yaml:"max_lifetime"`
}

// Limits bound what one request may cost.
type Limits struct {
	// TokenBytes is the largest token, in bytes; default 16384. A larger one is denied, not an error.
	TokenBytes int `yaml:"token_bytes"`
	// BodyBytes is the largest request body, in bytes; default 1048576. A larger one is answered 413.
	BodyBytes int `yaml:"body_bytes"`
	// BatchItems is the longest batch; default 100.
	BatchItems int `yaml:"batch_items"`
	// InFlight is how many requests are worked on at once; default 1024. More are answered 503.
	InFlight int `yaml:"in_flight"`
	// RequestTimeout is how long one request may take; default 5s. Then it is answered 503.
	RequestTimeout Duration `yaml:"request_timeout"`
	// TokenCacheBytes bounds the memory of verified tokens; default 67108864; -1 switches the cache off.
	TokenCacheBytes int `yaml:"token_cache_bytes"`
	// Decryptions is how many encrypted tokens Vault is asked to open at once; default 8.
	Decryptions int `yaml:"decryptions"`
	// CallerDecryptions is how many new encrypted tokens a second are opened for one caller; default 100. More
	// are answered 503. Tokens that were opened before do not count.
	CallerDecryptions int `yaml:"caller_decryptions"`
	// ShutdownTimeout is how long accepted requests may take to finish; default 30s.
	ShutdownTimeout Duration `yaml:"shutdown_timeout"`
}

// Defaults is the configuration of a file that says nothing.
func Defaults() *Config {
	c := unfilled()
	c.fill()
	return c
}

// unfilled holds the defaults that a file's values are decoded over; fill sets those that depend on what the file says.
func unfilled() *Config {
	return &Config{
		Listen:   "127.0.0.1:8080",
		Leeway:   Duration(30 * time.Second),
		LogLevel: "info",
		Policy:   Policy{Timeout: Duration(time.Second), MaxBundleBytes: 16 << 20, Shadow: Shadow{Share: 0.1}},
		Vault: Vault{
			Mount:      "transit",
			MaxStale:   Duration(24 * time.Hour),
			Poll:       Duration(10 * time.Second),
			JWKSMaxAge: Duration(5 * time.Minute),
			ClockSkew:  Duration(30 * time.Second),
			Custodian:  Custodian{TrimAfter: Duration(720 * time.Hour)},
		},
		Events: Events{MaxAge: Duration(time.Hour)},
		Limits: Limits{
			TokenBytes:      16 << 10,
			BodyBytes:       1 << 20,
			BatchItems:      100,
			InFlight:        1024,
			RequestTimeout:  Duration(5 * time.Second),
			TokenCacheBytes: 64 << 20,
			Decryptions:     8, CallerDecryptions: 100,
			ShutdownTimeout: Duration(30 * time.Second),
		},
	}
}

// fill sets the defaults that belong to list and map elements, or that depend on other values.
func (c *Config) fill() {
	c.Revocation.fill()
	c.fillAudit()
	c.fillEvents()
	c.Policy.Bundle.fill()
	c.Policy.Shadow.Bundle.fill()
	c.Policy.Verify.fill()
	for i := range c.Issuers {
		issuer := &c.Issuers[i]
		setDefault(&issuer.HardMaxLifetime, 24*time.Hour)
		setDefault(&issuer.MaxStale, 24*time.Hour)
		setDefault(&issuer.Refresh, 10*time.Minute)
	}
	for name, key := range c.Vault.Keys {
		key.fillUse()
		setDefault(&key.RotateEvery, 720*time.Hour)
		setDefault(&key.PublishAhead, time.Hour)
		setDefault(&key.MaxTokenLifetime, time.Hour)
		c.Vault.Keys[name] = key
	}
	for _, given := range c.Vault.Roles.Given() {
		role := given.Role
		if a := role.Auth.AppRole; a != nil && a.Mount == "" {
			a.Mount = "approle"
		}
		if k := role.Auth.Kubernetes; k != nil {
			if k.Mount == "" {
				k.Mount = "kubernetes"
			}
			if k.TokenFile == "" {
				k.TokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
			}
		}
	}
}

func setDefault(d *Duration, value time.Duration) {
	if *d == 0 {
		*d = Duration(value)
	}
}

// Duration is a time.Duration that is written as "1h30m".
type Duration time.Duration

// D is the duration as the time package knows it.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String writes it as time.Duration does.
func (d Duration) String() string { return time.Duration(d).String() }
