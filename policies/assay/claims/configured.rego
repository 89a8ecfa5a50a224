package assay.claims

import data.assay.limits

# What is configured about the values of claims, for the profile, the issuer, the client, the asking audience or a
# scope. Where several say something, each must hold.

# METADATA
# title: A claim has none of the expected values
# description: >-
#   expected_claims lists the values that a claim may have; of an array every element must be one of them. A token without
#   the claim has none.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC8725:3.8, ASVS:9.2.4, SOC2:CC6.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has none of the values that are configured for %s", [name]),
	"details": {"claims": [name]},
} if {
	some name, values in limits.constraints[_].expected_claims
	not expected(object.get(input.token.claims, name, null), values)
}

expected(value, values) if value in values

expected(value, values) if {
	is_array(value)
	value != []
	every element in value {
		element in values
	}
}

# METADATA
# title: A claim does not match its pattern
# description: >-
#   claim_patterns has a regular expression that a claim must match, a string or an array of strings. A token without the
#   claim does not match.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC8725:3.8, ASVS:9.2.4, SOC2:CC6.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has a value that does not match the pattern configured for %s", [name]),
	"details": {"claims": [name]},
} if {
	some name, pattern in limits.constraints[_].claim_patterns
	not fits(object.get(input.token.claims, name, null), pattern)
}

fits(value, pattern) if {
	is_string(value)
	regex.match(pattern, value)
}

fits(value, pattern) if {
	is_array(value)
	value != []
	every element in value {
		is_string(element)
		regex.match(pattern, element)
	}
}

# METADATA
# title: The subject does not belong to the issuer
# description: sub does not match the subject_pattern that is configured.
# custom:
#   code: claims.unexpected_value
#   severity: critical
#   controls: [RFC8725:3.8, SOC2:CC6.6]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has a subject that does not match the pattern configured for it",
	"details": {"claims": ["sub"]},
} if {
	pattern := limits.constraints[_].subject_pattern
	not fits_subject(pattern)
}

fits_subject(pattern) if {
	is_string(input.token.claims.sub)
	regex.match(pattern, input.token.claims.sub)
}

# METADATA
# title: A scope is not allowed
# description: scope holds one that is not among the allowed_scopes, such as those that a client's role needs.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [SOC2:CC6.3, ASVS:9.2.4]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has a scope that is not allowed to its issuer, client or audience",
	"details": {"claims": ["scope"]},
} if {
	allowed_scopes := limits.constraints[_].allowed_scopes
	is_string(input.token.claims.scope)
	some scope in split(input.token.claims.scope, " ")
	scope != ""
	not allowed_scopes[scope]
}

# METADATA
# title: Issued to a party that may not come here
# description: >-
#   The authorized party, azp or else client_id, is not among the authorized_parties, or the token names none.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [OIDC:2, ASVS:9.2.3, SOC2:CC6.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "was issued to a party that is not among those configured",
	"details": {"claims": ["azp", "client_id"]},
} if {
	parties := limits.constraints[_].authorized_parties
	not parties[authorized_party]
}

default authorized_party := ""

authorized_party := input.token.claims.azp if {
	is_string(input.token.claims.azp)
} else := input.token.claims.client_id

# METADATA
# title: For too many audiences
# description: aud holds more than max_audiences, so that too many services could pass the token on to one another.
# custom:
#   code: claims.unexpected_value
#   severity: medium
#   controls: [SOC2:CC6.3, ASVS:9.2.4, RFC8725:3.9]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("is for %d audiences; %d are allowed", [actual, limit]),
	"details": {"actual": actual, "limit": limit},
} if {
	limit := min({limit | limit := limits.constraints[_].max_audiences})
	is_array(input.token.claims.aud)
	actual := count(input.token.claims.aud)
	actual > limit
}
