package audittraffic

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

// token is one that services bring again and again.
type token struct {
	*pdp.Token
	issuer       *issuer
	verification *pdp.Verification
	audience     string
	issued, ends int64 // seconds since the epoch
	// sensitive says that it carries a claim that policy minds.
	sensitive bool
	// claims are what it is allowed to release.
	claims map[string]any
	omit   []string
}

func (t *token) lifetime() int64 { return t.ends - t.issued }

// mint makes a token.
func (w *writer) mint(i *issuer, at time.Time) *token {
	client := i.clients[min(w.random.IntN(len(i.clients)), w.random.IntN(len(i.clients)))]
	if client == "legacy-batch" && w.random.IntN(8) > 0 {
		client = i.clients[0]
	}
	lifetime := int64(pick(w.random, 300, 300, 600, 900, 900, 900, 1800, 3600))
	switch {
	case client == "legacy-batch":
		lifetime = 86400
	case w.random.IntN(1000) < 4:
		lifetime = int64(pick(w.random, 7200, 14400, 28800))
	}
	w.minted++
	id := w.hex(16)
	subject := fmt.Sprintf("person-%05d", w.random.IntN(w.persons))
	session := fmt.Sprintf("s-%s", w.hex(8))
	if i.id == builds {
		subject = client
	}
	issued, audience := at.Unix()-int64(w.random.IntN(3)), audiences[min(w.random.IntN(len(audiences)), w.random.IntN(len(audiences)))]
	key := i.signing()
	t := &token{
		issuer: i, audience: audience, issued: issued, ends: issued + lifetime,
		Token: &pdp.Token{
			Size: 600 + w.random.IntN(400), Kind: "jws", ID: id, Subject: subject, ClientID: client, SessionID: session,
			Header: pdp.Header{Algorithm: i.algorithm, KeyID: key.ID, HasKeyID: true, Type: "at+jwt",
				Parameters: map[string]any{"alg": i.algorithm, "kid": key.ID, "typ": "at+jwt"}},
			Claims: map[string]any{
				"iss": i.id, "sub": subject, "aud": audience, "client_id": client, "jti": id, "sid": session, "scope": "read write",
				"iat": json.Number(strconv.FormatInt(issued, 10)), "exp": json.Number(strconv.FormatInt(issued+lifetime, 10)),
			},
		},
		verification: &pdp.Verification{Status: pdp.StatusVerified, Trust: i.trust, Key: key, Algorithm: i.algorithm},
	}
	expires, issuedAt := pdp.UnixDate(t.ends), pdp.UnixDate(issued)
	t.ExpiresAt, t.IssuedAt = &expires, &issuedAt
	if w.random.IntN(100) < 3 {
		t.sensitive = true
		t.Claims["email"] = subject + "@mail.example"
		t.omit = []string{"email"}
	}
	t.KeepPrepared(maskSlot, standardMask())
	t.claims = map[string]any{"iss": i.id, "aud": audience, "scope": "read write", "client_id": client, "sub": subject}
	return t
}

func (w *writer) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(w.random.Uint32())
	}
	return hex.EncodeToString(b)
}

// standardMask is what the policy library's own mask comes to for these tokens.
func standardMask() audit.Mask {
	return audit.Mask{
		Clear:        [][]string{{"iss"}, {"aud"}, {"client_id"}, {"scope"}, {"iat"}, {"exp"}},
		Pseudonymise: [][]string{{"sub"}, {"jti"}, {"sid"}},
		ClearRequest: [][]string{{"action"}},
		Revision:     "mask-1",
		Kept:         new(audit.Kept),
	}
}
