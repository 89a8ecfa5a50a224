package replay

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
	"github.com/assaypdp/assay/pdp/audit/ledger"
	"github.com/assaypdp/assay/pdp/policy"
	"github.com/assaypdp/assay/pdp/policy/masking"
)

// TestFigures measures judging a large log again. The log is of decisions that the library really made and masked. It is
// for the figures in the documentation and runs only if asked:
//
//	ASSAY_REPLAY_FIGURES=1000000 go test -run TestFigures -v -timeout 2h ./cmd/assay/internal/replay
//
// With ASSAY_REPLAY_DIR the log is written there, or read if it is there already; the command can then be run over it.
func TestFigures(t *testing.T) {
	n, err := strconv.Atoi(os.Getenv("ASSAY_REPLAY_FIGURES"))
	if err != nil {
		t.Skip("ASSAY_REPLAY_FIGURES is not a number of decisions")
	}
	dir := os.Getenv("ASSAY_REPLAY_DIR")
	if dir == "" {
		dir = t.TempDir() + "/audit"
	}
	baseline := compiled(t, "", nil)
	if _, err := os.Stat(dir); err != nil {
		began := time.Now()
		writeTraffic(t, dir, baseline, n)
		t.Logf("deciding and writing: %.1f s", time.Since(began).Seconds())
	}
	reader, err := ledger.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	x, err := index.Open(reader, index.Folder(dir))
	if err != nil {
		t.Fatal(err)
	}
	judge := newJudge(t, compiled(t, `{"max_lifetime_seconds": 1800}`, nil), baseline)
	began := time.Now()
	sum, err := Run(t.Context(), Config{Judge: judge}, x.Records(t.Context(), index.Query{Kind: index.KindDecision}))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began).Seconds()
	t.Logf("%.1f s, %.0f decisions/s: %+v", took, float64(sum.Decisions)/took, sum.Tally)
}

// traffic is tokens that are brought again and again until they end.
type traffic struct {
	random *rand.Rand
	trust  *pdp.Trust
	pool   []*pdp.Facts
	minted int
}

func (g *traffic) pick(from ...string) string {
	return from[min(g.random.IntN(len(from)), g.random.IntN(len(from)))]
}

// mint makes the facts of a new token that is asked about at a moment.
func (g *traffic) mint(at int64) *pdp.Facts {
	g.minted++
	lifetimes := []int64{300, 600, 900, 900, 1800, 1800, 3600}
	issued := at - g.random.Int64N(3)
	over := map[string]any{
		"jti": fmt.Sprintf("%032x", g.minted), "sub": fmt.Sprintf("person-%05d", g.random.IntN(5000)), "aud": g.pick("orders", "billing", "inventory", "search", "reports"),
		"client_id": g.pick("web", "mobile", "backoffice", "kiosk", "voice", "portal", "reseller", "batch"), "scope": g.pick("read", "read write", "read write admin"),
		"iat": number(issued), "exp": number(issued + lifetimes[g.random.IntN(len(lifetimes))]),
	}
	if g.random.IntN(100) < 3 {
		over["email"] = over["sub"].(string) + "@mail.example"
	}
	f := verified(g.trust, over)
	f.Token.ClientID = over["client_id"].(string)
	f.Token.Size = 600 + g.random.IntN(400)
	return f
}

// next is what is asked at a moment.
func (g *traffic) next(at int64) *pdp.Facts {
	place := g.random.IntN(len(g.pool))
	f := g.pool[place]
	if f == nil || f.Token.ExpiresAt.Floor() <= at && g.random.IntN(100) < 96 {
		f = g.mint(at)
		g.pool[place] = f
	}
	asked := *f
	asked.Time = at
	audience, _ := f.Token.Claims["aud"].(string)
	if g.random.IntN(1000) < 5 {
		audience = g.pick("orders", "billing")
	}
	asked.Request = &pdp.Request{Audience: audience, Action: g.pick("read", "write"), Method: "GET", ClientIP: fmt.Sprintf("192.0.2.%d", g.random.IntN(256)), TokenType: pdp.AccessToken}
	if g.random.IntN(1000) == 0 {
		asked.Revocation.Revoked = "token"
	}
	return &asked
}

// perSecond is how many decisions are asked for in a second.
const perSecond = 10

// writeTraffic has a policy decide about traffic and records it.
func writeTraffic(t *testing.T, dir string, by *policy.Revision, decisions int) {
	t.Helper()
	const origin = "audit.example/figures"
	private, _, err := note.GenerateKey(rand.NewChaCha8([32]byte{}), origin)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Unix(now, 0).UTC()
	clock := func() time.Time { return at }
	l, err := ledger.Open(t.Context(), ledger.Config{Dir: dir, Origin: origin, Mode: ledger.Buffered, BufferBytes: 256 << 20, CheckpointEvery: time.Second, Signer: noteSigner{signer}})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(running) }()

	engine, err := policy.New(policy.Config{Revision: by, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	m, err := masking.New(masking.Config{Revision: func() *policy.Revision { return by }, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	entropy := ulid.Monotonic(rand.NewChaCha8([32]byte{1}), 0)
	id := func(at time.Time) string { return ulid.MustNew(ulid.Timestamp(at), entropy).String() }
	recorder, err := audit.New(audit.Config{Log: l, Origin: origin, Masker: masker{m}, Pseudonyms: pseudonyms{}, Instance: "one", Version: "1", NewID: id, Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	d.Decider, err = pdp.New(pdp.Config{Examiner: d, Policy: engine, Revocations: d, Recorder: recorder, Leeway: pdp.DefaultLeeway, Now: clock, NewID: id})
	if err != nil {
		t.Fatal(err)
	}
	g := &traffic{random: rand.New(rand.NewPCG(1, 2)), trust: trusted(t), pool: make([]*pdp.Facts, 400)}
	for n := range decisions {
		at = time.Unix(now, 0).UTC().Add(time.Duration(n) * time.Second / perSecond)
		d.next = g.next(at.Unix())
		if _, err := d.Decide(t.Context(), d.next.Request); err != nil {
			t.Fatal(err)
		}
		for n%1024 == 0 && l.Size() < int64(n)-4096 { // in this mode nobody waits for the disk, and too much would be dropped
			time.Sleep(time.Millisecond)
		}
	}
	for l.Size() < int64(decisions) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

type noteSigner struct{ note.Signer }

// SignNote signs the text of a checkpoint.
func (s noteSigner) SignNote(_ context.Context, text string) ([]byte, error) {
	return note.Sign(&note.Note{Text: text}, s.Signer)
}
