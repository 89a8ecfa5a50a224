package revocation

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
)

// message is an entry as it stands in the stream: JSON, so that an operator can read it with NATS's own tools. A
// member that this version does not know is refused: it might narrow or widen what is revoked.
type message struct {
	Version      int    `json:"v"`
	Removed      bool   `json:"removed,omitzero"`
	Kind         Kind   `json:"kind"`
	Issuer       string `json:"issuer"`
	Value        string `json:"value,omitzero"`
	IssuedBefore int64  `json:"issued_before,omitzero"`
	Ends         int64  `json:"ends"`
	Reason       string `json:"reason,omitzero"`
	Actor        string `json:"actor,omitzero"`
	Ticket       string `json:"ticket,omitzero"`
	CreatedAt    int64  `json:"created_at"`
}

const messageVersion = 1

func encode(e *Entry, removed bool) ([]byte, error) {
	return json.Marshal(&message{
		Version: messageVersion, Removed: removed, Kind: e.Kind, Issuer: e.Issuer, Value: e.Value,
		IssuedBefore: ceilSecond(e.IssuedBefore), Ends: ceilSecond(e.Ends),
		Reason: e.Reason, Actor: e.Actor, Ticket: e.Ticket, CreatedAt: e.CreatedAt.Unix(),
	}, json.Deterministic(true))
}

// decode reads an entry from the stream. Whoever may write to the stream wrote it, which need not be an Assay.
func decode(data []byte, sequence uint64, at time.Time) (Event, error) {
	var m message
	if err := json.Unmarshal(data, &m, json.RejectUnknownMembers(true)); err != nil {
		return Event{}, errors.New("it is not the JSON of an entry") // err may quote what is revoked
	}
	if m.Version != messageVersion {
		return Event{}, fmt.Errorf("it has version %d; this program knows %d", m.Version, messageVersion)
	}
	e := Event{Sequence: sequence, At: at, Removed: m.Removed, Entry: Entry{
		Kind: m.Kind, Issuer: m.Issuer, Value: m.Value, IssuedBefore: second(m.IssuedBefore), Ends: second(m.Ends),
		Reason: m.Reason, Actor: m.Actor, Ticket: m.Ticket, CreatedAt: second(m.CreatedAt),
	}}
	// An entry that has ended is not wrong here: it is on its way out of the stream.
	if err := e.Entry.Check(time.Unix(0, 0)); err != nil {
		return Event{}, err
	}
	return e, nil
}

// second is the time of a Unix second; the zero time for 0.
func second(s int64) time.Time {
	if s == 0 {
		return time.Time{}
	}
	return time.Unix(s, 0)
}

// A heartbeat is the name of the process that sent it and a number.
func encodeBeat(process string, number uint64) []byte {
	return strconv.AppendUint([]byte(process+" "), number, 10)
}

func decodeBeat(data []byte, process string) (number uint64, own bool) {
	from, text, ok := bytes.Cut(data, []byte(" "))
	if !ok || string(from) != process {
		return 0, false
	}
	number, err := strconv.ParseUint(string(text), 10, 64)
	return number, err == nil
}
