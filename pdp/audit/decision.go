package audit

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// encoder writes one record. It is reused: its buffers belong to one record at a time.
type encoder struct {
	record  []byte
	pointer []byte
	notes   notes
}

// verdictPart is the encoded part of a record that follows from the verdict of a token: reasons, obligations and what was
// released. It holds what it was made from, so that memory which is the same is the same verdict. Immutable.
type verdictPart struct {
	reasons []pdp.Reason
	claims  map[string]any
	omitted []string
	epoch   *tokenParts
	text    []byte
	notes   notes
}

// appendTimestamp writes RFC 3339 in UTC with nine digits of a second. Package time has a fast way for RFC3339, and for
// RFC3339Nano, which leaves zeros out; other layouts it interprets letter by letter.
func appendTimestamp(dst []byte, at time.Time) []byte {
	at = at.UTC()
	dst = at.AppendFormat(dst, time.RFC3339)
	dst[len(dst)-1] = '.' // over the Z
	for nanoseconds, unit := at.Nanosecond(), 100_000_000; unit > 0; unit /= 10 {
		dst = append(dst, byte('0'+nanoseconds/unit%10))
	}
	return append(dst, 'Z')
}

// decision writes the record of a decision. m is nil where masking failed.
func (e *encoder) decision(r *Recorder, f *pdp.Facts, d *pdp.Decision, m *Mask) error {
	outcome := MaskApplied
	if m == nil {
		m, outcome = &Mask{}, MaskFailed
	}
	e.notes.reset()
	parts, err := r.partsOf(f, m, d.EvaluatedAt)
	if err != nil {
		return err
	}
	e.notes.add(&parts.notes)
	dst := append(e.record[:0], r.prefix...)
	dst = appendString(dst, d.ID)
	dst = appendTrace(dst, f.Request.TraceID, f.Request.SpanID)
	dst = appendString(append(dst, `,"bundles":{"assay":{"revision":`...), d.PolicyRevision)
	dst = append(dst, `}},"path":"`+DecisionPath+`","input":{`...)
	dst = append(append(dst, parts.input...), `,"revocation":{"known":`...)
	dst = appendRevocation(dst, &f.Revocation)
	if dst, err = e.request(append(dst, `},"request":{`...), r.c.Pseudonyms, f.Request, parts.request, d.EvaluatedAt); err != nil {
		return err
	}
	dst = strconv.AppendInt(append(dst, `},"time":`...), f.Time, 10)
	dst = strconv.AppendBool(append(dst, `},"result":{"allow":`...), d.Allow)
	dst = e.verdict(dst, f, d, m, parts)
	dst = strconv.AppendInt(append(dst, `,"cache_for_seconds":`...), d.CacheForSeconds, 10)
	dst = appendMember(dst, "supersedes", d.Supersedes)
	dst = append(dst, '}')
	dst = e.notes.append(dst)
	dst = appendMember(dst, "requested_by", f.Request.Caller.Name)
	dst = appendTimestamp(append(dst, `,"timestamp":"`...), d.EvaluatedAt)
	dst = append(dst, `","metrics":{`...)
	if !f.Began.IsZero() {
		dst = strconv.AppendInt(append(dst, `"timer_server_handler_ns":`...), max(0, int64(r.c.Now().Sub(f.Began))), 10)
	}
	dst = append(dst, `},"custom":{"assay":{"kind":"`+KindDecision+`"`...)
	dst = appendMember(dst, "request_id", f.Request.ID)
	dst = appendMember(dst, "caller_method", f.Request.Caller.Method)
	dst = append(dst, parts.custom...)
	if len(d.Vetoes) > 0 {
		dst = appendStrings(append(dst, `,"floor":`...), d.Vetoes)
	}
	dst = appendMember(dst, "mask", outcome)
	if m.Revision != d.PolicyRevision {
		dst = appendMember(dst, "mask_revision", m.Revision)
	}
	dst = e.notes.appendCustom(dst)
	e.record = append(dst, "}}}"...)
	return nil
}

func appendTrace(dst []byte, traceID, spanID string) []byte {
	dst = appendMember(dst, "trace_id", traceID)
	return appendMember(dst, "span_id", spanID)
}

func appendRevocation(dst []byte, r *pdp.Revocation) []byte {
	dst = strconv.AppendBool(dst, r.Known)
	dst = appendMember(dst, "revoked", r.Revoked)
	if r.Known {
		dst = strconv.AppendInt(append(dst, `,"age_seconds":`...), r.AgeSeconds, 10)
	}
	return dst
}

// append writes what was kept back, as OPA does.
func (n *notes) append(dst []byte) []byte {
	if n.nErased > 0 {
		dst = append(append(append(dst, `,"erased":[`...), n.erased...), ']')
	}
	if n.nMasked > 0 {
		dst = append(append(append(dst, `,"masked":[`...), n.masked...), ']')
	}
	return dst
}

func (n *notes) appendCustom(dst []byte) []byte {
	if n.withoutKey {
		dst = append(dst, `,"pseudonyms":"`+PseudonymsUnavailable+`"`...)
	}
	if n.unnamed > 0 {
		dst = strconv.AppendInt(append(dst, `,"erased_unnamed":`...), int64(n.unnamed), 10)
	}
	if n.unsaid > 0 {
		dst = strconv.AppendInt(append(dst, `,"erased_unsaid":`...), int64(n.unsaid), 10)
	}
	return dst
}

// verdict writes the reasons, the obligations and the names of what was released.
func (e *encoder) verdict(dst []byte, f *pdp.Facts, d *pdp.Decision, m *Mask, parts *tokenParts) []byte {
	if m.Kept == nil {
		return e.appendVerdict(dst, f, d, m)
	}
	if v := m.Kept.verdict.Load(); v != nil && v.epoch == parts && same(v.reasons, d.Reasons) && same(v.omitted, d.Obligations.OmitClaims) &&
		reflect.ValueOf(v.claims).UnsafePointer() == reflect.ValueOf(d.Claims).UnsafePointer() {
		e.notes.add(&v.notes)
		return append(dst, v.text...)
	}
	alone := encoder{}
	v := &verdictPart{reasons: d.Reasons, claims: d.Claims, omitted: d.Obligations.OmitClaims, epoch: parts}
	v.text = alone.appendVerdict(nil, f, d, m)
	v.notes = alone.notes
	if v.notes.unsaid == 0 && v.notes.nErased == 0 { // what is erased may follow from this request
		m.Kept.verdict.Store(v)
	}
	e.notes.add(&v.notes)
	return append(dst, v.text...)
}

func (e *encoder) appendVerdict(dst []byte, f *pdp.Facts, d *pdp.Decision, m *Mask) []byte {
	t := &telling{f: f, words: d.Words, mask: m}
	dst = e.reasons(append(dst, `,"reasons":`...), t, d.Reasons)
	dst = append(dst, `,"obligations":{`...)
	if len(d.Obligations.OmitClaims) > 0 {
		omitted := slices.DeleteFunc(slices.Clone(d.Obligations.OmitClaims), func(name string) bool { return !t.mayHold(name) })
		e.notes.unsaid += len(d.Obligations.OmitClaims) - len(omitted)
		dst = append(e.names(append(dst, `"omit_claims":[`...), omitted), ']')
	}
	dst = append(dst, '}')
	if len(d.Claims) > 0 {
		dst = append(e.names(append(dst, `,"released":[`...), slices.Sorted(maps.Keys(d.Claims))), ']')
	}
	return dst
}

// names writes those names of claims that may be written.
func (e *encoder) names(dst []byte, names []string) []byte {
	start := len(dst)
	for _, name := range names {
		if !plain(name, longestPlain, longestRun) {
			e.notes.unnamed++
			continue
		}
		if len(dst) > start {
			dst = append(dst, ',')
		}
		dst = appendPlain(dst, name)
	}
	return dst
}

// request writes what the asking service said.
func (e *encoder) request(dst []byte, pseudonyms Pseudonyms, q *pdp.Request, named *paths, at time.Time) ([]byte, error) {
	tokenType := q.TokenType
	if tokenType == "" {
		tokenType = pdp.AccessToken
	}
	w := walk{pseudonyms: pseudonyms, at: at, notes: &e.notes, pointer: e.pointer[:0], named: true}
	start := len(dst)
	for _, member := range [...]struct{ name, value string }{
		{"audience", q.Audience}, {"token_type", string(tokenType)}, {"purpose", q.Purpose}, {"method", q.Method},
	} {
		if member.value == "" {
			continue
		}
		as := pseudonymised
		if plain(member.value, longestPlain, longestRun) && (member.name != "method" || methodLike(member.value)) {
			as = cleared
		}
		dst = w.requestText(dst, start, member.name, member.value, as)
	}
	for _, member := range [...]struct{ name, value string }{
		{"action", q.Action}, {"resource", q.Resource}, {"path", q.Path}, {"client_ip", q.ClientIP},
	} {
		if member.value != "" {
			dst = w.requestText(dst, start, member.name, member.value, named.at(member.name).under(named.as))
		}
	}
	var err error
	if q.Context != nil {
		mark := len(dst)
		dst = append(comma(dst, start), `"context":`...)
		w.pointer, w.kind = append(w.pointer[:0], "/input/request/context"...), append(w.kind[:0], "request.context"...)
		inner := named.at("context")
		var wrote bool
		if dst, wrote, err = w.value(dst, q.Context, inner, inner.under(named.as)); !wrote {
			dst = dst[:mark]
		}
	}
	if q.Caller.Name != "" {
		dst = appendString(append(comma(dst, start), `"caller":`...), q.Caller.Name)
	}
	if q.Caller.Method != "" {
		dst = appendString(append(comma(dst, start), `"caller_method":`...), q.Caller.Method)
	}
	e.pointer = w.pointer
	return dst, err
}

func comma(dst []byte, start int) []byte {
	if len(dst) > start {
		return append(dst, ',')
	}
	return dst
}

func (w *walk) requestText(dst []byte, start int, name, value string, as treatment) []byte {
	mark := len(dst)
	dst = append(append(append(comma(dst, start), '"'), name...), `":`...)
	w.pointer = append(append(w.pointer[:0], "/input/request/"...), name...)
	w.kind = append(append(w.kind[:0], "request."...), name...)
	wrote := false
	switch as {
	case cleared:
		return appendString(dst, value)
	case pseudonymised:
		dst, wrote, _ = w.pseudonym(dst, value) // cannot fail
	case erased:
		w.notes.erase(w.pointer, true)
	}
	if !wrote {
		return dst[:mark]
	}
	return dst
}
