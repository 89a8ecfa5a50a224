package index

import (
	"hash/fnv"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp/audit"
	"github.com/assaypdp/assay/pdp/audit/ledger"
)

// KindUnreadable is the Kind of a record that is no event of Assay's; it has an index and no more.
const KindUnreadable = "unreadable"

// RowOf gives the row of a record.
func RowOf(record ledger.Record) Row {
	row, _ := rowOf(record)
	return row
}

// rowOf also gives the hash of the subject.
func rowOf(record ledger.Record) (Row, uint64) {
	t := newTable(record.Index)
	t.add(record.Event)
	return t.row(0), t.subject[0]
}

// fields are those members of a record that the index keeps. What they hold may be a part of the record's text.
type fields struct {
	time                                                 int64 // nanoseconds since the epoch, 0 if there is none
	kind, status, issuer, client, audience, tokenType    []byte
	caller, alg, key, revision, decisionID, subject, azp []byte
	about, aboutValue                                    []byte
	reasons                                              []reasonFields
	controls                                             []byte // of all reasons, one after the other
	lifetime, latency                                    int64
	allow, superseded, maskFailed                        bool
}

type reasonFields struct{ code, enforcement, severity, controls []byte }

// decoded is what fields hold of an event: the definition of a row. scanned must say the same of the same record;
// it only is faster.
func (f *fields) decoded(e *audit.Event) {
	*f = fields{reasons: f.reasons[:0], controls: f.controls[:0]}
	f.time = nanoseconds(e.Timestamp)
	f.kind, f.decisionID, f.caller, f.revision = []byte(e.Custom.Assay.Kind), []byte(e.DecisionID), []byte(e.RequestedBy), []byte(e.Revision())
	f.maskFailed, f.latency = e.Custom.Assay.Mask == audit.MaskFailed, e.Metrics.HandlerNS
	if e.Custom.Assay.LifetimeSeconds != nil {
		f.lifetime = *e.Custom.Assay.LifetimeSeconds
	}
	if e.Input.Token != nil {
		f.alg = []byte(e.Input.Token.Algorithm)
		f.client, f.azp, f.subject = claim(e, "client_id"), claim(e, "azp"), claim(e, "sub")
	}
	if e.Input.Verification != nil {
		f.status, f.issuer = []byte(e.Input.Verification.Status), []byte(e.Input.Verification.Issuer)
		if key := e.Input.Verification.Key; key != nil {
			f.key = []byte(key.Thumbprint)
		}
	}
	if e.Input.Request != nil {
		f.audience, f.tokenType = []byte(e.Input.Request.Audience), []byte(e.Input.Request.TokenType)
	}
	if c := e.Input.Change; c != nil && c.About != nil {
		f.about, f.aboutValue, f.issuer = []byte(c.About.Kind), []byte(c.About.Value), []byte(c.About.Issuer)
	}
	if e.Result != nil {
		f.allow, f.superseded = e.Result.Allow, e.Result.Supersedes != ""
		for _, r := range e.Result.Reasons {
			f.reasons = append(f.reasons, reasonFields{
				code: []byte(r.Code), enforcement: []byte(r.Enforcement), severity: []byte(r.Severity),
				controls: []byte(strings.Join(r.Controls, " ")),
			})
		}
	}
	f.settle()
}

func claim(e *audit.Event, name string) []byte {
	text, _ := e.Input.Token.Claims[name].(string)
	return []byte(text)
}

// settle works out what follows from more than one member.
func (f *fields) settle() {
	if len(f.client) == 0 {
		f.client = f.azp
	}
	switch string(f.about) {
	case "client":
		f.client = f.aboutValue
	case "key":
		f.key = f.aboutValue
	case "subject":
		f.subject = f.aboutValue
	}
}

// scanned fills in the fields from a record's text, and says whether it could.
func (f *fields) scanned(record []byte) bool {
	*f = fields{reasons: f.reasons[:0], controls: f.controls[:0]}
	s := scanner{text: record}
	s.object(func(name []byte) {
		switch string(name) {
		case "decision_id":
			f.decisionID = s.textOrNull()
		case "timestamp":
			f.timestamp(&s)
		case "requested_by":
			f.caller = s.textOrNull()
		case "bundles":
			f.bundles(&s)
		case "input":
			f.input(&s)
		case "result":
			f.result(&s)
		case "metrics":
			s.object(func(name []byte) {
				if string(name) == "timer_server_handler_ns" {
					f.latency = s.integer()
				} else {
					s.skip()
				}
			})
		case "custom":
			f.custom(&s)
		default:
			s.skip()
		}
	})
	f.settle()
	return !s.bad && len(f.kind) > 0
}

// textOrNull steps over a string, or over null, which says nothing.
func (s *scanner) textOrNull() []byte {
	if s.null() {
		return nil
	}
	return s.string()
}

func (f *fields) timestamp(s *scanner) {
	text := s.textOrNull()
	if s.bad || text == nil {
		return
	}
	at, err := time.Parse(time.RFC3339Nano, string(text))
	if err != nil {
		s.bad = true
		return
	}
	f.time = nanoseconds(at)
}

// nanoseconds since the epoch; 0 for what 64 bits of them do not reach, year 1 among it.
func nanoseconds(at time.Time) int64 {
	if at.Year() < 1970 || at.Year() > 2200 {
		return 0
	}
	return at.UnixNano()
}

func (f *fields) bundles(s *scanner) {
	s.object(func(bundle []byte) {
		assay := string(bundle) == "assay"
		s.object(func(name []byte) {
			if assay && string(name) == "revision" {
				f.revision = s.textOrNull()
			} else {
				s.skip()
			}
		})
	})
}

func (f *fields) custom(s *scanner) {
	s.object(func(name []byte) {
		if string(name) != "assay" {
			s.skip()
			return
		}
		s.object(func(name []byte) {
			switch string(name) {
			case "kind":
				f.kind = s.textOrNull()
			case "lifetime_seconds":
				f.lifetime = s.integer()
			case "mask":
				f.maskFailed = string(s.textOrNull()) == audit.MaskFailed
			default:
				s.skip()
			}
		})
	})
}

// subjectHash is what the index keeps of a subject's pseudonym: enough to find its records, too little to be one. Zero
// is nobody.
func subjectHash(subject []byte) uint64 {
	if len(subject) == 0 {
		return 0
	}
	h := fnv.New64a()
	_, _ = h.Write(subject) // a hash takes everything
	return max(h.Sum64(), 1)
}
