package index

import (
	"encoding/binary"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/assaypdp/assay/pdp/audit"
)

// The columns whose values are taken from a dictionary, in the order in which they stand in a file.
const (
	kindColumn = iota
	statusColumn
	issuerColumn
	clientColumn
	audienceColumn
	tokenTypeColumn
	callerColumn
	algColumn
	keyColumn
	revisionColumn
	oddIDColumn // decision ids that are no ULID in its one spelling; they are nothing otherwise
	reasonsColumn
	dictionaryColumns
)

// The bits of the flags column.
const (
	allowFlag = 1 << iota
	supersededFlag
	maskFailedFlag
	oddIDFlag
)

// table holds the rows of consecutive records, by column. It is built by one goroutine and then only read.
type table struct {
	first int64
	// columns has the dictionary-coded ones; the value of a record's reasons is encoded by appendReasons.
	columns  [dictionaryColumns]column
	times    []int64 // nanoseconds since the epoch
	ids      []ulid.ULID
	flags    []byte
	lifetime []int64 // seconds
	latency  []int64 // nanoseconds
	subject  []uint64
	// reasons are the values of reasonsColumn, decoded.
	reasons [][]ReasonRef

	fields fields // of the record that is being added
	code   []byte
}

// column is one member of all records: what it says of each is a place in values. values[0] is always empty.
type column struct {
	values []string
	codes  []uint32
	places map[string]uint32 // nil in a table that was read from a file
}

func newTable(first int64) *table {
	t := &table{first: first}
	for i := range t.columns {
		t.columns[i] = column{values: []string{""}, places: map[string]uint32{"": 0}}
	}
	t.reasons = [][]ReasonRef{nil}
	return t
}

func (t *table) count() int { return len(t.times) }

// put adds a value and says whether its dictionary did not have it.
func (c *column) put(value []byte) bool {
	place, known := c.places[string(value)]
	if !known {
		place = uint32(len(c.values)) //nolint:gosec // a segment has far fewer records
		text := string(value)
		c.values, c.places[text] = append(c.values, text), place
	}
	c.codes = append(c.codes, place)
	return !known
}

func (c *column) at(i int) string { return c.values[c.codes[i]] }

// add adds the next record.
func (t *table) add(record []byte) {
	f := &t.fields
	if !f.scanned(record) {
		if event, err := audit.Decode(record); err == nil {
			f.decoded(event)
		} else {
			*f = fields{kind: []byte(KindUnreadable)}
		}
	}
	for i, value := range [...][]byte{
		kindColumn: f.kind, statusColumn: f.status, issuerColumn: f.issuer, clientColumn: f.client,
		audienceColumn: f.audience, tokenTypeColumn: f.tokenType, callerColumn: f.caller, algColumn: f.alg,
		keyColumn: f.key, revisionColumn: f.revision,
	} {
		t.columns[i].put(value)
	}
	flags := flag(allowFlag, f.allow) | flag(supersededFlag, f.superseded) | flag(maskFailedFlag, f.maskFailed)
	var id ulid.ULID
	odd := f.decisionID
	if id.UnmarshalText(f.decisionID) == nil && id.String() == string(f.decisionID) {
		odd = nil
	} else {
		id, flags = ulid.ULID{}, flags|oddIDFlag
	}
	t.columns[oddIDColumn].put(odd)
	t.code = appendReasons(t.code[:0], f.reasons)
	if t.columns[reasonsColumn].put(t.code) {
		t.reasons = append(t.reasons, decodeReasons(t.code))
	}
	t.ids = append(t.ids, id)
	t.flags = append(t.flags, flags)
	t.times = append(t.times, f.time)
	t.lifetime = append(t.lifetime, f.lifetime)
	t.latency = append(t.latency, f.latency)
	t.subject = append(t.subject, subjectHash(f.subject))
}

func flag(bit byte, set bool) byte {
	if set {
		return bit
	}
	return 0
}

// row makes the row of the i-th record.
func (t *table) row(i int) Row {
	flags := t.flags[i]
	row := Row{
		Index: t.first + int64(i), Time: timeOf(t.times[i]),
		Kind: t.columns[kindColumn].at(i), Status: t.columns[statusColumn].at(i),
		Issuer: t.columns[issuerColumn].at(i), Client: t.columns[clientColumn].at(i),
		Audience: t.columns[audienceColumn].at(i), TokenType: t.columns[tokenTypeColumn].at(i),
		Caller: t.columns[callerColumn].at(i), Alg: t.columns[algColumn].at(i), Key: t.columns[keyColumn].at(i),
		Revision: t.columns[revisionColumn].at(i), DecisionID: t.columns[oddIDColumn].at(i),
		Lifetime: t.lifetime[i], Latency: time.Duration(t.latency[i]),
		Allow: flags&allowFlag != 0, Superseded: flags&supersededFlag != 0, MaskFailed: flags&maskFailedFlag != 0,
		Reasons: t.reasons[t.columns[reasonsColumn].codes[i]],
	}
	if flags&oddIDFlag == 0 {
		row.DecisionID = t.ids[i].String()
	}
	for _, reason := range row.Reasons {
		row.Waived = row.Waived || reason.Enforcement == "waived"
	}
	return row
}

func timeOf(nanoseconds int64) time.Time {
	if nanoseconds == 0 {
		return time.Time{}
	}
	return time.Unix(0, nanoseconds).UTC()
}

// appendReasons encodes a list of reasons: for each its four texts, every one after its length.
func appendReasons(dst []byte, reasons []reasonFields) []byte {
	for _, r := range reasons {
		for _, text := range [...][]byte{r.code, r.enforcement, r.severity, r.controls} {
			dst = binary.AppendUvarint(dst, uint64(len(text)))
			dst = append(dst, text...)
		}
	}
	return dst
}

// decodeReasons is the reverse; nil where the code is not one of appendReasons, or of no reasons.
func decodeReasons(code []byte) []ReasonRef {
	var reasons []ReasonRef
	r := reader{rest: code}
	for len(r.rest) > 0 {
		reasons = append(reasons, ReasonRef{Code: r.text(), Enforcement: r.text(), Severity: r.text(), Controls: r.text()})
		if r.bad {
			return nil
		}
	}
	return reasons
}

// reader takes a file's bytes apart. What is not there sets bad.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) uvarint() uint64 {
	n, length := binary.Uvarint(r.rest)
	if length <= 0 {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[length:]
	return n
}

func (r *reader) varint() int64 {
	n, length := binary.Varint(r.rest)
	if length <= 0 {
		r.rest, r.bad = nil, true
		return 0
	}
	r.rest = r.rest[length:]
	return n
}

func (r *reader) bytes(n uint64) []byte {
	if n > uint64(len(r.rest)) || n > math.MaxInt32 {
		r.rest, r.bad = nil, true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) text() string { return string(r.bytes(r.uvarint())) }

// clone copies a table, so that the copy can grow while others read this one.
func (t *table) clone() *table {
	c := &table{
		first: t.first, times: slices.Clone(t.times), ids: slices.Clone(t.ids), flags: slices.Clone(t.flags),
		lifetime: slices.Clone(t.lifetime), latency: slices.Clone(t.latency), subject: slices.Clone(t.subject),
		reasons: slices.Clone(t.reasons),
	}
	for i, from := range t.columns {
		c.columns[i] = column{values: slices.Clone(from.values), codes: slices.Clone(from.codes), places: maps.Clone(from.places)}
	}
	return c
}
