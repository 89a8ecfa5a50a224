package revocationcluster

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 0, "how long TestSoak goes on; 0 leaves it out")

var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "assay-nats-")
		if err == nil {
			defer func() { _ = os.RemoveAll(dir) }() // a left-over in the temporary folder harms nobody
			program, err = Build(dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// patience is how long the lab waits for what has to come to pass, on however slow a machine.
const patience = 3 * time.Minute

// lab is a cluster, its replicas, and the load on them.
type lab struct {
	*testing.T
	cluster  *Cluster
	replicas []*Replica
	ledger   *Ledger
}

func newLab(t *testing.T) *lab {
	c, err := Start(program, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	l := &lab{T: t, cluster: c, ledger: NewLedger()}
	for i := range 3 {
		l.join(fmt.Sprintf("r%d", i))
	}
	return l
}

// join starts one more replica and waits until it knows everything.
func (l *lab) join(name string) *Replica {
	l.Helper()
	r, err := StartReplica(l.cluster, name)
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() {
		if err := r.Stop(); err != nil {
			l.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(l.Context(), patience)
	defer cancel()
	if err := r.Stream.WaitComplete(ctx); err != nil {
		l.Fatalf("%s: %v; health %+v", name, err, r.Stream.Health())
	}
	l.replicas = append(l.replicas, r)
	return r
}

// loaded runs work while every replica revokes and decides.
func (l *lab) loaded(work func()) {
	ctx, stop := context.WithCancel(l.Context())
	var load sync.WaitGroup
	for i, r := range l.replicas {
		load.Go(func() { r.revoke(ctx, l.ledger) })
		load.Go(func() { r.decide(ctx, l.ledger, uint64(i)) })
	}
	work()
	stop()
	load.Wait()
}

// converges waits until every replica is fresh and knows every acknowledged revocation.
func (l *lab) converges(after string) {
	l.Helper()
	began := time.Now()
	for _, r := range l.replicas {
		for {
			h := r.Stream.Health()
			if h.Fresh && len(r.Missing(l.Context(), l.ledger)) == 0 {
				break
			}
			if time.Since(began) > patience {
				l.Fatalf("%s: %s does not converge: %d missing, health %+v", after, r.Name, len(r.Missing(l.Context(), l.ledger)), h)
			}
			pauseFor(l.Context(), 20*time.Millisecond)
		}
	}
	l.Logf("%-22s converged after %s; %d acknowledged, %d refused, %d decisions about them; good tokens: %d, of these stale: %d", after,
		time.Since(began).Round(time.Millisecond), len(l.ledger.All()), l.ledger.Refused.Load(), l.ledger.Decisions.Load(), l.ledger.Good.Load(), l.ledger.Stale.Load())
}

// waits waits until a condition holds.
func (l *lab) waits(what string, holds func() bool) {
	l.Helper()
	for began := time.Now(); !holds(); pauseFor(l.Context(), 10*time.Millisecond) {
		if time.Since(began) > patience {
			l.Fatalf("after %s: not %s; %d acknowledged, %d refused, good tokens: %d, of these stale: %d", patience, what,
				len(l.ledger.All()), l.ledger.Refused.Load(), l.ledger.Good.Load(), l.ledger.Stale.Load())
		}
	}
}

// fault is one thing that goes wrong and is mended.
type fault struct {
	name        string
	begin, mend func(*lab, *rand.Rand)
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Error(err)
	}
}

// leader waits for the stream to have one.
func (l *lab) leader() int {
	for began := time.Now(); time.Since(began) < patience; pauseFor(l.Context(), 20*time.Millisecond) {
		if i := l.cluster.Leader(streamOf); i >= 0 {
			return i
		}
	}
	l.Error("the stream has no leader")
	return 0
}

const everything = "all nodes are killed"

func faults() []fault {
	killed, cut := 0, 0
	return []fault{
		{"a node is killed",
			func(l *lab, _ *rand.Rand) { killed = (l.leader() + 1) % Nodes; l.must(l.cluster.Kill(killed)) },
			func(l *lab, _ *rand.Rand) { l.must(l.cluster.Return(killed)) }},
		{"the leader is killed",
			func(l *lab, _ *rand.Rand) { killed = l.leader(); l.must(l.cluster.Kill(killed)) },
			func(l *lab, _ *rand.Rand) { l.must(l.cluster.Return(killed)) }},
		{"a replica is cut off",
			func(l *lab, r *rand.Rand) { cut = r.IntN(3); l.replicas[cut].Link.Cut(true) },
			func(l *lab, _ *rand.Rand) { l.replicas[cut].Link.Cut(false) }},
		{"a replica reads slowly",
			func(l *lab, r *rand.Rand) { cut = r.IntN(3); l.replicas[cut].Link.Slow(150 * time.Millisecond) },
			func(l *lab, _ *rand.Rand) { l.replicas[cut].Link.Slow(0) }},
		{"a clock steps forward",
			func(l *lab, r *rand.Rand) { cut = r.IntN(3); l.replicas[cut].Step(5 * tokenLife) },
			func(l *lab, _ *rand.Rand) { l.replicas[cut].Step(0) }},
		{"a clock steps back",
			func(l *lab, r *rand.Rand) { cut = r.IntN(3); l.replicas[cut].Step(-5 * tokenLife) },
			func(l *lab, _ *rand.Rand) { l.replicas[cut].Step(0) }},
		{everything,
			func(l *lab, _ *rand.Rand) {
				for i := range Nodes {
					l.must(l.cluster.Kill(i))
				}
			},
			func(l *lab, _ *rand.Rand) {
				for i := range Nodes {
					l.must(l.cluster.Return(i))
				}
			}},
	}
}

func (l *lab) suffer(f fault, lasting time.Duration, random *rand.Rand) {
	l.loaded(func() {
		f.begin(l, random)
		pauseFor(l.Context(), lasting)
		f.mend(l, random)
	})
	l.converges(f.name)
}

// judge says what the checker saw, and has a late replica learn everything.
func (l *lab) judge() {
	for _, violation := range l.ledger.Faults() {
		l.Error(violation)
	}
	acknowledged := len(l.ledger.All())
	if allowed := l.ledger.Good.Load() - l.ledger.Stale.Load(); acknowledged < enough || l.ledger.Denied.Load() == 0 || allowed == 0 {
		l.Errorf("only %d revocations, %d denies of them and %d good tokens allowed: the load tested nothing", acknowledged, l.ledger.Denied.Load(), allowed)
	}
	began := time.Now()
	late := l.join("late")
	if missing := late.Missing(l.Context(), l.ledger); len(missing) > 0 {
		l.Errorf("a replica that started late misses %d of %d, such as %s", len(missing), acknowledged, missing[0])
	}
	l.Logf("a late replica knew all %d after %s", acknowledged, time.Since(began).Round(time.Millisecond))
}

// enough is how many revocations have to be acknowledged, and how many good tokens allowed, for the load to show
// something.
const enough = 100

// TestFaults is the short schedule: each fault once, for longer than an index counts as fresh. How much load a machine
// makes in that time differs by far: the load goes on until it is enough.
func TestFaults(t *testing.T) {
	l := newLab(t)
	l.loaded(func() {
		l.waits("enough load", func() bool {
			return len(l.ledger.All()) >= enough && l.ledger.Denied.Load() > 0 && l.ledger.Good.Load()-l.ledger.Stale.Load() >= enough
		})
	})
	l.converges("no fault")
	random := rand.New(rand.NewPCG(1, 1))
	for _, f := range faults() {
		if f.name != everything { // electing leaders anew takes long; the soak does it
			l.suffer(f, maxAge+time.Second, random)
		}
	}
	// One that is cut off becomes stale, and says so.
	l.loaded(func() {
		before := l.ledger.Stale.Load()
		l.replicas[0].Link.Cut(true)
		l.waits("a stale replica", func() bool { return l.ledger.Stale.Load() > before })
		l.replicas[0].Link.Cut(false)
	})
	l.converges("one is stale")
	l.judge()
}

// TestSoak draws faults and their length at random, as long as it is told to.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("make soak runs it")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 2))
	l := newLab(t)
	for began := time.Now(); time.Since(began) < *soak && !t.Failed(); {
		f := faults()[random.IntN(len(faults()))]
		l.suffer(f, time.Duration(random.Int64N(int64(8*time.Second))), random)
	}
	l.judge()
}
