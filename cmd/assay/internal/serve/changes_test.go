package serve

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// What is revoked stands in the audit log, as a pseudonym. The service's log has neither it nor its bare hash.
func TestTheServicesLogDoesNotSayWhoWasRevoked(t *testing.T) {
	for _, kind := range []string{"subject", "session", "token"} {
		var text bytes.Buffer
		err := changeLog{slog.New(slog.NewJSONHandler(&text, nil))}.RecordChange(t.Context(), pdp.Change{
			Kind: pdp.RevocationAdded, At: time.Unix(0, 0), Actor: pdp.Caller{Name: "admin"}, Target: "hashOfJane", Reason: "Jane-4711 left", Ticket: "HR jane-4711",
			About:   pdp.About{Kind: kind, Issuer: "https://idp.example", Value: "jane-4711"},
			Details: map[string]any{"note": "was JANE-4711", "names": []string{"jane-4711"}, "ends": int64(7)},
		})
		said := text.String()
		if err != nil || strings.Contains(strings.ToLower(said), "jane") || !strings.Contains(said, `"ends":7`) || !strings.Contains(said, "revocation.added") {
			t.Errorf("%s: %s, %v", kind, said, err)
		}
	}
	var text bytes.Buffer
	err := changeLog{slog.New(slog.NewJSONHandler(&text, nil))}.RecordChange(t.Context(), pdp.Change{
		Kind: pdp.RevocationAdded, Target: "hashOfAKey", Reason: "leaked", About: pdp.About{Kind: "key", Value: "k1"}})
	if err != nil || !strings.Contains(text.String(), "hashOfAKey") || !strings.Contains(text.String(), "leaked") {
		t.Errorf("of a key: %s, %v", text.String(), err)
	}
}

// A request that is still under way when the server has closed its log is not answered as if its record were kept.
func TestAClosedLogTakesNothing(t *testing.T) {
	l := &trailLog{config: ledger.Config{Dir: t.TempDir(), Origin: "log.example"}}
	if _, _, _, err := l.Append(t.Context(), time.Now(), []byte(`{"before":"a start"}`)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.open(t.Context(), time.Second), l.writeWaiting(t.Context())); err != nil {
		t.Fatal(err)
	}
	if _, _, durable, err := l.Append(t.Context(), time.Now(), []byte(`{}`)); !durable || err != nil {
		t.Fatal(durable, err)
	}
	if err := l.close(); err != nil {
		t.Fatal(err)
	}
	if _, _, durable, err := l.Append(t.Context(), time.Now(), []byte(`{}`)); durable || !errors.Is(err, errNotOpen) {
		t.Errorf("durable %v, %v", durable, err)
	}
	c := &trailLog{config: l.config} // a command gives the log back after each record
	c.forCommand()
	for range 2 {
		if _, _, durable, err := c.Append(t.Context(), time.Now(), []byte(`{}`)); !durable || err != nil {
			t.Fatal(durable, err)
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
	}
}
