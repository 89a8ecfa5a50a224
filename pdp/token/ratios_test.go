package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"math/big"
	"slices"
	"testing"
	"time"
)

// BenchmarkRatios takes turns between a token and the bare verification of its signature by the standard
// library, so that both meet the same machine, and reports how many of the latter the former costs.
func BenchmarkRatios(b *testing.B) {
	const bare = "bare-verifications"
	for _, alg := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		tokens := benchCorpus(b, alg)
		verifications := bareVerifications(b, alg, tokens)
		fresh := newExaminer(b, Config{Trust: newBook(b), CacheBytes: -1})
		cached := newExaminer(b, Config{Trust: newBook(b)})
		b.Run(alg+" new", func(b *testing.B) { takeTurns(b, bare, verifications, examinations(b, fresh, tokens)) })
		b.Run(alg+" cached", func(b *testing.B) { takeTurns(b, bare, verifications, examinations(b, cached, tokens)) })
	}
	trust := newBook(b).Trust(issuerAll)
	key, _ := trust.KeyByID("es256")
	head, payload := text(header("ES256", "es256", nil)), text(claims(nil))
	unsigned := func(int) {
		if _, _, err := Unsigned(head, payload, trust, key); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("ES256 unsigned", func(b *testing.B) {
		takeTurns(b, bare, bareVerifications(b, "ES256", benchCorpus(b, "ES256")), unsigned)
	})
}

// takeTurns runs both in short turns and reports the median of what one costs in the other: a turn that the
// machine disturbed does not count.
func takeTurns(b *testing.B, unit string, base, measured func(i int)) {
	const turn = 16
	for i := range benchTokens { // caches are full from here on
		base(i)
		measured(i)
	}
	var ratios []float64
	i := 0
	for b.Loop() {
		start := time.Now()
		for j := range turn {
			base(i + j)
		}
		between := time.Now()
		for j := range turn {
			measured(i + j)
		}
		ratios = append(ratios, float64(time.Since(between))/float64(between.Sub(start)))
		i += turn
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], unit)
	b.ReportMetric(0, "ns/op")
}

func examinations(b *testing.B, e *Examiner, tokens []string) func(int) {
	b.Helper()
	return func(i int) {
		if _, v, err := e.Examine(context.Background(), tokens[i%len(tokens)]); err != nil || !v.Verified() {
			b.Fatal(v, err)
		}
	}
}

// bareVerifications verifies signatures over signing inputs that are cut and decoded already.
func bareVerifications(b *testing.B, alg string, tokens []string) func(int) {
	b.Helper()
	inputs, signatures := make([]string, len(tokens)), make([][]byte, len(tokens))
	for i, token := range tokens {
		parts, err := split(token)
		if err != nil {
			b.Fatal(err)
		}
		inputs[i] = parts[0] + "." + parts[1]
		if signatures[i], err = decodePart(parts[2]); err != nil {
			b.Fatal(err)
		}
	}
	public := keys()[keyFor(alg)].Public
	return func(i int) {
		i %= len(tokens)
		if !bareVerify(alg, public, inputs[i], signatures[i]) {
			b.Fatal("does not verify")
		}
	}
}

func bareVerify(alg string, public crypto.PublicKey, input string, signature []byte) bool {
	switch alg {
	case "EdDSA":
		return ed25519.Verify(public.(ed25519.PublicKey), []byte(input), signature)
	case "RS256":
		return rsa.VerifyPKCS1v15(public.(*rsa.PublicKey), crypto.SHA256, digestBy(crypto.SHA256, input), signature) == nil
	case "PS256":
		return rsa.VerifyPSS(public.(*rsa.PublicKey), crypto.SHA256, digestBy(crypto.SHA256, input), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
	}
	r, s := new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])
	return ecdsa.Verify(public.(*ecdsa.PublicKey), digestBy(crypto.SHA256, input), r, s)
}
