package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/cmd/assay/internal/config"
	"github.com/assaypdp/assay/test/realvault/vaulttest"
)

// byFile is the rotation test's configuration with times that a file can say, and no custodian in serve.
var byFile = strings.NewReplacer(
	"  custodian: {enabled: true}\n", "  custodian: {trim_after: 1s}\n  jwks_max_age: 1s\n  poll: 1s\n  clock_skew: 1s\n",
	"{type: ecdsa-p256}", "{type: ecdsa-p256, rotate_every: 3s, publish_ahead: 3s, max_token_lifetime: 2s}",
	"\nissuers:", "\nleeway: 1s\nissuers:",
).Replace(rotationConfig)

// The custodian is a program of its own, which is killed with SIGKILL over and over, at whatever it does. Keys rotate
// all the same, whoever is left of the versions that it made too many harms nobody, and it needs no repair.
func TestCustodianKilledUnderLoad(t *testing.T) {
	f := newFleetAt(t, func(*config.Config) {}, byFile)
	l := f.load(t.Context())
	for replica := range f.served {
		l.loop(2*time.Millisecond, func(n int) { f.hold(l.ctx, replica, n) })
	}
	lives := &custodianLives{longest: 1500 * time.Millisecond, since: time.Now()}
	l.loop(time.Millisecond, func(int) { f.killCustodian(l.ctx, lives) })
	signed := f.rotate(min(3, *rotations))
	l.end()
	f.report(signed)
	if f.counts["custodians killed"] == 0 {
		t.Error("that shows nothing: no custodian was killed")
	}
}

// custodianLives is how long the custodians live that are killed. On a busy machine one may take seconds to start:
// where nothing has been done for a while, they live longer.
type custodianLives struct {
	longest time.Duration
	signed  int       // how many versions have signed
	since   time.Time // when that changed, or they were given longer
}

func (c *custodianLives) next(signed int) time.Duration {
	switch now := time.Now(); {
	case signed != c.signed:
		c.signed, c.since = signed, now
	case now.Sub(c.since) > 5*time.Second+2*c.longest:
		c.longest, c.since = 2*c.longest, now
	}
	return 20*time.Millisecond + rand.N(c.longest)
}

// killCustodian runs the custodian for a moment. It does its first round at once, so most are killed in it.
func (f *fleet) killCustodian(ctx context.Context, lives *custodianLives) {
	command := exec.Command("assay", "keys", "run", "--config", filepath.Join(f.folder, "assay.yaml"))
	if err := command.Start(); err != nil {
		f.problem("starting the custodian: %v", err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	life := time.NewTimer(lives.next(f.haveSigned()))
	defer life.Stop()
	select {
	case err := <-ended:
		f.problem("the custodian ended by itself: %v", err)
		return
	case <-life.C:
	case <-ctx.Done():
	}
	if err := command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		f.problem("killing the custodian: %v", err)
	}
	if err := <-ended; command.ProcessState.Exited() { // it was not the signal that ended it
		f.problem("the custodian ended by itself: %v", err)
	}
	f.count("custodians killed")
}

// slower leaves room for an outage: until a replica reads Vault again, it does not know what another replica's
// custodian has made meanwhile, and publish_ahead has to last for that.
func slower(c *config.Config) {
	quick(c)
	key := c.Vault.Keys["access"]
	key.RotateEvery, key.PublishAhead = config.Duration(6*time.Second), config.Duration(6*time.Second)
	c.Vault.Keys["access"] = key
}

// Vault is killed and started again, over its files, again and again while keys rotate, tokens are issued and decided.
// No good token is denied; what is retired stays so; issuing asks to come back and goes on by itself.
func TestVaultRestartsUnderRotation(t *testing.T) {
	f := newFleetAt(t, slower, rotationConfig, vaulttest.FileStorage)
	f.vaultMayFail = true
	l := f.load(t.Context())
	for replica := range f.served {
		l.loop(2*time.Millisecond, func(n int) { f.hold(l.ctx, replica, n) })
	}
	for range max(1, *rotations/2) {
		before := f.haveSigned()
		f.server.Kill()
		missed := f.counted(notIssued)
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond) // how long Vault is away, at least
		f.until(0, "missing Vault", func() bool { return f.counted(notIssued) > missed })
		if err := f.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.count("restarts of Vault")
		for replica := range f.served {
			f.until(0, "issuing again", func() bool { _, ok := f.issue(t.Context(), replica); return ok })
		}
		f.until(0, "a rotation after the restart", func() bool { return f.haveSigned() > before })
		next := time.Now().Add(time.Duration(rand.IntN(3000)) * time.Millisecond) // at another moment of the next
		f.until(0, "later", func() bool { return time.Now().After(next) })
	}
	signed := f.haveSigned()
	l.end()
	for replica, s := range f.served {
		for deadline := time.Now().Add(patience); len(s.app.Health().Causes) > 0; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("replica %d has not recovered: %v", replica, s.app.Health().Causes)
			}
		}
	}
	f.report(signed)
	if f.counts["restarts of Vault"] == 0 || f.counts[notIssued] == 0 {
		t.Error("that shows nothing: Vault was not missed")
	}
}
