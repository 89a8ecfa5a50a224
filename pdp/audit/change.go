package audit

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// claimOf is the claim that an identifier of a kind is the value of, so that its pseudonym is that claim's in
// decisions; empty for kinds that tell of nobody and are written as they are.
func claimOf(kind string) string {
	switch kind {
	case "token":
		return "jti"
	case "subject":
		return "sub"
	case "session":
		return "sid"
	}
	return ""
}

// RecordChange implements pdp.ChangeRecorder. It answers once the record is where the log's mode wants it. The record names
// the request that ctx is of (pdp.OriginOf).
func (r *Recorder) RecordChange(ctx context.Context, c pdp.Change) error {
	e, _ := r.encoders.Get().(*encoder)
	defer r.release(e)
	e.change(r, &c, pdp.OriginOf(ctx))
	_, err := r.append(ctx, string(c.Kind), c.At, e)
	return err
}

// EncodeChange gives the record that RecordChange would append, for a process that is not the log's writer.
func (r *Recorder) EncodeChange(c pdp.Change) []byte {
	var e encoder
	e.change(r, &c, pdp.Origin{})
	return e.record
}

func (e *encoder) change(r *Recorder, c *pdp.Change, by pdp.Origin) {
	e.notes.reset()
	w := walk{pseudonyms: r.c.Pseudonyms, at: c.At, issuer: c.About.Issuer, notes: &e.notes, pointer: e.pointer[:0], named: true}
	dst := append(e.record[:0], r.prefix...)
	dst = appendString(dst, r.c.NewID(c.At))
	dst = appendTrace(dst, by.TraceID, by.SpanID)
	dst = append(dst, `,"path":"`+ChangePath+`","input":{"change":{"kind":`...)
	dst = appendString(dst, string(c.Kind))
	dst = w.target(dst, c)
	dst = w.about(dst, c)
	for _, member := range [...]struct{ name, value string }{{"reason", c.Reason}, {"ticket", c.Ticket}} {
		switch {
		case member.value == "":
		case free(member.value) && !mentions(member.value, c.About.Value):
			dst = appendMember(dst, member.name, member.value)
		default:
			e.notes.erase(append(append(w.pointer[:0], "/input/change/"...), member.name...), true)
		}
	}
	if len(c.Details) > 0 {
		dst = w.changeDetails(dst, c)
	}
	dst = e.notes.append(append(dst, "}}"...))
	dst = w.actor(dst, c)
	dst = appendTimestamp(append(dst, `,"timestamp":"`...), c.At)
	dst = appendString(append(dst, `","metrics":{},"custom":{"assay":{"kind":`...), string(c.Kind))
	if !mentions(by.RequestID, c.About.Value) { // the caller chose it
		dst = appendMember(dst, "request_id", by.RequestID)
	}
	dst = appendMember(dst, "caller_method", c.Actor.Method)
	dst = e.notes.appendCustom(dst)
	e.record = append(dst, "}}}"...)
	e.pointer = w.pointer
}

// actor names who did it. A caller who was refused may be anybody whom an issuer gave a token: not a service that the
// configuration names, so the subject is a pseudonym there. It is not listed as masked: OPA's pointers cannot reach it.
func (w *walk) actor(dst []byte, c *pdp.Change) []byte {
	issuer, subject, bearer := strings.Cut(c.Actor.Name, " ")
	if c.Kind != pdp.AccessRefused || !bearer {
		return appendMember(dst, "requested_by", c.Actor.Name)
	}
	p := w.pseudonyms.Pseudonym(c.At, "sub", issuer, subject)
	if p == "" {
		w.notes.withoutKey = true
		return appendMember(dst, "requested_by", issuer)
	}
	return appendMember(dst, "requested_by", issuer+" "+p)
}

// target writes what was changed. A revocation's key is a bare hash of what it is about, which anybody can make who
// guesses it, so it is written only where that itself may be.
func (w *walk) target(dst []byte, c *pdp.Change) []byte {
	w.pointer, w.kind = append(w.pointer[:0], "/input/change/target"...), append(w.kind[:0], "change.target"...)
	switch {
	case c.Target == "":
		return dst
	case c.Kind == pdp.TokenIssued: // it is the token's: the pseudonym of decisions about it
		w.kind = append(w.kind[:0], "jti"...)
	case claimOf(c.About.Kind) == "" && plain(c.Target, longestPlain, longestDigest):
		return appendMember(dst, "target", c.Target)
	}
	return w.member(dst, "target", c.Target)
}

// member writes a pseudonym as a member that begins with a comma, or nothing.
func (w *walk) member(dst []byte, name, value string) []byte {
	mark := len(dst)
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	dst, wrote, _ := w.pseudonym(dst, value) // cannot fail
	if !wrote {
		return dst[:mark]
	}
	return dst
}

func (w *walk) about(dst []byte, c *pdp.Change) []byte {
	a := &c.About
	if a.Kind == "" {
		return dst
	}
	dst = appendString(append(dst, `,"about":{"kind":`...), a.Kind)
	dst = appendMember(dst, "issuer", a.Issuer)
	claim := claimOf(a.Kind)
	switch {
	case a.Value == "":
	case claim == "" && plain(a.Value, longestPlain, longestDigest):
		dst = appendMember(dst, "value", a.Value)
	default:
		if claim == "" {
			claim = a.Kind
		}
		w.pointer, w.kind = append(w.pointer[:0], "/input/change/about/value"...), append(w.kind[:0], claim...)
		dst = w.member(dst, "value", a.Value)
	}
	return append(dst, '}')
}

// changeDetails writes numbers, booleans, and the texts that may be names or digests.
func (w *walk) changeDetails(dst []byte, c *pdp.Change) []byte {
	dst = append(dst, `,"details":{`...)
	start := len(dst)
	for _, name := range slices.Sorted(maps.Keys(c.Details)) {
		w.pointer = appendReference(append(w.pointer[:0], "/input/change/details/"...), name)
		mark := len(dst)
		dst = append(appendString(comma(dst, start), name), ':')
		wrote := true
		switch v := c.Details[name].(type) {
		case string:
			if wrote = v == "" || w.detail(v, c); wrote {
				dst = appendString(dst, v)
			}
		case []string:
			listed := slices.DeleteFunc(slices.Clone(v), func(s string) bool { return !w.detail(s, c) })
			w.notes.unnamed += len(v) - len(listed)
			dst = appendStrings(dst, listed)
		default: // of another type than details may have: a record without it is better than none
			var err error
			dst, err = appendScalar(dst, v)
			wrote = err == nil
		}
		if !wrote {
			dst = dst[:mark]
			w.notes.erase(w.pointer, plain(name, longestName, longestRun))
		}
	}
	return append(dst, '}')
}

func (w *walk) detail(s string, c *pdp.Change) bool {
	return plain(s, longestPlain, longestDigest) && (claimOf(c.About.Kind) == "" || !mentions(s, c.About.Value))
}

// mentions tells whether a text that a person wrote holds an identifier, in whichever case.
func mentions(text, identifier string) bool {
	return len(identifier) >= shortestLeak && strings.Contains(strings.ToLower(text), strings.ToLower(identifier))
}
