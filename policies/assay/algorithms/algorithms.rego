# METADATA
# title: Algorithms and keys
# description: Which algorithms may sign, and how strong and how old the keys may be (RFC 8725 sections 3.1, 3.2 and 3.5).
# schemas:
#   - input: schema.input
package assay.algorithms

import data.assay.config
import data.assay.limits
import data.assay.profile

# METADATA
# title: Algorithm is not allowed
# description: The algorithm that verified the signature is not in the allow-list.
# custom:
#   code: algorithm.not_allowed
#   severity: critical
#   controls: [RFC8725:3.1, RFC8725:3.2, ASVS:9.1.2, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "is signed with an algorithm that the configuration does not allow",
	"details": {},
} if {
	not allowed
}

default allowed := false

allowed if config.algorithms[input.verification.alg] == true

# METADATA
# title: Algorithm is not allowed for this kind of token
# description: The profile has an allow-list of its own, without this algorithm; JWT-SVIDs are signed with RS, ES or PS only.
# custom:
#   code: algorithm.not_allowed
#   severity: critical
#   controls: [RFC8725:3.1, SPIFFE:JWT-SVID, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("is signed with an algorithm that is not allowed for %s", [profile.noun]),
	"details": {},
} if {
	algorithms := profile.settings.algorithms
	not algorithms[input.verification.alg]
}

# METADATA
# title: Algorithm is not allowed here
# description: The issuer, client, audience or a scope has an allow-list of its own, without this algorithm.
# custom:
#   code: algorithm.not_allowed
#   severity: critical
#   controls: [RFC8725:3.1, ASVS:9.1.2, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "is signed with an algorithm that is not allowed for its issuer, client, audience or scope",
	"details": {},
} if {
	algorithms := limits.overrides[_].algorithms
	not algorithms[input.verification.alg]
}

# METADATA
# title: Key is too short
# description: >-
#   The key that signed has fewer bits than min_key_bits asks of its type, for everyone or for the profile, issuer, client,
#   audience or a scope.
# custom:
#   code: key.too_weak
#   severity: critical
#   controls: [RFC8725:3.5, ISO27001:A.8.24]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("is signed with a key of %d bits; %s keys need %d", [actual, input.verification.key.kty, limit]),
	"details": {"actual_bits": actual, "limit_bits": limit},
} if {
	limit := limits.min_key_bits
	actual := input.verification.key.bits
	actual < limit
}

# METADATA
# title: Key is too old
# description: >-
#   The key that signed was made longer ago than max_key_age_seconds, where its age is known and a limit is configured
#   for everyone, the profile, issuer, client, audience or a scope.
# custom:
#   code: key.too_old
#   severity: high
#   controls: [ISO27001:A.8.24, ISO27001:A.5.17]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("is signed with a key that is %d s old; keys may sign for %d s", [seconds, limit]),
	"details": {"actual_seconds": seconds, "limit_seconds": limit},
} if {
	limit := limits.max_key_age_seconds
	seconds := input.time - input.verification.key.created
	seconds > limit
}
