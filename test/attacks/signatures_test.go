package attacks

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"
	"slices"
)

// signatures forge, bend and exchange signatures.
func (l *lab) signatures() []attack {
	var cases []attack
	add := func(name, from, token string) {
		cases = append(cases, attack{name: name, from: from, token: token, want: wants("signature.invalid")})
	}
	for _, sized := range []struct {
		k    key
		size int
	}{{l.es256, 64}, {l.es384, 96}, {l.es512, 132}} {
		curve := sized.k.signer.(*ecdsa.PrivateKey).Curve
		order := curve.Params().N
		one, zero := big.NewInt(1), new(big.Int)
		input := encode(text(header(sized.k, nil))) + "." + encode(text(l.body(nil)))
		real := sized.k.sign(sized.k.alg, input)
		r, s := new(big.Int).SetBytes(real[:sized.size/2]), new(big.Int).SetBytes(real[sized.size/2:])
		alg := sized.k.alg
		pair := func(name, from string, r, s *big.Int) { add(alg+" "+name, from, input+"."+encode(joined(curve, r, s))) }
		pair("r and s zero", "CVE-2022-21449", zero, zero)
		pair("r zero", "CVE-2022-21449; FIPS 186-5 6.4.2", zero, s)
		pair("s zero", "CVE-2022-21449; FIPS 186-5 6.4.2", r, zero)
		pair("r and s the group order", "CVE-2022-21449; CVE-2022-41340", order, order)
		pair("r the group order", "FIPS 186-5 6.4.2", order, s)
		pair("s the group order", "FIPS 186-5 6.4.2", r, order)
		pair("r and s one", "FIPS 186-5 6.4.2", one, one)
		pair("r and s exchanged", "RFC 7518 3.4", s, r)
		pair("r one more", "RFC 7515 5.2", new(big.Int).Add(r, one), s)
		if wide := new(big.Int).Add(s, order); wide.BitLen() <= 8*sized.size/2 {
			pair("s plus the order", "FIPS 186-5 6.4.2: s below n", r, wide)
		}
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			panic(err)
		}
		bytes := func(name, from string, signature []byte) { add(alg+" "+name, from, input+"."+encode(signature)) }
		bytes("in DER", "RFC 7518 3.4: not ASN.1", der)
		bytes("cut by one byte", "RFC 7518 3.4", real[:len(real)-1])
		bytes("cut in half", "RFC 7518 3.4", real[:len(real)/2])
		bytes("with a byte more", "RFC 7518 3.4", append(slices.Clone(real), 0))
		bytes("with a byte before", "CVE-2020-13822; RFC 7518 3.4", append([]byte{0}, real...))
		bytes("with both numbers longer", "RFC 7518 3.4", slices.Concat([]byte{0}, real[:sized.size/2], []byte{0}, real[sized.size/2:]))
		bytes("twice", "RFC 7518 3.4", append(slices.Clone(real), real...))
		bytes("empty", "CVE-2020-28042; RFC 8725 3.3", nil)
		bytes("all ones", "FIPS 186-5 6.4.2", slices.Repeat([]byte{0xff}, sized.size))
	}
	l.rsaSignatures(add)
	l.edwardsSignatures(add)

	first, second := l.token(nil, nil), l.token(nil, m{"scope": "admin"})
	header1, payload1, signature1 := cut(first)
	_, payload2, signature2 := cut(second)
	add("another token's payload", "RFC 7515 5.2", header1+"."+payload2+"."+signature1)
	add("another token's signature", "RFC 7515 5.2", header1+"."+payload1+"."+signature2)
	add("a changed typ", "RFC 8725 3.11", encode(text(header(l.es256, m{"typ": "JWT"})))+"."+payload1+"."+signature1)
	add("a header parameter more", "RFC 7515 5.2", encode(text(header(l.es256, m{"x": 1})))+"."+payload1+"."+signature1)
	add("the same header in other words", "RFC 7515 5.2: the bytes are signed", encode(bytes.Replace(text(header(l.es256, nil)), []byte(","), []byte(", "), 1))+"."+payload1+"."+signature1)
	add("the attacker's key", "RFC 8725 3.3", l.signed(l.attacker, header(l.es256, nil), l.body(nil)))
	add("a digest of another hash", "RFC 7518 3.4", l.otherDigest())
	return cases
}

// otherDigest is signed by the right key over SHA-384 where ES256 means SHA-256.
func (l *lab) otherDigest() string {
	input := encode(text(header(l.es256, nil))) + "." + encode(text(l.body(nil)))
	hash := crypto.SHA384.New()
	hash.Write([]byte(input))
	return input + "." + encode(l.es256.signDigest("ES256", crypto.SHA384, hash.Sum(nil)))
}

func (l *lab) rsaSignatures(add func(name, from, token string)) {
	input := encode(text(header(l.rs256, nil))) + "." + encode(text(l.body(nil)))
	real := l.rs256.sign("RS256", input)
	public := &l.rs256.signer.(*rsa.PrivateKey).PublicKey
	with := func(name, from string, signature []byte) { add("RS256 "+name, from, input+"."+encode(signature)) }
	small := func(n int64) []byte { return big.NewInt(n).FillBytes(make([]byte, 256)) }
	with("zero", "RFC 8017 8.2.2", small(0))
	with("one", "RFC 8017 8.2.2", small(1))
	with("the modulus", "RFC 8017 5.2.2: out of range", public.N.Bytes())
	with("plus the modulus", "RFC 8017 5.2.2: out of range", new(big.Int).Add(new(big.Int).SetBytes(real), public.N).Bytes())
	with("cut", "RFC 8017 8.2.2", real[:255])
	with("with a zero before", "RFC 8017 8.2.2: exactly k bytes", append([]byte{0}, real...))
	with("with a zero behind", "RFC 8017 8.2.2", append(slices.Clone(real), 0))
	with("empty", "CVE-2020-28042", nil)
	with("of SHA-512", "RFC 7518 3.3", l.rs256.sign("RS512", input))
	with("of PSS", "RFC 7518 3.5", l.rs256.sign("PS256", input))
	with("of another key", "RFC 8725 3.3", l.attackerRSA.sign("RS256", input))
	// A cube root forges PKCS #1 v1.5 where padding is not checked to its end and e is 3.
	forged := new(big.Int).SetBytes(append([]byte{0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0}, make([]byte, 245)...))
	with("a bare padding", "CVE-2006-4339; RFC 8017 8.2.2", forged.FillBytes(make([]byte, 256)))
	input = encode(text(header(l.ps256, nil))) + "." + encode(text(l.body(nil)))
	add("PS256 of PKCS #1 v1.5", "RFC 7518 3.5", input+"."+encode(l.ps256.sign("RS256", input)))
	add("PS256 zero", "RFC 8017 9.1.2", input+"."+encode(make([]byte, 256)))
}

func (l *lab) edwardsSignatures(add func(name, from, token string)) {
	input := encode(text(header(l.ed25519, nil))) + "." + encode(text(l.body(nil)))
	real := ed25519.Sign(l.ed25519.signer.(ed25519.PrivateKey), []byte(input))
	with := func(name, from string, signature []byte) { add("EdDSA "+name, from, input+"."+encode(signature)) }
	with("zero", "RFC 8032 5.1.7", make([]byte, 64))
	with("cut", "RFC 8032 5.1.7", real[:63])
	with("with a byte more", "RFC 8032 5.1.7", append(slices.Clone(real), 0))
	with("empty", "CVE-2020-28042", nil)
	// S plus the order of the group is the same number to a verifier that does not look.
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(real[32:])
	slices.Reverse(s)
	wide := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(wide)
	with("with S above the order", "CVE-2020-36843; RFC 8032 5.1.7", append(slices.Clone(real[:32]), wide...))
	identity := append([]byte{1}, make([]byte, 63)...)
	with("of the neutral element", "RFC 8032 5.1.7: a point of small order", identity)
	with("in hexadecimal", "RFC 8037 3.1", []byte(big.NewInt(0).SetBytes(real).Text(16)))
}
