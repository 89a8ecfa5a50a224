// Package issuer builds tokens and has them signed in Vault: access tokens of RFC 9068 (typ at+jwt) and
// generic ones (typ JWT). For an audience with an encryption key they are signed and then encrypted to it (RFC
// 7519 section 5.2), with the same claims and signature inside.
//
// A token is judged before it is signed, by the same policies that will judge it when it is used: what a
// decision would deny is not issued. Header and claims are written by this package itself, in a stable
// order, as UTF-8, so that no name or value can become another member. A token never lives longer than its
// key's max_token_lifetime, which is what keeps it verifiable until it ends.
//
// A network call for one signature costs many times the signature. So calls are coalesced: a request that
// comes alone goes to Vault at once, and what comes while calls are under way goes together in the next one.
// Nobody waits for company. Which version of the key signs is decided when the call is made; a token whose
// header names another by then is built and judged anew.
//
// Every signature is verified with the published public key before the token leaves.
package issuer

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/vaultkeys"
)

// Keys says what signs now; *vaultkeys.Keyring is one. Both methods are called concurrently.
type Keys interface {
	// Signer answers from memory. An error wraps vaultkeys.ErrUnknownKey, ErrNotKnown or ErrNoSigner.
	Signer(name string) (vaultkeys.SigningKey, error)
	// Reread is called when Vault has refused to sign: a version may have been withdrawn. It may wait for
	// Vault, and it limits how often it does.
	Reread(ctx context.Context, name string) error
}

// Signer signs signing inputs with one version of a key, and answers signatures in JWS form, parallel to
// the inputs. Where some fail, theirs are empty and the error says why. It is called concurrently.
type Signer interface {
	Sign(ctx context.Context, key string, version int, alg string, inputs [][]byte) ([][]byte, error)
}

// Judge says what a decision about a token would be that is about to be signed.
type Judge interface {
	Judge(ctx context.Context, p Proposal) (*pdp.Decision, error)
}

// Proposal is a token without its signature.
type Proposal struct {
	// Header and Payload are JSON texts. Not to be changed.
	Header, Payload []byte
	// Key will sign, and is one that Issuer publishes.
	Key pdp.Key
	// Issuer is the token's "iss".
	Issuer string
	// Audience is one of the token's audiences: the one on whose behalf the question is put.
	Audience  string
	TokenType pdp.TokenType
	// Encrypted tells that the token will be put into a JWE for its audience.
	Encrypted bool
}

// The defaults of Config.
const (
	DefaultMaxBatch     = 64
	DefaultMaxCalls     = 1
	DefaultMaxCallsRSA  = 4
	DefaultMaxQueue     = 4096
	DefaultSignTimeout  = 10 * time.Second
	DefaultMaxTokenSize = 16 << 10
)

// mostBatch keeps a batch of the largest tokens under Vault's listener limits (32 MiB a body, 10 000 items).
const mostBatch = 1000

// Config wires an Issuer.
type Config struct {
	Keys   Keys   // required
	Signer Signer // required
	Judge  Judge  // required
	// Encryption is needed by orders with EncryptTo.
	Encryption EncryptionKeys
	// MaxBatch is the most signatures asked for in one call, at most 1000; default DefaultMaxBatch. 1 makes
	// one call for each token, as many at once as there are requests.
	MaxBatch int
	// MaxCalls is the most calls under way for one key while coalescing; default DefaultMaxCalls, and
	// DefaultMaxCallsRSA for RSA keys: Vault makes the signatures of one call one after the other, and an RSA
	// signature costs so much more than a call that Vault's processors are worth more than larger batches.
	MaxCalls int
	// MaxQueue is the most tokens that wait for one key; past it an *UnavailableError. Default DefaultMaxQueue.
	MaxQueue int
	// SignTimeout bounds one call, whoever waits for it; default DefaultSignTimeout.
	SignTimeout time.Duration
	// MaxTokenSize is the longest compact token in bytes; past it an *OrderError. Default DefaultMaxTokenSize.
	MaxTokenSize int
	// Unavailable tells an error of Signer that means that Vault cannot be reached, and when to ask again.
	// Nil: only a call that timed out is one.
	Unavailable func(error) (retryAfter time.Duration, ok bool)
	// OnSign is told of every call, OnBadSignature of every signature that did not verify; nil: nobody is.
	// Neither may block.
	OnSign         func(SignEvent)
	OnBadSignature func(key string, version int)
	// Now is the clock; default time.Now. Random makes token ids and is used by one goroutine at a time;
	// default crypto/rand.Reader.
	Now    func() time.Time
	Random io.Reader
}

// SignEvent is the outcome of one call to the Signer.
type SignEvent struct {
	Key, Algorithm string
	Version        int
	// Items is how many signatures were asked for.
	Items int
	Took  time.Duration
	Err   error
}

// Issuer issues tokens. It is safe for concurrent use.
type Issuer struct {
	c Config

	mu    sync.Mutex
	lanes map[string]*lane // guarded by mu; one for each key that has signed

	random sync.Mutex // held while c.Random is read
}

// Issued is a signed token.
type Issued struct {
	Token     string
	TokenType pdp.TokenType
	Issuer    string
	// KeyID is the "kid"; KeyVersion the version in Vault that signed, under Algorithm.
	KeyID      string
	KeyVersion int
	Algorithm  string
	// TokenID is the "jti".
	TokenID string
	// EncryptionKeyID is the "kid" of the key that the token is encrypted to; empty where it is not.
	EncryptionKeyID     string
	IssuedAt, ExpiresAt time.Time
}

// New checks the wiring.
func New(c Config) (*Issuer, error) {
	if c.Keys == nil || c.Signer == nil || c.Judge == nil {
		return nil, errors.New("issuer: Keys, Signer and Judge are required")
	}
	if c.MaxBatch < 0 || c.MaxCalls < 0 || c.MaxQueue < 0 || c.SignTimeout < 0 || c.MaxTokenSize < 0 {
		return nil, errors.New("issuer: negative limits")
	}
	c.MaxBatch = orDefault(c.MaxBatch, DefaultMaxBatch)
	c.MaxQueue = orDefault(c.MaxQueue, DefaultMaxQueue)
	c.SignTimeout = orDefault(c.SignTimeout, DefaultSignTimeout)
	c.MaxTokenSize = orDefault(c.MaxTokenSize, DefaultMaxTokenSize)
	if c.MaxBatch > mostBatch {
		return nil, fmt.Errorf("issuer: a batch of %d is more than Vault's listener takes; %d at most", c.MaxBatch, mostBatch)
	}
	if c.Unavailable == nil {
		c.Unavailable = func(error) (time.Duration, bool) { return 0, false }
	}
	if c.OnSign == nil {
		c.OnSign = func(SignEvent) {}
	}
	if c.OnBadSignature == nil {
		c.OnBadSignature = func(string, int) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	return &Issuer{c: c, lanes: make(map[string]*lane)}, nil
}

func orDefault[T int | time.Duration](value, fallback T) T {
	if value == 0 {
		return fallback
	}
	return value
}

// attempts is how often a token is built because another version signs by the time it is its turn.
const attempts = 3

// Issue builds, judges and signs one token. Its errors are *OrderError, *RefusedError, *UnavailableError and
// that of ctx; ErrBadSignature and any other are faults. It answers no token with an error.
func (i *Issuer) Issue(ctx context.Context, o Order) (*Issued, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	sealing, err := i.envelope(&o)
	if err != nil {
		return nil, err
	}
	last := errMoved
	for range attempts {
		key, err := i.c.Keys.Signer(o.KeyName)
		if err != nil {
			return nil, keyError(err)
		}
		d, err := i.draft(&o, key, sealing)
		if err != nil {
			return nil, err
		}
		switch err := i.judge(ctx, d, &o); {
		case errors.Is(err, errBurnt):
			last = err
			if err := i.c.Keys.Reread(ctx, o.KeyName); err != nil {
				return nil, keyError(err)
			}
			continue
		case err != nil:
			return nil, err
		}
		signature, err := i.sign(ctx, d)
		if errors.Is(err, errMoved) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return finish(&o, d, sealing, signature)
	}
	return nil, &UnavailableError{RetryAfter: time.Second, Err: last}
}

// finish puts the signed token into its envelope, where it has one.
func finish(o *Order, d *draft, sealing *envelope, signature []byte) (*Issued, error) {
	issued := d.result(o, signature)
	if sealing == nil {
		return issued, nil
	}
	var err error
	if issued.Token, err = sealing.seal(issued.Token); err != nil {
		return nil, err
	}
	issued.EncryptionKeyID = sealing.key.ID
	return issued, nil
}

// keyError turns an error of Keys into one of ours.
func keyError(err error) error {
	if errors.Is(err, vaultkeys.ErrUnknownKey) {
		return &OrderError{Field: "key", Detail: "no such signing key is configured"}
	}
	return &UnavailableError{RetryAfter: keyRetry, Err: err}
}

// keyRetry is when to ask again where no key can sign: the keyring will have polled by then.
const keyRetry = 5 * time.Second

// judge asks once for each audience: each has limits of its own.
func (i *Issuer) judge(ctx context.Context, d *draft, o *Order) error {
	for _, audience := range o.Audience {
		decision, err := i.c.Judge.Judge(ctx, Proposal{
			Header: d.header, Payload: d.payload, Key: d.key.Key, Issuer: o.Issuer, Audience: audience, TokenType: o.TokenType,
			Encrypted: o.EncryptTo != "",
		})
		switch {
		case errors.Is(err, pdp.ErrUnavailable) && ctx.Err() == nil:
			return &UnavailableError{RetryAfter: time.Second, Err: err}
		case err != nil:
			return fmt.Errorf("issuer: judging the token: %w", err)
		case decision == nil:
			return errors.New("issuer: judging the token gave no decision")
		case !decision.Allow && slices.ContainsFunc(decision.Reasons, func(r pdp.Reason) bool { return r.Code == "revocation.key" }):
			return errBurnt
		case !decision.Allow:
			return &RefusedError{Reasons: decision.Reasons, PolicyRevision: decision.PolicyRevision, Words: decision.Words}
		}
	}
	return nil
}

// sign waits for the signature and verifies it.
func (i *Issuer) sign(ctx context.Context, d *draft) ([]byte, error) {
	signature, err := i.lane(d.name).sign(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := vaultkeys.Verify(d.key.Key.Algorithm, d.key.Key.Public, d.input, signature); err != nil {
		i.c.OnBadSignature(d.name, d.key.Version)
		return nil, fmt.Errorf("%w: key %s version %d: %w", ErrBadSignature, d.name, d.key.Version, err)
	}
	return signature, nil
}

func (i *Issuer) lane(name string) *lane {
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.lanes[name]
	if l == nil {
		l = &lane{c: &i.c, name: name}
		i.lanes[name] = l
	}
	return l
}

// newTokenID is 128 random bits in base64url.
func (i *Issuer) newTokenID() (string, error) {
	i.random.Lock()
	defer i.random.Unlock()
	var id [16]byte
	if _, err := io.ReadFull(i.c.Random, id[:]); err != nil {
		return "", fmt.Errorf("issuer: reading randomness: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(id[:]), nil
}
