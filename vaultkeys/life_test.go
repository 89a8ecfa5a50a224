package vaultkeys

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A transit key as Vault keeps it, seconds since the epoch, with custodians that come late, crash half
// way, race each other, and sometimes have to answer a compromise.
type simulatedVault struct {
	random  *rand.Rand
	periods Periods
	skew    int   // its clock, and the custodian's, are ahead of true time
	created []int // of version i+1, by its clock
	minimum int   // min_decryption_version: versions below are gone from the record
	signing int   // min_encryption_version
	// hurried are the versions that may sign before they were published long enough, because a minimum was
	// raised; by version number, the time of the raise.
	hurried map[int]int
	// compromised: versions below were withdrawn in an incident, living tokens and all.
	compromised int
}

func (v *simulatedVault) record() Record {
	r := Record{Name: "access", Type: "ecdsa-p256", Latest: len(v.created), MinDecryptionVersion: v.minimum, MinEncryptionVersion: v.signing}
	for i := v.minimum - 1; i < len(v.created); i++ {
		r.Versions = append(r.Versions, Version{Number: i + 1, Created: at(v.created[i])})
	}
	return r
}

func (v *simulatedVault) rotate(now int) { v.created = append(v.created, now+v.skew) }

// custodian does its rounds: one pending version always, retired ones withdrawn. It reads, and a while later
// acts on what it read.
func (v *simulatedVault) custodian(now int, read Record) {
	states := States(read, v.periods, at(now+v.skew))
	pending, minimum := false, read.MinDecryptionVersion
	for _, s := range states {
		pending = pending || s.State == Pending
		if s.State == Retired && s.Number == minimum {
			minimum++
		}
	}
	if !pending {
		v.rotate(now)
		for v.random.IntN(4) == 0 { // another custodian saw the same
			v.rotate(now)
		}
		if v.random.IntN(3) == 0 { // crashed before the second half
			return
		}
	}
	v.minimum = max(v.minimum, minimum)
	if v.signing > 0 {
		v.signing = max(v.signing, v.minimum) // Vault wants both raised together
	}
}

// incident raises a minimum version by hand: both in a compromise, or that for signing alone.
func (v *simulatedVault) incident(now int) {
	latest := len(v.created)
	to := min(latest, v.minimum+1+v.random.IntN(2))
	if v.random.IntN(2) == 0 {
		v.minimum = max(v.minimum, to)
		v.compromised = v.minimum
	}
	v.signing = max(v.signing, to)
	for n := v.minimum; n <= latest; n++ {
		if _, known := v.hurried[n]; !known {
			v.hurried[n] = now
		}
	}
}

// replica is an Assay with a clock that is off and a record that is read now and then.
type replica struct {
	skew   int // its clock is ahead of true time
	read   Record
	readAt int
}

// simulatedToken is one signed by some replica.
type simulatedToken struct {
	version int
	expires int // "exp"
}

// For years of rotation, with replicas whose clocks differ and whose records are late:
//   - there always is a signer,
//   - no version signs that was not published for publish_ahead, but for the first and for promotions,
//   - a token verifies at every replica, and at every verifier with a cached document, until it ends, but for
//     versions withdrawn in a compromise.
func TestLifeOfAKeyOverYears(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { live(t, seed, seed%3 == 0) })
	}
}

func live(t *testing.T, seed uint64, incidents bool) {
	random := rand.New(rand.NewPCG(seed, 1))
	p := Periods{
		JWKSMaxAge: time.Duration(random.IntN(30)) * time.Second, Poll: time.Duration(1+random.IntN(20)) * time.Second,
		ClockSkew: time.Duration(random.IntN(10)) * time.Second, MaxTokenLifetime: time.Duration(1+random.IntN(200)) * time.Second,
	}
	p.Leeway = p.ClockSkew + time.Duration(random.IntN(5))*time.Second
	p.PublishAhead = p.JWKSMaxAge + p.Poll + p.ClockSkew
	p.RotateEvery = p.PublishAhead
	if seed%2 == 0 { // in every other life publish_ahead is all there is
		p.RotateEvery += time.Duration(random.IntN(300)) * time.Second
	}
	if p.PublishAhead == 0 || p.Validate() != nil {
		t.Fatalf("%+v: %v", p, p.Validate())
	}
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	vault := &simulatedVault{random: random, periods: p, minimum: 1, hurried: map[int]int{1: 0}}
	vault.skew = random.IntN(seconds(p.ClockSkew) + 1)
	vault.rotate(0)
	// The clocks of Vault and all replicas lie within ClockSkew of each other.
	replicas := make([]*replica, 3)
	for i := range replicas {
		replicas[i] = &replica{skew: random.IntN(seconds(p.ClockSkew) + 1), read: vault.record()}
	}
	cached := make([][]map[int]bool, len(replicas))
	for i := range cached {
		cached[i] = make([]map[int]bool, seconds(p.JWKSMaxAge)+1)
	}
	var tokens []simulatedToken
	nextRound, pendingRound, pendingRead := 0, -1, Record{}
	signers := map[int]bool{}
	for now := 0; now < 15_000; now++ {
		switch { // the custodian's rounds, late by up to three rotations, its acts late by some seconds
		case now == pendingRound:
			vault.custodian(now, pendingRead)
			pendingRound = -1
		case now >= nextRound && pendingRound < 0:
			pendingRead, pendingRound = vault.record(), now+random.IntN(5)+1
			nextRound = now + 1 + random.IntN(1+seconds(p.RotateEvery)*(1+2*random.IntN(2)))
		}
		if incidents && random.IntN(2000) == 0 {
			vault.incident(now)
		}
		for i, r := range replicas {
			if now-r.readAt >= seconds(p.Poll) || i > 0 && random.IntN(seconds(p.Poll)) == 0 {
				r.read, r.readAt = vault.record(), now
			}
			published := map[int]bool{}
			for _, s := range States(r.read, p, at(now+r.skew)) {
				if s.State.Published() {
					published[s.Number] = true
				}
				if clock := at(now + r.skew); !s.Ends.IsZero() && s.State.Published() != clock.Before(s.Ends) {
					t.Fatalf("at %d: version %d is %s, and was said to end at %s", now, s.Number, s.State, s.Ends.Sub(epoch))
				}
			}
			cached[i][now%len(cached[i])] = published
			signer, err := Signer(r.read, p, at(now+r.skew))
			if err != nil {
				t.Fatalf("at %d: %v", now, err)
			}
			signers[signer.Number] = true
			age := now - (vault.created[signer.Number-1] - vault.skew)
			if _, hurried := vault.hurried[signer.Number]; !hurried && age < seconds(p.PublishAhead-p.ClockSkew) {
				t.Fatalf("at %d: version %d signs after %d s, publish_ahead is %s and the clocks differ by %s at most", now, signer.Number, age, p.PublishAhead, p.ClockSkew)
			}
			if signer.Number >= vault.minimum { // else Vault refuses to sign
				tokens = append(tokens, simulatedToken{signer.Number, now + r.skew + seconds(p.MaxTokenLifetime)})
			}
		}
		tokens = verifyAll(t, vault, p, replicas, cached, tokens, now)
	}
	if len(signers) < 20 {
		t.Errorf("only %d versions have signed; the simulation is not what it should be", len(signers))
	}
}

// verifyAll checks that every living token is known everywhere, and gives those that live on.
func verifyAll(t *testing.T, vault *simulatedVault, p Periods, replicas []*replica, cached [][]map[int]bool, tokens []simulatedToken, now int) []simulatedToken {
	t.Helper()
	oldest := now - len(cached[0]) + 1
	checked := map[simulatedToken]bool{}
	kept := tokens[:0]
	for _, token := range tokens {
		if token.expires+int(p.Leeway/time.Second) <= now {
			continue // expired on every clock: none is behind
		}
		if !checked[token] {
			checked[token] = true
			kept = append(kept, token)
			if token.version < vault.compromised {
				continue
			}
			for i, r := range replicas {
				end := token.expires + int(p.Leeway/time.Second)
				if token.version < vault.minimum { // withdrawn by a custodian, whose clock may be ahead by as much as leeway forgives
					end = token.expires
				}
				if end <= now+r.skew {
					continue
				}
				current := cached[i][now%len(cached[i])]
				_, hurried := vault.hurried[token.version]
				if !current[token.version] && !(hurried && now+vault.skew-vault.created[token.version-1] <= int(p.PublishAhead/time.Second)) {
					t.Fatalf("at %d: replica %d (skew %d, record of %d) does not know version %d, whose token lives until %d\n%s",
						now, i, r.skew, r.readAt, token.version, token.expires, describe(States(r.read, p, at(now+r.skew))))
				}
				// A verifier that fetched the document as long ago as it may.
				if oldest >= 0 && !hurried {
					if old := cached[i][oldest%len(cached[i])]; !old[token.version] {
						t.Fatalf("at %d: a document of replica %d as of %d lacks version %d", now, i, oldest, token.version)
					}
				}
			}
		}
	}
	return kept
}
