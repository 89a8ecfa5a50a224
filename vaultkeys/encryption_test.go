package vaultkeys

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
)

// rsaKeys are made once: they are slow to make.
var rsaKeys = sync.OnceValue(func() [3]*rsa.PublicKey {
	var keys [3]*rsa.PublicKey
	for i := range keys {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		keys[i] = &key.PublicKey
	}
	return keys
})

func encryptionRecord(versions ...[2]int) Record {
	r := record(1, 0, versions...)
	r.Name, r.Type = "orders", "rsa-2048"
	for i := range r.Versions {
		r.Versions[i].Public = rsaKeys()[r.Versions[i].Number-1]
	}
	return r
}

// encryptionRing is one over a record, read at 0, with a clock that the test moves.
func encryptionRing(t *testing.T, r Record) (ring *EncryptionRing, move func(seconds int)) {
	t.Helper()
	now := at(0)
	ring, err := NewEncryption(Config{
		Reader: readerFunc(func() (Record, error) { return r, nil }), MaxStale: time.Hour, Now: func() time.Time { return now },
		Keys: []KeyConfig{{Name: "orders", Type: "rsa-2048", Periods: testPeriods}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return ring, func(seconds int) {
		now = at(seconds)
		if err := ring.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

type readerFunc func() (Record, error)

func (f readerFunc) ReadKey(context.Context, string) (Record, error) { return f() }

// One version is published at a time; each decrypts from the beginning, and until what was encrypted with a
// kept set has ended: due at 100 s (versions made at 0), kept 10 + 5 + 30 + 5 s after the next is due.
func TestLifeOfEncryptionKeys(t *testing.T) {
	ring, move := encryptionRing(t, encryptionRecord([2]int{1, 0}, [2]int{2, 10}, [2]int{3, 110}))
	for _, c := range []struct {
		name      string
		seconds   int
		published int
		decrypts  [3]bool
	}{
		{"new", 10, 1, [3]bool{true, true, true}},
		{"before the second is due", 109, 1, [3]bool{true, true, true}},
		{"the second is due", 110, 2, [3]bool{true, true, true}},
		{"the last that a kept set allows", 159, 2, [3]bool{true, true, true}},
		{"the first is retired", 160, 2, [3]bool{false, true, true}},
		{"the third is due", 210, 3, [3]bool{false, true, true}},
		{"the second is retired", 260, 3, [3]bool{false, false, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			move(c.seconds)
			key, err := ring.Encryption("orders")
			if err != nil || !key.Public.(*rsa.PublicKey).Equal(rsaKeys()[c.published-1]) || key.Algorithm != EncryptionAlgorithm {
				t.Errorf("encrypts to %+v, %v", key, err)
			}
			for i, want := range c.decrypts {
				kid, err := Thumbprint(rsaKeys()[i])
				if err != nil {
					t.Fatal(err)
				}
				name, version, err := ring.Decryption(kid)
				if want && (err != nil || name != "orders" || version != i+1) || !want && !errors.Is(err, ErrNotHeld) {
					t.Errorf("version %d: %q %d, %v", i+1, name, version, err)
				}
			}
			set, err := jwk.Parse(ring.JWKS().Body)
			if err != nil || set.Len() != 1 {
				t.Fatalf("%s: %v", ring.JWKS().Body, err)
			}
			only, _ := set.Key(0)
			if only.KeyID() != key.ID || only.KeyUsage() != "enc" || only.Algorithm().String() != "RSA-OAEP-256" {
				t.Errorf("published: %s", ring.JWKS().Body)
			}
		})
	}
}

func TestEncryptionKeysThatAreNotKnown(t *testing.T) {
	ring, move := encryptionRing(t, encryptionRecord([2]int{1, 0}))
	if _, _, err := ring.Decryption("x"); !errors.Is(err, ErrNotKnown) {
		t.Errorf("before anything was read: %v", err)
	}
	if set := ring.JWKS(); set != nil {
		t.Errorf("published: %s", set.Body)
	}
	move(0)
	if _, _, err := ring.Decryption("x"); !errors.Is(err, ErrNotHeld) {
		t.Errorf("an unknown kid: %v", err)
	}
	if _, err := ring.Encryption("billing"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("an unknown name: %v", err)
	}
	for name, key := range map[string]KeyConfig{
		"an elliptic curve": {Name: "orders", Type: "ecdsa-p256"}, "a signature algorithm": {Name: "orders", Type: "rsa-2048", Algorithm: "RS256"},
	} {
		if _, err := NewEncryption(Config{Reader: readerFunc(nil), Keys: []KeyConfig{key}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A set with keys of both uses is one that other libraries read, in the order of its halves.
func TestSetsAreJoined(t *testing.T) {
	ring, move := encryptionRing(t, encryptionRecord([2]int{1, 0}))
	move(0)
	enc := ring.JWKS()
	signing := newSet()
	signing.add(time.Second, ring.ring.order[0].reading.Load().keys...)
	sig := signing.done()
	both := Join(sig, enc)
	var parsed struct{ Keys []struct{ Use string } }
	if err := json.Unmarshal(both.Body, &parsed); err != nil || len(parsed.Keys) != 2 || parsed.Keys[0].Use != "sig" || parsed.Keys[1].Use != "enc" {
		t.Errorf("%s: %v", both.Body, err)
	}
	if both.MaxAge != time.Second || both.ETag == sig.ETag || both.ETag != Join(sig, enc).ETag {
		t.Errorf("max-age %s, ETag %s", both.MaxAge, both.ETag)
	}
	if Join(nil, enc) != enc || Join(sig, nil) != sig || Join(nil, nil) != nil {
		t.Error("a set alone is changed")
	}
	empty := newSet().done()
	if got := string(Join(empty, sig).Body); got != string(sig.Body) {
		t.Error(got)
	}
}
