package pdp

import (
	"context"
	"fmt"
)

// Explain decides as Decide does, records nothing, and gives beside the decision the facts that it was made from. It is
// for people who work on a policy; what the facts hold is not for those who only ask.
func (d *Decider) Explain(ctx context.Context, r *Request) (*Decision, *Facts, error) {
	token, verification, err := d.c.Examiner.Examine(ctx, r.Token)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: examining the token: %w", ErrUnavailable, err)
	}
	return d.judge(ctx, r, token, verification)
}
