package revocationcluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/revocation"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/policies"
)

var entries = flag.Int("entries", 1_000_000, "how many entries BenchmarkDecisions puts in the full index")

// BenchmarkPropagation revokes one by one in a cluster of three, and tells how long after the call each of three replicas
// has it in force.
func BenchmarkPropagation(b *testing.B) {
	replicas := benchReplicas(b)
	v := &pdp.Verification{Status: pdp.StatusVerified, Trust: replicas[0].trust, Key: &replicas[0].trust.Keys()[0]}
	var took []time.Duration
	var mu sync.Mutex // guards took
	n := 0
	for b.Loop() {
		n++
		jti := "p-" + strconv.Itoa(n)
		began := time.Now()
		var all sync.WaitGroup
		for _, r := range replicas {
			all.Go(func() {
				for r.Stream.Index().Match(&pdp.Token{ID: jti}, v) == "" {
					time.Sleep(20 * time.Microsecond)
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, time.Since(began))
			})
		}
		if _, err := replicas[n%3].Stream.Publish(context.Background(), revocation.Entry{Kind: revocation.Token, Issuer: issuerID, Value: jti, Ends: time.Now().Add(time.Hour)}); err != nil {
			b.Fatal(err)
		}
		all.Wait()
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1e3, "ms-p50")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1e3, "ms-p99")
}

// BenchmarkClusterPublish tells revocations/s of the cluster, 64 callers at three replicas.
func BenchmarkClusterPublish(b *testing.B) {
	replicas := benchReplicas(b)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for caller := range 64 {
		all.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				e := revocation.Entry{Kind: revocation.Token, Issuer: issuerID, Value: fmt.Sprint("c-", i), Ends: time.Now().Add(time.Hour)}
				if _, err := replicas[caller%3].Stream.Publish(context.Background(), e); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "revocations/s")
}

func benchReplicas(b *testing.B) []*Replica {
	c, err := Start(program, b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Stop() })
	var replicas []*Replica
	for i := range 3 {
		r, err := StartReplica(c, fmt.Sprint("r", i))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = r.Stop() })
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		err = r.Stream.WaitComplete(ctx)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		replicas = append(replicas, r)
	}
	return replicas
}

// BenchmarkDecisions makes real decisions (token cache, library policies, remembered verdicts) with an empty index and
// a full one, taking turns in one run.
func BenchmarkDecisions(b *testing.B) {
	empty, full := newIndex(b), newIndex(b)
	for i := range *entries {
		full.Apply(&revocation.Event{Sequence: uint64(i + 1), At: time.Now(), Entry: revocation.Entry{ //nolint:gosec // not negative
			Kind: revocation.Kinds()[i%4], Issuer: issuerID, Value: fmt.Sprint("gone-", i), Ends: time.Now().Add(time.Hour),
		}})
	}
	runtime.GC()
	const tokens = 2000
	compact, key := signedTokens(b, tokens)
	deciders := []*pdp.Decider{benchDecider(b, empty, key), benchDecider(b, full, key)}
	var spent [2]time.Duration
	const rounds = 40
	for round := range rounds + 1 { // the first fills the caches
		for which, d := range deciders {
			began := time.Now()
			for _, text := range compact {
				if decision, err := d.Decide(context.Background(), &pdp.Request{Token: text, Audience: "orders"}); err != nil || !decision.Allow {
					b.Fatalf("%+v, %v", decision, err)
				}
			}
			if round > 0 {
				spent[which] += time.Since(began)
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	for which, name := range []string{"us-empty", "us-full"} {
		b.ReportMetric(spent[which].Seconds()*1e6/(rounds*tokens), name)
	}
	b.ReportMetric(float64(spent[0])/float64(spent[1]), "throughput-full/empty")
}

func newIndex(b *testing.B) *revocation.Index {
	// A monotonic clock that stands still: the index is as if a heartbeat had just come back.
	x, err := revocation.NewIndex(revocation.IndexConfig{Elapsed: func() time.Duration { return 0 }, MaxAge: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// known takes the age from an index that no stream feeds.
type known struct{ index *revocation.Index }

func (k known) Lookup(t *pdp.Token, v *pdp.Verification) pdp.Revocation {
	r := k.index.Lookup(t, v)
	r.AgeSeconds = 0
	return r
}

type pinned struct{ trust *pdp.Trust }

func (p pinned) Trust(string) *pdp.Trust                            { return p.trust }
func (p pinned) Refresh(context.Context, string, string) *pdp.Trust { return p.trust }

func benchDecider(b *testing.B, x *revocation.Index, key *ecdsa.PublicKey) *pdp.Decider {
	trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerID}, []pdp.Key{{ID: "k", Thumbprint: "print", Algorithm: "ES256", Public: key}})
	if err != nil {
		b.Fatal(err)
	}
	examiner, err := token.New(token.Config{Trust: pinned{trust}})
	if err != nil {
		b.Fatal(err)
	}
	revision, err := policy.Compile(b.Context(), policy.Source{Modules: policies.Modules(), Defaults: policies.Defaults(), Schema: policies.ConfigSchema()})
	if err != nil {
		b.Fatal(err)
	}
	engine, err := policy.New(policy.Config{Revision: revision})
	if err != nil {
		b.Fatal(err)
	}
	now := time.Now() // stands still, so that verdicts are remembered and the lookup weighs most
	d, err := pdp.New(pdp.Config{Now: func() time.Time { return now }, Examiner: examiner, Policy: engine, Revocations: known{x}, Leeway: pdp.DefaultLeeway, NewID: func(time.Time) string { return "d" }})
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func signedTokens(b *testing.B, n int) ([]string, *ecdsa.PublicKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	text := base64.RawURLEncoding
	header := text.EncodeToString([]byte(`{"alg":"ES256","typ":"at+jwt","kid":"k"}`))
	now := time.Now().Unix()
	list := make([]string, n)
	for i := range list {
		claims := fmt.Sprintf(`{"iss":%q,"sub":"user-%d","aud":"orders","client_id":"web","sid":"s-%d","jti":"good-%d","iat":%d,"exp":%d}`, issuerID, i, i, i, now, now+900)
		input := header + "." + text.EncodeToString([]byte(claims))
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
		if err != nil {
			b.Fatal(err)
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		list[i] = input + "." + text.EncodeToString(signature)
	}
	return list, &key.PublicKey
}
