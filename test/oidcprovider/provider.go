// Package oidcprovider gives tests the tokens of a certified OpenID Provider that this project did not
// write: oidc-provider from npm, run as a process of its own on 127.0.0.1.
//
// server.mjs configures it and obtains the tokens as its clients would: access tokens (RFC 9068) by the
// client credentials and the authorization code grant with resource indicators (RFC 8707), ID tokens by the
// authorization code flow, logout tokens as they arrive at a back-channel logout endpoint. Then the provider
// goes on serving its metadata and keys, so that tests find them by discovery.
//
// resourceserver.mjs is the other side, a resource server that finds an issuer's keys by its metadata and verifies
// its tokens with jose (Jose).
//
// A test skips, saying why, where Node.js or npm is missing or npm cannot reach its registry.
package oidcprovider

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"
)

// Kind is how a token was obtained.
type Kind string

// The kinds of tokens, each in every one of Algorithms.
const (
	// ClientAccessToken is a JWT access token of a client itself: "sub" and "client_id" are ClientID, "aud"
	// is Audience, "scope" is "read".
	ClientAccessToken Kind = "access_token"
	// UserAccessToken is the same for Subject.
	UserAccessToken Kind = "user_access_token"
	// IDToken is for Subject with an e-mail address; "aud" is ClientID, and there is a nonce and no typ.
	IDToken Kind = "id_token"
	// LogoutToken is of typ logout+jwt; "aud" is ClientID, "sub" is Subject, and it has sid and events.
	LogoutToken Kind = "logout_token"
)

// Kinds lists them.
func Kinds() []Kind { return []Kind{ClientAccessToken, UserAccessToken, IDToken, LogoutToken} }

// Algorithms lists the signature algorithms of the tokens. Each has a key of its own.
func Algorithms() []string {
	return []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512"}
}

// Subject is the person who logs in.
const Subject = "alice"

// Audience is the "aud" of access tokens under alg.
func Audience(alg string) string { return "https://orders.example/" + alg }

// ClientID is the client for whom tokens under alg are issued.
func ClientID(alg string) string { return "client-" + alg }

// Provider is a running provider.
type Provider struct {
	// Issuer is its issuer identifier, an http URL on 127.0.0.1.
	Issuer string `json:"issuer"`
	// Tokens are the compact tokens by kind and algorithm, issued just before Start returned. They live ten
	// minutes, logout tokens two.
	Tokens map[Kind]map[string]string `json:"tokens"`
}

const (
	// installTimeout is for npm, which may wait for its registry and for a disk with others on it.
	installTimeout = 10 * time.Minute
	// launchTimeout is many times what a launch takes: 2 s, and 18 s beside five others on two processors.
	launchTimeout = 90 * time.Second
	// launches are tried: it was seen once, on a busy machine, that the program came to a stop before it was
	// ready. What is tested is what Assay makes of its tokens, not that it starts.
	launches = 3
)

// Start runs the provider until the test ends.
func Start(t testing.TB) *Provider {
	t.Helper()
	dir := installed(t)
	for attempt := 1; ; attempt++ {
		p, stop, err := launch(t.Context(), dir)
		if err == nil {
			t.Cleanup(stop)
			return p
		}
		if attempt == launches {
			t.Fatal(err)
		}
		t.Logf("launch %d of %d: %v", attempt, launches, err)
	}
}

// installed is Install for a test, which is skipped where there is nothing to install from.
func installed(t testing.TB) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installTimeout)
	defer cancel()
	dir, err := Install(ctx)
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// launch starts the program and reads what it prints. The program ends when its standard input does, so
// that none outlives a test program that is killed.
func launch(ctx context.Context, dir string) (p *Provider, stop func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, launchTimeout)
	defer cancel()
	command := exec.Command("node", "server.mjs")
	command.Dir = dir
	var complaints bytes.Buffer
	command.Stderr = &complaints
	stdin, err := command.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := command.Start(); err != nil {
		return nil, nil, err
	}
	stop = func() {
		_ = stdin.Close()          // it ends by itself,
		_ = command.Process.Kill() // or not
		_ = command.Wait()         // how does not matter
	}
	unwatch := context.AfterFunc(ctx, func() { _ = command.Process.Kill() })
	p = &Provider{}
	line, err := bufio.NewReaderSize(io.LimitReader(stdout, 1<<20), 64<<10).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, p)
	}
	if !unwatch() {
		err = errors.Join(ctx.Err(), err)
	}
	if err != nil {
		stop() // after which nobody writes complaints
		return nil, nil, fmt.Errorf("oidc-provider did not start: %w: %s", err, complaints.Bytes())
	}
	return p, stop, nil
}
