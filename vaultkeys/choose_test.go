package vaultkeys

import (
	"testing"
	"time"
)

// Which key signs of "next" and "access", in this order or that of the case. A version is known to verifiers 20 s after
// it was made, and due after 100 s.
func TestChoose(t *testing.T) {
	const never = -1000 // the key cannot be read
	for _, c := range []struct {
		name                string
		next, access, other int // when the first version was made
		now                 int
		names               []string // empty: next, access
		want                string
	}{
		{"the new key is not known to verifiers", 50, 0, never, 69, nil, "access"},
		{"it is known, to the second", 50, 0, never, 70, nil, "next"},
		{"the new key is named last", 50, 0, never, 90, []string{"access", "next"}, "access"},
		{"both are new: the older one, whichever is first", 60, 50, never, 61, nil, "access"},
		{"both are new, the first is older", 50, 60, never, 61, nil, "next"},
		{"made in the same moment: the first", 50, 50, never, 60, nil, "next"},
		{"the new key cannot be read", never, 0, never, 90, nil, "access"},
		{"the old key cannot be read, and the new one is not known: wait for the old", 50, never, never, 60, nil, "access"},
		{"the old key cannot be read, and the new one is known", 50, never, never, 70, nil, "next"},
		{"none can be read: the first", never, never, never, 90, nil, "next"},
		{"a key that is not configured is passed over", 50, 0, never, 60, []string{"nosuch", "next", "access"}, "access"},
		{"and so where the others are new", 50, 55, never, 60, []string{"nosuch", "next", "access"}, "next"},
		{"of three, the first that is known", 80, 60, 0, 90, []string{"next", "access", "other"}, "access"},
		{"of three, two new", 80, 75, 0, 90, []string{"next", "access", "other"}, "other"},
		{"one alone, new", 50, never, never, 51, []string{"next"}, "next"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t, func(o *Config) {
				o.Keys = nil
				for _, name := range []string{"next", "access", "other"} {
					o.Keys = append(o.Keys, KeyConfig{Name: name, Type: "ecdsa-p256", Periods: testPeriods})
				}
			})
			for name, made := range map[string]int{"next": c.next, "access": c.access, "other": c.other} {
				if made != never {
					r := withKeys(t, record(1, 0, [2]int{1, made}, [2]int{2, made}), map[int]Version{})
					r.Name = name
					f.set(name, r, nil)
				}
			}
			f.advance(time.Duration(c.now) * time.Second)
			_ = f.ring.Load(t.Context()) // some keys are not there to be read
			names := c.names
			if names == nil {
				names = []string{"next", "access"}
			}
			if got := f.ring.Choose(names); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
	if got := newFixture(t, nil).ring.Choose(nil); got != "" {
		t.Errorf("of no keys: %q", got)
	}
}

// The clock goes on while keys are compared: here the old key's version becomes due between the first look and the next.
func TestChooseLooksAtTheClockOnce(t *testing.T) {
	periods := testPeriods
	periods.RotateEvery, periods.PublishAhead = 20*time.Second, 20*time.Second
	var f *fixture
	ticks := false
	f = newFixture(t, func(o *Config) {
		o.Keys = []KeyConfig{{Name: "next", Type: "ecdsa-p256", Periods: periods}, {Name: "access", Type: "ecdsa-p256", Periods: periods}}
		still := o.Now
		o.Now = func() time.Time {
			now := still()
			if ticks {
				f.advance(time.Second)
			}
			return now
		}
	})
	for name, versions := range map[string][][2]int{"next": {{1, 30}}, "access": {{1, 0}, {2, 30}}} {
		r := withKeys(t, record(1, 0, versions...), map[int]Version{})
		r.Name = name
		f.set(name, r, nil)
	}
	f.advance(49 * time.Second)
	if err := f.ring.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	ticks = true
	if got := f.ring.Choose([]string{"next", "access"}); got != "access" {
		t.Errorf("%s signs a second before it was published for publish_ahead", got)
	}
}
