package token

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jws"

	"github.com/assaypdp/assay/pdp"
)

// peer is an independent implementation that gives the payload of a token which it verifies with the
// issuer's keys, by its own reading of the token.
type peer struct {
	name string
	// verify tries every key only for a token that has no kid.
	verify func(token string, hasKid bool) ([]byte, error)
	// excused says which verified tokens it refuses for a reason of its own.
	excused func(found *pdp.Token) bool
}

func peers(t *testing.T, published []pdp.Key) []peer {
	t.Helper()
	set := jwk.NewSet()
	var keys jose.JSONWebKeySet
	for i := range published {
		key, err := jwk.Import(published[i].Public)
		if err != nil {
			t.Fatal(err)
		}
		members := m{jwk.KeyIDKey: published[i].ID, jwk.AlgorithmKey: published[i].Algorithm}
		maps.DeleteFunc(members, func(_ string, v any) bool { return v == "" })
		for name, value := range members {
			if err := key.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
		if err := set.AddKey(key); err != nil {
			t.Fatal(err)
		}
		keys.Keys = append(keys.Keys, jose.JSONWebKey{Key: published[i].Public, KeyID: published[i].ID, Algorithm: published[i].Algorithm})
	}
	return []peer{
		{"the standard library", func(token string, _ bool) ([]byte, error) { return byStandardLibrary(token, published) },
			func(*pdp.Token) bool { return false }},
		{"jwx v3", func(token string, hasKid bool) ([]byte, error) {
			return jws.Verify([]byte(token), jws.WithKeySet(set, jws.WithInferAlgorithmFromKey(true), jws.WithRequireKid(hasKid)))
		}, jwxIsExcused},
		{"go-jose v4", func(token string, hasKid bool) ([]byte, error) { return verifyWithJose(keys, token, hasKid) }, joseIsExcused},
	}
}

// jwxIsExcused where a header brings a key along: both peers read it, and fail where it is misshapen. Here it
// is named to policy, which denies it, and never read.
func jwxIsExcused(found *pdp.Token) bool { return len(found.Header.KeyReferences) > 0 }

// joseIsExcused likewise; also, go-jose does not know RFC 9864's name Ed25519.
func joseIsExcused(found *pdp.Token) bool {
	return jwxIsExcused(found) || found.Header.Algorithm == "Ed25519"
}

func verifyWithJose(keys jose.JSONWebKeySet, token string, hasKid bool) ([]byte, error) {
	var known []jose.SignatureAlgorithm
	for _, alg := range pdp.Algorithms() {
		known = append(known, jose.SignatureAlgorithm(alg))
	}
	parsed, err := jose.ParseSigned(token, known)
	if err != nil {
		return nil, err
	}
	if hasKid {
		return parsed.Verify(keys)
	}
	for _, key := range keys.Keys {
		if payload, err := parsed.Verify(key); err == nil {
			return payload, nil
		}
	}
	return nil, jose.ErrCryptoFailure
}

// Several thousand mutated tokens: what is verified here, independent readers verify too, and they read the
// same claims from it. The other way round there is no such rule, since others take more than one spelling
// for one token; how much more is logged.
func TestWhatIsVerifiedOthersVerifyToo(t *testing.T) {
	const seed, rounds = 7515, 340
	r := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that can be repeated
	b := newBook(t)
	e := newExaminer(t, Config{Trust: b, CacheBytes: -1})
	d := differential{others: peers(t, b.Trust(issuerAll).Keys()), looser: make(map[string]int), excused: make(map[string]int)}
	from := samples()
	verified, total := make(map[string]int), 0
	for _, mutation := range mutations() {
		accepted := 0
		for range rounds {
			token := mutation.make(r, from[r.IntN(len(from))])
			total++
			found, v, err := e.Examine(context.Background(), token)
			if err != nil {
				t.Fatal(err)
			}
			if v.Verified() {
				accepted++
				verified[v.Algorithm]++
			}
			d.compare(t, mutation.name, token, found, v)
		}
		t.Logf("%-30s %d of %d verified", mutation.name, accepted, rounds)
	}
	if total < 5000 || len(verified) != len(pdp.Algorithms()) {
		t.Errorf("%d tokens, verified by algorithm: %v", total, verified)
	}
	for _, counts := range []map[string]int{d.looser, d.excused} {
		for _, what := range slices.Sorted(maps.Keys(counts)) {
			t.Logf("%4d times %s", counts[what], what)
		}
	}
}

// differential counts on what the peers differ.
type differential struct {
	others          []peer
	looser, excused map[string]int
}

func (d *differential) compare(t *testing.T, mutation, token string, found *pdp.Token, v *pdp.Verification) {
	t.Helper()
	for _, other := range d.others {
		payload, err := other.verify(token, !v.Verified() || found.Header.HasKeyID)
		if !v.Verified() {
			if err == nil {
				d.looser[other.name+" verifies what is refused here with "+v.Reason.Code+": "+mutation]++
			}
			continue
		}
		problem := agree(found, payload, err)
		if problem == "" {
			continue
		}
		if err != nil && other.excused(found) {
			d.excused[other.name+" is excused: "+mutation]++
			continue
		}
		t.Errorf("%s: verified here, but %s %s\n%s", mutation, other.name, problem, token)
	}
}
