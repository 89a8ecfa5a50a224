package token

import (
	"encoding/json"
	"math"
)

// The estimates of memory, in bytes, of what is decoded and of what policy engine and decider keep with a
// token (pdp.Token.KeepPrepared): some verdicts, each with the claims that it releases, as a map and as JSON
// text.
//
// Two lessons of measuring it are in them. An array of numbers takes thirty times its text and a long string
// hardly more than it, so that values are counted and not bytes alone. And of a token with a long scope, about
// which several audiences ask, the texts that are kept outweigh all the rest.
const (
	weightOfEntry   = 4096 // the token's and the verification's own fields, verdicts, the cache's node, small change
	weightOfMember  = 384  // a slot and a box in the decoded object, and a slot in each released one
	weightOfElement = 96   // a slot and a box in a decoded array, which released claims share
	keptTexts       = 4    // released claims as JSON: each at most 3/4 of the compact token, in a buffer with room to spare
)

// weight estimates what an entry takes, in bytes.
func (e entry) weight() uint32 {
	claims, header := measure(e.token.Claims), measure(e.token.Header.Parameters)
	weight := weightOfEntry + claims + header + keptTexts*e.token.Size
	return uint32(min(weight, math.MaxUint32)) //nolint:gosec // bounded here
}

// measure estimates a decoded value without its own slot.
func measure(value any) (weight int) {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			weight += weightOfMember + len(name) + measure(member)
		}
	case []any:
		for _, element := range v {
			weight += weightOfElement + measure(element)
		}
	case string:
		weight = len(v)
	case json.Number:
		weight = len(v)
	}
	return weight
}
