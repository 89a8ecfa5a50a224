package revocation

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// The index is an open-addressing table with linear probing, cut into shards by the hash. A shard has one
// writer at a time, under its lock, and readers that take no lock:
//
//   - a slot is filled after its bits in the filter and with its first word last, and its hash never changes in that table;
//   - both dates of a slot are one word, so that a reader never sees one of them old and the other new;
//   - growing, and dropping what ended, builds a new table and swaps the pointer.
//
// The usual answer is that nothing is revoked, and memory is slow: at ten million entries a read of the table
// misses every cache and the TLB. So a filter stands before it, a Bloom filter of one 64-bit word and three bits an
// entry, thirty times smaller than the table: it says "not here" for about 19 of 20 values that are not. Behind it
// first words lie by themselves, eight in a cache line. A slot takes 32 bytes and 2/3 of a byte of filter; tables
// are kept between 0.56 and 0.78 full, so that an entry takes 42 to 58 bytes.
const (
	shardBits   = 8
	maxFull     = 0.78
	growTo      = 0.56
	minSlots    = 24
	slotsPerSet = 12 // slots for each word of the filter
)

type shard struct {
	mu    sync.Mutex // held by whoever writes
	table atomic.Pointer[table]
	used  int // slots taken, by mu
	dead  int // of these, the ones that were removed or dropped, by mu
}

type table struct {
	filter []uint64
	first  []uint64 // 0: an empty slot, and the end of a probe
	rest   []slot
}

func (t *table) bytes() int64 { return int64(len(t.filter))*8 + int64(len(t.first))*(8+24) }

// slot is read and written atomically, word by word.
type slot struct {
	second uint64 // the hash's other half
	dates  uint64 // ends<<32 | issued_before, Unix seconds; 0: not in force any more
	place  place
}

// place is where the entry stands in the stream, its kind, and 24 bits of its key's SHA-256, by which it is found
// when somebody knows its key only.
type place uint64

const (
	tagBits  = 24
	kindBits = 3
)

func placeOf(sequence uint64, kind byte, tag uint32) place {
	return place(sequence<<(tagBits+kindBits) | uint64(kind)<<tagBits | uint64(tag))
}

func (p place) sequence() uint64 { return uint64(p) >> (tagBits + kindBits) }
func (p place) kind() byte       { return byte(p >> tagBits & (1<<kindBits - 1)) } //nolint:gosec // masked
func (p place) tag() uint32      { return uint32(p & (1<<tagBits - 1)) }           //nolint:gosec // masked

type hash struct{ first, second uint64 }

func (h hash) shard() int { return int(h.second >> (64 - shardBits)) }

// word is the filter's word for h, and bits are those that an entry sets in it.
func (t *table) word(h hash) *uint64 {
	hi, _ := bits.Mul64(h.second<<shardBits, uint64(len(t.filter)))
	return &t.filter[hi]
}

func (h hash) bits() uint64 {
	return 1<<(h.second&63) | 1<<(h.second>>6&63) | 1<<(h.second>>12&63)
}

// start is the slot where probing begins: the hash scaled to the table's length.
func (t *table) start(h hash) int {
	hi, _ := bits.Mul64(h.first, uint64(len(t.first)))
	return int(hi) //nolint:gosec // less than len
}

// find gives the slot of h, or nil. Without a lock it sees every slot that was filled before it began.
func (t *table) find(h hash) *slot {
	for i := t.start(h); ; {
		first := atomic.LoadUint64(&t.first[i])
		if first == 0 {
			return nil
		}
		if first == h.first && atomic.LoadUint64(&t.rest[i].second) == h.second {
			return &t.rest[i]
		}
		if i++; i == len(t.first) {
			i = 0
		}
	}
}

// insert fills an empty slot. The caller holds the shard's lock, or the table is not in force yet.
func (t *table) insert(h hash, dates uint64, p place) {
	i := t.start(h)
	for t.first[i] != 0 {
		if i++; i == len(t.first) {
			i = 0
		}
	}
	atomic.OrUint64(t.word(h), h.bits())
	s := &t.rest[i]
	atomic.StoreUint64((*uint64)(&s.place), uint64(p))
	atomic.StoreUint64(&s.dates, dates)
	atomic.StoreUint64(&s.second, h.second)
	atomic.StoreUint64(&t.first[i], h.first)
}

func newTable(slots int) *table {
	return &table{filter: make([]uint64, slots/slotsPerSet+1), first: make([]uint64, slots), rest: make([]slot, slots)}
}

// put inserts what find did not find. The caller holds mu.
func (s *shard) put(h hash, dates uint64, p place) {
	if t := s.table.Load(); float64(s.used+1) > maxFull*float64(len(t.first)) {
		s.rebuild()
	}
	s.table.Load().insert(h, dates, p)
	s.used++
}

// rebuild swaps in a table of the right size without what is dead. The caller holds mu.
func (s *shard) rebuild() {
	old := s.table.Load()
	alive := s.used - s.dead
	next := newTable(max(minSlots, int(float64(alive+1)/growTo)))
	for i, first := range old.first {
		if first != 0 && old.rest[i].dates != 0 {
			next.insert(hash{first, old.rest[i].second}, old.rest[i].dates, old.rest[i].place)
		}
	}
	s.table.Store(next)
	s.used, s.dead = alive, 0
}

// retire marks a slot as not in force. The caller holds mu.
func (s *shard) retire(at *slot) {
	atomic.StoreUint64(&at.dates, 0)
	s.dead++
}
