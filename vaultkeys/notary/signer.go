package notary

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/assaypdp/assay/vaultkeys"
)

// Defaults of SignerConfig.
const (
	DefaultAhead   = time.Hour
	DefaultRefresh = time.Minute
	DefaultTimeout = 5 * time.Second
)

// algorithm is how transit is asked for an Ed25519 signature over the message itself (RFC 8032 section 5.1).
const algorithm = "EdDSA"

// SignerConfig wires a Signer.
type SignerConfig struct {
	Vault Vault // required
	// Key is the name of the transit key, of type ed25519; required.
	Key string
	// Origin names the log, and the key in the note's signature line; required. No spaces, no '+'.
	Origin string
	// Ahead is how long a version of the key is there before it signs, so that verifiers can learn of it first;
	// default DefaultAhead. Where no version is that old, the oldest signs.
	Ahead time.Duration
	// Refresh is how old Vault's record of the key may be; default DefaultRefresh. While Vault cannot be read the
	// record that is there goes on to count.
	Refresh time.Duration
	// Timeout bounds one note; default DefaultTimeout.
	Timeout time.Duration
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Signer signs notes, one at a time. It is safe for concurrent use.
type Signer struct {
	c SignerConfig

	turn chan struct{} // held by the one that asks Vault

	mu     sync.Mutex
	record vaultkeys.Record // of the last reading
	read   time.Time        // when that was; zero: never
}

// NewSigner makes a Signer; it does not ask Vault.
func NewSigner(c SignerConfig) (*Signer, error) {
	switch {
	case c.Vault == nil || c.Key == "":
		return nil, errors.New("notary: a signer needs Vault and the name of a key")
	case !validOrigin(c.Origin):
		return nil, fmt.Errorf("notary: origin %q: write a name like a URL without its scheme, with no space and no '+'", c.Origin)
	}
	fill(&c.Ahead, DefaultAhead)
	fill(&c.Refresh, DefaultRefresh)
	fill(&c.Timeout, DefaultTimeout)
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Signer{c: c, turn: make(chan struct{}, 1)}, nil
}

func fill(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// validOrigin tells whether a verifier key can have that name.
func validOrigin(name string) bool {
	_, err := note.NewEd25519VerifierKey(name, make(ed25519.PublicKey, ed25519.PublicKeySize))
	return err == nil && name != "" && !strings.ContainsAny(name, "+\n") && len(strings.Fields(name)) == 1 && strings.Fields(name)[0] == name
}

// SignNote signs a note's text (C2SP signed-note), which ends in a newline, and answers the note. It has been
// verified. Whoever calls it while another note is being signed waits, as long as ctx and Timeout let it.
func (s *Signer) SignNote(ctx context.Context, text string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, s.c.Timeout)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("notary: waiting for another note: %w", ctx.Err())
	}
	record, err := s.current(ctx, false)
	if err != nil {
		return nil, err
	}
	signed, err := s.sign(ctx, record, text)
	if err == nil || ctx.Err() != nil {
		return signed, err
	}
	// The version may have been retired since the record was read.
	fresh, readErr := s.current(ctx, true)
	if readErr != nil || s.choose(fresh).Number == s.choose(record).Number {
		return nil, err
	}
	return s.sign(ctx, fresh, text)
}

func (s *Signer) sign(ctx context.Context, record vaultkeys.Record, text string) ([]byte, error) {
	v := s.choose(record)
	public, _ := v.Public.(ed25519.PublicKey) // current has checked
	key, err := note.NewEd25519VerifierKey(s.c.Origin, public)
	if err != nil {
		return nil, fmt.Errorf("notary: %w", err)
	}
	verifier, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("notary: %w", err)
	}
	signed, err := note.Sign(&note.Note{Text: text}, &versionSigner{Verifier: verifier, sign: func(message []byte) ([]byte, error) {
		made, err := s.c.Vault.Sign(ctx, s.c.Key, v.Number, algorithm, [][]byte{message})
		if err != nil {
			return nil, err
		}
		return made[0], nil
	}})
	if err != nil {
		return nil, fmt.Errorf("notary: signing with version %d of the key %s: %w", v.Number, s.c.Key, err)
	}
	if _, err := note.Open(signed, note.VerifierList(verifier)); err != nil {
		return nil, fmt.Errorf("notary: what Vault signed with version %d of the key %s does not verify: %w", v.Number, s.c.Key, err)
	}
	return signed, nil
}

// versionSigner is one version of the key as note.Sign wants it.
type versionSigner struct {
	note.Verifier
	sign func([]byte) ([]byte, error)
}

// Sign implements note.Signer.
func (v *versionSigner) Sign(message []byte) ([]byte, error) { return v.sign(message) }

// choose finds the version that signs: the newest that has been there for Ahead, else the oldest that may sign.
func (s *Signer) choose(record vaultkeys.Record) vaultkeys.Version {
	var chosen vaultkeys.Version
	for _, v := range record.Versions {
		if v.Number < record.MinEncryptionVersion {
			continue
		}
		if chosen.Number == 0 || !s.c.Now().Before(v.Created.Add(s.c.Ahead)) {
			chosen = v
		}
	}
	return chosen
}

// current is Vault's record of the key, no older than Refresh where Vault can be read.
func (s *Signer) current(ctx context.Context, fresh bool) (vaultkeys.Record, error) {
	s.mu.Lock()
	record, read := s.record, s.read
	s.mu.Unlock()
	now := s.c.Now()
	if !fresh && !read.IsZero() && now.Sub(read) < s.c.Refresh {
		return record, nil
	}
	got, err := s.c.Vault.ReadKey(ctx, s.c.Key)
	if err == nil {
		err = s.check(&got)
	} else if !fresh && !read.IsZero() {
		return record, nil
	}
	if err != nil {
		return vaultkeys.Record{}, fmt.Errorf("notary: reading the key %s: %w", s.c.Key, err)
	}
	s.mu.Lock()
	s.record, s.read = got, now
	s.mu.Unlock()
	return got, nil
}

func (s *Signer) check(record *vaultkeys.Record) error {
	if record.Type != "ed25519" {
		return fmt.Errorf("it is of type %q; checkpoints are signed with one of type ed25519", record.Type)
	}
	if err := record.Check(); err != nil {
		return err
	}
	if s.choose(*record).Number == 0 {
		return errors.New("its minimum versions leave none that may sign: rotate it")
	}
	return nil
}

// VerifierKeys lists the verifier keys (C2SP signed-note: "<name>+<hash>+<key>") of all versions that Vault still
// lists, by ascending version. Keep them where the log's writer cannot change them: a version that was withdrawn in
// Vault is not listed any more, and the checkpoints that it signed go on to need its key.
func (s *Signer) VerifierKeys(ctx context.Context) ([]string, error) {
	record, err := s.current(ctx, true)
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, v := range record.Versions {
		public, _ := v.Public.(ed25519.PublicKey)
		key, err := note.NewEd25519VerifierKey(s.c.Origin, public)
		if err != nil {
			return nil, fmt.Errorf("notary: version %d of the key %s: %w", v.Number, s.c.Key, err)
		}
		keys = append(keys, key)
	}
	return keys, nil
}
