package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"testing"
)

// benchTokens is how many different tokens the benchmarks of new tokens go through.
const benchTokens = 512

func benchCorpus(b *testing.B, alg string) []string {
	b.Helper()
	tokens := make([]string, benchTokens)
	for i := range tokens {
		tokens[i] = good(keyFor(alg), alg, m{"jti": fmt.Sprint(i), "scope": "orders.read orders.write"})
	}
	return tokens
}

// BenchmarkNew is a token that was never seen, beside the bare ecdsa.Verify that it cannot do without; both
// go through the same tokens. Compare ns/op: the ratio is the cost of everything else.
func BenchmarkNew(b *testing.B) {
	tokens := benchCorpus(b, "ES256")
	b.Run("ecdsa.Verify", func(b *testing.B) {
		public := keys()["es256"].Public.(*ecdsa.PublicKey)
		type signed struct {
			digest []byte
			r, s   *big.Int
		}
		all := make([]signed, len(tokens))
		for i, token := range tokens {
			parts, err := split(token)
			if err != nil {
				b.Fatal(err)
			}
			raw, err := decodePart(parts[2])
			if err != nil {
				b.Fatal(err)
			}
			all[i] = signed{digestBy(crypto.SHA256, parts[0]+"."+parts[1]), new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])}
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if one := &all[i%len(all)]; !ecdsa.Verify(public, one.digest, one.r, one.s) {
				b.Fatal("does not verify")
			}
			i++
		}
	})
	for _, alg := range []string{"ES256", "ES384", "EdDSA", "RS256", "PS256"} {
		b.Run(alg, func(b *testing.B) { examineAll(b, Config{Trust: newBook(b), CacheBytes: -1}, benchCorpus(b, alg)) })
	}
	b.Run("refused for its issuer", func(b *testing.B) {
		e := newExaminer(b, Config{Trust: newBook(b), CacheBytes: -1})
		token := good("es256", "ES256", m{"iss": "https://hostile.example"})
		b.ReportAllocs()
		for b.Loop() {
			if _, v, err := e.Examine(context.Background(), token); err != nil || v.Verified() {
				b.Fatal(v, err)
			}
		}
	})
}

// BenchmarkCached is a token that was seen before.
func BenchmarkCached(b *testing.B) {
	tokens := benchCorpus(b, "ES256")
	b.Run("one goroutine", func(b *testing.B) { examineAll(b, Config{Trust: newBook(b)}, tokens) })
	b.Run("parallel", func(b *testing.B) {
		e := newExaminer(b, Config{Trust: newBook(b)})
		seenBefore(b, e, tokens)
		b.ReportAllocs()
		b.ResetTimer()
		b.RunParallel(func(pb *testing.PB) {
			for i := 0; pb.Next(); i++ {
				if _, v, err := e.Examine(context.Background(), tokens[i%len(tokens)]); err != nil || !v.Verified() {
					b.Error(v, err)
				}
			}
		})
	})
}

func examineAll(b *testing.B, c Config, tokens []string) {
	b.Helper()
	e := newExaminer(b, c)
	seenBefore(b, e, tokens)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, v, err := e.Examine(context.Background(), tokens[i%len(tokens)]); err != nil || !v.Verified() {
			b.Fatal(v, err)
		}
		i++
	}
}

func seenBefore(b *testing.B, e *Examiner, tokens []string) {
	b.Helper()
	for _, token := range tokens {
		if _, v, err := e.Examine(context.Background(), token); err != nil || !v.Verified() {
			b.Fatal(v, err)
		}
	}
}
