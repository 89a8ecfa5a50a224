package httpapi

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp"
)

const (
	revocationsPath = "/revocations"
	revocationPath  = revocationsPath + "/{key}"

	defaultPage = 100
	maxPage     = 1000
	maxKey      = 128
)

// Revocation is one entry in force.
type Revocation struct {
	// Key names it: the same issuer, kind and value have the same key.
	Key, Kind, Issuer string
	// Value is the token's id, the subject, client_id, sid or key thumbprint; empty for a whole issuer.
	Value string
	// IssuedBefore spares tokens issued at that second or later; zero spares none.
	IssuedBefore time.Time
	// Ends is when it disappears.
	Ends                  time.Time
	Reason, Actor, Ticket string
	CreatedAt             time.Time
}

// RevocationOrder is what a caller wants to be revoked. Zero times leave the choice to whoever stores it.
type RevocationOrder struct {
	Kind, Issuer, Value string
	// TokenExpires is when the token concerned expires, where it was examined.
	TokenExpires *pdp.NumericDate
	// IssuedBefore and Ends are whole seconds.
	IssuedBefore, Ends time.Time
	Reason, Ticket     string
}

// RevocationQuery selects entries. Empty members select all.
type RevocationQuery struct {
	Kind, Issuer, Actor string
	// Limit is how many entries a page may have, at least one. Cursor is RevocationPage.Next of the page before.
	Limit  int
	Cursor string
}

// RevocationPage is a part of a listing. Next is the cursor of the part that follows; empty: this is the last.
type RevocationPage struct {
	Revocations []Revocation
	Next        string
}

// Revocations stores entries and records each change with its actor. It is called concurrently. Its errors are
// *OrderError and *UnavailableError; any other is a fault of the server (500).
type Revocations interface {
	// Revoke returns once the entry is in force here and safe where it is stored. An entry that is there already
	// is never weakened by another of the same key: the later end and the wider reach remain. created tells that
	// there was none.
	Revoke(ctx context.Context, caller pdp.Caller, o RevocationOrder) (r Revocation, created bool, err error)
	// Lift removes an entry; that it is gone already is no error.
	Lift(ctx context.Context, caller pdp.Caller, r Revocation, reason, ticket string) error
	// Find gives the entry of a key, ok false where there is none.
	Find(ctx context.Context, key string) (r Revocation, ok bool, err error)
	// List gives entries in an order that stays while they do. A cursor that it did not give is an *OrderError.
	List(ctx context.Context, q RevocationQuery) (RevocationPage, error)
	// Changes gives what was changed after q.Cursor, waiting that long for the first; without a cursor nothing, and
	// the one to begin from. Limit does not count.
	Changes(ctx context.Context, q RevocationQuery, wait time.Duration) (RevocationChanges, error)
}

// mountRevocations lists the routes about revocation, where there is any.
func (a *API) mountRevocations() {
	if a.c.Revocations != nil {
		a.add(route{method: "POST", path: revocationsPath, door: closed, places: a.places, serve: (*exchange).revoke})
		a.add(route{method: "GET", path: revocationsPath, door: closed, places: a.aside, serve: (*exchange).listRevocations})
		a.add(route{method: "GET", path: changesPath, door: closed, places: a.watching, serve: (*exchange).watchRevocations})
		a.add(route{method: "GET", path: revocationPath, door: closed, places: a.aside, serve: (*exchange).showRevocation})
		a.add(route{method: "DELETE", path: revocationPath, door: closed, places: a.places, serve: (*exchange).liftRevocation})
		a.add(route{method: "POST", path: "/revoke", door: closed, places: a.places, media: formMedia, refusal: (*exchange).refuseOAuth, serve: (*exchange).revokeToken})
		a.add(route{method: "POST", path: "/introspect", door: closed, places: a.places, media: formMedia, refusal: (*exchange).refuseOAuth, serve: (*exchange).introspect})
	}
	if a.c.Events != nil {
		a.add(route{method: "POST", path: "/events", door: public, places: a.telling, late: true, longest: largeBody, media: eventMedia, refusal: (*exchange).refuseEvent, serve: (*exchange).receiveEvent})
	}
}

// revoke serves POST /revocations: 201 for a new entry, 200 for one that was there.
func (x *exchange) revoke() error {
	body, err := x.read()
	if err != nil {
		return err
	}
	x.decoder.reset(body)
	order, compact, err := x.decoder.revocation()
	if err != nil {
		return err
	}
	if compact != "" {
		err = x.orderFor(&order, compact)
	} else {
		err = x.mayWrite(order.Kind, order.Issuer)
	}
	if err != nil {
		return err
	}
	r, created, err := x.api.c.Revocations.Revoke(x.ctx, x.caller, order)
	if err != nil {
		return x.unstored(err)
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		x.w.Header().Set("Location", revocationsPath+"/"+r.Key)
	}
	x.w.Header()["Cache-Control"] = noStore
	x.write(status, "application/json", r.appendJSON(x.out[:0]))
	return nil
}

// orderFor completes an order that brings the token itself, which must be one of an issuer that is trusted: of
// another nothing is believed, and no decision would allow it anyway.
func (x *exchange) orderFor(o *RevocationOrder, compact string) error {
	t, v, err := x.api.c.Examiner.Examine(x.ctx, compact)
	if err != nil {
		return x.api.undecided(x, errors.Join(pdp.ErrUnavailable, err))
	}
	if v.Status == pdp.StatusKeyUnknown {
		return x.keyUnknown()
	}
	if !v.Verified() {
		return problemf(invalidValue, "token: not a token that could be verified (%s); no decision allows it", v.Status).at("/token")
	}
	o.Kind, o.Issuer, o.Value, o.TokenExpires = KindToken, v.Trust.Issuer.ID, t.ID, t.ExpiresAt
	return x.mayRevoke(t, o.Issuer)
}

// keyUnknown answers for a token whose issuer publishes no key for it as far as is known now. That can change, when
// the issuer's key set is reached again: to call the token dead would be to let it live.
func (x *exchange) keyUnknown() error {
	return problemf(storeUnavailable, "nothing was revoked: the token's key is not known at present, and may be once its issuer's keys are loaded anew; ask again").retry(retryAfter)
}

// unstored renders an error of Revocations.
func (x *exchange) unstored(err error) error {
	if order, ok := errors.AsType[*OrderError](err); ok {
		return problemf(invalidValue, "%s: %s", order.Field, order.Detail).at(jsontext.Pointer("").AppendToken(order.Field))
	}
	if down, ok := errors.AsType[*UnavailableError](err); ok {
		p := problemf(storeUnavailable, "nothing was changed for certain; ask again, the same request twice does no harm").
			retry(max(1, int((down.RetryAfter+time.Second-1)/time.Second)))
		p.cause = down
		return p
	}
	return x.api.undecided(x, err)
}

// listRevocations serves GET /revocations.
func (x *exchange) listRevocations() error {
	q := RevocationQuery{Limit: defaultPage}
	err := x.query(func(name, value string) error {
		if name == "limit" {
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 || n > maxPage {
				return problemf(invalidValue, "limit: expected a number from 1 to %d", maxPage)
			}
			q.Limit = n
			return nil
		}
		known, err := q.set(name, value)
		if !known {
			return problemf(unknownField, "%s: no such parameter; there are kind, issuer, actor, limit and cursor", shorten(name))
		}
		return err
	})
	if err != nil {
		return err
	}
	if q.Issuer, err = x.mayRead(q.Issuer); err != nil {
		return err
	}
	page, err := x.api.c.Revocations.List(x.ctx, q)
	if err != nil {
		return x.unstored(err)
	}
	answer := append(x.out[:0], `{"revocations":[`...)
	for i := range page.Revocations {
		if i > 0 {
			answer = append(answer, ',')
		}
		answer = page.Revocations[i].appendJSON(answer)
	}
	answer = appendString(append(answer, `],"next":`...), page.Next)
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", append(answer, '}'))
	return nil
}

// set takes one of the parameters by which entries are selected, wherever that is; known is false for any other.
func (q *RevocationQuery) set(name, value string) (known bool, err error) {
	switch name {
	case "kind":
		q.Kind = value
		return true, knownKind(value, "kind")
	case "issuer":
		q.Issuer = value
	case "actor":
		q.Actor = value
	case "cursor":
		q.Cursor = value
	default:
		return false, nil
	}
	return true, nil
}

// query reads the request's query strictly: each parameter once, none empty.
func (x *exchange) query(parameter func(name, value string) error) error {
	values, err := url.ParseQuery(x.r.URL.RawQuery)
	if err != nil {
		return problemf(invalidValue, "the query is not well-formed (application/x-www-form-urlencoded)")
	}
	for name, given := range values {
		switch {
		case len(given) > 1:
			return problemf(duplicateField, "%s: must not come twice", shorten(name))
		case given[0] == "":
			return problemf(invalidValue, "%s: empty; leave it out or name one", shorten(name))
		case !utf8.ValidString(name + given[0]):
			return problemf(invalidValue, "the query is not UTF-8")
		case len(given[0]) > maxString:
			return problemf(invalidValue, "%s: longer than %d bytes", shorten(name), maxString)
		}
		if err := parameter(name, given[0]); err != nil {
			return err
		}
	}
	return nil
}

// addressedEntry finds the entry that the path names.
func (x *exchange) addressedEntry() (Revocation, error) {
	key := strings.TrimPrefix(x.r.URL.Path, revocationsPath+"/")
	if len(key) > maxKey || strings.Trim(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return Revocation{}, problemf(notFound, "no entry has such a key")
	}
	r, ok, err := x.api.c.Revocations.Find(x.ctx, key)
	switch {
	case err != nil:
		return r, x.unstored(err)
	case !ok:
		return r, problemf(notFound, "no entry with that key is in force; it may have ended, or have been lifted")
	}
	return r, nil
}

// showRevocation serves GET /revocations/{key}. Who may not read the entry's issuer is told that only if there is
// one, which a key tells anyway: it is a hash of what it names.
func (x *exchange) showRevocation() error {
	if !x.grant.Revoke.Read {
		return refuse([]string{"read"}, "")
	}
	r, err := x.addressedEntry()
	if err != nil {
		return err
	}
	if _, err := x.mayRead(r.Issuer); err != nil {
		return err
	}
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", r.appendJSON(x.out[:0]))
	return nil
}

// liftRevocation serves DELETE /revocations/{key}.
func (x *exchange) liftRevocation() error {
	if len(x.grant.Revoke.Lift) == 0 {
		return refuse([]string{"lift"}, "")
	}
	var reason, ticket string
	err := x.query(func(name, value string) error {
		switch name {
		case "reason":
			reason = value
		case "ticket":
			ticket = value
		default:
			return problemf(unknownField, "%s: no such parameter; there are reason and ticket", shorten(name))
		}
		return nil
	})
	if err != nil {
		return err
	}
	r, err := x.addressedEntry()
	if err != nil {
		return err
	}
	if err := x.mayLift(r.Kind, r.Issuer); err != nil {
		return err
	}
	if err := x.api.c.Revocations.Lift(x.ctx, x.caller, r, reason, ticket); err != nil {
		return x.unstored(err)
	}
	x.status = http.StatusNoContent
	x.w.WriteHeader(http.StatusNoContent)
	return nil
}
