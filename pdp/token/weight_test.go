package token

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// The estimate is not below what entries take on the heap: else the bound would not bound.
func TestWeightCoversTheHeap(t *testing.T) {
	for name, over := range map[string]m{
		"a usual token": {}, "many small claims": manyClaims(300), "one long claim": {"x": strings.Repeat("x", 8000)},
		"numbers": {"x": make([]int, 2000)}, "objects": {"x": slicesOf(m{}, 1300)}, "members": {"x": slicesOf(m{"a": "b"}, 600)},
		"a long scope": {"scope": strings.Repeat("orders.read ", 900)}, "many scopes": {"scope": strings.Repeat("r ", 5000)},
	} {
		t.Run(name, func(t *testing.T) {
			e := newExaminer(t, Config{Trust: newBook(t), CacheBytes: 1 << 30})
			const tokens = 200
			texts := make([]string, tokens)
			for i := range texts {
				texts[i] = good("ed", "EdDSA", with(over, m{"jti": fmt.Sprint(i)}))
			}
			before := heap()
			for _, text := range texts {
				token, v, err := e.Examine(context.Background(), text)
				if err != nil || !v.Verified() {
					t.Fatalf("%+v, %v", v, err)
				}
				keepVerdicts(t, e, token, v)
			}
			e.cache.entries.CleanUp()
			grown := heap() - before
			n, estimate := e.CacheSize()
			t.Logf("%d tokens of %d bytes: %d bytes each on the heap, estimate %d", n, len(texts[0]), grown/tokens, estimate/tokens)
			if n != tokens || uint64(max(grown, 0)) > estimate {
				t.Errorf("%d tokens take %d bytes, more than the estimate of %d", n, grown, estimate)
			}
			runtime.KeepAlive(texts)
			runtime.KeepAlive(e)
		})
	}
}

func heap() int64 {
	var s runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc) //nolint:gosec // far below 2^63
}

func manyClaims(n int) m {
	made := make(m, n)
	for i := range n {
		made[fmt.Sprintf("claim-%d", i)] = i
	}
	return made
}

func slicesOf(value any, n int) []any {
	made := make([]any, n)
	for i := range made {
		made[i] = value
	}
	return made
}

// keepVerdicts judges a token a few times, by a policy that releases all claims and keeps its verdicts with
// the token, as pdp/policy does, which shares the paths of what is released between verdicts.
func keepVerdicts(t *testing.T, e *Examiner, token *pdp.Token, v *pdp.Verification) {
	t.Helper()
	verdicts := make([]*pdp.Verdict, 4)
	var released [][]string
	for name := range token.Claims {
		released = append(released, []string{name})
	}
	token.KeepPrepared("revision", verdicts)
	for i := range verdicts {
		verdicts[i] = &pdp.Verdict{Allow: true, Claims: released, Kept: &pdp.Kept{}}
		decider, err := pdp.New(pdp.Config{
			Examiner: e, Policy: fixedVerdict{verdicts[i]}, NewID: func(time.Time) string { return "id" },
			Now: func() time.Time { return time.Unix(1_700_000_100, 0) },
		})
		if err != nil {
			t.Fatal(err)
		}
		decision, err := decider.Judge(t.Context(), &pdp.Request{}, token, v)
		if err != nil || !decision.Allow || len(decision.Claims) != len(token.Claims) {
			t.Fatalf("%+v, %v", decision, err)
		}
	}
}

type fixedVerdict struct{ verdict *pdp.Verdict }

func (f fixedVerdict) Evaluate(context.Context, *pdp.Facts) (pdp.Verdict, error) {
	return *f.verdict, nil
}
