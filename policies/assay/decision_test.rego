package assay_test

import data.assay
import data.assay.fixture_test as fixture

now := fixture.now

not_verified := fixture.denied({fixture.deny("signature.invalid", "the token was not verified", {})})

unverified_cases := {
	"nothing at all": {"document": {}, "want": not_verified},
	"null": {"document": null, "want": not_verified},
	"only a request": {"document": {"request": {"token_type": "access_token"}}, "want": not_verified},
	"good claims that nobody verified": {
		"document": json.patch(fixture.access_token, [fixture.remove("/verification")]),
		"want": not_verified,
	},
	"another status, without a code": {
		"document": json.patch(fixture.access_token, [fixture.replace("/verification", {"status": "VERIFIED"})]),
		"want": not_verified,
	},
	"the examination said why": {
		"document": json.patch(fixture.access_token, [fixture.replace("/verification", {"status": "signature_invalid", "code": "signature.invalid"})]),
		"want": fixture.denied(set()),
	},
}

test_unverified[name] if {
	some name, case in unverified_cases
	got := fixture.decision(case.document, {})
	got == case.want
}

test_no_input if {
	decided := assay.decision with data.assay.config as {}
	decided.allow == false
	decided.reasons != set()
}

# Without a part of the input there is no allow, whatever the part.
test_every_part_is_needed[path] if {
	some path in ["/time", "/request", "/request/audience", "/request/token_type", "/token", "/token/claims", "/verification", "/verification/status", "/verification/alg"]
	decided := fixture.decision(json.patch(fixture.access_token, [fixture.remove(path)]), {})
	decided.allow == false
	some reason in decided.reasons
	reason.enforcement == "deny"
}

test_without_configuration_nothing_is_allowed if {
	decided := assay.decision with input as fixture.access_token with data.assay.config as {}
	decided.allow == false
	decided.reasons != set()
}

test_conforming_access_token if {
	fixture.decision(fixture.access_token, {}) == fixture.allowed
	assay.plain.bare with input as fixture.access_token
}

# One decision in full, with what comes from the metadata.
test_whole_decision if {
	document := json.patch(fixture.access_token, [fixture.set_claim("iat", now - 10), fixture.set_claim("exp", now + 86390)])
	decided := assay.decision with input as document
	decided == {
		"allow": false,
		"reasons": {{
			"code": "lifetime.too_long",
			"message": "lives 86400 s; access tokens may live 3600 s",
			"severity": "high",
			"enforcement": "deny",
			"details": {"actual_seconds": 86400, "limit_seconds": 3600},
			"controls": ["SOC2:CC6.1", "ISO27001:A.5.17", "GDPR:5.1.e"],
		}},
		"claims": set(),
		"obligations": {},
		"cache_for_seconds": 0,
	}
}

expired_too_long := [fixture.set_claim("iat", now - 60), fixture.set_claim("exp", now + 7140)]

too_long(enforcement) := fixture.reason(enforcement, "lifetime.too_long", "lives 7200 s; access tokens may live 3600 s", {"actual_seconds": 7200, "limit_seconds": 3600})

denied := fixture.denied({too_long("deny")})

warned := fixture.allowed_with({too_long("warn")})

waived := fixture.allowed_with({too_long("waived")})

waiver(changes) := {"waivers": [object.union(
	{"rule": "lifetime.too_long", "issuer": "https://idp.example", "until": "2026-11-30", "ticket": "SEC-1"},
	changes,
)]}

# now is 2026-11-23T18:53:20Z.
enforcement_cases := {
	"by default": {"config": {}, "want": denied},
	"warn": {"config": {"modes": {"lifetime.too_long": "warn"}}, "want": warned},
	"off": {"config": {"modes": {"lifetime.too_long": "off"}}, "want": fixture.allowed},
	"a mode that does not exist": {"config": {"modes": {"lifetime.too_long": "bolck"}}, "want": denied},
	"another rule's mode": {"config": {"modes": {"lifetime.expired": "off"}}, "want": denied},
	"the profile's mode": {"config": {"profiles": {"access_token": {"modes": {"lifetime.too_long": "warn"}}}}, "want": warned},
	"another profile's mode": {"config": {"profiles": {"generic": {"modes": {"lifetime.too_long": "warn"}}}}, "want": denied},
	"the profile before everyone": {
		"config": {"modes": {"lifetime.too_long": "off"}, "profiles": {"access_token": {"modes": {"lifetime.too_long": "deny"}}}},
		"want": denied,
	},
	"the issuer before the profile": {
		"config": {
			"profiles": {"access_token": {"modes": {"lifetime.too_long": "off"}}},
			"issuers": {"https://idp.example": {"modes": {"lifetime.too_long": "warn"}}},
		},
		"want": warned,
	},
	"another issuer's mode": {"config": {"issuers": {"https://idp.example/": {"modes": {"lifetime.too_long": "warn"}}}}, "want": denied},
	"report only": {"config": {"issuers": {"https://idp.example": {"report_only": true}}}, "want": warned},
	"not report only": {"config": {"issuers": {"https://idp.example": {"report_only": false}}}, "want": denied},
	"a waiver": {"config": waiver({}), "want": waived},
	"a waiver for another rule": {"config": waiver({"rule": "lifetime.expired"}), "want": denied},
	"a waiver for another issuer": {"config": waiver({"issuer": "https://idp.example/"}), "want": denied},
	"a waiver for a client": {"config": waiver({"client": "web"}), "want": waived},
	"a waiver for another client": {"config": waiver({"client": "app"}), "want": denied},
	"a waiver for an audience": {"config": waiver({"audience": "orders"}), "want": waived},
	"a waiver for another audience": {"config": waiver({"audience": "billing"}), "want": denied},
	"a waiver for nobody": {"config": {"waivers": [{"rule": "lifetime.too_long", "until": "2026-11-30", "ticket": "SEC-1"}]}, "want": denied},
	"a waiver in its last second": {"config": waiver({"until": "2026-11-23T18:53:20Z"}), "want": waived},
	"a waiver a second past its date": {"config": waiver({"until": "2026-11-23T18:53:19Z"}), "want": denied},
	"a waiver on its last day": {"config": waiver({"until": "2026-11-23"}), "want": waived},
	"a waiver on the day after": {"config": waiver({"until": "2026-11-22"}), "want": denied},
	"a waiver with an offset, which is not read": {"config": waiver({"until": "2026-11-23T19:53:20+01:00"}), "want": denied},
	"a waiver with a number for a date": {"config": waiver({"until": 1795999999}), "want": denied},
	"a waiver without a date": {"config": {"waivers": [{"rule": "lifetime.too_long", "issuer": "https://idp.example"}]}, "want": denied},
	"a waiver with an unreadable date": {"config": waiver({"until": "next week"}), "want": denied},
	"a waiver does not make a warning more": {"config": object.union(waiver({}), {"modes": {"lifetime.too_long": "warn"}}), "want": warned},
}

test_enforcement[name] if {
	some name, case in enforcement_cases
	got := fixture.decision(json.patch(fixture.access_token, expired_too_long), case.config)
	got == case.want
}

# A waiver can lift what policy finds and not what every allow needs.
test_waiver_does_not_revive_an_expired_token if {
	document := json.patch(fixture.access_token, [fixture.set_claim("exp", now - 31)])
	got := fixture.decision(document, waiver({"rule": "lifetime.expired"}))
	got == fixture.denied({
		fixture.waived("lifetime.expired", "expired 31 s ago", {"seconds_since_expiry": 31}),
		fixture.deny("policy.undefined", "nothing was found against the token, but a condition of every allow does not hold: a known profile and an exp that is not past", {}),
	})
}

test_all_findings_are_collected if {
	document := json.patch(fixture.access_token, [
		fixture.set_claim("exp", now - 31),
		fixture.set_claim("aud", "billing"),
		fixture.replace("/verification/alg", "HS256"),
		fixture.replace("/token/key_references", ["jku"]),
		fixture.add("/revocation/revoked", "token"),
	])
	codes := {reason.code | some reason in fixture.decision(document, {}).reasons}
	codes == {"lifetime.expired", "claims.audience_mismatch", "algorithm.not_allowed", "header.key_reference", "revocation.token"}
}

own_rule := {"custom": {"code": "acme.no_robots", "severity": "low", "controls": ["SOC2:CC6.3"]}}

own_finding := {"rule": own_rule, "message": "robots are not served", "details": {"claims": ["sub"]}}

own_cases := {
	"nothing found": {"rules": {"acme": {"findings": set()}}, "want": fixture.allowed},
	"found": {
		"rules": {"acme": {"findings": {own_finding}}},
		"want": fixture.denied({fixture.deny("acme.no_robots", "robots are not served", {"claims": ["sub"]})}),
	},
	"found, and only a warning by its metadata": {
		"rules": {"acme": {"findings": {object.union(own_finding, {"rule": {"custom": {"mode": "warn"}}})}}},
		"want": fixture.allowed_with({fixture.warn("acme.no_robots", "robots are not served", {"claims": ["sub"]})}),
	},
	"found, and switched off by configuration": {
		"rules": {"acme": {"findings": {own_finding}}},
		"config": {"modes": {"acme.no_robots": "off"}},
		"want": fixture.allowed,
	},
	"a finding that says nothing": {
		"rules": {"acme": {"findings": {{}}}},
		"want": fixture.denied({fixture.deny("policy.undefined", "a rule found something and does not say what", {})}),
	},
	"a finding that is no object": {
		"rules": {"acme": {"findings": {"robots"}}},
		"want": fixture.denied({fixture.deny("policy.undefined", "a rule's finding is not an object with rule, message and details", {})}),
	},
}

test_own_rules[name] if {
	some name, case in own_cases
	got := fixture.decision(fixture.access_token, object.get(case, "config", {})) with data.assay.rules as case.rules
	got == case.want
}

test_profile_of_ones_own if {
	own := {
		"token_types": {"access_token": {"acme+jwt": "acme"}},
		"profiles": {"acme": {"required_claims": {"tenant": true}}},
	}
	document := json.patch(fixture.access_token, [fixture.replace("/token/typ", "acme+jwt"), fixture.set_claim("exp", now + 3600)])
	fixture.decision(document, own) == fixture.denied({
		fixture.deny("claims.missing", "lacks tenant; such tokens need it", {"claims": ["tenant"]}),
		fixture.deny("lifetime.too_long", "lives 3660 s; such tokens may live 3600 s", {"actual_seconds": 3660, "limit_seconds": 3600}),
	})
}
