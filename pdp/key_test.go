package pdp_test

import (
	"strings"
	"testing"

	"github.com/assaypdp/assay/pdp"
)

func TestWhatCanBeAThumbprint(t *testing.T) {
	const good = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs" // the example of RFC 7638 section 3.1
	for _, text := range []string{good, strings.Repeat("A", 43)} {
		if !pdp.ValidThumbprint(text) {
			t.Errorf("%q is refused", text)
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a word": "notathumb", "one character less": good[:42], "one more": good + "A", "padding": good + "=",
		"base64, not base64url": strings.Replace(good, "_", "/", 1), "a line break": good + "\n", "a line break for a character": good[:42] + "\n",
		"bits that stand for nothing": good[:42] + "t", "a space for a character": " " + good[1:],
	} {
		if pdp.ValidThumbprint(text) {
			t.Errorf("%s: %q is taken", name, text)
		}
	}
}
