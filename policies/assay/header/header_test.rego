package assay.header_test

import data.assay.fixture_test as fixture
import data.assay.header

mismatch(asked) := fixture.deny("header.type_mismatch", sprintf("its typ does not fit what was asked for (%s)", [asked]), {})

foreign(names, noun) := fixture.deny(
	"header.type_mismatch",
	sprintf("has %s, which %s do not have: it is another kind of token", [concat(", ", names), noun]),
	{"claims": names},
)

reference(names) := fixture.deny(
	"header.key_reference",
	sprintf("its header brings or references a key (%s); none is used, and such tokens are refused", [concat(", ", names)]),
	{"parameters": names},
)

# Every kind that can be asked for with every typ: which of them fit. All other combinations deny.
fitting := {
	"access_token": {"at+jwt", "jwt", ""},
	"jwt": {"jwt", ""},
	"id_token": {"jwt", ""},
	"logout_token": {"logout+jwt", "jwt", ""},
	"jwt_svid": {"jwt", "jose", ""},
	"security_event": {"secevent+jwt"},
	"no such kind": set(),
}

typs := {"at+jwt", "jwt", "", "logout+jwt", "secevent+jwt", "jose", "dpop+jwt", "jwt+jwt"}

test_kinds_exclude_each_other[name] if {
	some asked, fits in fitting
	some typ in typs
	name := sprintf("%s for %s", [typ, asked])
	with_typ := json.patch(fixture.access_token, [
		fixture.replace("/request/token_type", asked),
		fixture.replace("/token/typ", typ),
	])
	document := json.patch(with_typ, [patch | some patch in [fixture.remove("/token/typ")]; typ == ""])
	typ_fits := header.profiled with input as document
	want := typ in fits
	typ_fits == want
}

test_wrong_kind if {
	document := json.patch(fixture.access_token, [fixture.replace("/token/typ", "secevent+jwt")])
	fixture.decision(document, {}) == fixture.denied({mismatch("access_token")})
}

explicit := {"issuers": {"https://idp.example": {"explicit_typ": true}}}

undeclared := fixture.deny(
	"header.type_mismatch",
	"its issuer's tokens must say in typ what they are (at+jwt, logout+jwt), and this one does not",
	{},
)

cases := {
	"a nonce marks an ID token": {
		"document": fixture.access_token,
		"patch": [fixture.replace("/token/typ", "jwt"), fixture.set_claim("nonce", "n")],
		"want": fixture.denied({foreign(["nonce"], "tokens of no declared type")}),
	},
	"at_hash, c_hash and events mark other tokens": {
		"document": fixture.access_token,
		"patch": [fixture.remove("/token/typ"), fixture.set_claim("at_hash", "h"), fixture.set_claim("c_hash", "h"), fixture.set_claim("events", {})],
		"want": fixture.denied({foreign(["at_hash", "c_hash", "events"], "tokens of no declared type")}),
	},
	"a mark of the wrong type marks as well": {
		"document": fixture.access_token,
		"patch": [fixture.remove("/token/typ"), fixture.set_claim("nonce", null)],
		"want": fixture.denied({
			foreign(["nonce"], "tokens of no declared type"),
			fixture.deny("claims.wrong_type", "has the wrong type of value in nonce", {"claims": ["nonce"]}),
		}),
	},
	"a mark that is false marks as well": {
		"document": fixture.access_token,
		"patch": [fixture.remove("/token/typ"), fixture.set_claim("nonce", false)],
		"want": fixture.denied({
			foreign(["nonce"], "tokens of no declared type"),
			fixture.deny("claims.wrong_type", "has the wrong type of value in nonce", {"claims": ["nonce"]}),
		}),
	},
	"a mark that the organisation lifts": {
		"document": fixture.access_token,
		"patch": [fixture.remove("/token/typ"), fixture.set_claim("nonce", "n")],
		"config": {"profiles": {"generic": {"foreign_claims": {"nonce": false}}}},
		"want": fixture.allowed,
	},
	"an access token may have a nonce": {
		"document": fixture.access_token,
		"patch": [fixture.set_claim("nonce", "n")],
		"want": fixture.allowed,
	},
	"an access token has no events": {
		"document": fixture.access_token,
		"patch": [fixture.set_claim("events", {})],
		"want": fixture.denied({foreign(["events"], "access tokens")}),
	},
	"an ID token has no scope": {
		"document": fixture.id_token,
		"patch": [fixture.set_claim("scope", "read")],
		"want": fixture.denied({foreign(["scope"], "ID tokens")}),
	},
	"an ID token has no events": {
		"document": fixture.id_token,
		"patch": [fixture.set_claim("events", {})],
		"want": fixture.denied({foreign(["events"], "ID tokens")}),
	},
	"a logout token has no nonce": {
		"document": fixture.logout_token,
		"patch": [fixture.set_claim("nonce", "n")],
		"want": fixture.denied({foreign(["nonce"], "logout tokens")}),
	},
	"a kind of its own, configured": {
		"document": fixture.access_token,
		"patch": [fixture.replace("/token/typ", "acme+jwt")],
		"config": {"token_types": {"access_token": {"acme+jwt": "access_token"}}},
		"want": fixture.allowed,
	},
	"tokens without typ are not accepted any more": {
		"document": fixture.access_token,
		"patch": [fixture.remove("/token/typ")],
		"config": {"token_types": {"access_token": {"": false}}},
		"want": fixture.denied({mismatch("access_token")}),
	},
	"a service-account token of an issuer that is not configured as a cluster": {
		"document": fixture.service_account,
		"patch": [],
		"want": fixture.denied({foreign(["kubernetes.io"], "tokens of no declared type")}),
	},
	"an access token of a cluster": {
		"document": fixture.access_token,
		"patch": [],
		"config": fixture.kubernetes,
		"want": fixture.allowed,
	},
	"a cluster's token, asked for as an ID token": {
		"document": fixture.service_account,
		"patch": [fixture.replace("/request/token_type", "id_token")],
		"config": fixture.kubernetes,
		"want": fixture.denied({foreign(["kubernetes.io"], "ID tokens")}),
	},
	"a kind that its issuer does not issue": {
		"document": fixture.id_token,
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"token_types": {"id_token": {"jwt": false}}}}},
		"want": fixture.denied({mismatch("id_token")}),
	},
	"typ is JWT and its issuer declares kinds": {
		"document": fixture.access_token,
		"patch": [fixture.replace("/token/typ", "jwt")],
		"config": explicit,
		"want": fixture.denied({undeclared}),
	},
	"typ is absent and its issuer declares kinds": {
		"document": fixture.logout_token,
		"patch": [fixture.remove("/token/typ")],
		"config": explicit,
		"want": fixture.denied({undeclared}),
	},
	"typ is at+jwt and its issuer declares kinds": {
		"document": fixture.access_token,
		"patch": [],
		"config": explicit,
		"want": fixture.allowed,
	},
	"an ID token has no typ of its own": {
		"document": fixture.id_token,
		"patch": [],
		"config": explicit,
		"want": fixture.allowed,
	},
	"another issuer declares kinds": {
		"document": fixture.access_token,
		"patch": [fixture.replace("/token/typ", "jwt")],
		"config": {"issuers": {"https://other.example": {"explicit_typ": true}}},
		"want": fixture.allowed,
	},
	"its header references a key": {
		"document": fixture.access_token,
		"patch": [fixture.replace("/token/key_references", ["x5u", "jku"])],
		"want": fixture.denied({reference(["jku", "x5u"])}),
	},
}

test_header[name] if {
	some name, case in cases
	got := fixture.decision(json.patch(case.document, case.patch), object.get(case, "config", {}))
	got == case.want
}

# The examination's reason is added by whoever examined; policy says only what it sees in the header.
test_reference_in_a_token_that_is_not_verified if {
	document := {
		"time": fixture.now,
		"request": {"token_type": "access_token"},
		"token": {"size": 10, "key_references": ["jwk"], "encrypted": false},
		"verification": {"status": "key_unknown", "code": "signature.key_unknown"},
		"revocation": {"known": false},
	}
	fixture.decision(document, {}) == fixture.denied({reference(["jwk"])})
}
