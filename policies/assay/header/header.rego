# METADATA
# title: Header
# description: >-
#   What the JOSE header says beside algorithm and key. References to keys deny whether or not the token was
#   verified; the kind of a token is only judged of a verified one.
# schemas:
#   - input: schema.input
package assay.header

import data.assay.profile

# METADATA
# title: Brings or references its own key
# description: >-
#   The header has jku, jwk, x5u or x5c. Assay never follows or uses them; a token that has one was made for a
#   verifier that does.
# custom:
#   code: header.key_reference
#   severity: high
#   controls: [RFC8725:3.10, ASVS:9.1.3, SOC2:CC6.6]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("its header brings or references a key (%s); none is used, and such tokens are refused", [concat(", ", names)]),
	"details": {"parameters": names},
} if {
	input.token.key_references[0]
	names := sort({name | some name in input.token.key_references})
}

# METADATA
# title: Wrong kind of token
# description: >-
#   typ does not fit the kind that the request asks for. An access token has typ at+jwt, or is judged by the
#   generic profile if it has none or JWT; a security event token is never a credential.
# custom:
#   code: header.type_mismatch
#   severity: critical
#   controls: [RFC8725:3.11, RFC8725:3.12, RFC9068:2.1, RFC8417:2, ASVS:9.2.2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("its typ does not fit what was asked for (%s)", [object.get(input, ["request", "token_type"], "nothing")]),
	"details": {},
} if {
	input.verification.status == "verified"
	not profiled
	not profile.undeclared
}

# METADATA
# title: Does not say what kind of token it is
# description: >-
#   Its issuer is configured to declare the kind of its tokens (explicit_typ): at+jwt for access tokens, logout+jwt
#   for logout tokens. Without it, a token of one kind could be taken for one of another.
# custom:
#   code: header.type_mismatch
#   severity: high
#   controls: [RFC8725:3.11, RFC8725:3.12, RFC9068:2.1, ASVS:9.2.2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": "its issuer's tokens must say in typ what they are (at+jwt, logout+jwt), and this one does not",
	"details": {},
} if {
	input.verification.status == "verified"
	profile.undeclared
}

# METADATA
# title: Not a credential
# description: >-
#   A security event token says what happened to a subject. Whoever holds one has no right from it (RFC 8417 section 4.6),
#   so that the answer is always a deny; the other reasons tell whether it is a good security event token.
# custom:
#   code: header.type_mismatch
#   severity: high
#   controls: [RFC8417:2, RFC8725:3.12, ASVS:9.2.2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("%s inform and are never a credential", [profile.noun]),
	"details": {},
} if {
	input.verification.status == "verified"
	profile.informs
}

default profiled := false

profiled if profile.settings

# METADATA
# title: Marks of another kind of token
# description: >-
#   The token has a claim that only another kind of token has, such as the nonce of an ID token or the events of
#   a logout token, so it was not issued as what it is presented as.
# custom:
#   code: header.type_mismatch
#   severity: critical
#   controls: [RFC8725:3.12, OIDC-BCL:2.6, RFC8417:2, ASVS:9.2.2]
findings contains {
	"rule": rego.metadata.rule(),
	"message": sprintf("has %s, which %s do not have: it is another kind of token", [concat(", ", names), profile.noun]),
	"details": {"claims": names},
} if {
	marks != set()
	names := sort({name | some name in marks; profile.settings.foreign_claims[name] == true})
	names != []
}

# The index passes over those that the token does not have.
marks contains "nonce" if _ = input.token.claims.nonce

marks contains "events" if _ = input.token.claims.events

marks contains "at_hash" if _ = input.token.claims.at_hash

marks contains "c_hash" if _ = input.token.claims.c_hash

marks contains "kubernetes.io" if _ = input.token.claims["kubernetes.io"]

marks contains "exp" if {
	_ = input.token.claims.exp
	input.request.token_type == "security_event"
}

marks contains "scope" if {
	_ = input.token.claims.scope
	input.request.token_type in {"id_token", "logout_token"}
}
