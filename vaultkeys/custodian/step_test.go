package custodian_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/custodian"
)

var epoch = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// periods with sums that are easily checked: a version is due 100 s after it was made, and retires 60 s after
// its successor was due.
func periods() vaultkeys.Periods {
	return vaultkeys.Periods{
		RotateEvery: 100 * time.Second, PublishAhead: 50 * time.Second, MaxTokenLifetime: 50 * time.Second,
		Leeway: 10 * time.Second, JWKSMaxAge: 20 * time.Second, Poll: 5 * time.Second, ClockSkew: 5 * time.Second,
	}
}

func rules(trim time.Duration) custodian.Rules {
	return custodian.Rules{Periods: periods(), TrimAfter: trim}
}

// record of a key whose versions were made at these seconds, with its three minimum versions.
func record(decryption, encryption, available int, created ...int) vaultkeys.Record {
	r := vaultkeys.Record{Name: "access", Type: "ecdsa-p256", Latest: len(created),
		MinDecryptionVersion: decryption, MinEncryptionVersion: encryption, MinAvailableVersion: available}
	for i, second := range created {
		if i+1 >= decryption {
			r.Versions = append(r.Versions, vaultkeys.Version{Number: i + 1, Created: at(second)})
		}
	}
	return r
}

func TestNext(t *testing.T) {
	const minute = time.Minute
	for _, c := range []struct {
		name   string
		record vaultkeys.Record
		trim   time.Duration
		now    int
		want   string
	}{
		{"a new key of one version lacks a pending one", record(1, 0, 0, 0), minute, 0, "rotate 1"},
		{"active and pending: nothing", record(1, 0, 0, 0, 0), minute, 50, ""},
		{"just before the pending one is due: nothing", record(1, 0, 0, 0, 0), minute, 99, ""},
		{"it is due: there is none pending", record(1, 0, 0, 0, 0), minute, 100, "rotate 2"},
		{"custodians raced: two are pending, nothing", record(1, 0, 0, 0, 0, 1), minute, 60, ""},
		{"one of two surplus is due, the other not", record(1, 0, 0, 0, 0, 1), minute, 100, ""},
		{"just before the first one has retired: nothing", record(1, 0, 0, 0, 0, 100), minute, 159, ""},
		{"the first one has retired", record(1, 0, 0, 0, 0, 100), minute, 160, "retire 2"},
		{"two have retired, none is pending", record(1, 0, 0, 0, 0, 100), minute, 300, "rotate 3, retire 3"},
		{"a retiring one between keeps those above it", record(1, 0, 0, 0, 0, 100), minute, 210, "rotate 3, retire 2"},
		{"withdrawn, not long enough to be destroyed", record(2, 2, 0, 0, 0, 150), minute, 219, ""},
		{"withdrawn long enough", record(2, 2, 0, 0, 0, 150), minute, 220, "trim 2"},
		{"to be kept for ever", record(2, 2, 0, 0, 0, 150), -1, 240, ""},
		{"to be destroyed at once", record(2, 2, 0, 0, 0, 150), 0, 160, "trim 2"},
		{"destroyed already", record(2, 2, 2, 0, 0, 150), minute, 240, ""},
		{"the minimum for signing was left behind by hand", record(2, 0, 0, 0, 0, 150), minute, 240, "retire 2, trim 2"},
		{"after a compromise: the promoted one signs, none is pending", record(2, 2, 2, 0, 0), minute, 20, "rotate 2"},
		{"after a compromise, complete", record(2, 2, 2, 0, 0, 20), minute, 20, ""},
		{"the minimum for signing was raised by hand: the old one verifies until its time", record(1, 2, 0, 0, 0, 60), minute, 159, ""},
		{"and retires then", record(1, 2, 0, 0, 0, 100), minute, 160, "retire 2"},
		{"nobody rotated for very long: the newest is not withdrawn", record(1, 0, 0, 0, 0), minute, 100_000, "rotate 2, retire 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, step := range custodian.Next(c.record, rules(c.trim), at(c.now)) {
				got = append(got, fmt.Sprintf("%s %d", step.Kind, step.Version))
				if step.Why == "" {
					t.Errorf("%s does not say why", step.Kind)
				}
			}
			if text := strings.Join(got, ", "); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

func TestForecast(t *testing.T) {
	var got []string
	for _, e := range custodian.Forecast(record(1, 0, 0, 0, 0), rules(time.Minute), at(10), at(230)) {
		got = append(got, fmt.Sprintf("%d: %d %s%s", int(e.At.Sub(epoch)/time.Second), e.Version, e.State, e.Step))
	}
	want := []string{
		"100: 1 retiring", "100: 2 active", "100: 3 rotate",
		"160: 1 retired", "160: 1 retire",
		"200: 2 retiring", "200: 3 active", "200: 4 rotate",
		"220: 1 trim",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if n := len(custodian.Forecast(record(1, 0, 0, 0, 0), rules(time.Minute), at(10), at(100_000_000))); n < 1000 || n > 1010 {
		t.Errorf("a forecast of years has %d events", n)
	}
}
