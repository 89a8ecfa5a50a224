package assay.audit_test

import data.assay.audit
import data.assay.config
import data.assay.fixture_test as fixture

# The mask of an access token with these claims beside its own.
masked(further) := mask if {
	mask := resolved with input as object.union(fixture.access_token, {"token": {"claims": further}})
}

resolved := audit.usual if {
	audit.mask == "usual"
} else := audit.mask

cleared(name, further) if [name] in masked(further).clear

veiled(name, further) if [name] in masked(further).pseudonymise

configured(patch) := object.union(config, {"audit": patch})

test_conforming_token if {
	mask := masked({})
	every name in ["iss", "aud", "exp", "iat", "jti", "client_id", "scope"] {
		[name] in mask.clear
		not [name] in mask.pseudonymise
	}
	every name in ["sub", "sid"] {
		not [name] in mask.clear
		[name] in mask.pseudonymise
	}
	mask.clear_request == {["action"]}
	mask.pseudonymise_request == {["client_ip"]}
}

# Of most tokens nothing has to be worked out.
test_usual if {
	audit.mask == "usual" with input as fixture.access_token
	audit.mask == "usual" with input as {"verification": {"status": "malformed"}}
	audit.mask != "usual" with input as object.union(fixture.access_token, {"token": {"claims": {"sub": "read"}}})
}

# Whatever is asked, the mask is there and has its form.
test_always_defined if {
	inputs := [
		{}, {"token": {}}, {"token": {"claims": {}}}, {"token": {"claims": {"sub": 1, "aud": [[]], "iss": null}}},
		{"verification": {"status": "malformed"}}, {"verification": {"issuer": "https://idp.example"}}, {"request": {}},
		{"request": {"action": "x y", "audience": "orders"}},
	]
	every asked in inputs {
		object.keys(resolved) == {"clear", "pseudonymise", "clear_request", "pseudonymise_request"} with input as asked
	}
}

# Of what nobody named, nothing is written, whatever it is called.
test_not_named if {
	mask := masked({"email": "a@b.example", "name": "Alice", "tenant": "acme", "roles": ["admin"], "cnf": {"jkt": "x"}})
	every name in ["email", "name", "tenant", "roles", "cnf"] {
		not [name] in (mask.clear | mask.pseudonymise)
	}
}

# Values of claims that are cleared by name, by whether they show somebody.
values := {
	"a mail address in scope": {"name": "scope", "value": "read mail:alice@example.org", "clear": false, "veiled": true},
	"a mail address in jti": {"name": "jti", "value": "alice@example.org/1", "clear": false, "veiled": true},
	"a mail address in client_id": {"name": "client_id", "value": "alice@example.org", "clear": false, "veiled": true},
	"a mail address in one audience": {"name": "aud", "value": ["orders", "mailto:alice@example.org"], "clear": false, "veiled": true},
	"a telephone number": {"name": "azp", "value": "+49 151 23456789", "clear": false, "veiled": true},
	"an account number": {"name": "scope", "value": "pay:DE89370400440532013000", "clear": false, "veiled": true},
	"a card number": {"name": "jti", "value": "4111 1111 1111 1111", "clear": false, "veiled": true},
	"a secret": {"name": "client_id", "value": "ghp_0123456789abcdefghijABCDEFGHIJ012345", "clear": false, "veiled": true},
	"a token": {"name": "jti", "value": "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln", "clear": false, "veiled": true},
	"the subject itself": {"name": "jti", "value": "user-17", "clear": false, "veiled": true},
	"the subject within": {"name": "scope", "value": "files:/home/user-17/read", "clear": false, "veiled": true},
	"a long text": {"name": "scope", "value": concat("", [x | some _ in numbers.range(1, 110); x := "0123abcdef"]), "clear": false, "veiled": true},
	"a long number": {"name": "jti", "value": 491512345678901, "clear": false, "veiled": true},
	"an object": {"name": "jti", "value": {"alice": true}, "clear": false, "veiled": false},
	"an object in a list": {"name": "amr", "value": [{"alice": true}], "clear": false, "veiled": false},
	"a list in a list": {"name": "amr", "value": [["a"]], "clear": false, "veiled": false},
	"a UUID": {"name": "jti", "value": "018f4b6e-7d3c-7a52-b1de-5c8e4f0a9d21", "clear": true, "veiled": false},
	"what only looks like something": {"name": "scope", "value": "a+b AB12 [[ 123456789012", "clear": true, "veiled": false},
	"methods": {"name": "amr", "value": ["pwd", "otp"], "clear": true, "veiled": false},
	"a date": {"name": "auth_time", "value": 1795459000, "clear": true, "veiled": false},
	"a date that is a name": {"name": "nbf", "value": "alice", "clear": false, "veiled": true},
	"null and booleans": {"name": "acr", "value": [null, true, 1, "A+"], "clear": true, "veiled": false},
	"null": {"name": "acr", "value": null, "clear": true, "veiled": false},
}

test_values[title] if {
	some title, case in values
	claims := {case.name: case.value}
	mask := masked(claims)
	{clear | clear := [case.name] in mask.clear} == {case.clear}
	{veiled | veiled := [case.name] in mask.pseudonymise} == {case.veiled}
	["iss"] in mask.clear # the others stay
}

# A client that acts for itself is nobody's person.
test_machine if {
	claims := {"sub": "orders-batch", "client_id": "orders-batch", "jti": "orders-batch-7"}
	cleared("client_id", claims)
	cleared("jti", claims)
	veiled("sub", claims)
	not cleared("jti", {"sub": "orders-batch", "jti": "orders-batch-7"})
	cleared("jti", {"sub": "", "jti": "1"})
}

# A short subject counts as a word.
test_short_subject if {
	cleared("scope", {"sub": "re", "scope": "read"})
	not cleared("scope", {"sub": "17", "scope": "user:17"})
	not cleared("scope", {"sub": "a\"b<c", "scope": "user:a\"b<c"})
}

test_taken_away_and_added if {
	mask := masked({"tenant": "acme", "org": {"id": "7", "owner": "Alice"}}) with config as configured({"clear": {"scope": false, "tenant": true, "org": {"id": true}}, "pseudonymise": {"sub": false}})
	not ["scope"] in mask.clear
	["tenant"] in mask.clear
	["org", "id"] in mask.clear
	not ["org"] in mask.clear
	not ["sub"] in mask.pseudonymise
}

# An object is not cleared as a whole: what it holds has names of its own.
test_whole_object if {
	mask := masked({"org": {"id": "7"}}) with config as configured({"clear": {"org": true}})
	not ["org"] in (mask.clear | mask.pseudonymise)
}

test_narrower if {
	narrowed := object.union(config, {
		"issuers": {"https://idp.example": {"audit": {"clear": {"scope": false, "tenant": true}, "pseudonymise": {"device": true}}}},
		"audiences": {"orders": {"audit": {"clear": {"tenant": false, "plan": true}}}, "billing": {"audit": {"clear": {"region": true}}}},
	})
	mask := masked({}) with config as narrowed
	not ["scope"] in mask.clear
	not ["tenant"] in mask.clear
	["plan"] in mask.clear
	not ["region"] in mask.clear
	["device"] in mask.pseudonymise
	["sub"] in mask.pseudonymise
	["iss"] in mask.clear
}

test_classes if {
	personal := {"email": "a@b.example", "tenant": "acme", "iban": "x"}
	mask := masked(personal) with config as configured({"classes": {"personal": "pseudonymise"}})
	["email"] in mask.pseudonymise
	not ["tenant"] in mask.pseudonymise
	not ["iban"] in mask.pseudonymise
}

# A class counts above what is cleared, in the defaults or by mistake.
test_classified_is_never_clear if {
	mistaken := object.union(config, {"audit": {"clear": {"email": true, "org": {"name": true, "id": true}}}, "minimization": {"claims": {"scope": "personal"}}})
	mask := masked({}) with config as mistaken
	not ["email"] in mask.clear
	not ["scope"] in mask.clear
	not ["org", "name"] in mask.clear
	["org", "id"] in mask.clear
	audit.problems == {
		{"path": ["audit", "clear", "email"], "text": problem("email")},
		{"path": ["audit", "clear", "org", "name"], "text": problem("org.name")},
	} with config as mistaken
}

problem(path) := sprintf("this writes a claim into the audit log that minimization.claims classifies; pseudonymise it, or, if it shows nobody, set minimization.claims[%q] to none", [path])

test_problems_of_narrower if {
	mistaken := object.union(config, {
		"issuers": {"https://idp.example": {"audit": {"clear": {"name": true}}}, "https://other.example": {}},
		"audiences": {"orders": {"audit": {"clear": {"org.secret": true, "password": false}}}},
		"minimization": {"claims": {"org.secret": "sensitive"}},
	})
	{p.path | some p in audit.problems} == {
		["issuers", "https://idp.example", "audit", "clear", "name"],
		["audiences", "orders", "audit", "clear", "org.secret"],
	} with config as mistaken
	audit.problems == set()
}

# The whole path goes before the names on it.
test_declared_harmless if {
	declared := object.union(config, {"audit": {"clear": {"pod": {"name": true}}}, "minimization": {"claims": {"pod.name": "none"}}})
	audit.problems == set() with config as declared
	mask := masked({"pod": {"name": "web-1"}}) with config as declared
	["pod", "name"] in mask.clear
}

requests := {
	"a word": {"request": {"action": "read"}, "config": {}, "clear": {["action"]}, "pseudonymise": {["client_ip"]}},
	"words": {"request": {"action": "read the mail"}, "config": {}, "clear": set(), "pseudonymise": {["client_ip"]}},
	"the subject": {"request": {"action": "delete:user-17"}, "config": {}, "clear": set(), "pseudonymise": {["client_ip"]}},
	"a number": {"request": {"action": "pay:DE89370400440532013000"}, "config": {}, "clear": set(), "pseudonymise": {["client_ip"]}},
	"configured": {
		"request": {"action": "read"},
		"config": {"action": "erase", "path": "clear", "resource": "pseudonymise", "client_ip": "erase", "context": {"tenant": "clear", "user": "pseudonymise", "note": "erase"}},
		"clear": {["path"], ["context", "tenant"]},
		"pseudonymise": {["resource"], ["context", "user"]},
	},
}

test_requests[title] if {
	some title, case in requests
	asked := object.union(fixture.access_token, {"request": case.request})
	mask := resolved with input as asked with config as configured({"request": case.config})
	mask.clear_request == case.clear
	mask.pseudonymise_request == case.pseudonymise
}
