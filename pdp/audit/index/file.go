package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/oklog/ulid/v2"
)

// A file is, in this order, integers little-endian or as varints:
//
//	magic       8 bytes, with the version of the format
//	checksum    4 bytes, CRC-32C of all that follows
//	binding     first, count, size, modified: 8 bytes each; seal: 32 bytes
//	columns     for each dictionary-coded column: the number of values, the values, each after its length; the bytes
//	            that a code takes (0, 1, 2 or 4), the codes (where they take none: the one code)
//	times       the first, then differences
//	flags       1 byte each
//	ids         per record: the ULID's milliseconds less those of the record, its 10 random bytes; nothing where odd
//	lifetime, latency      per record
//	subject     0, or 1 and 8 bytes each
//
// Nothing is compressed: a row takes some 35 bytes, most of them random, beside the 1000 of its record, and a checksum
// and a loop read them faster than a decompressor.
var magic = [8]byte{'A', 's', 's', 'a', 'y', 'I', 'x', 2}

const (
	headerBytes  = len(magic) + 4
	bindingBytes = 4*8 + 32
)

// errDamaged is a file that is not a whole index of this version; it is built again.
var errDamaged = errors.New("damaged")

// errOther is an index of something else than the segment that is there now.
var errOther = errors.New("of another segment, or of what it was before")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// binding says which segment a table was made of, as it was then.
type binding struct {
	first, count int64
	// size and modified (nanoseconds since the epoch) are of the segment's file: whoever alters it changes them, or has
	// to mean to hide it.
	size, modified int64
	// seal is the SHA-256 of what the ledger wrote down when it sealed the segment, the tree's hashes among it.
	seal [32]byte
}

func (b *binding) append(dst []byte) []byte {
	for _, n := range [...]int64{b.first, b.count, b.size, b.modified} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(n)) //nolint:gosec // the same 64 bits
	}
	return append(dst, b.seal[:]...)
}

// encode writes a table down.
func (t *table) encode(bound binding) []byte {
	dst := make([]byte, headerBytes, headerBytes+bindingBytes+64*t.count()+4096)
	dst = bound.append(dst)
	for i := range t.columns {
		dst = t.columns[i].append(dst)
	}
	before := int64(0)
	for _, at := range t.times {
		dst = binary.AppendVarint(dst, at-before)
		before = at
	}
	dst = append(dst, t.flags...)
	for i, id := range t.ids {
		if t.flags[i]&oddIDFlag == 0 {
			dst = binary.AppendVarint(dst, int64(id.Time())-t.times[i]/1e6) //nolint:gosec // 48 bits
			dst = append(dst, id[6:]...)
		}
	}
	for i := range t.times {
		dst = binary.AppendVarint(dst, t.lifetime[i])
		dst = binary.AppendVarint(dst, t.latency[i])
	}
	return seal(t.appendSubjects(dst))
}

// seal fills in the header of a file.
func seal(file []byte) []byte {
	copy(file, magic[:])
	binary.LittleEndian.PutUint32(file[len(magic):], crc32.Checksum(file[headerBytes:], castagnoli))
	return file
}

func (t *table) appendSubjects(dst []byte) []byte {
	some := false
	for _, subject := range t.subject {
		some = some || subject != 0
	}
	if !some {
		return append(dst, 0)
	}
	dst = append(dst, 1)
	for _, subject := range t.subject {
		dst = binary.LittleEndian.AppendUint64(dst, subject)
	}
	return dst
}

func (c *column) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.values)-1)) //nolint:gosec // the empty one is always there
	for _, value := range c.values[1:] {
		dst = binary.AppendUvarint(dst, uint64(len(value)))
		dst = append(dst, value...)
	}
	constant := true
	for _, code := range c.codes {
		constant = constant && code == c.codes[0]
	}
	switch {
	case constant:
		dst = append(dst, 0)
		if len(c.codes) == 0 {
			return append(dst, 0)
		}
		return binary.AppendUvarint(dst, uint64(c.codes[0]))
	case len(c.values) <= math.MaxUint8+1:
		dst = append(dst, 1)
		for _, code := range c.codes {
			dst = append(dst, byte(code)) //nolint:gosec // below the number of values
		}
	case len(c.values) <= math.MaxUint16+1:
		dst = append(dst, 2)
		for _, code := range c.codes {
			dst = binary.LittleEndian.AppendUint16(dst, uint16(code)) //nolint:gosec // below the number of values
		}
	default:
		dst = append(dst, 4)
		for _, code := range c.codes {
			dst = binary.LittleEndian.AppendUint32(dst, code)
		}
	}
	return dst
}

// decode reads a file. errOther says that it is not of this segment, errDamaged that it is not one of encode's.
func decode(file []byte, want binding) (*table, error) {
	if len(file) < headerBytes+bindingBytes || [8]byte(file) != magic {
		return nil, fmt.Errorf("%w: not an index of this version", errDamaged)
	}
	rest := file[headerBytes:]
	if binary.LittleEndian.Uint32(file[len(magic):]) != crc32.Checksum(rest, castagnoli) {
		return nil, fmt.Errorf("%w: the checksum is another", errDamaged)
	}
	if string(rest[:bindingBytes]) != string(want.append(nil)) {
		return nil, errOther
	}
	r := &reader{rest: rest[bindingBytes:]}
	t := &table{first: want.first}
	// A record takes at least 4 bytes of what is left, so a count that lies is found before memory is taken for it.
	if want.count < 0 || want.count > int64(len(r.rest)/4) {
		return nil, fmt.Errorf("%w: too short for its records", errDamaged)
	}
	n := int(want.count)
	for i := range t.columns {
		t.columns[i].read(r, n)
	}
	t.read(r, n)
	if r.bad || len(r.rest) > 0 {
		return nil, fmt.Errorf("%w: its columns do not fill it", errDamaged)
	}
	t.reasons = make([][]ReasonRef, len(t.columns[reasonsColumn].values))
	for i, code := range t.columns[reasonsColumn].values {
		if t.reasons[i] = decodeReasons([]byte(code)); t.reasons[i] == nil && code != "" {
			return nil, fmt.Errorf("%w: unreadable reasons", errDamaged)
		}
	}
	return t, nil
}

func (c *column) read(r *reader, n int) {
	values := r.uvarint()
	if values > uint64(len(r.rest)) { // each takes a byte at least
		r.bad = true
		return
	}
	c.values = make([]string, 1, values+1)
	for range values {
		c.values = append(c.values, r.text())
	}
	width := uint64(0)
	if b := r.bytes(1); b != nil {
		width = uint64(b[0])
	}
	if width == 0 {
		c.fill(r, n)
		return
	}
	codes := r.bytes(width * uint64(n)) //nolint:gosec // not negative
	if r.bad {
		return
	}
	c.codes = make([]uint32, n)
	switch width {
	case 1:
		for i := range c.codes {
			c.codes[i] = uint32(codes[i])
		}
	case 2:
		for i := range c.codes {
			c.codes[i] = uint32(binary.LittleEndian.Uint16(codes[2*i:]))
		}
	case 4:
		for i := range c.codes {
			c.codes[i] = binary.LittleEndian.Uint32(codes[4*i:])
		}
	default:
		r.bad = true
	}
	for _, code := range c.codes {
		r.bad = r.bad || uint64(code) > values
	}
}

// fill reads a column that says the same of every record.
func (c *column) fill(r *reader, n int) {
	code := r.uvarint()
	if r.bad || code >= uint64(len(c.values)) {
		r.bad = true
		return
	}
	c.codes = make([]uint32, n)
	for i := range c.codes {
		c.codes[i] = uint32(code) //nolint:gosec // below the number of values
	}
}

func (t *table) read(r *reader, n int) {
	t.times, t.lifetime, t.latency = make([]int64, n), make([]int64, n), make([]int64, n)
	t.ids, t.subject = make([]ulid.ULID, n), make([]uint64, n)
	at := int64(0)
	for i := range t.times {
		at += r.varint()
		t.times[i] = at
	}
	t.flags = r.bytes(uint64(n)) //nolint:gosec // not negative
	if r.bad {
		return
	}
	for i := range t.ids {
		if t.flags[i]&oddIDFlag != 0 {
			continue
		}
		ms := t.times[i]/1e6 + r.varint()
		entropy := r.bytes(10)
		if r.bad || ms < 0 || t.ids[i].SetTime(uint64(ms)) != nil || t.ids[i].SetEntropy(entropy) != nil {
			r.bad = true
			return
		}
	}
	for i := range t.times {
		t.lifetime[i] = r.varint()
		t.latency[i] = r.varint()
	}
	if some := r.bytes(1); some == nil || some[0] == 0 {
		return
	}
	subjects := r.bytes(8 * uint64(n)) //nolint:gosec // not negative
	for i := 0; i < n && !r.bad; i++ {
		t.subject[i] = binary.LittleEndian.Uint64(subjects[8*i:])
	}
}
