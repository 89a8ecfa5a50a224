package main

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// get reads a public JSON document.
func (w *world) get(path string, to any) {
	w.t.Helper()
	response, err := http.Get(w.base + path)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s", path, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(to); err != nil {
		w.t.Fatal(err)
	}
}

// metric is the value of one series; empty where it is not there.
func (w *world) metric(series string) string {
	w.t.Helper()
	response, err := http.Get(w.base + "/metrics")
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if value, ok := strings.CutPrefix(lines.Text(), series+" "); ok {
			return value
		}
	}
	return ""
}

// A flood of tokens that anyone can make and that do decrypt: Vault is asked no more often than the caller's
// quota says, what is past it is answered 503, and signed tokens are all decided meanwhile. How fast is printed
// and not asserted, beside the same flood, token for token and at the same rate, with a kid that is not held, which asks
// Vault nothing; and what processor time Vault spent for each, since server, Vault and flood share the machine.
//
//	go test ./cmd/assay -run FloodOfEncrypted -v
func TestFloodOfEncryptedTokens(t *testing.T) {
	w := newWorldWith(t, func(config string) string { // a quota that every machine's flood exceeds
		return withEncryption(config) + "limits: {caller_decryptions: 20}\n"
	})
	signed, key := w.token(), w.encryptionKey()
	const measured = 1000
	report := func(what string, f *flood) {
		before, err := w.server.CPU()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		took := w.latencies(signed, measured)
		after, err := w.server.CPU()
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("signed tokens, one after the other, %s: p50 %s, p99 %s; flood of %.0f/s; Vault used %.0f%% of a processor",
			what, took[measured/2], took[measured*99/100], f.rate(), 100*(after-before).Seconds()/time.Since(began).Seconds())
	}
	report("alone", nil)

	other := key
	other.KeyID = "unknown"
	control := w.flood(other)
	report("beside a flood that asks Vault nothing", control)
	if statuses := control.end(); statuses[http.StatusOK] == 0 || len(statuses) != 1 {
		t.Errorf("a kid that is not held: %v", statuses)
	}

	attack := w.flood(key)
	report("beside a flood that decrypts", attack)
	w.eventually("past the caller's quota", func() bool {
		return w.metric(`assay_decryptions_total{outcome="limited"}`) != "0"
	})
	statuses := attack.end()
	seconds := time.Since(attack.began).Seconds()
	calls, err := strconv.ParseFloat(w.metric(`assay_vault_request_seconds_count{operation="decrypt",outcome="ok"}`), 64)
	if err != nil {
		t.Fatal(err)
	}
	if most := float64(w.config.Limits.CallerDecryptions) * (seconds + 1); calls > most {
		t.Errorf("Vault was asked %.0f times in %.1f s, the quota lets %.0f", calls, seconds, most)
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusServiceUnavailable] == 0 || len(statuses) != 2 {
		t.Errorf("the flood was answered %v", statuses)
	}
	t.Logf("the flood: answers %v in %.1f s, %.0f calls of Vault", statuses, seconds, calls)
}

// floodRate is how many tokens a flood sends a second, where the machine lets it: several times a caller's quota.
const floodRate = 500

// flood is tokens that are sent without regard to how they are answered.
type flood struct {
	began   time.Time
	stop    atomic.Bool
	senders sync.WaitGroup

	mu       sync.Mutex
	statuses map[int]int // guarded by mu
}

// flood sends tokens that are encrypted to the key, each with another content key, over eight connections until it is
// ended.
func (w *world) flood(key jose.JSONWebKey) *flood {
	w.t.Helper()
	const prepared, connections = 400, 8
	bodies := make([]string, prepared)
	for i := range bodies {
		body, err := json.Marshal(map[string]any{"token": w.sealed(key, "not a token "+strconv.Itoa(i))})
		if err != nil {
			w.t.Fatal(err)
		}
		bodies[i] = string(body)
	}
	f := &flood{began: time.Now(), statuses: make(map[int]int)}
	w.t.Cleanup(func() { f.end() }) // where the test is cut off
	for n := range connections {
		f.senders.Go(func() {
			tick := time.NewTicker(connections * time.Second / floodRate)
			defer tick.Stop()
			for i := n; !f.stop.Load(); i += connections {
				response, err := http.Post(w.base+"/decide", "application/json", strings.NewReader(bodies[i%prepared]))
				if err != nil {
					w.t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, response.Body) // for the connection to be used again
				_ = response.Body.Close()                 // nothing is lost with it
				f.mu.Lock()
				f.statuses[response.StatusCode]++
				f.mu.Unlock()
				<-tick.C
			}
		})
	}
	w.eventually("flooded", func() bool { return f.rate() > 0 })
	return f
}

// rate is how many tokens were answered a second; of no flood none.
func (f *flood) rate() float64 {
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sent := 0
	for _, n := range f.statuses {
		sent += n
	}
	return float64(sent) / time.Since(f.began).Seconds()
}

// end tells how often each status was answered.
func (f *flood) end() map[int]int {
	f.stop.Store(true)
	f.senders.Wait()
	return f.statuses
}

// latencies asks about a token n times, and answers how long each took, sorted.
func (w *world) latencies(token string, n int) []time.Duration {
	w.t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		a := w.decide(token)
		if a.status != http.StatusOK || a.body["allow"] != true {
			w.t.Fatalf("a signed token: %d %v", a.status, a.body)
		}
		took[i] = a.took
	}
	slices.Sort(took)
	return took
}
