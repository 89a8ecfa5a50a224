package keyset

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Discovery finds an issuer's JWKS through its metadata: OpenID Connect Discovery 1.0 section 4
// (issuer + "/.well-known/openid-configuration"), and where the server knows no such document, RFC 8414
// section 3 ("/.well-known/oauth-authorization-server" between host and path).
//
// The "issuer" in the document must equal the configured one byte for byte (RFC 8414 section 3.3), else
// one tenant could name another's keys. "jwks_uri" may be on another host, and obeys the rules of URL; an
// issuer at https may not lead to http, not even on loopback. The metadata is read anew with every load:
// it is small, and a moved jwks_uri is then found when the next unknown kid asks for it.
func Discovery(issuer string, c HTTPConfig) (Source, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	if err := checkURL(issuer, c.AllowPlaintext); err != nil {
		return nil, fmt.Errorf("keyset: issuer: %w", err)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, fmt.Errorf("keyset: issuer: %w", err)
	}
	if u.RawQuery != "" || u.ForceQuery {
		return nil, fmt.Errorf("keyset: issuer %s: an issuer with a query has no discovery document", issuer)
	}
	return &discoverySource{
		issuer: issuer,
		documents: []string{
			strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration",
			u.Scheme + "://" + u.Host + "/.well-known/oauth-authorization-server" + strings.TrimSuffix(u.EscapedPath(), "/"),
		},
		fetcher: newFetcher(c),
	}, nil
}

type discoverySource struct {
	noWatch
	issuer    string
	documents []string // in the order in which they are tried
	fetcher   *fetcher
}

func (d *discoverySource) String() string { return "discovery of " + d.issuer }

func (d *discoverySource) Load(ctx context.Context) (Loaded, error) {
	address, err := d.discover(ctx)
	if err != nil {
		return Loaded{}, err
	}
	return d.fetcher.jwks(ctx, address)
}

// discover gives the issuer's jwks_uri.
func (d *discoverySource) discover(ctx context.Context) (string, error) {
	var missing error
	for _, document := range d.documents {
		body, _, err := d.fetcher.get(ctx, document, http.Header{})
		var status *statusError
		if errors.As(err, &status) && status.status == http.StatusNotFound {
			missing = errors.Join(missing, err)
			continue
		}
		if err != nil {
			return "", err
		}
		address, err := d.read(body)
		if err != nil {
			return "", fmt.Errorf("%s: %w", document, err)
		}
		return address, nil
	}
	return "", missing
}

func (d *discoverySource) read(body []byte) (string, error) {
	metadata, err := decodeObject(body)
	if err != nil {
		return "", err
	}
	if issuer, _ := metadata["issuer"].(string); issuer != d.issuer {
		return "", fmt.Errorf(`its "issuer" is not exactly %q`, d.issuer)
	}
	address, ok := metadata["jwks_uri"].(string)
	if !ok {
		return "", errors.New(`it has no "jwks_uri"`)
	}
	if err := checkURL(address, d.fetcher.config.AllowPlaintext); err != nil {
		return "", fmt.Errorf("its jwks_uri: %w", err)
	}
	if strings.HasPrefix(d.issuer, "https:") && !strings.HasPrefix(address, "https:") && !d.fetcher.config.AllowPlaintext {
		return "", errors.New("its jwks_uri is plaintext, but the issuer is not")
	}
	return address, nil
}
