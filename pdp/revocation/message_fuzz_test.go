package revocation

import (
	"strings"
	"testing"
	"time"
)

// FuzzDecode: whoever may write to the stream wrote the message. Whatever it is, what is taken from it is an entry that
// Check would let in, and the same after it was written and read once more.
func FuzzDecode(f *testing.F) {
	at := time.Unix(1_795_456_800, 0)
	for _, seed := range []string{
		`{"v":1,"kind":"token","issuer":"https://idp.example","value":"t1","ends":1795460400,"created_at":1795456800}`,
		`{"v":1,"removed":true,"kind":"subject","issuer":"i","value":"alice","issued_before":1795456800,"ends":1795460400,"reason":"left","actor":"ops","ticket":"T-1","created_at":1}`,
		`{"v":1,"kind":"issuer","issuer":"i","ends":4294967294,"created_at":0}`,
		`{"v":1,"kind":"issuer","issuer":"i","value":"x","ends":1,"created_at":0}`,
		`{"v":1,"kind":"key","issuer":"i","value":"x","ends":-1,"created_at":0}`,
		`{"v":2,"kind":"key","issuer":"i","value":"x","ends":1,"created_at":0,"more":1}`,
		`{"v":1,"v":1}`, `{}`, `[]`, ``, "{\"v\":1,\"kind\":\"token\",\"issuer\":\"\xff\"}",
		`{"v":1,"kind":"token","issuer":"` + strings.Repeat("i", maxText+1) + `","value":"t","ends":2,"created_at":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := decode(data, 7, at)
		if err != nil {
			if strings.Contains(err.Error(), "alice") {
				t.Error("the error quotes what is revoked")
			}
			return
		}
		if err := e.Entry.Check(time.Unix(0, 0)); err != nil {
			t.Fatalf("taken though %v", err)
		}
		text, err := encode(&e.Entry, e.Removed)
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(text, 7, at)
		if err != nil || again.Entry.Key() != e.Entry.Key() || again.Removed != e.Removed || !again.Entry.Ends.Equal(e.Entry.Ends) || !again.Entry.IssuedBefore.Equal(e.Entry.IssuedBefore) {
			t.Errorf("%+v, read again %+v, %v", e, again, err)
		}
	})
}
