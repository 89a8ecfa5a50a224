package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/assaypdp/assay/test/loopback"
	"github.com/assaypdp/assay/test/program"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/test/revocationcluster"
)

const compromiseConfig = `
issuers:
  - issuer: https://idp.example
    keys: {file: jwks.json}
  - issuer: https://tokens.example
    keys: {vault: access}
vault:
  address: %s
  roles:
    decider: {auth: {approle: {role_id_file: decider.role_id, secret_id_file: decider.secret_id}}}
    issuer: {auth: {approle: {role_id_file: issuer.role_id, secret_id_file: issuer.secret_id}}}
    custodian: {auth: {approle: {role_id_file: custodian.role_id, secret_id_file: custodian.secret_id}}}
  keys:
    access: {type: ecdsa-p256}
revocation:
  jetstream: {url: "nats://%s"}
  max_age: 5m
policy: {timeout: 20s}
limits: {request_timeout: 1m}
callers:
  audience: assay
  grants:
    - issuer: https://idp.example
      subject: desk
      decide: {audiences: [orders]}
      issue:
        - {token_types: ["*"], issuers: ["https://tokens.example"], audiences: ["*"], subjects: ["*"], clients: ["*"], scopes: ["*"]}
      revoke: {read: true, write: ["*"], lift: ["*"], issuers: ["*"]}
`

// natsServer runs one NATS server with JetStream in a process of its own.
func natsServer(t *testing.T) (address string) {
	t.Helper()
	folder := t.TempDir()
	binary, err := revocationcluster.Build(folder)
	if err != nil {
		t.Fatal(err)
	}
	port, err := loopback.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	address = port.Address
	file := filepath.Join(folder, "nats.conf")
	text := fmt.Sprintf("listen: %q\nlogfile: %q\njetstream: {store_dir: %q, max_file_store: 256MB, sync_interval: always}\n", address, file+".log", folder)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command(binary, file)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill() // it may have ended already, which the test has shown
		_ = server.Wait()
		_ = port.Release() // nobody needs it any more
	})
	return address
}

// replicas are served Assays, each a process, that share a Vault and a NATS server.
type replicas struct {
	t      *testing.T
	nats   string   // the address of the NATS server
	config string   // the configuration file
	bases  []string // their URLs
	desk   string   // the bearer token of a caller that may do all that the test does
	key    *ecdsa.PrivateKey
}

func startReplicas(t *testing.T) *replicas {
	t.Helper()
	folder := t.TempDir()
	r := &replicas{t: t, config: filepath.Join(folder, "assay.yaml")}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	server := vaulttest.Start(t)
	r.nats = natsServer(t)
	for name, text := range map[string][]byte{
		"assay.yaml": fmt.Appendf(nil, compromiseConfig, server.Address, r.nats),
		"jwks.json":  jwks(&r.key.PublicKey),
		"desk":       []byte(r.sign("desk", "assay")),
	} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.desk = r.sign("desk", "assay")
	r.assay("VAULT_TOKEN="+server.RootToken, "keys", "setup", "--config", r.config)
	for range 2 {
		r.bases = append(r.bases, "http://"+program.Serve(t, "assay", []string{"--config", r.config, "--listen", "127.0.0.1:0"}, server.RootToken))
	}
	for _, base := range r.bases {
		r.eventually("ready", func() bool {
			answer := r.ask(http.MethodGet, base+"/readyz", nil)
			return strings.Contains(string(answer), `"status":"ok"`)
		})
	}
	return r
}

func (r *replicas) sign(subject, audience string) string {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{"iss": "https://idp.example", "sub": subject, "aud": audience, "client_id": "web",
		"iat": now, "exp": now + 900, "jti": subject, "scope": "revocations"})
	if err != nil {
		r.t.Fatal(err)
	}
	headers := jws.NewHeaders()
	for name, value := range map[string]any{"kid": "k1", "typ": "at+jwt"} {
		if err := headers.Set(name, value); err != nil {
			r.t.Fatal(err)
		}
	}
	token, err := jws.Sign(claims, jws.WithKey(jwa.ES256, r.key, jws.WithProtectedHeaders(headers)))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(token)
}

// assay runs a command of the real program, as a user would.
func (r *replicas) assay(variable string, arguments ...string) string {
	r.t.Helper()
	command := exec.CommandContext(r.t.Context(), "assay", arguments...)
	command.Env = append(os.Environ(), variable)
	var errors bytes.Buffer
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		r.t.Fatalf("assay %s: %v\n%s%s", strings.Join(arguments, " "), err, output, &errors)
	}
	return string(output)
}

func (r *replicas) ask(method, url string, body any) []byte {
	text, err := json.Marshal(body)
	if err != nil {
		r.t.Error(err)
		return nil
	}
	request, err := http.NewRequestWithContext(context.Background(), method, url, bytes.NewReader(text))
	if err != nil {
		r.t.Error(err)
		return nil
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+r.desk)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Error(err)
		return nil
	}
	defer response.Body.Close() //nolint:errcheck // read here
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Error(err)
	}
	return answer
}

func (r *replicas) decide(replica int, token string) string {
	return string(r.ask(http.MethodPost, r.bases[replica]+"/decide", map[string]any{"token": token, "request": map[string]any{"audience": "orders"}}))
}

// denied asks every replica about a token once.
func (r *replicas) denied(token string) bool {
	for replica := range r.bases {
		if !strings.Contains(r.decide(replica, token), `"allow":false`) {
			return false
		}
	}
	return true
}

// issue orders a token; empty where it is to come back.
func (r *replicas) issue(replica int) (token, kid string) {
	answer := r.ask(http.MethodPost, r.bases[replica]+"/tokens", map[string]any{"issuer": "https://tokens.example",
		"subject": "alice", "client_id": "web", "audience": []string{"orders"}, "lifetime_seconds": 600})
	var issued struct {
		Token string `json:"token"`
		Kid   string `json:"key_id"`
	}
	if err := json.Unmarshal(answer, &issued); err != nil {
		r.t.Errorf("issuing: %v: %s", err, answer)
	}
	return issued.Token, issued.Kid
}

func (r *replicas) eventually(what string, condition func() bool) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			r.t.Fatalf("after %s: not %s", patience, what)
		}
		time.Sleep(20 * time.Millisecond) // between looks at a condition
	}
}

// acknowledged stands between the command and a replica, and tells when the answer to the first revocation went by.
func (r *replicas) acknowledged() (address string, at func() time.Time) {
	target, err := url.Parse(r.bases[0])
	if err != nil {
		r.t.Fatal(err)
	}
	var mu sync.Mutex
	var first time.Time
	proxy := &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(target) },
		ModifyResponse: func(response *http.Response) error {
			mu.Lock()
			defer mu.Unlock()
			if first.IsZero() && response.Request.Method == http.MethodPost && response.StatusCode < 300 {
				first = time.Now()
			}
			return nil
		},
	}
	server := httptest.NewServer(proxy)
	r.t.Cleanup(server.Close)
	return server.URL, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return first
	}
}

// seen is what asking one replica about a burnt token without pause has shown.
type seen struct {
	lastAllow, firstDeny time.Time // when the question was put, and when the answer was there
	denials              int
	codes                string
	flickered            bool // it was allowed after it had been denied
}

func (r *replicas) poll(ctx context.Context, replica int, token string, s *seen, slow *slowness) {
	for ctx.Err() == nil {
		asked := time.Now()
		answer := r.decide(replica, token)
		slow.add(asked)
		switch {
		case strings.Contains(answer, `"allow":true`):
			s.lastAllow, s.flickered = asked, s.flickered || s.denials > 0
		case strings.Contains(answer, `"allow":false`):
			if s.denials++; s.denials == 1 {
				s.firstDeny, s.codes = time.Now(), answer
			}
		default:
			r.t.Errorf("replica %d does not decide: %s", replica, answer)
		}
		pause := time.Now()
		time.Sleep(time.Millisecond) // leave the machine to the command
		slow.add(pause)
	}
}

// slowness is how long the machine took for what needs no time on one that is idle. It is what a busy machine may add to a
// bound.
type slowness struct {
	mu   sync.Mutex
	took map[time.Time]time.Duration // guarded by mu: by when it began
}

func (s *slowness) add(began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took == nil {
		s.took = make(map[time.Time]time.Duration)
	}
	s.took[began] = time.Since(began)
}

// between is the longest that anything took which went on at some time between two moments.
func (s *slowness) between(from, to time.Time) (longest time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for began, took := range s.took {
		if began.Before(to) && began.Add(took).After(from) {
			longest = max(longest, took)
		}
	}
	return longest
}

// send sends messages through the NATS server, from a stream of files to a consumer, as a revocation goes to a replica.
func (r *replicas) send(ctx context.Context, slow *slowness) {
	conn, err := nats.Connect(r.nats)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer conn.Close()
	got := make(chan string, 1000)
	js, err := jetstream.New(conn)
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "CONTROL", Subjects: []string{"control"}})
	}
	var consumer jetstream.Consumer
	if err == nil {
		consumer, err = js.OrderedConsumer(ctx, "CONTROL", jetstream.OrderedConsumerConfig{})
	}
	var consuming jetstream.ConsumeContext
	if err == nil {
		consuming, err = consumer.Consume(func(m jetstream.Msg) { got <- string(m.Data()) })
	}
	if err != nil {
		if ctx.Err() == nil {
			r.t.Error(err)
		}
		return
	}
	defer consuming.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		began, text := time.Now(), strconv.Itoa(n)
		if _, err := js.PublishAsync("control", []byte(text)); err != nil {
			r.t.Error(err)
			return
		}
		for came := ""; came != text; {
			select {
			case came = <-got:
			case <-ctx.Done():
				return
			}
		}
		slow.add(began)
		time.Sleep(20 * time.Millisecond) // leave the machine to the command
	}
}

// One command, given as a user gives it, and within a second no replica takes a token of the burnt key: two served
// replicas, each a process, that share a real NATS server and a real Vault. They read Vault every ten seconds, so it
// is the revocation that does it. The second is that of a machine which is not too busy to send a message. What the promoted version signs is allowed on both from its first token on.
func TestCompromiseOnTwoReplicas(t *testing.T) {
	r := startReplicas(t)
	burnt, burntKid := r.issue(0)
	all := make([]seen, len(r.bases))
	for replica := range r.bases {
		if answer := r.decide(replica, burnt); !strings.Contains(answer, `"allow":true`) {
			t.Fatalf("replica %d before: %s", replica, answer)
		}
	}
	server, at := r.acknowledged()
	ctx, stop := context.WithCancel(t.Context())
	var polling sync.WaitGroup
	defer polling.Wait()
	defer stop()
	slow := &slowness{}
	polling.Go(func() { r.send(ctx, slow) })
	for replica := range r.bases {
		polling.Go(func() { r.poll(ctx, replica, burnt, &all[replica], slow) })
	}
	printed := r.assay("VAULT_TOKEN=", "keys", "compromise", "access", "--version", "1", "--reason", "found in a crash dump", "--ticket", "SEC-42",
		"--server", server, "--token-file", filepath.Join(filepath.Dir(r.config), "desk"), "--yes", "--config", r.config)
	if !strings.Contains(printed, "signs now: version 2") || strings.Contains(printed, "NOT REVOKED") {
		t.Errorf("the command printed:\n%s", printed)
	}
	for from := range r.bases {
		var token, kid string
		began := time.Now()
		r.eventually("issuing with the promoted version", func() bool { token, kid = r.issue(from); return token != "" })
		t.Logf("replica %d issues %s after the command has ended", from, time.Since(began).Round(100*time.Microsecond))
		if kid == burntKid || !strings.Contains(printed, kid) {
			t.Errorf("replica %d signs with kid %s after the compromise, which printed:\n%s", from, kid, printed)
		}
		for replica := range r.bases {
			if answer := r.decide(replica, token); !strings.Contains(answer, `"allow":true`) {
				t.Errorf("replica %d denies the first token of the promoted version, issued by replica %d: %s", replica, from, answer)
			}
		}
	}
	r.eventually("a denial on each replica", func() bool { return r.denied(burnt) })
	stop()
	polling.Wait()
	for replica, s := range all {
		took := s.firstDeny.Sub(at())
		late := slow.between(at(), s.firstDeny)
		t.Logf("replica %d: first denied %s after the command's revocation was acknowledged, last allowed when asked %s before that; denied %d times since",
			replica, took.Round(100*time.Microsecond), at().Sub(s.lastAllow).Round(100*time.Microsecond), s.denials)
		if at().IsZero() || s.denials == 0 || took > time.Second+3*late {
			t.Errorf("replica %d: the burnt key's token was denied %s after the acknowledgement at %s; want within a second, and three times the %s that a question, a message or a pause took the machine then",
				replica, took, at(), late)
		}
		if s.flickered || !strings.Contains(s.codes, "revocation.key") {
			t.Errorf("replica %d: allowed again after a denial: %v; the first was %s", replica, s.flickered, s.codes)
		}
	}
}
