package serve

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/assaypdp/assay/pdp"
	"github.com/assaypdp/assay/pdp/httpapi"
	"github.com/assaypdp/assay/pdp/token"
	"github.com/assaypdp/assay/vaultkeys"
	"github.com/assaypdp/assay/vaultkeys/issuer"
	"github.com/assaypdp/assay/vaultkeys/transit"
)

// DefaultTokenLifetime is the longest that a token lives whose order does not say; its key or the caller's grant
// may make it less.
const DefaultTokenLifetime = 15 * time.Minute

// Issuer issues tokens of the issuers whose keys are in Vault. It implements httpapi.TokenIssuer.
type Issuer struct {
	issuer *issuer.Issuer
	// keys names the transit keys of each issuer, in order of preference.
	keys map[string][]string
	// audiences are those that a key signs for, by its name; a key that is not in it signs for all.
	audiences map[string][]string
	keyring   *vaultkeys.Keyring
	// encryptTo names the encryption key of each issuer and audience that has one.
	encryptTo map[string]map[string]string
	// only is the issuer that an order means which names none; empty where there are several.
	only string
	// changes records each token before it is given away; now is the clock.
	changes pdp.ChangeRecorder
	now     func() time.Time
}

// newIssuer makes the Issuer; nil where this process has no role or no key to sign with.
func newIssuer(a *App) (*Issuer, error) {
	if a.vault == nil || a.vault.issuer == nil {
		return nil, nil
	}
	i := &Issuer{keys: make(map[string][]string), audiences: make(map[string][]string), keyring: a.vault.keyring,
		encryptTo: make(map[string]map[string]string), changes: a.changes, now: a.now}
	for name, key := range a.config.Vault.Keys {
		if len(key.Audiences) > 0 {
			i.audiences[name] = key.Audiences
		}
	}
	for _, configured := range a.config.Issuers {
		if len(configured.Keys.Vault) > 0 {
			i.keys[configured.Issuer], i.only = configured.Keys.Vault, configured.Issuer
			i.encryptTo[configured.Issuer] = configured.EncryptTo
		}
	}
	if len(i.keys) == 0 {
		return nil, nil
	}
	if len(i.keys) > 1 {
		i.only = ""
	}
	var encryption issuer.EncryptionKeys
	if a.vault.encryption != nil {
		encryption = a.vault.encryption
	}
	var err error
	i.issuer, err = issuer.New(issuer.Config{
		Encryption: encryption, Keys: a.vault.keyring, Signer: a.vault.issuer, Judge: &judge{app: a}, Now: a.now,
		MaxTokenSize: a.config.Limits.TokenBytes,
		Unavailable: func(err error) (time.Duration, bool) {
			if away, ok := errors.AsType[*transit.UnavailableError](err); ok {
				return away.RetryAfter, true
			}
			return 0, false
		},
		OnBadSignature: func(key string, version int) {
			a.log.Error("Vault gave a signature that does not verify; no token was released", "key", key, "version", version)
		},
	})
	return i, err
}

// Issue implements httpapi.TokenIssuer: it completes the order and says errors in the API's terms.
//
// A token that cannot be recorded is not given away: 503. So is policy's refusal that cannot be.
func (i *Issuer) Issue(ctx context.Context, caller pdp.Caller, o httpapi.TokenOrder) (httpapi.IssuedToken, error) {
	order, err := i.order(o)
	if err != nil {
		return httpapi.IssuedToken{}, err
	}
	issued, err := i.issuer.Issue(ctx, order)
	if refused, ok := errors.AsType[*issuer.RefusedError](err); ok {
		if unrecorded := i.recordRefusal(ctx, caller, &order, refused); unrecorded != nil {
			err = &issuer.UnavailableError{RetryAfter: time.Second, Err: fmt.Errorf("that policy refuses a token could not be recorded: %w", unrecorded)}
		}
	}
	if err != nil {
		return httpapi.IssuedToken{}, inAPITerms(err)
	}
	if err := i.record(ctx, caller, &order, issued); err != nil {
		return httpapi.IssuedToken{}, &httpapi.UnavailableError{RetryAfter: time.Second, Err: fmt.Errorf("a token was signed, could not be recorded and is not given away: %w", err)}
	}
	return httpapi.IssuedToken{
		Token: issued.Token, TokenType: issued.TokenType, Issuer: issued.Issuer,
		KeyID: issued.KeyID, EncryptionKeyID: issued.EncryptionKeyID, TokenID: issued.TokenID, ExpiresAt: issued.ExpiresAt,
	}, nil
}

// record writes down that a token was issued: for whom as a pseudonym, and nothing of its further claims.
func (i *Issuer) record(ctx context.Context, caller pdp.Caller, o *issuer.Order, t *issuer.Issued) error {
	change := pdp.Change{Kind: pdp.TokenIssued, At: i.now(), Actor: caller, Target: t.TokenID, Details: map[string]any{
		"token_type": string(t.TokenType), "audience": o.Audience, "key": o.KeyName, "kid": t.KeyID, "expires_at": t.ExpiresAt.Unix(),
		"lifetime_seconds": int64(t.ExpiresAt.Sub(t.IssuedAt) / time.Second), "encrypted": t.EncryptionKeyID != "",
	}}
	if o.ClientID != "" {
		change.Details["client"] = o.ClientID
	}
	change.About = pdp.About{Kind: "subject", Issuer: t.Issuer, Value: o.Subject}
	return i.changes.RecordChange(ctx, change)
}

// recordRefusal writes down that policy refused a token, and why: of whom as record does, and nothing of its further claims.
func (i *Issuer) recordRefusal(ctx context.Context, caller pdp.Caller, o *issuer.Order, refused *issuer.RefusedError) error {
	change := pdp.Change{Kind: pdp.TokenRefused, At: i.now(), Actor: caller, About: pdp.About{Kind: "subject", Issuer: o.Issuer, Value: o.Subject}, Details: map[string]any{
		"token_type": string(o.TokenType), "audience": o.Audience, "key": o.KeyName, "encrypted": o.EncryptTo != "",
		"reasons": refused.Codes(), "policy_revision": refused.PolicyRevision,
	}}
	if o.ClientID != "" {
		change.Details["client"] = o.ClientID
	}
	return i.changes.RecordChange(ctx, change)
}

func (i *Issuer) order(o httpapi.TokenOrder) (issuer.Order, error) {
	name := o.Issuer
	if name == "" {
		name = i.only
	}
	keys, ours := i.keys[name]
	switch {
	case name == "":
		return issuer.Order{}, &httpapi.OrderError{Field: "issuer", Detail: "several issuers have keys here: name one"}
	case !ours:
		return issuer.Order{}, &httpapi.OrderError{Field: "issuer", Detail: "no such issuer has a signing key here"}
	case o.Key != "" && !slices.Contains(keys, o.Key):
		return issuer.Order{}, &httpapi.OrderError{Field: "key", Detail: "that is not this issuer's key"}
	case o.Key != "":
		keys = []string{o.Key}
	}
	keys = i.signingFor(keys, o.Audience)
	if len(keys) == 0 {
		return issuer.Order{}, &httpapi.OrderError{Field: "audience", Detail: "no key of this issuer signs for all of these audiences"}
	}
	sealedTo, err := i.sealedTo(name, o.Audience)
	if err != nil {
		return issuer.Order{}, err
	}
	key := i.keyring.Choose(keys)
	longest := time.Duration(o.MaxLifetimeSeconds) * time.Second // the grant's; zero is none
	if o.LifetimeSeconds == 0 && (longest == 0 || longest > DefaultTokenLifetime) {
		longest = DefaultTokenLifetime
	}
	return issuer.Order{
		Issuer: name, KeyName: key, TokenType: o.TokenType, Subject: o.Subject, ClientID: o.ClientID,
		Audience: o.Audience, Scope: o.Scope, Claims: o.Claims, EncryptTo: sealedTo,
		Lifetime: time.Duration(o.LifetimeSeconds) * time.Second, MaxLifetime: longest,
	}, nil
}

// sealedTo is the key that tokens for these audiences are encrypted to; empty: they are not. A token has one
// recipient: for audiences with different keys, or of which some have none, it cannot be made.
func (i *Issuer) sealedTo(name string, audiences []string) (string, error) {
	for _, audience := range audiences {
		if to := i.encryptTo[name]; to[audience] != to[audiences[0]] {
			return "", &httpapi.OrderError{Field: "audience", Detail: "tokens for one of these audiences are encrypted to a key that the others do not have: order one for each"}
		}
	}
	if len(audiences) == 0 {
		return "", nil
	}
	return i.encryptTo[name][audiences[0]], nil
}

// signingFor leaves the keys that sign for all of these audiences.
func (i *Issuer) signingFor(keys, audiences []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(key string) bool {
		only, limited := i.audiences[key]
		return limited && slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(only, a) })
	})
}

func inAPITerms(err error) error {
	if wrong, ok := errors.AsType[*issuer.OrderError](err); ok {
		return &httpapi.OrderError{Field: wrong.Field, Detail: wrong.Detail}
	}
	if refused, ok := errors.AsType[*issuer.RefusedError](err); ok {
		return &httpapi.RefusedError{Reasons: refused.Reasons}
	}
	if away, ok := errors.AsType[*issuer.UnavailableError](err); ok {
		return &httpapi.UnavailableError{RetryAfter: away.RetryAfter, Err: away.Err}
	}
	return err
}

// judge asks the decider about a token before it is signed, under the key that will sign it.
type judge struct{ app *App }

// Judge implements issuer.Judge.
func (j *judge) Judge(ctx context.Context, p issuer.Proposal) (*pdp.Decision, error) {
	trust := j.app.keys.Trust(p.Issuer)
	if trust == nil {
		return nil, fmt.Errorf("issuer %s is not configured", p.Issuer)
	}
	t, v, err := token.Unsigned(p.Header, p.Payload, trust, &p.Key)
	if err != nil {
		return nil, err
	}
	v.Encrypted = p.Encrypted
	return j.app.Decider.Judge(ctx, &pdp.Request{Audience: p.Audience, TokenType: p.TokenType}, t, v)
}
