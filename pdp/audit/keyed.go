package audit

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Period is for how long one key makes pseudonyms: the calendar's, in UTC.
type Period string

// The periods.
const (
	Day     Period = "day"     // 2026-11-24
	Week    Period = "week"    // 2026-W48, ISO 8601
	Month   Period = "month"   // 2026-11
	Quarter Period = "quarter" // 2026-Q4
	Year    Period = "year"    // 2026
)

// Periods lists them, the shortest first.
func Periods() []Period { return []Period{Day, Week, Month, Quarter, Year} }

// Label names the period in which a moment lies.
func (p Period) Label(at time.Time) string {
	at = at.UTC()
	switch p {
	case Day:
		return at.Format("2006-01-02")
	case Week:
		year, week := at.ISOWeek()
		return fmt.Sprintf("%d-W%02d", year, week)
	case Quarter:
		return fmt.Sprintf("%d-Q%d", at.Year(), (int(at.Month())+2)/3)
	case Year:
		return at.Format("2006")
	case Month:
	}
	return at.Format("2006-01")
}

// Next is the first moment of the next period.
func (p Period) Next(at time.Time) time.Time {
	year, month, day := at.UTC().Date()
	date := func(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	switch p {
	case Day:
		return date(year, month, day+1)
	case Week:
		return date(year, month, day+(7-(int(at.UTC().Weekday())+6)%7))
	case Quarter:
		return date(year, month+3-(month-1)%3, 1)
	case Year:
		return date(year+1, 1, 1)
	case Month:
	}
	return date(year, month+1, 1)
}

// NoPseudonyms has no key: every identifier is erased.
type NoPseudonyms struct{}

// Pseudonym implements Pseudonyms.
func (NoPseudonyms) Pseudonym(time.Time, string, string, string) string { return "" }

// Epoch implements Pseudonyms.
func (NoPseudonyms) Epoch(time.Time) string { return "" }

// KeyedConfig configures Keyed.
type KeyedConfig struct {
	Keys   PeriodKeys // required
	Period Period     // default Month
	// Every is how often what is missing is asked for again; default 15 s. What is there is not asked for again.
	Every time.Duration
	// Timeout bounds one question; default 5 s.
	Timeout time.Duration
	Now     func() time.Time // default time.Now
}

// Keyed makes pseudonyms with keys that it fetches ahead and holds in memory only: that of this period, and of the next
// one from an hour before it begins; keys of periods that are over are forgotten. It implements Pseudonyms.
type Keyed struct {
	c    KeyedConfig
	keys atomic.Pointer[[]*periodKey] // immutable, replaced whole
	mu   sync.Mutex                   // one round at a time; guards failure
	last error
}

type periodKey struct {
	period  string
	ends    time.Time
	version int
	epoch   string // "<period>.v<version>"
	hashes  sync.Pool
}

// NewKeyed checks the configuration. It asks for nothing; Load and Run do.
func NewKeyed(c KeyedConfig) (*Keyed, error) {
	if c.Keys == nil {
		return nil, errors.New("audit: pseudonyms need a source of keys")
	}
	if c.Period == "" {
		c.Period = Month
	}
	if c.Every <= 0 {
		c.Every = 15 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	k := &Keyed{c: c}
	k.keys.Store(&[]*periodKey{})
	return k, nil
}

// ahead is how long before a period begins its key is fetched, and behind how long after it ended it is still known, for
// decisions that began in it.
const (
	ahead  = time.Hour
	behind = time.Minute
)

// Load fetches the keys that are wanted now and missing, and forgets those that are over.
func (k *Keyed) Load(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.c.Now()
	var have []*periodKey
	for _, key := range *k.keys.Load() {
		if now.Before(key.ends.Add(behind)) {
			have = append(have, key)
		}
	}
	k.last = nil
	for _, at := range []time.Time{now, now.Add(ahead)} {
		label := k.c.Period.Label(at)
		if find(have, label) != nil {
			continue
		}
		key, err := k.fetch(ctx, label, k.c.Period.Next(at))
		if err != nil {
			k.last = err
			break
		}
		have = append(have, key)
	}
	k.keys.Store(&have)
	return k.last
}

func (k *Keyed) fetch(ctx context.Context, label string, ends time.Time) (*periodKey, error) {
	ctx, cancel := context.WithTimeout(ctx, k.c.Timeout)
	defer cancel()
	key, version, err := k.c.Keys.PeriodKey(ctx, label)
	if err != nil {
		return nil, fmt.Errorf("the pseudonym key of %s: %w", label, err)
	}
	if len(key) < sha256.Size {
		return nil, fmt.Errorf("the pseudonym key of %s has %d bytes; it needs %d", label, len(key), sha256.Size)
	}
	return &periodKey{
		period: label, ends: ends, version: version, epoch: label + ".v" + strconv.Itoa(version),
		hashes: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }},
	}, nil
}

// Run keeps the keys until ctx ends.
func (k *Keyed) Run(ctx context.Context) error {
	tick := time.NewTicker(k.c.Every)
	defer tick.Stop()
	for {
		_ = k.Load(ctx) // Failing tells
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Failing is why the last round did not get a key that is wanted; nil where none is missing.
func (k *Keyed) Failing() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.last
}

func find(keys []*periodKey, label string) *periodKey {
	for _, key := range keys {
		if key.period == label {
			return key
		}
	}
	return nil
}

// at finds the key without making its label: periods do not overlap, so it is the first that has not ended.
func (k *Keyed) at(at time.Time) *periodKey {
	var first *periodKey
	for _, key := range *k.keys.Load() {
		if at.Before(key.ends) && (first == nil || key.ends.Before(first.ends)) {
			first = key
		}
	}
	if first == nil || at.Before(first.ends) && k.c.Period.Next(at).Equal(first.ends) {
		return first
	}
	return nil
}

// Epoch implements Pseudonyms.
func (k *Keyed) Epoch(at time.Time) string {
	if key := k.at(at); key != nil {
		return key.epoch
	}
	return ""
}

// Pseudonym implements Pseudonyms. The three texts are framed by their lengths, so that no two triples read alike.
func (k *Keyed) Pseudonym(at time.Time, kind, issuer, value string) string {
	key := k.at(at)
	if key == nil {
		return ""
	}
	message := make([]byte, 0, 128)
	for _, text := range [...]string{kind, issuer, value} {
		message = append(binary.AppendUvarint(message, uint64(len(text))), text...)
	}
	mac, _ := key.hashes.Get().(hash.Hash)
	mac.Reset()
	mac.Write(message) // never fails
	var sum [sha256.Size]byte
	mac.Sum(sum[:0])
	key.hashes.Put(mac)
	return "p:" + key.epoch + ":" + base64.RawURLEncoding.EncodeToString(sum[:16])
}
