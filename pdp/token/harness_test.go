package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// The issuers of the tests.
const (
	issuerAll    = "https://idp.example"     // a key of each kind, every algorithm
	issuerOne    = "https://one.example"     // one EC key and one RSA key, both without kid
	issuerNarrow = "https://narrow.example"  // may sign with ES256 only, publishes an RSA key too
	issuerEmpty  = "https://nothing.example" // publishes no key
)

// testKey is a published key with its private half.
type testKey struct {
	pdp.Key
	signer crypto.Signer
}

// keys are made once: RSA keys take a while. The others are the same in every process, so that what a fuzzer
// kept, and hands to its workers, still verifies.
var keys = sync.OnceValue(func() map[string]*testKey {
	must := func(signer crypto.Signer, err error) crypto.Signer {
		if err != nil {
			panic(err)
		}
		return signer
	}
	ec := func(c elliptic.Curve, seed byte) crypto.Signer {
		scalar := make([]byte, (c.Params().BitSize+7)/8)
		scalar[1], scalar[len(scalar)-1] = 1, seed // below the order of each curve
		return must(ecdsa.ParseRawPrivateKey(c, scalar))
	}
	made := make(map[string]*testKey)
	for name, k := range map[string]struct {
		alg    string
		signer crypto.Signer
	}{
		"es256": {"ES256", ec(elliptic.P256(), 1)}, "es256-next": {"ES256", ec(elliptic.P256(), 2)}, "es384": {"ES384", ec(elliptic.P384(), 3)},
		"es512": {"ES512", ec(elliptic.P521(), 4)}, "ed": {"", ed25519.NewKeyFromSeed(make([]byte, 32))}, "evil": {"ES256", ec(elliptic.P256(), 5)},
		"rsa": {"", must(rsa.GenerateKey(rand.Reader, 2048))}, "rs256": {"RS256", must(rsa.GenerateKey(rand.Reader, 2048))},
	} {
		made[name] = &testKey{pdp.Key{ID: name, Thumbprint: "thumbprint of " + name, Algorithm: k.alg, Public: k.signer.Public()}, k.signer}
	}
	return made
})

// published gives the public halves, under their kids or, with bare, under none.
func published(bare bool, names ...string) []pdp.Key {
	list := make([]pdp.Key, 0, len(names))
	for _, name := range names {
		key := keys()[name].Key
		if bare {
			key.ID = ""
		}
		list = append(list, key)
	}
	return list
}

// book is a Trust whose snapshots a test replaces.
type book struct {
	mu        sync.Mutex
	trusts    map[string]*pdp.Trust
	onRefresh func(*book)
	refreshes atomic.Int64
}

func newBook(t testing.TB) *book {
	b := &book{trusts: make(map[string]*pdp.Trust)}
	b.set(t, pdp.Issuer{ID: issuerAll}, published(false, "es256", "es256-next", "es384", "es512", "ed", "rsa", "rs256"))
	b.set(t, pdp.Issuer{ID: issuerOne}, published(true, "es256", "rsa"))
	b.set(t, pdp.Issuer{ID: issuerNarrow, Algorithms: []string{"ES256"}}, published(false, "es256", "rsa"))
	b.set(t, pdp.Issuer{ID: issuerEmpty}, nil)
	return b
}

func (b *book) set(t testing.TB, issuer pdp.Issuer, keys []pdp.Key) {
	trust, err := pdp.NewTrust(issuer, keys)
	if err != nil {
		t.Fatal(err)
	}
	b.put(issuer.ID, trust)
}

func (b *book) put(issuer string, trust *pdp.Trust) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trusts[issuer] = trust
}

func (b *book) Trust(issuer string) *pdp.Trust {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.trusts[issuer]
}

func (b *book) Refresh(_ context.Context, issuer, _ string) *pdp.Trust {
	b.refreshes.Add(1)
	if b.onRefresh != nil {
		b.onRefresh(b)
	}
	return b.Trust(issuer)
}

func newExaminer(t testing.TB, c Config) *Examiner {
	t.Helper()
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// m is a JSON object; a member whose value is gone is left out.
type m = map[string]any

type absence struct{}

var gone absence

func with(base, over m) m {
	made := maps.Clone(base)
	maps.Copy(made, over)
	maps.DeleteFunc(made, func(_ string, v any) bool { return v == gone })
	return made
}

// header and claims are good ones, changed by over.
func header(alg, kid string, over m) m { return with(m{"alg": alg, "kid": kid, "typ": "at+jwt"}, over) }

func claims(over m) m {
	return with(m{
		"iss": issuerAll, "sub": "subject-1", "aud": "orders", "client_id": "shop", "jti": "jti-1",
		"iat": 1_700_000_000, "exp": 1_700_000_600,
	}, over)
}

// text is the JSON text of a value; a string is the text itself.
func text(value any) []byte {
	if s, ok := value.(string); ok {
		return []byte(s)
	}
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return data
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }

// signed is a token whose header and claims are what they are, signed by the key under alg.
func signed(key, alg string, header, claims any) string {
	input := encode(text(header)) + "." + encode(text(claims))
	return input + "." + encode(signature(keys()[key].signer, alg, input))
}

// good is a token that verifies, of issuerAll.
func good(key, alg string, over m) string {
	return signed(key, alg, header(alg, key, nil), claims(over))
}

// signature signs with the standard library alone (RFC 7518 section 3, RFC 8037 section 3.1).
func signature(signer crypto.Signer, alg, input string) []byte {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	var made []byte
	var err error
	switch private := signer.(type) {
	case ed25519.PrivateKey:
		made = ed25519.Sign(private, []byte(input))
	case *ecdsa.PrivateKey:
		r, s, signErr := ecdsa.Sign(rand.Reader, private, digestBy(hash, input))
		err = signErr
		if err == nil {
			size := (private.Params().BitSize + 7) / 8
			made = append(r.FillBytes(make([]byte, size)), s.FillBytes(make([]byte, size))...)
		}
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			made, err = rsa.SignPSS(rand.Reader, private, hash, digestBy(hash, input), &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			made, err = rsa.SignPKCS1v15(rand.Reader, private, hash, digestBy(hash, input))
		}
	}
	if err != nil || made == nil {
		panic(fmt.Sprintf("signing with %T under %s: %v", signer, alg, err))
	}
	return made
}

func digestBy(hash crypto.Hash, input string) []byte {
	h := hash.New()
	h.Write([]byte(input))
	return h.Sum(nil)
}

// keyFor names the test key that signs under alg.
func keyFor(alg string) string {
	switch alg {
	case "ES256", "ES384", "ES512":
		return strings.ToLower(alg)
	case "EdDSA", "Ed25519":
		return "ed"
	}
	return "rsa"
}
