package audit_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

const issuerID = "https://idp.example"

var moment = time.Date(2026, 11, 24, 19, 45, 1, 123456789, time.UTC)

// records is a Log in memory.
type records struct {
	list    [][]byte
	durable bool
	failure error
}

func (r *records) Append(_ context.Context, _ time.Time, record []byte) (int64, [sha256.Size]byte, bool, error) {
	if r.failure != nil {
		return 0, [sha256.Size]byte{}, false, r.failure
	}
	r.list = append(r.list, slices.Clone(record))
	return int64(len(r.list) - 1), sha256.Sum256(record), r.durable, nil
}

// Promise tells the witness at once.
func (r *records) Promise(ctx context.Context, at time.Time, record []byte, w pdp.Witness) (int64, [sha256.Size]byte, bool, error) {
	index, hash, durable, err := r.Append(ctx, at, record)
	if err == nil && durable {
		w.Recorded(index, nil)
	}
	return index, hash, err == nil && durable, err
}

type maskerFunc func(*pdp.Facts, *pdp.Decision) (audit.Mask, error)

func (m maskerFunc) Mask(_ context.Context, f *pdp.Facts, d *pdp.Decision) (audit.Mask, error) {
	return m(f, d)
}

func masks(m audit.Mask) maskerFunc {
	return func(*pdp.Facts, *pdp.Decision) (audit.Mask, error) { return m, nil }
}

// standard is a mask as an organisation would have it.
func standard() audit.Mask {
	return audit.Mask{
		Clear:               [][]string{{"iss"}, {"aud"}, {"exp"}, {"iat"}, {"scope"}, {"client_id"}, {"address", "country"}},
		Pseudonymise:        [][]string{{"sub"}, {"groups"}},
		ClearRequest:        [][]string{{"action"}, {"context", "tenant"}},
		PseudonymiseRequest: [][]string{{"client_ip"}},
		Revision:            "m1",
	}
}

// periodKeys derives keys from one secret; its failure is what it answers instead.
type periodKeys struct {
	secret  string
	failure error
	asked   []string
}

func (p *periodKeys) PeriodKey(_ context.Context, period string) ([]byte, int, error) {
	p.asked = append(p.asked, period)
	if p.failure != nil {
		return nil, 0, p.failure
	}
	sum := sha256.Sum256([]byte(p.secret + period))
	return sum[:], 3, nil
}

func pseudonyms(t testing.TB) *audit.Keyed {
	t.Helper()
	k, err := audit.NewKeyed(audit.KeyedConfig{Keys: &periodKeys{secret: "s"}, Now: func() time.Time { return moment }})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return k
}

func recorder(t testing.TB, log audit.Log, masker audit.Masker, p audit.Pseudonyms) *audit.Recorder {
	t.Helper()
	ids := 0
	r, err := audit.New(audit.Config{
		Log: log, Origin: "log.example", Masker: masker, Pseudonyms: p, Instance: "replica-1", Version: "1.2.3",
		NewID: func(time.Time) string { ids++; return fmt.Sprintf("01CHANGE%d", ids) },
		Now:   func() time.Time { return moment.Add(250 * time.Microsecond) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func seconds(n int64) *pdp.NumericDate { d := pdp.UnixDate(n); return &d }

// verified is a decision about a good token that is full of personal data.
func verified(t testing.TB) (*pdp.Facts, *pdp.Decision) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key := pdp.Key{ID: "k1", Thumbprint: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", Public: &private.PublicKey}
	trust, err := pdp.NewTrust(pdp.Issuer{ID: issuerID}, []pdp.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	now := moment.Unix()
	f := &pdp.Facts{
		Request: &pdp.Request{
			Token: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJqYW5lIn0.c2lnbmF0dXJl", Audience: "orders", Action: "read", Method: "GET",
			Path: "/users/jane@example.org", Resource: "/users/jane@example.org", ClientIP: "192.0.2.7", Purpose: "fulfilment",
			Context: map[string]any{"tenant": "acme", "email": "jane@example.org", "n": json.Number("4711471147")},
			Caller:  pdp.Caller{Name: "https://idp.example orders", Method: "bearer"}, ID: "req-1",
			TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7",
		},
		Token: &pdp.Token{
			Size: 700, Kind: "jws", Header: pdp.Header{Algorithm: "ES256", KeyID: "k1", HasKeyID: true, Type: "at+jwt",
				Parameters: map[string]any{"alg": "ES256", "kid": "k1", "typ": "at+jwt"}},
			ID: "token-of-jane", Subject: "jane-doe-4711", ClientID: "shop", ExpiresAt: seconds(now + 300), IssuedAt: seconds(now - 60),
			Claims: map[string]any{
				"iss": issuerID, "sub": "jane-doe-4711", "aud": []any{"orders"}, "scope": "read", "client_id": "shop", "jti": "token-of-jane",
				"exp": json.Number(fmt.Sprint(now + 300)), "iat": json.Number(fmt.Sprint(now - 60)),
				"email": "jane@example.org", "phone_number": json.Number("31612345678"), "address": map[string]any{"country": "NL", "street": "Oude Delft 1"},
				"groups":           []any{"staff-of-jane", json.Number("815"), true, map[string]any{"deep": "inside-jane"}},
				"jane@example.org": "x",
			},
		},
		Time: now, Began: moment,
	}
	f.Verification = &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: &key, Algorithm: "ES256"}
	d := &pdp.Decision{
		ID: "01JD", Allow: true, PolicyRevision: "rev-1", Words: policyWords{"lifetime.too_old", "SOC2:CC6.1", "count", "names", "value", "list", "text", "what"}, EvaluatedAt: moment, CacheForSeconds: 60,
		Claims:      map[string]any{"scope": "read", "email": "jane@example.org"},
		Obligations: pdp.Obligations{OmitClaims: []string{"phone_number"}},
		Reasons: []pdp.Reason{{Code: "lifetime.too_old", Message: "was issued to jane@example.org", Severity: pdp.Low, Enforcement: pdp.Warn,
			Details: map[string]any{"actual_seconds": int64(60), "claims": []string{"email"}}, Controls: []string{"SOC2:CC6.1"}}},
	}
	return f, d
}

// policyWords are those of a policy.
type policyWords []string

func (s policyWords) Says(text string) bool { return slices.Contains(s, text) || s.SaysCode(text) }

// SaysCode: one code stands where a code does.
func (policyWords) SaysCode(text string) bool { return text == "own.certain" }

var errMask = errors.New("the mask is undefined")

func decoded(t testing.TB, record []byte) *audit.Event {
	t.Helper()
	e, err := audit.Decode(record)
	if err != nil {
		t.Fatalf("%v in %s", err, record)
	}
	return e
}
