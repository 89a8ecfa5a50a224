package vaultkeys

import (
	"errors"
	"fmt"
	"time"
)

// The defaults of Periods.
const (
	DefaultRotateEvery      = 30 * 24 * time.Hour
	DefaultPublishAhead     = time.Hour
	DefaultMaxTokenLifetime = time.Hour
	DefaultLeeway           = 30 * time.Second
	DefaultJWKSMaxAge       = 5 * time.Minute
	DefaultPoll             = 10 * time.Second
	DefaultClockSkew        = 30 * time.Second
)

// Periods are the times by which the versions of a key change state. All replicas must have the same.
type Periods struct {
	// RotateEvery is how long a version signs before the next takes over. Default 30 days.
	RotateEvery time.Duration
	// PublishAhead is how long a version is published, at least, before it signs. Default 1 h.
	PublishAhead time.Duration
	// MaxTokenLifetime is the longest that a token signed with the key may live. Whole seconds; default 1 h.
	MaxTokenLifetime time.Duration
	// Leeway is how long after its end a verifier may still take a token. Default 30 s.
	Leeway time.Duration
	// JWKSMaxAge is how long a verifier may keep the published set. Default 5 min.
	JWKSMaxAge time.Duration
	// Poll is the longest time between two readings of Vault's record. Default 10 s.
	Poll time.Duration
	// ClockSkew is the most that any two clocks differ among Vault, our replicas and our verifiers. Default 30 s.
	ClockSkew time.Duration
	// Encryption says that the key's versions are encrypted to and decrypt, rather than sign: a sender may have
	// kept the published set, so that one goes on decrypting for JWKSMaxAge + ClockSkew longer.
	Encryption bool
}

// WithDefaults fills in what is zero.
func (p Periods) WithDefaults() Periods {
	for _, field := range []struct {
		value    *time.Duration
		fallback time.Duration
	}{
		{&p.RotateEvery, DefaultRotateEvery}, {&p.PublishAhead, DefaultPublishAhead},
		{&p.MaxTokenLifetime, DefaultMaxTokenLifetime}, {&p.Leeway, DefaultLeeway},
		{&p.JWKSMaxAge, DefaultJWKSMaxAge}, {&p.Poll, DefaultPoll}, {&p.ClockSkew, DefaultClockSkew},
	} {
		if *field.value == 0 {
			*field.value = field.fallback
		}
	}
	return p
}

// Validate refuses periods under which a good token would be denied, all problems together, each with the
// sum that does not work out.
func (p Periods) Validate() error {
	var problems []error
	refuse := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for _, field := range []struct {
		name  string
		value time.Duration
		zero  bool // may be zero
	}{
		{"rotate_every", p.RotateEvery, false}, {"publish_ahead", p.PublishAhead, false},
		{"max_token_lifetime", p.MaxTokenLifetime, false}, {"leeway", p.Leeway, true},
		{"JWKS max-age", p.JWKSMaxAge, true}, {"keyring poll", p.Poll, false}, {"clock skew", p.ClockSkew, true},
	} {
		if field.value < 0 || field.value == 0 && !field.zero {
			refuse("%s is %s: it must be positive", field.name, text(field.value))
		}
	}
	if p.MaxTokenLifetime%time.Second != 0 {
		refuse("max_token_lifetime is %s: it must be a whole number of seconds, as times in tokens are", text(p.MaxTokenLifetime))
	}
	if need := p.JWKSMaxAge + p.Poll + p.ClockSkew; p.PublishAhead < need {
		refuse("publish_ahead is %s, less than JWKS max-age %s + keyring poll %s + clock skew %s = %s: a new version would sign before every verifier knows it",
			text(p.PublishAhead), text(p.JWKSMaxAge), text(p.Poll), text(p.ClockSkew), text(need))
	}
	if p.RotateEvery < p.PublishAhead {
		refuse("rotate_every is %s, less than publish_ahead %s: a version would be due to be replaced before its successor may sign",
			text(p.RotateEvery), text(p.PublishAhead))
	}
	if p.ClockSkew > p.Leeway {
		refuse("clock skew is %s, more than leeway %s: a token from a clock that is ahead would be denied as not yet issued",
			text(p.ClockSkew), text(p.Leeway))
	}
	return errors.Join(problems...)
}

// delay is how long after its creation a version is due to sign.
func (p Periods) delay() time.Duration { return max(p.PublishAhead, p.RotateEvery) }

// keep is how long a version is published after its successor was due; of a key that decrypts, how long it
// still does: the last sender that kept the set encrypts JWKSMaxAge after that, by a clock that may be behind,
// a token that then lives its time.
func (p Periods) keep() time.Duration {
	if p.Encryption {
		return p.JWKSMaxAge + p.ClockSkew + p.MaxTokenLifetime + p.Leeway
	}
	return p.MaxTokenLifetime + p.Leeway
}

// text writes a duration without the zero parts that time.Duration's own form has: 1h, not 1h0m0s.
func text(d time.Duration) string {
	s := d.String()
	for _, zero := range [...]string{"m0s", "h0m"} {
		if n := len(s) - len(zero); n > 0 && s[n:] == zero {
			s = s[:n+1]
		}
	}
	return s
}
