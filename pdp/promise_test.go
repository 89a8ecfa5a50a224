package pdp_test

import (
	"context"
	"errors"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

// promising is a Recorder whose records are on disk when a test says so. It keeps what it was handed.
type promising struct {
	recorderFunc
	final    bool // it does not wait
	err      error
	promised []*pdp.Decision
	w        pdp.Witness
}

func (p *promising) Promise(_ context.Context, _ *pdp.Facts, d *pdp.Decision, w pdp.Witness) (*pdp.Receipt, error) {
	p.promised, p.w = append(p.promised, d), w
	if p.final || p.err != nil {
		return nil, p.err
	}
	return &pdp.Receipt{Log: "log", Index: 7}, nil
}

type deaf struct{}

func (deaf) Recorded(int64, error) {}

func TestAPromisedDecision(t *testing.T) {
	broken := errors.New("disk full")
	for name, tc := range map[string]struct {
		after           int // when it is revoked
		final           bool
		handing, record error // the recorder's
		index           int64
		told            error
		waits, stands   bool
		allow, failed   bool
		records         int
	}{
		"stands":                         {after: 9, index: 7, waits: true, stands: true, allow: true, records: 1},
		"elsewhere":                      {after: 9, index: 8, waits: true, allow: true, records: 1},
		"not on disk":                    {after: 9, index: -1, told: broken, waits: true, failed: true, records: 1},
		"revoked meanwhile":              {after: 1, index: 7, waits: true, records: 2},
		"revoked, which is not recorded": {after: 1, index: 7, record: broken, waits: true, failed: true, records: 1},
		"revoked before":                 {after: 0, index: 7, waits: true, stands: true, records: 1},
		"final":                          {after: 9, final: true, allow: true, records: 1},
		"final and revoked meanwhile":    {after: 1, final: true, records: 2},
		"not taken":                      {after: 9, handing: broken, failed: true, records: 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := goodFacts(t).config(t, says(allowing()))
			c.Revocations = &revokedAfter{after: tc.after}
			p := &promising{final: tc.final, err: tc.handing}
			p.recorderFunc = func(_ *pdp.Facts, d *pdp.Decision) error {
				if tc.record == nil {
					p.promised = append(p.promised, d)
				}
				return tc.record
			}
			c.Recorder = p
			d, err := pdp.New(c)
			if err != nil {
				t.Fatal(err)
			}
			promised, err := d.Promise(t.Context(), &pdp.Request{}, deaf{})
			answered := promised.Decision
			if promised.Waits != tc.waits {
				t.Fatalf("waits: %t, %v", promised.Waits, err)
			}
			if tc.waits {
				if tc.told == nil && d.Stands(&promised, tc.index) != tc.stands {
					t.Errorf("stands: %t", !tc.stands)
				}
				answered, err = d.Confirm(t.Context(), &promised, tc.index, tc.told)
			}
			if len(p.promised) != tc.records || tc.failed != errors.Is(err, pdp.ErrUnavailable) || tc.failed != (err != nil) {
				t.Fatalf("%d records, %v", len(p.promised), err)
			}
			if tc.failed {
				return
			}
			if answered.Allow != tc.allow || answered != p.promised[tc.records-1] || tc.records == 2 && answered.Supersedes != p.promised[0].ID {
				t.Errorf("answered %+v", answered)
			}
			if tc.waits && tc.records == 1 && answered.Receipt.Index != tc.index {
				t.Errorf("receipt %+v", answered.Receipt)
			}
		})
	}
}

func TestAPromiseOfARecorderThatOnlyRecords(t *testing.T) {
	c := goodFacts(t).config(t, says(allowing()))
	recorded := 0
	c.Recorder = recorderFunc(func(*pdp.Facts, *pdp.Decision) error { recorded++; return nil })
	d, err := pdp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := d.Promise(t.Context(), &pdp.Request{}, deaf{}); err != nil || p.Waits || !p.Decision.Allow || recorded != 1 {
		t.Errorf("%+v, %v, %d records", p, err, recorded)
	}
}
