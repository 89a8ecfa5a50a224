package reload

import (
	"flag"
	"slices"
	"sync"
	"testing"
	"time"
)

var lasting = flag.Duration("reload.for", 5*time.Second, "how long TestReloadUnderLoad reloads")

const (
	every   = 100 * time.Millisecond // between two bundles
	askers  = 8
	batches = 10 // tokens in each batch
)

// seen is what one asker saw.
type seen struct {
	decisions int
	took      []time.Duration // by request
	numbers   map[string]int  // by revision
	fault     error
}

// asking asks until done is closed: two single questions, then a batch.
func (l *lab) asking(offset int, done <-chan struct{}) *seen {
	s := &seen{numbers: make(map[string]int)}
	for i := offset; s.fault == nil; i++ {
		select {
		case <-done:
			return s
		default:
		}
		tokens := l.tokens[i%len(l.tokens):][:1]
		if i%3 == 0 {
			tokens = l.tokens[:batches]
		}
		began := time.Now()
		answers, err := l.ask(tokens...)
		s.took = append(s.took, time.Since(began))
		if s.fault = err; err != nil {
			return s
		}
		for _, d := range answers {
			s.decisions++
			n, err := d.number()
			if err != nil {
				s.fault = err
				return s
			}
			s.numbers[d.Policy.Revision] = n
		}
	}
	return s
}

// load runs all askers until work returns.
func (l *lab) load(t *testing.T, work func()) []*seen {
	done := make(chan struct{})
	results := make([]*seen, askers)
	var group sync.WaitGroup
	for i := range askers {
		group.Go(func() { results[i] = l.asking(i*7, done) })
	}
	work()
	close(done)
	group.Wait()
	for _, s := range results {
		if s.fault != nil {
			t.Error(s.fault)
		}
	}
	return results
}

func TestReloadUnderLoad(t *testing.T) {
	l := newLab(t, 100)
	quiet := l.load(t, func() { time.Sleep(*lasting / 5) })
	prepared := make([][]byte, *lasting/every)
	for i := range prepared {
		prepared[i] = l.build("")
	}
	began := time.Now()
	busy := l.load(t, func() {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for _, archive := range prepared {
			l.write("bundle.tar.gz", archive)
			<-ticker.C
		}
	})
	// Each revision has one number, whoever saw it.
	numbers, bundles := make(map[string]int), make(map[int]string)
	for _, s := range append(quiet, busy...) {
		for revision, n := range s.numbers {
			if other, there := numbers[revision]; there && other != n {
				t.Errorf("revision %s gave decisions of bundle %d and of bundle %d", revision, other, n)
			}
			if other, there := bundles[n]; there && other != revision {
				t.Errorf("bundle %d has the revisions %s and %s", n, other, revision)
			}
			numbers[revision], bundles[n] = n, revision
		}
	}
	if len(numbers) < 3 {
		t.Errorf("%d revisions were seen of %d bundles; nothing was reloaded under this load", len(numbers), l.written)
	}
	// The last one comes into force without anybody's doing.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		answers, err := l.ask(l.tokens[0])
		if err != nil {
			t.Fatal(err)
		}
		n, err := answers[0].number()
		if err != nil {
			t.Fatal(err)
		}
		if n == l.written {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("bundle %d is still in force, of %d", n, l.written)
		}
	}
	t.Logf("%s: %d bundles, one every %s; %d revisions answered", time.Since(began).Round(time.Second), l.written, every, len(numbers))
	report(t, "without reloads", quiet)
	report(t, "with reloads", busy)
}

func report(t *testing.T, what string, results []*seen) {
	var took []time.Duration
	decisions := 0
	for _, s := range results {
		took, decisions = append(took, s.took...), decisions+s.decisions
	}
	slices.Sort(took)
	at := func(share float64) time.Duration {
		return took[int(share*float64(len(took)-1))].Round(10 * time.Microsecond)
	}
	t.Logf("%-16s %d requests, %d decisions, p50 %s, p99 %s, p99.9 %s, longest %s", what, len(took), decisions, at(.5), at(.99), at(.999), at(1))
}

// A bundle that takes long to be put in force holds up nobody: its own test counts for some seconds, and whoever asks
// one question after the other gets many answers meanwhile, where one who waited would get one.
func TestDecisionsDoNotWaitForALoad(t *testing.T) {
	l := newLab(t, 1)
	l.publish(`package assay.rules.numbered_test

test_slow if {
	some a in numbers.range(1, 400)
	some b in numbers.range(1, 400)
	a + b == 800
}
`)
	meanwhile := 0
	for deadline := time.Now().Add(2 * time.Minute); ; meanwhile++ {
		answers, err := l.ask(l.tokens[0])
		if err != nil {
			t.Fatal(err)
		}
		n, err := answers[0].number()
		if err != nil {
			t.Fatal(err)
		}
		if n == l.written {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bundle did not come into force")
		}
	}
	if meanwhile < 50 {
		t.Errorf("%d decisions were answered while a bundle was tested for some seconds", meanwhile)
	}
	t.Logf("%d decisions were answered while the bundle was loaded and tested", meanwhile)
}
