package revocation

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
)

var entries = flag.Int("entries", 1_000_000, "how many entries the benchmarks of the index hold")

// BenchmarkLookup looks a token up whose six identities are all of kinds that have entries: with nothing revoked, and
// with the token revoked. Of each token one lookup, over far more tokens than the processor's caches hold.
func BenchmarkLookup(b *testing.B) {
	x, v := filled(b, *entries), verified(b, idp)
	x.beat(time.Minute)
	iat := pdp.UnixDate(start)
	const spread = 1 << 17
	// The tokens lie one after the other, so that reading them costs little beside the lookup.
	misses, hits, only := make([]pdp.Token, spread), make([]pdp.Token, spread), make([]pdp.Token, spread)
	for i := range spread {
		misses[i] = pdp.Token{ID: fmt.Sprintf("0190f7b2-7d1a-7c3e-9a35-%012x", 1<<40+i), Subject: fmt.Sprintf("user-%08d", i), ClientID: "web", SessionID: fmt.Sprintf("session-%08d", i), IssuedAt: &iat}
		hits[i] = pdp.Token{ID: fmt.Sprintf("0190f7b2-7d1a-7c3e-9a35-%012x", i*(*entries/spread)&^3), IssuedAt: &iat}
		only[i] = pdp.Token{ID: misses[i].ID, IssuedAt: &iat}
	}
	for _, run := range []struct {
		name    string
		tokens  []pdp.Token
		revoked bool
	}{{"not_revoked_six_identities", misses, false}, {"not_revoked_jti_only", only, false}, {"token_revoked", hits, true}} {
		b.Run(run.name, func(b *testing.B) {
			i, revoked := 0, 0
			for b.Loop() {
				if x.Lookup(&run.tokens[i&(spread-1)], v).Revoked != "" {
					revoked++
				}
				i++
			}
			if (revoked > 0) != run.revoked {
				b.Errorf("%d of %d revoked", revoked, i)
			}
		})
	}
	b.ReportMetric(float64(x.Bytes())/float64(x.Len()), "B/entry")
	b.Logf("%d entries, %.1f bytes an entry", x.Len(), float64(x.Bytes())/float64(x.Len()))
}

// filled has three of four entries for tokens, the rest for subjects and sessions, and some of the other kinds.
func filled(b *testing.B, n int) *Index {
	x := newTestIndex(b, newClocks())
	for i := range n {
		e := added(Token, idp, fmt.Sprintf("0190f7b2-7d1a-7c3e-9a35-%012x", i))
		switch {
		case i%4 == 3 && i%8 == 3:
			e.Entry.Kind, e.Entry.Value = Subject, fmt.Sprintf("gone-%08d", i)
		case i%4 == 3:
			e.Entry.Kind, e.Entry.Value = Session, fmt.Sprintf("ended-%08d", i)
		}
		x.Apply(e)
	}
	x.Apply(added(Client, idp, "burnt"))
	x.Apply(added(Key, idp, "burnt"))
	x.Apply(added(Issuer, other, ""))
	return x
}
