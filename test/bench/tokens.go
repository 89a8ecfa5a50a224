package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"
)

// The tokens' issuer and audience.
const (
	issuerName = "https://idp.example"
	audience   = "orders"
)

// maker signs ES256 access tokens with a key of its own.
type maker struct{ key *ecdsa.PrivateKey }

func newMaker() (*maker, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &maker{key}, err
}

func (m *maker) jwks() []byte {
	point, err := m.key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	b64 := base64.RawURLEncoding
	return fmt.Appendf(nil, `{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"k1","x":%q,"y":%q}]}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
}

// tokens makes n distinct access tokens (RFC 9068) that live for most of an hour.
func (m *maker) tokens(n int) []string {
	now := time.Now().Unix()
	list := make([]string, n)
	b64 := base64.RawURLEncoding
	header := b64.EncodeToString([]byte(`{"alg":"ES256","kid":"k1","typ":"at+jwt"}`))
	for i := range list {
		claims := fmt.Sprintf(`{"iss":%q,"sub":"user-%d","aud":%q,"exp":%d,"iat":%d,"jti":"token-%d","client_id":"web","scope":"orders:read orders:write"}`,
			issuerName, i, audience, now+3000, now-60, i)
		input := header + "." + b64.EncodeToString([]byte(claims))
		digest := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, m.key, digest[:])
		if err != nil {
			panic(err)
		}
		signature := make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
		list[i] = input + "." + b64.EncodeToString(signature)
	}
	return list
}
