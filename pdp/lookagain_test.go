package pdp_test

import (
	"errors"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// revokedAfter is an index in which the token is revoked once it was asked some times.
type revokedAfter struct{ asked, after int }

func (r *revokedAfter) Lookup(*pdp.Token, *pdp.Verification) pdp.Revocation {
	r.asked++
	if r.asked > r.after {
		return pdp.Revocation{Known: true, Revoked: "session"}
	}
	return pdp.Revocation{Known: true}
}

func TestARevocationDuringRecordingSupersedes(t *testing.T) {
	for name, tc := range map[string]struct {
		after, records int
		allow          bool
	}{
		"revoked before":    {0, 1, false},
		"revoked meanwhile": {1, 2, false},
		"revoked later":     {2, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := goodFacts(t).config(t, says(allowing(pdp.Reason{Code: "lifetime.too_old", Enforcement: pdp.Warn})))
			c.Revocations = &revokedAfter{after: tc.after}
			var recorded []*pdp.Decision
			c.Recorder = recorderFunc(func(f *pdp.Facts, d *pdp.Decision) error {
				if d.Allow == (f.Revocation.Revoked != "") {
					t.Error("the facts recorded are not those of the decision")
				}
				recorded = append(recorded, d)
				return nil
			})
			d := decide(t, c)
			if d.Allow != tc.allow || len(recorded) != tc.records || recorded[len(recorded)-1] != d {
				t.Fatalf("answered %+v after %d records", d, len(recorded))
			}
			if !d.Allow && d.Reasons[0].Code != "revocation.session" {
				t.Errorf("reasons %+v", d.Reasons)
			}
			if tc.records == 2 && (d.Supersedes != recorded[0].ID || !recorded[0].Allow || d.Claims != nil || d.CacheForSeconds != 0) {
				t.Errorf("superseded %+v by %+v", recorded[0], d)
			}
		})
	}
}

func TestASupersedingDenyThatCannotBeRecordedIsNotAnswered(t *testing.T) {
	c := goodFacts(t).config(t, says(allowing()))
	c.Revocations = &revokedAfter{after: 1}
	c.Recorder = recorderFunc(func(_ *pdp.Facts, d *pdp.Decision) error {
		if d.Allow {
			return nil
		}
		return errors.New("disk full")
	})
	d, err := pdp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if decision, err := d.Decide(t.Context(), &pdp.Request{}); decision != nil || !errors.Is(err, pdp.ErrUnavailable) {
		t.Errorf("%+v, %v", decision, err)
	}
}
