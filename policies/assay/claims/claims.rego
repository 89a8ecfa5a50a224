# METADATA
# title: Claims
# description: Which claims a token must have, of which type, and for which audience (RFC 7519 section 4.1, RFC 9068 section 2.2).
# schemas:
#   - input: schema.input
package assay.claims

import data.assay.limits
import data.assay.profile

# METADATA
# title: A required claim is missing
# description: The token's profile requires a claim that it does not have. exp and iat have codes of their own.
# custom:
#   code: claims.missing
#   severity: high
#   controls: [RFC9068:2.2, OIDC:2, OIDC-BCL:2.6, SPIFFE:JWT-SVID, RFC8725:3.9]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("lacks %s; %s need it", [concat(", ", names), profile.noun]),
	"details": {"claims": names},
} if {
	profile.absent != {}
	names := sort({name | some name, true in profile.absent} - {"exp", "iat"})
	names != []
}

# METADATA
# title: A claim required here is missing
# description: What is configured for the issuer, client, audience or a scope requires a claim that the token does not have.
# custom:
#   code: claims.missing
#   severity: high
#   controls: [RFC8725:3.8, ASVS:9.2.4]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("lacks %s, which is required for its issuer, client, audience or scope", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	some override in limits.overrides
	names := sort({name | some name, true in object.remove(override.required_claims, input.token.claims)})
	names != []
}

# METADATA
# title: No authorized party
# description: >-
#   The profile's tokens, when they are for several audiences, name the authorized party in azp, as ID tokens do
#   (OpenID Connect Core section 2).
# custom:
#   code: claims.missing
#   severity: high
#   controls: [OIDC:2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("lacks azp; %s for several audiences need it", [profile.asked_noun]),
	"details": {"claims": ["azp"]},
} if {
	profile.asked.several_audiences_need_azp == true
	is_array(input.token.claims.aud)
	count(input.token.claims.aud) > 1
	not "azp" in object.keys(input.token.claims)
}

# METADATA
# title: Issued to another party
# description: >-
#   The profile's tokens for several audiences name in azp whom they were issued to; that is not the audience that asks,
#   nor one of the authorized_parties configured for it (OpenID Connect Core section 3.1.3.7).
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [OIDC:2, RFC8725:3.9]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "is for several audiences and was issued to another one than asks",
	"details": {"claims": ["azp"]},
} if {
	profile.asked.several_audiences_need_azp == true
	is_array(input.token.claims.aud)
	count(input.token.claims.aud) > 1
	input.token.claims.azp != input.request.audience
	not party_expected
}

default party_expected := false

party_expected if limits.overrides[_].authorized_parties[input.token.claims.azp] == true

# METADATA
# title: None of several claims
# description: >-
#   The profile requires one of several claims, and the token has none: a logout token names a subject or a session
#   (OpenID Connect Back-Channel Logout section 2.4).
# custom:
#   code: claims.missing
#   severity: high
#   controls: [OIDC-BCL:2.6]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("lacks %s; %s need one of them", [concat(" and ", names), profile.asked_noun]),
	"details": {"claims": names},
} if {
	names := sort({name | some name, true in profile.asked.required_one_of})
	names != []
	object.filter(input.token.claims, names) == {}
}

# METADATA
# title: A registered claim has the wrong type
# description: >-
#   NumericDates are numbers, names and identifiers are strings, aud is a string or an array of strings,
#   scope is one string (RFC 7519 section 4.1, RFC 8693 section 4.2, OpenID Connect Core section 2).
# custom:
#   code: claims.wrong_type
#   severity: high
#   controls: [RFC7519:4.1, RFC8725:3.8]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has the wrong type of value in %s", [concat(", ", names)]),
	"details": {"claims": names},
} if {
	mistyped != set()
	names := sort(mistyped)
}

# One rule a claim: the index passes over those whose claim the token does not have, and no list is walked.
mistyped contains "iss" if {
	value := input.token.claims.iss
	not is_string(value)
}

mistyped contains "sub" if {
	value := input.token.claims.sub
	not is_string(value)
}

mistyped contains "jti" if {
	value := input.token.claims.jti
	not is_string(value)
}

mistyped contains "client_id" if {
	value := input.token.claims.client_id
	not is_string(value)
}

mistyped contains "scope" if {
	value := input.token.claims.scope
	not is_string(value)
}

mistyped contains "azp" if {
	value := input.token.claims.azp
	not is_string(value)
}

mistyped contains "sid" if {
	value := input.token.claims.sid
	not is_string(value)
}

mistyped contains "nonce" if {
	value := input.token.claims.nonce
	not is_string(value)
}

mistyped contains "acr" if {
	value := input.token.claims.acr
	not is_string(value)
}

mistyped contains "at_hash" if {
	value := input.token.claims.at_hash
	not is_string(value)
}

mistyped contains "c_hash" if {
	value := input.token.claims.c_hash
	not is_string(value)
}

mistyped contains "exp" if {
	value := input.token.claims.exp
	not is_number(value)
}

mistyped contains "nbf" if {
	value := input.token.claims.nbf
	not is_number(value)
}

mistyped contains "iat" if {
	value := input.token.claims.iat
	not is_number(value)
}

mistyped contains "auth_time" if {
	value := input.token.claims.auth_time
	not is_number(value)
}

mistyped contains "amr" if {
	value := input.token.claims.amr
	not is_array(value)
}

mistyped contains "events" if {
	value := input.token.claims.events
	not is_object(value)
}

mistyped contains "cnf" if {
	value := input.token.claims.cnf
	not is_object(value)
}

mistyped contains "act" if {
	value := input.token.claims.act
	not is_object(value)
}

mistyped contains "may_act" if {
	value := input.token.claims.may_act
	not is_object(value)
}

mistyped contains "aud" if {
	value := input.token.claims.aud
	not audience(value)
}

audience(value) if is_string(value)

audience(value) if {
	is_array(value)
	every name in value {
		is_string(name)
	}
}

# METADATA
# title: Meant for another audience
# description: aud does not contain the audience that asks, compared byte for byte.
# custom:
#   code: claims.audience_mismatch
#   severity: critical
#   controls: [RFC8725:3.9, RFC9068:4, ASVS:9.2.3, ASVS:9.2.4, SOC2:CC6.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "is not meant for the audience that asks",
	"details": {},
} if {
	not meant
	_ = input.token.claims.aud
	_ = input.request.audience
}

# METADATA
# title: Nobody says who asks
# description: >-
#   The request names no audience, so that nothing can tell whether the token is meant for whoever asks. (A
#   caller that is granted exactly one audience may leave it out; it is then filled in before policy sees it.)
# custom:
#   code: claims.audience_mismatch
#   severity: critical
#   controls: [RFC8725:3.9, RFC9068:4, ASVS:9.2.3]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "the request must name its audience (request.audience), to be compared with the token's aud",
	"details": {},
} if {
	not meant
	not input.request.audience
}

default meant := false

meant if input.token.claims.aud == input.request.audience

meant if input.request.audience in input.token.claims.aud

# METADATA
# title: A claim that identifies is empty
# description: An empty sub, jti, client_id or aud identifies nothing.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC8725:3.8]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has an empty %s", [name]),
	"details": {"claims": [name]},
} if {
	some name in empty
}

empty contains "sub" if input.token.claims.sub == ""

empty contains "jti" if input.token.claims.jti == ""

empty contains "client_id" if input.token.claims.client_id == ""

empty contains "aud" if input.token.claims.aud == ""

empty contains "aud" if input.token.claims.aud == []

# METADATA
# title: Ends before it begins
# description: exp is not after iat, or not after nbf.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC7519:4.1]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "expires before it is issued or valid",
	"details": {"claims": ["exp", name]},
} if {
	some name in ["iat", "nbf"]
	input.token.claims.exp <= input.token.claims[name]
	mistyped == set()
}

# METADATA
# title: Not the nonce that was asked for
# description: The request's context holds a nonce, and the ID token has another one or none (OpenID Connect Core section 3.1.3.7).
# custom:
#   code: claims.unexpected_value
#   severity: critical
#   controls: [OIDC:2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has not the nonce that the request expects",
	"details": {"claims": ["nonce"]},
} if {
	input.request.token_type == "id_token"
	input.request.context.nonce != object.get(input.token.claims, "nonce", null)
}

# METADATA
# title: Not the event that its kind is about
# description: >-
#   The profile requires an event, an object in events: that of a logout token is the back-channel logout event (OpenID
#   Connect Back-Channel Logout section 2.4).
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [OIDC-BCL:2.6]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("its events do not hold the one that %s are about", [profile.asked_noun]),
	"details": {"claims": ["events"]},
} if {
	required := profile.asked.required_event
	is_object(input.token.claims.events)
	not is_object(object.get(input.token.claims.events, [required], null))
}

# METADATA
# title: No event
# description: The events of a security event token hold at least one, each an object (RFC 8417 section 2.2).
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC8417:2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "its events hold none, or one that is no object",
	"details": {"claims": ["events"]},
} if {
	is_object(input.token.claims.events)
	profile.informs
	not eventful
}

default eventful := false

eventful if {
	input.token.claims.events != {}
	every event in input.token.claims.events {
		is_object(event)
	}
}

# METADATA
# title: Not a SPIFFE ID
# description: The subject of a JWT-SVID is a SPIFFE ID (SPIFFE JWT-SVID section 3.1, SPIFFE ID section 2).
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [SPIFFE:JWT-SVID, RFC8725:3.8]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has a subject that is not a SPIFFE ID",
	"details": {"claims": ["sub"]},
} if {
	profile.asked.subject_form == "spiffe_id"
	is_string(input.token.claims.sub)
	not spiffe_id(input.token.claims.sub)
}

spiffe_id(subject) if {
	count(subject) <= 2048
	regex.match(`^spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+$`, subject)
	not regex.match(`/\.{1,2}(/|$)`, subject)
}

# METADATA
# title: Not the service account that it says
# description: >-
#   The subject of a Kubernetes service-account token is system:serviceaccount:NAMESPACE:NAME, and the claim kubernetes.io
#   names the same namespace and the same service account.
# custom:
#   code: claims.unexpected_value
#   severity: high
#   controls: [RFC8725:3.8]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "has a subject that is not the service account which its kubernetes.io names",
	"details": {"claims": ["kubernetes.io", "sub"]},
} if {
	profile.asked.subject_form == "kubernetes_service_account"
	not service_account
}

default service_account := false

service_account if {
	bound := input.token.claims["kubernetes.io"]
	is_string(bound.namespace)
	is_string(bound.serviceaccount.name)
	regex.match(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`, bound.namespace)
	regex.match(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`, bound.serviceaccount.name)
	input.token.claims.sub == concat(":", ["system", "serviceaccount", bound.namespace, bound.serviceaccount.name])
}
