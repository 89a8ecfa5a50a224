package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"assay": main})
}

// TestScripts runs test/e2e against the real program. Beside testscript's own commands there are:
//
//	mint FILE JSON      signs a token with the script's own ES256 key (jwks.json, kid k1, issuer
//	                    https://idp.example); JSON is laid over good claims: null removes one; "header" is
//	                    laid over the header; +N and -N in exp, iat and nbf count from now
//	pemkey FILE…        writes a new private ES256 key in PEM; the same to each file
//	listening LOG       waits until the server whose standard error goes to LOG listens; sets $URL
//	http METHOD PATH STATUS [BODYFILE] [HEADER…]   asks it; the answer is stdout
//	await METHOD PATH REGEXP [BODYFILE]   asks it until the answer matches
//
// $TOKEN_BEGINS finds tokens, in header or payload. "eyJ" alone also stands in one of some thousands of hashes and kids.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("..", "..", "test", "e2e"),
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				return err
			}
			e.Values["key"] = key
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TMPDIR", e.WorkDir)
			e.Setenv("TOKEN_BEGINS", tokenBegins)
			return os.WriteFile(filepath.Join(e.WorkDir, "jwks.json"), jwks(&key.PublicKey), 0o600)
		},
		Condition: func(name string) (bool, error) { return false, fmt.Errorf("no condition %q", name) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"mint": mint, "pemkey": pemKey, "listening": listening, "http": httpCommand, "await": await,
			"vault": func(ts *testscript.TestScript, _ bool, _ []string) {
				server := vaulttest.Start(t)
				ts.Setenv("VAULT_ADDR", server.Address)
				ts.Setenv("VAULT_TOKEN", server.RootToken)
			},
		},
	})
}

// tokenBegins is a regular expression for base64url of a JSON object whose first name is alg, typ, kid, iss, aud, sub or
// client_id.
const tokenBegins = "eyJ(hbGciOi|0eXAiOi|raWQiOi|pc3MiOi|hdWQiOi|zdWIiOi|jbGllbnRf)"

func jwks(public *ecdsa.PublicKey) []byte {
	point, err := public.Bytes()
	if err != nil {
		panic(err)
	}
	b64 := base64.RawURLEncoding
	return fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k1","x":%q,"y":%q}]}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
}

func mint(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: mint FILE JSON")
	}
	now := time.Now().Unix()
	header := map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}
	claims := map[string]any{
		"iss": "https://idp.example", "sub": "alice", "aud": "orders", "client_id": "web",
		"iat": now, "exp": now + 600, "jti": "token-1", "scope": "read",
	}
	var over map[string]any
	ts.Check(json.Unmarshal([]byte(args[1]), &over))
	if extra, ok := over["header"].(map[string]any); ok {
		lay(header, extra, now)
		delete(over, "header")
	}
	lay(claims, over, now)
	encode := func(v any) string {
		text, err := json.Marshal(v)
		ts.Check(err)
		return base64.RawURLEncoding.EncodeToString(text)
	}
	input := encode(header) + "." + encode(claims)
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, ts.Value("key").(*ecdsa.PrivateKey), digest[:])
	ts.Check(err)
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(input+"."+base64.RawURLEncoding.EncodeToString(signature)+"\n"), 0o600))
}

func pemKey(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for _, name := range args {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	}
}

func lay(onto, over map[string]any, now int64) {
	for name, value := range over {
		if value == nil {
			delete(onto, name)
			continue
		}
		if text, ok := value.(string); ok && len(text) > 1 && (text[0] == '+' || text[0] == '-') {
			if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
				value = now + seconds
			}
		}
		onto[name] = value
	}
}

func listening(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(text) {
			var event struct{ Msg, Address string }
			if json.Unmarshal(line, &event) == nil && event.Msg == "listening" {
				ts.Setenv("URL", "http://"+event.Address)
				return
			}
		}
	}
	text, _ := os.ReadFile(path)
	ts.Fatalf("it does not listen; its log:\n%s", text)
}

func httpCommand(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: http METHOD PATH STATUS [BODYFILE] [HEADER…]")
	}
	var body io.Reader
	headers := args[3:]
	if len(headers) > 0 && !strings.Contains(headers[0], ": ") {
		body, headers = strings.NewReader(os.Expand(ts.ReadFile(headers[0]), func(name string) string {
			return strings.TrimSpace(ts.ReadFile(name))
		})), headers[1:]
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, args[0], ts.Getenv("URL")+args[1], body)
	ts.Check(err)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		if file, ok := strings.CutPrefix(value, "Bearer @"); ok {
			value = "Bearer " + strings.TrimSpace(ts.ReadFile(file))
		}
		request.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	ts.Check(err)
	_, err = fmt.Fprintf(ts.Stdout(), "%s\n", answer)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("answer"), answer, 0o600))
	if got := strconv.Itoa(response.StatusCode); got != args[2] {
		ts.Fatalf("%s %s: status %s, want %s", args[0], args[1], got, args[2])
	}
}
