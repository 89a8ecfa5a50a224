// Package realinput has the assembled program judge tokens that others made: those of Vault's identity
// store and of its OIDC provider, and those of oidc-provider from npm; and has a library that Assay does not
// use verify the tokens that Assay had Vault sign.
//
// Everything runs as a user would run it: the built binary with a configuration file, its keys found by JWKS
// URL and by discovery on the issuers' own servers. What is compared is the whole decision, every reason
// with its message and details, so that a rule which finds something new in a conforming token shows here.
package realinput

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/test/program"
)

// built is the path of the built program; TestMain sets it before any test runs.
var built string

func TestMain(m *testing.M) {
	os.Exit(program.Run(m, func(path string) { built = path }))
}

// configure writes a configuration file and answers its path.
func configure(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "assay.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// server is a running `assay serve`.
type server struct{ url string }

// serve runs the program until the test ends. Its log may hold no token.
func serve(t *testing.T, config string) *server {
	t.Helper()
	at := program.Serve(t, built, []string{"--config", config, "--listen", "127.0.0.1:0"})
	s := &server{url: "http://" + at}
	s.awaitReady(t)
	return s
}

// awaitReady waits until all issuers' keys are loaded.
func (s *server) awaitReady(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		status, body := s.do(t, http.MethodGet, "/readyz", nil)
		if status == http.StatusOK {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not ready: %s", body)
		case <-tick.C:
		}
	}
}

func (s *server) do(t *testing.T, method, path string, body []byte) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	return do(t, request)
}

func do(t *testing.T, request *http.Request) (int, []byte) {
	t.Helper()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, body
}

// metric is the value of one series of /metrics, as text; "" where there is none yet.
func (s *server) metric(t *testing.T, series string) string {
	t.Helper()
	_, body := s.do(t, http.MethodGet, "/metrics", nil)
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// m is a JSON object.
type m = map[string]any

// reason is one reason of a decision; all of them here come from policies or the floor in force by default.
type reason struct {
	Code        string `json:"code"`
	Message     string `json:"message"`
	Enforcement string `json:"enforcement"`
	Details     m      `json:"details"`
}

// deny spells a denying reason; names are its details.claims.
func deny(code, message string, names ...string) reason {
	r := reason{Code: code, Message: message, Enforcement: "deny", Details: m{}}
	if len(names) > 0 {
		claims := make([]any, len(names))
		for i, name := range names {
			claims[i] = name
		}
		r.Details["claims"] = claims
	}
	return r
}

func warn(code, message string, names ...string) reason {
	r := deny(code, message, names...)
	r.Enforcement = "warn"
	return r
}

var (
	otherAudience = deny("claims.audience_mismatch", "is not meant for the audience that asks")
	notSPIFFE     = deny("claims.unexpected_value", "has a subject that is not a SPIFFE ID", "sub")
	notForSVIDs   = deny("algorithm.not_allowed", "is signed with an algorithm that is not allowed for JWT-SVIDs")
)

func otherType(kind string) reason {
	return deny("header.type_mismatch", "its typ does not fit what was asked for ("+kind+")")
}

// decision is an answer of /decide without what differs from run to run.
type decision struct {
	Allow   bool     `json:"allow"`
	Reasons []reason `json:"reasons"`
	Token   struct {
		Status    string      `json:"status"`
		Kind      string      `json:"kind"`
		Alg       string      `json:"alg"`
		KeyID     string      `json:"kid"`
		Type      string      `json:"typ"`
		Issuer    string      `json:"issuer"`
		TokenID   string      `json:"token_id"`
		ExpiresAt json.Number `json:"expires_at"`
	} `json:"token"`
	Claims      m `json:"claims"`
	Obligations struct {
		OmitClaims []string `json:"omit_claims"`
	} `json:"obligations"`
	CacheForSeconds int `json:"cache_for_seconds"`
}

// decide asks about a token. A nonce, if not empty, is told as what the asking client expects in it.
func (s *server) decide(t *testing.T, token string, request m, nonce string) decision {
	t.Helper()
	question := m{"token": token, "request": request}
	if nonce != "" {
		question["context"] = m{"nonce": nonce}
	}
	body, err := json.Marshal(question)
	if err != nil {
		t.Fatal(err)
	}
	status, answer := s.do(t, http.MethodPost, "/decide", body)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, answer)
	}
	return read[decision](t, answer)
}

// read decodes JSON with numbers as they are written.
func read[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// part decodes a segment of a compact token.
func part(t *testing.T, token string, n int) m {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		t.Fatal(err)
	}
	return read[m](t, text)
}

// judgement is one question about a token and the whole answer expected.
type judgement struct {
	name    string
	request m
	// nonce is what the asking client expects; empty: it does not say.
	nonce string
	// deny are all reasons of a deny; none: it is allowed, with the reasons warned only.
	deny, warned []reason
	// omit names the claims that an allow holds back.
	omit []string
}

// check asks and compares the decision, whole: what the token said comes back as it was, less what is held
// back, and nothing at all comes back of a token that is denied.
func (s *server) check(t *testing.T, token, alg, issuer string, j judgement) {
	t.Helper()
	got := s.decide(t, token, j.request, j.nonce)
	header, claims := part(t, token, 0), part(t, token, 1)

	var want decision
	want.Allow = len(j.deny) == 0
	want.Reasons = slices.Concat(j.deny, j.warned)
	want.Token.Status, want.Token.Kind, want.Token.Alg, want.Token.Issuer = "verified", "jws", alg, issuer
	want.Token.KeyID, _ = header["kid"].(string)
	typ, _ := header["typ"].(string)
	want.Token.Type = strings.ToLower(typ) // media types are (RFC 7515 section 4.1.9)
	want.Token.TokenID = tokenID(token, claims)
	want.Token.ExpiresAt, _ = claims["exp"].(json.Number)
	want.Claims = m{}
	if want.Allow {
		for _, name := range j.omit {
			delete(claims, name)
		}
		want.Claims, want.Obligations.OmitClaims, want.CacheForSeconds = claims, j.omit, 30
	}
	for _, d := range []*decision{&got, &want} {
		slices.SortFunc(d.Reasons, func(a, b reason) int { return strings.Compare(a.Code+a.Message, b.Code+b.Message) })
		if len(d.Reasons) == 0 {
			d.Reasons = nil
		}
		if len(d.Claims) == 0 {
			d.Claims = nil
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// tokenID is what a decision calls a token: its jti, else a hash of what is signed.
func tokenID(token string, claims m) string {
	if id, ok := claims["jti"].(string); ok {
		return id
	}
	sum := sha256.Sum256([]byte(token[:strings.LastIndexByte(token, '.')]))
	return "sha256:" + base64.RawURLEncoding.EncodeToString(sum[:])
}

// tampered is the token with another subject under the old signature.
func tampered(t *testing.T, token string) string {
	t.Helper()
	claims := part(t, token, 1)
	claims["sub"] = "mallory"
	text, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	segments := strings.Split(token, ".")
	return segments[0] + "." + base64.RawURLEncoding.EncodeToString(text) + "." + segments[2]
}

// refusesTampered asks about a token and then the same with another subject.
func (s *server) refusesTampered(t *testing.T, token string, request m) {
	t.Helper()
	d := s.decide(t, tampered(t, token), request, "")
	if d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "signature.invalid" || d.Token.Status != "signature_invalid" || len(d.Claims) > 0 {
		t.Errorf("with another subject: %+v", d)
	}
}
