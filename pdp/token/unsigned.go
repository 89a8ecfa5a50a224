package token

import (
	"errors"
	"fmt"

	"github.com/assaypdp/assay/pdp"
)

// Unsigned reads a header and a claims set that are about to be signed with key, as they would be read
// once they are, so that policy can judge a token before it exists (pdp.Decider.Judge). Its verification
// has the shape of a verified one: the caller vouches for the signature to come.
func Unsigned(header, payload []byte, trust *pdp.Trust, key *pdp.Key) (*pdp.Token, *pdp.Verification, error) {
	h, refused := readHeader(header, DefaultMaxHeaderBytes)
	if refused != nil {
		return nil, nil, fmt.Errorf("token: %s", refused.reason.Message)
	}
	claims, refused := readClaims(payload)
	if refused != nil {
		return nil, nil, fmt.Errorf("token: %s", refused.reason.Message)
	}
	switch {
	case !key.Fits(h.Algorithm):
		return nil, nil, fmt.Errorf("token: alg %s does not fit the key", h.Algorithm)
	case h.Encryption != "":
		return nil, nil, errors.New("token: the header has enc, which no signed token has")
	case claims["iss"] != trust.Issuer.ID: // else policy would judge it by another issuer than Examine will
		return nil, nil, errors.New("token: its iss is not the issuer that signs it")
	}
	signingInput := strictBase64.EncodeToString(header) + "." + strictBase64.EncodeToString(payload)
	t := &pdp.Token{Size: len(signingInput) + 1 + signatureChars(key), Kind: "jws", Header: h}
	adopt(t, claims, signingInput)
	return t, &pdp.Verification{Status: pdp.StatusVerified, Trust: trust, Key: key, Algorithm: h.Algorithm}, nil
}

// signatureChars is how long the signature will be in base64url.
func signatureChars(key *pdp.Key) int {
	bytes := (key.Bits() + 7) / 8
	if key.Type() != "RSA" {
		bytes *= 2
	}
	return strictBase64.EncodedLen(bytes)
}

// Inspection is what a token says of itself, for a person's eyes: nothing in it was verified.
type Inspection struct {
	// Kind is "jws" or "jwe".
	Kind string
	// Header and Claims are as strictjson decodes them; Claims is nil for a JWE.
	Header, Claims map[string]any
	// SignatureBytes is the length of a JWS's signature.
	SignatureBytes int
}

// Inspect decodes a compact token by the same strict reader as Examine. The error says what is wrong with
// its form; what could be read until then is given with it.
func Inspect(compact string) (Inspection, error) {
	e := Examiner{c: Config{MaxHeaderBytes: DefaultMaxHeaderBytes}}
	var t pdp.Token
	parts, refused := e.read(&t, compact)
	i := Inspection{Kind: t.Kind, Header: t.Header.Parameters}
	if refused != nil {
		return i, fmt.Errorf("%s", refused.reason.Message)
	}
	if len(parts) == jweParts {
		return i, nil
	}
	payload, err := decodePart(parts[1])
	if err != nil {
		return i, fmt.Errorf("the payload: %w", err)
	}
	if i.Claims, refused = readClaims(payload); refused != nil {
		return i, fmt.Errorf("%s", refused.reason.Message)
	}
	signature, err := decodePart(parts[2])
	if err != nil {
		return i, fmt.Errorf("the signature: %w", err)
	}
	i.SignatureBytes = len(signature)
	return i, nil
}
