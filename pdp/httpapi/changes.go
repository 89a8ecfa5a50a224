package httpapi

import (
	"net/http"
	"strconv"
	"time"
)

const changesPath = revocationsPath + "/changes"

// RevocationChange is one entry that was made, extended or lifted.
type RevocationChange struct {
	// Lifted tells that it was taken back; Revocation then holds who did and why.
	Lifted     bool
	At         time.Time
	Revocation Revocation
}

// RevocationChanges are what changed after a cursor. Next is the cursor that goes on from here.
type RevocationChanges struct {
	Changes []RevocationChange
	Next    string
}

// watchRevocations serves GET /revocations/changes: what changed after a cursor, and where nothing did, it waits for
// half the time that a request may take. Without a cursor it answers at once, with the one to begin from. A long
// poll rather than an endless answer: it passes through proxies, holds no place for long and ends with the server.
func (x *exchange) watchRevocations() error {
	var q RevocationQuery
	err := x.query(func(name, value string) error {
		known, err := q.set(name, value)
		if !known {
			return problemf(unknownField, "%s: no such parameter; there are kind, issuer, actor and cursor", shorten(name))
		}
		return err
	})
	if err != nil {
		return err
	}
	if q.Issuer, err = x.mayRead(q.Issuer); err != nil {
		return err
	}
	changes, err := x.api.c.Revocations.Changes(x.ctx, q, x.api.c.Timeout/2)
	if err != nil {
		return x.unstored(err)
	}
	answer := append(x.out[:0], `{"changes":[`...)
	for i := range changes.Changes {
		if i > 0 {
			answer = append(answer, ',')
		}
		c := &changes.Changes[i]
		answer = strconv.AppendBool(append(answer, `{"lifted":`...), c.Lifted)
		answer = strconv.AppendInt(append(answer, `,"at":`...), c.At.Unix(), 10)
		answer = append(c.Revocation.appendJSON(append(answer, `,"revocation":`...)), '}')
	}
	answer = appendString(append(answer, `],"next":`...), changes.Next)
	x.w.Header()["Cache-Control"] = noStore
	x.write(http.StatusOK, "application/json", append(answer, '}'))
	return nil
}
