package revocationcluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/revocation"
)

const (
	issuerID  = "https://idp.example"
	streamOf  = "REVOCATIONS"
	maxAge    = 600 * time.Millisecond
	heartbeat = 100 * time.Millisecond
	tokenLife = time.Hour
)

// Replica is one Assay as far as revocation goes: the real stream, index and decider, a clock that can be
// stepped, and its own link to the cluster.
type Replica struct {
	Name    string
	Link    *Link
	Stream  *revocation.Stream
	decider *pdp.Decider
	trust   *pdp.Trust
	skew    atomic.Int64 // ns by which its wall clock is wrong

	stop context.CancelFunc
	done chan error
}

// StartReplica starts a replica; it is of use once its stream is complete.
func StartReplica(c *Cluster, name string) (*Replica, error) {
	link, err := NewLink(c)
	if err != nil {
		return nil, err
	}
	r := &Replica{Name: name, Link: link, done: make(chan error, 1)}
	r.Stream, err = revocation.New(revocation.Config{
		URL: link.URL(), Stream: streamOf, Replicas: Nodes, MaxAge: maxAge, Heartbeat: heartbeat, Now: r.now,
	})
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if r.trust, err = pdp.NewTrust(pdp.Issuer{ID: issuerID}, []pdp.Key{{ID: "k", Thumbprint: "print", Public: &key.PublicKey}}); err != nil {
		return nil, err
	}
	var ids atomic.Int64
	r.decider, err = pdp.New(pdp.Config{
		Examiner: examiner{r}, Policy: freshOnly{}, Revocations: r.Stream.Index(), Recorder: recorder{}, Leeway: pdp.DefaultLeeway,
		Now: r.now, NewID: func(time.Time) string { return fmt.Sprint(name, ids.Add(1)) },
	})
	if err != nil {
		return nil, err
	}
	if err := r.Stream.Start(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.done <- r.Stream.Run(ctx) }()
	return r, nil
}

func (r *Replica) now() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) }

// Step makes the replica's wall clock wrong by so much. Its monotonic clock goes on as it did.
func (r *Replica) Step(by time.Duration) { r.skew.Store(int64(by)) }

// Stop ends the replica.
func (r *Replica) Stop() error {
	r.stop()
	err := <-r.done
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	err = errors.Join(err, r.Stream.Close())
	r.Link.Close()
	return err
}

// Allows asks the decider about a token. The token's times are true, whatever the replica's clock says.
func (r *Replica) Allows(ctx context.Context, jti string) (allowed bool, err error) {
	d, err := r.decider.Decide(ctx, &pdp.Request{Token: jti})
	if err != nil {
		return false, err
	}
	return d.Allow, nil
}

// examiner vouches for any jti of the one issuer.
type examiner struct{ r *Replica }

func (e examiner) Examine(_ context.Context, jti string) (*pdp.Token, *pdp.Verification, error) {
	issued, expires := pdp.UnixDate(time.Now().Unix()), pdp.UnixDate(time.Now().Add(tokenLife).Unix())
	return &pdp.Token{ID: jti, Subject: "s-" + jti, IssuedAt: &issued, ExpiresAt: &expires, Kind: "jws"},
		&pdp.Verification{Status: pdp.StatusVerified, Trust: e.r.trust, Key: &e.r.trust.Keys()[0], Algorithm: "ES256"}, nil
}

// freshOnly denies what is stale and nothing else, as the library's revocation.feed_stale does; the floor does the rest.
type freshOnly struct{}

func (freshOnly) Evaluate(_ context.Context, f *pdp.Facts) (pdp.Verdict, error) {
	if !f.Revocation.Known || f.Revocation.AgeSeconds > 0 {
		return pdp.Verdict{Reasons: []pdp.Reason{{Code: "revocation.feed_stale", Enforcement: pdp.Deny}}}, nil
	}
	return pdp.Verdict{Allow: true}, nil
}

type recorder struct{}

func (recorder) Record(context.Context, *pdp.Facts, *pdp.Decision) (*pdp.Receipt, error) {
	return nil, nil
}

// Ledger is what the checker knows: every acknowledged revocation, and when it was acknowledged on the one monotonic clock
// of this process.
type Ledger struct {
	mu     sync.Mutex // guards acked and at
	acked  []string
	at     map[string]time.Time
	faults []string

	// Decisions about revoked tokens, and how many of these were denied; decisions about a good token, and how many
	// of these were denied, which is what a stale replica does; revocations that were not acknowledged.
	Decisions, Denied, Good, Stale, Refused atomic.Int64
}

// NewLedger is empty.
func NewLedger() *Ledger { return &Ledger{at: make(map[string]time.Time)} }

func (l *Ledger) acknowledge(jti string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked = append(l.acked, jti)
	l.at[jti] = at
}

// pick gives an acknowledged revocation by a number, and when it was acknowledged; mostly
// one of the last seconds.
func (l *Ledger) pick(n int) (jti string, at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.acked) == 0 {
		return "", time.Time{}, false
	}
	i := n % len(l.acked)
	if n%4 != 0 {
		i = len(l.acked) - 1 - n/4%min(len(l.acked), 800)
	}
	return l.acked[i], l.at[l.acked[i]], true
}

// All are the acknowledged revocations.
func (l *Ledger) All() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.acked...)
}

func (l *Ledger) fault(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.faults) < 20 {
		l.faults = append(l.faults, fmt.Sprintf(format, args...))
	}
}

// Faults are the violations that were seen.
func (l *Ledger) Faults() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.faults...)
}
