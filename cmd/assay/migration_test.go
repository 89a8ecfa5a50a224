package main

import (
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/vaultkeys"
)

// with is the rotation test's configuration with other keys for the issuer.
func with(list string, keys ...string) string {
	text := strings.Replace(rotationConfig, "{vault: access}", "{vault: "+list+"}", 1)
	before, _, _ := strings.Cut(text, "  keys:\n    access")
	return before + "  keys:\n    " + strings.Join(keys, "\n    ") + "\n"
}

// An issuer moves from ES256 to EdDSA as the runbook says, replica by replica, while its keys rotate and tokens are
// issued, decided and verified elsewhere with cached copies of the JWKS. No good token is denied anywhere; no replica
// signs with the new key before it was published for publish_ahead, by Vault's clock; and once the old key is out of the
// list its tokens are worth nothing.
func TestAlgorithmMigrationUnderLoad(t *testing.T) {
	f := newFleet(t, rotationConfig)
	// The runbook has the roll-out end well before the new key signs: how long one takes here is known by now, and may
	// change with what else the machine does.
	ahead := 10*time.Second + 3*f.took
	for !f.migrate(t, ahead) {
		if ahead *= 3; ahead > 10*time.Minute {
			t.Fatal("no roll-out ends in time")
		}
		t.Logf("the roll-out took too long; once more, with publish_ahead %s", ahead)
		for _, s := range f.served {
			s.stop()
		}
		f = newFleet(t, rotationConfig)
	}
}

// migrate has the fleet's issuer move to a key that is published for so long before it signs. It is false where the
// roll-out took too long for that.
func (f *fleet) migrate(t *testing.T, ahead time.Duration) bool {
	const access, next = "access: {type: ecdsa-p256}", "next: {type: ed25519}"
	l := f.load(t.Context())
	defer l.end()
	f.rotate(1)
	f.pace = func(c *config.Config) {
		quick(c)
		if key, named := c.Vault.Keys["next"]; named {
			key.RotateEvery, key.PublishAhead = config.Duration(2*ahead), config.Duration(ahead)
			c.Vault.Keys["next"] = key
		}
	}

	// One roll-out: the key is made, and named before the old one, on one replica and then the other.
	both := f.configure(with("[next, access]", access, next))
	f.provision(both)
	f.reconfigured(both)
	record, err := f.admin.ReadKey(t.Context(), "next")
	if err != nil {
		t.Fatal(err)
	}
	p := both.Periods("next")
	switched := record.Versions[0].Created.Add(p.PublishAhead)
	began := time.Now()
	for replica := range f.served {
		f.replace(replica, both)
	}
	t.Logf("the roll-out took %s", time.Since(began))
	if time.Until(switched) < p.JWKSMaxAge+p.Poll+p.ClockSkew {
		return false // a replica that was not rolled out yet may have met what another signs with
	}
	f.until(ahead, "EdDSA on every replica", func() bool { return f.issued(0, "EdDSA") && f.issued(1, "EdDSA") })
	t.Logf("the first EdDSA token came %s after the new key had been published for publish_ahead", f.first("EdDSA").Sub(switched).Round(100*time.Microsecond))

	// Tokens of the old key live on; when the last has ended it leaves the list.
	ended := time.Now().Add(both.Periods("access").MaxTokenLifetime + both.Leeway.D())
	f.until(0, "the end of the old key's tokens", func() bool { return time.Now().After(ended) })
	for replica := range f.served {
		f.onTime(replica, func() (decided bool) {
			allow, codes, err := f.decide(t.Context(), replica, f.fresh("access", "ES256", both.Periods("access")))
			if err == nil && allow {
				return true
			}
			t.Logf("replica %d denies what the old key signs while it is named: %v %v", replica, codes, err)
			return false
		})
	}
	alone := f.configure(with("next", next))
	f.reconfigured(alone)
	for replica := range f.served {
		f.replace(replica, alone)
	}
	more := time.Now().Add(time.Second)
	f.until(0, "a while later", func() bool { return time.Now().After(more) })
	signed := f.haveSigned()
	l.end()
	for replica := range f.served {
		if allow, codes, err := f.decide(t.Context(), replica, f.fresh("access", "ES256", both.Periods("access"))); err != nil || allow || !strings.Contains(strings.Join(codes, " "), "signature.key_unknown") {
			t.Errorf("replica %d takes what the old key signs when it is no longer named: %v %v %v", replica, allow, codes, err)
		}
	}
	f.report(signed)
	if f.first("EdDSA").Before(switched) || f.counts["issued under ES256"] == 0 || f.counts["issued under EdDSA"] == 0 {
		t.Error("EdDSA came too early, or one of the two algorithms was not used at all")
	}
	return true
}

// reconfigured tells whoever watches the keys of another configuration.
func (f *fleet) reconfigured(c *config.Config) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.config = c
}

// until waits for a condition, which may be that long in coming by itself.
func (f *fleet) until(due time.Duration, what string, condition func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(due + patience); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("after %s: not %s", due+patience, what)
		}
	}
}

// issued tells whether a replica issues under an algorithm now.
func (f *fleet) issued(replica int, alg string) bool {
	token, ok := f.issue(f.t.Context(), replica)
	return ok && algorithmOf(token.Token) == alg
}

// first is when the first token under an algorithm had been issued.
func (f *fleet) first(alg string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first time.Time
	for kid, at := range f.firstSigned {
		if v := f.lives[kid]; v != nil && algorithmOf(v.token) == alg && (first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// fresh is a long-lived token of the version of a key that is active now, made past Assay.
func (f *fleet) fresh(key, alg string, p vaultkeys.Periods) string {
	f.t.Helper()
	record, err := f.admin.ReadKey(f.t.Context(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	signer, err := vaultkeys.Signer(record, p, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	token, err := f.longToken(f.t.Context(), key, alg, signer)
	if err != nil {
		f.t.Fatal(err)
	}
	return token
}
