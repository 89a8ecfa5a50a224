package assay.claims_test

import data.assay.claims
import data.assay.fixture_test as fixture

missing(names, noun) := fixture.deny("claims.missing", sprintf("lacks %s; %s need it", [concat(", ", names), noun]), {"claims": names})

required(names) := fixture.deny("claims.missing", sprintf("lacks %s, which is required for its issuer, client, audience or scope", [concat(", ", names)]), {"claims": names})

wrong_type(names) := fixture.deny("claims.wrong_type", sprintf("has the wrong type of value in %s", [concat(", ", names)]), {"claims": names})

unexpected(message, names) := fixture.deny("claims.unexpected_value", message, {"claims": names})

other_audience := fixture.deny("claims.audience_mismatch", "is not meant for the audience that asks", {})

access_cases := {
	"several claims are missing": {
		"patch": [fixture.drop_claim("sub"), fixture.drop_claim("client_id"), fixture.drop_claim("jti")],
		"want": fixture.denied({missing(["client_id", "jti", "sub"], "access tokens")}),
	},
	"a missing claim that is no longer required": {
		"patch": [fixture.drop_claim("client_id")],
		"config": {"profiles": {"access_token": {"required_claims": {"client_id": false}}}},
		"want": fixture.allowed,
	},
	"a claim that the organisation requires": {
		"patch": [],
		"config": {"profiles": {"access_token": {"required_claims": {"tenant": true}}}},
		"want": fixture.denied({missing(["tenant"], "access tokens")}),
	},
	"a claim that its issuer must give": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"required_claims": {"tenant": true, "sub": true}}}},
		"want": fixture.denied({required(["tenant"])}),
	},
	"generic tokens need no client_id and no jti": {
		"patch": [fixture.remove("/token/typ"), fixture.drop_claim("client_id"), fixture.drop_claim("jti")],
		"want": fixture.allowed,
	},
	"generic tokens need sub": {
		"patch": [fixture.replace("/token/typ", "jwt"), fixture.drop_claim("sub")],
		"want": fixture.denied({missing(["sub"], "tokens of no declared type")}),
	},
	"aud is missing": {
		"patch": [fixture.drop_claim("aud")],
		"want": fixture.denied({missing(["aud"], "access tokens")}),
	},
	"its audience among others": {
		"patch": [fixture.set_claim("aud", ["billing", "orders"])],
		"want": fixture.allowed,
	},
	"its audience alone in an array": {
		"patch": [fixture.set_claim("aud", ["orders"])],
		"want": fixture.allowed,
	},
	"another audience": {
		"patch": [fixture.set_claim("aud", "order")],
		"want": fixture.denied({other_audience}),
	},
	"other audiences": {
		"patch": [fixture.set_claim("aud", ["orders2", "Orders"])],
		"want": fixture.denied({other_audience}),
	},
	"no audience at all": {
		"patch": [fixture.set_claim("aud", [])],
		"want": fixture.denied({other_audience, unexpected("has an empty aud", ["aud"])}),
	},
	"the request names no audience": {
		"patch": [fixture.remove("/request/audience")],
		"want": fixture.denied({fixture.deny("claims.audience_mismatch", "the request must name its audience (request.audience), to be compared with the token's aud", {})}),
	},
	"the request names an empty audience, and so does the token": {
		"patch": [fixture.replace("/request/audience", ""), fixture.set_claim("aud", "")],
		"want": fixture.denied({unexpected("has an empty aud", ["aud"])}),
	},
	"identifiers that are empty": {
		"patch": [fixture.set_claim("sub", ""), fixture.set_claim("jti", ""), fixture.set_claim("client_id", "")],
		"want": fixture.denied({
			unexpected("has an empty sub", ["sub"]),
			unexpected("has an empty jti", ["jti"]),
			unexpected("has an empty client_id", ["client_id"]),
		}),
	},
	"expires when it is issued": {
		"patch": [fixture.set_claim("exp", now + 10), fixture.set_claim("iat", now + 10)],
		"want": fixture.denied({unexpected("expires before it is issued or valid", ["exp", "iat"])}),
	},
	"expires before it is valid": {
		"patch": [fixture.set_claim("exp", now + 10), fixture.set_claim("nbf", now + 11)],
		"want": fixture.denied({unexpected("expires before it is issued or valid", ["exp", "nbf"])}),
	},
	"has one of the expected values": {
		"patch": [fixture.set_claim("acr", "high")],
		"config": {"audiences": {"orders": {"expected_claims": {"acr": ["high", "higher"]}}}},
		"want": fixture.allowed,
	},
	"has none of the expected values": {
		"patch": [fixture.set_claim("acr", "low")],
		"config": {"audiences": {"orders": {"expected_claims": {"acr": ["high", "higher"]}}}},
		"want": fixture.denied({unexpected("has none of the values that are configured for acr", ["acr"])}),
	},
	"lacks the claim whose value is expected": {
		"patch": [],
		"config": {"audiences": {"orders": {"expected_claims": {"acr": ["high", "higher"]}}}},
		"want": fixture.denied({unexpected("has none of the values that are configured for acr", ["acr"])}),
	},
	"a subject of its issuer": {
		"patch": [],
		"config": {"issuers": {"https://idp.example": {"subject_pattern": "^user-[0-9]+$"}}},
		"want": fixture.allowed,
	},
	"a subject that is not its issuer's": {
		"patch": [fixture.set_claim("sub", "admin-1")],
		"config": {"issuers": {"https://idp.example": {"subject_pattern": "^user-[0-9]+$"}}},
		"want": fixture.denied({unexpected("has a subject that does not match the pattern configured for it", ["sub"])}),
	},
	"a subject of the wrong type where a pattern is configured": {
		"patch": [fixture.set_claim("sub", 17)],
		"config": {"issuers": {"https://idp.example": {"subject_pattern": "^user-[0-9]+$"}}},
		"want": fixture.denied({
			unexpected("has a subject that does not match the pattern configured for it", ["sub"]),
			wrong_type(["sub"]),
		}),
	},
}

now := fixture.now

test_access_token[name] if {
	some name, case in access_cases
	document := json.patch(fixture.access_token, case.patch)
	got := fixture.decision(document, object.get(case, "config", {}))
	got == case.want
}

test_wrong_type_denies if {
	document := json.patch(fixture.access_token, [fixture.set_claim("scope", ["a"]), fixture.set_claim("iat", "1795460000")])
	fixture.decision(document, {}) == fixture.denied({wrong_type(["iat", "scope"])})
}

# Values of every type but the right one, for every registered claim.
values := {
	"null": null,
	"boolean": false,
	"number": 1795460010,
	"string": "1795460010",
	"array": [1795460010],
	"object": {"a": "b"},
}

types := {
	"iss": "string",
	"sub": "string",
	"jti": "string",
	"client_id": "string",
	"scope": "string",
	"azp": "string",
	"sid": "string",
	"nonce": "string",
	"acr": "string",
	"at_hash": "string",
	"c_hash": "string",
	"exp": "number",
	"nbf": "number",
	"iat": "number",
	"auth_time": "number",
	"amr": "array",
	"events": "object",
	"cnf": "object",
	"act": "object",
	"may_act": "object",
}

test_wrong_type[name] if {
	some claim, right in types
	some wrong, value in values
	wrong != right
	name := sprintf("%s is %s", [claim, wrong])
	document := json.patch(fixture.access_token, [fixture.set_claim(claim, value)])
	claims.mistyped == {claim} with input as document
}

audiences := {
	"null": null,
	"false": false,
	"a number": 7,
	"an object": {"orders": true},
	"an array with null": ["orders", null],
	"an array with an array": [["orders"]],
}

test_wrong_type_of_audience[name] if {
	some name, value in audiences
	document := json.patch(fixture.access_token, [fixture.set_claim("aud", value)])
	claims.mistyped == {"aud"} with input as document
}

id_cases := {
	"conforming": {"patch": [], "want": fixture.allowed},
	"several audiences and an authorized party": {
		"patch": [fixture.set_claim("aud", ["orders", "b"]), fixture.set_claim("azp", "orders")],
		"want": fixture.allowed,
	},
	"several audiences and no authorized party": {
		"patch": [fixture.set_claim("aud", ["orders", "b"])],
		"want": fixture.denied({fixture.deny("claims.missing", "lacks azp; ID tokens for several audiences need it", {"claims": ["azp"]})}),
	},
	"the nonce that was asked for": {
		"patch": [fixture.add("/request/context", {"nonce": "n-0S6"})],
		"want": fixture.allowed,
	},
	"another nonce": {
		"patch": [fixture.add("/request/context", {"nonce": "n-0S7"})],
		"want": fixture.denied({unexpected("has not the nonce that the request expects", ["nonce"])}),
	},
	"no nonce": {
		"patch": [fixture.add("/request/context", {"nonce": "n-0S6"}), fixture.drop_claim("nonce")],
		"want": fixture.denied({unexpected("has not the nonce that the request expects", ["nonce"])}),
	},
}

test_id_token[name] if {
	some name, case in id_cases
	got := fixture.decision(json.patch(fixture.id_token, case.patch), {})
	got == case.want
}

not_logout := unexpected("its events do not hold the one that logout tokens are about", ["events"])

logout_cases := {
	"conforming": {"patch": [], "want": fixture.allowed},
	"typ is absent": {"patch": [fixture.remove("/token/typ")], "want": fixture.allowed},
	"only a subject": {"patch": [fixture.drop_claim("sid")], "want": fixture.allowed},
	"only a session": {"patch": [fixture.drop_claim("sub")], "want": fixture.allowed},
	"neither subject nor session": {
		"patch": [fixture.drop_claim("sub"), fixture.drop_claim("sid")],
		"want": fixture.denied({fixture.deny("claims.missing", "lacks sid and sub; logout tokens need one of them", {"claims": ["sid", "sub"]})}),
	},
	"another event": {
		"patch": [fixture.set_claim("events", {"https://schemas.openid.net/secevent/caep/event-type/session-revoked": {}})],
		"want": fixture.denied({not_logout}),
	},
	"the event is not an object": {
		"patch": [fixture.set_claim("events", {"http://schemas.openid.net/event/backchannel-logout": true})],
		"want": fixture.denied({not_logout}),
	},
	"no events": {
		"patch": [fixture.drop_claim("events")],
		"want": fixture.denied({missing(["events"], "logout tokens")}),
	},
}

test_logout_token[name] if {
	some name, case in logout_cases
	got := fixture.decision(json.patch(fixture.logout_token, case.patch), {})
	got == case.want
}

no_spiffe_id := fixture.denied({unexpected("has a subject that is not a SPIFFE ID", ["sub"])})

subjects := {
	"spiffe://example.org/orders/worker": fixture.allowed,
	"spiffe://example.org/a": fixture.allowed,
	"spiffe://example.org": no_spiffe_id,
	"spiffe://example.org/": no_spiffe_id,
	"spiffe://example.org/a/": no_spiffe_id,
	"spiffe://example.org/a//b": no_spiffe_id,
	"spiffe://example.org/a/../b": no_spiffe_id,
	"spiffe://example.org/./b": no_spiffe_id,
	"spiffe://Example.org/a": no_spiffe_id,
	"spiffe://user@example.org/a": no_spiffe_id,
	"spiffe://example.org:80/a": no_spiffe_id,
	"spiffe://example.org/a?b": no_spiffe_id,
	"https://example.org/a": no_spiffe_id,
}

test_jwt_svid[subject] if {
	some subject, want in subjects
	document := json.patch(fixture.jwt_svid, [fixture.set_claim("sub", subject)])
	got := fixture.decision(document, {"minimization": {"shapes": {"email": "off"}}})
	got == want
}

test_jwt_svid_path_too_long if {
	segments := concat("", [segment | some _ in numbers.range(1, 255); segment := "/abcdefgh"])
	document := json.patch(fixture.jwt_svid, [fixture.set_claim("sub", concat("", ["spiffe://example.org", segments]))])
	fixture.decision(document, {}) == no_spiffe_id
}

no_service_account := fixture.denied({unexpected("has a subject that is not the service account which its kubernetes.io names", ["kubernetes.io", "sub"])})

bound(path, value) := {"op": "add", "path": array.concat(["token", "claims", "kubernetes.io"], path), "value": value}

service_account_cases := {
	"conforming": {"patch": [], "want": held_back},
	"typ is JWT": {"patch": [fixture.add("/token/typ", "jwt")], "want": held_back},
	"bound to a pod": {"patch": [bound(["pod"], {"name": "worker-5d", "uid": "0b7a1c1e-3c4d-4f6e-9a8b-2c1d0e9f8a7b"})], "want": held_back},
	"another subject": {"patch": [fixture.set_claim("sub", "system:serviceaccount:shop:admin")], "want": no_service_account},
	"a user": {"patch": [fixture.set_claim("sub", "kubernetes-admin")], "want": no_service_account},
	"another namespace": {"patch": [bound(["namespace"], "kube-system")], "want": no_service_account},
	"a namespace of the wrong type": {"patch": [bound(["namespace"], 1)], "want": no_service_account},
	"a namespace that holds the separator": {
		"patch": [bound(["namespace"], "shop:x"), fixture.set_claim("sub", "system:serviceaccount:shop:x:worker")],
		"want": no_service_account,
	},
	"no service account": {"patch": [bound(["serviceaccount"], {})], "want": no_service_account},
	"kubernetes.io is no object": {"patch": [fixture.set_claim("kubernetes.io", true)], "want": no_service_account},
	"no kubernetes.io": {
		"patch": [fixture.drop_claim("kubernetes.io")],
		"want": fixture.denied(union({no_service_account.reasons, {missing(["kubernetes.io"], "service-account tokens")}})),
	},
}

held_back := fixture.omitting(fixture.allowed, ["kubernetes.io"])

test_service_account[name] if {
	some name, case in service_account_cases
	got := fixture.decision(json.patch(fixture.service_account, case.patch), fixture.kubernetes)
	got == case.want
}

informs := fixture.deny("header.type_mismatch", "security event tokens inform and are never a credential", {})

no_event := unexpected("its events hold none, or one that is no object", ["events"])

security_event_cases := {
	"conforming": {"patch": [], "want": {informs}},
	"no events": {"patch": [fixture.drop_claim("events")], "want": {informs, missing(["events"], "security event tokens")}},
	"events that hold none": {"patch": [fixture.set_claim("events", {})], "want": {informs, no_event}},
	"an event that is no object": {"patch": [fixture.set_claim("events", {"urn:example:a": {}, "urn:example:b": 1})], "want": {informs, no_event}},
	"no iat and no jti": {
		"patch": [fixture.drop_claim("iat"), fixture.drop_claim("jti")],
		"want": {
			informs,
			missing(["jti"], "security event tokens"),
			fixture.deny("lifetime.missing_iat", "has no iat; security event tokens need one", {}),
		},
	},
	"an exp": {
		"patch": [fixture.set_claim("exp", fixture.now + 60)],
		"want": {
			informs,
			fixture.deny("header.type_mismatch", "has exp, which security event tokens do not have: it is another kind of token", {"claims": ["exp"]}),
		},
	},
}

test_security_event[name] if {
	some name, case in security_event_cases
	got := fixture.decision(json.patch(fixture.security_event, case.patch), {})
	got == fixture.denied(case.want)
}

# Whatever is switched off, it stays no credential.
test_security_event_never_allows if {
	document := json.patch(fixture.security_event, [fixture.set_claim("exp", fixture.now + 60)])
	decided := fixture.decision(document, {"modes": {"header.type_mismatch": "off"}})
	decided.allow == false
}

# A typ that does not fit hides nothing of what else is wrong with the kind that was asked for.
mistyped_cases := {
	"jwt_svid": {unexpected("has a subject that is not a SPIFFE ID", ["sub"])},
	"logout_token": {fixture.deny("claims.missing", "lacks sid and sub; logout tokens need one of them", {"claims": ["sid", "sub"]})},
	"id_token": {fixture.deny("claims.missing", "lacks azp; ID tokens for several audiences need it", {"claims": ["azp"]})},
	"no such kind": set(),
}

mistyped_patches := {
	"jwt_svid": [],
	"logout_token": [fixture.drop_claim("sub")],
	"id_token": [fixture.set_claim("aud", ["orders", "b"])],
	"no such kind": [],
}

test_typ_does_not_fit[asked] if {
	some asked, others in mistyped_cases
	document := json.patch(fixture.access_token, array.concat(
		[fixture.replace("/request/token_type", asked), fixture.replace("/token/typ", "acme+jwt")],
		mistyped_patches[asked],
	))
	mismatch := fixture.deny("header.type_mismatch", sprintf("its typ does not fit what was asked for (%s)", [asked]), {})
	got := fixture.decision(document, {})
	got == fixture.denied(others | {mismatch})
}

test_profile_without_a_noun if {
	own := {
		"token_types": {"access_token": {"acme+jwt": "acme"}},
		"profiles": {"acme": {"required_one_of": {"tenant": true, "org": true}}},
	}
	got := fixture.decision(json.patch(fixture.access_token, [fixture.replace("/token/typ", "acme+jwt")]), own)
	got == fixture.denied({fixture.deny("claims.missing", "lacks org and tenant; such tokens need one of them", {"claims": ["org", "tenant"]})})
}
