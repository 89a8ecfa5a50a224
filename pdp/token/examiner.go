package token

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// The defaults of Config, in bytes. A header of 8 KiB has room for a chain of certificates ("x5c").
const (
	DefaultMaxBytes       = 16 << 10
	DefaultMaxHeaderBytes = 8 << 10
)

// Trust knows the issuers and the keys that each publishes.
type Trust interface {
	// Trust gives the snapshot in force for that issuer, nil if it is not trusted. It is asked for every
	// token and must not block.
	Trust(issuer string) *pdp.Trust
	// Refresh may read the issuer's keys anew because kid, which may be empty, is not among them, and
	// gives the snapshot then in force. It bounds by itself how often and how long.
	Refresh(ctx context.Context, issuer, kid string) *pdp.Trust
}

// Observer is told of every examination. It must not block.
type Observer interface {
	// TokenExamined tells how an examination ended, and whether the cache answered.
	TokenExamined(status pdp.Status, cached bool)
}

// WorkObserver is told of what costs time or memory. It must not block and may be called concurrently.
type WorkObserver interface {
	// SignatureChecked tells how long one check of a signature under alg took and whether it was valid.
	SignatureChecked(alg string, valid bool, took time.Duration)
	// TokenEvicted tells that the cache was full and gave up a token of that weight, in bytes.
	TokenEvicted(weight uint32)
}

// Config wires an Examiner.
type Config struct {
	// Trust is required.
	Trust Trust
	// Decrypter opens nested tokens; nil: every JWE is undecryptable.
	Decrypter Decrypter
	// MaxBytes is the longest token, in bytes; default DefaultMaxBytes. A longer one is malformed.
	MaxBytes int
	// MaxHeaderBytes is the longest decoded JOSE header, in bytes; default DefaultMaxHeaderBytes. A token
	// with a longer one is malformed.
	MaxHeaderBytes int
	// CacheBytes bounds the memory of the verified-token cache, by estimate; default DefaultCacheBytes,
	// negative switches it off.
	CacheBytes int
	// Observer and Work may be nil.
	Observer Observer
	Work     WorkObserver
	// Now measures how long work takes; nothing about a token depends on it. Default time.Now.
	Now func() time.Time
}

// Examiner examines tokens. It is safe for concurrent use.
type Examiner struct {
	c         Config
	verifiers verifiers
	cache     *cache // nil where switched off
}

// New makes an Examiner.
func New(c Config) (*Examiner, error) {
	if c.Trust == nil {
		return nil, errors.New("token: Trust is required")
	}
	if c.MaxBytes == 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	if c.MaxHeaderBytes == 0 {
		c.MaxHeaderBytes = DefaultMaxHeaderBytes
	}
	if c.MaxBytes < 0 || c.MaxHeaderBytes < 0 {
		return nil, fmt.Errorf("token: MaxBytes %d, MaxHeaderBytes %d: they must be positive", c.MaxBytes, c.MaxHeaderBytes)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	all, err := newVerifiers()
	if err != nil {
		return nil, err
	}
	e := &Examiner{c: c, verifiers: all}
	if c.CacheBytes >= 0 {
		if e.cache, err = newCache(c.CacheBytes, c.Work); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// Examine implements pdp.Examiner.
func (e *Examiner) Examine(ctx context.Context, compact string) (*pdp.Token, *pdp.Verification, error) {
	if len(compact) > e.c.MaxBytes {
		v := &pdp.Verification{Status: pdp.StatusMalformed, Reason: pdp.NewFloorReason("signature.malformed",
			fmt.Sprintf("the token has %d bytes; at most %d are read", len(compact), e.c.MaxBytes),
			map[string]any{"size_bytes": int64(len(compact)), "limit_bytes": int64(e.c.MaxBytes)})}
		e.observe(v, false)
		return &pdp.Token{Size: len(compact)}, v, nil
	}
	var name digest
	if e.cache != nil {
		name = digestOf(compact)
		if token, v := e.cache.get(name, e.c.Trust, e.c.Decrypter); token != nil {
			e.observe(v, true)
			return token, v, nil
		}
	}
	token, v, err := e.examine(ctx, compact)
	if err != nil {
		return nil, nil, err
	}
	if err := ctx.Err(); err != nil && !v.Verified() {
		return nil, nil, err // it may have failed because time ran out, and then it is no verdict on the token
	}
	if e.cache != nil && v.Verified() {
		e.cache.put(name, token, v)
	}
	e.observe(v, false)
	return token, v, nil
}

func (e *Examiner) observe(v *pdp.Verification, cached bool) {
	if e.c.Observer != nil {
		e.c.Observer.TokenExamined(v.Status, cached)
	}
}

// examine is the whole way of a token that is not in the cache. Its error is that of a Decrypter which
// cannot answer now.
func (e *Examiner) examine(ctx context.Context, compact string) (*pdp.Token, *pdp.Verification, error) {
	token := &pdp.Token{Size: len(compact)}
	parts, refused := e.read(token, compact)
	if refused != nil {
		return token, failed(refused), nil
	}
	if len(parts) == jwsParts {
		token, v := e.examineSigned(ctx, token, compact, parts)
		return token, v, nil
	}
	inner, refused, err := e.open(ctx, parts, token.Header)
	if err != nil {
		return nil, nil, err
	}
	if refused != nil {
		return token, failed(refused), nil
	}
	kid := token.Header.KeyID
	token, v := e.examineInner(ctx, token, inner)
	v.EncryptionKeyID = kid
	return token, v, nil
}

// examineInner examines what a JWE held: a signed token and nothing else (RFC 8725 section 3.3).
func (e *Examiner) examineInner(ctx context.Context, outer *pdp.Token, compact string) (*pdp.Token, *pdp.Verification) {
	token := &pdp.Token{Size: outer.Size}
	parts, refused := e.read(token, compact)
	token.Kind = "nested"
	if refused == nil && len(parts) != jwsParts {
		refused = unsupported("a JWE inside a JWE")
	}
	if refused != nil {
		return token, failed(refused)
	}
	token, v := e.examineSigned(ctx, token, compact, parts)
	v.Encrypted = true
	return token, v
}

// read cuts the token and reads its header.
func (e *Examiner) read(token *pdp.Token, compact string) ([]string, *refusal) {
	if strings.HasPrefix(compact, "{") || strings.HasPrefix(compact, "[") {
		return nil, unsupported("a JSON serialization")
	}
	parts, err := split(compact)
	if err != nil {
		return nil, malformed("%v", err)
	}
	token.Kind = "jws"
	if len(parts) == jweParts {
		token.Kind = "jwe"
	}
	text, err := decodePart(parts[0])
	if err != nil {
		return nil, malformed("the header: %v", err)
	}
	var refused *refusal
	token.Header, refused = readHeader(text, e.c.MaxHeaderBytes)
	return parts, refused
}

// examineSigned finds issuer, algorithm and key of a JWS, in this order, and verifies the signature.
func (e *Examiner) examineSigned(ctx context.Context, token *pdp.Token, compact string, parts []string) (*pdp.Token, *pdp.Verification) {
	claims, signature, refused := readSigned(token.Header, parts)
	if refused != nil {
		return token, failed(refused)
	}
	trust, refused := e.issuer(claims)
	if refused != nil {
		return token, failed(refused)
	}
	if refused = allowed(trust, token.Header.Algorithm); refused != nil {
		return token, failed(refused)
	}
	trust, key, refused := e.key(ctx, trust, token.Header)
	if refused != nil {
		return token, failed(refused)
	}
	signingInput := compact[:len(parts[0])+1+len(parts[1])]
	if !e.verify(token.Header.Algorithm, key, signingInput, signature) {
		return token, failed(refuse(pdp.StatusSignatureInvalid, "signature.invalid", "the signature does not verify with the issuer's key"))
	}
	adopt(token, claims, signingInput)
	return token, &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: key, Algorithm: token.Header.Algorithm}
}

// verify checks the signature and measures how long that takes.
func (e *Examiner) verify(alg string, key *pdp.Key, signingInput string, signature []byte) bool {
	if e.c.Work == nil {
		return e.verifiers.verify(alg, key, signingInput, signature)
	}
	start := e.c.Now()
	valid := e.verifiers.verify(alg, key, signingInput, signature)
	e.c.Work.SignatureChecked(alg, valid, e.c.Now().Sub(start))
	return valid
}

// readSigned reads payload and signature of a JWS. Whether there is a signature at all is asked first, so
// that an unsecured token is called one.
func readSigned(h pdp.Header, parts []string) (claims map[string]any, signature []byte, refused *refusal) {
	switch {
	case strings.EqualFold(strings.TrimSpace(h.Algorithm), "none"):
		return nil, nil, refuse(pdp.StatusAlgorithmRefused, "algorithm.none", "alg none: the token is not signed")
	case h.Encryption != "":
		return nil, nil, malformed("a signed token whose header has enc")
	case parts[1] == "":
		return nil, nil, unsupported("a detached payload")
	}
	payload, err := decodePart(parts[1])
	if err != nil {
		return nil, nil, malformed("the payload: %v", err)
	}
	if signature, err = decodePart(parts[2]); err != nil {
		return nil, nil, malformed("the signature: %v", err)
	}
	claims, refused = readClaims(payload)
	return claims, signature, refused
}

// issuer reads the one claim that is needed before the signature is verified: whose keys to ask for.
func (e *Examiner) issuer(claims map[string]any) (*pdp.Trust, *refusal) {
	value, present := claims["iss"]
	if !present {
		return nil, refuse(pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", "it names no issuer (iss)")
	}
	name, ok := value.(string)
	if !ok {
		return nil, refuse(pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", "its iss is not a string")
	}
	if trust := e.c.Trust.Trust(name); trust != nil {
		return trust, nil
	}
	return nil, refuse(pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", "its issuer is not one of those configured; iss is compared exactly")
}

// allowed holds "alg" against what the issuer may sign with (RFC 8725 section 3.1).
func allowed(trust *pdp.Trust, alg string) *refusal {
	if trust.Issuer.Allows(alg) {
		return nil
	}
	name := "its alg"
	if slices.Contains(pdp.Algorithms(), alg) || slices.Contains([]string{"HS256", "HS384", "HS512", "ES256K"}, alg) {
		name = alg
	}
	return refuse(pdp.StatusAlgorithmRefused, "algorithm.not_allowed", "%s is not an algorithm that this issuer may sign with", name)
}

// key selects the key. An unknown one may be a new one, so the issuer's keys are asked for anew, once.
func (e *Examiner) key(ctx context.Context, trust *pdp.Trust, h pdp.Header) (*pdp.Trust, *pdp.Key, *refusal) {
	key := find(trust, h)
	if key == nil {
		fresh := e.c.Trust.Refresh(ctx, trust.Issuer.ID, h.KeyID)
		if fresh == nil {
			return nil, nil, refuse(pdp.StatusIssuerUntrusted, "signature.issuer_untrusted", "its issuer is no longer configured")
		}
		trust = fresh
		if key = find(trust, h); key == nil {
			return nil, nil, keyUnknown(trust, h)
		}
	}
	if !key.Fits(h.Algorithm) {
		return nil, nil, refuse(pdp.StatusAlgorithmRefused, "algorithm.key_mismatch", "its alg is not the one that the key is for")
	}
	// Refresh may have brought another configuration of the issuer.
	return trust, key, allowed(trust, h.Algorithm)
}

// find gives the key that the header selects, or nil. Without a kid only a key without rival is taken.
func find(trust *pdp.Trust, h pdp.Header) *pdp.Key {
	if h.HasKeyID {
		key, _ := trust.KeyByID(h.KeyID)
		return key
	}
	key, _ := trust.OnlyKeyFor(h.Algorithm)
	return key
}

func keyUnknown(trust *pdp.Trust, h pdp.Header) *refusal {
	message := "its issuer publishes no key with its kid"
	switch {
	case len(trust.Keys()) == 0:
		message = "no key of its issuer is known at present"
	case !h.HasKeyID:
		message = "it has no kid, and not exactly one of its issuer's keys fits its alg"
	}
	r := refuse(pdp.StatusKeyUnknown, "signature.key_unknown", "%s", message)
	r.keyless = len(trust.Keys()) == 0
	return r
}

func failed(r *refusal) *pdp.Verification {
	return &pdp.Verification{Status: r.status, Reason: r.reason, Keyless: r.keyless}
}
