package custodian_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// behind is a Vault whose clock is behind the custodian's.
type behind struct {
	*timed
	by time.Duration
}

func (v *behind) ReadKey(ctx context.Context, name string) (vaultkeys.Record, error) {
	r, err := v.timed.ReadKey(ctx, name)
	for i := range r.Versions {
		r.Versions[i].Created = r.Versions[i].Created.Add(-v.by)
	}
	return r, err
}

// Where Vault's clock is so far behind that a version is due when it is made, every round would add one. The custodian
// sees it by the version that it made, says so, and adds no more for rotate_every.
func TestVaultsClockIsBehind(t *testing.T) {
	for name, c := range map[string]struct {
		by    time.Duration
		wrong bool
	}{
		"by as much as the periods allow for": {10 * time.Second, false}, // clock skew + poll
		"by more":                             {11 * time.Second, true},
		"by an hour":                          {time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			v := &behind{newTimed(t), c.by}
			keeper := newCustodian(t, v, v.clock.Now)
			made := func() int { return v.read(t).Latest }
			err := keeper.Round(t.Context())
			if wrong := err != nil && strings.Contains(err.Error(), "clock"); wrong != c.wrong {
				t.Errorf("the first round: %v", err)
			}
			if failing := keeper.Failing()["access"]; (failing != nil) != c.wrong {
				t.Errorf("failing: %v", failing)
			}
			for range 9 { // until a second before rotate_every has passed
				v.clock.advance(11 * time.Second)
				_ = keeper.Round(t.Context()) // what it says was looked at above; here it is what it does
			}
			if n := made(); c.wrong && n != 2 {
				t.Errorf("%d versions after many rounds with a wrong clock, want the first and the one by which it was found", n)
			}
			if !c.wrong {
				return
			}
			v.clock.advance(2 * time.Second)
			if err := keeper.Round(t.Context()); err == nil {
				t.Error("after rotate_every another version was made, and nothing was said of the clock")
			}
			if n := made(); n > 3 {
				t.Errorf("%d versions: more than one in rotate_every", n)
			}
			before := made()
			v.by = 0
			if err := newCustodian(t, v, v.clock.Now).Round(t.Context()); err != nil || made() > before+1 {
				t.Errorf("started anew with clocks that are right: %v, %d versions", err, made())
			}
		})
	}
}
