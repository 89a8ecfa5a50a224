package issuer

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// A version is due to sign 100 s after it was made.
var testPeriods = vaultkeys.Periods{
	RotateEvery: 100 * time.Second, PublishAhead: 20 * time.Second, MaxTokenLifetime: 30 * time.Second,
	Leeway: 5 * time.Second, JWKSMaxAge: 10 * time.Second, Poll: 4 * time.Second, ClockSkew: 5 * time.Second,
}

var errRefused = errors.New("vault refuses: the version is below min_encryption_version")

// call is one call that the localVault got.
type call struct {
	key     string
	version int
	alg     string
	items   int
}

// localVault keeps Ed25519 keys in memory and does what transit does with them. It is the keyring's Reader and
// the Issuer's Signer.
type localVault struct {
	// hold, when set, keeps every call under way until it can take a value from it, or the call's context ends.
	hold chan struct{}
	// spoil, when set, may change what is answered to the n-th call, counted from 0.
	spoil func(n int, signatures [][]byte, err error) ([][]byte, error)

	mu      sync.Mutex
	records map[string]vaultkeys.Record           // guarded by mu
	private map[string]map[int]ed25519.PrivateKey // guarded by mu
	calls   []call                                // guarded by mu
	open    int                                   // guarded by mu: calls under way
	most    int                                   // guarded by mu: the most at one time
}

// add gives a key versions that were made at those seconds after the epoch.
func (v *localVault) add(t testing.TB, name string, created ...int) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	r := vaultkeys.Record{Name: name, Type: "ed25519", Latest: len(created), MinDecryptionVersion: 1}
	v.private[name] = make(map[int]ed25519.PrivateKey)
	for i, seconds := range created {
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		v.private[name][i+1] = private
		r.Versions = append(r.Versions, vaultkeys.Version{Number: i + 1, Created: epoch.Add(time.Duration(seconds) * time.Second), Public: public})
	}
	v.records[name] = r
}

// withdraw raises both minimum versions, as after a compromise.
func (v *localVault) withdraw(name string, below int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.records[name]
	r.Versions, r.MinDecryptionVersion, r.MinEncryptionVersion = r.Versions[below-r.Versions[0].Number:], below, below
	v.records[name] = r
}

func (v *localVault) ReadKey(_ context.Context, name string) (vaultkeys.Record, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.records[name]
	if !ok {
		return r, errors.New("vault: no such key")
	}
	return r, nil
}

func (v *localVault) Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error) {
	v.mu.Lock()
	n := len(v.calls)
	v.calls = append(v.calls, call{key, version, alg, len(inputs)})
	v.open++
	v.most = max(v.most, v.open)
	v.mu.Unlock()
	defer func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.open--
	}()
	if v.hold != nil {
		select {
		case <-v.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	signatures, err := v.sign(key, version, alg, inputs)
	if v.spoil != nil {
		return v.spoil(n, signatures, err)
	}
	return signatures, err
}

func (v *localVault) sign(key string, version int, alg string, inputs [][]byte) ([][]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	private, ok := v.private[key][version]
	switch {
	case alg != "EdDSA" || !ok:
		return nil, errors.New("vault: no such version or algorithm")
	case version < v.records[key].MinEncryptionVersion:
		return nil, errRefused
	}
	signatures := make([][]byte, len(inputs))
	for i, input := range inputs {
		signatures[i] = ed25519.Sign(private, input)
	}
	return signatures, nil
}

func (v *localVault) made() []call {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]call(nil), v.calls...)
}

// sizes are how many items each call had.
func (v *localVault) sizes() (sizes []int) {
	for _, c := range v.made() {
		sizes = append(sizes, c.items)
	}
	return sizes
}

// localJudge allows, unless told otherwise, and keeps what it was asked.
type localJudge struct {
	answer func(Proposal) (*pdp.Decision, error)

	mu    sync.Mutex
	asked []Proposal // guarded by mu
}

func (j *localJudge) Judge(_ context.Context, p Proposal) (*pdp.Decision, error) {
	j.mu.Lock()
	j.asked = append(j.asked, p)
	j.mu.Unlock()
	if j.answer != nil {
		return j.answer(p)
	}
	return &pdp.Decision{Allow: true}, nil
}

func (j *localJudge) proposals() []Proposal {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]Proposal(nil), j.asked...)
}

// fixture is an Issuer over a local Vault, a real Keyring, and a clock that the test moves. Its keys are
// "access" and "other", each with an active version and a pending one that is due at 110 s.
type fixture struct {
	testing.TB
	vault  *localVault
	judge  *localJudge
	ring   *vaultkeys.Keyring
	issuer *Issuer

	mu  sync.Mutex
	now time.Time // guarded by mu
	bad int       // guarded by mu: signatures that OnBadSignature was told of
}

func newFixture(t testing.TB, change func(*Config)) *fixture {
	t.Helper()
	f := &fixture{TB: t, judge: &localJudge{}, now: epoch.Add(20 * time.Second)}
	f.vault = &localVault{records: make(map[string]vaultkeys.Record), private: make(map[string]map[int]ed25519.PrivateKey)}
	f.vault.add(t, "access", 0, 10)
	f.vault.add(t, "other", 0, 10)
	var err error
	f.ring, err = vaultkeys.New(vaultkeys.Config{Reader: f.vault, Now: f.clock, MaxStale: time.Hour, Keys: []vaultkeys.KeyConfig{
		{Name: "access", Type: "ed25519", Periods: testPeriods}, {Name: "other", Type: "ed25519", Periods: testPeriods}}})
	if err != nil {
		t.Fatal(err)
	}
	f.load()
	c := Config{Keys: f.ring, Signer: f.vault, Judge: f.judge, Now: f.clock, OnBadSignature: func(string, int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.bad++
	}}
	if change != nil {
		change(&c)
	}
	if f.issuer, err = New(c); err != nil {
		t.Fatal(err)
	}
	return f
}

func (f *fixture) load() {
	f.Helper()
	if err := f.ring.Load(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fixture) advance(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *fixture) badSignatures() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}

// order is one that is in order.
func order() Order {
	return Order{Issuer: "https://assay.example", KeyName: "access", Subject: "alice", ClientID: "shop", Audience: []string{"orders"}}
}

func (f *fixture) issue(o Order) *Issued {
	f.Helper()
	issued, err := f.issuer.Issue(f.Context(), o)
	if err != nil {
		f.Fatal(err)
	}
	f.check(issued)
	return issued
}

// decode gives the three parts of a compact token.
func decode(t testing.TB, token string) (header, payload, signature []byte) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%d parts", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			t.Fatal(err)
		}
	}
	return decoded[0], decoded[1], decoded[2]
}

// check verifies a token with the keys that are published now, by the standard library alone, and holds what
// was said of it against what is in it.
func (f *fixture) check(issued *Issued) {
	f.Helper()
	header, payload, signature := decode(f, issued.Token)
	var h struct{ Alg, Kid, Typ string }
	var c struct {
		Iss, Jti string
		Exp, Iat int64
	}
	if err := errors.Join(json.Unmarshal(header, &h), json.Unmarshal(payload, &c)); err != nil {
		f.Fatal(err)
	}
	if h.Alg != issued.Algorithm || h.Kid != issued.KeyID || c.Iss != issued.Issuer || c.Jti != issued.TokenID ||
		c.Exp != issued.ExpiresAt.Unix() || c.Iat != issued.IssuedAt.Unix() {
		f.Errorf("said to be %+v, is %s %s", issued, header, payload)
	}
	published, err := f.ring.Verification("access")
	if err != nil {
		f.Fatal(err)
	}
	input := issued.Token[:strings.LastIndexByte(issued.Token, '.')]
	for _, key := range published.Keys {
		if key.ID == h.Kid {
			if !ed25519.Verify(key.Public.(ed25519.PublicKey), []byte(input), signature) {
				f.Error("the signature does not verify")
			}
			return
		}
	}
	f.Errorf("the key %s is not published", h.Kid)
}

// result is how one Issue ended.
type result struct {
	issued *Issued
	err    error
}

// start issues n tokens at once, and answers where each outcome will come.
func (f *fixture) start(ctx context.Context, n int) <-chan result {
	results := make(chan result, n)
	for range n {
		go func() {
			issued, err := f.issuer.Issue(ctx, order())
			results <- result{issued, err}
		}()
	}
	return results
}

// good takes n outcomes that must be tokens, no two with the same id.
func (f *fixture) good(results <-chan result, n int) {
	f.Helper()
	ids := make(map[string]bool)
	for range n {
		r := <-results
		if r.err != nil {
			f.Error(r.err)
			continue
		}
		f.check(r.issued)
		if ids[r.issued.TokenID] {
			f.Error("a token id twice")
		}
		ids[r.issued.TokenID] = true
	}
}
