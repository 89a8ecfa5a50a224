package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/vaultkeys"
)

// encryptingConfig is the rotation test's configuration with an encryption key for one audience.
var encryptingConfig = strings.NewReplacer(
	"{vault: access}", "{vault: access}\n    encrypt_to: {payroll: payroll}",
	"{type: ecdsa-p256}", "{type: ecdsa-p256}\n    payroll: {use: enc, type: rsa-2048}",
).Replace(rotationConfig)

// encryptionRotates leaves the signing key alone, so that what a token is denied for is its envelope.
func encryptionRotates(c *config.Config) {
	quick(c)
	key := c.Vault.Keys["access"]
	key.RotateEvery, key.PublishAhead = config.Duration(time.Hour), config.Duration(time.Hour)
	c.Vault.Keys["access"] = key
	c.Limits.CallerDecryptions = 1 << 20
}

// sender is somebody who encrypts tokens to the audience's published key, with a library that is not ours and a JWKS
// that it keeps for its full max-age.
type sender struct {
	f       *fleet
	replica int

	mu    sync.Mutex
	key   jose.JSONWebKey // guarded by mu
	asked time.Time       // guarded by mu: when it asked for the key
}

// senderKeeps is how long a sender keeps a JWKS.
const senderKeeps = time.Second // the configured max-age

func (s *sender) published(ctx context.Context) (jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) < senderKeeps {
		return s.key, nil
	}
	at := s.f.served[s.replica]
	at.mu.RLock()
	defer at.mu.RUnlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, at.base+"/.well-known/jwks.json", nil)
	if err != nil {
		return s.key, err
	}
	asked := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return s.key, err
	}
	defer response.Body.Close() //nolint:errcheck // read here
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(response.Body).Decode(&set); err != nil {
		return s.key, err
	}
	for _, key := range set.Keys {
		if key.Use == "enc" {
			s.key, s.asked = key, asked
		}
	}
	return s.key, nil
}

func seal(key any, kid, inner string) (string, error) {
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: key, KeyID: kid},
		(&jose.EncrypterOptions{}).WithContentType("JWT"))
	if err != nil {
		return "", err
	}
	sealed, err := encrypter.Encrypt([]byte(inner))
	if err != nil {
		return "", err
	}
	return sealed.CompactSerialize()
}

// good is until when what is encrypted to the key that the sender has now is opened at least: it was the active one when
// it asked, and decrypts for as long as somebody may keep it and a token may live.
func (s *sender) good() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.f.config.Periods("payroll")
	return s.asked.Add(p.JWKSMaxAge + p.MaxTokenLifetime + p.Leeway)
}

const sentByStrangers = "what a sender encrypted with a cached JWKS"

// send encrypts a token to the published key and has a replica decide about it at once: it must be opened.
func (s *sender) send(ctx context.Context, replica int, signed string) {
	key, err := s.published(ctx)
	if err == nil {
		var sealed string
		if sealed, err = seal(key.Key, key.KeyID, signed); err == nil {
			s.f.opens(ctx, replica, sealed, sentByStrangers, s.good())
			return
		}
	}
	if ctx.Err() == nil {
		s.f.problem("encrypting: %v", err)
	}
}

// notOpened counts questions about encrypted tokens that were to be asked again later.
const notOpened = "not opened: asked to come back"

// opens has a replica decide about a token, which it must open until some moment, where it is not zero. It is false where
// it did not decide.
func (f *fleet) opens(ctx context.Context, replica int, token, what string, good time.Time) bool {
	asked := time.Now()
	allow, codes, err := f.decide(ctx, replica, token)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(err, errNotDecided):
		f.count(notOpened)
		return false
	case err != nil:
		f.problem("deciding: %v", err)
	case !allow && !good.IsZero() && !time.Now().Before(good): // it was good when it was encrypted
		f.count("denied too late: " + what)
	case !allow && f.lateLately(replica, asked):
		f.count("denied by a replica that was late: " + what)
		return false
	case !allow:
		f.problem("replica %d denied %s: %v", replica, what, codes)
	default:
		f.count("allowed: " + what)
	}
	return true
}

// mustOpen has a replica decide, however often it asks to come back.
func (f *fleet) mustOpen(replica int, token, what string) {
	f.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		f.look(f.t.Context(), replica)
		if f.opens(f.t.Context(), replica, token, what, time.Time{}) {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("replica %d does not decide: %v", replica, f.counts)
		}
	}
}

// envelopes are tokens that were encrypted to each version that was active, made past Assay.
type envelopes struct {
	mu   sync.Mutex
	kept map[int]*envelope // guarded by mu, by version
}

type envelope struct {
	token string
	end   time.Time // when the version retires; zero while that is not known
}

// watch keeps a token for each version that senders are told of.
func (e *envelopes) watch(ctx context.Context, f *fleet, signed string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	record, err := f.admin.ReadKey(ctx, "payroll")
	if err != nil {
		f.vaultFailed(ctx, "reading the encryption key", err)
		return len(e.kept)
	}
	p := f.config.Periods("payroll")
	for _, s := range vaultkeys.States(record, p, time.Now()) {
		kept := e.kept[s.Number]
		if kept == nil && s.State == vaultkeys.Active {
			kid, err := vaultkeys.Thumbprint(s.Public)
			if err != nil {
				f.problem("%v", err)
				continue
			}
			token, err := seal(s.Public, kid, signed)
			if err != nil {
				f.problem("%v", err)
				continue
			}
			kept = &envelope{token: token}
			e.kept[s.Number] = kept
		}
		if kept != nil {
			kept.end = s.Ends
		}
	}
	return len(e.kept)
}

// hold asks about them: each is opened until its version retires, and not a moment longer, opened before or not.
func (e *envelopes) hold(ctx context.Context, f *fleet, replica int) {
	e.mu.Lock()
	ask := make([]envelope, 0, len(e.kept))
	for _, kept := range e.kept {
		ask = append(ask, *kept)
	}
	e.mu.Unlock()
	for _, kept := range ask {
		asked := time.Now()
		allow, codes, err := f.decide(ctx, replica, kept.token)
		answered := time.Now()
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errNotDecided):
			f.count(notOpened)
		case err != nil:
			f.problem("deciding: %v", err)
		case allow != (kept.end.IsZero() || asked.Before(kept.end)) && f.lateLately(replica, asked):
			f.count("judged by a replica that was late")
		case allow && !kept.end.IsZero() && !asked.Before(kept.end):
			f.problem("replica %d opened a token %s after its version retired", replica, asked.Sub(kept.end))
		case !allow && (kept.end.IsZero() || answered.Before(kept.end)):
			f.problem("replica %d did not open a token whose version retires in %s: %v", replica, time.Until(kept.end), codes)
		case !allow && !strings.Contains(strings.Join(codes, " "), "signature.undecryptable"):
			f.problem("replica %d denied a token of a retired encryption key for %v", replica, codes)
		case !allow:
			f.count("denied: encrypted to a retired version")
		}
	}
}

// An encryption key rotates under load: what senders encrypt with a JWKS that they keep as long as they may is opened by
// every replica, tokens that Assay itself issues too, and what is encrypted to a retired version is not, opened before or
// not, by the clock.
func TestEncryptionKeyRotationUnderLoad(t *testing.T) {
	f := newFleetAt(t, encryptionRotates, encryptingConfig)
	signed := f.fresh("access", "ES256", f.config.Periods("access"))
	l := f.looked(t.Context())
	kept := &envelopes{kept: map[int]*envelope{}}
	for replica := range f.served {
		l.loop(5*time.Millisecond, func(int) { kept.hold(l.ctx, f, replica) })
		s := &sender{f: f, replica: replica}
		l.loop(30*time.Millisecond, func(n int) { s.send(l.ctx, (replica+n)%2, signed) })
		l.loop(30*time.Millisecond, func(n int) {
			order := httpapi.TokenOrder{TokenType: pdp.AccessToken, Subject: "alice", ClientID: "web", Audience: []string{"payroll"}, LifetimeSeconds: 2}
			f.issueAndOpen(l.ctx, replica, order)
		})
	}
	want := min(4, *rotations)
	for deadline := time.Now().Add(patience); kept.watch(l.ctx, f, signed) <= want && !f.failed(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the encryption key does not rotate")
		}
	}
	f.until(0, "a version retired", func() bool {
		kept.watch(l.ctx, f, signed)
		return f.counted("denied: encrypted to a retired version") > 10 || f.failed()
	})
	l.end()
	for _, problem := range f.problems[:min(20, len(f.problems))] {
		t.Error(problem)
	}
	t.Logf("%d versions were encrypted to: %v", len(kept.kept), f.counts)
	for _, what := range []string{"allowed: " + sentByStrangers, "allowed: what Assay issued"} {
		if f.counts[what] == 0 {
			t.Errorf("that shows nothing: not %s", what)
		}
	}
}

// issueAndOpen has a token issued that is encrypted, and decided about by the other replica.
func (f *fleet) issueAndOpen(ctx context.Context, replica int, order httpapi.TokenOrder) {
	s := f.served[replica]
	s.mu.RLock()
	issued, err := s.app.Issuer.Issue(ctx, pdp.Caller{}, order)
	s.mu.RUnlock()
	if ctx.Err() != nil {
		return
	}
	if _, away := errors.AsType[*httpapi.UnavailableError](err); away {
		f.count(notIssued)
		return
	}
	if err != nil || issued.EncryptionKeyID == "" {
		f.problem("issuing an encrypted token: %v, to kid %q", err, issued.EncryptionKeyID)
		return
	}
	body := map[string]any{"token": issued.Token, "request": map[string]any{"audience": "payroll"}}
	asked := time.Now()
	allow, codes, err := f.decideAbout(ctx, 1-replica, body)
	switch {
	case ctx.Err() != nil || !time.Now().Before(issued.ExpiresAt):
	case errors.Is(err, errNotDecided):
		f.count(notOpened)
	case err == nil && !allow && f.lateLately(1-replica, asked):
		f.count("denied by a replica that was late: what Assay issued")
	case err != nil || !allow:
		f.problem("replica %d denied what replica %d issued: %v %v", 1-replica, replica, codes, err)
	default:
		f.count("allowed: what Assay issued")
	}
}

func (f *fleet) counted(what string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts[what]
}

// An encryption key leaked: after the one command what is encrypted to it is not opened, whether it was before or not;
// the pending version is published and used; and the signatures inside are as good as they were.
func TestEncryptionKeyCompromised(t *testing.T) {
	f := newFleetAt(t, func(c *config.Config) {
		encryptionRotates(c)
		key := c.Vault.Keys["payroll"]
		key.RotateEvery, key.PublishAhead = config.Duration(time.Hour), config.Duration(time.Hour)
		c.Vault.Keys["payroll"] = key
	}, strings.Replace(encryptingConfig, "custodian: {enabled: true}", "custodian: {enabled: false}", 1))
	signed := f.fresh("access", "ES256", f.config.Periods("access"))
	s := &sender{f: f}
	key, err := s.published(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var burnt [2]string // one that is opened before, and one that is not
	for i := range burnt {
		if burnt[i], err = seal(key.Key, key.KeyID, signed); err != nil {
			t.Fatal(err)
		}
	}
	f.mustOpen(0, burnt[0], "before")
	f.mustOpen(1, burnt[0], "before")
	output, err := exec.CommandContext(t.Context(), "assay", "keys", "compromise", "payroll", "--version", "1", "--reason", "found in a backup",
		"--ticket", "SEC-7", "--yes", "--config", filepath.Join(f.folder, "assay.yaml")).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, said := range []string{"burnt: version 1 of payroll, kid " + key.KeyID, "destroyed", "encrypted to now: version 2", "can read every token that was ever encrypted", "pending: version 3"} {
		if !strings.Contains(string(output), said) {
			t.Errorf("the command does not say %q:\n%s", said, output)
		}
	}
	if strings.Contains(string(output), "signs now") || strings.Contains(string(output), "NOT REVOKED") {
		t.Errorf("the command speaks of signatures:\n%s", output)
	}
	for replica := range f.served {
		for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) { // the poll
			denied := 0
			for _, token := range burnt {
				if allow, _, err := f.decide(t.Context(), replica, token); err == nil && !allow {
					denied++
				}
			}
			if denied == len(burnt) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("replica %d opens what is encrypted to the burnt key", replica)
			}
		}
		s := &sender{f: f, replica: replica}
		promoted, err := s.published(t.Context())
		if err != nil || promoted.KeyID == key.KeyID {
			t.Fatalf("replica %d publishes kid %s: %v", replica, promoted.KeyID, err)
		}
		sealed, err := seal(promoted.Key, promoted.KeyID, signed)
		if err != nil {
			t.Fatal(err)
		}
		f.mustOpen(replica, sealed, "after")
	}
	for _, problem := range f.problems {
		t.Error(problem)
	}
	if f.counts["allowed: after"] != 2 {
		t.Error("what is encrypted to the promoted version is not opened")
	}
}
