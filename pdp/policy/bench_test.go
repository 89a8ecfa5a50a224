package policy

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// BenchmarkVerdict measures what a verdict costs, part by part, in units of one P-256 ecdsa.Verify. Both are
// timed in turns and the shortest round of each counts, so that a busy machine changes the ratio little.
func BenchmarkVerdict(b *testing.B) {
	r := compiled(b, library())
	e, err := New(Config{Revision: r})
	if err != nil {
		b.Fatal(err)
	}
	clean, wrong := facts(b), facts(b)
	wrong.Request = &pdp.Request{Audience: "billing"}
	ctx := context.Background()
	evaluate := func(f *pdp.Facts) func() {
		return func() {
			cut := &cutOff{ctx: ctx, now: time.Now, deadline: time.Now().Add(time.Minute)}
			if _, err := r.evaluate(ctx, cut, f); err != nil {
				b.Fatal(err)
			}
		}
	}
	for _, part := range []struct {
		name string
		run  func()
	}{
		{"remembered", func() { _, _ = e.Evaluate(ctx, clean) }},
		{"evaluated/allow", evaluate(clean)},
		{"evaluated/deny", evaluate(wrong)},
		{"part/input", func() {
			if _, err := r.view.input(clean); err != nil {
				b.Fatal(err)
			}
		}},
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
