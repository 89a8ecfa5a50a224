package audittraffic

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// revoked holds the entries in force, by what they are about.
type revoked struct{ entries map[pdp.About]entry }

// entry revokes what was issued before (a client's and a subject's tokens) from when it reached this replica.
type entry struct {
	before int64
	from   time.Time
}

func newRevoked() revoked { return revoked{make(map[pdp.About]entry)} }

// match is the kind of an entry that a token falls under.
func (r *revoked) match(t *token, at time.Time) string {
	for _, about := range [...]pdp.About{
		{Kind: "token", Issuer: t.issuer.id, Value: t.ID}, {Kind: "subject", Issuer: t.issuer.id, Value: t.Subject},
		{Kind: "client", Issuer: t.issuer.id, Value: t.ClientID}, {Kind: "session", Issuer: t.issuer.id, Value: t.SessionID},
		{Kind: "key", Issuer: t.issuer.id, Value: t.verification.Key.Thumbprint},
	} {
		if e, ok := r.entries[about]; ok && t.issued < e.before && !at.Before(e.from) {
			return about.Kind
		}
	}
	return ""
}

// add records an entry and lets it take effect some milliseconds later.
func (w *writer) add(ctx context.Context, at time.Time, about pdp.About, ticket string) error {
	w.clock.set(at)
	ends := at.Add(24 * time.Hour)
	w.revoked.entries[about] = entry{before: at.Unix() + 1, from: at.Add(time.Duration(2+w.random.IntN(900)) * time.Millisecond)}
	return w.change(ctx, pdp.Change{Kind: pdp.RevocationAdded, At: at, Actor: securityDesk(), Target: target(about), About: about, Reason: "reported by the user", Ticket: ticket,
		Details: map[string]any{"revocation_kind": about.Kind, "issuer": about.Issuer, "ends": ends.Unix()}})
}

// target is what an entry is known by.
func target(about pdp.About) string {
	sum := sha256.Sum256([]byte(about.Kind + "\x00" + about.Issuer + "\x00" + about.Value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// revoke revokes something of a token that is in use, and now and then lifts what was revoked before. Now and then a token
// was just being judged.
func (w *writer) revoke(ctx context.Context, at time.Time) error {
	pool := w.random.IntN(2) // nobody revokes what builds use
	t := w.pools[pool][w.random.IntN(len(w.pools[pool]))]
	about := pdp.About{Kind: "token", Issuer: t.issuer.id, Value: t.ID}
	switch w.random.IntN(20) {
	case 0:
		about.Kind, about.Value = "client", t.ClientID
	case 1, 2, 3, 4:
		about.Kind, about.Value = "session", t.SessionID
	case 5, 6, 7, 8, 9, 10:
		about.Kind, about.Value = "subject", t.Subject
	}
	if err := w.add(ctx, at, about, ""); err != nil {
		return err
	}
	switch w.random.IntN(6) {
	case 0:
		return w.superseded(ctx, t, about.Kind, at.Add(time.Millisecond))
	case 1:
		at = at.Add(20 * time.Second) // before the next minute, in which something else may happen
		w.clock.set(at)
		delete(w.revoked.entries, about)
		return w.change(ctx, pdp.Change{Kind: pdp.RevocationRemoved, At: at, Actor: securityDesk(), Target: target(about), About: about, Reason: "mistake",
			Details: map[string]any{"revocation_kind": about.Kind, "issuer": about.Issuer}})
	}
	return nil
}
