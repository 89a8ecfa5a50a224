package masking

import (
	"sync/atomic"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/policy"
)

// rememberedMasks is how many masks are kept with a token: one for each way in which it is asked about.
const rememberedMasks = 4

// longestKey bounds what is kept of a request, in bytes.
const longestKey = 1024

// memory is what is kept with a verified token, for one verification and one revision. Masks are replaced whole, the
// oldest place first; readers and writers share them without a lock, and one that is lost to a race is made again.
type memory struct {
	masks [rememberedMasks]atomic.Pointer[remembered]
	next  atomic.Uint32
}

type remembered struct {
	key  string
	mask *Mask
}

func memoryOf(r *policy.Revision, f *pdp.Facts) *memory {
	place := r.Beside(f)
	if known, ok := place.Load().(*memory); ok {
		return known
	}
	fresh := &memory{}
	if !place.CompareAndSwap(nil, fresh) {
		return place.Load().(*memory)
	}
	return fresh
}

func (m *memory) recall(key []byte) *Mask {
	for i := range m.masks {
		if known := m.masks[i].Load(); known != nil && known.key == string(key) {
			return known.mask
		}
	}
	return nil
}

// keptFor gives the Kept of an equal mask of this token, or a new one.
func (m *memory) keptFor(mask *Mask, fresh func() any) any {
	for i := range m.masks {
		if known := m.masks[i].Load(); known != nil && known.mask.equal(mask) {
			return known.mask.Kept
		}
	}
	return fresh()
}

func (m *memory) remember(key []byte, mask *Mask) {
	place := (m.next.Add(1) - 1) % rememberedMasks
	m.masks[place].Store(&remembered{string(key), mask})
}
