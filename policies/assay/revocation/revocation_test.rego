package assay.revocation_test

import data.assay.fixture_test as fixture

test_revoked[kind] if {
	some kind in {"token", "subject", "client", "session", "key", "issuer"}
	got := fixture.decision(json.patch(fixture.access_token, [fixture.add("/revocation/revoked", kind)]), {})
	got == fixture.denied({fixture.deny(concat(".", ["revocation", kind]), sprintf("revoked: an entry for this %s is in force", [kind]), {})})
}

stale(actual, limit) := [
	"revocation.feed_stale",
	sprintf("what is known of revocations is %d s old; %d s are allowed", [actual, limit]),
	{"actual_seconds": actual, "limit_seconds": limit},
]

feed_cases := {
	"as old as allowed": {
		"patch": [fixture.replace("/revocation/age_seconds", 10)],
		"want": fixture.allowed,
	},
	"a moment older": {
		"patch": [fixture.replace("/revocation/age_seconds", 10.001)],
		"want": fixture.denied({fixture.deny(stale(11, 10)[0], stale(11, 10)[1], stale(11, 10)[2])}),
	},
	"older, and only a warning": {
		"patch": [fixture.replace("/revocation/age_seconds", 400)],
		"config": {"modes": {"revocation.feed_stale": "warn"}},
		"want": fixture.allowed_with({fixture.warn(stale(400, 10)[0], stale(400, 10)[1], stale(400, 10)[2])}),
	},
	"nothing is known": {
		"patch": [fixture.replace("/revocation", {"known": false})],
		"want": fixture.allowed,
	},
}

test_feed[name] if {
	some name, case in feed_cases
	got := fixture.decision(json.patch(fixture.access_token, case.patch), object.get(case, "config", {}))
	got == case.want
}
