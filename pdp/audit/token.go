package audit

import (
	"strconv"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// tokenParts is the encoded part of a record that follows from a token, its verification and a mask. It is immutable.
type tokenParts struct {
	of    *pdp.Token
	found *pdp.Verification
	// epoch is Pseudonyms.Epoch as of when it was encoded; empty where there was no key.
	epoch string

	input  []byte // "token":{…},"verification":{…}
	custom []byte // ,"lifetime_seconds":…
	notes  notes

	request *paths // of the mask, below input.request
}

// partsOf gives the token's part, kept where the mask allows and nothing of it changed.
func (r *Recorder) partsOf(f *pdp.Facts, m *Mask, at time.Time) (*tokenParts, error) {
	epoch := r.c.Pseudonyms.Epoch(at)
	if m.Kept != nil {
		if p := m.Kept.parts.Load(); p != nil && p.of == f.Token && p.found == f.Verification && p.epoch == epoch {
			return p, nil
		}
	}
	p := &tokenParts{of: f.Token, found: f.Verification, epoch: epoch, request: newPaths(m.ClearRequest, m.PseudonymiseRequest)}
	if err := p.encode(r.c.Pseudonyms, m, at); err != nil {
		return nil, err
	}
	if m.Kept != nil && (epoch == "" || !p.notes.withoutKey) {
		m.Kept.parts.Store(p)
	}
	return p, nil
}

func (p *tokenParts) encode(pseudonyms Pseudonyms, m *Mask, at time.Time) error {
	w := &walk{pseudonyms: pseudonyms, at: at, notes: &p.notes, named: true}
	var named *paths
	if p.found.Verified() {
		w.issuer = p.found.Trust.Issuer.ID
		named = newPaths(m.Clear, m.Pseudonymise)
	}
	if err := p.encodeInput(w, named); err != nil {
		return err
	}
	p.encodeCustom()
	return nil
}

// appendHeader writes the texts of the token's header that may be written, as members that begin with a comma. Whoever made
// the token chose them, so only what Assay knows is written as it is.
func (p *tokenParts) appendHeader(dst []byte, w *walk) []byte {
	h := &p.of.Header
	for _, m := range [...]struct {
		name, value string
		plain       bool
	}{
		{"alg", h.Algorithm, known(knownAlgorithms, h.Algorithm)},
		{"enc", h.Encryption, known(knownEncryptions, h.Encryption)},
		{"kid", h.KeyID, p.knownKey(h.KeyID)},
		{"typ", h.Type, known(knownTypes, h.Type)},
		{"cty", h.ContentType, known(knownTypes, h.ContentType)},
	} {
		if m.value == "" {
			continue
		}
		if m.plain {
			dst = appendMember(dst, m.name, m.value)
			continue
		}
		w.pointer, w.kind = append(w.pointer[:0], "/input/token/"+m.name...), append(w.kind[:0], "header."+m.name...)
		dst = w.member(dst, m.name, m.value)
	}
	return dst
}

// knownKey tells whether a kid is that of one of the keys of the token's issuer.
func (p *tokenParts) knownKey(kid string) bool {
	if p.found.Trust == nil || kid == "" {
		return false
	}
	_, known := p.found.Trust.KeyByID(kid)
	return known || p.found.Key != nil && p.found.Key.ID == kid
}

// appendID writes the identifier of a verified token, where it may be written.
func (p *tokenParts) appendID(dst []byte, w *walk, named *paths) []byte {
	switch {
	case !p.found.Verified() || p.of.ID == "":
		return dst
	case named.at("jti").under(erased) == cleared:
		return appendMember(dst, "id", p.of.ID)
	}
	w.pointer, w.kind = append(w.pointer[:0], "/input/token/id"...), append(w.kind[:0], "jti"...)
	return w.member(dst, "id", p.of.ID)
}

func (p *tokenParts) encodeInput(w *walk, named *paths) error {
	t, v := p.of, p.found
	dst := append(make([]byte, 0, 1024), `"token":{"size":`...)
	dst = strconv.AppendInt(dst, int64(t.Size), 10)
	dst = appendMember(dst, "kind", t.Kind)
	dst = p.appendHeader(dst, w)
	if len(t.Header.KeyReferences) > 0 {
		dst = appendStrings(append(dst, `,"key_references":`...), t.Header.KeyReferences)
	}
	dst = p.appendID(dst, w, named)
	if v.Encrypted {
		dst = append(dst, `,"encrypted":true`...)
	}
	if v.Verified() {
		dst = append(dst, `,"claims":`...)
		w.pointer, w.kind = append(w.pointer[:0], "/input/token/claims"...), w.kind[:0]
		var err error
		if dst, err = w.object(dst, t.Claims, named, named.as); err != nil {
			return err
		}
	}
	dst = append(dst, `},"verification":{"status":`...)
	dst = appendString(dst, string(v.Status))
	if v.Reason != nil {
		dst = appendMember(dst, "code", v.Reason.Code)
	}
	if v.Verified() {
		dst = appendMember(dst, "issuer", v.Trust.Issuer.ID)
		dst = appendMember(dst, "alg", v.Algorithm)
		dst = appendKey(append(dst, `,"key":`...), v.Key)
	}
	p.input = append(dst, '}')
	return nil
}

func appendKey(dst []byte, k *pdp.Key) []byte {
	dst = appendString(append(dst, `{"thumbprint":`...), k.Thumbprint)
	dst = appendMember(dst, "kid", k.ID)
	dst = appendMember(dst, "kty", k.Type())
	dst = appendMember(dst, "crv", k.Curve())
	dst = strconv.AppendInt(append(dst, `,"bits":`...), int64(k.Bits()), 10)
	if !k.Created.IsZero() {
		dst = strconv.AppendInt(append(dst, `,"created":`...), k.Created.Unix(), 10)
	}
	dst = appendMember(dst, "alg", k.Algorithm)
	return append(dst, '}')
}

func appendMember(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return appendString(dst, value)
}

func (p *tokenParts) encodeCustom() {
	t, v := p.of, p.found
	if !v.Verified() {
		return
	}
	if t.ExpiresAt != nil && t.IssuedAt != nil {
		p.custom = strconv.AppendInt(append(p.custom, `,"lifetime_seconds":`...), t.ExpiresAt.Floor()-t.IssuedAt.Floor(), 10)
	}
}
