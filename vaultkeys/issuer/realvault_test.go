package issuer_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/policies"
	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/issuer"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

const issuerID = "https://assay.example"

// plant is an Issuer as a deployment has it: keys and roles provisioned in a real Vault, a keyring that reads as
// the decider, signatures asked for as the issuer, tokens judged by the embedded policies. Its clock is the
// machine's and an offset.
type plant struct {
	testing.TB
	root  *api.Client
	mount string
	admin *transit.Client
	// desired is what admin has provisioned.
	desired transit.Desired
	signer  *transit.Client
	ring    *vaultkeys.Keyring
	issuer  *issuer.Issuer

	ahead atomic.Int64 // nanoseconds that the clock is ahead
	calls atomic.Int64 // that were made to sign
	items atomic.Int64 // signatures that they asked for
}

func (p *plant) clock() time.Time { return time.Now().Add(time.Duration(p.ahead.Load())) }

func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newPlant(t testing.TB, server *realvault.Server, change func(*issuer.Config), keys ...transit.DesiredKey) *plant {
	t.Helper()
	mount := vaulttest.Mount(t)
	p := &plant{TB: t, mount: mount, root: vaulttest.Root(t, server, "")}
	desired := transit.Desired{Prefix: mount + "-", AppRoleMount: mount, Keys: keys}
	configs := make([]vaultkeys.KeyConfig, len(keys))
	names := make([]string, len(keys))
	for i, key := range keys {
		names[i] = key.Name
		configs[i] = vaultkeys.KeyConfig{Name: key.Name, Type: key.Type, Algorithm: key.Algorithm}
	}
	desired.Roles = []transit.DesiredRole{{Role: transit.Decider, Keys: names}, {Role: transit.Issuer, Keys: names}}
	client := func(auth transit.Auth) *transit.Client {
		return must[*transit.Client](t)(transit.New(transit.Config{
			Address: server.Address, Mount: mount, Auth: auth, Timeout: 20 * time.Second,
			LoginBackoff: 10 * time.Millisecond, MaxLoginBackoff: 50 * time.Millisecond, BreakerOpen: 50 * time.Millisecond,
		}))
	}
	admin := client(transit.StaticToken(server.RootToken))
	if err := admin.Apply(t.Context(), must[transit.Plan](t)(admin.Plan(t.Context(), desired)), nil); err != nil {
		t.Fatal(err)
	}
	p.admin, p.desired = admin, desired
	login := func(role transit.Role) *transit.Client {
		made := must[transit.Credentials](t)(admin.Issue(t.Context(), desired, role))
		dir := t.TempDir()
		auth := transit.AppRole{Mount: mount, RoleIDFile: filepath.Join(dir, "role_id"), SecretIDFile: filepath.Join(dir, "secret_id")}
		for path, content := range map[string]string{auth.RoleIDFile: made.RoleID, auth.SecretIDFile: made.SecretID} {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return client(auth)
	}
	p.signer = login(transit.Issuer)
	p.ring = must[*vaultkeys.Keyring](t)(vaultkeys.New(vaultkeys.Config{Reader: login(transit.Decider), Keys: configs, Now: p.clock}))
	p.load()
	c := issuer.Config{Keys: p.ring, Signer: p.signer, Judge: newJudge(p), Now: p.clock, Unavailable: unavailable, OnSign: func(e issuer.SignEvent) {
		p.calls.Add(1)
		p.items.Add(int64(e.Items))
	}}
	if change != nil {
		change(&c)
	}
	p.issuer = must[*issuer.Issuer](t)(issuer.New(c))
	return p
}

func unavailable(err error) (time.Duration, bool) {
	away, ok := errors.AsType[*transit.UnavailableError](err)
	if !ok {
		return 0, false
	}
	return away.RetryAfter, true
}

func (p *plant) load() {
	p.Helper()
	if err := p.ring.Load(p.Context()); err != nil {
		p.Fatal(err)
	}
}

// judge is what a deployment asks: the decider with the embedded policies, about the token to come.
type judge struct {
	decider *pdp.Decider
	ring    *vaultkeys.Keyring
}

func newJudge(p *plant) judge {
	p.Helper()
	revision := must[*policy.Revision](p)(policy.Compile(p.Context(), policy.Source{
		Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema(),
	}))
	decider := must[*pdp.Decider](p)(pdp.New(pdp.Config{
		Examiner: noExaminer{}, Policy: must[*policy.Engine](p)(policy.New(policy.Config{
			Revision: revision, Timeout: time.Minute, // a machine that is busy with other tests is no reason to fail
		})), Now: p.clock, NewID: func(time.Time) string { return "id" },
	}))
	return judge{decider, p.ring}
}

func (j judge) Judge(ctx context.Context, q issuer.Proposal) (*pdp.Decision, error) {
	trust, err := pdp.NewTrust(pdp.Issuer{ID: q.Issuer}, []pdp.Key{q.Key})
	if err != nil {
		return nil, err
	}
	t, v, err := token.Unsigned(q.Header, q.Payload, trust, &q.Key)
	if err != nil {
		return nil, err
	}
	return j.decider.Judge(ctx, &pdp.Request{Audience: q.Audience, TokenType: q.TokenType}, t, v)
}

// noExaminer is never asked: an issuer has tokens judged that nobody has to read first.
type noExaminer struct{}

func (noExaminer) Examine(context.Context, string) (*pdp.Token, *pdp.Verification, error) {
	return nil, nil, errors.New("nobody examines here")
}

func order(key string) issuer.Order {
	return issuer.Order{Issuer: issuerID, KeyName: key, Subject: "alice", ClientID: "shop", Audience: []string{"orders"}, Scope: "read", Lifetime: time.Minute}
}

func (p *plant) issue(key string) *issuer.Issued {
	p.Helper()
	issued := must[*issuer.Issued](p)(p.issuer.Issue(p.Context(), order(key)))
	if err := p.verify(issued); err != nil {
		p.Fatal(err)
	}
	return issued
}

// verify holds a token against the published document, as somebody who knows nothing else would, with another
// library than ours.
func (p *plant) verify(issued *issuer.Issued) error {
	set, err := jwk.Parse(p.ring.JWKS().Body)
	if err != nil {
		return err
	}
	key, ok := set.LookupKeyID(issued.KeyID)
	if !ok {
		return fmt.Errorf("the document does not have %s", issued.KeyID)
	}
	if got := key.Algorithm().String(); got != issued.Algorithm {
		return fmt.Errorf("alg %s, published as %s", issued.Algorithm, got)
	}
	if issued.Algorithm != "Ed25519" { // a name that the other library does not know yet
		_, err = jws.Verify([]byte(issued.Token), jws.WithKey(key.Algorithm(), key))
		return err
	}
	var public ed25519.PublicKey
	if err := key.Raw(&public); err != nil {
		return err
	}
	message, err := jws.Parse([]byte(issued.Token))
	if err != nil {
		return err
	}
	if input := issued.Token[:strings.LastIndexByte(issued.Token, '.')]; !ed25519.Verify(public, []byte(input), message.Signatures()[0].Signature()) {
		return errors.New("the signature does not verify")
	}
	return nil
}

func TestEveryAlgorithmSignedInVault(t *testing.T) {
	var keys []transit.DesiredKey
	add := func(keyType string, algorithms ...string) {
		for _, alg := range algorithms {
			keys = append(keys, transit.DesiredKey{Name: strings.ToLower(alg), Type: keyType, Algorithm: alg, Versions: 1})
		}
	}
	add("ecdsa-p256", "ES256")
	add("ecdsa-p384", "ES384")
	add("ecdsa-p521", "ES512")
	add("ed25519", "EdDSA", "Ed25519")
	add("rsa-2048", "RS256", "RS384", "RS512", "PS256")
	add("rsa-3072", "PS384")
	add("rsa-4096", "PS512")
	const callers = 24
	crowd := &crowd{}
	p := newPlant(t, vaulttest.Shared(t), func(c *issuer.Config) {
		c.MaxCalls, crowd.judge = 1, c.Judge
		c.Judge = crowd
	}, keys...)
	if got, want := len(keys), len(pdp.Algorithms()); got != want {
		t.Fatalf("%d algorithms of %d are tried", got, want)
	}
	for _, key := range keys {
		t.Run(key.Algorithm, func(t *testing.T) {
			if issued := p.issue(key.Name); issued.Algorithm != key.Algorithm {
				t.Errorf("signed with %s", issued.Algorithm)
			}
			calls, items := p.calls.Load(), p.items.Load()
			failed := make([]error, callers)
			crowd.gather(callers)
			var all sync.WaitGroup
			for i := range failed {
				all.Go(func() {
					issued, err := p.issuer.Issue(t.Context(), order(key.Name))
					if err == nil {
						err = p.verify(issued)
					}
					failed[i] = err
				})
			}
			all.Wait()
			if err := errors.Join(failed...); err != nil {
				t.Error(err)
			}
			if calls, items = p.calls.Load()-calls, p.items.Load()-items; items != callers || calls >= callers {
				t.Errorf("%d calls for %d signatures: nothing went together", calls, items)
			}
		})
	}
}

// crowd keeps judged orders back until so many are, so that they come to be signed at the same time.
type crowd struct {
	judge issuer.Judge

	mu       sync.Mutex
	missing  int           // guarded by mu
	complete chan struct{} // guarded by mu; closed when none is missing
}

func (c *crowd) gather(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.missing, c.complete = n, make(chan struct{})
}

func (c *crowd) Judge(ctx context.Context, q issuer.Proposal) (*pdp.Decision, error) {
	d, err := c.judge.Judge(ctx, q)
	c.mu.Lock()
	complete := c.complete
	if c.missing--; c.missing <= 0 && complete != nil {
		close(complete)
		c.complete = nil
	}
	c.mu.Unlock()
	if complete != nil {
		select {
		case <-complete:
		case <-time.After(3 * time.Minute): // others failed before
		}
	}
	return d, err
}

// raise sets both minimum versions in Vault, by the operator's hand.
func (p *plant) raise(key string, version int) {
	p.Helper()
	_, err := p.root.Logical().Write(p.mount+"/keys/"+key+"/config", map[string]any{
		"min_encryption_version": version, "min_decryption_version": version})
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plant) rotate(key string) {
	p.Helper()
	if _, err := p.root.Logical().Write(p.mount+"/keys/"+key+"/rotate", nil); err != nil {
		p.Fatal(err)
	}
}

func (p *plant) after(d time.Duration) {
	p.Helper()
	p.ahead.Add(int64(d))
	p.load()
}

func TestRotationInVault(t *testing.T) {
	p := newPlant(t, vaulttest.Shared(t), nil, transit.DesiredKey{Name: "access", Type: "ecdsa-p256"})
	first := p.issue("access")
	if first.KeyVersion != 1 {
		t.Fatalf("version %d signs, though the other was just made", first.KeyVersion)
	}
	p.rotate("access") // surplus: version 3 is pending beside 2
	p.after(0)
	if again := p.issue("access"); again.KeyID != first.KeyID {
		t.Errorf("a rotation changed the signer at once: version %d", again.KeyVersion)
	}
	p.after(vaultkeys.DefaultRotateEvery)
	second := p.issue("access")
	if second.KeyVersion < 2 {
		t.Errorf("after rotate_every version %d signs", second.KeyVersion)
	}
	if err := p.verify(first); err != nil {
		t.Errorf("a token of the version that stopped signing: %v", err)
	}
	p.after(vaultkeys.DefaultMaxTokenLifetime + 2*vaultkeys.DefaultLeeway)
	if err := p.verify(first); err == nil {
		t.Error("the first version is published still")
	}
	p.issue("access")
}

func TestCompromiseInVault(t *testing.T) {
	p := newPlant(t, vaulttest.Shared(t), nil, transit.DesiredKey{Name: "access", Type: "ecdsa-p256"})
	first := p.issue("access")
	p.raise("access", 2)
	p.ahead.Add(int64(2 * time.Second)) // the keyring has not polled
	second := p.issue("access")
	if second.KeyVersion != 2 {
		t.Errorf("version %d", second.KeyVersion)
	}
	if err := p.verify(first); err == nil {
		t.Error("what the withdrawn version signed verifies still")
	}
}

func TestPolicyJudgesBeforeVaultSigns(t *testing.T) {
	p := newPlant(t, vaulttest.Shared(t), nil, transit.DesiredKey{Name: "access", Type: "ed25519"})
	o := order("access")
	o.TokenType, o.Claims = pdp.GenericToken, map[string]any{"nonce": "n"} // what marks an ID token
	issued, err := p.issuer.Issue(t.Context(), o)
	refused, ok := errors.AsType[*issuer.RefusedError](err)
	if issued != nil || !ok || len(refused.Reasons) == 0 {
		t.Fatalf("%v, %v", issued, err)
	}
	if n := p.calls.Load(); n != 0 {
		t.Errorf("Vault was asked %d times", n)
	}
}

func TestIssuingSurvivesASeal(t *testing.T) {
	server := vaulttest.Start(t)
	p := newPlant(t, server, nil, transit.DesiredKey{Name: "access", Type: "ecdsa-p256"})
	p.issue("access")
	if err := server.Seal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 5 { // past the breaker's patience: it opens, and that is unavailable too
		issued, err := p.issuer.Issue(t.Context(), order("access"))
		if away, ok := errors.AsType[*issuer.UnavailableError](err); issued != nil || !ok || away.RetryAfter <= 0 {
			t.Fatalf("sealed: %v, %v", issued, err)
		}
	}
	if err := server.Unseal(t.Context()); err != nil {
		t.Fatal(err)
	}
	until, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	for {
		issued, err := p.issuer.Issue(until, order("access"))
		if err == nil {
			if err := p.verify(issued); err != nil {
				t.Error(err)
			}
			return
		}
		if _, ok := errors.AsType[*issuer.UnavailableError](err); !ok {
			t.Fatal(err)
		}
	}
}
