package bundles

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/download"
	"github.com/open-policy-agent/opa/v1/logging"
	"github.com/open-policy-agent/opa/v1/plugins"
	"github.com/open-policy-agent/opa/v1/plugins/rest"
)

// HTTPConfig says how a URL is fetched. The zero value is usable.
type HTTPConfig struct {
	// Transport carries the requests, for a private CA. Default: TLS 1.2 or later with the system's roots, and
	// the proxy that the environment names.
	Transport http.RoundTripper
	// Bearer gives the token for Authorization (RFC 6750 section 2.1), anew for every request; nil: none is sent.
	Bearer func() (string, error)
	// Timeout bounds one request with its body, beside what a long poll waits; default 30 s.
	Timeout time.Duration
}

// DefaultHTTPTimeout is HTTPConfig's.
const DefaultHTTPTimeout = 30 * time.Second

// remote is a bundle behind a URL. OPA's download package asks, polls, remembers the ETag and waits longer from
// failure to failure. It would read what it gets with OPA's own reader, which checks less than Read does; so Read
// takes the archive out of the response, inside the transport, and the downloader sees an empty bundle in its place, or
// the refusal as an error.
type remote struct {
	c        SourceConfig
	base     string // scheme and host
	path     string // the rest, with the query
	redacted string
	transport
}

func newDownload(c SourceConfig) (*remote, error) {
	u, err := url.Parse(c.Location)
	if err != nil || u.Host == "" {
		return nil, errors.New("bundles: not an absolute URL")
	}
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("bundles: %s: a URL with credentials is refused; put a token into a file", u.Redacted())
	case u.Fragment != "":
		return nil, fmt.Errorf("bundles: %s: a URL with a fragment is refused", u)
	case u.Scheme == "http" && !loopback(u.Hostname()):
		return nil, fmt.Errorf("bundles: %s: bundles are fetched by https only, beyond this machine", u)
	}
	if c.HTTP.Timeout == 0 {
		c.HTTP.Timeout = DefaultHTTPTimeout
	}
	if c.HTTP.Transport == nil {
		c.HTTP.Transport = http.DefaultTransport
	}
	shown := *u
	shown.RawQuery = "" // it may hold a signature
	r := &remote{c: c, base: u.Scheme + "://" + u.Host, path: u.RequestURI(), redacted: shown.String()}
	r.transport = transport{c: &r.c}
	return r, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

func (r *remote) String() string { return r.redacted }
func (r *remote) Remote() bool   { return true }

// Load asks once.
func (r *remote) Load(ctx context.Context) (Loaded, error) {
	var loaded Loaded
	failure := errors.New("no answer") // until there is one
	downloader, err := r.downloader(plugins.TriggerManual, func(l Loaded, err error) error {
		loaded, failure = l, err
		return nil
	})
	if err != nil {
		return Loaded{}, err
	}
	if err := downloader.Trigger(ctx); err != nil && ctx.Err() != nil {
		return Loaded{}, ctx.Err() // its goroutine may still be under way
	}
	return loaded, failure
}

// Run asks until ctx ends.
func (r *remote) Run(ctx context.Context, deliver func(Loaded, error) error) error {
	downloader, err := r.downloader(plugins.TriggerPeriodic, deliver)
	if err != nil {
		return err
	}
	downloader.Start(ctx)
	<-ctx.Done()
	downloader.Stop(context.WithoutCancel(ctx)) // ends a request under way, and waits
	return nil
}

// downloader makes OPA's. It takes up where the last one ended.
func (r *remote) downloader(trigger plugins.TriggerMode, deliver func(Loaded, error) error) (*download.Downloader, error) {
	least := max(1, int64(r.c.Poll/time.Second))
	most := 2 * least
	polling := download.PollingConfig{MinDelaySeconds: &least, MaxDelaySeconds: &most}
	if wait := int64(r.c.LongPoll / time.Second); wait > 0 && trigger == plugins.TriggerPeriodic {
		polling.LongPollingTimeoutSeconds = &wait
	}
	config := download.Config{Trigger: &trigger, Polling: polling}
	if err := config.ValidateAndInjectDefaults(); err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	const plugin = "assay"
	text, err := json.Marshal(map[string]any{"name": "bundle", "url": r.base, "credentials": map[string]any{"plugin": plugin}})
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	client, err := rest.New(text, nil, rest.Logger(logging.NewNoOpLogger()), rest.Name("bundle"),
		rest.AuthPluginLookup(func(string) rest.HTTPAuthPlugin { return &r.transport }))
	if err != nil {
		return nil, fmt.Errorf("bundles: %w", err)
	}
	d := download.New(config, client, strings.TrimPrefix(r.path, "/")).
		WithBundleParserOpts(ast.ParserOptions{RegoVersion: ast.RegoV1}).
		WithCallback(func(_ context.Context, u download.Update) error { return r.updated(u, deliver) })
	d.SetCache(r.c.ETag)
	return d, nil
}

// updated is called by the downloader after each request, from the goroutine that made it.
func (r *remote) updated(u download.Update, deliver func(Loaded, error) error) error {
	loaded := r.received
	r.received = Loaded{}
	if u.Error != nil {
		r.c.ETag = ""
		return deliver(Loaded{}, r.withoutToken(readable(u.Error, r.redacted)))
	}
	r.c.ETag = u.ETag
	if u.Bundle == nil {
		return deliver(Loaded{ETag: u.ETag}, nil)
	}
	loaded.ETag = u.ETag
	return deliver(loaded, nil)
}

// readable leaves the refusal alone of an error that has one, and else says what could not be fetched.
func readable(err error, from string) error {
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) { // its own text repeats the URL, with its query
		err = wrapped.Err
	}
	return fmt.Errorf("fetching %s: %w", from, err)
}

// withoutToken replaces an error in which the other side repeats the bearer token that it was sent: net/http quotes an
// answer that it cannot read, and a redirect is told with its host.
func (t *transport) withoutToken(err error) error {
	if t.sent == "" || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(t.sent)) {
		return err
	}
	return errors.New("fetching the bundle: the answer cannot be read, or leads elsewhere, and repeats the bearer token that was sent; it is not shown")
}

// transport is the HTTP side of one source, as rest's authentication plugin and as the round tripper of its client.
type transport struct {
	c *SourceConfig
	// received is what Read accepted in the last response; the downloader's goroutine owns it.
	received Loaded
	sent     string // the bearer token of the last request, likewise
}

// NewClient implements rest.HTTPAuthPlugin.
func (t *transport) NewClient(rest.Config) (*http.Client, error) {
	return &http.Client{Transport: t, CheckRedirect: sameOrigin}, nil
}

// sameOrigin follows a redirect only to where the request went in the first place: the token is for that server.
func sameOrigin(r *http.Request, via []*http.Request) error {
	first := via[0].URL
	switch {
	case len(via) > 3:
		return errors.New("more than three redirects")
	case r.URL.Scheme != first.Scheme || r.URL.Host != first.Host:
		return fmt.Errorf("it redirects to another server, %s://%s; configure that URL if it is right", r.URL.Scheme, r.URL.Host)
	}
	return nil
}

// Prepare implements rest.HTTPAuthPlugin.
func (t *transport) Prepare(r *http.Request) error {
	// Assay puts whole bundles in force, so it asks for no patches.
	r.Header.Set("Prefer", strings.Replace(r.Header.Get("Prefer"), ",delta", "", 1))
	// After a failure the downloader means to ask for the whole, but its client goes on sending the header of before.
	if t.c.ETag == "" {
		r.Header.Del("If-None-Match")
	}
	if t.c.HTTP.Bearer == nil {
		return nil
	}
	token, err := t.c.HTTP.Bearer()
	if err != nil {
		return fmt.Errorf("the bearer token: %w", err)
	}
	t.sent = token
	r.Header.Set("Authorization", "Bearer "+token)
	return nil
}

// RoundTrip implements http.RoundTripper: it reads the whole body, bounded, and keeps what Read accepts.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	limit := t.c.HTTP.Timeout
	if strings.Contains(r.Header.Get("Prefer"), "wait=") {
		limit += t.c.LongPoll
	}
	ctx, cancel := context.WithTimeout(r.Context(), limit)
	defer cancel()
	response, err := t.c.HTTP.Transport.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := readAll(response.Body, t.c.Read.MaxBytes)
	err = named(errors.Join(err, response.Body.Close()), t.c.Read.Name)
	if err == nil && response.StatusCode == http.StatusOK {
		t.received.Archive = body
		if t.received.Bundle, err = t.c.read(ctx, body); err == nil {
			body, err = pack(files{manifestFile: []byte("{}")})
		}
	}
	if err != nil {
		return nil, err
	}
	response.Body, response.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return response, nil
}
