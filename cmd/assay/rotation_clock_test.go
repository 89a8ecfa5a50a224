package main

import (
	"context"
	"slices"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// life is what the test knows of one version, from Vault's record and the rules alone, past Assay.
type life struct {
	due   time.Time // when it may sign; the first version may at once
	end   time.Time // when it retires; zero while that is not known
	token string    // one that outlives the version, made past the issuer; empty until it signs
}

// watch follows the records of the configured keys and keeps a long-lived token of every version that signs. One goroutine
// calls it, again and again.
func (f *fleet) watch(ctx context.Context) {
	f.mu.Lock()
	c := f.config
	f.mu.Unlock()
	began, all := time.Now(), true
	for _, name := range c.KeyNamesOf(false) {
		record, err := f.admin.ReadKey(ctx, name)
		if err != nil {
			f.vaultFailed(ctx, "reading a key", err)
			all = false
			continue
		}
		p := c.Periods(name)
		for _, s := range vaultkeys.States(record, p, time.Now()) {
			kid, err := vaultkeys.Thumbprint(s.Public)
			if err != nil {
				f.problem("version %d: %v", s.Number, err)
				continue
			}
			v := f.life(kid, s, p, name == "next")
			if s.State == vaultkeys.Active && v.token == "" { // written by this goroutine alone
				f.outlive(ctx, record, s.Version, v)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.watched.IsZero() {
		f.blind = max(f.blind, time.Since(f.watched))
	}
	if all {
		f.watched = began
	}
}

// life remembers what a state says. The first version of a key that comes to others signs once it was published long
// enough, that of a new issuer at once.
func (f *fleet) life(kid string, s vaultkeys.VersionState, p vaultkeys.Periods, joins bool) *life {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := f.lives[kid]
	if v == nil {
		v = &life{}
		f.lives[kid] = v
		switch {
		case s.Number > 1:
			v.due = s.Created.Add(max(p.RotateEvery, p.PublishAhead))
		case joins:
			v.due = s.Created.Add(p.PublishAhead)
		}
	}
	v.end = s.Ends
	return v
}

// outlive makes a token that outlives its version.
func (f *fleet) outlive(ctx context.Context, record vaultkeys.Record, version vaultkeys.Version, v *life) {
	alg, err := vaultkeys.Algorithm(record.Type, "")
	if err != nil {
		f.problem("%v", err)
		return
	}
	token, err := f.longToken(ctx, record.Name, alg, version)
	if err != nil {
		f.vaultFailed(ctx, "signing past the issuer", err)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	v.token = token
}

func (f *fleet) vaultFailed(ctx context.Context, doing string, err error) {
	if ctx.Err() == nil && !f.vaultMayFail {
		f.problem("%s: %v", doing, err)
	}
}

func (f *fleet) haveSigned() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	signed := 0
	for _, v := range f.lives {
		if v.token != "" {
			signed++
		}
	}
	return signed
}

// nearEnd is how long before and after a version retires its token is asked about without pause.
const nearEnd = 150 * time.Millisecond

// hold asks a replica about the tokens that outlive their versions: the token of a version is good until the
// version retires, and not a moment longer, by the clock.
func (f *fleet) hold(ctx context.Context, replica, n int) {
	f.mu.Lock()
	ask := make([]life, 0, len(f.lives))
	for _, v := range f.lives {
		if until := time.Until(v.end); v.token != "" && (n%50 == 0 || until < nearEnd && until > -nearEnd) {
			ask = append(ask, *v)
		}
	}
	f.mu.Unlock()
	for _, v := range ask {
		asked := time.Now()
		allow, codes, err := f.decide(ctx, replica, v.token)
		answered := time.Now()
		switch {
		case ctx.Err() != nil:
		case err != nil:
			f.problem("deciding: %v", err)
		case allow != (v.end.IsZero() || asked.Before(v.end)) && f.late(replica, asked, 0):
			f.count("tokens that outlive their version judged by a replica that was late")
		case allow && !v.end.IsZero() && !asked.Before(v.end):
			f.problem("replica %d was asked %s after a version retired, and allowed its token", replica, asked.Sub(v.end))
		case allow && !v.end.IsZero():
			f.closest(&f.lastAllow, v.end.Sub(asked))
		case allow:
			f.count("tokens that outlive their version allowed before it retires")
		case v.end.IsZero() || answered.Before(v.end):
			f.problem("replica %d denied the token of a version that retires in %s: %v", replica, time.Until(v.end), codes)
		case !slices.Contains(codes, "signature.key_unknown"):
			f.problem("replica %d denied the token of a retired version for %v", replica, codes)
		default:
			f.count("tokens of retired versions denied")
			f.closest(&f.firstDeny, answered.Sub(v.end))
		}
	}
}

func (f *fleet) closest(kept *time.Duration, distance time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *kept == 0 || distance < *kept {
		*kept = distance
	}
}

// signedTooEarly holds the first token of every version against when the version was due.
func (f *fleet) signedTooEarly() {
	// A version is there until publish_ahead after it was made, at least, and then as long as its tokens.
	p := f.config.Periods(f.config.KeyNamesOf(false)[0])
	seen := f.blind < f.ahead+p.MaxTokenLifetime+p.Leeway
	for kid, at := range f.firstSigned {
		v := f.lives[kid]
		switch {
		case v == nil && (f.vaultMayFail || !seen):
			f.count("versions that signed and were not seen in time")
		case v == nil:
			f.problem("a token has the kid %s, which Vault's record never had", kid)
		case v != nil && at.Before(v.due):
			f.problem("the version with kid %s signed %s before it was due", kid, v.due.Sub(at))
		}
	}
}
