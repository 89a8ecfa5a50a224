package main

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
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/go-cleanhttp"
	"github.com/spf13/cobra"

	"github.com/assaypdp/assay/bundles"
	"github.com/assaypdp/assay/pdp/policy"
)

// pushTimeout bounds the whole upload.
const pushTimeout = 2 * time.Minute

// pushOptions say where to and how.
type pushOptions struct {
	tokenFile, caFile string
	headers           []string
	unsigned          bool
}

func newBundlePush(e env) *cobra.Command {
	var o pushOptions
	cmd := &cobra.Command{
		Use:   "push FILE TARGET",
		Short: "Publish a bundle: upload it, or put it in place of a file",
		Long: `Push uploads a signed bundle with one HTTP PUT to TARGET, an https URL (http to this machine only), or, where
TARGET is a path, replaces that file in one step, so that a server that watches it never sees half a bundle.

There is no standard for publishing bundles; what serves them takes a PUT to the object's own URL:
  nginx with dav_methods PUT, Caddy or Apache with WebDAV
  Artifactory (generic repository) and Nexus (raw repository); with --token-file
  Amazon S3 and Google Cloud Storage, by a presigned URL for PUT; without a token, the URL is the credential
  Azure Blob Storage, by a URL with a SAS, and --header 'x-ms-blob-type: BlockBlob'

The token is read from --token-file and sent as a bearer token; secrets do not belong in --header. Redirects are
not followed. A bundle without a signature is not published unless --unsigned says so.`,
		Example: `  assay bundle push bundle.tar.gz https://bundles.example/org.tar.gz --token-file push.token
  assay bundle push bundle.tar.gz /srv/bundles/org.tar.gz`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%s needs a bundle and where to push it: %s", cmd.CommandPath(), "FILE TARGET")
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.tokenFile, "token-file", "", "file with a bearer token")
	flags.StringVar(&o.caFile, "ca-file", "", "PEM file of authorities for the server (default the system's)")
	flags.StringArrayVar(&o.headers, "header", nil, "'Name: value' to send along; may be given more than once")
	flags.BoolVar(&o.unsigned, "unsigned", false, "publish a bundle that has no signature")
	format := addOutput(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		archive, b, err := pushable(cmd.Context(), e, args[0], o.unsigned)
		if err != nil {
			return err
		}
		where, err := o.push(cmd.Context(), archive, args[1])
		if err != nil {
			return err
		}
		if *format == "json" {
			return json.NewEncoder(e.out).Encode(map[string]any{"target": where, "bytes": len(archive), "digest": b.Digest, "revision": b.Revision})
		}
		_, err = fmt.Fprintf(e.out, "published %s (%d bytes, revision %s)\n", where, len(archive), b.Revision)
		return err
	}
	return cmd
}

// pushable reads a bundle that some server could load.
func pushable(ctx context.Context, e env, path string, unsigned bool) ([]byte, *bundles.Bundle, error) {
	archive, err := readArchive(path)
	if err != nil {
		return nil, nil, err
	}
	b, err := bundles.Read(ctx, bytes.NewReader(archive), bundles.ReadConfig{Now: e.now, Capabilities: policy.Capabilities()})
	if err != nil {
		return nil, nil, err
	}
	if _, signed := bundles.ClaimedSigner(archive); !signed && !unsigned {
		return nil, nil, fmt.Errorf("%s has no signature, servers refuse it: sign it with assay bundle sign, or say --unsigned", path)
	}
	return archive, b, nil
}

// push answers where the bundle now is, without what may be a credential.
func (o *pushOptions) push(ctx context.Context, archive []byte, target string) (string, error) {
	if !bundles.IsURL(target) {
		if o.tokenFile != "" || o.caFile != "" || len(o.headers) > 0 {
			return "", errors.New("--token-file, --ca-file and --header are for URLs; the target is a file")
		}
		return target, bundles.WriteFile(target, archive)
	}
	at, err := url.Parse(target)
	if err != nil {
		return "", errors.New("the target is no URL that can be read") // the cause would quote it, with what signs it
	}
	shown := (&url.URL{Scheme: at.Scheme, Host: at.Host, Path: at.Path}).String()
	switch {
	case at.Host == "":
		return "", fmt.Errorf("the URL %s has no host", shown)
	case at.Scheme == "http" && !loopbackHost(at.Hostname()):
		return "", fmt.Errorf("%s: use https; http is for this machine alone", shown)
	}
	request, err := o.request(ctx, archive, at)
	if err != nil {
		return "", err
	}
	client, err := o.client()
	if err != nil {
		return "", err
	}
	response, err := client.Do(request)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // the outer one quotes the URL
		}
		return "", fmt.Errorf("uploading to %s: %w", shown, err)
	}
	defer response.Body.Close() //nolint:errcheck // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10))
	if response.StatusCode/100 != 2 {
		return "", fmt.Errorf("uploading to %s: the server answers %s%s", shown, response.Status, hint(response.StatusCode))
	}
	return shown, nil
}

func (o *pushOptions) request(ctx context.Context, archive []byte, at *url.URL) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, at.String(), bytes.NewReader(archive))
	if err != nil {
		return nil, errors.New("the target is no URL that can be asked")
	}
	request.Header.Set("Content-Type", "application/gzip")
	for _, header := range o.headers {
		name, value, ok := strings.Cut(header, ":")
		if !ok || strings.EqualFold(strings.TrimSpace(name), "Authorization") {
			return nil, fmt.Errorf("--header %q: write 'Name: value'; a credential comes from --token-file", name)
		}
		request.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	if o.tokenFile != "" {
		token, err := os.ReadFile(o.tokenFile)
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	return request, nil
}

func (o *pushOptions) client() (*http.Client, error) {
	transport := cleanhttp.DefaultTransport()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.caFile != "" {
		text, err := os.ReadFile(o.caFile)
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s holds no certificate in PEM", o.caFile)
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{
		Transport: transport, Timeout: pushTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func loopbackHost(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hint says what a status usually means for an upload.
func hint(status int) string {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ": it does not take this credential for writing; see --token-file"
	case status == http.StatusMethodNotAllowed, status == http.StatusNotImplemented:
		return ": it takes no PUT at this URL"
	case status/100 == 3:
		return ": redirects are not followed; name the final URL"
	}
	return ""
}
