# METADATA
# title: Lifetime
# description: How long a token lives and where in its life it stands (RFC 7519 section 4.1).
# schemas:
#   - input: schema.input
package assay.lifetime

import data.assay.limits
import data.assay.profile

# METADATA
# title: No expiry
# description: >-
#   The token has no exp. A token that never expires cannot be taken out of circulation by waiting. (A security event
#   token has none, and is no credential.)
# custom:
#   code: lifetime.missing_exp
#   severity: high
#   controls: [RFC9068:2.2, ASVS:9.2.1, GDPR:5.1.e]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has no exp",
	"details": {},
} if {
	not exp_present
	not profile.informs
}

default exp_present := false

exp_present if _ = input.token.claims.exp

# METADATA
# title: No issue time
# description: The token's profile requires iat, and it has none, so its age cannot be told.
# custom:
#   code: lifetime.missing_iat
#   severity: high
#   controls: [RFC9068:2.2, OIDC:2, GDPR:5.1.e]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has no iat; %s need one", [profile.noun]),
	"details": {},
} if {
	profile.absent.iat == true
}

# METADATA
# title: Expired
# description: exp, with the leeway, is past.
# custom:
#   code: lifetime.expired
#   severity: high
#   controls: [RFC9068:4, ASVS:9.2.1, SOC2:CC6.1]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("expired %d s ago", [seconds]),
	"details": {"seconds_since_expiry": seconds},
} if {
	input.token.claims.exp <= limits.earliest
	is_number(input.token.claims.exp)
	seconds := limits.told(input.time - floor(input.token.claims.exp))
}

# METADATA
# title: Not valid yet
# description: nbf, with the leeway, is ahead.
# custom:
#   code: lifetime.not_yet_valid
#   severity: high
#   controls: [RFC7519:4.1, ASVS:9.2.1]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("not valid for another %d s", [seconds]),
	"details": {"seconds_until_valid": seconds},
} if {
	input.token.claims.nbf > limits.latest
	is_number(input.token.claims.nbf)
	seconds := limits.told(floor(input.token.claims.nbf) - input.time)
}

# METADATA
# title: Issued in the future
# description: iat, with the leeway, is ahead.
# custom:
#   code: lifetime.issued_in_future
#   severity: high
#   controls: [RFC7519:4.1]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("says that it will be issued in %d s", [seconds]),
	"details": {"seconds_ahead": seconds},
} if {
	input.token.claims.iat > limits.latest
	is_number(input.token.claims.iat)
	seconds := limits.told(floor(input.token.claims.iat) - input.time)
}

# METADATA
# title: Lives longer than allowed
# description: >-
#   exp lies further from iat than the limit. A token without iat, or with one in the future, counts as issued
#   now, so that neither can lengthen its life.
# custom:
#   code: lifetime.too_long
#   severity: high
#   controls: [SOC2:CC6.1, ISO27001:A.5.17, GDPR:5.1.e]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("lives %d s; %s may live %d s", [seconds, profile.noun, limits.max_lifetime_seconds]),
	"details": {"actual_seconds": seconds, "limit_seconds": limits.max_lifetime_seconds},
} if {
	is_number(input.token.claims.exp)
	lifetime := input.token.claims.exp - born
	lifetime > limits.max_lifetime_seconds
	seconds := limits.told(ceil(lifetime))
}

born := input.token.claims.iat if {
	is_number(input.token.claims.iat)
	input.token.claims.iat <= limits.latest
} else := limits.latest if {
	is_number(input.token.claims.iat)
} else := input.time

# METADATA
# title: Issued too long ago
# description: iat lies further back than the configured max_age_seconds.
# custom:
#   code: lifetime.too_old
#   severity: medium
#   controls: [SOC2:CC6.1, ISO27001:A.5.17, GDPR:5.1.e]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("was issued %d s ago; %d s are allowed", [seconds, limit]),
	"details": {"actual_seconds": seconds, "limit_seconds": limit},
} if {
	limit := limits.max_age_seconds
	input.token.claims.iat < limits.earliest - limit
	is_number(input.token.claims.iat)
	seconds := limits.told(input.time - floor(input.token.claims.iat))
}

# METADATA
# title: Signed in too long ago
# description: auth_time lies further back than the configured max_auth_age_seconds, or is not there to tell.
# custom:
#   code: lifetime.too_old
#   severity: medium
#   controls: [OIDC:2, SOC2:CC6.1, ISO27001:A.8.5]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("its subject signed in %d s ago; %d s are allowed", [seconds, limit]),
	"details": {"actual_seconds": seconds, "limit_seconds": limit},
} if {
	limit := limits.max_auth_age_seconds
	input.token.claims.auth_time < limits.earliest - limit
	is_number(input.token.claims.auth_time)
	seconds := limits.told(input.time - floor(input.token.claims.auth_time))
}

# METADATA
# title: Time of signing in is not told
# description: max_auth_age_seconds is configured and the token has no auth_time.
# custom:
#   code: lifetime.too_old
#   severity: medium
#   controls: [OIDC:2, SOC2:CC6.1, ISO27001:A.8.5]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("does not say when its subject signed in; at most %d s ago is allowed", [limit]),
	"details": {"limit_seconds": limit},
} if {
	limit := limits.max_auth_age_seconds
	not auth_time_present
}

default auth_time_present := false

auth_time_present if _ = input.token.claims.auth_time

# METADATA
# title: Issued before the cut-off
# description: iat lies before the not_issued_before that is configured for everyone, the profile, issuer, client, audience or a scope.
# custom:
#   code: lifetime.too_old
#   severity: high
#   controls: [SOC2:CC7.4, ISO27001:A.5.26]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("was issued %d s before the cut-off that is configured for it", [seconds]),
	"details": {"cut_off": cut_off},
} if {
	cut_off := limits.cut_off
	born < cut_off
	seconds := limits.told(ceil(cut_off - born))
}
