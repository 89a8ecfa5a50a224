//go:build unix

package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// recording is a server with an audit log and one issuer, and a token of that issuer.
type recording struct {
	t     *testing.T
	url   string
	token string
	dir   string
	stop  func() error
}

func startRecording(t *testing.T, mode string) *recording {
	t.Helper()
	folder := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding
	jwks := fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k1","x":%q,"y":%q}]}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
	if err := os.WriteFile(filepath.Join(folder, "jwks.json"), []byte(jwks), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(filepath.Join(folder, "assay.yaml"), []byte("issuers: [{issuer: https://idp.example, keys: {file: jwks.json}}]\naudit: {dir: trail, mode: "+mode+"}\npolicy: {timeout: 20s}\nlimits: {request_timeout: 1m}\n"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Unix()
	input := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"k1","typ":"at+jwt"}`)) + "." + b64.EncodeToString(fmt.Appendf(nil,
		`{"iss":"https://idp.example","sub":"jane-doe-4711","aud":"orders","client_id":"web","jti":"t","iat":%d,"exp":%d}`, now, now+600))
	digest := sha256.Sum256([]byte(input))
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])

	app, err := New(t.Context(), c, Deps{Log: slog.New(slog.DiscardHandler), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, listener) }()
	rec := &recording{t: t, url: "http://" + listener.Addr().String(), token: input + "." + b64.EncodeToString(signature), dir: filepath.Join(folder, "trail")}
	stopped := false
	rec.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-ended
	}
	t.Cleanup(func() { _ = rec.stop() })
	return rec
}

// answered is what a server said.
type answered struct {
	status     int
	retryAfter string
	body       struct {
		DecisionID string   `json:"decision_id"`
		Allow      bool     `json:"allow"`
		Status     any      `json:"status"`
		Causes     []string `json:"causes"`
		Receipt    *struct {
			Index    int64  `json:"index"`
			LeafHash []byte `json:"leaf_hash"`
		} `json:"receipt"`
	}
}

func (r *recording) ask(method, path, body string) answered {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	a := answered{status: response.StatusCode, retryAfter: response.Header.Get("Retry-After")}
	if err := json.Unmarshal(text, &a.body); err != nil {
		r.t.Fatalf("%v in %s", err, text)
	}
	return a
}

func (r *recording) decide() answered {
	r.t.Helper()
	return r.ask(http.MethodPost, "/decide", `{"token":"`+r.token+`","request":{"audience":"orders","path":"/users/jane@example.org"}}`)
}

// limitFiles bounds how large a file of this process may become, and gives what takes the bound away.
func limitFiles(t *testing.T, bytes uint64) (lift func()) {
	t.Helper()
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		t.Fatal(err)
	}
	limit := before
	limit.Cur = bytes
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	lift = func() {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(lift)
	return lift
}

// A disk that is full: no decision is answered that is not recorded, readiness says so, and when there is room again
// everything goes on by itself. What was answered is in the log, where its receipt says.
func TestADiskThatIsFull(t *testing.T) {
	r := startRecording(t, "durable")
	first := awaitAnswer(t, r, http.StatusOK)
	if !first.body.Allow || first.body.Receipt == nil {
		t.Fatalf("answered %+v", first)
	}
	info, err := os.Stat(filepath.Join(r.dir, "segments", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	lift := limitFiles(t, uint64(info.Size())+5000) //nolint:gosec // a file's size
	receipts := []answered{first}
	full := false
	for range 50 {
		a := r.decide()
		if a.status == http.StatusOK {
			receipts = append(receipts, a)
			continue
		}
		full = true
		if a.status != http.StatusServiceUnavailable || a.retryAfter == "" || a.body.Allow || a.body.Receipt != nil {
			t.Fatalf("a decision that cannot be recorded is answered %+v", a)
		}
		break
	}
	if !full {
		t.Fatal("the disk never was full")
	}
	if ready := r.ask(http.MethodGet, "/readyz", ""); ready.status != http.StatusServiceUnavailable || !strings.Contains(strings.Join(ready.body.Causes, "\n"), "audit: write_failed") {
		t.Errorf("ready %+v", ready)
	}
	lift()
	receipts = append(receipts, awaitAnswer(t, r, http.StatusOK))
	if ready := r.ask(http.MethodGet, "/readyz", ""); ready.status != http.StatusOK || len(ready.body.Causes) != 0 {
		t.Errorf("ready %+v", ready)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	checkReceipts(t, r.dir, receipts)
}

// awaitAnswer asks until the answer has that status.
func awaitAnswer(t *testing.T, r *recording, status int) answered {
	t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; {
		a := r.decide()
		if a.status == status {
			return a
		}
		if time.Now().After(deadline) {
			t.Fatalf("answered %+v, want %d", a, status)
		}
	}
}

func checkReceipts(t *testing.T, dir string, answers []answered) {
	t.Helper()
	reader, err := ledger.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[int64]ledger.Record)
	for record, err := range reader.Records(t.Context(), 0, math.MaxInt64) {
		if err != nil {
			t.Fatal(err)
		}
		found[record.Index] = record
		// Of the token what it begins with, and its payload: "jane" and "eyJ" alone may stand in a hash.
		for _, text := range []string{"jane-doe", "jane@", "eyJhbGciOi", "eyJpc3MiOi"} {
			if bytes.Contains(record.Event, []byte(text)) {
				t.Errorf("a record holds personal data or a token: %s", record.Event)
			}
		}
	}
	for _, a := range answers {
		record, there := found[a.body.Receipt.Index]
		if !there || !bytes.Equal(record.Hash[:], a.body.Receipt.LeafHash) || !bytes.Contains(record.Event, []byte(a.body.DecisionID)) {
			t.Errorf("decision %s has the receipt %+v, and there is %s", a.body.DecisionID, a.body.Receipt, record.Event)
		}
	}
}

// Buffered mode never waits for the disk: it answers, without a receipt, and says what it would lose.
func TestADiskThatIsFullWhileBuffered(t *testing.T) {
	r := startRecording(t, "buffered")
	awaitAnswer(t, r, http.StatusOK)
	lift := limitFiles(t, 1)
	for range 20 {
		if a := r.decide(); a.status != http.StatusOK || !a.body.Allow || a.body.Receipt != nil {
			t.Fatalf("answered %+v", a)
		}
	}
	for deadline := time.Now().Add(3 * time.Minute); ; {
		ready := r.ask(http.MethodGet, "/readyz", "")
		if ready.status == http.StatusOK && strings.Contains(strings.Join(ready.body.Causes, "\n"), "audit: write_failed") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("ready %+v", ready)
		}
	}
	lift()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "segments", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(text, []byte(`"path":"assay/decision"`)); n != 21 {
		t.Errorf("%d decisions are in the log, 21 were answered", n)
	}
}
