package report

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/index"
)

// month is a period of made-up records, the same at every call.
type month struct {
	rows   []index.Row
	events map[int64]*audit.Event
	random *rand.Rand
	at     time.Time
}

var (
	november = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	december = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC)
)

const (
	workforce, partner, devices = "https://idp.example", "https://login.partner.example/realms/orders", "https://devices.example"
	thumbOld, thumbNew          = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", "w6yQ0Zk3oD1nS4vK8rXb2mJ5tL7pQ9aE1cF3gH5iJ7k"
	thumbPartner, thumbDevices  = "b7pE0pMvR2qYx1nKc3sT4uV5wX6yZ7aB8cD9eF0gH1i", "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbw"
)

func (m *month) add(row index.Row) *index.Row {
	row.Index = int64(len(m.rows))
	row.Time = m.at
	row.DecisionID = fmt.Sprintf("01KB%022d", row.Index)
	m.rows = append(m.rows, row)
	return &m.rows[len(m.rows)-1]
}

func (m *month) change(kind pdp.ChangeKind, actor string, c audit.Change) {
	c.Kind = string(kind)
	row := m.add(index.Row{Kind: string(kind), Caller: actor})
	m.events[row.Index] = &audit.Event{Path: audit.ChangePath, Input: audit.Input{Change: &c}, RequestedBy: actor, Timestamp: row.Time}
}

func finding(code, enforcement, controls string) index.ReasonRef {
	return index.ReasonRef{Code: code, Enforcement: enforcement, Severity: "high", Controls: controls}
}

// issuers are drawn with these weights.
var issuers = []struct {
	row    index.Row
	weight float64
}{
	{index.Row{Issuer: workforce, Alg: "ES256", Key: thumbOld, Lifetime: 900, Client: "webshop", Audience: "orders", Caller: "spiffe://example/gateway"}, 0.62},
	{index.Row{Issuer: partner, Alg: "RS256", Key: thumbPartner, Lifetime: 3600, Client: "erp", Audience: "billing", Caller: "spiffe://example/gateway"}, 0.27},
	{index.Row{Issuer: devices, Alg: "EdDSA", Key: thumbDevices, Lifetime: 600, Client: "p:2026-11.v1:k8Jx0mBqz3nVt5yW", Audience: "telemetry", Caller: "spiffe://example/ingest"}, 0.11},
}

// findings are drawn with these chances, of verified tokens.
var findings = []struct {
	reason index.ReasonRef
	chance float64
}{
	{finding("lifetime.expired", "deny", "RFC9068:4 ASVS:9.2.1 SOC2:CC6.1"), 0.018},
	{finding("lifetime.too_long", "deny", "SOC2:CC6.1 ISO27001:A.5.17 GDPR:5.1.e"), 0.004},
	{finding("claims.audience_mismatch", "deny", "RFC8725:3.9 ASVS:9.2.3 SOC2:CC6.3"), 0.009},
	{finding("minimization.claim_not_allowed", "warn", "GDPR:5.1.c GDPR:25 SOC2:CC6.3 ISO27001:A.5.34"), 0.03},
	{finding("minimization.sensitive_value", "deny", "GDPR:5.1.c GDPR:25 SOC2:CC6.7 ISO27001:A.5.34 ISO27001:A.8.12"), 0.003},
	{finding("algorithm.not_allowed", "waived", "RFC8725:3.1 ASVS:9.1.2 ISO27001:A.8.24"), 0.002},
}

// decision adds one on a drawn token.
func (m *month) decision(revision string) {
	row := index.Row{Kind: index.KindDecision, Status: "verified", TokenType: "access_token", Revision: revision, Allow: true, Latency: 80 * time.Microsecond}
	draw := m.random.Float64()
	if draw > 0.985 {
		row.Allow, row.Caller, row.Audience = false, "spiffe://example/gateway", "orders"
		unverified := []struct{ status, code, controls string }{
			{"signature_invalid", "signature.invalid", "RFC8725:3.3 ASVS:9.1.1 SOC2:CC6.1"},
			{"issuer_untrusted", "signature.issuer_untrusted", "RFC8725:3.8 RFC9068:4 SOC2:CC6.6"},
			{"malformed", "signature.malformed", "RFC8725:3.7 RFC8725bis:3.14 ASVS:9.1.1"},
			{"key_unknown", "signature.key_unknown", "RFC8725:3.8 RFC8725:3.10 ASVS:9.1.3"},
		}[m.random.IntN(4)]
		row.Status, row.Reasons = unverified.status, []index.ReasonRef{finding(unverified.code, "deny", unverified.controls)}
		m.add(row)
		return
	}
	draw = m.random.Float64()
	for _, of := range issuers {
		if draw -= of.weight; draw < 0 || of.row.Issuer == devices {
			row.Issuer, row.Alg, row.Key, row.Lifetime, row.Client, row.Audience, row.Caller = of.row.Issuer, of.row.Alg, of.row.Key, of.row.Lifetime, of.row.Client, of.row.Audience, of.row.Caller
			break
		}
	}
	if row.Key == thumbOld && m.at.After(november.AddDate(0, 0, 12)) {
		row.Key = thumbNew
	}
	for _, f := range findings {
		if m.random.Float64() >= f.chance || f.reason.Enforcement == "waived" && row.Issuer != partner {
			continue
		}
		row.Reasons = append(row.Reasons, f.reason)
		row.Allow = row.Allow && f.reason.Enforcement != "deny"
		row.Waived = row.Waived || f.reason.Enforcement == "waived"
		if f.reason.Code == "lifetime.too_long" {
			row.Lifetime = 86400 * int64(1+m.random.IntN(7))
		}
	}
	m.add(row)
}

// revoked adds an entry and, after a while, a deny by it.
func (m *month) revoked(kind, issuer, value string, after time.Duration, deny index.Row) {
	start := m.at
	m.change(pdp.RevocationAdded, "spiffe://example/soc", audit.Change{
		Target: "rev-" + kind + "-" + value, About: &audit.About{Kind: kind, Issuer: issuer, Value: value}, Reason: "credential found in a paste", Ticket: "SEC-4711",
		Details: map[string]any{"revocation_kind": kind, "issuer": issuer, "ends": json.Number("1799000000")},
	})
	if after == 0 {
		return
	}
	m.at = start.Add(after)
	deny.Kind, deny.Status, deny.Issuer, deny.Revision = index.KindDecision, "verified", issuer, "sha256:second"
	deny.Reasons = []index.ReasonRef{finding("revocation."+kind, "deny", "SOC2:CC7.4 ISO27001:A.5.18")}
	row := m.add(deny)
	m.events[row.Index] = &audit.Event{Input: audit.Input{Token: &audit.Token{ID: value, Claims: map[string]any{"sub": value, "sid": value}}}}
}

// example is November.
func example() *month {
	m := &month{events: map[int64]*audit.Event{}, random: rand.New(rand.NewPCG(7, 11)), at: november.Add(4 * time.Minute)}
	m.change(pdp.ConfigActivated, "", audit.Change{Target: "/etc/assay/assay.yaml", Details: map[string]any{"digest": "sha256:1f0c", "policy_revision": "sha256:first"}})
	revision := "sha256:first"
	for d := range 30 {
		begin := november.AddDate(0, 0, d)
		count := 90 + m.random.IntN(30)
		if weekday := begin.Weekday(); weekday == time.Saturday || weekday == time.Sunday {
			count /= 2
		}
		for i := range count {
			if at := begin.Add(time.Duration(i) * 24 * time.Hour / time.Duration(count)).Add(5 * time.Minute); at.After(m.at) {
				m.at = at
			}
			m.decision(revision)
		}
		m.happened(d, &revision)
	}
	return m
}

// happened adds what came to pass on a day.
func (m *month) happened(d int, revision *string) {
	switch d {
	case 3:
		m.revoked("subject", workforce, "p:2026-11.v1:AAECAwQFBgcICQoLDA0ODw", 480*time.Millisecond, index.Row{Client: "webshop", Alg: "ES256", Key: thumbOld})
		m.revoked("token", partner, "p:2026-11.v1:EBESExQVFhcYGRobHB0eHw", 12*time.Second, index.Row{Client: "erp", Alg: "RS256", Key: thumbPartner})
	case 7:
		*revision = "sha256:second"
		m.change(pdp.BundleActivated, "", audit.Change{Target: "bundle org", Details: map[string]any{"policy_revision": "sha256:second", "revision": "v42", "sequence": json.Number("42"), "signed": true, "rollback_protected": true, "key_id": "publisher-2026"}})
	case 9:
		m.change(pdp.BundleRefused, "", audit.Change{Target: "bundle org", Reason: "sequence 41 is older than 42, which was in force"})
		m.change(pdp.AccessRefused, "https://idp.example p:2026-11.v1:ICEiIyQlJicoKSorLC0uLw", audit.Change{Target: "revocation.add", Reason: "no grant to revoke for this issuer"})
	case 11:
		m.change(pdp.KeyRotated, "", audit.Change{Target: "access", Reason: "its period is over", Details: map[string]any{"step": "rotate", "after_version": json.Number("3")}})
	case 13:
		m.revoked("client", partner, "reporting", 90*time.Second, index.Row{Client: "reporting", Alg: "RS256", Key: thumbPartner})
		m.revoked("session", workforce, "p:2026-11.v1:MDEyMzQ1Njc4OTo7PD0-Pw", 0, index.Row{})
	case 19:
		m.revoked("key", devices, thumbDevices, 2*time.Second, index.Row{Client: "sensor", Alg: "EdDSA", Key: thumbDevices})
		m.change(pdp.RevocationRemoved, "spiffe://example/soc", audit.Change{Target: "rev-key-" + thumbDevices, Reason: "drill ended"})
		m.change(pdp.KeyRetired, "", audit.Change{Target: "access", Reason: "no token of it lives any more", Details: map[string]any{"step": "retire", "lowest_version": json.Number("3")}})
	case 15:
		m.change(pdp.TokenRefused, "spiffe://example/gateway", audit.Change{Details: map[string]any{"token_type": "access_token", "audience": []any{"payroll"}, "key": "access", "reasons": []any{"org.audience_closed"}, "policy_revision": *revision}})
		m.change(pdp.LogUndelivered, "", audit.Change{Target: "siem", Reason: "not delivered while retention kept them", Details: map[string]any{"first": json.Number("0"), "records": json.Number("1200")}})
	case 21:
		*revision = "sha256:third"
	case 23:
		m.at = m.at.Add(3 * time.Hour)
		m.change(pdp.LogRecovered, "", audit.Change{Reason: "the end of the log was torn", Details: map[string]any{"bytes": json.Number("118")}})
		m.decision(*revision)
		m.rows[len(m.rows)-1].MaskFailed = true
	}
}

func (m *month) all() iter.Seq2[index.Row, error] {
	return func(yield func(index.Row, error) bool) {
		for _, row := range m.rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func (m *month) event(_ context.Context, at int64) (*audit.Event, error) {
	if event := m.events[at]; event != nil {
		return event, nil
	}
	return nil, errors.New("no such record")
}

func catalogue(t testing.TB) *Catalogue {
	t.Helper()
	data, err := os.ReadFile("../../../policies/CATALOGUE.json")
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseCatalogue(data)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// config reports on November as seen on 2 December.
func (m *month) config(t testing.TB, framework string) Config {
	t.Helper()
	f, err := FrameworkByID(framework)
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Framework: f, From: november, To: december, Catalogue: catalogue(t), Now: time.Date(2026, 12, 2, 9, 0, 0, 0, time.UTC), Program: "assay 1.0",
		Event: m.event, OldestKept: november.Add(4 * time.Minute),
		Keys:          []KeyPlan{{"access", 30 * 24 * time.Hour}, {"partner-tokens", 14 * 24 * time.Hour}, {"svid", 90 * 24 * time.Hour}},
		RotatedBefore: map[string]time.Time{"access": november.AddDate(0, 0, -18), "partner-tokens": november.AddDate(0, 0, -2)},
		Lifetimes:     map[string]time.Duration{workforce: 24 * time.Hour, partner: 24 * time.Hour, devices: time.Hour},
		WaiversFrom:   "org.yaml",
		Waivers: []Waiver{
			{Rule: "algorithm.not_allowed", Issuer: partner, Until: "2026-12-10", Ticket: "RISK-218"},
			{Rule: "lifetime.too_long", Client: "batch", Until: "2026-10-31", Ticket: "RISK-190"},
		},
	}
}

// proven is what a verification that found nothing says.
func proven() Integrity {
	return Integrity{
		State: Verified, How: "Every record of the log was read and hashed, and the root compared with each signed checkpoint.", Records: 2714, Origin: "assay.example/audit", Checkpoints: 2592,
		First: &Checkpoint{At: november.Add(-10 * time.Second), Size: 0, Root: "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", Signers: []string{"assay.example/audit+7f3c2a11"}},
		Last:  &Checkpoint{At: december.Add(10 * time.Second), Size: 2714, Root: "Zt1xk2b9mJ6QmPZ5vGf4oQk0pWn7eYh3sRr8uT2aXcE=", Signers: []string{"assay.example/audit+7f3c2a11"}},
	}
}
