package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	pathpkg "path"
	"strconv"
	"strings"
	"time"
)

// PublishedIssuer is an issuer whose keys are published here, so that any resource server can find and verify
// its tokens by the issuer's URL alone.
type PublishedIssuer struct {
	// Issuer is the exact "iss"; see Publishable.
	Issuer string
	// Name makes the URL of its key set, /.well-known/jwks/NAME.json; letters, digits, '_', '-' and '.'.
	Name string
	// Algorithms are the "alg" values that its tokens are signed under.
	Algorithms []string
	// KeySet is the document of its own keys, without its neighbours': who verifies tokens of one issuer must
	// not take another's signature for it. Nil from it means not known yet (503).
	KeySet func() *KeySetDocument
}

// Publishable tells whether documents about an issuer can be found by its identifier (RFC 8414 section 2): a
// URL without query and fragment, whose path needs no escaping.
func Publishable(issuer string) bool {
	_, _, ok := locate(issuer)
	return ok
}

// locate gives the origin of an issuer's URL, and its path without a slash at the end.
func locate(issuer string) (origin, at string, ok bool) {
	u, err := url.Parse(issuer)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.ContainsAny(issuer, "?#") || u.EscapedPath() != u.Path || strings.ContainsAny(u.Path, "{}") {
		return "", "", false
	}
	at = strings.TrimSuffix(u.Path, "/")
	if at != "" && pathpkg.Clean(at) != at {
		return "", "", false
	}
	return u.Scheme + "://" + u.Host, at, true
}

// The places of the documents.
const (
	openidPath  = "/.well-known/openid-configuration"
	oauthPath   = "/.well-known/oauth-authorization-server"
	keySetsPath = "/.well-known/jwks/{name}.json"
)

// metadata is the document of one issuer, for both standards (OpenID Connect Discovery 1.0 section 3, RFC 8414
// section 2). It serves verification alone: there is no authorization endpoint here. What OpenID Connect
// demands nevertheless has the values that Kubernetes gave it for its service accounts' tokens.
type metadata struct {
	Issuer        string   `json:"issuer"`
	KeySet        string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// published is an issuer with its document.
type published struct {
	host string
	body []byte
}

// mountIssuers adds the documents of the issuers. Where an issuer has a path, OpenID Connect puts the
// well-known name behind it, RFC 8414 section 3 in front of it; clients are seen to do either with either.
func (a *API) mountIssuers() error {
	at := make(map[string][]published)
	var order []string
	for _, issuer := range a.c.Issuers {
		origin, prefix, ok := locate(issuer.Issuer)
		if !ok {
			return fmt.Errorf("httpapi: the issuer %s is no URL under which documents can be found", issuer.Issuer)
		}
		body, err := json.Marshal(metadata{
			Issuer: issuer.Issuer, KeySet: origin + strings.Replace(keySetsPath, "{name}", issuer.Name, 1),
			ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: issuer.Algorithms,
		})
		if err != nil {
			return fmt.Errorf("httpapi: %w", err)
		}
		host := strings.TrimPrefix(strings.TrimPrefix(origin, "https://"), "http://")
		places := []string{prefix + openidPath, oauthPath + prefix}
		if prefix != "" {
			places = append(places, openidPath+prefix)
		}
		for _, place := range places {
			if at[place] == nil {
				order = append(order, place)
			}
			at[place] = append(at[place], published{host: host, body: body})
		}
	}
	for _, place := range order {
		here := at[place]
		a.add(route{method: "GET", path: place, door: public, serve: func(x *exchange) error {
			return x.cacheable("application/json", choose(here, x.r.Host).body, defaultJWKSMaxAge)
		}})
	}
	if len(order) > 0 {
		a.add(route{method: "GET", path: keySetsPath, door: public, serve: (*exchange).issuerKeySet})
	}
	return nil
}

// choose picks by the host that was asked where issuers share a path. Of one alone the document is served under
// every name of the server: it says itself whose it is, and clients compare that.
func choose(here []published, host string) published {
	for _, issuer := range here {
		if issuer.host == host {
			return issuer
		}
	}
	for _, issuer := range here {
		if hostname(issuer.host) == hostname(host) {
			return issuer
		}
	}
	return here[0]
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// issuerKeySet serves the keys of one issuer.
func (x *exchange) issuerKeySet() error {
	_, name, _ := strings.Cut(x.r.URL.Path, "/.well-known/jwks/")
	name = strings.TrimSuffix(name, ".json")
	for _, issuer := range x.api.c.Issuers {
		if issuer.Name != name {
			continue
		}
		document := issuer.KeySet()
		if document == nil {
			return problemf(unavailable, "the keys have not been read yet").retry(retryAfter)
		}
		return x.cacheable("application/jwk-set+json", document.Body, orDefault(document.MaxAge, defaultJWKSMaxAge))
	}
	return problemf(notFound, "no issuer has its keys here; its jwks_uri says where they are")
}

// cacheable answers a public document, or that the client has it already (RFC 9110 section 13.1.2).
func (x *exchange) cacheable(media string, body []byte, age time.Duration) error {
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
	h := x.w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "public, max-age="+strconv.FormatInt(int64(age/time.Second), 10))
	if matches(x.r.Header.Values("If-None-Match"), tag) {
		x.status = http.StatusNotModified
		x.w.WriteHeader(http.StatusNotModified)
		return nil
	}
	x.write(http.StatusOK, media, append(x.out[:0], body...))
	return nil
}
