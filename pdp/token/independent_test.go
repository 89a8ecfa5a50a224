package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"reflect"
	"strings"

	"github.com/assaypdp/assay/pdp"
)

// byStandardLibrary verifies a token as one would who has nothing but the RFC and Go's standard library, and
// shares no line with what it is held against. It gives the payload.
func byStandardLibrary(token string, keys []pdp.Key) ([]byte, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not three parts")
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return nil, err
		}
		if base64.RawURLEncoding.EncodeToString(raw[i]) != part {
			return nil, errors.New("not canonical")
		}
	}
	var header map[string]any // a struct's fields would match names in other case too
	decoder := json.NewDecoder(bytes.NewReader(raw[0]))
	decoder.UseNumber() // 1e400 is JSON, and no float64
	if err := decoder.Decode(&header); err != nil {
		return nil, err
	}
	alg, _ := header["alg"].(string)
	kid, hasKid := header["kid"]
	if _, critical := header["crit"]; critical {
		return nil, errors.New("crit")
	}
	for i := range keys {
		if hasKid && kid != keys[i].ID || keys[i].Algorithm != "" && keys[i].Algorithm != alg {
			continue
		}
		if plainVerify(alg, keys[i].Public, parts[0]+"."+parts[1], raw[2]) {
			return raw[1], nil
		}
	}
	return nil, errors.New("no key verifies it")
}

// plainVerify is RFC 7518 section 3 and RFC 8037 section 3.1 with PSS salts as long as the hash.
func plainVerify(alg string, key crypto.PublicKey, input string, signature []byte) bool {
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[min(2, len(alg)):]]
	switch public := key.(type) {
	case ed25519.PublicKey:
		return (alg == "EdDSA" || alg == "Ed25519") && ed25519.Verify(public, []byte(input), signature)
	case *rsa.PublicKey:
		switch {
		case hash == 0:
			return false
		case strings.HasPrefix(alg, "RS"):
			return rsa.VerifyPKCS1v15(public, hash, digestBy(hash, input), signature) == nil
		case strings.HasPrefix(alg, "PS"):
			return rsa.VerifyPSS(public, hash, digestBy(hash, input), signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
	case *ecdsa.PublicKey:
		size := map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[alg]
		if size == 0 || len(signature) != 2*size || (public.Params().BitSize+7)/8 != size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, digestBy(hash, input), r, s)
	}
	return false
}

// agree says what another reader sees otherwise in a token that was verified here; "" where nothing.
func agree(found *pdp.Token, payload []byte, err error) string {
	if err != nil {
		return fmt.Sprintf("refuses it: %v", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var claims map[string]any
	if err := decoder.Decode(&claims); err != nil {
		return fmt.Sprintf("gives a payload that is no object: %v", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return "finds more behind the claims"
	}
	if !reflect.DeepEqual(claims, found.Claims) {
		return "reads other claims"
	}
	return ""
}
