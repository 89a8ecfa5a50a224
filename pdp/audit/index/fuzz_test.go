package index

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/assaypdp/assay/pdp/audit"
)

// said writes fields as text, so that nil and empty are the same.
func (f *fields) said() string {
	text := fmt.Sprintf("%d %q %q %q %q %q %q %q %q %q %q %q %q %d %d %t %t %t", f.time, f.kind, f.status, f.issuer, f.client, f.audience,
		f.tokenType, f.caller, f.alg, f.key, f.revision, f.decisionID, f.subject, f.lifetime, f.latency, f.allow, f.superseded, f.maskFailed)
	for _, r := range f.reasons {
		text += fmt.Sprintf(" %q %q %q %q", r.code, r.enforcement, r.severity, r.controls)
	}
	return text
}

// agree fails unless the scanner says of a record what decoding it in full says.
func agree(t *testing.T, record []byte) {
	t.Helper()
	event, err := audit.Decode(record)
	if err != nil {
		t.Fatal(err)
	}
	var whole, fast fields
	whole.decoded(event)
	if !fast.scanned(record) {
		t.Fatalf("the scanner gave up on %s", record)
	}
	if whole.said() != fast.said() {
		t.Errorf("scanned %s\ndecoded %s\nof %s", fast.said(), whole.said(), record)
	}
}

// shuffled gives the same JSON with the members of its objects in another order, unknown ones among them, and blanks.
func shuffled(random *rand.Rand, within string, value jsontext.Value) []byte {
	switch value.Kind() {
	case '{':
		var members map[string]jsontext.Value
		if err := json.Unmarshal(value, &members); err != nil {
			panic(err)
		}
		out := []byte("{ ")
		for name, member := range members { // the order of a map is any
			quoted, err := jsontext.AppendQuote(nil, name)
			if err != nil {
				panic(err)
			}
			out = append(append(append(append(out, quoted...), " : "...), shuffled(random, name, member)...), " ,\n"...)
		}
		if within == "labels" || within == "bundles" { // whose members are all known to be texts and bundles
			return append(bytes.TrimSuffix(out, []byte(",\n")), '}')
		}
		return append(out, fmt.Sprintf("%q:[null,{\"}\":\"\\\"]\"}, -1.5e3] }", fmt.Sprint("unknown ", random.Uint32()))...)
	case '[':
		var elements []jsontext.Value
		if err := json.Unmarshal(value, &elements); err != nil {
			panic(err)
		}
		for i := range elements {
			elements[i] = shuffled(random, within, elements[i])
		}
		text, err := json.Marshal(elements)
		if err != nil {
			panic(err)
		}
		return text
	}
	return value
}

func TestScannerAgreesWithTheDecoder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 500 {
		record := encodeEvent(t, randomEvent(random, i))
		agree(t, record)
		agree(t, shuffled(random, "", record))
	}
	agree(t, []byte(`{"path":"x","bundles":null,"input":null,"result":null,"metrics":{},"requested_by":null,"custom":{"assay":{"kind":"k","lifetime_seconds":null}}}`))
	agree(t, []byte(`{"path":"x","input":{"verification":{"key":null}},"custom":{"assay":{"kind":"k"}}}`))
	agree(t, []byte(`{"path":"x","input":{"verification":{"key":{"kid":"a","thumbprint":null}}},"custom":{"assay":{"kind":"k"}}}`))
	agree(t, []byte(`{"path":"x","custom":{"assay":{"kind":"k"}},"input":{"token":{"claims":{"sub":["a"],"azp":1,"client_id":{"a":"b"}}}},"result":{"reasons":[{}]}}`))
}

// What the scanner is unsure of is decoded in full, and what is no event at all has a row too.
func TestRecordsThatAreNoneHaveARow(t *testing.T) {
	for record, want := range map[string]string{
		``: KindUnreadable, `null`: KindUnreadable, `{}`: KindUnreadable, `{"custom":{"assay":{"kind":`: KindUnreadable, "{\"\\": KindUnreadable,
		`{"path":"x","timestamp":"yesterday","custom":{"assay":{"kind":"k"}}}`:                                   KindUnreadable,
		`{"path":"x","metrics":{"timer_server_handler_ns":9223372036854775807},"custom":{"assay":{"kind":"k"}}}`: "k",
	} {
		table := newTable(5)
		table.add([]byte(record))
		if row := table.row(0); row.Kind != want || row.Index != 5 {
			t.Errorf("%s: %+v, want kind %q", record, row, want)
		}
	}
}

func FuzzScanner(f *testing.F) {
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 20 {
		f.Add(encodeEvent(f, randomEvent(random, i)))
	}
	f.Add([]byte(`{"a":"\`))
	f.Fuzz(func(t *testing.T, record []byte) {
		var fast fields
		if !fast.scanned(record) {
			return
		}
		// Where the strict reader of JSON finds nothing wrong, and no name that the decoder would take for another, both
		// must agree; elsewhere it is enough that nothing breaks.
		event, err := audit.Decode(record)
		if err != nil || !jsontext.Value(record).IsValid() || !bytes.Equal(record, bytes.ToLower(record)) {
			return
		}
		var whole fields
		if whole.decoded(event); whole.said() != fast.said() {
			t.Errorf("scanned %s\ndecoded %s", fast.said(), whole.said())
		}
	})
}

func FuzzDecode(f *testing.F) {
	random := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 300} {
		table := newTable(0)
		for i := range n {
			table.add(encodeEvent(f, randomEvent(random, i)))
		}
		f.Add(table.encode(binding{count: int64(n)})[headerBytes+bindingBytes:], uint16(n))
	}
	f.Fuzz(func(t *testing.T, columns []byte, n uint16) {
		// A checksum that fits, so that what is behind it is reached.
		bound := binding{count: int64(n), seal: [32]byte{1}}
		file := seal(append(bound.append(make([]byte, headerBytes)), columns...))
		table, err := decode(file, bound)
		if err != nil {
			if !errors.Is(err, errDamaged) {
				t.Errorf("%v, want %v", err, errDamaged)
			}
			return
		}
		if table.count() != int(n) {
			t.Fatalf("%d rows, want %d", table.count(), n)
		}
		for i := range table.count() { // none of which may panic
			table.row(i)
		}
		again, err := decode(table.encode(bound), bound)
		if err != nil {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
		for i := range table.count() {
			if fmt.Sprint(table.row(i)) != fmt.Sprint(again.row(i)) {
				t.Errorf("row %d is another after writing it", i)
			}
		}
		if _, err := decode(file, binding{count: int64(n)}); !errors.Is(err, errOther) {
			t.Errorf("an index of another segment: %v", err)
		}
	})
}

// Any altered or missing byte is noticed.
func TestEveryDamageIsFound(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 10))
	table := newTable(0)
	for i := range 40 {
		table.add(encodeEvent(t, randomEvent(random, i)))
	}
	bound := binding{count: 40}
	file := table.encode(bound)
	if _, err := decode(file, bound); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		if _, err := decode(file[:i], bound); err == nil {
			t.Errorf("cut off at %d: not found", i)
		}
		harmed := bytes.Clone(file)
		harmed[i] ^= 1 << random.IntN(8)
		if _, err := decode(harmed, bound); err == nil {
			t.Errorf("byte %d altered: not found", i)
		}
	}
}
