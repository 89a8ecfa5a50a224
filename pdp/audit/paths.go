package audit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// mostListed is how many pointers a record lists as erased, and as masked; further ones are counted.
const mostListed = 64

// treatment is what becomes of a value. A stricter one below a milder one counts, but erased is where all begins.
type treatment uint8

const (
	erased treatment = iota
	cleared
	pseudonymised
)

// paths is the tree of the paths that a mask names.
type paths struct {
	as    treatment
	below map[string]*paths
}

func newPaths(clear, pseudonymise [][]string) *paths {
	root := &paths{}
	for _, path := range clear {
		root.add(path, cleared)
	}
	for _, path := range pseudonymise {
		root.add(path, pseudonymised)
	}
	return root
}

func (p *paths) add(path []string, as treatment) {
	for _, name := range path {
		if p.below == nil {
			p.below = make(map[string]*paths)
		}
		next := p.below[name]
		if next == nil {
			next = &paths{}
			p.below[name] = next
		}
		p = next
	}
	p.as = max(p.as, as)
}

func (p *paths) at(name string) *paths {
	if p == nil {
		return nil
	}
	return p.below[name]
}

// under is the treatment of what p stands for where all around it is treated so.
func (p *paths) under(around treatment) treatment {
	if p == nil {
		return around
	}
	return max(around, p.as)
}

// notes collects what was kept back while a record is written: JSON text of the pointers, with commas between.
type notes struct {
	erased, masked   []byte
	nErased, nMasked int
	unnamed          int
	unsaid           int  // of the verdict
	withoutKey       bool // a pseudonym was wanted and there was no key
}

func (n *notes) reset() {
	*n = notes{erased: n.erased[:0], masked: n.masked[:0]}
}

// add joins what is kept of a token's part.
func (n *notes) add(o *notes) {
	if o.nErased > 0 {
		if n.nErased > 0 {
			n.erased = append(n.erased, ',')
		}
		n.erased = append(n.erased, o.erased...)
	}
	if o.nMasked > 0 {
		if n.nMasked > 0 {
			n.masked = append(n.masked, ',')
		}
		n.masked = append(n.masked, o.masked...)
	}
	n.nErased += o.nErased
	n.nMasked += o.nMasked
	n.unnamed += o.unnamed
	n.unsaid += o.unsaid
	n.withoutKey = n.withoutKey || o.withoutKey
}

// erase notes that what pointer, JSON text without quotes, points at is not written.
func (n *notes) erase(pointer []byte, named bool) {
	if !named || n.nErased >= mostListed {
		n.unnamed++
		return
	}
	if n.nErased > 0 {
		n.erased = append(n.erased, ',')
	}
	n.erased = append(append(append(n.erased, '"'), pointer...), '"')
	n.nErased++
}

func (n *notes) mask(pointer []byte, named bool) {
	if !named || n.nMasked >= mostListed {
		n.unnamed++
		return
	}
	if n.nMasked > 0 {
		n.masked = append(n.masked, ',')
	}
	n.masked = append(append(append(n.masked, '"'), pointer...), '"')
	n.nMasked++
}

// walk writes the part of a tree that may be written.
type walk struct {
	pseudonyms Pseudonyms
	at         time.Time
	issuer     string
	notes      *notes
	// pointer is where the walk is, and named whether every name on the way may be written.
	pointer []byte
	named   bool
	// kind is the path with dots, that pseudonyms are made for.
	kind []byte
}

// object writes the members of an object that may be written, with the braces, in order of their names. A member whose
// name may not be written is not written either, unless it is cleared: that clears its name too. Within an object that is
// pseudonymised names may be those of persons, such as of a group's members, so only those that the mask names are written.
func (w *walk) object(dst []byte, object map[string]any, p *paths, around treatment) ([]byte, error) {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names)
	dst = append(dst, '{')
	start := len(dst)
	for _, name := range names {
		mark := len(dst)
		if mark > start {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, name), ':')
		pointer, kind, named := len(w.pointer), len(w.kind), w.named
		w.named = named && plain(name, longestName, longestRun)
		w.pointer = appendReference(append(w.pointer, '/'), name)
		if kind > 0 {
			w.kind = append(w.kind, '.')
		}
		w.kind = append(w.kind, name...)
		next := p.at(name)
		var wrote bool
		var err error
		if as := next.under(around); as == pseudonymised && (!w.named || next == nil && kind > 0) {
			w.notes.erase(w.pointer, false)
		} else if dst, wrote, err = w.value(dst, object[name], next, as); err != nil {
			return dst, err
		}
		w.pointer, w.kind, w.named = w.pointer[:pointer], w.kind[:kind], named
		if !wrote {
			dst = dst[:mark]
		}
	}
	return append(dst, '}'), nil
}

// value writes one value, or tells that it did not and leaves dst as it was beyond its length.
func (w *walk) value(dst []byte, value any, p *paths, as treatment) ([]byte, bool, error) {
	inside := p != nil && len(p.below) > 0
	switch v := value.(type) {
	case map[string]any:
		if as == erased && !inside {
			break
		}
		dst, err := w.object(dst, v, p, as)
		return dst, true, err
	case []any:
		if as == erased && !inside {
			break
		}
		return w.list(dst, v, p, as)
	default:
		switch as {
		case cleared:
			dst, err := appendScalar(dst, value)
			return dst, true, err
		case pseudonymised:
			if text, ok := identifier(value); ok {
				return w.pseudonym(dst, text)
			}
		case erased:
		}
	}
	w.notes.erase(w.pointer, w.named)
	return dst, false, nil
}

func (w *walk) list(dst []byte, list []any, p *paths, as treatment) ([]byte, bool, error) {
	dst = append(dst, '[')
	start := len(dst)
	for i, element := range list {
		mark := len(dst)
		if mark > start {
			dst = append(dst, ',')
		}
		pointer := len(w.pointer)
		w.pointer = strconv.AppendInt(append(w.pointer, '/'), int64(i), 10)
		var wrote bool
		var err error
		if dst, wrote, err = w.value(dst, element, p, as); err != nil {
			return dst, false, err
		}
		w.pointer = w.pointer[:pointer]
		if !wrote {
			dst = dst[:mark]
		}
	}
	return append(dst, ']'), true, nil
}

func (w *walk) pseudonym(dst []byte, text string) ([]byte, bool, error) {
	p := w.pseudonyms.Pseudonym(w.at, string(w.kind), w.issuer, text)
	if p == "" {
		w.notes.withoutKey = true
		w.notes.erase(w.pointer, w.named)
		return dst, false, nil
	}
	w.notes.mask(w.pointer, w.named)
	return appendString(dst, p), true, nil
}

// identifier is the text of what can identify somebody.
func identifier(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return string(v), true
	case fmt.Stringer:
		return v.String(), true
	}
	return "", false
}
