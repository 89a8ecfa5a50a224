package notary_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/vaultkeys/notary"
)

const checkpoint = "assay.example/log\n3\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"

func newSigner(t *testing.T, v notary.Vault, c *clock) *notary.Signer {
	t.Helper()
	s, err := notary.NewSigner(notary.SignerConfig{Vault: v, Key: "checkpoint", Origin: "assay.example/log", Now: c.now, Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open verifies a note with the verifier keys that a third party was given.
func open(t *testing.T, signed []byte, keys ...string) error {
	t.Helper()
	var verifiers []note.Verifier
	for _, key := range keys {
		v, err := note.NewVerifier(key)
		if err != nil {
			t.Fatal(err)
		}
		verifiers = append(verifiers, v)
	}
	n, err := note.Open(signed, note.VerifierList(verifiers...))
	if err == nil && n.Text != checkpoint {
		t.Errorf("the note says %q", n.Text)
	}
	return err
}

func TestANoteVerifiesAndANewVersionSignsLater(t *testing.T) {
	v, c := newVault(t), &clock{at: time.Now()}
	s := newSigner(t, v, c)
	first, err := s.SignNote(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	v.rotate(t, "checkpoint", 1)
	keys, err := s.VerifierKeys(t.Context())
	if err != nil || len(keys) != 2 {
		t.Fatalf("%v, %v: want a key for each of two versions", keys, err)
	}
	second, err := s.SignNote(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	c.at = time.Now().Add(notary.DefaultAhead + time.Minute)
	third, err := s.SignNote(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		note []byte
		key  string
	}{{"before the rotation", first, keys[0]}, {"right after it", second, keys[0]}, {"an hour later", third, keys[1]}} {
		if err := open(t, test.note, test.key); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
	if err := open(t, third, keys[0]); err == nil {
		t.Error("the note of version 2 verifies with version 1")
	}
}

func TestAVersionThatIsWithdrawnSignsNoMore(t *testing.T) {
	v, c := newVault(t), &clock{at: time.Now()}
	s := newSigner(t, v, c)
	if _, err := s.SignNote(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	v.rotate(t, "checkpoint", 1)
	if err := v.root.Retire(t.Context(), "checkpoint", 2); err != nil {
		t.Fatal(err)
	}
	// The record that the signer has still names version 1; Vault refuses, and it looks again.
	signed, err := s.SignNote(t.Context(), checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := s.VerifierKeys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatalf("%v, %v: want version 2 alone", keys, err)
	}
	if err := open(t, signed, keys[0]); err != nil {
		t.Error(err)
	}
}

func TestABadSignatureIsNotHandedOut(t *testing.T) {
	v, c := newVault(t), &clock{at: time.Now()}
	v.spoil = func(signature []byte) { signature[10] ^= 1 }
	if signed, err := newSigner(t, v, c).SignNote(t.Context(), checkpoint); err == nil || signed != nil {
		t.Fatalf("%q, %v", signed, err)
	}
}

func TestSigningGoesOnWhileTheKeyCannotBeRead(t *testing.T) {
	v, c := newVault(t), &clock{at: time.Now()}
	s := newSigner(t, v, c)
	if _, err := s.SignNote(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	v.fail, c.at = errors.New("away"), c.at.Add(time.Hour)
	if _, err := s.SignNote(t.Context(), checkpoint); err != nil {
		t.Error(err)
	}
	if _, err := newSigner(t, v, c).SignNote(t.Context(), checkpoint); !errors.Is(err, v.fail) {
		t.Errorf("a signer that knows no key: %v", err)
	}
}

func TestWhatASignerRefuses(t *testing.T) {
	v, c := newVault(t), &clock{at: time.Now()}
	for _, origin := range []string{"", "two words", "a+b", "line\nbreak", " blank"} {
		if _, err := notary.NewSigner(notary.SignerConfig{Vault: v, Key: "checkpoint", Origin: origin}); err == nil {
			t.Errorf("origin %q is taken", origin)
		}
	}
	if _, err := newSigner(t, v, c).SignNote(t.Context(), "no newline at the end"); err == nil {
		t.Error("a text without a newline at its end is signed")
	}
	other, err := notary.NewSigner(notary.SignerConfig{Vault: v, Key: "pseudonyms", Origin: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.SignNote(t.Context(), checkpoint); err == nil || !strings.Contains(err.Error(), "pseudonyms") {
		t.Errorf("a key of another type: %v", err)
	}
}
