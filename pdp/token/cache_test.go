package token

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// tally observes an Examiner.
type tally struct {
	hits, misses, checks, invalid, evicted atomic.Int64
	took                                   atomic.Int64
}

func (o *tally) TokenExamined(_ pdp.Status, cached bool) {
	if cached {
		o.hits.Add(1)
	} else {
		o.misses.Add(1)
	}
}

func (o *tally) SignatureChecked(_ string, valid bool, took time.Duration) {
	o.checks.Add(1)
	if !valid {
		o.invalid.Add(1)
	}
	o.took.Add(int64(took))
}

func (o *tally) TokenEvicted(uint32) { o.evicted.Add(1) }

func TestSecondExaminationIsCached(t *testing.T) {
	o := &tally{}
	ticks := time.Unix(0, 0)
	e := newExaminer(t, Config{Trust: newBook(t), Observer: o, Work: o, Now: func() time.Time {
		ticks = ticks.Add(time.Microsecond)
		return ticks
	}})
	token := good("es256", "ES256", nil)
	first, v1, err1 := e.Examine(context.Background(), token)
	second, v2, err2 := e.Examine(context.Background(), strings.Clone(token))
	if err1 != nil || err2 != nil || !v1.Verified() || first != second || v1 != v2 {
		t.Fatalf("%+v, %+v, %v, %v", v1, v2, err1, err2)
	}
	if o.hits.Load() != 1 || o.misses.Load() != 1 || o.checks.Load() != 1 || o.invalid.Load() != 0 || o.took.Load() != int64(time.Microsecond) {
		t.Errorf("observed %+v", o)
	}
	e.cache.entries.CleanUp()
	if n, bytes := e.CacheSize(); n != 1 || bytes != uint64(entry{token: first}.weight()) {
		t.Errorf("%d tokens of %d bytes", n, bytes)
	}
}

func TestHitAllocatesNothing(t *testing.T) {
	e := newExaminer(t, Config{Trust: newBook(t)})
	token := good("es256", "ES256", nil)
	allocations := testing.AllocsPerRun(1000, func() {
		if _, v, err := e.Examine(context.Background(), token); err != nil || !v.Verified() {
			t.Errorf("%+v, %v", v, err)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

func TestDigestIsOfAllBytes(t *testing.T) {
	for _, size := range []int{0, 1, 2047, 2048, 2049, 16 << 10} {
		text := strings.Repeat("x", size)
		if digestOf(text) != sha256.Sum256([]byte(text)) || size > 0 && digestOf(text) == digestOf(text[:size-1]+"y") {
			t.Errorf("%d bytes", size)
		}
	}
}

func TestFailuresAreNotCached(t *testing.T) {
	o := &tally{}
	e := newExaminer(t, Config{Trust: newBook(t), Observer: o, Work: o})
	token := signed("evil", "ES256", header("ES256", "es256", nil), claims(nil))
	for range 2 {
		refusedCase{"", token, pdp.StatusSignatureInvalid, "signature.invalid"}.check(t, e)
	}
	if n, _ := e.CacheSize(); n != 0 || o.checks.Load() != 2 || o.invalid.Load() != 2 || o.hits.Load() != 0 {
		t.Errorf("%d cached, observed %+v", n, o)
	}
}

// Whatever is withdrawn is withdrawn from cached tokens too, and what changed beside them leaves them alone.
func TestHitIsHeldAgainstPresentTrust(t *testing.T) {
	all := []string{"es256", "es384"}
	for name, c := range map[string]struct {
		change func(*testing.T, *book)
		status pdp.Status
		code   string
		cached bool
	}{
		"nothing":           {func(*testing.T, *book) {}, pdp.StatusVerified, "", true},
		"same keys anew":    {func(t *testing.T, b *book) { b.set(t, pdp.Issuer{ID: issuerAll}, published(false, all...)) }, pdp.StatusVerified, "", true},
		"another key added": {func(t *testing.T, b *book) { b.set(t, pdp.Issuer{ID: issuerAll}, published(false, "evil", "es256")) }, pdp.StatusVerified, "", true},
		"issuer removed":    {func(_ *testing.T, b *book) { b.put(issuerAll, nil) }, pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", false},
		"algorithm withdrawn": {func(t *testing.T, b *book) {
			b.set(t, pdp.Issuer{ID: issuerAll, Algorithms: []string{"ES384"}}, published(false, all...))
		}, pdp.StatusAlgorithmRefused, "algorithm.not_allowed", false},
		"key withdrawn": {func(t *testing.T, b *book) { b.set(t, pdp.Issuer{ID: issuerAll}, published(false, "es384")) }, pdp.StatusKeyUnknown, "signature.key_unknown", false},
		"all keys gone": {func(t *testing.T, b *book) { b.set(t, pdp.Issuer{ID: issuerAll}, nil) }, pdp.StatusKeyUnknown, "signature.key_unknown", false},
		"kid given to another key": {func(t *testing.T, b *book) {
			other := published(false, "evil")
			other[0].ID = "es256"
			b.set(t, pdp.Issuer{ID: issuerAll}, other)
		}, pdp.StatusSignatureInvalid, "signature.invalid", false},
		"key under another kid": {func(t *testing.T, b *book) {
			same := published(false, "es256")
			same[0].ID = "renamed"
			b.set(t, pdp.Issuer{ID: issuerAll}, same)
		}, pdp.StatusKeyUnknown, "signature.key_unknown", false},
		"key for another algorithm": {func(t *testing.T, b *book) {
			same := published(false, "es256")
			same[0].Algorithm = "ES384"
			b.set(t, pdp.Issuer{ID: issuerAll}, same)
		}, pdp.StatusAlgorithmRefused, "algorithm.key_mismatch", false},
	} {
		t.Run(name, func(t *testing.T) {
			b, o := newBook(t), &tally{}
			b.set(t, pdp.Issuer{ID: issuerAll}, published(false, all...))
			e := newExaminer(t, Config{Trust: b, Observer: o})
			token := good("es256", "ES256", nil)
			if _, v, err := e.Examine(context.Background(), token); err != nil || !v.Verified() {
				t.Fatalf("%+v, %v", v, err)
			}
			c.change(t, b)
			for range 2 {
				_, v, err := e.Examine(context.Background(), token)
				if err != nil || v.Status != c.status || (v.Reason != nil) == v.Verified() || v.Reason != nil && v.Reason.Code != c.code {
					t.Fatalf("%+v, %v", v, err)
				}
				if v.Verified() && (v.Trust != b.Trust(issuerAll) || v.Key != keyOf(v.Trust, "es256")) {
					t.Errorf("verified under a snapshot that is not in force")
				}
			}
			if cached := o.hits.Load() == 2; cached != c.cached {
				t.Errorf("%d hits", o.hits.Load())
			}
		})
	}
}

func keyOf(trust *pdp.Trust, kid string) *pdp.Key {
	key, _ := trust.KeyByID(kid)
	return key
}

// A token without kid is good only as long as its key has no rival.
func TestHitWithoutKidNeedsTheOnlyKey(t *testing.T) {
	b := newBook(t)
	e := newExaminer(t, Config{Trust: b})
	token := signed("es256", "ES256", header("ES256", "", m{"kid": gone}), claims(m{"iss": issuerOne}))
	if _, v, _ := e.Examine(context.Background(), token); !v.Verified() {
		t.Fatalf("%+v", v)
	}
	b.set(t, pdp.Issuer{ID: issuerOne}, published(true, "es256", "es256-next"))
	refusedCase{"", token, pdp.StatusKeyUnknown, "signature.key_unknown"}.check(t, e)
}

func TestCacheIsBoundedInBytes(t *testing.T) {
	o := &tally{}
	const limit = 64 << 10
	e := newExaminer(t, Config{Trust: newBook(t), CacheBytes: limit, Work: o})
	const tokens = 200
	for i := range tokens {
		if _, v, err := e.Examine(context.Background(), good("ed", "EdDSA", m{"jti": fmt.Sprint(i)})); err != nil || !v.Verified() {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	e.cache.entries.CleanUp()
	n, bytes := e.CacheSize()
	if bytes > limit || n == 0 || n >= tokens {
		t.Errorf("%d tokens of %d bytes; the limit is %d", n, bytes, limit)
	}
	for deadline := time.Now().Add(10 * time.Second); o.evicted.Load() != int64(tokens-n); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%d evictions told, %d happened", o.evicted.Load(), tokens-n)
		}
	}
}

func TestCacheOff(t *testing.T) {
	o := &tally{}
	e := newExaminer(t, Config{Trust: newBook(t), CacheBytes: -1, Observer: o, Work: o})
	token := good("es256", "ES256", nil)
	for range 2 {
		if _, v, err := e.Examine(context.Background(), token); err != nil || !v.Verified() {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	if n, bytes := e.CacheSize(); n != 0 || bytes != 0 || o.checks.Load() != 2 {
		t.Errorf("%d tokens, observed %+v", n, o)
	}
}

// Many at once, while the issuer's keys change: never a token that its keys do not verify.
func TestConcurrentExaminationsWhileKeysChange(t *testing.T) {
	b := newBook(t)
	e := newExaminer(t, Config{Trust: b})
	one, other := published(false, "es256"), published(false, "evil")
	other[0].ID = "es256"
	token := good("es256", "ES256", nil)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				_, v, err := e.Examine(context.Background(), token)
				if err != nil || v.Verified() && v.Key.Thumbprint != one[0].Thumbprint {
					t.Errorf("%+v, %v", v, err)
					return
				}
			}
		})
	}
	for i := range 200 {
		keys := one
		if i%2 == 1 {
			keys = other
		}
		b.set(t, pdp.Issuer{ID: issuerAll}, keys)
	}
	wg.Wait()
	b.set(t, pdp.Issuer{ID: issuerAll}, other)
	refusedCase{"", token, pdp.StatusSignatureInvalid, "signature.invalid"}.check(t, e)
}
