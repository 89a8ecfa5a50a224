package issuer

import (
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

var audienceKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// audiences has the key of one audience, "orders", unless err.
type audiences struct{ err error }

func (a *audiences) Encryption(name string) (pdp.Key, error) {
	switch {
	case a.err != nil:
		return pdp.Key{}, a.err
	case name != "orders":
		return pdp.Key{}, vaultkeys.ErrUnknownKey
	}
	return pdp.Key{ID: "orders-1", Algorithm: "RSA-OAEP-256", Public: &audienceKey().PublicKey}, nil
}

// sealed is an order for a token that is encrypted.
func sealed() Order {
	o := order()
	o.EncryptTo = "orders"
	return o
}

// opened is what another library finds in the token, with the private key.
func opened(t *testing.T, token string) (inner string, header jose.Header) {
	t.Helper()
	encrypted, err := jose.ParseEncryptedCompact(token, []jose.KeyAlgorithm{jose.RSA_OAEP_256}, []jose.ContentEncryption{jose.A256GCM})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := encrypted.Decrypt(audienceKey())
	if err != nil {
		t.Fatal(err)
	}
	return string(plain), encrypted.Header
}

func TestTokenIsEncryptedToItsAudience(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Encryption = &audiences{} })
	var tokens []string
	for range 2 {
		issued, err := f.issuer.Issue(t.Context(), sealed())
		if err != nil {
			t.Fatal(err)
		}
		inner, header := opened(t, issued.Token)
		if header.KeyID != "orders-1" || issued.EncryptionKeyID != "orders-1" || header.ExtraHeaders[jose.HeaderContentType] != "JWT" {
			t.Errorf("header %+v, said to be %q", header, issued.EncryptionKeyID)
		}
		if _, zipped := header.ExtraHeaders["zip"]; zipped {
			t.Error("it is compressed")
		}
		tokens = append(tokens, issued.Token)
		issued.Token = inner
		f.check(issued)
	}
	for i, part := range strings.Split(tokens[0], ".") {
		if same := strings.Split(tokens[1], ".")[i] == part; same != (i == 0) {
			t.Errorf("part %d of two tokens: the same %v", i, same)
		}
	}
	for _, p := range f.judge.proposals() {
		if !p.Encrypted {
			t.Error("the judge was not told that it will be encrypted")
		}
	}
	if plain := f.issue(order()); plain.EncryptionKeyID != "" {
		t.Errorf("an order without it: %+v", plain)
	}
}

func TestTokenThatCannotBeEncrypted(t *testing.T) {
	keys := &audiences{}
	f := newFixture(t, func(c *Config) { c.Encryption = keys })
	unavailable := func(err error) bool { _, ok := errors.AsType[*UnavailableError](err); return ok }
	fault := func(err error) bool { return err != nil && !unavailable(err) }
	for _, c := range []struct {
		name string
		to   string
		err  error
		want func(error) bool
	}{
		{"an unknown key", "billing", nil, fault},
		{"a key that is not known", "orders", fmt.Errorf("%w: orders", vaultkeys.ErrNotKnown), unavailable},
		{"a key without a version", "orders", vaultkeys.ErrNoSigner, unavailable},
	} {
		keys.err = c.err
		o := order()
		o.EncryptTo = c.to
		if issued, err := f.issuer.Issue(t.Context(), o); issued != nil || !c.want(err) {
			t.Errorf("%s: %+v, %v", c.name, issued, err)
		}
	}
	if len(f.vault.made()) != 0 {
		t.Error("it was signed, for nothing")
	}
}

// The limit is one of the whole token, and is known before Vault is asked.
func TestEncryptedTokenIsNotTooLong(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Encryption = &audiences{} })
	issued, err := f.issuer.Issue(t.Context(), sealed())
	if err != nil {
		t.Fatal(err)
	}
	for limit, good := range map[int]bool{len(issued.Token): true, len(issued.Token) - 1: false} {
		f := newFixture(t, func(c *Config) { c.Encryption, c.MaxTokenSize = &audiences{}, limit })
		_, err := f.issuer.Issue(t.Context(), sealed())
		if _, wrong := errors.AsType[*OrderError](err); wrong == good {
			t.Errorf("limit %d for %d bytes: %v", limit, len(issued.Token), err)
		}
	}
}
