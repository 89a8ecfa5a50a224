package assay.minimization_test

import data.assay.fixture_test as fixture

# Deny is the mode wherever this is merged in, so that what is found shows in the answer.
strict := {"modes": {"minimization.claim_not_allowed": "deny"}}

not_needed(names) := fixture.deny("minimization.claim_not_allowed", sprintf("has claims that the asking audience does not need: %s", [concat(", ", names)]), {"claims": names})

tenant := [fixture.set_claim("tenant", "acme"), fixture.set_claim("roles", ["a", "b"])]

address := [fixture.set_claim("address", {"country": "NL", "locality": "Delft", "geo": {"lat": 52, "lon": 4}})]

release_cases := {
	"what nothing releases is held back": {
		"patch": tenant,
		"want": fixture.omitting(fixture.allowed, ["roles", "tenant"]),
	},
	"what nothing releases denies where that is asked for": {
		"patch": tenant,
		"config": strict,
		"want": fixture.denied({not_needed(["roles", "tenant"])}),
	},
	"released to everyone": {
		"patch": tenant,
		"config": object.union(strict, {"minimization": {"release": {"tenant": true, "roles": true}}}),
		"want": fixture.releasing(fixture.allowed, {["tenant"], ["roles"]}),
	},
	"released, and released no more": {
		"patch": tenant,
		"config": {"minimization": {"release": {"tenant": true, "roles": false}}},
		"want": fixture.omitting(fixture.releasing(fixture.allowed, {["tenant"]}), ["roles"]),
	},
	"released to its audience": {
		"patch": tenant,
		"config": {"audiences": {"orders": {"release": {"tenant": true}}}},
		"want": fixture.omitting(fixture.releasing(fixture.allowed, {["tenant"]}), ["roles"]),
	},
	"released to another audience": {
		"patch": tenant,
		"config": {"audiences": {"billing": {"release": {"tenant": true}}}},
		"want": fixture.omitting(fixture.allowed, ["roles", "tenant"]),
	},
	"released in part": {
		"patch": address,
		"config": object.union(strict, {"audiences": {"orders": {"release": {"address": {"country": true, "geo": {"lat": true}}}}}, "modes": {"minimization.sensitive_claim": "off"}}),
		"want": fixture.denied({not_needed(["address.geo.lon", "address.locality"])}),
	},
	"released in part, and the rest held back": {
		"patch": address,
		"config": {"audiences": {"orders": {"release": {"address": {"country": true}}}}, "modes": {"minimization.sensitive_claim": "off"}},
		"want": fixture.omitting(
			fixture.releasing(fixture.allowed, {["address", "country"]}),
			["address.geo.lat", "address.geo.lon", "address.locality"],
		),
	},
	"released member by member": {
		"patch": [fixture.set_claim("org", {"unit": "a"})],
		"config": object.union(strict, {"audiences": {"orders": {"release": {"org": {"unit": true}}}}}),
		"want": fixture.releasing(fixture.allowed, {["org", "unit"]}),
	},
	"a claim with a name like a path": {
		"patch": [fixture.set_claim("https://acme.example/roles", ["a"])],
		"config": {"audiences": {"orders": {"release": {"https://acme.example/roles": true}}}},
		"want": fixture.releasing(fixture.allowed, {["https://acme.example/roles"]}),
	},
	"withheld from everyone": {
		"patch": [],
		"config": {"minimization": {"withhold": {"sub": true, "sid": true, "scope": false}}},
		"want": fixture.omitting(object.union(fixture.allowed, {"claims": fixture.protocol - {["sub"], ["sid"]}}), ["sub"]),
	},
	"withheld from its audience": {
		"patch": [],
		"config": {"audiences": {"orders": {"withhold": {"client_id": true}}}},
		"want": fixture.omitting(object.union(fixture.allowed, {"claims": fixture.protocol - {["client_id"]}}), ["client_id"]),
	},
	"released to a purpose": {
		"patch": array.concat(tenant, [fixture.add("/request/purpose", "fulfilment")]),
		"config": {"purposes": {"fulfilment": {"release": {"tenant": true}}}},
		"want": fixture.omitting(fixture.releasing(fixture.allowed, {["tenant"]}), ["roles"]),
	},
	"a purpose where none is configured": {
		"patch": [fixture.add("/request/purpose", "fulfilment")],
		"want": fixture.allowed,
	},
	"a purpose that is not configured": {
		"patch": [fixture.add("/request/purpose", "marketing")],
		"config": {"purposes": {"fulfilment": {}}},
		"want": fixture.denied({no_purpose}),
	},
	"a purpose that its audience may have": {
		"patch": [fixture.add("/request/purpose", "fulfilment")],
		"config": {"purposes": {"fulfilment": {}}, "audiences": {"orders": {"purposes": {"fulfilment": true}}}},
		"want": fixture.allowed,
	},
	"a purpose that its audience may not have": {
		"patch": [fixture.add("/request/purpose", "fulfilment")],
		"config": {"purposes": {"fulfilment": {}}, "audiences": {"orders": {"purposes": {"marketing": true}}}},
		"want": fixture.denied({no_purpose}),
	},
	"as large as allowed": {
		"patch": [fixture.replace("/token/size", 16384)],
		"want": fixture.allowed,
	},
	"a byte larger": {
		"patch": [fixture.replace("/token/size", 16385)],
		"want": fixture.denied({fixture.deny("minimization.too_large", "has 16385 bytes; tokens may have 16384", {"actual_bytes": 16385, "limit_bytes": 16384})}),
	},
}

no_purpose := fixture.deny("minimization.purpose_not_allowed", "the request names a purpose that its audience is not allowed", {})

test_release[name] if {
	some name, case in release_cases
	got := fixture.decision(json.patch(fixture.access_token, case.patch), object.get(case, "config", {}))
	got == case.want
}
