package issuer_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/test/realvault"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
	"github.com/assaypdp/assay/vaultkeys/issuer"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// callers ask at the same time, as many as the design's budget names.
const callers = 16

// way is one way to get signatures, with what each round of it took.
type way struct {
	name string
	once func(ctx context.Context) error

	wall        []time.Duration
	here, vault []time.Duration // processor time of this process, and of Vault's
}

// round has callers ask for n signatures in all.
func (w *way) round(ctx context.Context, server *realvault.Server, n int) error {
	var left atomic.Int64
	left.Store(int64(n))
	failed := make([]error, callers)
	var all sync.WaitGroup
	here, vault, err := processorTime(server)
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range callers {
		all.Go(func() {
			for left.Add(-1) >= 0 && failed[i] == nil {
				failed[i] = w.once(ctx)
			}
		})
	}
	all.Wait()
	w.wall = append(w.wall, time.Since(began))
	hereAfter, vaultAfter, err := processorTime(server)
	w.here, w.vault = append(w.here, hereAfter-here), append(w.vault, vaultAfter-vault)
	if err = errors.Join(append(failed, err)...); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	return nil
}

func processorTime(server *realvault.Server) (here, vault time.Duration, err error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, 0, err
	}
	vault, err = server.CPU()
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), vault, err
}

// BenchmarkIssuing compares whole tokens (built, judged by the embedded policies, signed in Vault, verified) with
// bare sign calls by Vault's own client, one a signature, from 16 callers, in alternating rounds on one Vault. The
// bare calls have a login of the same role, as many kept connections, and verify nothing. No token is judged twice, so
// each costs a whole evaluation of the policies; the last way leaves that out and shows what the batches alone gain.
//
// Reported are ratios of throughput to those bare calls, the median of the rounds with the least and the most, and the
// processor time of one signature here and in Vault. Vault runs on the same cores, so all that a way costs comes out of
// the same time: where other work shares the machine, the processor times are what can be compared.
//
//	go test ./vaultkeys/issuer -run '^$' -bench Issuing -benchtime 9x
//
// One operation is one round of every way, so that -benchtime 9x means nine rounds.
func BenchmarkIssuing(b *testing.B) {
	for _, key := range []transit.DesiredKey{
		{Name: "es256", Type: "ecdsa-p256"}, {Name: "eddsa", Type: "ed25519"}, {Name: "rs256", Type: "rsa-2048"},
	} {
		b.Run(key.Name, func(b *testing.B) { benchmarkIssuing(b, key) })
	}
}

func benchmarkIssuing(b *testing.B, key transit.DesiredKey) {
	server := vaulttest.Shared(b)
	p := newPlant(b, server, nil, key)
	issueWith := func(batch int, judge issuer.Judge, onSign func(issuer.SignEvent)) func(context.Context) error {
		i := must[*issuer.Issuer](b)(issuer.New(issuer.Config{Keys: p.ring, Signer: p.signer, Judge: judge, MaxBatch: batch, OnSign: onSign}))
		return func(ctx context.Context) error {
			_, err := i.Issue(ctx, order(key.Name))
			return err
		}
	}
	var calls, items atomic.Int64
	count := func(e issuer.SignEvent) {
		calls.Add(1)
		items.Add(int64(e.Items))
	}
	bare := &way{name: "bare", once: bareCall(p, key)}
	ways := []*way{
		bare,
		{name: "one-by-one", once: issueWith(1, newJudge(p), nil)},
		{name: "together", once: issueWith(0, newJudge(p), count)},
		{name: "one-by-one-unjudged", once: issueWith(1, allowAll{}, nil)},
		{name: "together-unjudged", once: issueWith(0, allowAll{}, nil)},
	}
	const each = 600
	for _, w := range ways { // connections, logins, caches
		if err := w.round(b.Context(), server, 4*callers); err != nil {
			b.Fatal(err)
		}
		w.wall, w.here, w.vault = nil, nil, nil
	}
	calls.Store(0)
	items.Store(0)
	for round := 0; b.Loop(); round++ {
		for i := range ways { // each way is first, second and last in turn
			if err := ways[(i+round)%len(ways)].round(b.Context(), server, each); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(0, "ns/op") // absolute times say nothing about another machine
	for _, w := range ways {
		least, median, most := ratios(bare.wall, w.wall)
		here, vault := perToken(w.here, each), perToken(w.vault, each)
		if w != bare {
			b.ReportMetric(median, w.name+"/bare")
		}
		b.Logf("%s %-19s %.2f of the throughput of bare calls (%.2f to %.2f in %d rounds of %d); processor time %3.0f µs here + %3.0f µs in Vault, %.2f of bare calls' throughput by that sum",
			key.Name, w.name, median, least, most, len(w.wall), each, here, vault,
			(perToken(bare.here, each)+perToken(bare.vault, each))/(here+vault))
	}
	b.ReportMetric(float64(items.Load())/float64(calls.Load()), "items/call")
}

// perToken is the mean of what one token took, in microseconds.
func perToken(rounds []time.Duration, each int) float64 {
	var sum time.Duration
	for _, took := range rounds {
		sum += took
	}
	return float64(sum.Microseconds()) / float64(len(rounds)*each)
}

// bareCall is what somebody would do with Vault's own client: one signature, asked for rightly, not verified.
func bareCall(p *plant, key transit.DesiredKey) func(context.Context) error {
	body := map[string]any{"key_version": 1, "marshaling_algorithm": "jws"}
	input := make([]byte, 400) // about as long as a token
	if key.Type == "ed25519" {
		body["input"] = base64.StdEncoding.EncodeToString(input)
	} else {
		digest := sha256.Sum256(input)
		body["input"], body["prehashed"], body["hash_algorithm"] = base64.StdEncoding.EncodeToString(digest[:]), true, "sha2-256"
	}
	if key.Type == "rsa-2048" {
		body["signature_algorithm"] = "pkcs1v15"
	}
	client := p.bare()
	return func(ctx context.Context) error {
		secret, err := client.Logical().WriteWithContext(ctx, p.mount+"/sign/"+key.Name, body)
		if err == nil && secret.Data["signature"] == nil {
			err = fmt.Errorf("no signature came back")
		}
		return err
	}
}

// bare is Vault's own client with a login of the role issuer. Its default keeps three connections on two processors,
// and would make most of 16 callers connect anew for each call.
func (p *plant) bare() *api.Client {
	p.Helper()
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = p.root.Address(), 0
	config.HttpClient.Transport.(*http.Transport).MaxIdleConnsPerHost = 64
	client := must[*api.Client](p)(api.NewClient(config))
	client.ClearNamespace()
	made := must[transit.Credentials](p)(p.admin.Issue(p.Context(), p.desired, transit.Issuer))
	secret := must[*api.Secret](p)(client.Logical().WriteWithContext(p.Context(), "auth/"+p.mount+"/login",
		map[string]any{"role_id": made.RoleID, "secret_id": made.SecretID}))
	client.SetToken(secret.Auth.ClientToken)
	return client
}

// ratios gives the quotients of two series, round by round: the least, the median and the most.
func ratios(of, to []time.Duration) (least, median, most float64) {
	all := make([]float64, len(of))
	for i := range of {
		all[i] = of[i].Seconds() / to[i].Seconds()
	}
	slices.Sort(all)
	if len(all) == 0 {
		return math.NaN(), math.NaN(), math.NaN()
	}
	return all[0], all[len(all)/2], all[len(all)-1]
}

// BenchmarkOwnWork is what a token costs beside the call to Vault: building, judging and verifying, with a signer
// that answers at once.
func BenchmarkOwnWork(b *testing.B) {
	p := newPlant(b, vaulttest.Shared(b), nil, transit.DesiredKey{Name: "access", Type: "ecdsa-p256"})
	recorded, now := &replay{signer: p.signer}, time.Now()
	for _, c := range []struct {
		name  string
		judge issuer.Judge
	}{{"judged", newJudge(p)}, {"not judged", allowAll{}}} {
		b.Run(c.name, func(b *testing.B) {
			i := must[*issuer.Issuer](b)(issuer.New(issuer.Config{
				Keys: p.ring, Signer: recorded, Judge: c.judge, Random: zeros{}, Now: func() time.Time { return now },
			}))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := i.Issue(b.Context(), order("access")); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type allowAll struct{}

func (allowAll) Judge(context.Context, issuer.Proposal) (*pdp.Decision, error) {
	return &pdp.Decision{Allow: true}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// replay asks Vault once for each input and answers from memory after that.
type replay struct {
	signer issuer.Signer
	seen   sync.Map
}

func (r *replay) Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error) {
	made := make([][]byte, len(inputs))
	for i, input := range inputs {
		signature, known := r.seen.Load(string(input))
		if !known {
			fresh, err := r.signer.Sign(ctx, key, version, alg, [][]byte{input})
			if err != nil {
				return nil, err
			}
			signature = fresh[0]
			r.seen.Store(string(input), signature)
		}
		made[i] = signature.([]byte)
	}
	return made, nil
}
