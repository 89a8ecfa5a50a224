package keyset

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HTTPConfig says how remote keys are fetched. The zero value is usable.
type HTTPConfig struct {
	// Transport carries the requests, for a private CA or a proxy. Default: TLS 1.2 or later with the
	// system's roots, no proxy, bounded waits.
	Transport http.RoundTripper
	// AllowPlaintext accepts http URLs beyond loopback. Whoever sits on the path can then make keys.
	AllowPlaintext bool
	// Timeout bounds one request with its body; default 5 s.
	Timeout time.Duration
	// MaxBytes bounds a response body; default and largest MaxJWKSBytes.
	MaxBytes int64
	// Refresh is how long a response is used that says nothing of itself; default DefaultRefresh.
	Refresh time.Duration
	// MinRefresh and MaxRefresh bound that, and what Cache-Control's max-age asks for; default 1 min and 1 h.
	MinRefresh, MaxRefresh time.Duration
}

func (c *HTTPConfig) setDefaults() error {
	if c.Timeout < 0 || c.MaxBytes < 0 || c.Refresh < 0 || c.MinRefresh < 0 || c.MaxRefresh < 0 || c.MaxBytes > MaxJWKSBytes {
		return fmt.Errorf("keyset: negative limits, or more than %d bytes for a response", MaxJWKSBytes)
	}
	c.Timeout = orDefault(c.Timeout, 5*time.Second)
	c.MaxBytes = orDefault(c.MaxBytes, MaxJWKSBytes)
	c.Refresh = orDefault(c.Refresh, DefaultRefresh)
	c.MinRefresh = orDefault(c.MinRefresh, time.Minute)
	c.MaxRefresh = orDefault(c.MaxRefresh, time.Hour)
	if c.MinRefresh > c.MaxRefresh {
		return fmt.Errorf("keyset: keys are to be fetched at least every %s and at most every %s", c.MaxRefresh, c.MinRefresh)
	}
	if c.Transport == nil {
		c.Transport = &http.Transport{
			DialContext:            (&net.Dialer{Timeout: c.Timeout}).DialContext,
			TLSHandshakeTimeout:    c.Timeout,
			ResponseHeaderTimeout:  c.Timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        90 * time.Second,
			ForceAttemptHTTP2:      true,
		}
	}
	return nil
}

func orDefault[T time.Duration | int64 | int](value, byDefault T) T {
	if value == 0 {
		return byDefault
	}
	return value
}

// URL is a JWKS at an https URL, or at an http one on loopback (or anywhere with AllowPlaintext).
//
// A redirect is followed only within the same scheme, host and port, and three times at most: who answers
// for the configured origin may say where its keys are, nobody else may. Unchanged keys are not sent again
// (If-None-Match, RFC 9110 section 13.1.2), and max-age (RFC 9111 section 5.2.2.1) says when to ask again,
// within the configured bounds.
func URL(address string, c HTTPConfig) (Source, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	if err := checkURL(address, c.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("keyset: %w", err)
	}
	return &urlSource{address: address, fetcher: newFetcher(c)}, nil
}

// checkURL accepts an absolute https URL without credentials and fragment, and an http one where plaintext
// is allowed or cannot leave the machine.
func checkURL(address string, allowPlaintext bool) error {
	if len(address) > maxURL {
		return fmt.Errorf("a URL of more than %d bytes", maxURL)
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" {
		return errors.New("not an absolute URL")
	}
	switch {
	case u.User != nil:
		return fmt.Errorf("%s: a URL with credentials is refused", u.Redacted())
	case u.Fragment != "":
		return fmt.Errorf("%s: a URL with a fragment is refused", u)
	case u.Scheme == "https", u.Scheme == "http" && (allowPlaintext || loopback(u.Hostname())):
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("%s: keys are fetched by https only, beyond this machine", u)
	}
	return fmt.Errorf("%s: not an https URL", u)
}

const maxURL = 2048 // bytes; it may come from a discovery document, and stands in errors

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

type urlSource struct {
	noWatch
	address string
	fetcher *fetcher
}

// noWatch is for sources that have no way to tell that they changed.
type noWatch struct{}

func (noWatch) Local() bool { return false }

func (noWatch) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

func (u *urlSource) String() string { return "url " + u.address }

func (u *urlSource) Load(ctx context.Context) (Loaded, error) { return u.fetcher.jwks(ctx, u.address) }

// fetcher gets documents and remembers the JWKS it last got, with its validators.
type fetcher struct {
	config HTTPConfig
	client *http.Client

	mu sync.Mutex // held for a whole fetch: a Set never makes two at once
	// kept is the JWKS last read from keptFrom, etag and modified its validators; no etag and no modified: none.
	kept                     Loaded
	keptFrom, etag, modified string
}

func newFetcher(c HTTPConfig) *fetcher {
	return &fetcher{config: c, client: &http.Client{Transport: c.Transport, Timeout: c.Timeout, CheckRedirect: sameOrigin}}
}

const maxRedirects = 3

func sameOrigin(next *http.Request, before []*http.Request) error {
	first := before[0].URL
	if next.URL.Scheme != first.Scheme || next.URL.Host != first.Host {
		return errors.New("redirected to another origin, which is refused: configure the URL that holds the keys")
	}
	if len(before) > maxRedirects {
		return fmt.Errorf("redirected more than %d times", maxRedirects)
	}
	return nil
}

// statusError is a response that is not the document.
type statusError struct {
	address string
	status  int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d %s", e.address, e.status, http.StatusText(e.status))
}

// get fetches one document. Its body is nil where the server says that it has not changed.
func (f *fetcher) get(ctx context.Context, address string, conditions http.Header) (body []byte, header http.Header, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", address, err)
	}
	request.Header = conditions
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "assay")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, nil, err // names method and URL
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode == http.StatusNotModified && (conditions.Get("If-None-Match") != "" || conditions.Get("If-Modified-Since") != "") {
		return nil, response.Header, nil
	}
	if response.StatusCode != http.StatusOK {
		return nil, nil, &statusError{address, response.StatusCode}
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, f.config.MaxBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", address, err)
	}
	if int64(len(body)) > f.config.MaxBytes {
		return nil, nil, fmt.Errorf("%s is longer than %d bytes", address, f.config.MaxBytes)
	}
	return body, response.Header, nil
}

func (f *fetcher) jwks(ctx context.Context, address string) (Loaded, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	conditions := http.Header{}
	if f.keptFrom == address {
		if f.etag != "" {
			conditions.Set("If-None-Match", f.etag)
		}
		if f.modified != "" {
			conditions.Set("If-Modified-Since", f.modified)
		}
	}
	body, header, err := f.get(ctx, address, conditions)
	if err != nil {
		return Loaded{}, err
	}
	next := f.config.refreshIn(header)
	if body != nil {
		keys, skipped, err := ParseJWKS(body)
		if err != nil {
			return Loaded{}, fmt.Errorf("%s: %w", address, err)
		}
		f.kept, f.keptFrom = Loaded{Keys: keys, Skipped: skipped}, address
		f.etag, f.modified = header.Get("ETag"), header.Get("Last-Modified")
	}
	loaded := f.kept
	loaded.Next = next
	return loaded, nil
}

// refreshIn is when to ask again after a response: its freshness lifetime by max-age less its Age (RFC
// 9111 sections 4.2.1 and 5.1), brought within the bounds.
func (c *HTTPConfig) refreshIn(header http.Header) time.Duration {
	next := c.Refresh
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return c.MinRefresh
		case "max-age":
			next = seconds(strings.Trim(value, `"`)) - seconds(header.Get("Age"))
		}
	}
	return min(max(next, c.MinRefresh), c.MaxRefresh)
}

// seconds reads delta-seconds (RFC 9111 section 1.2.2); what is none counts as zero, what is huge as a day.
func seconds(text string) time.Duration {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	const day = 24 * 60 * 60
	return time.Duration(min(n, day)) * time.Second
}
