package serve

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/issuer"
)

// oneKey is a Vault with one key that never signs.
type oneKey struct{ record vaultkeys.Record }

func (o oneKey) ReadKey(context.Context, string) (vaultkeys.Record, error) { return o.record, nil }

func (oneKey) Sign(context.Context, string, int, string, [][]byte) ([][]byte, error) {
	return nil, errors.New("it signs nothing")
}

// denying is a policy that refuses every token.
type denying struct{ reasons []pdp.Reason }

func (d denying) Judge(context.Context, issuer.Proposal) (*pdp.Decision, error) {
	return &pdp.Decision{Reasons: d.reasons, PolicyRevision: "r1", Words: d}, nil
}

// Says implements pdp.Words: the policy says all codes but those of its own.
func (denying) Says(text string) bool { return !strings.HasPrefix(text, "own.") }
func (denying) SaysCode(string) bool  { return false }

// unkept records nothing.
type unkept struct{}

var errUnkept = errors.New("the disk is full")

func (unkept) RecordChange(context.Context, pdp.Change) error { return errUnkept }

// Policy's refusal of a token is recorded: for whom, for what and why, with the policy that decided, and nothing of the
// claims. Where it cannot be, it is not answered as one.
func TestARefusedTokenIsRecorded(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	vault := oneKey{vaultkeys.Record{Name: "access", Type: "ed25519", Latest: 1, MinDecryptionVersion: 1,
		Versions: []vaultkeys.Version{{Number: 1, Created: now.Add(-24 * time.Hour), Public: public}}}}
	ring, err := vaultkeys.New(vaultkeys.Config{Reader: vault, Now: func() time.Time { return now }, Keys: []vaultkeys.KeyConfig{{Name: "access"}}})
	if err == nil {
		err = ring.Load(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	policy := denying{[]pdp.Reason{
		{Code: "minimization.claim", Enforcement: pdp.Deny}, {Code: "lifetime.long", Enforcement: pdp.Warn}, {Code: "claims.missing", Enforcement: pdp.Waived},
		{Code: "own.alice", Enforcement: pdp.Deny}, // which a rule may have made of the subject
	}}
	signing, err := issuer.New(issuer.Config{Keys: ring, Signer: vault, Judge: policy, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	var kept keptChanges
	i := &Issuer{issuer: signing, keyring: ring, keys: map[string][]string{"https://tokens.example": {"access"}}, only: "https://tokens.example",
		changes: &kept, now: func() time.Time { return now }}
	caller := pdp.Caller{Name: "https://tokens.example robot", Method: "bearer"}
	order := httpapi.TokenOrder{TokenType: pdp.AccessToken, Subject: "alice", ClientID: "web", Audience: []string{"orders"}, Claims: map[string]any{"card": "4111"}}
	_, err = i.Issue(t.Context(), caller, order)
	if refused, ok := errors.AsType[*httpapi.RefusedError](err); !ok || !reflect.DeepEqual(refused.Reasons, policy.reasons) {
		t.Fatalf("answered %v", err)
	}
	want := []pdp.Change{{
		Kind: pdp.TokenRefused, At: now, Actor: caller, About: pdp.About{Kind: "subject", Issuer: "https://tokens.example", Value: "alice"},
		Details: map[string]any{"token_type": "access_token", "audience": []string{"orders"}, "client": "web", "key": "access", "encrypted": false,
			"reasons": []string{"minimization.claim", pdp.ComputedCode}, "policy_revision": "r1"},
	}}
	if !reflect.DeepEqual(kept.list, want) {
		t.Errorf("recorded %+v", kept.list)
	}
	order.Audience = nil // is no order, and so no decision
	if _, err := i.Issue(t.Context(), caller, order); err == nil || len(kept.list) != 1 {
		t.Errorf("%v, %d records", err, len(kept.list))
	}
	i.changes, order.Audience = unkept{}, []string{"orders"}
	_, err = i.Issue(t.Context(), caller, order)
	if down, ok := errors.AsType[*httpapi.UnavailableError](err); !ok || !errors.Is(down.Err, errUnkept) {
		t.Errorf("where it cannot be recorded: %v", err)
	}
}
