package ledger

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit/destination"
)

// FilePublisher replaces a file by each checkpoint, such as one on a share that others keep versions of. A reader sees
// the old one or the new one, whole.
type FilePublisher struct {
	Path string
}

// Publish implements Publisher. It returns when the file is on disk.
func (p FilePublisher) Publish(_ context.Context, checkpoint []byte) error {
	file, err := os.CreateTemp(filepath.Dir(p.Path), ".checkpoint-*")
	if err != nil {
		return err
	}
	_, err = file.Write(checkpoint)
	if err == nil {
		err = file.Chmod(0o644) // it is public
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), p.Path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(file.Name()))
	}
	return syncDir(filepath.Dir(p.Path))
}

// HTTPConfig says where an HTTPPublisher puts checkpoints.
type HTTPConfig struct {
	// URL is sent each checkpoint by PUT as text/plain; https, or http to a loopback address. Required.
	URL string
	// TokenFile holds a bearer token (RFC 6750); it is read for every request, so that it may be exchanged. Optional.
	TokenFile string
	// CAFile is a PEM file of authorities for the server's certificate; default: the system's.
	CAFile string
	// Timeout bounds one request; default 10s.
	Timeout time.Duration
}

// HTTPPublisher sends each checkpoint to a server, which keeps it out of the operator's reach: an object store with
// versions and a retention lock, or a witness of the auditor's own.
type HTTPPublisher struct {
	c      HTTPConfig
	client *http.Client
}

// NewHTTPPublisher reads the authorities; it does not ask the server.
func NewHTTPPublisher(c HTTPConfig) (*HTTPPublisher, error) {
	if c.URL == "" {
		return nil, errors.New("publishing checkpoints: the URL is required")
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: c.Timeout, MaxIdleConns: 1, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	if c.CAFile != "" {
		text, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("publishing checkpoints: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("publishing checkpoints: %s holds no certificate in PEM", c.CAFile)
		}
	}
	return &HTTPPublisher{c: c, client: &http.Client{
		Transport: transport, Timeout: c.Timeout,
		// A token goes to the place that was configured, and nowhere that it points to.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Publish implements Publisher. Any status of success means that it was taken.
func (p *HTTPPublisher) Publish(ctx context.Context, checkpoint []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, p.c.URL, bytes.NewReader(checkpoint))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/plain; charset=utf-8")
	if p.c.TokenFile != "" {
		token, err := os.ReadFile(p.c.TokenFile)
		if err != nil {
			return err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	response, err := p.client.Do(request)
	if err != nil {
		return destination.Told(err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // so that the connection can be used again
	if err = errors.Join(err, response.Body.Close()); err != nil {
		// Not told: it may quote what stands behind the body.
		return fmt.Errorf("the answer of %s breaks off, or is not HTTP that can be read", request.URL.Redacted())
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		code := response.StatusCode
		return fmt.Errorf("%s answers %d %s to a checkpoint", request.URL.Redacted(), code, http.StatusText(code))
	}
	return nil
}
