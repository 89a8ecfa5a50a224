package assay.claims_test

import data.assay.fixture_test as fixture

client(settings) := {"clients": {"web": settings}}

none_of(name) := unexpected(sprintf("has none of the values that are configured for %s", [name]), [name])

no_match(name) := unexpected(sprintf("has a value that does not match the pattern configured for %s", [name]), [name])

bad_scope := unexpected("has a scope that is not allowed to its issuer, client or audience", ["scope"])

bad_party := unexpected("was issued to a party that is not among those configured", ["azp", "client_id"])

roles := {"expected_claims": {"roles": ["reader", "writer"]}}

tenant := {"claim_patterns": {"tenant": "^acme-[0-9]+$"}}

# What is released is all that is not held back, so that only the rules in question show in the decision.
released := {"minimization": {"release": {"roles": true, "tenant": true}}}

configured_cases := {
	"an expected value": {"claims": {"roles": "reader"}, "config": client(roles), "want": set()},
	"an unexpected value": {"claims": {"roles": "admin"}, "config": client(roles), "want": {none_of("roles")}},
	"expected values in an array": {"claims": {"roles": ["writer", "reader"]}, "config": client(roles), "want": set()},
	"one unexpected value in an array": {"claims": {"roles": ["writer", "admin"]}, "config": client(roles), "want": {none_of("roles")}},
	"no value in an array": {"claims": {"roles": []}, "config": client(roles), "want": {none_of("roles")}},
	"an expected value that is missing": {"claims": {}, "config": client(roles), "want": {none_of("roles")}},
	"values expected of a profile": {"claims": {"roles": "admin"}, "config": {"profiles": {"access_token": roles}}, "want": {none_of("roles")}},
	"a value that matches": {"claims": {"tenant": "acme-17"}, "config": client(tenant), "want": set()},
	"a value that does not match": {"claims": {"tenant": "acme-17x"}, "config": client(tenant), "want": {no_match("tenant")}},
	"values that match": {"claims": {"tenant": ["acme-1", "acme-2"]}, "config": client(tenant), "want": set()},
	"one value that does not match": {"claims": {"tenant": ["acme-1", "acme"]}, "config": client(tenant), "want": {no_match("tenant")}},
	"a value that is no string": {"claims": {"tenant": 17}, "config": client(tenant), "want": {no_match("tenant")}},
	"one value that is no string": {"claims": {"tenant": ["acme-1", 17]}, "config": client(tenant), "want": {no_match("tenant")}},
	"nothing to match": {"claims": {}, "config": client(tenant), "want": {no_match("tenant")}},
	"a subject of the profile": {
		"claims": {},
		"config": {"profiles": {"access_token": {"subject_pattern": "^admin-"}}},
		"want": {unexpected("has a subject that does not match the pattern configured for it", ["sub"])},
	},
	"allowed scopes": {"claims": {}, "config": client({"allowed_scopes": {"orders:read": true, "orders:write": true}}), "want": set()},
	"a scope too many": {"claims": {}, "config": client({"allowed_scopes": {"orders:read": true, "orders:write": false}}), "want": {bad_scope}},
	"no scope": {"claims": {"scope": ""}, "config": client({"allowed_scopes": {"orders:read": true}}), "want": set()},
	"a scope that one allows and another does not": {
		"claims": {"scope": "orders:read"},
		"config": object.union(client({"allowed_scopes": {"orders:read": true}}), {"audiences": {"orders": {"allowed_scopes": {"orders:write": true}}}}),
		"want": {bad_scope},
	},
	"a party that may come": {"claims": {}, "config": {"audiences": {"orders": {"authorized_parties": {"web": true}}}}, "want": set()},
	"a party that may not come": {"claims": {}, "config": {"audiences": {"orders": {"authorized_parties": {"app": true}}}}, "want": {bad_party}},
	"azp goes before client_id": {
		"claims": {"azp": "app"},
		"config": {"audiences": {"orders": {"authorized_parties": {"web": true}}}},
		"want": {bad_party},
	},
	"nobody it was issued to": {
		"claims": {"client_id": ""},
		"config": {"issuers": {"https://idp.example": {"authorized_parties": {"web": true}}}},
		"want": {bad_party, unexpected("has an empty client_id", ["client_id"])},
	},
	"as many audiences as allowed": {"claims": {"aud": ["orders", "b"]}, "config": {"issuers": {"https://idp.example": {"max_audiences": 2}}}, "want": set()},
	"an audience too many": {
		"claims": {"aud": ["orders", "b", "c"]},
		"config": {"issuers": {"https://idp.example": {"max_audiences": 2}}},
		"want": {fixture.deny("claims.unexpected_value", "is for 3 audiences; 2 are allowed", {"actual": 3, "limit": 2})},
	},
	"one audience is no array": {"claims": {}, "config": {"profiles": {"access_token": {"max_audiences": 1}}}, "want": set()},
}

test_configured[name] if {
	some name, case in configured_cases
	changed := json.patch(fixture.access_token, [fixture.set_claim(claim, value) | some claim, value in case.claims])
	decided := fixture.decision(changed, object.union(case.config, released))
	decided.reasons == case.want
	clean := count(case.want) == 0
	decided.allow == clean
}

# No party at all: neither azp nor client_id.
test_no_party if {
	document := json.patch(fixture.access_token, [fixture.remove("/token/typ"), fixture.drop_claim("client_id")])
	decided := fixture.decision(document, {"audiences": {"orders": {"authorized_parties": {"web": true}}}})
	decided == fixture.denied({bad_party})
}

other_party := unexpected("is for several audiences and was issued to another one than asks", ["azp"])

party_cases := {
	"issued to another audience": {"aud": ["orders", "b"], "config": {}, "want": {other_party}},
	"issued to an authorized party": {"aud": ["orders", "b"], "config": {"audiences": {"orders": {"authorized_parties": {"b": true}}}}, "want": set()},
	"for one audience": {"aud": ["orders"], "config": {}, "want": set()},
}

test_id_token_party[name] if {
	some name, case in party_cases
	document := json.patch(fixture.id_token, [fixture.set_claim("aud", case.aud), fixture.set_claim("azp", "b")])
	decided := fixture.decision(document, case.config)
	decided.reasons == case.want
}
