# METADATA
# title: Limits
# description: >-
#   The limits in force for one token. What is configured for its issuer, its client, the asking audience
#   or one of its scopes takes the place of the profile's limit; where several of these say something, the
#   strictest counts.
# schemas:
#   - input: schema.input
package assay.limits

import data.assay.config
import data.assay.profile

# METADATA
# title: The latest moment that counts as now
latest := input.time + config.leeway_seconds

# METADATA
# title: The earliest moment that counts as now
earliest := input.time - config.leeway_seconds

# METADATA
# title: Overrides
# description: Whatever is configured for this issuer, audience, client and these scopes.
overrides contains config.issuers[input.verification.issuer]

overrides contains config.audiences[input.request.audience]

overrides contains config.clients[input.token.claims.client_id]

# Without client_id, azp names the client, as it does for revocations and waivers.
overrides contains config.clients[input.token.claims.azp] if not input.token.claims.client_id

overrides contains override if {
	some scope, override in config.scopes
	is_string(input.token.claims.scope)
	scope in split(input.token.claims.scope, " ")
}

# METADATA
# title: Constraints
# description: What is configured for the profile and whatever overrides it. Each of these must hold; none replaces another.
constraints := overrides | {profile.settings}

# METADATA
# title: Longest lifetime in seconds
max_lifetime_seconds := min({seconds | seconds := overrides[_].max_lifetime_seconds}) if {
	overrides[_].max_lifetime_seconds
} else := object.get(profile.settings, "max_lifetime_seconds", config.max_lifetime_seconds)

# METADATA
# title: Longest time since iat in seconds
# description: Undefined where nothing is configured.
max_age_seconds := min({seconds | seconds := overrides[_].max_age_seconds}) if {
	overrides[_].max_age_seconds
} else := profile.settings.max_age_seconds

# METADATA
# title: Longest time since auth_time in seconds
# description: Undefined where nothing is configured.
max_auth_age_seconds := min({seconds | seconds := overrides[_].max_auth_age_seconds}) if {
	overrides[_].max_auth_age_seconds
} else := profile.settings.max_auth_age_seconds

# METADATA
# title: Oldest key that may have signed, in seconds
# description: Undefined where nothing is configured.
max_key_age_seconds := min({seconds | seconds := overrides[_].max_key_age_seconds}) if {
	overrides[_].max_key_age_seconds
} else := seconds if {
	seconds := profile.settings.max_key_age_seconds
} else := config.max_key_age_seconds

# METADATA
# title: Shortest key that may have signed, in bits
# description: Of everyone's limit and those of the constraints the longest counts, so that none can weaken another.
min_key_bits := max({bits | some bits in all_key_bits})

all_key_bits contains config.min_key_bits[input.verification.key.kty]

all_key_bits contains constraints[_].min_key_bits[input.verification.key.kty]

# METADATA
# title: The moment before which nothing valid was issued
# description: The latest of everyone's cut-off and those of the constraints. Undefined where nothing is configured.
cut_off := max(cut_offs) if cut_offs != set()

cut_offs contains config.not_issued_before

cut_offs contains constraints[_].not_issued_before

# METADATA
# title: Seconds as they are told
# description: >-
#   Of a number in a token's claims at most 2^53 is told: what is more is no date (and Go's floor denies it), and its
#   three hundred digits would say nothing more to a reader.
told(seconds) := min([seconds, 9007199254740992])
