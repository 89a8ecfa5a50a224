// Package client speaks to the HTTP API of a running Assay, for commands that change what is in force on every
// replica: revocations, and the one that a compromised key needs.
//
// Who asks is proven by a client certificate or by a bearer token that is read from its file for every request,
// since somebody renews it. A request that got no answer, or a 503, is made again: everything that is sent here
// may be sent twice. Redirects are not followed and a token never travels in clear beyond this machine.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// The defaults of Config, and what bounds an answer.
const (
	DefaultTimeout  = 10 * time.Second
	DefaultAttempts = 4

	maxAnswer = 16 << 20
	firstWait = 200 * time.Millisecond
	longWait  = 5 * time.Second
)

// Config says where the server is and how to prove who asks.
type Config struct {
	// Address is the server's URL: https, or http on this machine.
	Address string
	// CAFile is a PEM file of authorities for the server's certificate; default: the system's.
	CAFile string
	// CertFile and KeyFile are the client certificate, PEM; both or neither.
	CertFile, KeyFile string
	// TokenFile holds a bearer token.
	TokenFile string
	// Timeout is for one attempt; default DefaultTimeout. Attempts is how often a request is made at most;
	// default DefaultAttempts.
	Timeout  time.Duration
	Attempts int
	// Wait pauses between attempts; default: a timer.
	Wait func(ctx context.Context, d time.Duration) error
}

// Client is safe for concurrent use.
type Client struct {
	c    Config
	base *url.URL
	http *http.Client
}

// New checks the configuration and reads the certificate files.
func New(c Config) (*Client, error) {
	base, err := url.Parse(c.Address)
	if err != nil || base.Host == "" || (base.Scheme != "https" && base.Scheme != "http") || base.RawQuery != "" || base.User != nil {
		return nil, fmt.Errorf("the server's address %q is no URL such as https://assay.example:8443", c.Address)
	}
	if base.Scheme == "http" && !loopback(base.Hostname()) {
		return nil, fmt.Errorf("%s: tokens would travel in clear: use https, or http to a loopback address", c.Address)
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return nil, errors.New("a client certificate and its key go together: give both or neither")
	}
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Attempts <= 0 {
		c.Attempts = DefaultAttempts
	}
	if c.Wait == nil {
		c.Wait = wait
	}
	settings, err := tlsSettings(c)
	if err != nil {
		return nil, err
	}
	return &Client{c: c, base: base, http: &http.Client{
		Transport:     &http.Transport{TLSClientConfig: settings, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

func tlsSettings(c Config) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("authorities for the server's certificate: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM form", c.CAFile)
		}
	}
	if c.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		settings.Certificates = []tls.Certificate{certificate}
	}
	return settings, nil
}

func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// Error is the server's refusal: the problem details (RFC 9457) of its answer.
type Error struct {
	Status    int      `json:"status"`
	Type      string   `json:"type"`
	Title     string   `json:"title"`
	Detail    string   `json:"detail"`
	RequestID string   `json:"request_id"`
	Missing   []string `json:"missing"`

	retryAfter time.Duration
}

func (e *Error) Error() string {
	text := e.Detail
	if text == "" {
		text = e.Title
	}
	if text == "" {
		text = http.StatusText(e.Status)
	}
	return fmt.Sprintf("the server answered %d: %s", e.Status, text)
}

// Is makes errors.Is(err, &Error{Status: 404}) ask for a status.
func (e *Error) Is(target error) bool {
	other, ok := target.(*Error) //nolint:errorlint // the target is compared, not unwrapped
	return ok && other.Status == e.Status && other.Type == ""
}

// call makes a request, again while it makes sense, and decodes the answer into answer unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, answer any) (status int, err error) {
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return 0, err
		}
	}
	pause := firstWait
	for attempt := 1; ; attempt++ {
		status, err = c.once(ctx, method, path, query, text, answer)
		var again bool
		again, pause = retry(err, pause)
		if err == nil || !again || attempt == c.c.Attempts || ctx.Err() != nil {
			return status, err
		}
		if waited := c.c.Wait(ctx, pause); waited != nil {
			return status, err
		}
		pause *= 2
	}
}

// retry tells whether the same request may do better later, and when.
func retry(err error, pause time.Duration) (bool, time.Duration) {
	if refused, ok := errors.AsType[*Error](err); ok {
		return refused.Status == http.StatusServiceUnavailable, min(max(pause, refused.retryAfter), longWait)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF), min(pause, longWait)
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, answer any) (int, error) {
	target := c.base.JoinPath(path)
	target.RawQuery = query.Encode()
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if c.c.TokenFile != "" {
		token, err := os.ReadFile(c.c.TokenFile)
		if err != nil {
			return 0, fmt.Errorf("bearer token: %w", err)
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, fmt.Errorf("asking the server: %w", err)
	}
	defer response.Body.Close() //nolint:errcheck // it was read, or is not wanted
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer+1))
	if err != nil {
		return 0, fmt.Errorf("reading the server's answer: %w", err)
	}
	if len(text) > maxAnswer {
		return 0, fmt.Errorf("the server's answer has more than %d bytes", maxAnswer)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return response.StatusCode, refused(response, text)
	}
	if answer != nil {
		if err := json.Unmarshal(text, answer); err != nil {
			return 0, fmt.Errorf("the server's answer is not of an Assay: %w", err)
		}
	}
	return response.StatusCode, nil
}

func refused(response *http.Response, text []byte) *Error {
	e := &Error{}
	if json.Unmarshal(text, e) != nil {
		e = &Error{} // not an Assay, or something in front of it
	}
	e.Status = response.StatusCode
	if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.retryAfter = time.Duration(seconds) * time.Second
	}
	return e
}
