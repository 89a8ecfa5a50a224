package revocationcluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/assaypdp/assay/pdp/revocation"
)

// slack is added to what a fresh replica may not know yet: an answer takes its time, too.
const slack = 50 * time.Millisecond

// revoke publishes one new revocation after the other and enters what was acknowledged. One that was refused may
// be in force or not; nothing is claimed of it.
func (r *Replica) revoke(ctx context.Context, l *Ledger) {
	for i := 0; ctx.Err() == nil; i++ {
		jti := fmt.Sprintf("%s-%d", r.Name, i)
		patient, cancel := context.WithTimeout(ctx, 3*time.Second)
		_, err := r.Stream.Publish(patient, revocation.Entry{
			Kind: revocation.Token, Issuer: issuerID, Value: jti, Ends: time.Now().Add(3 * tokenLife), Actor: r.Name,
		})
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				l.Refused.Add(1)
			}
			pauseFor(ctx, 20*time.Millisecond)
			continue
		}
		l.acknowledge(jti, time.Now())
		// Where it was published it is in force from now on, fresh or not.
		if allowed, err := r.Allows(ctx, jti); err == nil && allowed {
			l.fault("%s allows %s right after it published it", r.Name, jti)
		}
		pauseFor(ctx, 2*time.Millisecond)
	}
}

// decide asks about tokens that are revoked, and one that is not, and holds every answer against the ledger.
func (r *Replica) decide(ctx context.Context, l *Ledger, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	for ctx.Err() == nil {
		pauseFor(ctx, 500*time.Microsecond)
		jti, acknowledged, ok := l.pick(random.IntN(1 << 30))
		if !ok {
			continue
		}
		asked := time.Now()
		allowed, err := r.Allows(ctx, jti)
		if err != nil {
			continue
		}
		l.Decisions.Add(1)
		// An allow claims to be fresh: everything that was acknowledged longer than the greatest age ago is known.
		if allowed && asked.Sub(acknowledged) > maxAge+slack {
			l.fault("%s allows %s, which was revoked %s before, and claims to be fresh; health %+v", r.Name, jti, asked.Sub(acknowledged), r.Stream.Health())
		}
		if !allowed {
			l.Denied.Add(1)
		}
		if good, err := r.Allows(ctx, "good"); err == nil {
			l.Good.Add(1)
			if !good {
				l.Stale.Add(1)
			}
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// Missing are the acknowledged revocations that are not in force on a replica.
func (r *Replica) Missing(ctx context.Context, l *Ledger) []string {
	var missing []string
	for _, jti := range l.All() {
		if allowed, err := r.Allows(ctx, jti); err != nil || allowed {
			missing = append(missing, jti)
		}
	}
	return missing
}
