package upload

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit/destination"
)

// Defaults of OPAConfig.
const (
	DefaultChunkBytes = 256 << 10
	DefaultTimeout    = 30 * time.Second
)

// OPAConfig says where a service is that takes OPA's decision logs.
type OPAConfig struct {
	// URL is the service's, as OPA's services[_].url; events are posted to URL + "/logs". https, or http on loopback.
	URL string
	// TokenFile holds a bearer token (RFC 6750); it is read for every request, so that it may be exchanged. Optional.
	TokenFile string
	// CAFile is a PEM file of authorities for the service's certificate, default the system's; CertFile and KeyFile are
	// PEM files of this client's own.
	CAFile, CertFile, KeyFile string
	// AllowPlaintext permits http to other machines.
	AllowPlaintext bool
	// ChunkBytes is the largest body, packed, as OPA's decision_logs.reporting.upload_size_limit_bytes; default
	// DefaultChunkBytes. One event that is larger packed is sent alone, for the service to judge.
	ChunkBytes int
	// Timeout of one request; default DefaultTimeout.
	Timeout time.Duration
	// Now is the clock, for Retry-After as a date; default time.Now.
	Now func() time.Time
}

// OPA delivers to a service that takes OPA's decision logs: POST of a JSON array of events, packed with gzip, to
// …/logs; any 2xx acknowledges it. A body that is too large for the service (413) is sent again as its halves, down to
// one event.
type OPA struct {
	c      OPAConfig
	logs   string
	client *http.Client
	// raw is how many unpacked bytes are expected to fit a chunk; learnt from what was packed and from what was refused.
	raw int
}

// NewOPA checks the configuration and reads the certificates. It does not connect.
func NewOPA(c OPAConfig) (*OPA, error) {
	c.ChunkBytes, c.Timeout = cmp.Or(c.ChunkBytes, DefaultChunkBytes), cmp.Or(c.Timeout, DefaultTimeout)
	if c.ChunkBytes < 1<<10 || c.Timeout < 0 {
		return nil, fmt.Errorf("upload: chunks of %d bytes, timeout %s: at least 1024 bytes, and a positive time", c.ChunkBytes, c.Timeout)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if err := CheckURL(c.URL, c.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("upload: url: %w", err)
	}
	settings, err := clientTLS(c.CAFile, c.CertFile, c.KeyFile)
	if err != nil {
		return nil, err
	}
	return &OPA{c: c, logs: strings.TrimRight(c.URL, "/") + "/logs", raw: c.ChunkBytes, client: &http.Client{
		Timeout:       c.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			TLSClientConfig: settings, ForceAttemptHTTP2: true, DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: time.Minute,
			DialContext: (&net.Dialer{Timeout: min(c.Timeout, 10*time.Second)}).DialContext,
		},
	}}, nil
}

// CheckURL refuses what is not the URL of a service, and one over which records would travel in clear.
func CheckURL(address string, allowPlaintext bool) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("not an http or https URL without query and fragment")
	case u.User != nil:
		return errors.New("holds a password: name a token_file instead")
	case u.Scheme == "http" && !allowPlaintext && !loopback(u.Hostname()):
		return fmt.Errorf("%s: records would travel in clear; use https, or http to a loopback address", address)
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func clientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, fmt.Errorf("upload: %w", err)
		}
		settings.RootCAs = x509.NewCertPool()
		if !settings.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("upload: %s holds no PEM certificate", caFile)
		}
	}
	if (certFile == "") != (keyFile == "") {
		return nil, errors.New("upload: a client certificate and its key go together")
	}
	if certFile == "" {
		return settings, nil
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		return nil, fmt.Errorf("upload: client certificate: %w", err)
	}
	settings.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // may be exchanged
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		return &pair, err
	}
	return settings, nil
}

// Close implements Destination.
func (o *OPA) Close() error {
	o.client.CloseIdleConnections()
	return nil
}

// Deliver implements Destination.
func (o *OPA) Deliver(ctx context.Context, records []Record) (acknowledged int, err error) {
	for acknowledged < len(records) {
		body, n, err := o.pack(records[acknowledged:])
		if err != nil {
			return acknowledged, err
		}
		err = o.post(ctx, body)
		switch {
		case errors.Is(err, errTooLarge) && n > 1:
			o.raw = max(sizeOf(records[acknowledged:acknowledged+n])/2, 1) // and so on, down to one
		case errors.Is(err, errTooLarge):
			return acknowledged, &TooLarge{Bytes: len(records[acknowledged].Event), Err: err}
		case err != nil:
			return acknowledged, err
		default:
			acknowledged += n
		}
	}
	return acknowledged, nil
}

func sizeOf(records []Record) int {
	size := 0
	for i := range records {
		size += len(records[i].Event) + 1
	}
	return size
}

// pack makes a body of as many records as fit a chunk, and of one at least.
func (o *OPA) pack(records []Record) (body []byte, n int, err error) {
	raw := 0
	for n < len(records) && (n == 0 || raw+len(records[n].Event) <= o.raw) {
		raw += len(records[n].Event) + 1
		n++
	}
	for {
		if body, err = packed(records[:n]); err != nil {
			return nil, 0, err
		}
		if len(body) <= o.c.ChunkBytes || n == 1 {
			break
		}
		n = max(min(n-1, int(int64(n)*int64(o.c.ChunkBytes)*9/10/int64(len(body)))), 1)
		o.raw = sizeOf(records[:n])
	}
	if n < len(records) && len(body) < o.c.ChunkBytes*3/4 {
		o.raw += o.raw / 4 // there is room; a service that refuses the larger body makes it small again
	}
	return body, n, nil
}

func packed(records []Record) ([]byte, error) {
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	separator := []byte{'['}
	for i := range records {
		if _, err := w.Write(separator); err != nil {
			return nil, err
		}
		if _, err := w.Write(records[i].Event); err != nil {
			return nil, err
		}
		separator = []byte{','}
	}
	if _, err := w.Write([]byte{']'}); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return body.Bytes(), nil
}

var errTooLarge = errors.New("the service answers 413 Content Too Large")

// post sends one body. What the service writes in its answer is not told: it may quote what it was sent.
func (o *OPA) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.logs, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Content-Encoding", "gzip")
	request.Header.Set("User-Agent", "assay")
	if o.c.TokenFile != "" {
		token, err := os.ReadFile(o.c.TokenFile)
		if err != nil {
			return fmt.Errorf("upload: %w", err)
		}
		if token = bytes.TrimSpace(token); len(token) == 0 || bytes.ContainsAny(token, " \t\r\n") {
			return fmt.Errorf("upload: %s holds no bearer token: one line is expected", o.c.TokenFile)
		}
		request.Header.Set("Authorization", "Bearer "+string(token))
	}
	response, err := o.client.Do(request)
	if err != nil {
		return fmt.Errorf("upload: %w", destination.Told(err))
	}
	defer response.Body.Close() //nolint:errcheck // read only
	// The rest of a short answer is read, so that the connection can be used again; failing that it is not.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	return o.judge(response)
}

func (o *OPA) judge(response *http.Response) error {
	code := response.StatusCode
	if code >= 200 && code < 300 {
		return nil
	}
	answers := fmt.Errorf("upload: %s answers %d %s", o.logs, code, http.StatusText(code))
	switch code {
	case http.StatusRequestEntityTooLarge:
		return errTooLarge
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: check token_file or the client certificate", answers)
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		return fmt.Errorf("%w: check url, events are posted to it with /logs behind", answers)
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		if after := o.retryAfter(response.Header.Get("Retry-After")); after > 0 {
			return &Busy{After: after, Err: answers}
		}
	}
	return answers
}

// retryAfter reads the field of that name: seconds or a date (RFC 9110 section 10.2.3).
func (o *OPA) retryAfter(field string) time.Duration {
	if seconds, err := strconv.ParseUint(field, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(field); err == nil {
		return date.Sub(o.c.Now())
	}
	return 0
}
