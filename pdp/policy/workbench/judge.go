package workbench

import (
	"context"
	"errors"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// Judge makes the decision that facts lead to under this policy: its verdict, with Go's floor beneath. Leeway is the
// floor's. Nothing is recorded, and the decision has no id.
func (p *Prepared) Judge(ctx context.Context, f *pdp.Facts, leeway time.Duration) (*pdp.Decision, error) {
	decider, err := pdp.New(pdp.Config{
		Examiner: examined{}, Policy: p, Revocations: known(f.Revocation), Leeway: leeway,
		Now:   func() time.Time { return time.Unix(f.Time, 0).UTC() },
		NewID: func(time.Time) string { return "" },
	})
	if err != nil {
		return nil, err
	}
	return decider.Judge(ctx, f.Request, f.Token, f.Verification)
}

// examined stands in for an examiner where the token was examined before.
type examined struct{}

func (examined) Examine(context.Context, string) (*pdp.Token, *pdp.Verification, error) {
	return nil, nil, errors.New("workbench: facts are given, not tokens")
}

// known is what an index of revocations said.
type known pdp.Revocation

func (k known) Lookup(*pdp.Token, *pdp.Verification) pdp.Revocation { return pdp.Revocation(k) }
