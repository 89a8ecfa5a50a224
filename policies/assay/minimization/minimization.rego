# METADATA
# title: Data minimization
# description: >-
#   Which claims may leave towards the asking audience, and which should not be in a token at all (GDPR articles
#   5.1.c and 25). What the standards' own protocol claims tell is returned; every other claim is held back unless
#   the configuration releases it for everyone, for the audience or for the purpose. A token that has only
#   protocol claims leaves this package after a few look-ups. What of the rest is sensitive is judged in
#   assay.sensitive.
# schemas:
#   - input: schema.input
package assay.minimization

import data.assay
import data.assay.config
import data.assay.limits

# Claims of the standards that say who issued what to whom, when and for what, and nothing else about a person.
protocol := {
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "client_id", "azp", "sid", "nonce", "auth_time",
	"acr", "amr", "at_hash", "c_hash", "events", "cnf", "act", "may_act",
}

protocol_paths := {
	["iss"], ["sub"], ["aud"], ["exp"], ["nbf"], ["iat"], ["jti"], ["scope"], ["client_id"], ["azp"], ["sid"],
	["nonce"], ["auth_time"], ["acr"], ["amr"], ["at_hash"], ["c_hash"], ["events"], ["cnf"], ["act"], ["may_act"],
}

# METADATA
# title: Claims beyond the protocol's
extra := object.remove(input.token.claims, protocol)

# METADATA
# title: Released paths
# description: The paths of the claims that the asking audience may see. A path that the token does not have releases nothing.
released := protocol_paths if {
	plain
} else := protocol_paths | granted if {
	withheld == set()
} else := {path |
	some path in (protocol_paths | granted)
	not path[0] in withheld
}

# METADATA
# title: Obligations
# description: The caller must not read from the token itself what was held back.
obligations := {} if {
	plain
} else := {"omit_claims": sort(object.keys(extra))} if {
	granted == set()
	withheld == set()
} else := {"omit_claims": sort(omitted)} if {
	omitted != set()
} else := {}

default plain := false

plain if {
	extra == {}
	withheld == set()
}

withheld contains name if some name, true in config.minimization.withhold

withheld contains name if some name, true in limits.overrides[_].withhold

granted contains path if {
	some grant in grants
	grant != {}
	walk(grant, [path, true])
}

grants contains config.minimization.release

grants contains limits.overrides[_].release

grants contains config.purposes[input.request.purpose].release if purpose_allowed

# METADATA
# title: Held back
# description: What of the extra claims is not released; of a claim that is released in part, the rest.
held_back := extra if {
	granted == set()
} else := {name: value |
	some name, value in json.remove(extra, granted)
	not emptied(name, value)
}

emptied(name, {}) if extra[name] != {}

partly := {path[0] | some path in granted; count(path) > 1}

omitted contains name if {
	some name, _ in held_back
	not name in partly
}

omitted contains concat(".", path) if {
	walk(held_back, [path, value])
	path[0] in partly
	not is_object(value)
	every step in path {
		is_string(step)
	}
}

omitted contains name if {
	some name in withheld
	_ = input.token.claims[name]
}

# METADATA
# title: Claim is not needed
# description: >-
#   The token has claims that nothing releases to the asking audience. By default they are held back and do not
#   deny (the rule's mode is off); an organisation that wants them out of the token sets the mode to warn or deny.
# custom:
#   code: minimization.claim_not_allowed
#   severity: medium
#   controls: [GDPR:5.1.c, GDPR:25, SOC2:CC6.3, ISO27001:A.5.34]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has claims that the asking audience does not need: %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	extra != {}
	assay.mode_of("minimization.claim_not_allowed", {}) != "off"
	names := sort(omitted - withheld)
	names != []
}

# METADATA
# title: Larger than allowed
# description: The compact token has more bytes than max_token_bytes.
# custom:
#   code: minimization.too_large
#   severity: medium
#   controls: [GDPR:5.1.c, GDPR:25]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has %d bytes; tokens may have %d", [input.token.size, limit]),
	"details": {"actual_bytes": input.token.size, "limit_bytes": limit},
} if {
	limit := config.max_token_bytes
	input.token.size > limit
}

# METADATA
# title: Purpose is not allowed
# description: >-
#   The request names a purpose that is not among the audience's purposes, or, where the audience has no list, not
#   among those that are configured at all.
# custom:
#   code: minimization.purpose_not_allowed
#   severity: high
#   controls: [GDPR:5.1.c, GDPR:25, SOC2:CC6.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "the request names a purpose that its audience is not allowed",
	"details": {},
} if {
	_ = input.request.purpose
	not purpose_allowed
}

default purpose_allowed := false

purpose_allowed if config.audiences[input.request.audience].purposes[input.request.purpose] == true

purpose_allowed if {
	not config.audiences[input.request.audience].purposes
	config.purposes[input.request.purpose]
}

purpose_allowed if {
	not config.audiences[input.request.audience].purposes
	config.purposes == {}
}
