package assay.algorithms_test

import data.assay.fixture_test as fixture

not_allowed := fixture.deny("algorithm.not_allowed", "is signed with an algorithm that the configuration does not allow", {})

not_here := fixture.deny("algorithm.not_allowed", "is signed with an algorithm that is not allowed for its issuer, client, audience or scope", {})

rsa(bits) := [
	fixture.replace("/verification/alg", "RS256"),
	fixture.replace("/verification/key", {"thumbprint": "t2", "kty": "RSA", "bits": bits}),
]

too_weak(kty, actual, limit) := fixture.deny(
	"key.too_weak",
	sprintf("is signed with a key of %d bits; %s keys need %d", [actual, kty, limit]),
	{"actual_bits": actual, "limit_bits": limit},
)

access_cases := {
	"not in the general list": {
		"patch": [],
		"config": {"algorithms": {"ES256": false}},
		"want": fixture.denied({not_allowed}),
	},
	"compared with regard to case": {
		"patch": [fixture.replace("/verification/alg", "es256")],
		"want": fixture.denied({not_allowed}),
	},
	"a symmetric one": {
		"patch": [fixture.replace("/verification/alg", "HS256")],
		"want": fixture.denied({not_allowed}),
	},
	"no algorithm": {
		"patch": [fixture.remove("/verification/alg")],
		"want": fixture.denied({not_allowed}),
	},
	"in its issuer's list": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"algorithms": {"ES256": true}}}},
		"want": fixture.allowed,
	},
	"not in its issuer's list": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"algorithms": {"PS256": true}}}},
		"want": fixture.denied({not_here}),
	},
	"not in its profile's list": {
		"patch": [],
		"config": {"profiles": {"access_token": {"algorithms": {"PS256": true}}}},
		"want": fixture.denied({fixture.deny("algorithm.not_allowed", "is signed with an algorithm that is not allowed for access tokens", {})}),
	},
	"RSA with 2048 bits": {"patch": rsa(2048), "want": fixture.allowed},
	"RSA with 2047 bits": {"patch": rsa(2047), "want": fixture.denied({too_weak("RSA", 2047, 2048)})},
	"RSA shorter than configured": {
		"patch": rsa(2048),
		"config": {"min_key_bits": {"RSA": 3072}},
		"want": fixture.denied({too_weak("RSA", 2048, 3072)}),
	},
	"a curve of 255 bits": {
		"patch": [fixture.replace("/verification/key/bits", 255)],
		"want": fixture.denied({too_weak("EC", 255, 256)}),
	},
	"a key of the greatest age": {
		"patch": [],
		"config": {"max_key_age_seconds": 86400},
		"want": fixture.allowed,
	},
	"a key a second older": {
		"patch": [],
		"config": {"max_key_age_seconds": 86399},
		"want": fixture.denied({fixture.deny("key.too_old", "is signed with a key that is 86400 s old; keys may sign for 86399 s", {"actual_seconds": 86400, "limit_seconds": 86399})}),
	},
	"a key a second older than its issuer allows, where others may be older": {
		"patch": [],
		"config": {"max_key_age_seconds": 864000, "issuers": {"https://idp.example": {"max_key_age_seconds": 86399}}},
		"want": fixture.denied({fixture.deny("key.too_old", "is signed with a key that is 86400 s old; keys may sign for 86399 s", {"actual_seconds": 86400, "limit_seconds": 86399})}),
	},
	"a key as old as its issuer allows, where others may not": {
		"patch": [],
		"config": {"max_key_age_seconds": 60, "issuers": {"https://idp.example": {"max_key_age_seconds": 86400}}},
		"want": fixture.allowed,
	},
	"a key a second older than its profile allows": {
		"patch": [],
		"config": {"profiles": {"access_token": {"max_key_age_seconds": 86399}}},
		"want": fixture.denied({fixture.deny("key.too_old", "is signed with a key that is 86400 s old; keys may sign for 86399 s", {"actual_seconds": 86400, "limit_seconds": 86399})}),
	},
	"a key as strong as its issuer asks": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"min_key_bits": {"EC": 256, "RSA": 4096}}}},
		"want": fixture.allowed,
	},
	"a key weaker than its issuer asks": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"min_key_bits": {"EC": 257}}}},
		"want": fixture.denied({fixture.deny("key.too_weak", "is signed with a key of 256 bits; EC keys need 257", {"actual_bits": 256, "limit_bits": 257})}),
	},
	"an issuer cannot ask for less than everyone": {
		"patch": [],
		"config": {"min_key_bits": {"EC": 257}, "issuers": {"https://idp.example": {"min_key_bits": {"EC": 256}}}},
		"want": fixture.denied({fixture.deny("key.too_weak", "is signed with a key of 256 bits; EC keys need 257", {"actual_bits": 256, "limit_bits": 257})}),
	},
	"a key of unknown age": {
		"patch": [fixture.remove("/verification/key/created")],
		"config": {"max_key_age_seconds": 60},
		"want": fixture.allowed,
	},
}

test_access_token[name] if {
	some name, case in access_cases
	got := fixture.decision(json.patch(fixture.access_token, case.patch), object.get(case, "config", {}))
	got == case.want
}

test_jwt_svid[alg] if {
	some alg, want in {
		"ES256": fixture.allowed,
		"EdDSA": fixture.denied({fixture.deny("algorithm.not_allowed", "is signed with an algorithm that is not allowed for JWT-SVIDs", {})}),
	}
	got := fixture.decision(json.patch(fixture.jwt_svid, [fixture.replace("/verification/alg", alg)]), {})
	got == want
}
