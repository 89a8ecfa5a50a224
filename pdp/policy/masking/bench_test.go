package masking

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// BenchmarkMask measures what the library's mask costs a decision, in units of one P-256 ecdsa.Verify. Both are timed in
// turns and the shortest round of each counts, so that a busy machine changes the ratio little.
func BenchmarkMask(b *testing.B) {
	m, _ := masker(b, compiled(b, library()))
	plain, d := facts(b, nil)
	uuid, _ := facts(b, map[string]any{"scope": "read mail:alice@example.org"})
	refused, _ := facts(b, nil)
	refused.Verification, refused.Token = &pdp.Verification{Status: pdp.StatusKeyUnknown}, &pdp.Token{Kind: "jws"}
	docs, err := m.documents(m.c.Revision())
	if err != nil {
		b.Fatal(err)
	}
	evaluate := func(f *pdp.Facts) func() {
		return func() {
			if _, err := m.evaluate(b.Context(), docs, f, d); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"remembered", func() { _, _ = m.Mask(b.Context(), plain, d) }},
		{"evaluated/usual", evaluate(plain)},
		{"evaluated/looked at closely", evaluate(uuid)},
		{"evaluated/not verified", evaluate(refused)},
	} {
		b.Run(part.name, func(b *testing.B) { inVerifies(b, part.run) })
	}
}

func inVerifies(b *testing.B, run func()) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	sum := sha256.Sum256([]byte("a signing input"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		b.Fatal(err)
	}
	verify := func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, sum[:], signature) {
			b.Fatal("a good signature does not verify")
		}
	}
	shortest := func(best time.Duration, run func()) time.Duration {
		began := time.Now()
		for range 16 {
			run()
		}
		if took := time.Since(began) / 16; best == 0 || took < best {
			return took
		}
		return best
	}
	var ran, verified time.Duration
	rounds := 0
	b.ReportAllocs()
	for b.Loop() {
		run()
		if rounds++; rounds%64 == 0 || ran == 0 {
			b.StopTimer()
			ran, verified = shortest(ran, run), shortest(verified, verify)
			b.StartTimer()
		}
	}
	b.ReportMetric(float64(ran)/float64(verified), "verifies/op")
}
