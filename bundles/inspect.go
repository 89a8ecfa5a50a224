package bundles

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// Claim is what a signature says of itself; nothing of it is verified.
type Claim struct{ KeyID, Algorithm string }

// ClaimedSigner tells who an archive says that it is signed by, for people who look into it; false where it has no
// signature that can be read. Trust is a matter of Read with Verify alone.
func ClaimedSigner(archive []byte) (Claim, bool) {
	c := ReadConfig{}
	if err := c.complete(); err != nil {
		return Claim{}, false
	}
	if int64(len(archive)) > c.MaxBytes {
		return Claim{}, false
	}
	all, err := unpack(archive, c.budget())
	if err != nil {
		return Claim{}, false
	}
	return all.claimedSigner()
}

func (f files) claimedSigner() (Claim, bool) {
	var outer signatures
	if json.Unmarshal(f[signaturesFile], &outer) != nil || len(outer.Signatures) == 0 {
		return Claim{}, false
	}
	first, _, _ := strings.Cut(outer.Signatures[0], ".")
	text, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return Claim{}, false
	}
	var header struct {
		KeyID     string `json:"kid"`
		Algorithm string `json:"alg"`
	}
	if json.NewDecoder(bytes.NewReader(text)).Decode(&header) != nil {
		return Claim{}, false
	}
	return Claim{KeyID: header.KeyID, Algorithm: header.Algorithm}, true
}

// Paths lists the files of Modules or Tests in order.
func Paths(modules map[string][]byte) []string {
	return append([]string{}, slices.Sorted(maps.Keys(modules))...)
}

// DataPaths lists where the bundle has data: for each declared root below which there is some that root, for a bundle
// without roots the names at the top.
func (b *Bundle) DataPaths() []string {
	found := []string{}
	for _, root := range b.Roots {
		if root == "" {
			return append(found, slices.Sorted(maps.Keys(b.Data))...)
		}
		var at any = b.Data
		for name := range strings.SplitSeq(root, "/") {
			object, _ := at.(map[string]any)
			at = object[name]
		}
		if at != nil {
			found = append(found, root)
		}
	}
	slices.Sort(found)
	return found
}
