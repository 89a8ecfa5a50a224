package policy

import (
	"encoding/binary"
	"encoding/json"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/assaypdp/assay/pdp"
)

// rememberedVerdicts is how many verdicts a token keeps: as many questions are commonly asked about one
// token within a second by services that ask for different audiences, actions or paths.
const rememberedVerdicts = 4

// longestKey bounds what is kept of a request, in bytes; a question with a longer key is not remembered.
const longestKey = 1024

// kept is what the engine keeps with a verified token: verdicts of this second, or for as long as the policy
// says that time alone does not change them. All of them belong to one verification, since a change of trust
// makes another one. The token's part of the input is not kept: it is made again in a twentieth of the time of
// the evaluation that it is for, and would take most of the memory.
type kept struct {
	of *pdp.Verification
	// settles: a verdict's UnchangedUntil is believed.
	settles bool

	// Verdicts are immutable and replaced whole, the oldest place first; readers and writers share them
	// without a lock, and a verdict that is lost to a race is given again.
	verdicts [rememberedVerdicts]atomic.Pointer[remembered]
	next     atomic.Uint32

	// beside is what others keep here, see Revision.Beside.
	beside atomic.Value
}

// remembered is a verdict with everything that it follows from beside token, verification and revision.
type remembered struct {
	from, until int64  // the seconds for which it was given, both included
	asked       string // of view.appendKey
	verdict     pdp.Verdict
}

// keptWith gives what is kept with a verified token for this verification of it, after making room for it.
func (r *Revision) keptWith(f *pdp.Facts) *kept {
	if k, ok := f.Token.Prepared(r.id).(*kept); ok && k.of == f.Verification {
		return k
	}
	k := &kept{of: f.Verification, settles: r.settles}
	f.Token.KeepPrepared(r.id, k)
	return k
}

func (k *kept) recall(second int64, asked []byte) (pdp.Verdict, bool) {
	for i := range k.verdicts {
		if v := k.verdicts[i].Load(); v != nil && v.from <= second && second <= v.until && v.asked == string(asked) {
			return v.verdict, true
		}
	}
	return pdp.Verdict{}, false
}

func (k *kept) remember(second int64, asked []byte, verdict pdp.Verdict) {
	if len(asked) > longestKey {
		return
	}
	until := second
	if k.settles {
		until = max(until, verdict.UnchangedUntil)
	}
	verdict.Kept = &pdp.Kept{}
	place := (k.next.Add(1) - 1) % rememberedVerdicts
	k.verdicts[place].Store(&remembered{second, until, string(asked), verdict})
}

// appendKey writes down what the modules read of the facts beside token, verification and time: two facts
// with the same key, token, verification and time give the same verdict. Values are framed by their lengths, so that
// no two read alike.
func (v *view) appendKey(key []byte, f *pdp.Facts) []byte {
	key = appendBool(key, f.Revocation.Known)
	key = appendText(key, f.Revocation.Revoked)
	if v.age {
		key = binary.AppendVarint(key, f.Revocation.AgeSeconds)
	}
	for _, text := range v.asked {
		key = appendText(key, text(f.Request))
	}
	if v.context {
		key = appendValue(key, f.Request.Context)
	}
	return key
}

func appendText(key []byte, s string) []byte {
	return append(binary.AppendUvarint(key, uint64(len(s))), s...)
}

func appendBool(key []byte, b bool) []byte {
	if b {
		return append(key, 1)
	}
	return append(key, 0)
}

// appendValue writes a value as strictjson decodes it, each kind behind a letter of its own.
func appendValue(key []byte, value any) []byte {
	switch v := value.(type) {
	case map[string]any:
		if v == nil {
			return append(key, '-')
		}
		key = binary.AppendUvarint(append(key, '{'), uint64(len(v)))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			key = appendValue(appendText(key, name), v[name])
		}
	case []any:
		key = binary.AppendUvarint(append(key, '['), uint64(len(v)))
		for _, element := range v {
			key = appendValue(key, element)
		}
	case string:
		key = appendText(append(key, '"'), v)
	case json.Number:
		key = appendText(append(key, '0'), string(v))
	case bool:
		key = appendBool(append(key, 'b'), v)
	case nil:
		key = append(key, 'n')
	}
	return key
}
