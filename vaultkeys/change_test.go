package vaultkeys

import (
	"strings"
	"testing"
	"time"
)

// Periods of a key in use are changed: what was signed under the old ones counts.
func TestCheckChange(t *testing.T) {
	before := Periods{RotateEvery: 100 * time.Second, PublishAhead: 50 * time.Second, MaxTokenLifetime: 50 * time.Second,
		Leeway: 10 * time.Second, JWKSMaxAge: 20 * time.Second, Poll: 5 * time.Second, ClockSkew: 5 * time.Second}
	change := func(edit func(*Periods)) Periods { after := before; edit(&after); return after }
	made := func(seconds ...int) Record {
		r := Record{Name: "access", Type: "ecdsa-p256", Latest: len(seconds), MinDecryptionVersion: 1}
		for i, s := range seconds {
			r.Versions = append(r.Versions, Version{Number: i + 1, Created: at(s)})
		}
		return r
	}
	for _, c := range []struct {
		name   string
		record Record
		after  Periods
		now    int
		want   string // empty: may be done
	}{
		{"the same", made(0, 0), before, 60, ""},
		{"everything longer", made(0, 0), change(func(p *Periods) { p.RotateEvery, p.MaxTokenLifetime = 200*time.Second, 90*time.Second }), 60, ""},
		{"shorter tokens, none retiring, the successor far off", made(0, 60), change(func(p *Periods) { p.MaxTokenLifetime = 20 * time.Second }), 70, ""},
		{"shorter tokens while a version retires", made(0, 0), change(func(p *Periods) { p.MaxTokenLifetime = 20 * time.Second }), 110, "version 1 of access has tokens that live until"},
		{"the same, a little later", made(0, 0, 100), change(func(p *Periods) { p.MaxTokenLifetime = 20 * time.Second }), 159, "version 1"},
		{"the same, once its last token has ended", made(0, 0, 100), change(func(p *Periods) { p.MaxTokenLifetime = 20 * time.Second }), 160, ""},
		{"shorter rotation that makes the pending one due in the past", made(0, 0), change(func(p *Periods) { p.RotateEvery = 50 * time.Second }), 90, "version 1"},
		{"shorter rotation while the pending one is young", made(0, 80), change(func(p *Periods) { p.RotateEvery = 70 * time.Second }), 90, ""},
		{"a version would sign before it is known", made(0, 80), change(func(p *Periods) {
			p.RotateEvery, p.PublishAhead, p.JWKSMaxAge, p.Poll, p.ClockSkew = 5*time.Second, 5*time.Second, 0, time.Second, time.Second
		}), 90, "version 2 of access would sign at once, 10s after it was made"},
		{"shorter cache, at once with a shorter publication", made(0, 80), change(func(p *Periods) {
			p.RotateEvery, p.PublishAhead, p.JWKSMaxAge = 20*time.Second, 20*time.Second, 5*time.Second
		}), 85, "would sign after 20s; copies of the published set"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := CheckChange(c.record, before, c.after, at(c.now))
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want %q in it", err, c.want)
			}
		})
	}
}
