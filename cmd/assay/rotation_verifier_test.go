package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"github.com/assaypdp/assay/vaultkeys"
)

// longToken signs a token that lives an hour, as nobody but root can.
func (f *fleet) longToken(ctx context.Context, key, alg string, version vaultkeys.Version) (string, error) {
	kid, err := vaultkeys.Thumbprint(version.Public)
	if err != nil {
		return "", err
	}
	encode := func(v any) string {
		text, _ := json.Marshal(v) // maps of strings and numbers
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	input := encode(map[string]any{"alg": alg, "kid": kid, "typ": "at+jwt"}) + "." + encode(map[string]any{
		"iss": "https://tokens.example", "sub": "alice", "aud": "orders", "client_id": "web", "iat": now, "exp": now + 3600, "jti": strconv.Itoa(version.Number)})
	signatures, err := f.admin.Sign(ctx, key, version.Number, alg, [][]byte{[]byte(input)})
	if err != nil {
		return "", err
	}
	return input + "." + base64.RawURLEncoding.EncodeToString(signatures[0]), nil
}

// resourceServer verifies tokens by itself, with a library that is not ours, and with a JWKS that it keeps for its
// full max-age: it never fetches it for an unknown kid.
type resourceServer struct {
	f       *fleet
	replica int // where it fetches next
	set     jwk.Set
	until   time.Time
	late    bool // the replica may have known less than it had to when it was asked for the set
}

var maxAge = regexp.MustCompile(`max-age=(\d+)`)

func (r *resourceServer) keys(ctx context.Context) (jwk.Set, error) {
	if time.Now().Before(r.until) {
		return r.set, nil
	}
	replica := r.replica
	s := r.f.served[replica]
	r.replica = (replica + 1) % len(r.f.served)
	s.mu.RLock()
	defer s.mu.RUnlock()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/.well-known/jwks.json", nil)
	if err != nil {
		return nil, err
	}
	asked := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // read below
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	age := maxAge.FindStringSubmatch(response.Header.Get("Cache-Control"))
	if response.StatusCode != http.StatusOK || age == nil || age[1] == "0" {
		return nil, fmt.Errorf("the JWKS came with status %d and Cache-Control %q", response.StatusCode, response.Header.Get("Cache-Control"))
	}
	seconds, err := strconv.Atoi(age[1])
	if err != nil {
		return nil, err
	}
	if r.set, err = jwk.Parse(body); err != nil {
		return nil, err
	}
	kept := time.Duration(seconds) * time.Second
	r.until = asked.Add(kept) // RFC 9111 section 4.2.3: its age counts from the request
	r.late = r.f.late(replica, asked, kept)
	r.f.count("JWKS fetched")
	return r.set, nil
}

func (r *resourceServer) verify(ctx context.Context, n int) {
	token, ok := r.f.pick(n)
	if !ok {
		return
	}
	set, err := r.keys(ctx)
	if err != nil {
		if ctx.Err() == nil {
			r.f.problem("fetching the JWKS: %v", err)
		}
		return
	}
	if !time.Now().Before(token.ExpiresAt) {
		return
	}
	key, known := set.LookupKeyID(token.KeyID)
	if !known && r.late {
		r.f.count("kids that are not in a JWKS of a replica that was late")
		return
	}
	if !known {
		r.f.problem("a resource server does not know the kid %s of a good token; its copy has %d keys and %s to go", token.KeyID, set.Len(), time.Until(r.until))
		return
	}
	if _, err := jws.Verify([]byte(token.Token), jws.WithKey(jwa.KeyAlgorithmFrom(key.Algorithm()), key), jws.WithCompact()); err != nil {
		r.f.problem("a resource server refused a good token: %v", err)
		return
	}
	r.f.count("good tokens verified with a cached JWKS")
}

// Keys rotate, over and over, under continuous issuing and deciding, with two custodians on two replicas that race
// each other and resource servers that keep the JWKS as long as they may. No good token is denied anywhere, no
// token of a retired version is allowed and no pending version signs, by the clock and with no grace.
//
// The full run is: go test ./cmd/assay -run TestRotationUnderLoad -rotations 55
func TestRotationUnderLoad(t *testing.T) {
	f := newFleet(t, rotationConfig)
	l := f.load(t.Context())
	for replica := range f.served {
		l.loop(2*time.Millisecond, func(n int) { f.hold(l.ctx, replica, n) })
	}
	signed := f.rotate(*rotations)
	f.until(0, "a version retired, and destroyed", func() bool {
		return f.failed() || f.counted("tokens of retired versions denied") > 0 && f.record().MinAvailableVersion >= 2
	})
	l.end()
	f.report(signed)
	if record := f.record(); record.MinAvailableVersion < 2 || f.counts["tokens of retired versions denied"] == 0 {
		t.Errorf("that shows nothing: below %d destroyed, %d tokens of retired versions denied", record.MinAvailableVersion, f.counts["tokens of retired versions denied"])
	}
}

// load is what goes on at all replicas without pause: tokens are issued, decided about and verified elsewhere.
type load struct {
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup
}

func (l *load) loop(pause time.Duration, work func(n int)) {
	l.all.Go(func() {
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for n := 0; l.ctx.Err() == nil; n++ {
			work(n)
			select {
			case <-tick.C:
			case <-l.ctx.Done():
			}
		}
	})
}

func (l *load) end() {
	l.stop()
	l.all.Wait()
}

func (f *fleet) load(ctx context.Context) *load {
	l := f.looked(ctx)
	l.loop(20*time.Millisecond, func(int) { f.watch(l.ctx) })
	for replica := range f.served {
		l.loop(5*time.Millisecond, func(int) { _, _ = f.issue(l.ctx, replica) })
		l.loop(2*time.Millisecond, func(n int) { f.judge(l.ctx, replica, n*7) })
		for range 2 {
			r := &resourceServer{f: f, replica: replica}
			l.loop(3*time.Millisecond, func(n int) { r.verify(l.ctx, n*11) })
		}
	}
	return l
}

// looked is a load that asks how old the replicas' records are, and nothing else yet.
func (f *fleet) looked(ctx context.Context) *load {
	l := &load{}
	l.ctx, l.stop = context.WithCancel(ctx)
	f.t.Cleanup(l.end) // where the test is cut off
	for replica := range f.served {
		f.look(ctx, replica)
		l.loop(100*time.Millisecond, func(int) { f.look(l.ctx, replica) })
	}
	return l
}

// rotate waits until so many rotations are over, and answers how many versions have signed.
func (f *fleet) rotate(rotations int) (signed int) {
	deadline := time.Now().Add(time.Duration(rotations)*rotationPeriod*3 + patience)
	for signed <= rotations && !f.failed() {
		if time.Now().After(deadline) {
			f.problem("only %d versions have signed; %d rotations were wanted", signed, rotations)
			break
		}
		signed = max(signed, f.haveSigned())
		time.Sleep(20 * time.Millisecond) // between looks at a condition
	}
	return signed
}

func (f *fleet) failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.problems) > 20
}

func (f *fleet) record() vaultkeys.Record {
	f.t.Helper()
	record, err := f.admin.ReadKey(f.t.Context(), "access")
	if err != nil {
		f.t.Fatal(err)
	}
	return record
}

// report fails the test for every problem, prints what was done, and fails it where that shows nothing.
func (f *fleet) report(signed int) {
	f.t.Helper()
	f.signedTooEarly()
	for _, problem := range f.problems[:min(20, len(f.problems))] {
		f.t.Error(problem)
	}
	record := f.record()
	f.t.Logf("%d versions have signed of %d made, below %d withdrawn, below %d destroyed; tokens that outlive their version were allowed up to %s before it retired and denied from %s after", signed, record.Latest,
		record.MinDecryptionVersion, record.MinAvailableVersion, f.lastAllow, f.firstDeny)
	var lines []string
	for what, n := range f.counts {
		lines = append(lines, fmt.Sprintf("%d %s", n, what))
	}
	slices.Sort(lines)
	for _, line := range lines {
		f.t.Log(line)
	}
	if f.counts["good tokens allowed"] == 0 || f.counts["good tokens verified with a cached JWKS"] == 0 {
		f.t.Error("that shows nothing: no token was allowed, or none verified elsewhere")
	}
}

// algorithmOf reads the "alg" of a token that is known to be good.
func algorithmOf(token string) string {
	header, _, _ := strings.Cut(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(header)
	if err != nil {
		return "no header"
	}
	var h struct{ Alg string }
	if err := json.Unmarshal(text, &h); err != nil {
		return "no header"
	}
	return h.Alg
}
