package reload

import (
	"flag"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

var lasting = flag.Duration("reload.for", 5*time.Second, "how long TestReloadUnderLoad reloads")

const (
	every   = 100 * time.Millisecond // between two bundles
	askers  = 8
	batches = 10 // tokens in each batch
	// patience is how long a test waits for what has to come to pass, on however slow a machine.
	patience = 10 * time.Minute
)

// revisions are those that any asker saw.
type revisions struct {
	mu   sync.Mutex
	seen map[string]bool // guarded by mu
}

func (r *revisions) add(revision string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	r.seen[revision] = true
}

func (r *revisions) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.seen)
}

// seen is what one asker saw.
type seen struct {
	decisions int
	took      []time.Duration // by request
	numbers   map[string]int  // by revision
	fault     error
}

// asking asks until done is closed: two single questions, then a batch.
func (l *lab) asking(offset int, all *revisions, done <-chan struct{}) *seen {
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
			all.add(d.Policy.Revision)
		}
	}
	return s
}

// load runs all askers until work returns, which is given the revisions that they see.
func (l *lab) load(t *testing.T, work func(*revisions)) []*seen {
	done := make(chan struct{})
	all := &revisions{}
	results := make([]*seen, askers)
	var group sync.WaitGroup
	for i := range askers {
		group.Go(func() { results[i] = l.asking(i*7, all, done) })
	}
	work(all)
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
	quiet := l.load(t, func(all *revisions) {
		time.Sleep(*lasting / 5)
		l.until(t, "an answer", func() bool { return all.count() > 0 })
	})
	prepared := make([][]byte, *lasting/every)
	for i := range prepared {
		prepared[i] = l.build("")
	}
	began := time.Now()
	busy := l.load(t, func(all *revisions) {
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for _, archive := range prepared {
			l.write("bundle.tar.gz", archive)
			<-ticker.C
		}
		// A slow machine may have put none of them in force yet.
		l.until(t, "three revisions", func() bool {
			if all.count() < 3 {
				l.publish("")
			}
			return all.count() >= 3
		})
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
	// The last one comes into force without anybody's doing.
	l.until(t, "the last bundle in force", func() bool { return l.number(t) == l.written })
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

// until waits for a condition.
func (l *lab) until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("after %s: not %s, of bundle %d", patience, what, l.written)
			return
		}
	}
}

// number asks which bundle is in force.
func (l *lab) number(t *testing.T) int {
	t.Helper()
	answers, err := l.ask(l.tokens[0])
	if err != nil {
		t.Fatal(err)
	}
	n, err := answers[0].number()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A bundle that takes long to be put in force holds up nobody: its own test counts for some seconds, and whoever asks
// one question after the other never waits for anything like that. A busy machine may hold up a question by itself, once; one
// that waited for the bundle would do so every time.
func TestDecisionsDoNotWaitForALoad(t *testing.T) {
	l := newLab(t, 1)
	for range 5 {
		longest, meanwhile, took := l.whileLoading(t)
		t.Logf("%d decisions were answered while the bundle was loaded and tested for %s; the longest took %s", meanwhile, took, longest)
		if 2*longest < took {
			return
		}
	}
	t.Error("every time a decision took as long as half of the load")
}

// whileLoading publishes a bundle that is slow to test, and asks until it is in force.
func (l *lab) whileLoading(t *testing.T) (longest time.Duration, meanwhile int, took time.Duration) {
	before := l.compiling(t)
	l.publish(`package assay.rules.numbered_test

test_slow if {
	some a in numbers.range(1, 400)
	some b in numbers.range(1, 400)
	a + b == 800
}
`)
	for deadline := time.Now().Add(patience); ; meanwhile++ {
		began := time.Now()
		n := l.number(t)
		longest = max(longest, time.Since(began))
		if n == l.written {
			return longest, meanwhile, l.compiling(t) - before
		}
		if time.Now().After(deadline) {
			t.Fatal("the bundle did not come into force")
		}
	}
}

// compiling is how long the server has compiled and tested policies, all together.
func (l *lab) compiling(t *testing.T) time.Duration {
	t.Helper()
	response, err := l.client.Get(l.base + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or lost
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatal(response.Status, err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "assay_policy_compilation_seconds_sum "); ok {
			seconds, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatal(err)
			}
			return time.Duration(seconds * float64(time.Second))
		}
	}
	t.Fatal("the metrics do not tell how long compiling took")
	return 0
}
