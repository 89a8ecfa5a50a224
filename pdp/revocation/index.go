package revocation

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"math"
	"sync/atomic"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// NeverRead is the AgeSeconds of an index that no heartbeat reached yet: nothing is known.
const NeverRead = math.MaxInt32

// IndexConfig makes an Index by itself, without a stream.
type IndexConfig struct {
	// Now is the wall clock; default time.Now. Elapsed is the monotonic clock; required.
	Now     func() time.Time
	Elapsed func() time.Duration
	// MaxAge is how old the index may be and still count as fresh; default DefaultMaxAge.
	MaxAge time.Duration
}

// Index answers whether anything about a token is revoked, from memory. Lookups take no lock and do not wait
// for changes. It is safe for concurrent use.
type Index struct {
	c IndexConfig
	// The hash is keyed by two seeds of this process, which never leave it: nobody outside can choose values that
	// meet, and 128 bits do not meet by chance.
	seeds  [2]maphash.Seed
	shards [1 << shardBits]shard
	// counts are the entries by kind; a kind without any is not looked up. changes counts what was applied.
	counts  [7]atomic.Int64
	changes atomic.Uint64
	// fresh is the monotonic time, in ns and at least 1, at which the heartbeat was sent that was last read back; 0 before.
	fresh atomic.Int64
}

// NewIndex makes an empty index that no heartbeat reached.
func NewIndex(c IndexConfig) (*Index, error) {
	if c.Elapsed == nil {
		return nil, errors.New("revocation: Elapsed is required: the monotonic clock by which freshness is measured")
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	x := &Index{c: c, seeds: [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}}
	for i := range x.shards {
		x.shards[i].table.Store(newTable(minSlots))
	}
	return x, nil
}

// Lookup implements pdp.Revocations. AgeSeconds is 0 while the index is fresh, so that answers which depend on
// it can be remembered; past MaxAge it is the age in whole seconds, rounded up, and NeverRead where nothing was
// read yet.
func (x *Index) Lookup(t *pdp.Token, v *pdp.Verification) pdp.Revocation {
	r := pdp.Revocation{Known: true, Revoked: string(x.Match(t, v))}
	age, ok := x.age()
	switch {
	case !ok:
		r.AgeSeconds = NeverRead
	case age > x.c.MaxAge:
		r.AgeSeconds = int64((age + time.Second - 1) / time.Second)
	}
	return r
}

// Match gives the kind of the first entry in force that matches a verified token, in the order of Kinds;
// empty where none does.
func (x *Index) Match(t *pdp.Token, v *pdp.Verification) Kind {
	if !v.Verified() {
		return ""
	}
	issuer := v.Trust.Issuer.ID
	values := [...]struct {
		kind  Kind
		value string
	}{{Token, t.ID}, {Subject, t.Subject}, {Client, t.ClientID}, {Session, t.SessionID}, {Key, v.Key.Thumbprint}, {Issuer, ""}}
	// All filters are read before any answer is looked at: the processor waits for them together.
	var probes [len(values)]probe
	for i := range values {
		number := byte(i + 1) // kindNumber of it
		if x.counts[number].Load() == 0 || (values[i].value == "" && values[i].kind != Issuer) {
			continue
		}
		p := &probes[i]
		p.hash = x.hash(number, issuer, values[i].value)
		p.table = x.shards[p.shard()].table.Load()
		p.filter = atomic.LoadUint64(p.table.word(p.hash))
	}
	for i := range probes {
		p := &probes[i]
		if p.table == nil || p.filter&p.bits() != p.bits() {
			continue
		}
		s := p.table.find(p.hash)
		if s == nil {
			continue
		}
		if dates := atomic.LoadUint64(&s.dates); dates != 0 && x.inForce(dates, t) {
			return values[i].kind
		}
	}
	return ""
}

// probe is one thing to look up.
type probe struct {
	hash
	table  *table
	filter uint64
}

// inForce compares an entry's dates with the clock and with the token's iat.
func (x *Index) inForce(dates uint64, t *pdp.Token) bool {
	ends, before := int64(dates>>32), int64(dates&maxSeconds) //nolint:gosec // 32 bits each
	if x.c.Now().Unix() >= ends {
		return false
	}
	return before == 0 || t.IssuedAt == nil || t.IssuedAt.Floor() < before
}

func (x *Index) hash(kind byte, issuer, value string) hash {
	var room [256]byte
	text := append(room[:0], kind)
	text = binary.BigEndian.AppendUint32(text, uint32(len(issuer))) //nolint:gosec // a token is shorter
	text = append(append(text, issuer...), value...)
	return hash{first: maphash.Bytes(x.seeds[0], text) | 1, second: maphash.Bytes(x.seeds[1], text)}
}

// Apply applies what was read from the stream, in its order. An entry for what is revoked already never
// weakens it: the later end and the later issued_before count.
func (x *Index) Apply(e *Event) {
	number := kindNumber(e.Entry.Kind)
	if number == 0 {
		return
	}
	h := x.hash(number, e.Entry.Issuer, e.Entry.Value)
	s := &x.shards[h.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	defer x.changes.Add(1)
	at := s.table.Load().find(h)
	alive := at != nil && at.dates != 0
	if e.Removed {
		if alive {
			s.retire(at)
			x.counts[number].Add(-1)
		}
		return
	}
	sum := e.Entry.sum()
	p := placeOf(e.Sequence, number, binary.BigEndian.Uint32(sum[:4])>>8)
	dates := datesOf(ceilSecond(e.Entry.Ends), ceilSecond(e.Entry.IssuedBefore))
	if !alive {
		x.counts[number].Add(1) // before a reader could find it
	}
	switch {
	case at == nil:
		s.put(h, dates, p)
		return
	case alive && int64(at.dates>>32) > e.At.Unix(): //nolint:gosec // 32 bits
		dates = join(at.dates, dates)
	case !alive:
		s.dead--
	}
	atomic.StoreUint64((*uint64)(&at.place), uint64(p))
	atomic.StoreUint64(&at.dates, dates)
}

func datesOf(ends, before int64) uint64 {
	return uint64(min(max(ends, 1), maxSeconds))<<32 | uint64(min(max(before, 0), maxSeconds)) //nolint:gosec // bounded here
}

// join is what revokes at least as much as either. No issued_before revokes most.
func join(a, b uint64) uint64 {
	before := max(a&maxSeconds, b&maxSeconds)
	if a&maxSeconds == 0 || b&maxSeconds == 0 {
		before = 0
	}
	return max(a>>32, b>>32)<<32 | before
}

// Len counts the entries, those included that ended and were not dropped yet.
func (x *Index) Len() int {
	n := int64(0)
	for i := range x.counts {
		n += x.counts[i].Load()
	}
	return int(n)
}

// Bytes is the memory of the tables.
func (x *Index) Bytes() int64 {
	n := int64(0)
	for i := range x.shards {
		n += x.shards[i].table.Load().bytes()
	}
	return n
}

// beat tells that the heartbeat sent at that monotonic time was read back.
func (x *Index) beat(sent time.Duration) {
	for ns := max(int64(sent), 1); ; {
		last := x.fresh.Load()
		if last >= ns || x.fresh.CompareAndSwap(last, ns) {
			return
		}
	}
}

func (x *Index) age() (time.Duration, bool) {
	sent := x.fresh.Load()
	if sent == 0 {
		return 0, false
	}
	return max(x.c.Elapsed()-time.Duration(sent), 0), true
}

// held is what the index knows of an entry: where it stands in the stream, and its dates.
type held struct {
	sequence     uint64
	ends, before int64
}

// holds looks one entry up by what it identifies.
func (x *Index) holds(e *Entry) (held, bool) {
	h := x.hash(kindNumber(e.Kind), e.Issuer, e.Value)
	s := &x.shards[h.shard()]
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.table.Load().find(h)
	if at == nil || at.dates == 0 || int64(at.dates>>32) <= x.c.Now().Unix() { //nolint:gosec // 32 bits
		return held{}, false
	}
	return held{at.place.sequence(), int64(at.dates >> 32), int64(at.dates & maxSeconds)}, true //nolint:gosec // 32 bits each
}

// tagged gives the places in the stream of the entries whose key begins with this tag: the one that is sought, and by
// chance a few others. It reads all of the index.
func (x *Index) tagged(tag uint32) []uint64 {
	var found []uint64
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		t := s.table.Load()
		for j := range t.rest {
			if r := &t.rest[j]; r.dates != 0 && r.place.tag() == tag {
				found = append(found, r.place.sequence())
			}
		}
		s.mu.Unlock()
	}
	return found
}

// sweep drops the entries that ended before that Unix second, and answers how many. The caller makes sure
// that no clock will say again that they are in force.
func (x *Index) sweep(before int64) int {
	dropped := 0
	for i := range x.shards {
		s := &x.shards[i]
		s.mu.Lock()
		t := s.table.Load()
		for j := range t.rest {
			if r := &t.rest[j]; r.dates != 0 && int64(r.dates>>32) < before { //nolint:gosec // 32 bits
				x.counts[r.place.kind()].Add(-1)
				s.retire(r)
				dropped++
			}
		}
		if s.dead*4 > s.used {
			s.rebuild()
		}
		s.mu.Unlock()
	}
	return dropped
}
