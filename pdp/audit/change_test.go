package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
)

func changed(t *testing.T, p audit.Pseudonyms, c pdp.Change) (*audit.Event, []byte) {
	t.Helper()
	log := &records{}
	c.At = moment
	if err := recorder(t, log, audit.Nothing{}, p).RecordChange(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(log.list[0]) {
		t.Fatalf("not JSON: %s", log.list[0])
	}
	return decoded(t, log.list[0]), log.list[0]
}

func TestRecordOfAChange(t *testing.T) {
	e, text := changed(t, pseudonyms(t), pdp.Change{
		Kind: pdp.KeyRotated, Actor: pdp.Caller{Name: "admin", Method: "command"}, Target: "access", Reason: "yearly", Ticket: "SEC-17",
		Details: map[string]any{"after_version": 3, "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "names": []string{"a", "jane@example.org"}},
	})
	want := &audit.Change{Kind: "key.rotated", Target: "access", Reason: "yearly", Ticket: "SEC-17", Details: map[string]any{
		"after_version": json.Number("3"), "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "names": []any{"a"}}}
	if !reflect.DeepEqual(e.Input.Change, want) {
		t.Errorf("change %+v, want %+v", e.Input.Change, want)
	}
	if e.Path != audit.ChangePath || e.DecisionID != "01CHANGE1" || e.Custom.Assay.Kind != "key.rotated" || e.RequestedBy != "admin" ||
		e.Custom.Assay.CallerMethod != "command" || !e.Timestamp.Equal(moment) || e.Custom.Assay.ErasedUnnamed != 1 {
		t.Errorf("event %+v of %s", e, text)
	}
}

// What a request caused is found by the ids of that request.
func TestRecordOfAChangeNamesItsRequest(t *testing.T) {
	log := &records{}
	by := pdp.Origin{RequestID: "req-7", TraceID: "0af7651916cd43dd8448eb211c80319c", SpanID: "b7ad6b7169203331"}
	ctx := context.WithValue(t.Context(), pdp.OriginKey{}, by)
	if err := recorder(t, log, audit.Nothing{}, pseudonyms(t)).RecordChange(ctx, pdp.Change{Kind: pdp.TokenIssued, At: moment}); err != nil {
		t.Fatal(err)
	}
	e := decoded(t, log.list[0])
	if got := (pdp.Origin{RequestID: e.Custom.Assay.RequestID, TraceID: e.TraceID, SpanID: e.SpanID}); got != by {
		t.Errorf("recorded as of %+v: %s", got, log.list[0])
	}
	// but not by whom the change is about
	ctx = context.WithValue(t.Context(), pdp.OriginKey{}, pdp.Origin{RequestID: "revoke-Jane-Doe-4711"})
	change := pdp.Change{Kind: pdp.RevocationAdded, At: moment, About: pdp.About{Kind: "subject", Issuer: issuerID, Value: "jane-doe-4711"}}
	if err := recorder(t, log, audit.Nothing{}, pseudonyms(t)).RecordChange(ctx, change); err != nil {
		t.Fatal(err)
	}
	checkNothingPersonal(t, log.list[1])
	if e := decoded(t, log.list[1]); e.Custom.Assay.RequestID != "" {
		t.Errorf("request id %s", e.Custom.Assay.RequestID)
	}
}

// The pseudonym of who was revoked is the one that decisions about that person's tokens have.
func TestARevocationsSubjectIsAPseudonym(t *testing.T) {
	f, d := verified(t)
	keys := pseudonyms(t)
	decision := decoded(t, recorded(t, masks(standard()), keys, f, d))
	e, text := changed(t, keys, pdp.Change{
		Kind: pdp.RevocationAdded, Target: "vKJ0hashOfWhatItIsAbout", About: pdp.About{Kind: "subject", Issuer: issuerID, Value: "jane-doe-4711"},
		Reason: "Jane-Doe-4711 left", Ticket: "call 06 1234 5678 90", Details: map[string]any{"note": "mail joe@example.com"},
	})
	checkNothingPersonal(t, text)
	about := e.Input.Change.About
	if about.Kind != "subject" || about.Issuer != issuerID || about.Value != decision.Input.Token.Claims["sub"] {
		t.Errorf("about %+v, want the pseudonym %v", about, decision.Input.Token.Claims["sub"])
	}
	if !pseudonym.MatchString(e.Input.Change.Target) || e.Input.Change.Reason != "" || e.Input.Change.Ticket != "" || len(e.Input.Change.Details) != 0 || len(e.Erased) != 3 {
		t.Errorf("change %+v, erased %q", e.Input.Change, e.Erased)
	}
	e, text = changed(t, nil, pdp.Change{Kind: pdp.RevocationAdded, Target: "hash", About: pdp.About{Kind: "token", Issuer: issuerID, Value: "token-of-jane"}})
	checkNothingPersonal(t, text)
	if e.Input.Change.Target != "" || e.Input.Change.About.Value != "" || e.Custom.Assay.Pseudonyms != audit.PseudonymsUnavailable {
		t.Errorf("without a key: %s", text)
	}
	e, _ = changed(t, nil, pdp.Change{Kind: pdp.RevocationAdded, Target: "hash", About: pdp.About{Kind: "client", Issuer: issuerID, Value: "shop"}})
	if e.Input.Change.Target != "hash" || e.Input.Change.About.Value != "shop" {
		t.Errorf("a client is no person: %+v", e.Input.Change)
	}
}

// What was issued and what was decided about it have the same pseudonyms.
func TestAnIssuedTokensPseudonymsAreThoseOfDecisions(t *testing.T) {
	f, d := verified(t)
	keys := pseudonyms(t)
	decision := decoded(t, recorded(t, masks(standard()), keys, f, d))
	e, text := changed(t, keys, pdp.Change{Kind: pdp.TokenIssued, Target: "token-of-jane", About: pdp.About{Kind: "subject", Issuer: issuerID, Value: "jane-doe-4711"},
		Details: map[string]any{"audience": []string{"orders"}, "kid": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}})
	checkNothingPersonal(t, text)
	if e.Input.Change.Target != decision.Input.Token.ID || e.Input.Change.About.Value != decision.Input.Token.Claims["sub"] || len(e.Input.Change.Details) != 2 {
		t.Errorf("change %+v, want %q and %q", e.Input.Change, decision.Input.Token.ID, decision.Input.Token.Claims["sub"])
	}
}

func TestWhoWasRefusedIsAPseudonym(t *testing.T) {
	caller := pdp.Caller{Name: issuerID + " jane@example.org", Method: "bearer"}
	e, text := changed(t, pseudonyms(t), pdp.Change{Kind: pdp.AccessRefused, Actor: caller, Target: "POST /tokens"})
	checkNothingPersonal(t, text)
	if !bytes.HasPrefix([]byte(e.RequestedBy), []byte(issuerID+" p:2026-11.v3:")) {
		t.Errorf("requested by %q", e.RequestedBy)
	}
	if e, _ := changed(t, nil, pdp.Change{Kind: pdp.AccessRefused, Actor: caller}); e.RequestedBy != issuerID {
		t.Errorf("requested by %q without a key", e.RequestedBy)
	}
}
