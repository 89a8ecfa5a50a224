package pdp

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// floor is Go's own veto: what no policy, mode or waiver can lift. It answers the reasons for which the
// token must be denied whatever the policy says; none where the floor has nothing against it.
//
// For a token that was not verified it is the examination's reason. For a verified one: the key is one
// that the issuer publishes in the snapshot it was verified against, the algorithm is allowed to that
// issuer and fits the key, "exp" is present and not past, "nbf" is not ahead, the lifetime is within the
// issuer's hard limit, and nothing about it is revoked (RFC 8725 sections 3.1 and 3.8; RFC 7519 section 4.1).
func floor(f *Facts, leeway time.Duration) []Reason {
	v, t := f.Verification, f.Token
	if !v.Verified() {
		if v.Reason != nil {
			return []Reason{*v.Reason}
		}
		return []Reason{reason("signature.invalid", "the token was not verified", nil)}
	}
	var found []Reason
	veto := func(code, message string, details map[string]any) {
		found = append(found, reason(code, message, details))
	}
	issuer := &v.Trust.Issuer
	if key, published := v.Trust.KeyByThumbprint(v.Key.Thumbprint); !published || !key.Fits(v.Algorithm) {
		veto("signature.key_unknown", "its issuer does not publish the key that signed it", nil)
	}
	if !issuer.Allows(v.Algorithm) {
		veto("algorithm.not_allowed", "its issuer may not sign with this algorithm", nil)
	}
	if f.Revocation.Revoked != "" {
		veto("revocation."+f.Revocation.Revoked, "revoked: an entry for this "+f.Revocation.Revoked+" is in force", nil)
	}
	if len(t.Unusable) > 0 {
		veto("claims.wrong_type", "not a NumericDate: "+strings.Join(t.Unusable, ", "), map[string]any{"claims": t.Unusable})
	}
	now := UnixDate(f.Time)
	if t.NotBefore != nil && t.NotBefore.After(now.Add(leeway)) {
		veto("lifetime.not_yet_valid", fmt.Sprintf("not valid for another %d s", t.NotBefore.Floor()-f.Time),
			map[string]any{"seconds_until_valid": t.NotBefore.Floor() - f.Time})
	}
	if t.ExpiresAt == nil {
		if !slices.Contains(t.Unusable, "exp") {
			veto("lifetime.missing_exp", "has no exp", nil)
		}
		return found
	}
	if !t.ExpiresAt.Add(leeway).After(now) {
		veto("lifetime.expired", fmt.Sprintf("expired %d s ago", f.Time-t.ExpiresAt.Floor()),
			map[string]any{"seconds_since_expiry": f.Time - t.ExpiresAt.Floor()})
	}
	if born, limit := birth(t, now, leeway), issuer.MaxLifetime(); t.ExpiresAt.After(born.Add(limit)) {
		seconds := t.ExpiresAt.Floor() - born.Floor()
		veto("lifetime.too_long", fmt.Sprintf("lives %d s; no token of this issuer may live longer than %d s", seconds, int64(limit/time.Second)),
			map[string]any{"actual_seconds": seconds, "limit_seconds": int64(limit / time.Second)})
	}
	return found
}

// birth gives the moment from which a token's life counts: "iat", but never later than now and leeway,
// so that an "iat" in the future cannot lengthen it.
func birth(t *Token, now NumericDate, leeway time.Duration) NumericDate {
	latest := now.Add(leeway)
	if t.IssuedAt == nil {
		return now
	}
	if t.IssuedAt.After(latest) {
		return latest
	}
	return *t.IssuedAt
}
