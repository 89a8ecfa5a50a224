package realinput

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

// assay runs the program and answers what it printed and its exit code.
func assay(t *testing.T, stdin string, environment []string, arguments ...string) (output []byte, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), built, arguments...)
	command.Env = append(os.Environ(), environment...)
	command.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if stderr.Len() > 0 {
		t.Logf("%s: %s", strings.Join(arguments[:2], " "), stderr.String())
	}
	return output, command.ProcessState.ExitCode()
}

// decide is `assay decide`.
func decide(t *testing.T, config, token string, flags ...string) (decision, int) {
	t.Helper()
	output, code := assay(t, token, nil, append([]string{"decide", "--config", config, "--output", "json"}, flags...)...)
	if code > 1 {
		t.Fatalf("assay decide: exit code %d", code)
	}
	return read[decision](t, output), code
}

// ownKeys are transit keys of every type with every algorithm that is allowed for it.
var ownKeys = []struct{ name, keyType, alg string }{
	{"es256", "ecdsa-p256", "ES256"}, {"es384", "ecdsa-p384", "ES384"}, {"es512", "ecdsa-p521", "ES512"},
	{"eddsa", "ed25519", "EdDSA"}, {"ed25519", "ed25519", "Ed25519"},
	{"rs256", "rsa-2048", "RS256"}, {"rs384", "rsa-2048", "RS384"}, {"rs512", "rsa-2048", "RS512"},
	{"ps256", "rsa-2048", "PS256"}, {"ps384", "rsa-2048", "PS384"}, {"ps512", "rsa-2048", "PS512"},
	{"rsa3072", "rsa-3072", "PS384"}, {"rsa4096", "rsa-4096", "RS512"},
}

// TestOwnTokens provisions a Vault with `assay keys setup`, has tokens issued and decided about on the command
// line and by the server, and verifies them with go-jose, which Assay does not use, from the published keys.
func TestOwnTokens(t *testing.T) {
	vault := vaulttest.Start(t)
	var text strings.Builder
	text.WriteString("issuers:\n")
	for _, k := range ownKeys {
		fmt.Fprintf(&text, "  - {issuer: https://%s.example, keys: {vault: %s}}\n", k.name, k.name)
	}
	fmt.Fprintf(&text, `vault:
  address: %s
  roles:
    decider: {auth: {approle: {role_id_file: decider.role_id, secret_id_file: decider.secret_id}}}
    issuer: {auth: {approle: {role_id_file: issuer.role_id, secret_id_file: issuer.secret_id}}}
  keys:
`, vault.Address)
	for _, k := range ownKeys {
		fmt.Fprintf(&text, "    %s: {type: %s, algorithm: %s}\n", k.name, k.keyType, k.alg)
	}
	config := configure(t, text.String())
	if output, code := assay(t, "", []string{"VAULT_TOKEN=" + vault.RootToken}, "keys", "setup", "--config", config); code != 0 {
		t.Fatalf("assay keys setup: exit code %d\n%s", code, output)
	}
	s := serve(t, config)
	published := s.published(t)
	for _, k := range ownKeys {
		t.Run(k.name, func(t *testing.T) { ownToken(t, s, config, published, "https://"+k.name+".example", k.alg) })
	}
}

func (s *server) published(t *testing.T) *jose.JSONWebKeySet {
	t.Helper()
	status, body := s.do(t, http.MethodGet, "/.well-known/jwks.json", nil)
	if status != http.StatusOK {
		t.Fatalf("status %d: %s", status, body)
	}
	set := read[jose.JSONWebKeySet](t, body)
	// Each key has one version that signs and one that is published for later.
	if len(set.Keys) != 2*len(ownKeys) {
		t.Fatalf("%d keys are published, want %d", len(set.Keys), 2*len(ownKeys))
	}
	return &set
}

func ownToken(t *testing.T, s *server, config string, published *jose.JSONWebKeySet, issuer, alg string) {
	t.Helper()
	for _, kind := range []struct{ name, typ string }{{"access_token", "at+jwt"}, {"jwt", "JWT"}} {
		t.Run(kind.name, func(t *testing.T) {
			output, code := assay(t, "", nil, "token", "issue", "--config", config, "--issuer", issuer, "--token-type", kind.name,
				"--subject", "alice", "--client", "web", "--audience", "orders", "--scope", "read")
			token := strings.TrimSpace(string(output))
			if code != 0 || strings.Count(token, ".") != 2 {
				t.Fatalf("assay token issue: exit code %d", code)
			}
			if header := part(t, token, 0); header["typ"] != kind.typ || header["alg"] != alg {
				t.Errorf("header %v", header)
			}
			verifyIndependently(t, published, token, alg)
			if d, code := decide(t, config, token, "--audience", "orders", "--token-type", kind.name); code != 0 || !d.Allow || len(d.Reasons) > 0 {
				t.Errorf("assay decide: exit code %d, %+v", code, d)
			}
			s.check(t, token, alg, issuer, judgement{request: m{"audience": "orders", "token_type": kind.name}})
			s.check(t, token, alg, issuer, judgement{request: m{"audience": "billing", "token_type": kind.name}, deny: []reason{otherAudience}})
			s.refusesTampered(t, token, m{"audience": "orders", "token_type": kind.name})
		})
	}
}

// verifyIndependently finds the token's key by its kid and has go-jose verify the signature, and refuse it over
// other claims. go-jose does not know the algorithm name Ed25519 of RFC 9864: it reads the key, and Go's own
// library verifies.
func verifyIndependently(t *testing.T, published *jose.JSONWebKeySet, token, alg string) {
	t.Helper()
	kid, _ := part(t, token, 0)["kid"].(string)
	keys := published.Key(kid)
	if len(keys) != 1 || keys[0].Algorithm != alg || keys[0].Use != "sig" {
		t.Fatalf("kid %q finds %d keys: %+v", kid, len(keys), keys)
	}
	verify := func(token string) error {
		if alg == "Ed25519" {
			return verifyEd25519(t, keys[0].Key, token)
		}
		parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(alg)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = parsed.Verify(keys[0].Key)
		return err
	}
	if err := verify(token); err != nil {
		t.Errorf("the token: %v", err)
	}
	if verify(tampered(t, token)) == nil {
		t.Error("the token with another subject is verified")
	}
}

func verifyEd25519(t *testing.T, key any, token string) error {
	t.Helper()
	public, ok := key.(ed25519.PublicKey)
	if !ok {
		t.Fatalf("the published key is a %T", key)
	}
	at := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[at+1:])
	if err != nil {
		t.Fatal(err)
	}
	if !ed25519.Verify(public, []byte(token[:at]), signature) {
		return errors.New("the signature does not verify")
	}
	return nil
}
