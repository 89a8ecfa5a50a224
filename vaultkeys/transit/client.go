// Package transit is the client of HashiCorp Vault's transit engine (and of OpenBao's): it reads public
// keys, signs, decrypts and provisions. It is the only importer of Vault's API; nothing of that API's
// types leaves it, and no private key ever enters it.
//
// One Client is one login of one role. It logs in on first use and keeps itself logged in while Run runs:
// the token is renewed, and when renewal ends (maximum lifetime, a token that cannot be renewed) or Vault
// no longer knows the token, it logs in anew with credentials read afresh, so that a process lives for
// months and credentials may be exchanged under it. However many requests meet a dead token, one login
// serves them all.
//
// No request is retried behind the caller's back: signing and rotating are not free to repeat, and Vault
// answers a bad ciphertext with a 500 that must not be tried three times. Instead every request has its
// own time limit, and a circuit breaker fails requests at once while Vault is down, slow or sealed; one
// request every BreakerOpen tries whether it is back, Run's own where nobody else makes one. Such failures are an UnavailableError, which says
// when to ask again.
//
// The environment is not read: what a Client uses is in its Config. (Vault's API package parses VAULT_…
// variables when a client is made; what it finds there is overwritten.)
package transit

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/hashicorp/vault/api"
	"github.com/sony/gobreaker/v2"
)

// Defaults of Config.
const (
	DefaultMount           = "transit"
	DefaultTimeout         = 5 * time.Second
	DefaultBreakerFailures = 3
	DefaultBreakerOpen     = 2 * time.Second
	DefaultLoginBackoff    = 250 * time.Millisecond
	DefaultMaxLoginBackoff = 15 * time.Second
	DefaultTokenFilePoll   = 5 * time.Second
)

// Config says where Vault is and who we are.
type Config struct {
	// Address is Vault's URL; required. Plain http is taken as given: refusing it is the caller's policy.
	Address string
	// Namespace of Vault Enterprise or OpenBao; empty: none.
	Namespace string
	// Mount is the path of the transit engine, without slashes at the ends; default DefaultMount.
	Mount string
	// Auth is how to log in; required.
	Auth Auth

	// CACert is a PEM file with the authorities that may have signed Vault's certificate; default: the system's.
	CACert string
	// ClientCert and ClientKey are PEM files for TLS client authentication; both or neither.
	ClientCert, ClientKey string
	// ServerName overrides the name that Vault's certificate must carry.
	ServerName string
	// Proxy chooses an HTTP proxy, as in http.Transport; nil: none.
	Proxy func(*http.Request) (*url.URL, error)

	// Timeout bounds each request to Vault; default DefaultTimeout. A caller's context may be shorter. Requests that make a
	// key may take a minute.
	Timeout time.Duration
	// BreakerFailures in a row open the breaker; default DefaultBreakerFailures.
	BreakerFailures uint32
	// BreakerOpen is how long requests then fail at once, until one is let through; default DefaultBreakerOpen.
	BreakerOpen time.Duration
	// LoginBackoff is the pause after a failed login, doubling up to MaxLoginBackoff; defaults as above.
	LoginBackoff, MaxLoginBackoff time.Duration
	// TokenFilePoll is how often a token file is looked at for a new token; default DefaultTokenFilePoll.
	TokenFilePoll time.Duration

	// Logger gets logins and their failures; nil: none.
	Logger *slog.Logger
	// Observe is told of every request, once it has ended; nil: nobody is. It must be fast and safe for
	// concurrent use. Operation is one of a few constant words ("sign", "read_key", "login", …).
	Observe func(operation string, took time.Duration, err error)
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Client talks to Vault as one role. It is safe for concurrent use.
type Client struct {
	c       Config
	http    *http.Client
	breaker *gobreaker.CircuitBreaker[*api.Secret]

	mu        sync.Mutex    // guards all that follows
	current   *session      // nil before the first login
	pending   *loginCall    // the login under way; nil if none
	changed   chan struct{} // closed, and replaced, when current changes
	failures  int           // logins failed in a row
	churn     int           // logins in a row that were forced soon after the one before
	notBefore time.Time     // no login before this
	lastErr   error         // why the last login failed; nil after one that succeeded
}

// New checks the configuration. It does not talk to Vault.
func New(c Config) (*Client, error) {
	if c.Address == "" || c.Auth == nil {
		return nil, errors.New("vault: Address and Auth are required")
	}
	setDefaults(&c)
	if err := checkMount(c.Mount); err != nil {
		return nil, err
	}
	if err := c.Auth.check(); err != nil {
		return nil, err
	}
	connections, err := newHTTP(&c)
	if err != nil {
		return nil, err
	}
	client := &Client{c: c, http: connections, changed: make(chan struct{})}
	if _, err := client.newAPI(""); err != nil {
		return nil, err
	}
	client.breaker = gobreaker.NewCircuitBreaker[*api.Secret](gobreaker.Settings{
		Timeout:      c.BreakerOpen,
		ReadyToTrip:  func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= c.BreakerFailures },
		IsSuccessful: func(err error) bool { return !errors.Is(err, ErrUnavailable) },
		IsExcluded:   isCallersOwn,
		OnStateChange: func(_ string, from, to gobreaker.State) {
			c.Logger.Warn("Vault circuit breaker", "from", from.String(), "to", to.String(), "address", c.Address)
		},
	})
	return client, nil
}

func setDefaults(c *Config) {
	def(&c.Mount, DefaultMount)
	def(&c.Timeout, DefaultTimeout)
	def(&c.BreakerFailures, DefaultBreakerFailures)
	def(&c.BreakerOpen, DefaultBreakerOpen)
	def(&c.LoginBackoff, DefaultLoginBackoff)
	def(&c.MaxLoginBackoff, DefaultMaxLoginBackoff)
	def(&c.TokenFilePoll, DefaultTokenFilePoll)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(string, time.Duration, error) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// newHTTP makes the connections that all sessions share.
func newHTTP(c *Config) (*http.Client, error) {
	transport := cleanhttp.DefaultPooledTransport()
	transport.Proxy = c.Proxy
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12} // ConfigureTLS drops what it is told without one
	transport.MaxIdleConnsPerHost = 64                                    // the signers of one process share one Vault
	config := &api.Config{HttpClient: &http.Client{Transport: transport, CheckRedirect: lastResponse}}
	err := config.ConfigureTLS(&api.TLSConfig{CACert: c.CACert, ClientCert: c.ClientCert, ClientKey: c.ClientKey, TLSServerName: c.ServerName})
	if err != nil {
		return nil, fmt.Errorf("vault: configuring TLS: %w", err)
	}
	return config.HttpClient, nil
}

// newAPI makes a client of Vault's with exactly our settings (no retries, no environment) and a token, or
// none where it is empty. (Vault's own Clone would read the environment once more.)
func (c *Client) newAPI(token string) (*api.Client, error) {
	client, err := api.NewClient(&api.Config{Address: c.c.Address, HttpClient: c.http, Timeout: max(c.c.Timeout, keyTimeout), MaxRetries: 0})
	if err != nil {
		return nil, fmt.Errorf("vault: address %q: %w", c.c.Address, err)
	}
	headers := http.Header{api.RequestHeaderName: {"true"}}
	if c.c.Namespace != "" {
		headers.Set(api.NamespaceHeaderName, c.c.Namespace)
	}
	client.SetHeaders(headers)
	client.SetToken(token)
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	return client, nil
}

// lastResponse leaves redirects (a standby names the active node) to Vault's client, which follows one.
func lastResponse(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
