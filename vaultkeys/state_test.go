package vaultkeys

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// testPeriods are small numbers that are easy to add: due 100 s after creation, kept 30 s + 5 s after the
// successor was due.
var testPeriods = Periods{
	RotateEvery: 100 * time.Second, PublishAhead: 20 * time.Second, MaxTokenLifetime: 30 * time.Second,
	Leeway: 5 * time.Second, JWKSMaxAge: 10 * time.Second, Poll: 4 * time.Second, ClockSkew: 5 * time.Second,
}

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// record makes a record from "number@seconds" with the two minimum versions.
func record(minDecryption, minEncryption int, versions ...[2]int) Record {
	r := Record{Name: "access", Type: "ecdsa-p256", MinDecryptionVersion: minDecryption, MinEncryptionVersion: minEncryption}
	for _, v := range versions {
		r.Versions = append(r.Versions, Version{Number: v[0], Created: at(v[1])})
		r.Latest = v[0]
	}
	return r
}

// describe writes states as "1 retiring→retired@135, 2 active", times in seconds.
func describe(states []VersionState) string {
	var all []string
	for _, s := range states {
		text := fmt.Sprintf("%d %s", s.Number, s.State)
		if s.Promoted {
			text += "!"
		}
		if s.Next != "" {
			text += fmt.Sprintf("→%s@%d", s.Next, int(s.NextAt.Sub(epoch)/time.Second))
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func TestStatesAtEachBoundary(t *testing.T) {
	first := record(1, 0, [2]int{1, 0})
	two := record(1, 0, [2]int{1, 0}, [2]int{2, 10})
	three := record(1, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 110})
	for _, c := range []struct {
		name   string
		record Record
		now    int
		want   string
	}{
		{"a new key signs at once", first, 0, "1 active"},
		{"a new key signs before it is due", first, 99, "1 active"},
		{"a new key without a successor goes on", first, 1000, "1 active"},
		{"a clock behind Vault's", first, -3, "1 active"},
		{"the second is pending", two, 10, "1 active→retiring@110, 2 pending→active@110"},
		{"a second before it is due", two, 109, "1 active→retiring@110, 2 pending→active@110"},
		{"when it is due", two, 110, "1 retiring→retired@145, 2 active"},
		{"a second before the first retires", two, 144, "1 retiring→retired@145, 2 active"},
		{"when the first retires", two, 145, "1 retired, 2 active"},
		{"the next is pending", three, 150, "1 retired, 2 active→retiring@210, 3 pending→active@210"},
		{"the next signs", three, 210, "1 retired, 2 retiring→retired@245, 3 active"},
		{"two states later", three, 245, "1 retired, 2 retired, 3 active"},
		{"the oldest is gone from the record", record(2, 0, [2]int{2, 10}, [2]int{3, 110}), 150, "2 active→retiring@210, 3 pending→active@210"},
		{"the two oldest are gone", record(3, 0, [2]int{3, 110}), 245, "3 active"},
		{"versions below the minimum do not count", record(2, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 110}), 150, "2 active→retiring@210, 3 pending→active@210"},
		{"compromise: the pending one is promoted", record(2, 2, [2]int{2, 10}, [2]int{3, 60}), 60, "2 active!→retiring@160, 3 pending→active@160"},
		{"a promoted one comes into its own time", record(2, 2, [2]int{2, 10}, [2]int{3, 60}), 110, "2 active→retiring@160, 3 pending→active@160"},
		{"compromise without a pending one", record(2, 2, [2]int{2, 60}), 60, "2 active!"},
		{"signing minimum above what is due", record(1, 2, [2]int{1, 0}, [2]int{2, 10}), 50, "1 retiring→retired@145, 2 active!"},
		{"what it replaced is kept as if nobody had hurried", record(1, 2, [2]int{1, 0}, [2]int{2, 10}), 144, "1 retiring→retired@145, 2 active"},
		{"and retires then", record(1, 2, [2]int{1, 0}, [2]int{2, 10}), 145, "1 retired, 2 active"},
		{"signing minimum above a pending one", record(1, 3, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 40}), 50, "1 retiring→retired@145, 2 retiring→retired@175, 3 active!"},
		{"signing minimum below what is due changes nothing", record(1, 1, [2]int{1, 0}, [2]int{2, 10}), 110, "1 retiring→retired@145, 2 active"},
		{"surplus versions wait beside", record(1, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 10}), 50, "1 active→retiring@110, 2 pending→retiring@110, 3 pending→active@110"},
		{"a surplus version never signs", record(1, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 10}), 110, "1 retiring→retired@145, 2 retiring→retired@145, 3 active"},
		{"a surplus version signs for a moment", record(1, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 11}), 110, "1 retiring→retired@145, 2 active→retiring@111, 3 pending→active@111"},
		{"Vault's clock went back", record(1, 0, [2]int{1, 0}, [2]int{2, 50}, [2]int{3, 40}), 140, "1 retiring→retired@175, 2 retiring→retired@175, 3 active"},
		{"nothing may sign", Record{Name: "access"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			states := States(c.record, testPeriods, at(c.now))
			if got := describe(states); got != c.want {
				t.Fatalf("\n got %s\nwant %s", got, c.want)
			}
			signer, err := Signer(c.record, testPeriods, at(c.now))
			if c.want == "" {
				if !errors.Is(err, ErrNoSigner) {
					t.Fatalf("Signer: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range states {
				if !s.Ends.IsZero() && (s.State == Retired) == at(c.now).Before(s.Ends) {
					t.Errorf("version %d is %s, and ends at %s", s.Number, s.State, s.Ends.Sub(epoch))
				}
				if (s.State == Active) != (s.Number == signer.Number) {
					t.Errorf("version %d is %s, the signer is %d", s.Number, s.State, signer.Number)
				}
			}
		})
	}
}

func TestSinceIsTheBoundaryThatWasPassed(t *testing.T) {
	r := record(1, 0, [2]int{1, 0}, [2]int{2, 10}, [2]int{3, 110})
	for _, c := range []struct {
		now  int
		want [3]int
	}{{109, [3]int{0, 10, 110}}, {110, [3]int{110, 110, 110}}, {145, [3]int{145, 110, 110}}, {210, [3]int{145, 210, 210}}} {
		for i, s := range States(r, testPeriods, at(c.now)) {
			if !s.Since.Equal(at(c.want[i])) {
				t.Errorf("at %d: version %d is %s since %s, want %s", c.now, s.Number, s.State, s.Since, at(c.want[i]))
			}
		}
	}
	promoted := States(record(1, 2, [2]int{1, 0}, [2]int{2, 10}), testPeriods, at(50))
	for _, s := range promoted {
		if !s.Since.IsZero() {
			t.Errorf("version %d: the record does not tell since when it is %s, and yet: %s", s.Number, s.State, s.Since)
		}
	}
}

func TestPublishAheadCountsWhereItIsLonger(t *testing.T) {
	p := testPeriods
	p.PublishAhead = 200 * time.Second
	r := record(1, 0, [2]int{1, 0}, [2]int{2, 10})
	for now, want := range map[int]int{209: 1, 210: 2} {
		if v, err := Signer(r, p, at(now)); err != nil || v.Number != want {
			t.Errorf("at %d: version %d signs (%v), want %d", now, v.Number, err, want)
		}
	}
}

func TestPeriodsThatWouldDenyGoodTokensAreRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Periods)
		want   string // empty: accepted
	}{
		{"defaults", func(p *Periods) { *p = Periods{}.WithDefaults() }, ""},
		{"publish_ahead exactly enough", func(p *Periods) { p.PublishAhead = 19 * time.Second }, ""},
		{"publish_ahead a second short", func(p *Periods) { p.PublishAhead = 18 * time.Second }, "publish_ahead is 18s, less than JWKS max-age 10s + keyring poll 4s + clock skew 5s = 19s"},
		{"rotate_every exactly publish_ahead", func(p *Periods) { p.RotateEvery = p.PublishAhead }, ""},
		{"rotate_every a second short", func(p *Periods) { p.RotateEvery = 19 * time.Second }, "rotate_every is 19s, less than publish_ahead 20s"},
		{"skew as large as leeway", func(p *Periods) { p.Leeway = 5 * time.Second }, ""},
		{"skew larger than leeway", func(p *Periods) { p.Leeway = 4 * time.Second }, "clock skew is 5s, more than leeway 4s"},
		{"lifetime of part of a second", func(p *Periods) { p.MaxTokenLifetime = 1500 * time.Millisecond }, "max_token_lifetime is 1.5s: it must be a whole number of seconds"},
		{"no lifetime", func(p *Periods) { p.MaxTokenLifetime = 0 }, "max_token_lifetime is 0s: it must be positive"},
		{"negative leeway", func(p *Periods) { p.Leeway = -time.Hour }, "leeway is -1h: it must be positive"},
		{"all at once", func(p *Periods) { p.PublishAhead, p.RotateEvery = time.Second, time.Millisecond }, "rotate_every is 1ms, less than publish_ahead 1s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := testPeriods
			c.change(&p)
			err := p.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
	p := testPeriods
	p.PublishAhead, p.RotateEvery = time.Second, time.Millisecond
	if n := strings.Count(p.Validate().Error(), "\n"); n != 1 {
		t.Errorf("two problems in %d lines", n+1)
	}
}

func TestDurationsReadAsTheyAreConfigured(t *testing.T) {
	for d, want := range map[time.Duration]string{
		720 * time.Hour: "720h", time.Hour: "1h", 90 * time.Minute: "1h30m", 5 * time.Minute: "5m", 10 * time.Minute: "10m",
		10 * time.Second: "10s", 610 * time.Second: "10m10s", 0: "0s", time.Hour + 10*time.Second: "1h0m10s",
	} {
		if got := text(d); got != want {
			t.Errorf("%v reads %s, want %s", d, got, want)
		}
	}
}

func TestRecordsThatMustNotBeBelieved(t *testing.T) {
	p256, p384 := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384())
	good := func() Record {
		return Record{Name: "access", Type: "ecdsa-p256", Latest: 2, MinDecryptionVersion: 1, Versions: []Version{
			{1, epoch, &p256.PublicKey}, {2, epoch, &p256.PublicKey}}}
	}
	if r := good(); r.Check() != nil {
		t.Fatal(r.Check())
	}
	for name, c := range map[string]struct {
		change func(*Record)
		want   string
	}{
		"type that cannot sign":   {func(r *Record) { r.Type = "aes256-gcm96" }, "cannot sign tokens"},
		"no versions":             {func(r *Record) { r.Versions = nil }, "no usable version"},
		"version zero":            {func(r *Record) { r.Versions[0].Number = 0 }, "not between 1 and the latest"},
		"version past the latest": {func(r *Record) { r.Latest = 1 }, "not between 1 and the latest"},
		"out of order":            {func(r *Record) { r.Versions[1].Number = 1 }, "ascending order"},
		"no time":                 {func(r *Record) { r.Versions[1].Created = time.Time{} }, "no creation time"},
		"other curve":             {func(r *Record) { r.Versions[1].Public = &p384.PublicKey }, `type "ecdsa-p384", not ecdsa-p256`},
		"no key":                  {func(r *Record) { r.Versions[1].Public = nil }, `type "", not ecdsa-p256`},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			c.change(&r)
			if err := r.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func newECDSA(t testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
