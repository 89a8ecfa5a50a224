package audittraffic

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math/big"
	"time"

	"github.com/assaypdp/assay/pdp"
)

// The issuers. The first signs with the Vault key "access".
const (
	own     = "https://idp.example"
	partner = "https://login.partner.example"
	builds  = "https://ci.example"
)

// issuer is one of them with its clients.
type issuer struct {
	id, algorithm string
	clients       []string // the first ask most
	keys          []pdp.Key
	trust         *pdp.Trust
	share         int // of the tokens, in percent
}

func issuers() []*issuer {
	return []*issuer{
		{id: own, algorithm: "ES256", share: 70, clients: []string{"web", "mobile", "backoffice", "legacy-batch", "kiosk", "voice"}},
		{id: partner, algorithm: "PS256", share: 22, clients: []string{"partner-portal", "partner-edi", "reseller-42"}},
		{id: builds, algorithm: "EdDSA", share: 8, clients: []string{"deployer", "scanner"}},
	}
}

// audiences are the resource servers; each asks under its own identity.
var audiences = [...]string{"orders", "billing", "inventory", "search", "reports"}

func callerOf(audience string) pdp.Caller {
	return pdp.Caller{Name: "spiffe://prod.example/ns/shop/sa/" + audience, Method: "mtls"}
}

// addKey gives an issuer its next key and withdraws those that stand before the last one.
func (i *issuer) addKey(seed uint64, at time.Time) error {
	name := fmt.Sprintf("%s %d %d", i.id, seed, at.Unix())
	sum := sha256.Sum256([]byte(name))
	print := base64.RawURLEncoding.EncodeToString(sum[:])
	key := pdp.Key{ID: print, Thumbprint: print, Algorithm: i.algorithm, Created: at}
	switch i.algorithm {
	case "ES256":
		private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), sum[:])
		if err != nil {
			return err
		}
		key.Public = &private.PublicKey
	case "PS256":
		modulus := make([]byte, 256) // nobody verifies with it: only its length is recorded
		if _, err := bytesOf(seed, name).Read(modulus); err != nil {
			return err
		}
		modulus[0] |= 0x80
		key.Public = &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537}
	default:
		key.Public = ed25519.NewKeyFromSeed(sum[:]).Public()
	}
	i.keys = append(i.keys[max(0, len(i.keys)-1):], key)
	var err error
	i.trust, err = pdp.NewTrust(pdp.Issuer{ID: i.id}, i.keys)
	return err
}

// signing is the key that new tokens are signed with.
func (i *issuer) signing() *pdp.Key { return &i.keys[len(i.keys)-1] }

// PeriodKeys makes the keys of periods of a secret; it implements audit.PeriodKeys.
type PeriodKeys struct{ Secret string }

// PeriodKey implements audit.PeriodKeys.
func (p PeriodKeys) PeriodKey(_ context.Context, period string) (key []byte, version int, err error) {
	sum := sha256.Sum256([]byte(p.Secret + " " + period))
	return sum[:], 1, nil
}
