package custodian

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/assaypdp/assay/vaultkeys"
)

// Revoker makes a key's tokens denied everywhere, by its RFC 7638 thumbprint. It answers once that is
// accepted for good; repeating it does no harm.
type Revoker interface {
	Revoke(ctx context.Context, issuer, thumbprint, reason, ticket string) error
}

// Compromise is what is to be burnt, and for which reason.
type Compromise struct {
	Key string
	// Through is the newest version that leaked; it and all older ones are burnt, for Vault cannot withdraw one
	// alone. Required: "the one that signs" would be another when the call is repeated.
	Through int
	// Issuers whose tokens the key signs.
	Issuers []string
	// Reason and Ticket are written down; Reason is required.
	Reason, Ticket string
}

// BurntVersion is one version that was withdrawn.
type BurntVersion struct {
	Version    int    `json:"version"`
	Thumbprint string `json:"thumbprint"`
}

// Burnt says what was done about a compromise and what was not.
type Burnt struct {
	Key string `json:"key"`
	// Versions that were usable before and are burnt now.
	Versions []BurntVersion `json:"versions"`
	// Revoked lists the revocations that were accepted, as "issuer thumbprint".
	Revoked []string `json:"revoked"`
	// Promoted is the version that signs now, with its thumbprint; KnownSince is when it was made.
	Promoted   int       `json:"promoted"`
	KeyID      string    `json:"kid"`
	KnownSince time.Time `json:"known_since"`
	// Unknown tells that the promoted version is too young for every verifier to know it yet; KnownBy is when
	// they will.
	Unknown bool      `json:"unknown"`
	KnownBy time.Time `json:"known_by"`
	// Pending is the new version that waits to follow it.
	Pending int `json:"pending"`
	// Withdrawn and Destroyed: Vault refuses the burnt versions; and has forgotten them.
	Withdrawn bool `json:"withdrawn"`
	Destroyed bool `json:"destroyed"`
}

// attempts is how often Burn repeats what another custodian's write undid.
const attempts = 5

// Burn answers a compromise. Its order is chosen so that killing it between any two steps leaves the key in a
// state from which the same call goes on:
//
//  1. where no newer version is there, one is added;
//  2. the burnt keys are revoked: their thumbprints are in Vault's record only until step 3;
//  3. both minimum versions are raised above the burnt ones, in one request: from now on Vault refuses them,
//     and the published pending version signs, for it is the oldest that may;
//  4. the burnt versions are destroyed, so that no custodian with an old reading can bring them back;
//  5. a new version is added, so that one is pending again.
//
// A revocation that fails stops nothing: the error names it, beside all else that was done. b is what was done
// with an error too.
func Burn(ctx context.Context, v Vault, revoke Revoker, c Compromise, p vaultkeys.Periods, now func() time.Time) (b Burnt, err error) {
	b.Key = c.Key
	record, err := readChecked(ctx, v, c.Key)
	if err != nil {
		return b, err
	}
	if c.Through < 1 || c.Through > record.Latest {
		return b, fmt.Errorf("key %s has no version %d: its versions are 1 to %d", c.Key, c.Through, record.Latest)
	}
	for _, version := range record.Versions {
		if version.Number > c.Through {
			break
		}
		thumbprint, err := vaultkeys.Thumbprint(version.Public)
		if err != nil {
			return b, err
		}
		b.Versions = append(b.Versions, BurntVersion{version.Number, thumbprint})
	}
	if record.Latest == c.Through {
		if err := v.Rotate(ctx, c.Key, c.Through); err != nil {
			return b, fmt.Errorf("adding a version that is not burnt: %w", err)
		}
	}
	unrevoked := b.revoke(ctx, revoke, c)
	if err := b.withdraw(ctx, v, c.Through+1); err != nil {
		return b, errors.Join(unrevoked, err)
	}
	return b, errors.Join(unrevoked, b.succeed(ctx, v, p, now))
}

func readChecked(ctx context.Context, v Vault, key string) (vaultkeys.Record, error) {
	record, err := v.ReadKey(ctx, key)
	if err != nil {
		return record, fmt.Errorf("signing key %s: %w", key, err)
	}
	return record, record.Check()
}

// revoke hands every burnt key of every issuer over; what failed is in the error.
func (b *Burnt) revoke(ctx context.Context, revoke Revoker, c Compromise) error {
	var failed []error
	for _, version := range b.Versions {
		for _, issuer := range c.Issuers {
			if err := revoke.Revoke(ctx, issuer, version.Thumbprint, c.Reason, c.Ticket); err != nil {
				failed = append(failed, &NotRevokedError{Issuer: issuer, Thumbprint: version.Thumbprint, Err: err})
				continue
			}
			b.Revoked = append(b.Revoked, issuer+" "+version.Thumbprint)
		}
	}
	return errors.Join(failed...)
}

// NotRevokedError is a burnt key that could not be handed to revocation: replicas that have not read Vault's
// record since, and whoever has the JWKS cached, still take its tokens.
type NotRevokedError struct {
	Issuer, Thumbprint string
	Err                error
}

func (e *NotRevokedError) Error() string {
	return fmt.Sprintf("the key %s of %s was not revoked: %v", e.Thumbprint, e.Issuer, e.Err)
}

// Unwrap gives the cause.
func (e *NotRevokedError) Unwrap() error { return e.Err }

// withdraw raises the minimums to lowest and destroys what is below, until Vault's record shows both: a
// custodian that read before may have lowered the minimums again in between.
func (b *Burnt) withdraw(ctx context.Context, v Vault, lowest int) error {
	var err error
	for range attempts {
		if err = v.Retire(ctx, b.Key, lowest); err != nil {
			return fmt.Errorf("raising the minimum versions: %w", err)
		}
		b.Withdrawn = true
		if err = v.Trim(ctx, b.Key, lowest); err != nil {
			continue
		}
		var record vaultkeys.Record
		if record, err = readChecked(ctx, v, b.Key); err != nil {
			return err
		}
		if record.MinDecryptionVersion >= lowest && record.MinAvailableVersion >= lowest {
			b.Destroyed = true
			return nil
		}
		err = errors.New("the minimum versions were lowered again")
	}
	return fmt.Errorf("destroying the burnt versions: %w", err)
}

// succeed reads which version signs now, and adds one that will follow it where none is there.
func (b *Burnt) succeed(ctx context.Context, v Vault, p vaultkeys.Periods, now func() time.Time) error {
	record, err := readChecked(ctx, v, b.Key)
	if err != nil {
		return err
	}
	signer, err := vaultkeys.Signer(record, p, now())
	if err != nil {
		return err
	}
	b.Promoted, b.KnownSince = signer.Number, signer.Created
	if b.KeyID, err = vaultkeys.Thumbprint(signer.Public); err != nil {
		return err
	}
	b.KnownBy = signer.Created.Add(p.JWKSMaxAge + p.Poll + p.ClockSkew)
	b.Unknown = now().Before(b.KnownBy)
	if record.Latest == signer.Number {
		if err := v.Rotate(ctx, b.Key, record.Latest); err != nil {
			return fmt.Errorf("adding the next pending version: %w", err)
		}
		record.Latest++
	}
	b.Pending = record.Latest
	return nil
}
