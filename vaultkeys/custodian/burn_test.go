package custodian_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
)

// revoker remembers what it was handed; it is down while fail is set.
type revoker struct {
	fail    error
	entries []string
}

func (r *revoker) Revoke(_ context.Context, issuer, thumbprint, reason, ticket string) error {
	if r.fail != nil {
		return r.fail
	}
	if reason == "" || ticket == "" {
		return errors.New("reason and ticket got lost")
	}
	if entry := issuer + " " + thumbprint; !slices.Contains(r.entries, entry) {
		r.entries = append(r.entries, entry)
	}
	return nil
}

func leak(through int) custodian.Compromise {
	return custodian.Compromise{Key: "access", Through: through, Issuers: []string{"https://a.example", "https://b.example"},
		Reason: "found in a log", Ticket: "SEC-1"}
}

// twoVersions is a real key whose version 1 signs and whose version 2 has been published for a while.
func twoVersions(t *testing.T) *timed {
	t.Helper()
	v := newTimed(t)
	if err := v.Rotate(t.Context(), "access", 1); err != nil {
		t.Fatal(err)
	}
	v.clock.advance(90 * time.Second)
	return v
}

func TestBurn(t *testing.T) {
	v, revoked := twoVersions(t), &revoker{}
	thumbprint, err := vaultkeys.Thumbprint(v.read(t).Versions[0].Public)
	if err != nil {
		t.Fatal(err)
	}
	b, err := custodian.Burn(t.Context(), v, revoked, leak(1), periods(), v.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if b.Promoted != 2 || b.Pending != 3 || !b.Withdrawn || !b.Destroyed || b.Unknown {
		t.Errorf("%+v", b)
	}
	if want := []string{"https://a.example " + thumbprint, "https://b.example " + thumbprint}; !slices.Equal(revoked.entries, want) {
		t.Errorf("revoked %q, want %q", revoked.entries, want)
	}
	r := v.read(t)
	if r.Versions[0].Number != 2 || r.MinDecryptionVersion != 2 || r.MinEncryptionVersion != 2 || r.MinAvailableVersion != 2 {
		t.Errorf("Vault's record is %+v", r)
	}
	// A custodian that read before cannot bring it back: what is destroyed stays so.
	if err := v.lower(t, 1); err == nil {
		t.Error("Vault let the minimum be lowered below what is destroyed")
	}
	if steps := custodian.Next(r, rules(time.Minute), v.clock.Now()); len(steps) != 0 {
		t.Errorf("a custodian still has to do %v", steps)
	}
}

// The promoted version is too young for every verifier to know it: the answer says so, and until when.
func TestBurnSaysWhenTheSuccessorIsUnknown(t *testing.T) {
	v := newTimed(t) // one version, none pending
	b, err := custodian.Burn(t.Context(), v, &revoker{}, leak(1), periods(), v.clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	if b.Promoted != 2 || b.Pending != 3 || !b.Unknown || !b.KnownBy.Equal(at(30)) {
		t.Errorf("%+v", b)
	}
}

func TestBurnPendingOne(t *testing.T) {
	v := twoVersions(t)
	b, err := custodian.Burn(t.Context(), v, &revoker{}, leak(2), periods(), v.clock.Now)
	if err != nil || len(b.Versions) != 2 || b.Promoted != 3 || b.Pending != 4 || len(b.Revoked) != 4 {
		t.Errorf("%+v: %v", b, err)
	}
}

func TestBurnRefusesVersionsThatAreNotThere(t *testing.T) {
	v := twoVersions(t)
	for _, through := range []int{0, -1, 3} {
		if _, err := custodian.Burn(t.Context(), v, &revoker{}, leak(through), periods(), v.clock.Now); err == nil {
			t.Errorf("version %d was burnt", through)
		}
	}
	if r := v.read(t); r.MinDecryptionVersion != 1 || r.Latest != 2 {
		t.Errorf("Vault was changed: %+v", r)
	}
}

// Revocation is down: the key is burnt in Vault all the same, and the error says what is left to do.
func TestBurnWithoutRevocation(t *testing.T) {
	v, down := twoVersions(t), errors.New("connection refused")
	b, err := custodian.Burn(t.Context(), v, &revoker{fail: down}, leak(1), periods(), v.clock.Now)
	var left *custodian.NotRevokedError
	if !errors.As(err, &left) || !errors.Is(err, down) || left.Thumbprint != b.Versions[0].Thumbprint {
		t.Errorf("got %v", err)
	}
	if !b.Destroyed || b.Promoted != 2 || b.Pending != 3 || len(b.Revoked) != 0 {
		t.Errorf("%+v", b)
	}
}

// Whoever burns is killed at each of its calls, and does it again: it ends as if nothing had happened, and no
// key is burnt without its revocation.
func TestBurnKilledAtEveryStep(t *testing.T) {
	for call := 0; ; call++ {
		died := false
		for _, after := range []bool{false, true} {
			v, revoked := twoVersions(t), &revoker{}
			m := &mortal{Vault: v, at: call, after: after}
			_, err := custodian.Burn(t.Context(), m, revoked, leak(1), periods(), v.clock.Now)
			if err != nil && !errors.Is(err, errKilled) {
				t.Fatalf("killed at call %d: %v", call, err)
			}
			died = died || err != nil
			if r := v.read(t); r.MinDecryptionVersion > 1 && len(revoked.entries) != 2 {
				t.Errorf("killed at call %d: version 1 is withdrawn and was not revoked: nobody knows its thumbprint any more", call)
			}
			if _, err := custodian.Burn(t.Context(), v, revoked, leak(1), periods(), v.clock.Now); err != nil {
				t.Fatalf("again after call %d: %v", call, err)
			}
			r := v.read(t)
			signer, err := vaultkeys.Signer(r, periods(), v.clock.Now())
			if err != nil || signer.Number != 2 || r.MinDecryptionVersion != 2 || r.MinAvailableVersion != 2 || len(revoked.entries) != 2 {
				t.Errorf("after call %d: %d signs, %d revoked, record %+v (%v)", call, signer.Number, len(revoked.entries), r, err)
			}
			if pending := r.Latest - signer.Number; pending < 1 || pending > 2 {
				t.Errorf("after call %d: %d versions are pending", call, pending)
			}
		}
		if !died {
			return
		}
	}
}

// stale lowers the minimums once, right after they were raised, as a custodian with an old reading would.
type stale struct {
	*timed
	t    *testing.T
	done bool
}

func (s *stale) Retire(ctx context.Context, key string, to int) error {
	err := s.timed.Retire(ctx, key, to)
	if !s.done {
		s.done = true
		if err := s.lower(s.t, 1); err != nil {
			s.t.Error(err)
		}
	}
	return err
}

func TestBurnAgainstACustodianWithAnOldReading(t *testing.T) {
	v := twoVersions(t)
	b, err := custodian.Burn(t.Context(), &stale{timed: v, t: t}, &revoker{}, leak(1), periods(), v.clock.Now)
	if err != nil || !b.Destroyed {
		t.Errorf("%+v: %v", b, err)
	}
	if r := v.read(t); r.MinDecryptionVersion != 2 || r.MinAvailableVersion != 2 {
		t.Errorf("version 1 is back: %+v", r)
	}
}
