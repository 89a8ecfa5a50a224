# METADATA
# title: Plain tokens
# description: >-
#   A short cut, and nothing else: an access token with time to spare on every limit is known to be without findings
#   from one conjunction, so that the families need not be asked one rule at a time. It may miss such a token, but
#   must never take one for it against which a rule of the library would find something; a test compares every
#   decision with the one that is made without the short cut.
# schemas:
#   - input: schema.input
package assay.plain

import data.assay.config
import data.assay.limits
import data.assay.profile

# METADATA
# title: Plain access token
# description: >-
#   Nothing of lifetime, claims, algorithms, header or revocation is to be found against it. Each line suffices for
#   what some rules find the contrary of; a value of the wrong type makes a line undefined; no leeway is used. Its
#   value is what the token has beyond the claims of every access token. (It is in parts because OPA is slower
#   with bodies of more than sixteen variables.)
token := {} if {
	ordinary
	object.remove(input.token.claims, {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"}) == {}
} else := beyond if {
	ordinary

	# No mark of another kind of token, and of the registered claims none but those whose types are looked at below.
	beyond := object.remove(input.token.claims, {"iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope"})
	object.filter(beyond, {
		"nbf", "azp", "sid", "nonce", "auth_time", "acr", "amr", "at_hash", "c_hash", "events", "cnf", "act", "may_act",
		"kubernetes.io",
	}) == {}
}

ordinary if {
	input.verification.status == "verified"
	input.request.token_type == "access_token"
	timely
	named
	well_keyed
}

# METADATA
# title: Bare access token
# description: A plain one, against which nothing of minimization is to be found either.
bare if {
	token == {}
	configured := config
	input.token.size <= configured.max_token_bytes
	configured.minimization.withhold == {}
	not input.request.purpose

	# The text of suspicious, here as a constant, which spares a look-up.
	not regex.match(`[@+]|[A-Z]{2}[0-9]{2}|[0-9][0-9 -]{11}|[_.-][A-Za-z0-9_-]{10}|A[KSI][A-Za-z]|-----`, input.token.claims.sub)
}

# METADATA
# title: The last second at which a bare token is still bare
# description: >-
#   Of what makes it one only the spare time before exp is ever used up: iat is past, and no age is limited.
until := ceil(input.token.claims.exp - config.cache_for_seconds) - 1

# Nothing is configured for its issuer, audience, client or scopes, and nothing of its profile but what is looked at here
# or limits nothing that a plain token has.
timely if {
	configured := config
	not configured.issuers[input.verification.issuer]
	not configured.audiences[input.request.audience]
	not configured.clients[input.token.claims.client_id]
	configured.scopes == {}
	not configured.not_issued_before
	profile := configured.profiles[configured.token_types.access_token[object.get(input.token, "typ", "")]]
	object.remove(profile, {"noun", "required_claims", "foreign_claims", "expected_classes", "max_lifetime_seconds", "modes"}) == {}
	claims := input.token.claims
	object.remove(profile.required_claims, claims) == {}
	is_number(claims.iat)
	is_number(claims.exp)
	claims.iat <= input.time
	claims.exp - claims.iat <= object.get(profile, "max_lifetime_seconds", configured.max_lifetime_seconds)
	claims.exp - input.time > configured.cache_for_seconds
}

# What is configured for them limits nothing but the lifetime.
timely if {
	limits.overrides != set()
	every limit in limits.overrides {
		object.remove(limit, {"max_lifetime_seconds", "modes", "report_only", "release", "purposes", "token_types", "explicit_typ", "audit"}) == {}
	}
	object.remove(profile.settings, {"noun", "required_claims", "foreign_claims", "expected_classes", "max_lifetime_seconds", "modes"}) == {}
	not config.not_issued_before
	profile.absent == {}
	claims := input.token.claims
	is_number(claims.iat)
	is_number(claims.exp)
	claims.iat <= input.time
	claims.exp - claims.iat <= limits.max_lifetime_seconds
	claims.exp - input.time > config.cache_for_seconds
}

# Identifiers are strings and none of them is empty.
named if {
	claims := input.token.claims
	identifiers := [
		claims.iss,
		claims.sub,
		object.get(claims, "jti", "-"),
		object.get(claims, "client_id", "-"),
		object.get(claims, "scope", "-"),
		input.request.audience,
	]

	# In the order of Rego's types, null, booleans and numbers are before all strings, arrays and objects after them.
	min(identifiers) > ""
	max(identifiers) < []
	claims.aud in {input.request.audience, [input.request.audience]}
}

well_keyed if {
	configured := config
	verification := input.verification
	configured.algorithms[verification.alg]
	verification.key.bits >= configured.min_key_bits[verification.key.kty]
	not configured.max_key_age_seconds
	input.token.key_references == []
	not input.revocation.revoked
	object.get(input.revocation, "age_seconds", 0) <= configured.revocation.max_age_seconds
}

# METADATA
# title: What a string has that a detector of sensitive values might want to see
# description: Every value that one of them recognises matches this.
suspicious := `[@+]|[A-Z]{2}[0-9]{2}|[0-9][0-9 -]{11}|[_.-][A-Za-z0-9_-]{10}|A[KSI][A-Za-z]|-----`
