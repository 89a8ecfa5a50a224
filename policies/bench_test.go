package policies_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// BenchmarkEvaluation measures the decision about a clean access token, and each family by itself, in units of one
// P-256 ecdsa.Verify. Both are timed in turns and the shortest round of each counts, so that a busy machine changes
// the ratio little. A family's figure holds the fixed cost of an evaluation ("nothing") and of the shared look-ups.
func BenchmarkEvaluation(b *testing.B) {
	policy := prepare(b, nil)
	clean := accessToken()
	extra := accessToken()
	extra.claims()["email"] = "a@b.example"
	extra.claims()["tenant"] = "acme"
	id := idToken()
	expired := accessToken()
	expired.claims()["exp"] = now - 3600
	expired.claims()["iat"] = now - 7000
	for _, c := range []struct {
		name, query string
		in          document
	}{
		{"nothing", "true", clean},
		{"decision/access-token", "data.assay.decision", clean},
		{"decision/id-token", "data.assay.decision", id},
		{"decision/extra-claims", "data.assay.decision", extra},
		{"decision/expired", "data.assay.decision", expired},
		{"decision/empty-input", "data.assay.decision", document{}},
		{"family/algorithms", "data.assay.algorithms.findings", clean},
		{"family/claims", "data.assay.claims.findings", clean},
		{"family/header", "data.assay.header.findings", clean},
		{"family/lifetime", "data.assay.lifetime.findings", clean},
		{"family/minimization", "data.assay.minimization.findings", clean},
		{"family/sensitive", "data.assay.sensitive.findings", extra},
		{"family/revocation", "data.assay.revocation.findings", clean},
		{"part/profile", "data.assay.profile.settings", clean},
		{"part/plain", "data.assay.plain.token", clean},
		{"part/bare", "data.assay.plain.bare", clean},
		{"part/overrides", "data.assay.limits.overrides", clean},
		{"part/released", "data.assay.minimization.released", clean},
	} {
		b.Run(c.name, func(b *testing.B) {
			evaluate := policy.query(b, c.query, c.in)
			verify := verification(b)
			shortest := func(shortest time.Duration, run func(), times int) time.Duration {
				start := time.Now()
				for range times {
					run()
				}
				if took := time.Since(start) / time.Duration(times); shortest == 0 || took < shortest {
					return took
				}
				return shortest
			}
			var evaluated, verified time.Duration
			rounds := 0
			b.ReportAllocs()
			for b.Loop() {
				evaluate()
				if rounds++; rounds%64 == 0 || evaluated == 0 {
					b.StopTimer()
					evaluated = shortest(evaluated, evaluate, 16)
					verified = shortest(verified, verify, 16)
					b.StartTimer()
				}
			}
			b.ReportMetric(float64(evaluated)/float64(verified), "verifies/op")
			b.ReportMetric(float64(verified), "ns/verify")
		})
	}
}

func verification(b *testing.B) func() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("a signing input"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	return func() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("a good signature does not verify")
		}
	}
}

// prepared is the library with a configuration, as cheap to ask as OPA allows: values as AST, one read transaction.
type prepared struct {
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction
}

func (p *prepared) query(t testing.TB, query string, in document) func() {
	t.Helper()
	value, err := ast.InterfaceToValue(map[string]any(in))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	q, err := rego.New(rego.Query(query), rego.Compiler(p.compiler), rego.Store(p.store), rego.Transaction(p.txn),
		rego.StoreReadAST(true)).PrepareForEval(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cancel := topdown.NewCancel()
	result := func(*ast.Term, *rego.EvalContext) (any, error) { return nil, nil }
	return func() {
		if _, err := q.Eval(ctx, rego.EvalParsedInput(value), rego.EvalTransaction(p.txn), rego.EvalExternalCancel(cancel),
			rego.EvalGenerateJSON(result)); err != nil {
			t.Fatal(err)
		}
	}
}

func prepare(t testing.TB, config map[string]any) *prepared {
	t.Helper()
	p := &prepared{compiler: compile(t), store: inmem.NewFromObjectWithOpts(
		map[string]any{"assay": map[string]any{"config": configuration(t, config)}},
		inmem.OptReturnASTValuesOnRead(true), inmem.OptRoundTripOnWrite(false))}
	var err error
	if p.txn, err = p.store.NewTransaction(context.Background()); err != nil {
		t.Fatal(err)
	}
	return p
}
