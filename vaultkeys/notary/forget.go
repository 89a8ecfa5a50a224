package notary

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Destroyer withdraws and destroys versions of a key in Vault; *transit.Client is one. No role of Assay's may do it
// with the master of pseudonyms: it takes a person's own token.
type Destroyer interface {
	ReadVersions(ctx context.Context, name string) (vaultkeys.Record, error)
	// Retire makes to the lowest version that may be used, Trim destroys all below it for ever.
	Retire(ctx context.Context, key string, to int) error
	Trim(ctx context.Context, key string, to int) error
}

// Forgetting is what destroying the versions below Keep means.
type Forgetting struct {
	// Keep is the lowest version that is kept: that of the first period which is not forgotten.
	Keep int `json:"keep_version"`
	// Destroyed are the versions that are destroyed; none: that was done already.
	Destroyed []int `json:"destroy_versions"`
}

// PlanForgetting says what is to be destroyed so that no period up to and with through can be linked to anyone any
// more. It refuses a period that is not over, and one that shares its version with the period behind it: they can
// only be forgotten together.
func PlanForgetting(record vaultkeys.Record, through string, now time.Time) (Forgetting, error) {
	start, end, err := Period(through)
	if err != nil {
		return Forgetting{}, err
	}
	if now.Before(end) {
		return Forgetting{}, fmt.Errorf("period %s is over on %s: a period that lasts cannot be forgotten, for its records are still being written", through, end.Format(time.DateOnly))
	}
	keep, err := VersionOf(record, end, now)
	if errors.Is(err, ErrForgotten) { // every version that is left is younger
		return Forgetting{}, fmt.Errorf("period %s: %w; no version of the key %s is left that is so old: nothing to do", through, ErrForgotten, record.Name)
	}
	if err != nil {
		return Forgetting{}, err
	}
	if last, err := VersionOf(record, start, end); err == nil && last == keep {
		return Forgetting{}, fmt.Errorf("period %s shares version %d of the key %s with the one behind it, since the key was not rotated in it: "+
			"they can only be forgotten together, once that one is over too", through, keep, record.Name)
	}
	f := Forgetting{Keep: keep}
	for _, v := range record.Versions {
		if v.Number < keep {
			f.Destroyed = append(f.Destroyed, v.Number)
		}
	}
	return f, nil
}

// Forget does what PlanForgetting says, for ever. A process that runs holds the keys of periods that are not over,
// and those are not concerned; backups of Vault's storage are.
func Forget(ctx context.Context, vault Destroyer, key string, f Forgetting) error {
	if err := vault.Retire(ctx, key, f.Keep); err != nil {
		return fmt.Errorf("withdrawing the versions below %d: %w", f.Keep, err)
	}
	if err := vault.Trim(ctx, key, f.Keep); err != nil {
		return fmt.Errorf("the versions below %d are withdrawn and not destroyed: %w", f.Keep, err)
	}
	return nil
}
