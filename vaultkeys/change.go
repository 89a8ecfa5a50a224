package vaultkeys

import (
	"errors"
	"fmt"
	"time"
)

// CheckChange refuses other periods for a key that is in use, where a good token would be denied for them. What
// was signed, published and cached under the old periods is not in Vault's record, so the new ones, weighed
// alone, can look right and retire a version whose tokens still live. All problems come together, each with its
// sum.
func CheckChange(r Record, before, after Periods, now time.Time) error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	usable := r.usable()
	old := States(r, before, now)
	for i, s := range old {
		if s.State != Active && s.State != Retiring {
			continue
		}
		living := now // until when a token may live that it has signed under the old periods
		if end := superseded(usable[i+1:], before); s.State == Retiring && !end.IsZero() {
			living = end
		}
		living = living.Add(before.keep())
		next := superseded(usable[i+1:], after)
		if next.IsZero() {
			continue
		}
		if end := next.Add(after.keep()); end.Before(living) {
			refuse("version %d of %s has tokens that live until %s, and would retire at %s, when its successor was due (%s) + max_token_lifetime %s + leeway %s: change the periods after that, or less",
				s.Number, r.Name, moment(living), moment(end), moment(next), text(after.MaxTokenLifetime), text(after.Leeway))
		}
	}
	known := before.JWKSMaxAge + before.Poll + before.ClockSkew
	if signer, err := Signer(r, after, now); err == nil {
		was, _ := Signer(r, before, now)
		if age := now.Sub(signer.Created); signer.Number != was.Number && age < known {
			refuse("version %d of %s would sign at once, %s after it was made; verifiers know it after JWKS max-age %s + keyring poll %s + clock skew %s = %s",
				signer.Number, r.Name, text(age.Truncate(time.Second)), text(before.JWKSMaxAge), text(before.Poll), text(before.ClockSkew), text(known))
		}
	}
	if after.delay() < known {
		refuse("a version of %s that is made now would sign after %s; copies of the published set that were fetched under the old JWKS max-age %s are used for up to %s with keyring poll and clock skew: shorten jwks_max_age first, and the rest that much later",
			r.Name, text(after.delay()), text(before.JWKSMaxAge), text(known))
	}
	return errors.Join(problems...)
}

func moment(at time.Time) string { return at.UTC().Truncate(time.Second).Format(time.RFC3339) }
