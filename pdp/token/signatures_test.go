package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"errors"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

func signatures() []refusedCase {
	var cases []refusedCase
	add := func(name, token string) {
		cases = append(cases, refusedCase{"signature: " + name, token, pdp.StatusSignatureInvalid, "signature.invalid"})
	}
	for _, alg := range pdp.Algorithms() {
		token := good(keyFor(alg), alg, nil)
		cut := strings.LastIndexByte(token, '.') + 1
		raw, err := decodePart(token[cut:])
		if err != nil {
			panic(err)
		}
		flipped := slices.Clone(raw)
		flipped[len(flipped)/2] ^= 1
		for name, other := range map[string][]byte{
			"none": nil, "a bit flipped": flipped, "cut": raw[:len(raw)-1], "longer": append(slices.Clone(raw), 0), "shifted": append([]byte{0}, raw...),
			"zero": make([]byte, len(raw)), "ones": slices.Repeat([]byte{255}, len(raw)), "twice": append(slices.Clone(raw), raw...),
		} {
			add(alg+", "+name, token[:cut]+encode(other))
		}
		add(alg+", of other claims", token[:cut]+strings.Split(good(keyFor(alg), alg, m{"sub": "admin"}), ".")[2])
	}
	add("of a key that is not published, under a kid that is", signed("evil", "ES256", header("ES256", "es256", nil), claims(nil)))
	add("of the issuer's other key", signed("es256-next", "ES256", header("ES256", "es256", nil), claims(nil)))
	add("embedded key", signed("evil", "ES256", header("ES256", "es256", m{"jwk": m{"kty": "EC"}}), claims(nil)))
	add("alg Ed25519 with an ECDSA signature", signed("es256", "ES256", header("Ed25519", "ed", nil), claims(nil)))
	return append(cases, orders()...)
}

// orders are ECDSA signatures at the edges of the group, and in the encoding of other protocols.
func orders() []refusedCase {
	key := keys()["es256"].signer.(*ecdsa.PrivateKey)
	n := key.Params().N
	fill := func(r, s *big.Int) string {
		return encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...))
	}
	token := good("es256", "ES256", nil)
	input := token[:strings.LastIndexByte(token, '.')]
	der, err := ecdsa.SignASN1(rand.Reader, key, digestBy(crypto.SHA256, input))
	if err != nil {
		panic(err)
	}
	one := big.NewInt(1)
	cases := []refusedCase{{"signature: DER", input + "." + encode(der), pdp.StatusSignatureInvalid, "signature.invalid"}}
	for name, s := range map[string]string{
		"r = n, s = n": fill(n, n), "r = 1, s = n": fill(one, n), "r = n, s = 1": fill(n, one), "r = 0, s = 1": fill(new(big.Int), one), "r = 1, s = 0": fill(one, new(big.Int)),
		"r = n - 1, s = n - 1": fill(new(big.Int).Sub(n, one), new(big.Int).Sub(n, one)),
	} {
		cases = append(cases, refusedCase{"signature: " + name, input + "." + s, pdp.StatusSignatureInvalid, "signature.invalid"})
	}
	return cases
}

// An ECDSA signature has a second encoding (n - s): the same token, so it is verified, with the same ID.
func TestSecondECDSASignatureIsTheSameToken(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	token := good("es256", "ES256", m{"jti": gone})
	cut := strings.LastIndexByte(token, '.') + 1
	raw, err := decodePart(token[cut:])
	if err != nil {
		t.Fatal(err)
	}
	s := new(big.Int).SetBytes(raw[32:])
	s.Sub(keys()["es256"].signer.(*ecdsa.PrivateKey).Params().N, s)
	second := token[:cut] + encode(append(slices.Clone(raw[:32]), s.FillBytes(make([]byte, 32))...))
	a, va, errA := e.Examine(context.Background(), token)
	b, vb, errB := e.Examine(context.Background(), second)
	if err := errors.Join(errA, errB); err != nil || !va.Verified() || !vb.Verified() || second == token {
		t.Fatalf("%+v, %+v, %v", va, vb, err)
	}
	if a.ID != b.ID || !strings.HasPrefix(a.ID, "sha256:") {
		t.Errorf("ids %q and %q", a.ID, b.ID)
	}
}
